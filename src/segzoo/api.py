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
from segzoo import registry
from segzoo.config import Config
from segzoo.errors import (
    ConfigError,
    PluginMissingError,
    UnknownModelError,
    UsageError,
    WeightsMissingError,
    printable,
)
from segzoo.licenses import matches
from segzoo.registry import Entry, Row
from segzoo.spec import IMPORT_PATH, Json, ModelSpec, Task, Weights, asdict

if TYPE_CHECKING:
    from torch import nn

    from segzoo.model import Model

__all__ = ["LOCAL_DIR", "find_spec", "list_models", "list_rows", "load", "model_info", "saved"]

LOCAL_DIR = "local-dir:"


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
    weights, "permissive" or an SPDX identifier. pretrained: only models with weights. plugin: a
    distribution. A filter that needs the spec leaves out the rows that have none.
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
            and (license is None or any(matches(w, license) for w in weights))
        )

    return [row for row in registry.rows() if wanted(row)]


def model_info(ref: str | ModelSpec) -> dict[str, Json]:
    """Everything that a model's plugin declares, as JSON values, with its name and origin."""
    entry, spec = find_spec(ref)
    origin = {"name": entry.name, "plugin": entry.distribution, "version": entry.version}
    return origin | asdict(spec)


def find_spec(ref: str | ModelSpec) -> tuple[Entry, ModelSpec]:
    """The entry and spec of a name, `distribution/name`, `module:ATTR` or a ModelSpec itself."""
    if isinstance(ref, ModelSpec):
        builder = ref.builder.rpartition(":")[2]
        return Entry(registry.fold(builder.rpartition(".")[2]), "", "", ""), ref
    entry = registry.from_import_path(ref) if IMPORT_PATH.fullmatch(ref) else registry.find(ref)
    return entry, entry.load()


def load(
    ref: str | ModelSpec,
    *,
    pretrained: bool = False,
    weights: str | os.PathLike[str] | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    task: str | None = None,
    device: str = "cpu",
    seed: int | None = None,
    verify: bool = False,
    allow_nonfinite: bool = False,
    **options: Json,
) -> "Model":
    """A network ready to use, in eval mode on `device`, with its preprocessing.

    ref: a model's name; `name.tag` for one of its weights; `distribution/name`; the folder of a
        saved model (a path with a separator, or `local-dir:PATH`); `module:ATTR`; or a ModelSpec.
    pretrained: load the default weights. weights: a safetensors file of this network instead.
    num_classes, in_channels: when they are not those of the weights, the head or the stem is
        replaced or adapted, and a warning says so.
    task: one of the spec's; by default the first that suits num_classes.
    device: "cpu", "cuda", "cuda:1", "mps" or "auto". seed: of the random initial values.
    verify: check hash and values again although this file was checked before.
    options: of the architecture, as `segzoo info` shows them. Elastic ones may be lower than those
        of the weights: then the network is that part of theirs.

    Raises SegzooError; the message says what to do.
    """
    from segzoo import build
    from segzoo.model import Model
    from segzoo.runtimes.torch import device_of

    place = device_of(device)
    file: Path | None
    if folder := _folder(ref):
        if weights is not None:
            raise UsageError("a saved model's folder has its own weights", file=weights)
        entry, spec, config = saved(folder)
        record, file = None, folder / configs.WEIGHTS_NAME
    else:
        name, tag = _split_tag(ref)
        entry, spec = find_spec(name)
        record, file = _weights_of(entry, spec, tag=tag, pretrained=pretrained, file=weights)
        config = build.config_of(entry, spec, record)

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
    else:
        network, notes = _from_file(
            builder,
            file,
            has=config,
            wanted=wanted,
            spec=spec,
            record=record,
            verify=verify,
            allow_nonfinite=allow_nonfinite,
        )
    for note in notes:
        warnings.warn(note, stacklevel=2)
    model = Model(network, spec=spec, config=wanted, weights=record, notes=notes)
    return model.eval().to(place)


def _folder(ref: str | ModelSpec) -> Path | None:
    """The folder that a reference names, if it names one; a model's full name comes first."""
    if not isinstance(ref, str):
        return None
    if ref.startswith(LOCAL_DIR):
        return Path(ref.removeprefix(LOCAL_DIR))
    if "/" not in ref and os.sep not in ref:
        return None
    if any(entry.full_name == ref for entry in registry.entries()):
        return None
    return Path(ref) if os.path.isdir(ref) else None


def _split_tag(ref: str | ModelSpec) -> tuple[str | ModelSpec, str | None]:
    if not isinstance(ref, str) or ":" in ref or "." not in ref.rpartition("/")[2]:
        return ref, None
    name, _, tag = ref.rpartition(".")
    return name, tag


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
    return entry, spec, dataclasses.replace(config, preprocess=preprocess)


def _weights_of(
    entry: Entry,
    spec: ModelSpec,
    *,
    tag: str | None,
    pretrained: bool,
    file: str | os.PathLike[str] | None,
) -> tuple[Weights | None, Path | None]:
    """The record and file of the weights asked for; (None, None) for random initial values."""
    if file is not None:
        if tag or pretrained:
            raise UsageError("give weights=FILE, or a tag or pretrained=True, not both", file=file)
        return None, Path(file)
    if not pretrained and tag is None:
        return None, None
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
    if record.bundled is None:
        raise WeightsMissingError(
            f"{entry.name}.{tag} is on the Hub ({record.repo}), which this version cannot fetch",
            next_step="Download the file and give it with weights=FILE (--weights FILE)",
        )
    package, _, path = record.bundled.partition(":")
    return record, Path(str(files(import_module(package)).joinpath(path)))


def _from_file(
    builder: "Callable[[], nn.Module]",
    file: Path,
    *,
    has: Config,
    wanted: Config,
    spec: ModelSpec,
    record: Weights | None,
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
        weights.within(file.parent, file.name) if has.files else file,
        sha256=record.sha256 if record else has.files.get(configs.WEIGHTS_NAME),
        stored_dtype=record.dtype if record else "float32",
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
