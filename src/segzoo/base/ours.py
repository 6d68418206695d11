"""Whether what stands where segzoo would write is segzoo's own, and may be written over.

An output of a command has a fixed name in a folder that a person gives, and the name may be taken:
a config.json of another program, a preview.png that is a photo. Every command asks here, before it
begins to work. A file of JSON is known by its keys, a sheet by a word in its PNG, a page by its
generator, an archive by its members; others by a file beside them that is known so.
"""

import json
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from os import PathLike
from types import MappingProxyType

from segzoo.errors import OutputError

__all__ = [
    "BESIDE",
    "KEYS",
    "MEMBERS",
    "PAGE",
    "PREDICTED",
    "SHEET",
    "is_ours",
    "is_output",
    "known_by",
    "refuse_others",
    "signed",
]

# Keys that a file of JSON has when it is ours; of .jsonl its first line.
KEYS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "config.json": frozenset({"library", "plugin", "preprocess", "postprocess"}),
        "done.jsonl": frozenset({"settings", "listed", "pictures"}),
        "errors.jsonl": frozenset({"input", "error", "message"}),
        "folds.json": frozenset({"values", "mean", "standard_deviation"}),
        "labels.json": frozenset({"model", "license", "trained_on", "confidence"}),
        "manifest.json": frozenset({"format_version", "files", "digest"}),
        "metrics.json": frozenset({"values", "intervals", "protocol"}),
        "model.sig": frozenset({"mediaType", "verificationMaterial", "dsseEnvelope"}),
        "plan.json": frozenset({"asked", "lines", "considered"}),
        "prune.json": frozenset({"data", "within", "parts", "chosen"}),
        "run.json": frozenset({"recipe", "identity", "machine"}),
    }
)
# Which file of the same folder tells whose a file is that does not say it itself.
BESIDE: Mapping[str, str] = MappingProxyType(
    {
        "README.md": "labels.json",
        "confusion.csv": "metrics.json",
        "confusion.png": "metrics.json",
        "curves.png": "run.json",
        "metrics.jsonl": "run.json",
        "model": "run.json",
        "model.safetensors": "config.json",
        "panels.png": "metrics.json",
        "pictures.zip": "metrics.json",
        "rows.csv": "metrics.json",
        "worst.png": "metrics.json",
    }
)
# Of a composed data set; those that were made before it named its classes lack the last.
MEMBERS = frozenset({"images.npy", "masks.npy", "index.npy", "classes.npy"})
PNG_HEAD = 33  # bytes: the signature and the chunk IHDR
TIFF, TIFF_HEADS = b"II", (8, 16)  # bytes of a TIFF and a BigTIFF, behind which ours say the word
SHEET, PREDICTED = b"segzoo data preview", b"segzoo predict"  # what a PNG says wrote it
PAGE = b"segzoo"  # what a page says that wrote it
PAGE_HEAD = b'<meta name="generator" content="' + PAGE + b'">'  # near its beginning
SOFTWARE = b"Software\0"  # before that, in the chunk after it
MAX_BYTES = 1 << 26  # of a file of JSON, or of the first line of one of lines
PART = re.compile(r"-[0-9]{1,7}-of-[0-9]{1,7}(?=\.jsonl$)")  # in the name of a part's own file


def refuse_others(paths: Iterable[str | PathLike[str]], *, next_step: str = "") -> None:
    """OutputError for what stands at one of the paths and is not segzoo's.

    next_step: what to do instead, beside moving it away.
    """
    others = [path for path in map(os.fsdecode, paths) if os.path.lexists(path)]
    others = [path for path in others if not is_ours(path)]
    if others:
        more = [os.path.basename(path) for path in others[1:]]
        raise OutputError(
            "is there, and segzoo did not write it" + (f"; nor {', '.join(more)}" if more else ""),
            file=others[0],
            next_step=f"Move it away, or {next_step or 'choose another folder with -o'}",
        )


def is_ours(path: str | PathLike[str]) -> bool:
    """Whether segzoo wrote what stands there, as far as that can be seen. An empty file is free."""
    folder, name = os.path.split(os.fsdecode(path))
    name = PART.sub("", name)
    try:
        status = os.stat(path)
        is_file = stat.S_ISREG(status.st_mode)
        if is_file and status.st_size == 0:
            return True
        if name in BESIDE:
            return is_ours(os.path.join(folder, BESIDE[name]))
        if not is_file:
            return False
        if name in KEYS:
            bounded = name.endswith(".jsonl") or status.st_size <= MAX_BYTES
            return bounded and KEYS[name] <= _keys(path, name)
        if name.endswith(".npz"):
            with zipfile.ZipFile(path) as archive:
                return {*archive.namelist()} in (MEMBERS, MEMBERS - {"classes.npy"})
        return _is_page(path) if name.endswith(".html") else _is_signed(path, SHEET)
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile, NotImplementedError):
        return False


def known_by(name: str) -> tuple[str, ...]:
    """A file's name, and the names of those beside it that are ours where it is."""
    return name, *(other for other, tells in BESIDE.items() if tells == name)


def is_output(path: str | PathLike[str]) -> bool:
    """Whether a file is a PNG, or a TIFF in tiles, that a prediction has made."""
    try:
        return _is_signed(path, PREDICTED)
    except (OSError, ValueError):
        return False


def _is_signed(path: str | PathLike[str], by: bytes) -> bool:
    with open(path, "rb") as file:
        head = file.read(PNG_HEAD + 64)
    if head.startswith(TIFF):
        return any(head[place:].startswith(by + b"\0") for place in TIFF_HEADS)
    return SOFTWARE + by in head[PNG_HEAD:]


def _is_page(path: str | PathLike[str]) -> bool:
    with open(path, "rb") as file:
        return PAGE_HEAD in file.read(256)


def signed(png: bytes, *, by: bytes) -> bytes:
    """A PNG that says what wrote it: SHEET, which may be written anew, or PREDICTED."""
    word = SOFTWARE + by
    chunk = b"tEXt" + word
    whole = len(word).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    return png[:PNG_HEAD] + whole + png[PNG_HEAD:]


def _keys(path: str | PathLike[str], name: str) -> set[str]:
    with open(path, "rb") as file:
        found = json.loads(file.readline(MAX_BYTES) if name.endswith(".jsonl") else file.read())
    return set(found) if isinstance(found, dict) else set()
