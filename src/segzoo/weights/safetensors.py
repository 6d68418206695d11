"""Weights: from a safetensors file into a network, and back.

A file is trusted by nobody. Its header is judged first (`segzoo.weights.header`) and compared with
the network before a byte of the body is read; the body is read once, into memory of our own, so
that nothing that happens to the file later reaches the tensors; its sha256 and its values are
checked in the same pass. The safetensors library makes tensors of the bytes, and bytes of tensors.
A stamp (`segzoo.base.cache`) spares the last two when the file has not
changed.
"""

import contextlib
import hashlib
import io
import json
import math
import mmap
import os
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import BufferedReader
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import safetensors.torch
import torch
from torch import Tensor, nn

from segzoo.base import files
from segzoo.base.cache import Stamp, read_stamp, write_stamp
from segzoo.base.strictjson import short, strict_json
from segzoo.errors import (
    IntegrityError,
    UsageError,
    WeightsFormatError,
    WeightsMismatchError,
    WeightsMissingError,
    WeightsValueError,
)
from segzoo.weights.header import (
    Header,
    TensorInfo,
    judge_header,
    open_regular,
    read_header,
)
from segzoo.weights.prefixes import prefix_before
from segzoo.weights.within import open_within, within

__all__ = [
    "Filled",
    "FoundDtype",
    "Given",
    "StoredDtype",
    "judge",
    "load_network",
    "read",
    "read_index",
    "save",
    "state_names",
]

AnyPath: TypeAlias = str | PathLike[str]
Shape: TypeAlias = list[int]
Group: TypeAlias = list[tuple[str, TensorInfo]]
StoredDtype = Literal["float32", "float16", "bfloat16"]
FoundDtype = Literal["float32", "float16", "bfloat16", "float64"]  # of somebody else's file

INDEX_SUFFIX = ".index.json"
MAX_INDEX = 2**20  # bytes
CHUNK = 2**23  # bytes read, and then hashed in another thread
# Values that torch adds up in one thread. Waking others costs more than it gains, and when the
# other cores are busy they wait for each other: 0.7 s instead of 0.02 s for 176 MB on two cores.
PIECE = 2**15 - 16
SHOWN = 5  # names of each kind in a message
BELOW = "Its names begin otherwise: segzoo convert FILE --to MODEL makes a model of such a file"

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "U16": torch.uint16,
    "U32": torch.uint32,
    "U64": torch.uint64,
    "BOOL": torch.bool,
    "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
CODES = {dtype: code for code, dtype in DTYPES.items()}
STORED: Mapping[FoundDtype, str] = {
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float64": "F64",
}


class Given(NamedTuple):
    """What a file has of its own: what stands before all names, and the type of its floats."""

    prefix: str = ""
    dtype: FoundDtype = "float32"


class Filled(NamedTuple):
    """A network with a file's weights. replaced: the names of those that are not the file's."""

    network: nn.Module
    replaced: tuple[str, ...]
    given: Given


def load_network(
    build: Callable[[], nn.Module],
    path: AnyPath,
    *,
    sha256: str | None = None,
    given: Given | None = Given(),  # noqa: B008  # a tuple
    replace: tuple[str, ...] = (),
    adapt: tuple[str, ...] = (),
    whole: Callable[[], nn.Module] | None = None,
    allow_nonfinite: bool = False,
    verify: bool = False,
    inside: bool = False,
) -> Filled:
    """The network that `build` makes, with the weights of a safetensors file or of an index.

    It is built on the "meta" device, so that no parameter is initialised only to be overwritten;
    once more on the CPU where it needs values that the file does not hold (buffers that are not
    saved, replaced parameters) or cannot be built on "meta". Its mode is left as built.

    given: the file may hold its type where the network has float32, which it becomes, and has its
    prefix before all names. None: both are found from the file, which is somebody else's.
    replace, adapt: prefixes of parameters ("heads", "encoder.0.conv_in"). Where such a parameter's
    shape is not the file's, it keeps its fresh values; under `adapt` the weight of a convolution
    with other input channels is made from the file's by `adapt_channels` instead. They are
    `replaced`, sorted.
    whole: makes the network that the file is of, where `build` makes a part of it; the file's
    tensors that only the whole has are left out.
    sha256, allow_nonfinite, verify, inside: as in `read`, which names the errors besides
    WeightsMismatchError (see `judge`). Parameters that the network ties must hold the same values
    under each of their names, and are tied again.
    """
    with _opened(path, inside=inside) as parts:
        stored = {name: info for part in parts for name, info in part.header.tensors.items()}
        network = _build_blank(build)
        expected = _tensors_of(network)
        given = given or _given(stored, expected)
        stored = {name.removeprefix(given.prefix): info for name, info in stored.items()}
        changed = judge(
            stored,
            expected,
            path=path,
            replaced=(*replace, *adapt),
            spare=frozenset(_tensors_of(_build_blank(whole)) if whole else ()),
            stored_dtype=given.dtype,
        )
        tensors = _read(parts, path, sha256, allow_nonfinite=allow_nonfinite, verify=verify)
    tensors = {name.removeprefix(given.prefix): tensor for name, tensor in tensors.items()}
    state = {
        name: tensors[name].to(tensor.dtype)
        for name, tensor in expected.items()
        if name not in changed
    }
    if given.dtype == "float64" and not allow_nonfinite:
        _refuse_values(_bad_values(state), path, "They are beyond float32's range")
    for name in changed:
        old, new = tensors[name], expected[name]
        if _is_under(name, adapt) and _differ_in(1, old.shape, new.shape):
            if old.ndim > 2 and old.numel() and new.numel():
                state[name] = adapt_channels(old.to(new.dtype), new.shape[1])
    own = chain(network.named_parameters(), network.named_buffers())
    if any(tensor.is_meta and name not in state for name, tensor in own):
        network = _build_real(build)
    _assign(network, state, path)
    return Filled(network, changed, given)


def state_names(build: Callable[[], nn.Module]) -> frozenset[str]:
    """The names of the tensors of the network that `build` makes."""
    return frozenset(_tensors_of(_build_blank(build)))


def read(
    path: AnyPath,
    *,
    sha256: str | None = None,
    allow_nonfinite: bool = False,
    verify: bool = False,
    inside: bool = False,
) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of all files that a `*.index.json` names, on the CPU.

    sha256: what the file's must be, in hex; there is none for an index. allow_nonfinite: take NaN,
    infinity and negative variances as they are. verify: check again what a stamp says was checked.
    inside: the folder is untrusted, and the file is to lie in it, as `open_within` judges it.

    WeightsMissingError, UnsafeFormatError and WeightsFormatError as in `open_within`,
    `read_header` and `read_index`, the last also when the file changes meanwhile; IntegrityError;
    WeightsValueError, which names the tensors.
    """
    with _opened(path, inside=inside) as parts:
        return _read(parts, path, sha256, allow_nonfinite=allow_nonfinite, verify=verify)


def _given(stored: Mapping[str, TensorInfo], expected: Collection[str]) -> Given:
    """What stands before every name of a file, and the one type of its floats beside float32."""
    own = stored.keys() == set(expected)
    prefix = "" if own else prefix_before(stored.keys(), expected)
    codes = {info.dtype for info in stored.values()}
    dtypes = [d for d, code in STORED.items() if code in codes and d != "float32"]
    return Given(prefix, dtypes[0] if len(dtypes) == 1 else "float32")


def judge(
    stored: Mapping[str, TensorInfo],
    state: Mapping[str, Tensor],
    *,
    path: AnyPath,
    replaced: tuple[str, ...] = (),
    spare: frozenset[str] = frozenset(),
    stored_dtype: FoundDtype = "float32",
) -> tuple[str, ...]:
    """Compare what a file holds with a network's state, whose tensors may be on "meta".

    Gives the sorted names under the prefixes `replaced` whose shapes differ. One
    WeightsMismatchError tells all else that differs: missing, unexpected (unless in `spare`), other
    shape, other type.
    """
    common = sorted(stored.keys() & state.keys())
    differ = {n for n in common if stored[n].shape != tuple(state[n].shape)}
    changed = tuple(n for n in common if n in differ and _is_under(n, replaced))
    shapes = {
        n: ([*stored[n].shape], [*state[n].shape]) for n in common if n in differ - {*changed}
    }
    types = {
        n: (stored[n].dtype, _code(state[n].dtype))
        for n in common
        if stored[n].dtype not in _accepted(state[n].dtype, stored_dtype)
    }
    missing, unexpected = state.keys() - stored.keys(), stored.keys() - state.keys() - spare
    faults = [
        *_listed("missing", map(short, sorted(missing))),
        *_listed("unexpected", map(short, sorted(unexpected))),
        *_listed("of another shape", map(_side_by_side, shapes.items())),
        *_listed("of another dtype", map(_side_by_side, types.items())),
    ]
    if faults:
        raise WeightsMismatchError(
            f"weights of another network: {'; '.join(faults)}",
            file=path,
            next_step=_hint([*shapes.values()], [*types.values()])
            or (
                BELOW if any(n.endswith(f".{min(missing)}") for n in unexpected if missing) else ""
            ),
        )
    return changed


def adapt_channels(weight: Tensor, in_channels: int) -> Tensor:
    """A convolution's weight (out, in, kH, kW) for another number of input channels.

    For one channel the sum over the old ones: a gray picture then gives what it gave as RGB. For
    more, the old ones in turn, scaled so that inputs of one size give outputs of the old size.
    """
    old = weight.shape[1]
    if in_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight[:, [i % old for i in range(in_channels)]] * (old / in_channels)


def save(
    state: nn.Module | Mapping[str, Tensor],
    path: AnyPath,
    *,
    metadata: Mapping[str, str] | None = None,
    dtype: StoredDtype | None = None,
) -> str:
    """Write a network's state as safetensors; gives the file's sha256 in hex.

    The same state gives the same bytes. Tied parameters are written under each of their names.
    dtype: store floating-point tensors so; None keeps their own types. The file appears at `path`
    whole or not at all. WeightsValueError for NaN, infinity (also by `dtype`) or a negative
    variance; UsageError for what safetensors cannot hold; OutputError when it cannot be written.
    """
    tensors = _storable(state.state_dict() if isinstance(state, nn.Module) else state, dtype)
    _refuse_values(_bad_values(tensors), path, "Nothing was written")
    data = safetensors.torch.save(tensors)
    start = 8 + int.from_bytes(data[:8], "little")
    head = data[:start]
    header = judge_header(head, len(data), path)  # what could not be read again is not written
    if metadata:  # the library would write it in an order of chance
        head = _head(header.tensors, metadata)
        judge_header(head, len(head) + len(data) - start, path)
    body = memoryview(data)[start:]
    digest = hashlib.sha256(head)
    digest.update(body)
    with files.replacing(path) as file:
        file.write(head)
        file.write(body)
    return digest.hexdigest()


def read_index(path: AnyPath) -> dict[str, Path]:
    """Which file holds each tensor, from a `*.index.json` as sharded weights come with.

    WeightsFormatError for an index that is not one, or that names anything but files that lie
    beside it; UnsafeFormatError as in `within`.
    """
    with open_regular(path) as file:
        raw = file.read(MAX_INDEX + 1)
    if len(raw) > MAX_INDEX:
        raise WeightsFormatError(
            "the index is too long", file=path, expected=f"at most {MAX_INDEX:,} bytes"
        )
    shards = strict_json(raw, path, what="the index", error=WeightsFormatError, levels=4).get(
        "weight_map"
    )
    if not isinstance(shards, dict) or {*map(type, shards.values())} != {str}:
        raise WeightsFormatError(
            "the index has no usable 'weight_map'", file=path, expected="tensor names and files"
        )
    folder = Path(path).parent
    files = {}
    for shard in sorted(set(shards.values())):
        try:
            files[shard] = within(folder, shard)
        except WeightsMissingError:
            raise WeightsFormatError(
                f"the index names a file that is missing: '{short(shard)}'",
                file=path,
                next_step="Fetch all files of the set again",
            ) from None
        except WeightsFormatError as error:
            raise WeightsFormatError(f"the index: {error.problem}", file=path) from None
    return {name: files[shard] for name, shard in shards.items()}


@dataclass(frozen=True)
class _Part:
    """One open file. status: before anything of it was read; began: when that was."""

    path: AnyPath
    file: BufferedReader
    header: Header
    status: os.stat_result
    began: float


@contextlib.contextmanager
def _opened(path: AnyPath, *, inside: bool = False) -> Iterator[list[_Part]]:
    """The file at `path`, or every file that an index names, with their headers read.

    Each is opened once. Those that an index names lie beside it; inside: so does the file itself.
    """
    index = read_index(path) if os.fspath(path).endswith(INDEX_SUFFIX) else {}
    with contextlib.ExitStack() as stack:
        parts = []
        files: list[AnyPath] = [*sorted(set(index.values()))] or [path]
        for each in files:
            began = time.time()
            file = stack.enter_context(
                open_within(*os.path.split(each)) if inside or index else open_regular(each)
            )
            status = os.fstat(file.fileno())
            parts.append(_Part(each, file, read_header(file, each), status, began))
        for part in parts if index else ():
            claimed = {name for name, shard in index.items() if shard == part.path}
            if claimed != part.header.tensors.keys():
                odd = min(claimed ^ part.header.tensors.keys())
                raise WeightsFormatError(
                    f"the file and its index disagree on tensor '{short(odd)}'", file=part.path
                )
        yield parts


def _read(
    parts: list[_Part], path: AnyPath, sha256: str | None, *, allow_nonfinite: bool, verify: bool
) -> dict[str, Tensor]:
    if sha256 is not None and parts[0].path != path:
        raise UsageError("an index of several files has no sha256 of its own", file=path)
    tensors: dict[str, Tensor] = {}
    for part in parts:
        stamp = None if verify else read_stamp(part.path, part.status)
        look = not allow_nonfinite and not (stamp and stamp.finite)
        found, actual = _tensors_and_hash(part, stamp.sha256 if stamp else None)
        faults = _bad_values(found) if look else []
        _refuse_change(part)
        if sha256 is not None and actual != sha256.lower():
            raise IntegrityError(
                "its sha256 is not the declared one",
                file=part.path,
                found=actual,
                expected=sha256,
                next_step="Fetch it again",
            )
        _refuse_values(faults, part.path, "To use them all the same, give allow_nonfinite=True")
        if stamp is None or look:
            finite = look or (stamp is not None and stamp.finite)
            write_stamp(part.path, part.status, Stamp(actual, finite), began=part.began)
        tensors |= found
    return tensors


def _tensors_and_hash(part: _Part, known: str | None) -> tuple[dict[str, Tensor], str]:
    """What a file holds, and its sha256, which is not computed when it is `known`.

    Each byte is read once and goes to the hash and to the safetensors library, which copies it. So
    that this takes a file's memory once and not twice, the library is given some megabytes at a
    time: tensors that lie behind each other, with a header of their own. Meanwhile another thread
    computes the hash of what came before.
    """
    header, tensors = part.header, dict[str, Tensor]()
    digest = hashlib.sha256(header.raw)
    _refuse_more_than_memory(header.file_size - header.data_start, part.path)
    part.file.seek(header.data_start)
    with ThreadPoolExecutor(1) as beside:
        hashed = None
        for group in _groups(header.tensors):
            head = _head_of(group)
            whole = _with_body(head, part, group[-1][1].end - group[0][1].begin)
            if hashed is not None:
                hashed.result()
            if known is None:
                hashed = beside.submit(digest.update, memoryview(whole)[len(head) :])
            tensors |= _parsed(whole, part.path)
    return {name: tensors[name] for name in header.tensors}, known or digest.hexdigest()


def _head(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str] | None = None) -> bytes:
    """The first bytes of a safetensors file that holds these tensors, in this order."""
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    for name, info in tensors.items():
        place = [info.begin, info.end]
        header[name] = {"dtype": info.dtype, "shape": info.shape, "data_offsets": place}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that tensors lie aligned in the file
    return len(text).to_bytes(8, "little") + text


def _groups(tensors: Mapping[str, TensorInfo]) -> Iterator[Group]:
    """All tensors as they lie in the file, in groups of a chunk's size; a larger one is alone."""
    group: Group = []
    for item in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if group and item[1].end - group[0][1].begin > CHUNK:
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def _head_of(group: Group) -> bytes:
    """The first bytes of a file that holds the tensors of a group alone."""
    start = group[0][1].begin
    moved = {n: replace(i, begin=i.begin - start, end=i.end - start) for n, i in group}
    return _head(moved)


def _parsed(content: bytes, path: AnyPath) -> dict[str, Tensor]:
    """The tensors of a file's content, each in memory of its own: saving one does not save all."""
    try:
        return safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise WeightsFormatError(
            f"the safetensors library cannot read it: {short(str(error))}", file=path
        ) from None


def _refuse_more_than_memory(size: int, path: AnyPath) -> None:
    """Ask for that much memory and give it back: the library ends Python when it gets none."""
    try:
        mmap.mmap(-1, max(size, 1)).close()
    except (OSError, MemoryError, OverflowError):
        raise WeightsFormatError(
            f"its tensors need {size / 2**30:.1f} GiB, more memory than there is", file=path
        ) from None


def _with_body(head: bytes, part: _Part, size: int) -> bytes:
    """`head`, and behind it the next `size` bytes of the file.

    They are read to where they belong, as joining them would touch as much memory once more.
    """
    whole = io.BytesIO()
    whole.write(head)
    if size:  # as long as it will be
        whole.seek(size - 1, os.SEEK_CUR)
        whole.write(b"\0")
    try:
        with whole.getbuffer() as content, content[len(head) :] as body:
            found = part.file.readinto(body)
    except OSError as error:
        raise WeightsFormatError(f"cannot be read: {error.strerror}", file=part.path) from None
    if found < size:
        raise WeightsFormatError(
            "the file became shorter while it was read",
            file=part.path,
            expected=f"{part.header.file_size:,} bytes",
            next_step="Load it when it is complete",
        )
    return whole.getvalue()


def _refuse_change(part: _Part) -> None:
    before, after = part.status, os.fstat(part.file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise WeightsFormatError(
            "the file changed while it was read",
            file=part.path,
            next_step="Load it when it is complete",
        )


def _bad_values(tensors: Mapping[str, Tensor]) -> list[str]:
    """What no network can use, in words by kind: values that are not finite, negative variances."""
    infinite, negative = [], []
    for name, tensor in sorted(tensors.items()):
        if not tensor.is_floating_point() and not tensor.is_complex():
            continue
        values = torch.view_as_real(tensor) if tensor.is_complex() else tensor
        values = values.float() if values.itemsize == 1 else values  # float8 cannot be added
        # A sum of finite values is finite, or overflows; only then each value is looked at.
        pieces = torch.split(values.reshape(-1), PIECE)
        if not math.isfinite(sum(piece.sum().item() for piece in pieces)):
            count = values.numel() - int(torch.isfinite(values).sum())
            infinite += [f"{short(name)} ({count:,})"] if count else []
        if name.endswith("running_var"):
            count = int((values < 0).sum())
            negative += [f"{short(name)} ({count:,})"] if count else []
    return [*_listed("with NaN or infinity", infinite), *_listed("with negative values", negative)]


def _refuse_values(faults: list[str], path: AnyPath, next_step: str) -> None:
    if faults:
        raise WeightsValueError(
            f"tensors that no network can use: {'; '.join(faults)}", file=path, next_step=next_step
        )


def _build_blank(build: Callable[[], nn.Module]) -> nn.Module:
    """The network on "meta", without memory or values; on the CPU when it cannot be built there."""
    network = None
    with contextlib.suppress(Exception), torch.device("meta"):
        network = build()  # a builder that looks at a value fails, as "meta" has none
    if network is None or _has_loose_blanks(network):
        return _build_real(build)
    return network


def _build_real(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("cpu"):
        return build()


def _has_loose_blanks(network: nn.Module) -> bool:
    """Whether a module keeps a tensor without values outside its parameters and buffers."""

    def blank(value: object) -> bool:
        if isinstance(value, Mapping):
            return any(map(blank, value.values()))
        if isinstance(value, list | tuple):
            return any(map(blank, value))
        return isinstance(value, Tensor) and value.is_meta

    ours = ("_parameters", "_buffers", "_modules")
    return any(
        blank(value)
        for module in network.modules()
        for name, value in vars(module).items()
        if name not in ours
    )


def _tensors_of(network: nn.Module) -> dict[str, Tensor]:
    return {n: t for n, t in network.state_dict().items() if isinstance(t, Tensor)}


def _assign(network: nn.Module, state: Mapping[str, Tensor], path: AnyPath) -> None:
    """Make `state` the network's own, without a copy. What it lacks stays as it is."""
    tied = defaultdict(list)
    for name, parameter in network.named_parameters(remove_duplicate=False):
        tied[id(parameter)].append(name)
    network.load_state_dict({**network.state_dict(), **state}, assign=True)
    for first, *others in tied.values():
        for name in others:
            kept, twin = network.get_parameter(first), network.get_parameter(name)
            if not torch.allclose(kept, twin, rtol=0, atol=0, equal_nan=True):
                raise WeightsMismatchError(
                    f"the network has one parameter as '{first}' and '{name}'; "
                    "the file has different values for them",
                    file=path,
                )
            owner, _, leaf = name.rpartition(".")
            setattr(network.get_submodule(owner), leaf, kept)


def _storable(state: Mapping[str, Tensor], dtype: StoredDtype | None) -> dict[str, Tensor]:
    """Contiguous tensors on the CPU, no two of which share memory, which the library refuses.

    UsageError for what safetensors cannot hold.
    """
    tensors, places = {}, set[int]()
    for name, value in state.items():
        if not isinstance(value, Tensor) or value.is_meta or value.layout != torch.strided:
            tensor = isinstance(value, Tensor)
            raise UsageError(
                f"'{short(name)}' cannot be saved",
                found=f"{value.layout} on {value.device}" if tensor else type(value).__name__,
                expected="a dense tensor with values",
            )
        if value.dtype not in CODES:
            raise UsageError(
                f"'{short(name)}' cannot be saved",
                found=str(value.dtype),
                expected=f"one of {', '.join(CODES.values())}",
            )
        if dtype is not None and value.is_floating_point():
            value = value.to(getattr(torch, dtype))
        value = value.detach().cpu().contiguous()
        place = value.untyped_storage().data_ptr()
        tensors[name] = value.clone() if place in places else value
        places.add(place)
    return tensors


def _is_under(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(f"{name}.".startswith(prefix.rstrip(".") + ".") for prefix in prefixes)


def _differ_in(axis: int, first: Sequence[int], second: Sequence[int]) -> bool:
    """Whether two shapes are alike but for this axis."""
    pairs = [*zip(first, second, strict=False)]
    return len(first) == len(second) and [i for i, (a, b) in enumerate(pairs) if a != b] == [axis]


def _code(dtype: torch.dtype) -> str:
    return CODES.get(dtype, str(dtype))


def _accepted(dtype: torch.dtype, stored_dtype: FoundDtype) -> set[str]:
    return {_code(dtype)} | ({STORED[stored_dtype]} if dtype == torch.float32 else set())


def _side_by_side(item: tuple[str, tuple[object, object]]) -> str:
    name, (found, expected) = item
    return f"{short(name)} (found {found}, expected {expected})"


def _listed(kind: str, names: Iterable[str]) -> list[str]:
    """One phrase with the count and the first names; none when there are none."""
    names = [*names]
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return [f"{len(names):,} {kind}: {', '.join(names[:SHOWN])}{more}"] if names else []


def _hint(shapes: list[tuple[Shape, Shape]], types: list[tuple[str, str]]) -> str:
    """What would make a mismatch go away, where that can be guessed from what it has in common."""
    first = {(f[0], e[0]) for f, e in shapes if _differ_in(0, f, e)}
    second = {(f[1], e[1]) for f, e in shapes if _differ_in(1, f, e)}
    if len(first) == 1 and not second:
        [(stored, _)] = first
        return f"If the first side is the number of classes, load with num_classes={stored}"
    if len(second) == 1 and len(shapes) == 1:
        [(stored, _)] = second
        return f"If the second side is the input channels, load with in_channels={stored}"
    if types:
        return "Save its floating-point tensors as float32"
    return ""
