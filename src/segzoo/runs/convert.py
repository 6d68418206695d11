"""Somebody else's weights, made into a saved model of ours: `segzoo convert`.

    convert("u2net.pth", to="u2net", out="u2net-official")

What happens, in order: the file is opened by its kind (`segzoo.weights.pickles`: in a process of
its own, unless it is safetensors); what a training program put before the names is taken off
(`segzoo.weights.prefixes`); its layout is known by the names in it, and the key map of the model's
plugin (`segzoo.keymap`) gives each tensor the network's name; names, shapes and types are
judged as strictly as at any load; a golden proves the result where one is given; and only then is
anything written.
"""

import contextlib
import os
import re
import shlex
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from segzoo.base.counts import count_of
from segzoo.base.home import expanded
from segzoo.base.records import Json
from segzoo.base.strictjson import short
from segzoo.errors import (
    OutputError,
    SegzooError,
    UsageError,
    WeightsFormatError,
    WeightsMismatchError,
    printable,
)
from segzoo.keymap import Converter
from segzoo.model import build, configured, golden
from segzoo.model.folders import arguments_in
from segzoo.model.load import find_spec
from segzoo.model.loaded import Model
from segzoo.saved.config import WEIGHTS_NAME, Config
from segzoo.spec import ModelSpec
from segzoo.weights import safetensors as weights
from segzoo.weights.mapping import (
    OWN,
    PLAIN,
    converters_of,
    hash_in_name,
    identity_norms,
    lasting_names,
    layout_of,
    layouts_of,
    mapped,
    names_of,
)
from segzoo.weights.pickles import Foreign, read_foreign
from segzoo.weights.prefixes import AVERAGED, NetworkNames, bare, names_below
from segzoo.zoo.registry import Entry

__all__ = ["Converted", "convert"]

SUFFIX = ".safetensors"
SHOWN = 5  # names in a message
SIZES = ("num_classes", "in_channels")
HALVES = {torch.float16, torch.bfloat16}


@dataclass(frozen=True)
class Converted:
    """What `convert` made.

    out: the folder, or the file. model, layout, summary: to what, from what. kind, sha256: of the
    source file. prefix: what was taken off the names there. names: the source's name of each tensor
    with the network's. left_out: what of the source is not in the network. walls: as in `Foreign`.
    deviation: from the golden, or None. notes: what a person should know, a line each.
    """

    out: Path
    model: str
    layout: str
    summary: str
    kind: str
    sha256: str
    prefix: str
    names: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]
    walls: tuple[str, ...]
    deviation: float | None
    notes: tuple[str, ...]


def convert(
    file: str | os.PathLike[str],
    *,
    to: str | ModelSpec | None = None,
    out: str | os.PathLike[str] | None = None,
    layout: str | None = None,
    part: str | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    options: Mapping[str, Json] | None = None,
    averaged: bool = False,
    leave_out: Sequence[str] = (),
    check: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Converted:
    """Write the weights of a file of PyTorch, Keras, ONNX or safetensors as a model of segzoo.

    file: or a folder of another library, of a kind that a plugin knows (`segzoo.keymap`).
    to: the model, as `segzoo.load` takes a name; a folder of another library says it.
    out: a folder, or a file *.safetensors; by default a folder in the current one, with the file's
        name without its ending, or the model's.
    layout: one that the model's plugin declares, or "segzoo"; by default the one that the names
        tell. part: "backbone", say, where the file holds that part alone; all else gets random
        values (seed 0), as a start for training.
    num_classes, in_channels, options: of the network, where they are not the model's own.
    averaged: take the averages of the weights that the file holds beside them ("state_dict_ema").
    leave_out: globs over the file's names: tensors that are not of the network, but of a loss, say.
    check: a golden (see `segzoo.model.golden`) that the result must give.

    Nothing is written unless all went well. Errors of `read_foreign`; WeightsMismatchError for
    weights of another network or another golden; IntegrityError for a file that its name says to
    be another; UsageError, ConfigError, OutputError.
    """
    given = Path(expanded(file))
    wishes = {"num_classes": num_classes, "in_channels": in_channels, **(options or {})}
    source, to, built, classes = _given(given, to, wishes)
    default = source.stem if source == given else str(to)
    target = Path(default if out is None else expanded(out))
    check = None if check is None else expanded(check)
    if not overwrite:
        _refuse_taken(target)
    entry, spec = find_spec(to)
    known = {name: each for name, each in converters_of(entry).items() if not each.excerpt}
    if layout is not None and layout not in (OWN, *known):
        raise UsageError(
            f"{entry.name} has no layout {printable(layout)!r}", expected=", ".join([OWN, *known])
        )
    begins = _hash_in_name(source, known)
    foreign = read_foreign(source, begins=begins, averaged=averaged, inside=source != given)

    @cache
    def network_of(layout: str) -> _Network:
        return _network_of(entry, spec, {**known.get(layout, PLAIN).options, **built}, classes)

    place = _place_in(foreign, known, layout, network_of, averaged, leave_out, source)
    converter = known.get(place.layout, PLAIN)
    _judge_part(converter, part, entry, source)
    config, spec, builder = network_of(place.layout)
    found = {name: foreign.tensors[old] for name, old in place.named.items()}
    names = names_of(found, converter, source)
    if place.whole:
        _refuse_others(place, names, weights.state_names(builder), source)
    state, notes = _state_of(mapped(found, names, converter, source), converter, builder)
    taken = {place.named[name] for name in names}
    left_out = (*(n for n in foreign.tensors if n not in taken), *foreign.left_out)
    with _blaming(source):
        network = _filled(builder, state)
    model = Model(network, spec=spec, config=config).eval()
    deviation = None if check is None else _proven(model, check)

    if target.suffix == SUFFIX:
        weights.save(model.network, target)
    else:
        model.save_pretrained(target, overwrite=overwrite)
    return Converted(
        out=target,
        model=entry.name,
        layout=place.layout,
        summary=converter.summary,
        kind=foreign.kind,
        sha256=foreign.sha256,
        prefix=place.prefix,
        names=tuple((place.named[name], new) for name, new in names.items()),
        left_out=left_out,
        walls=foreign.walls,
        deviation=deviation,
        notes=(*notes, *_notes_on(foreign, left_out, averaged)),
    )


def _refuse_taken(target: Path) -> None:
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise OutputError(
            "is already there", file=target, next_step="Choose another with -o, or add --overwrite"
        )


def _hash_in_name(source: Path, known: Mapping[str, Converter]) -> str:
    """How a file's sha256 begins by its name, where the model's layouts have such names."""
    return hash_in_name(source) if any(c.hashed_name for c in known.values()) else ""


def _given(
    source: Path, to: str | ModelSpec | None, built: Mapping[str, Any]
) -> tuple[Path, str | ModelSpec, Mapping[str, Any], tuple[str, ...]]:
    """The file of weights, the model, how it was built, its classes: a folder says all four."""
    if not source.is_dir():
        if to is None:
            raise UsageError(
                "nothing says whose weights they are", file=source, next_step="Add --to MODEL"
            )
        return source, to, built, ()
    name, said = arguments_in(source)
    names = said.pop("classes", None)
    classes = tuple(map(str, names)) if isinstance(names, list) else ()
    if to not in (None, name):
        raise UsageError("the folder holds another model", file=source, found=name)
    wishes = {k: v for k, v in built.items() if v is not None}
    options = {**dict.fromkeys(SIZES), **said, **wishes}
    return source / WEIGHTS_NAME, name, options, classes


class _Network(NamedTuple):
    """A network that a file may be of."""

    config: Config
    spec: ModelSpec
    builder: Callable[[], nn.Module]


def _network_of(
    entry: Entry, spec: ModelSpec, built: Mapping[str, Any], classes: tuple[str, ...] = ()
) -> _Network:
    """built: options, "num_classes" and "in_channels" among them. classes: names, if they fit."""
    options = {k: v for k, v in built.items() if k not in SIZES}
    config = configured.adjusted(
        configured.config_of(entry, spec, None),
        spec,
        num_classes=built["num_classes"],
        in_channels=built["in_channels"],
        options=options,
    )
    if len(classes) == config.num_classes:
        config = replace(config, classes=classes)
    spec = configured.variant_of(spec, config.options)
    builder = build.builder_of(spec, config)
    build.refuse_giants(builder, config)
    return _Network(config, spec, builder)


def _place_in(
    foreign: Foreign,
    known: Mapping[str, Converter],
    layout: str | None,
    network_of: Callable[[str], _Network],
    averaged: bool,
    leave_out: Sequence[str],
    source: Path,
) -> NetworkNames:
    """Where the network's tensors are in the file. UsageError where there are several networks."""
    kept = [n for n in foreign.tensors if not any(fnmatchcase(n, glob) for glob in leave_out)]
    has_average = bool(AVERAGED.search(foreign.entry))
    places = names_below(
        bare(kept),
        lambda names: [layout] if layout else layouts_of(names, known),
        known,
        lambda layout: lasting_names(network_of(layout).builder, known.get(layout, PLAIN)),
        averaged=averaged and not has_average,
    )
    if averaged and not (has_average or any(AVERAGED.search(p.prefix) for p in places)):
        raise WeightsFormatError(
            "it holds no averages of the weights",
            file=source,
            found=", ".join((foreign.entry, *foreign.left_out))[:200],
            expected="an entry or a prefix with 'ema' in its name",
            next_step="Convert it without --ema",
        )
    if len({place.prefix for place in places}) > 1:
        prefixes = [printable(place.prefix)[:100] for place in places]
        raise UsageError(
            "it holds several networks of these names",
            file=source,
            found=", ".join(map(repr, prefixes[:SHOWN])),
            next_step="Say which one is not meant: --leave-out " + shlex.quote(f"{prefixes[-1]}*"),
        )
    [place, *_] = places
    if len(places) > 1:
        layout_of(place.named, known, source)  # which says that they are several
    return place


def _state_of(
    state: Mapping[str, Tensor], converter: Converter, builder: Callable[[], nn.Module]
) -> tuple[dict[str, Tensor], list[str]]:
    """The whole state of the network, where the file has a part of it, with a note of the rest."""
    notes = []
    if converter.folded_norms:
        state = {**identity_norms(builder), **state}
        notes.append("its normalisations are folded into its convolutions; ours do nothing")
    if converter.part:
        rest = build.initialised(builder, 0).state_dict()
        rest = {name: t for name, t in rest.items() if not name.startswith(converter.part)}
        state = {**rest, **state}
        notes.append(
            f"random are {count_of(len(rest), 'tensor')}, so it is a beginning: "
            "segzoo train MODEL --init-from FOLDER"
        )
    return dict(state), notes


def _refuse_others(
    place: NetworkNames, names: Mapping[str, str], own: Collection[str], source: Path
) -> None:
    """WeightsMismatchError for tensors beside the network's that nobody asked to leave out."""
    others = [*place.beside, *(place.named[n] for n, new in names.items() if new not in own)]
    if not others:
        return
    below = len(place.prefix)
    roots = {
        n if (end := n.find(".", below * n.startswith(place.prefix))) < 0 else f"{n[:end]}.*"
        for n in others
    }
    globs = [shlex.quote(printable(root)[:100]) for root in sorted(roots)]
    more = f" and {len(others) - SHOWN:,} more" if len(others) > SHOWN else ""
    raise WeightsMismatchError(
        f"weights of another network: {len(others):,} unexpected: "
        f"{', '.join(map(short, sorted(others)[:SHOWN]))}{more}",
        file=source,
        next_step="All of the network's are there; if these are of a loss or a metric, add "
        + " ".join(f"--leave-out {glob}" for glob in globs[:SHOWN]),
    )


def _judge_part(converter: Converter, part: str | None, entry: Entry, source: Path) -> None:
    has = converter.part.rstrip(".")
    if part is None and has:
        raise UsageError(
            f"it holds the {has} of {entry.name} alone",
            file=source,
            next_step=f"For a start for training, add --part {has}",
        )
    if part is not None and part.rstrip(".") != has:
        raise UsageError(
            f"its layout has no part {printable(part)!r}",
            file=source,
            found=has or "the whole network",
        )


@contextlib.contextmanager
def _blaming(source: Path) -> Iterator[None]:
    """An error about the file in between is about the source, in words of the command line."""
    try:
        yield
    except SegzooError as error:
        error.file = printable(os.fspath(source))
        error.next_step = re.sub(
            r"load with (num_classes|in_channels)=(\d+)",
            lambda match: f"add --{match[1].replace('_', '-')} {match[2]}",
            error.next_step,
        )
        raise


def _filled(builder: Callable[[], nn.Module], state: Mapping[str, Tensor]) -> nn.Module:
    """The network with these tensors, by way of a file, whose walls judge them too."""
    double = any(tensor.dtype == torch.float64 for tensor in state.values())
    given = weights.Given(dtype="float64" if double else "float32")
    with tempfile.TemporaryDirectory(prefix="segzoo-") as folder:
        between = os.path.join(folder, "model.safetensors")
        weights.save(state, between)
        return weights.load_network(builder, between, given=given).network


def _proven(model: Model, check: str | os.PathLike[str]) -> float:
    off = golden.deviation(model.network, check)
    if off > golden.TOLERANCE:
        raise WeightsMismatchError(
            "the converted network gives other logits than the golden; nothing was written",
            file=check,
            found=f"{off:.2g}",
            expected=f"at most {golden.TOLERANCE:g}",
        )
    return off


def _notes_on(foreign: Foreign, left_out: Sequence[str], averaged: bool) -> tuple[str, ...]:
    dtypes = {tensor.dtype for tensor in foreign.tensors.values()}
    made = ["stored in 16 bits; widened to float32"] if dtypes & HALVES else []
    made += ["stored in 64 bits; narrowed to float32"] if torch.float64 in dtypes else []
    means = () if averaged else [name for name in left_out if AVERAGED.search(name)]
    beside = (f"it holds averages too ({short(means[0])}); --ema takes them",) if means else ()
    return (*made, *beside, "no licence is recorded: that of the file you converted holds")
