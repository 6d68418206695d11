"""The header of a safetensors file, judged before anything else of the file is read.

A safetensors file is 8 bytes N (little-endian), N bytes of JSON that name each tensor with its
type, shape and place, and then the tensors' bytes without a hole. The format:
https://huggingface.co/docs/safetensors. The rules here are stricter: bounds on the header's
length, on tensors, names and sizes, so that a file from anywhere costs at most some megabytes and a
fraction of a second before it is refused.
"""

import io
import math
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import BinaryIO, NoReturn, TypeAlias

from segzoo.base.strictjson import short, strict_json
from segzoo.errors import UnsafeFormatError, WeightsFormatError, WeightsMissingError

__all__ = [
    "BYTES_PER_VALUE",
    "Header",
    "TensorInfo",
    "judge_header",
    "open_regular",
    "read_header",
    "refuse_irregular",
]

AnyPath: TypeAlias = str | PathLike[str]

MAX_HEADER = 8 * 2**20  # bytes
MAX_TENSORS = 20_000
MAX_NAME = 1024  # characters
MAX_RANK = 64
MAX_DIMENSION = 2**31
MAX_VALUES = 2**40  # in one tensor

BYTES_PER_VALUE = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "U16": 2,
    "U32": 4,
    "U64": 8,
    "BOOL": 1,
    "C64": 8,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
}

PATH_LIKE = re.compile(r"[/\\]|(.*[/\\])?\.\.([/\\]|$)")
LFS_POINTER = b"version https://git-lfs.github.com/spec"
SAVE_AS = "Save its tensors as safetensors, where the file is trusted"
FETCH_AGAIN = "Fetch it again"


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of the file. begin, end: its bytes, counted from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a file says it holds. data_start, file_size: in bytes.

    raw: the first `data_start` bytes, so that a hash covers the very bytes that were judged.
    """

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    data_start: int
    file_size: int
    raw: bytes = field(repr=False)


def open_regular(path: AnyPath) -> io.BufferedReader:
    """Open an ordinary file for reading; a link to one is followed.

    WeightsMissingError when there is none or it may not be opened; UnsafeFormatError, without
    opening it, for a folder, pipe, socket or device.
    """
    try:
        refuse_irregular(os.stat(path).st_mode, path)
        # O_NONBLOCK: open() does not wait, should a pipe have taken the file's place meanwhile.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(path, flags), "rb")
    except FileNotFoundError:
        raise WeightsMissingError("the file does not exist", file=path) from None
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise WeightsMissingError(f"the file cannot be opened: {cause}", file=path) from None
    try:
        refuse_irregular(os.fstat(file.fileno()).st_mode, path)
    except UnsafeFormatError:
        file.close()
        raise
    return file


def refuse_irregular(mode: int, path: AnyPath) -> None:
    """UnsafeFormatError when `mode`, from os.stat, is not that of an ordinary file."""
    if stat.S_ISREG(mode):
        return
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    kind = kinds.get(stat.S_IFMT(mode), "a device")
    raise UnsafeFormatError("not a file of weights", file=path, found=kind, expected="a file")


def read_header(file: BinaryIO, path: AnyPath) -> Header:
    """Read and judge the header; `path` is for messages only.

    Reads at most 512 bytes or the header, whichever is longer. UnsafeFormatError for a file of
    another kind, known by its first bytes; WeightsFormatError, which names the tensor, for a
    header that breaks a rule or does not cover the file exactly.
    """
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(512)
        _refuse_other_kinds(head, path)
        length = int.from_bytes(head[:8], "little")
        if size <= 8:
            _fail(path, "truncated header", f"a file of {size} bytes", "more than 8 bytes")
        if length > MAX_HEADER:
            _fail(path, "the header is too long", f"{length:,} bytes", f"at most {MAX_HEADER:,}")
        if length > size - 8:
            found = f"{size - 8:,} bytes after its length"
            _fail(path, "truncated header", found, f"{length:,}", FETCH_AGAIN)
        file.seek(0)
        raw = file.read(8 + length)
    except OSError as error:
        raise WeightsFormatError(f"cannot be read: {error.strerror}", file=path) from None
    if len(raw) < 8 + length:
        _fail(path, "the file became shorter while it was read", f"{len(raw):,} bytes", f"{size:,}")
    return judge_header(raw, size, path)


def judge_header(raw: bytes, file_size: int, path: AnyPath) -> Header:
    """The header in `raw`, the first bytes of a file of `file_size` bytes.

    WeightsFormatError as in `read_header`.
    """
    if raw[8:9] != b"{":
        _fail(path, "the header is not JSON", repr(raw[8:24]), "'{' first")
    count = raw.count(b'"data_offsets"')  # exact, as a quote inside a string is escaped
    if count > MAX_TENSORS:
        _fail(path, "the header has too many tensors", f"{count:,}", f"at most {MAX_TENSORS:,}")
    parsed = strict_json(raw[8:], path, what="the header", error=WeightsFormatError, levels=4)
    metadata = _metadata(parsed.pop("__metadata__", {}), path)
    tensors = {name: _tensor(name, entry, path) for name, entry in parsed.items()}
    _judge_places(tensors, file_size - len(raw), path)
    return Header(tensors, metadata, len(raw), file_size, raw)


def _refuse_other_kinds(head: bytes, path: AnyPath) -> None:
    """Pickles and other kinds of file are told by their bytes, whatever the file's name says."""
    if head[4:8] == bytes(4) and head[8:9] == b"{":
        return  # a length may begin with any bytes: 640 has those of a pickle
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        kind, next_step = "a Python pickle, which can run code", SAVE_AS
    elif head.startswith(b"PK\x03\x04"):
        kind, next_step = "a zip archive, as torch.save writes it with a pickle inside", SAVE_AS
    elif head.startswith(b"\x1f\x8b"):
        kind, next_step = "a gzip archive", "Unpack it first; segzoo reads safetensors only"
    elif text.startswith((b"<!doctype", b"<html", b"<?xml")):
        kind, next_step = "an HTML or XML page", "Download the file itself, not its page"
    elif head.startswith(LFS_POINTER):
        kind, next_step = "a git-LFS pointer", "Run git lfs pull where the file was cloned"
    else:
        return
    raise UnsafeFormatError(
        "not safetensors", file=path, found=kind, expected="a safetensors file", next_step=next_step
    )


def _metadata(value: object, path: AnyPath) -> dict[str, str]:
    if not isinstance(value, dict):
        _fail(path, "'__metadata__' is not a JSON object", type(value).__name__)
    for key, text in value.items():
        if not isinstance(text, str):
            found = type(text).__name__
            _fail(path, f"'__metadata__' holds '{short(key)}'", found, "a string")
    return value


def _tensor(name: str, entry: object, path: AnyPath) -> TensorInfo:
    if not name.isprintable() or not 0 < len(name) <= MAX_NAME or PATH_LIKE.match(name):
        _fail(
            path,
            "a tensor's name is not allowed",
            f"'{short(name)}' ({len(name):,} characters)",
            f"1 to {MAX_NAME:,} printable characters, not a path",
        )

    def fail(problem: str, found: object, expected: str) -> NoReturn:
        _fail(path, f"tensor '{short(name)}': {problem}", short(found), expected)

    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        keys = ", ".join(sorted(entry)) or "none" if isinstance(entry, dict) else entry
        fail("its entry has other keys", keys, "data_offsets, dtype, shape")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BYTES_PER_VALUE:
        fail("unknown dtype", dtype, f"one of {', '.join(BYTES_PER_VALUE)}")
    if not _are_counts(shape) or len(shape) > MAX_RANK or max(shape, default=0) > MAX_DIMENSION:
        fail("bad shape", shape, f"up to {MAX_RANK} integers from 0 to {MAX_DIMENSION}")
    if math.prod(filter(None, shape)) > MAX_VALUES:
        fail("bad shape", shape, f"at most {MAX_VALUES} values")
    if not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        fail("bad data_offsets", offsets, "[begin, end], 0 <= begin <= end")
    begin, end = offsets
    size = math.prod(shape) * BYTES_PER_VALUE[dtype]
    if end - begin != size:
        fail("its place has another size", f"{end - begin} bytes", f"{size} for {dtype} {shape}")
    return TensorInfo(dtype, tuple(shape), begin, end)


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def _judge_places(tensors: Mapping[str, TensorInfo], size: int, path: AnyPath) -> None:
    """The tensors lie one behind the other and fill the `size` bytes after the header."""
    at = 0
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if info.begin != at:
            problem = "overlaps the one before it" if info.begin < at else "leaves a hole before it"
            _fail(path, f"tensor '{short(name)}' {problem}", f"byte {info.begin}", f"byte {at}")
        at = info.end
    if at != size:
        problem = f"{abs(at - size):,} bytes are {'missing' if at > size else 'left over'}"
        _fail(path, problem, f"{size:,} bytes of tensors", f"{at:,}", FETCH_AGAIN)


def _fail(
    path: AnyPath, problem: str, found: str = "", expected: str = "", next_step: str = ""
) -> NoReturn:
    raise WeightsFormatError(
        problem, file=path, found=found, expected=expected, next_step=next_step
    )
