"""All that an exported network depends on: where one part differs, it is another artefact."""

import hashlib
import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from segzoo.base.records import Json, Record, asdict
from segzoo.saved.config import Config
from segzoo.spec import ModelSpec

__all__ = ["Identity", "identified", "version_of"]

EXPORT = 3  # grows when networks are exported in another way
EXPORTERS = ("segzoo-core", "torch", "onnx", "onnxscript")
NAME = re.compile(r"[A-Za-z0-9._-]+")  # of a distribution, at the beginning of a requirement


@dataclass(frozen=True, kw_only=True)
class Identity(Record):
    """What an exported network depends on.

    weights: the sha256 of their file, or "values:" and that of the tensors in memory.
    plugin, code: the distribution with its version, and the sha256 of its source files.
    size: (h, w) of x where the model has one, None where x may have any. activation: what logits
    become probabilities by, in which both are compared. versions: of what exports, and of the
    libraries that the plugin requires. export: of the way in which it is done.
    """

    model: str
    weights: str
    plugin: str
    code: str
    options: Mapping[str, Json] = field(default_factory=dict)
    in_channels: int
    num_classes: int
    size: tuple[int, int] | None
    activation: str
    versions: Mapping[str, str] = field(default_factory=dict)
    export: int

    @property
    def key(self) -> str:
        """The sha256 of all of it, under which the artefact is kept."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def identified(
    spec: ModelSpec, config: Config, weights: str, size: tuple[int, int] | None
) -> Identity:
    """The identity of a model as `config` builds it, with these weights; size as above."""
    required = [match[0] for pip in spec.requires.values() if (match := NAME.match(pip))]
    return Identity(
        model=config.model,
        weights=weights,
        plugin=f"{config.distribution} {version_of(config.distribution)}".strip(),
        code=_code_of(spec.builder),
        options=config.options,
        in_channels=config.in_channels,
        num_classes=config.num_classes,
        size=size,
        activation=config.postprocess.activation,
        versions={name: version_of(name) for name in sorted({*EXPORTERS, *required})},
        export=EXPORT,
    )


def version_of(distribution: str) -> str:
    """The version that is installed; empty for none."""
    try:
        return metadata.version(distribution)
    except (metadata.PackageNotFoundError, ValueError):
        return ""


def _code_of(builder: str) -> str:
    """The sha256 of the source files of the package that a builder is in; nothing is imported."""
    package = builder.partition(":")[0].partition(".")[0]
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        found = None
    digest = hashlib.sha256()
    folders = [Path(p) for p in (found and found.submodule_search_locations) or ()]
    files = [(path, folder) for folder in folders for path in sorted(folder.rglob("*.py"))]
    if not folders and found is not None and found.origin:
        files = [(Path(found.origin), Path(found.origin).parent)]
    for path, folder in files:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
