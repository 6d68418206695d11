"""Somebody else's weights, made into a saved model of ours: `segzoo convert`.

    convert("u2net.pth", to="u2net", out="u2net-official")

What happens, in order: the file is opened by its kind (`segzoo.weights.pickles`: in a process of
its own, unless it is safetensors); its layout is known by the names in it, and the key map of the
model's plugin (`segzoo.keymap`) gives each tensor the network's name; names, shapes and types are
judged as strictly as at any load; a golden proves the result where one is given; and only then is
anything written.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from segzoo.base.records import Json
from segzoo.errors import (
    OutputError,
    SegzooError,
    UsageError,
    WeightsMismatchError,
    printable,
)
from segzoo.keymap import Converter
from segzoo.model import build, configured, golden
from segzoo.model.load import find_spec
from segzoo.model.loaded import Model
from segzoo.spec import ModelSpec
from segzoo.weights import safetensors as weights
from segzoo.weights.mapping import (
    OWN,
    PLAIN,
    converters_of,
    identity_norms,
    layout_of,
    mapped,
    names_of,
    unwrapped,
)
from segzoo.weights.pickles import Foreign, read_foreign
from segzoo.zoo.registry import Entry

__all__ = ["Converted", "convert"]

SUFFIX = ".safetensors"
HASHED = re.compile(r"-([0-9a-f]{8,64})$")  # as torchvision and timm call a file


@dataclass(frozen=True)
class Converted:
    """What `convert` made.

    out: the folder, or the file. model, layout, summary: to what, from what. kind, sha256: of the
    source file. names: the source's name of each tensor with the network's. left_out: what of the
    source is not in the network. walls: as in `Foreign`. deviation: from the golden, or None.
    notes: what a person should know, a line each.
    """

    out: Path
    model: str
    layout: str
    summary: str
    kind: str
    sha256: str
    names: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]
    walls: tuple[str, ...]
    deviation: float | None
    notes: tuple[str, ...]


def convert(
    file: str | os.PathLike[str],
    *,
    to: str | ModelSpec,
    out: str | os.PathLike[str] | None = None,
    layout: str | None = None,
    part: str | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    options: Mapping[str, Json] | None = None,
    check: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Converted:
    """Write the weights of a file of PyTorch, Keras or safetensors as a model that segzoo loads.

    to: the model, as `segzoo.load` takes a name. out: a folder, or a file *.safetensors; by
        default a folder with the file's name without its ending, in the current one.
    layout: one that the model's plugin declares, or "segzoo"; by default the one that the names
        tell. part: "backbone", say, where the file holds that part alone; all else gets random
        values (seed 0), as a start for training.
    num_classes, in_channels, options: of the network, where they are not the model's own.
    check: a golden (see `segzoo.model.golden`) that the result must give.

    Nothing is written unless all went well. Errors of `read_foreign`; WeightsMismatchError for
    weights of another network or another golden; IntegrityError for a file that its name says to
    be another; UsageError, ConfigError, OutputError.
    """
    source = Path(file)
    target = Path(source.stem if out is None else out)
    if (target.is_file() or (target.is_dir() and any(target.iterdir()))) and not overwrite:
        raise OutputError(
            "is already there", file=target, next_step="Choose another with -o, or add --overwrite"
        )
    entry, spec = find_spec(to)
    known = converters_of(entry)
    if layout is not None and layout not in (OWN, *known):
        raise UsageError(
            f"{entry.name} has no layout {printable(layout)!r}", expected=", ".join([OWN, *known])
        )
    hashed = HASHED.search(source.stem) if any(c.hashed_name for c in known.values()) else None
    foreign = read_foreign(source, begins=hashed[1] if hashed else "")
    found = unwrapped(foreign.tensors)
    layout = layout or layout_of(found, known, source)
    converter = known.get(layout, PLAIN)
    _judge_part(converter, part, entry, source)

    config = configured.adjusted(
        configured.config_of(entry, spec, None),
        spec,
        num_classes=num_classes,
        in_channels=in_channels,
        options={**converter.options, **(options or {})},
    )
    spec = configured.variant_of(spec, config.options)
    builder = build.builder_of(spec, config)
    build.refuse_giants(builder, config)
    names = names_of(found, converter, source)
    state = mapped(found, names, converter, source)
    notes: list[str] = []
    if converter.folded_norms:
        state = identity_norms(builder) | state
        notes.append("its normalisations are folded into its convolutions; ours do nothing")
    if converter.part:
        rest = build.initialised(builder, 0).state_dict()
        rest = {name: t for name, t in rest.items() if not name.startswith(converter.part)}
        state = {**rest, **state}
        notes.append(f"{len(rest)} tensors are random: train it first, with --init-from")
    with tempfile.TemporaryDirectory(prefix="segzoo-") as folder, _blaming(source):
        weights.save(state, os.path.join(folder, "model.safetensors"))
        network, _ = weights.load_network(builder, os.path.join(folder, "model.safetensors"))
    model = Model(network, spec=spec, config=config).eval()
    deviation = None if check is None else _proven(model, check)

    if target.suffix == SUFFIX:
        weights.save(model.network, target)
    else:
        model.save_pretrained(target, overwrite=overwrite)
    return Converted(
        out=target,
        model=entry.name,
        layout=layout,
        summary=converter.summary,
        kind=foreign.kind,
        sha256=foreign.sha256,
        names=tuple(names.items()),
        left_out=(*(name for name in found if name not in names), *foreign.left_out),
        walls=foreign.walls,
        deviation=deviation,
        notes=(*notes, *_notes_on(foreign, converter)),
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


def _notes_on(foreign: Foreign, converter: Converter) -> tuple[str, ...]:
    low = {t.dtype for t in foreign.tensors.values()} & {torch.float16, torch.bfloat16}
    widened = ("stored in 16 bits; widened to float32",) if low else ()
    return (*widened, "no licence is recorded: that of the file you converted holds")
