"""config.json of a saved model: how a network was built and is used, read back under limits.

The file names a model by its registry name and says with which plugin and version it was made. It
is data from strangers: bounded, parsed strictly, and no value in it is ever a module, a path, a URL
or an expression.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from segzoo.base.counts import count_of
from segzoo.base.records import Json, Record, asdict, from_dict
from segzoo.base.strictjson import strict_json
from segzoo.errors import ConfigError, printable
from segzoo.spec import MODEL_NAME, SHA256, Dataset, Postprocess, Preprocess, Task

__all__ = ["CONFIG_NAME", "FORMAT_VERSION", "WEIGHTS_NAME", "Config", "dump", "read", "read_json"]

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
FORMAT_VERSION = 1
MAX_BYTES = 1 << 20
MAX_DEPTH = 32
DISTRIBUTION = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?)?")
VERSION = re.compile(r"[A-Za-z0-9.!+_-]{0,50}")
MAX_CLASSES = 256  # a mask is 8 bits deep
MAX_CHANNELS = 1024
MAX_TEXT = 500  # characters of a licence, or of a data set's name or address


@dataclass(frozen=True, kw_only=True)
class Config(Record):
    """How a network was built and is used: what config.json holds.

    model, distribution, version: the model's name, the plugin it came from and that one's version.
    classes, palette: one name and one colour (r, g, b) per class, or empty.
    dtype: how floats are stored beside it; they are widened to float32 when loaded.
    license, trained_on: of the weights, and the data they are from; empty where nobody said.
    files: sha256 of each file saved beside the config.
    """

    model: str
    distribution: str
    version: str
    options: Mapping[str, Json] = field(default_factory=dict)
    in_channels: int
    num_classes: int
    task: Task
    preprocess: Preprocess
    postprocess: Postprocess
    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    license: str = ""
    trained_on: tuple[Dataset, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    def _faults(self) -> list[str]:
        faults = []
        if not MODEL_NAME.fullmatch(self.model):
            faults.append(f"model={self.model!r} does not match {MODEL_NAME.pattern}")
        if not DISTRIBUTION.fullmatch(self.distribution):
            faults.append(f"distribution={self.distribution!r} is not a distribution's name")
        if not VERSION.fullmatch(self.version):
            faults.append(f"version={self.version!r} is not a version")
        if not 1 <= self.num_classes <= MAX_CLASSES:
            faults.append(f"num_classes={self.num_classes} is outside 1..{MAX_CLASSES}")
        if not 1 <= self.in_channels <= MAX_CHANNELS:
            faults.append(f"in_channels={self.in_channels} is outside 1..{MAX_CHANNELS}")
        for name in ("classes", "palette"):
            if getattr(self, name) and len(getattr(self, name)) != self.num_classes:
                entries = count_of(len(getattr(self, name)), "entry")
                faults.append(f"{name} has {entries} for {count_of(self.num_classes, 'class')}")
        if self.num_classes > 1 and (self.postprocess.smallest or self.postprocess.holes):
            faults.append("postprocess.smallest and holes are for one class")
        if any(not 0 <= value <= 255 for colour in self.palette for value in colour):
            faults.append("palette has a value outside 0..255")
        said = [("license", self.license)]
        said += [
            (f"trained_on[{number}].{part}", getattr(data, part))
            for number, data in enumerate(self.trained_on)
            for part in ("name", "license", "url")
        ]
        for name, text in said:
            if not text.isprintable() or len(text) > MAX_TEXT:
                faults.append(f"{name} is not one line of at most {MAX_TEXT} characters")
        for name, sha256 in self.files.items():
            if not SHA256.fullmatch(sha256):
                faults.append(f"files[{name!r}]={sha256!r} is not 64 hex digits")
        return faults


def dump(config: Config) -> str:
    """The text of config.json. Code paths of the plugin (`Preprocess.custom`) are left out.

    "id2label" says the classes once more, as other tools read them.
    """
    record = asdict(config)
    plugin = {key: record.pop(key) for key in ("distribution", "version")}
    record["preprocess"].pop("custom")
    if config.classes:
        record["id2label"] = _id2label(config.classes)
    head = {"format_version": FORMAT_VERSION, "library": "segzoo", "plugin": plugin}
    return json.dumps(head | record, indent=2, ensure_ascii=False) + "\n"


def read(path: str | os.PathLike[str]) -> Config:
    """Read config.json. ConfigError names every field that is wrong."""
    data = read_json(path)
    if data.pop("library", None) != "segzoo":
        raise ConfigError(
            "this is not a model saved by segzoo", file=path, expected='"library": "segzoo"'
        )
    version = data.pop("format_version", None)
    if type(version) is not int or version < 1:
        raise ConfigError("bad format_version", file=path, found=repr(version), expected="1")
    if version > FORMAT_VERSION:
        raise ConfigError(
            "made by a newer segzoo",
            file=path,
            found=f"format_version {version}",
            expected=f"at most {FORMAT_VERSION}",
            next_step="Run: pip install --upgrade segzoo-core",
        )
    plugin = data.pop("plugin", None)
    if not isinstance(plugin, dict) or set(plugin) != {"distribution", "version"}:
        raise ConfigError("bad plugin", file=path, expected="its distribution and version")
    preprocess = data.get("preprocess")
    if isinstance(preprocess, dict) and "custom" in preprocess:
        raise ConfigError("preprocess.custom names code, which a config may not", file=path)
    id2label = data.pop("id2label", None)
    try:
        config = from_dict(Config, data | plugin)
    except ValueError as error:
        raise ConfigError(printable(str(error)), file=path) from None
    if id2label is not None and id2label != _id2label(config.classes):
        raise ConfigError("id2label and classes do not say the same", file=path)
    return config


def _id2label(classes: tuple[str, ...]) -> dict[str, str]:
    return {str(number): name for number, name in enumerate(classes)}


def read_json(path: str | os.PathLike[str]) -> dict[str, Json]:
    """A JSON object from a regular file of at most 1 MiB, parsed strictly.

    ConfigError for anything larger, deeper than 32 levels, or not strict in the sense of
    `strict_json`.
    """
    try:
        if not os.path.isfile(path):
            raise ConfigError("there is no such file", file=path)
        with open(path, "rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot be read: {printable(str(error))}", file=path) from None
    if len(raw) > MAX_BYTES:
        raise ConfigError("the file is too large", file=path, expected="at most 1 MiB")
    return strict_json(raw, path, what="the config", error=ConfigError, levels=MAX_DEPTH)
