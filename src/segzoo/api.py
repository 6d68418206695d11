"""From names to objects: the readable top of segzoo. Everything heavy is imported when called."""

import dataclasses
import fnmatch
import os
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from segzoo import config as configs
from segzoo import licenses, manifest, refs, registry
from segzoo.config import Config
from segzoo.errors import (
    ConfigError,
    IntegrityError,
    PluginMissingError,
    UnknownModelError,
    UsageError,
    WeightsMissingError,
    printable,
)
from segzoo.refs import LOCAL_DIR, Folder, Named
from segzoo.registry import Entry, Row
from segzoo.spec import IMPORT_PATH, Json, ModelSpec, Task, Weights, asdict

if TYPE_CHECKING:
    from torch import nn

    from segzoo.hub import Snapshot
    from segzoo.model import Model

__all__ = [
    "LOCAL_DIR",
    "file_of_record",
    "find_saved",
    "find_spec",
    "list_models",
    "list_rows",
    "load",
    "model_info",
    "record_of",
    "saved",
]


def list_models(
    pattern: str = "*",
    *,
    task: str | None = None,
    license: str | None = None,
    pretrained: bool = False,
    plugin: str | None = None,
) -> list[str]:
    """Names of the installed models that work, those of `list_rows` without its broken rows."""
    found = list_rows(pattern, task=task, license=license, pretrained=pretrained, plugin=plugin)
    return [row.entry.name for row in found if row.spec is not None]


def list_rows(
    *patterns: str,
    task: str | None = None,
    license: str | None = None,
    pretrained: bool = False,
    plugin: str | None = None,
) -> list[Row]:
    """What is installed, one row per model; a broken one has a problem and no spec.

    patterns: globs over names. task: binary, multiclass, multilabel or saliency. license: of
    weights, "permissive" (also of their data and of all backbones) or an SPDX identifier.
    pretrained: only models with weights. plugin: a distribution. A filter that needs the spec
    leaves out the rows that have none.
    """
    if task is not None and task not in get_args(Task):
        raise UsageError(
            f"no task {task!r}", expected=", ".join(get_args(Task)), next_step="See: segzoo list"
        )

    def wanted(row: Row) -> bool:
        name, spec = row.entry.name, row.spec
        weights = [] if spec is None else list(spec.weights.values())
        return (
            (not patterns or any(fnmatch.fnmatch(name, registry.fold(p)) for p in patterns))
            and (plugin is None or registry.same_distribution(row.entry.distribution, plugin))
            and (task is None or (spec is not None and task in spec.tasks))
            and (not pretrained or bool(weights))
            and (license is None or (spec is not None and licenses.offers(spec, license)))
        )

    return [row for row in registry.rows() if wanted(row)]


def model_info(ref: str | ModelSpec) -> dict[str, Json]:
    """Everything that a model's plugin declares, as JSON values, with its name and origin.

    For a saved model, in a folder or on the Hub, also its config, under "saved".
    """
    found = find_saved(ref)
    entry, spec = found[:2] if found else find_spec(ref)
    origin = {"name": entry.name, "plugin": entry.distribution, "version": entry.version}
    return origin | asdict(spec) | ({"saved": asdict(found[2])} if found else {})


def find_spec(ref: str | ModelSpec) -> tuple[Entry, ModelSpec]:
    """The entry and spec of a name, `distribution/name`, `module:ATTR` or a ModelSpec itself."""
    if isinstance(ref, ModelSpec):
        builder = ref.builder.rpartition(":")[2]
        return Entry(registry.fold(builder.rpartition(".")[2]), "", "", ""), ref
    entry = registry.from_import_path(ref) if IMPORT_PATH.fullmatch(ref) else registry.find(ref)
    return entry, entry.load()


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


def load(
    ref: str | ModelSpec,
    *,
    pretrained: bool = False,
    weights: str | os.PathLike[str] | None = None,
    backbone: str | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    task: str | None = None,
    device: str = "cpu",
    seed: int | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
    require_license: str | None = None,
    verify: bool = False,
    allow_nonfinite: bool = False,
    **options: Json,
) -> "Model":
    """A network ready to use, in eval mode on `device`, with its preprocessing.

    ref: a model's name; `name.tag` for one of its weights; `distribution/name`; a saved model, as
        `hf-hub:user/name` or `hf-hub:user/name@revision` on the Hub, or its folder (a path with a
        separator, or `local-dir:PATH`); `module:ATTR`; or a ModelSpec.
    pretrained: load the default weights. weights: a safetensors file of this network instead.
    backbone: a pretrained part that the model declares, such as "imagenet"; the rest is random.
    num_classes, in_channels: when they are not those of the weights, the head or the stem is
        replaced or adapted, and a warning says so.
    task: one of the spec's; by default the first that suits num_classes.
    device: "cpu", "cuda", "cuda:1", "mps" or "auto". seed: of the random initial values.
    revision: of a model on the Hub: a branch, a tag or a commit. One that was used before is taken
        from the cache without a connection; `segzoo download` looks up anew what a branch is.
    local_files_only: use what is cached, and connect to nothing.
    require_license: "permissive", or the SPDX identifier that the weights must have; "permissive"
        is also about the data they are from and the model's backbones. Else LicenseError.
    verify: check hash and values again although this file was checked before.
    options: of the architecture, as `segzoo info` shows them. Elastic ones may be lower than those
        of the weights: then the network is that part of theirs.

    Raises SegzooError; the message says what to do.
    """
    from segzoo import build
    from segzoo.model import Model
    from segzoo.runtimes.torch import device_of

    place = device_of(device)
    source = _source(ref, revision, local_files_only)
    record, file, sha256 = None, None, None
    if isinstance(source, Named | ModelSpec):
        tag = source.tag if isinstance(source, Named) else None
        entry, spec = find_spec(source.name if isinstance(source, Named) else source)
        record = record_of(entry, spec, tag=tag, pretrained=pretrained, file=weights)
        config = build.config_of(entry, spec, record)
    else:
        if weights is not None:
            raise UsageError("a saved model's folder has its own weights", file=weights)
        folder = _file_of(source, configs.CONFIG_NAME, local_files_only, verify).parent
        entry, spec, config = saved(folder)
    untrained = isinstance(source, Named | ModelSpec) and record is None and weights is None
    if require_license is not None and not untrained:
        told = record or config
        licenses.refuse_others(
            require_license, str(ref), told.license, told.trained_on, spec.backbone
        )
    part = None if backbone is None else _backbone(entry, spec, backbone, untrained)
    if part is not None and require_license is not None:
        licenses.refuse_others(require_license, backbone, part.license, part.trained_on)
    if weights is not None:
        file = Path(weights)
    elif record is not None:
        file = file_of_record(record, local_files_only=local_files_only, verify=verify)
        sha256 = record.sha256
    elif not isinstance(source, Named | ModelSpec):
        file = _file_of(source, configs.WEIGHTS_NAME, local_files_only, verify)
        sha256 = _declared(source, config)

    wanted = build.adjusted(
        config,
        spec,
        num_classes=num_classes,
        in_channels=in_channels,
        task=task,
        options=options,
    )
    spec = build.variant_of(spec, wanted.options)
    builder = build.builder_of(spec, wanted)
    notes: tuple[str, ...] = ()
    if file is None:
        build.refuse_giants(builder, wanted)
        network = build.initialised(builder, seed)
        if part is not None:
            from segzoo import backbones

            source = file_of_record(part, local_files_only=local_files_only, verify=verify)
            backbones.fill(
                network, source, entry=entry, spec=spec, sha256=part.sha256, verify=verify
            )
    else:
        network, notes = _from_file(
            builder,
            file,
            has=config,
            wanted=wanted,
            spec=spec,
            record=record,
            sha256=sha256,
            verify=verify,
            allow_nonfinite=allow_nonfinite,
        )
    for note in notes:
        warnings.warn(note, stacklevel=2)
    model = Model(network, spec=spec, config=wanted, weights=record, notes=notes)
    return model.eval().to(place)


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
    from segzoo import hub

    return hub.resolve(source.repo, source.revision, local_files_only=local_files_only)


def _file_of(
    source: "Folder | Snapshot", name: str, local_files_only: bool = False, verify: bool = False
) -> Path:
    """The config or weights of a saved model.

    Of a commit on the Hub they are fetched where need be, and always checked. A folder's config is
    checked against its manifest, if it has one; its weights are checked when they are read.
    """
    if not isinstance(source, Folder):
        from segzoo import hub

        names = [name]
        return hub.fetch(source, names, local_files_only=local_files_only, verify=verify) / name
    if name == configs.WEIGHTS_NAME:
        from segzoo import weights

        return weights.within(source.path, name)
    if (source.path / manifest.MANIFEST_NAME).exists():
        manifest.check(source.path, [name])
    return source.path / name


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


def saved(folder: Path) -> tuple[Entry, ModelSpec, Config]:
    """The spec of the plugin that a saved model needs, and its config."""
    config = configs.read(folder / configs.CONFIG_NAME)
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
        requirement = f"{config.distribution}>={config.version}".removesuffix(">=")
        raise PluginMissingError(
            f"made with {made_with.strip()}, which does not offer '{config.model}' here",
            file=folder,
            next_step=f'Run: pip install "{requirement}"',
        ) from None
    spec = entry.load()
    custom = spec.preprocess.custom  # code comes from the installed plugin, never from a config
    preprocess = dataclasses.replace(config.preprocess, custom=custom)
    options = _options_of(config, spec, folder)
    return entry, spec, dataclasses.replace(config, preprocess=preprocess, options=options)


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
            "values with pretrained=False (--random-init)",
        )
    record = spec.weights[tag]
    if record.retired:
        warnings.warn(f"{entry.name}.{tag} is retired: {record.retired}", stacklevel=3)
    return record


def file_of_record(
    record: Weights, *, local_files_only: bool = False, verify: bool = False
) -> Path:
    """The file of a plugin's weights: in its package, or fetched from the Hub."""
    if record.bundled is not None:
        package, _, path = record.bundled.partition(":")
        return Path(str(files(import_module(package)).joinpath(path)))
    from segzoo import hub

    assert record.repo and record.revision and record.file  # its own rule
    snapshot = hub.Snapshot(record.repo, record.revision)
    names = [record.file]
    folder = hub.fetch(snapshot, names, local_files_only=local_files_only, verify=verify)
    return folder / record.file


def _from_file(
    builder: "Callable[[], nn.Module]",
    file: Path,
    *,
    has: Config,
    wanted: Config,
    spec: ModelSpec,
    record: Weights | None,
    sha256: str | None,
    verify: bool,
    allow_nonfinite: bool,
) -> "tuple[nn.Module, tuple[str, ...]]":
    """The wanted network with a file's weights, and a note for what of them could not be used."""
    from segzoo import build, weights

    new_head = wanted.num_classes != has.num_classes
    new_stem = wanted.in_channels != has.in_channels
    for needed, prefixes, part in ((new_head, spec.head, "head"), (new_stem, spec.stem, "stem")):
        if needed and not prefixes:
            raise ConfigError(
                f"{wanted.model} declares no {part} that could be replaced",
                file=file,
                expected=f"num_classes={has.num_classes}, in_channels={has.in_channels}",
            )
    if record or has.files:
        _refuse_more_than_there_is(spec, has, wanted, file)
    network, replaced = weights.load_network(
        builder,
        file,
        sha256=sha256,
        stored_dtype=record.dtype if record else has.dtype,
        replace=spec.head if new_head else (),
        adapt=spec.stem if new_stem else (),
        whole=build.builder_of(spec, has) if _is_part(spec, has, wanted) else None,
        allow_nonfinite=allow_nonfinite,
        verify=verify,
    )
    if not replaced:
        return network, ()
    note = (
        f"{wanted.model}: the weights are of {has.num_classes} classes and {has.in_channels} "
        f"channels, asked for were {wanted.num_classes} and {wanted.in_channels}; "
        f"made anew or adapted, so training is needed: {', '.join(replaced)}"
    )
    return network, (note,)


def _refuse_more_than_there_is(spec: ModelSpec, has: Config, wanted: Config, file: Path) -> None:
    """ConfigError for an elastic option above that of the weights."""
    for name in spec.elastic:
        if wanted.options[name] > has.options[name]:
            raise ConfigError(
                f"{wanted.model}: the weights have no {name}={wanted.options[name]!r}",
                file=file,
                found=f"{name}={has.options[name]!r}",
                expected=f"at most {name}={has.options[name]!r}",
            )


def _is_part(spec: ModelSpec, has: Config, wanted: Config) -> bool:
    """Whether the wanted network is a part of that of the weights, by options made for it."""
    return any(wanted.options[name] < has.options[name] for name in spec.elastic)
