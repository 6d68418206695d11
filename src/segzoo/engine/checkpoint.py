"""Checkpoints: folders that hold a run's whole state and are there whole or not at all.

    folder = begin(run, 120)                       run/step-00000120.tmp-<uuid>/
    write_tensors(folder, "model", state)          every process may write files of its own
    publish(folder, about={...})                   run/step-00000120/
    found = find(run)
    state = found.tensors("model")

Each file is forced to the disk, `manifest.json` with the sha256 of all of them is the last, and
only then the folder gets its name: a power cut leaves the old checkpoints and at most litter, which
`clean` removes. The latest is never pointed to but computed: the highest step whose manifest
verifies. Tensors are safetensors and the rest is JSON, so that a checkpoint of a stranger is data.

A folder has three names: `step-N`; `step-N.tmp-<uuid>`, which is being written or deleted; and
`step-N.old-<uuid>`, a whole one while another of the same step takes its place.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from segzoo.base.files import FULL, unwritable
from segzoo.base.records import Json
from segzoo.base.strictjson import short, strict_json
from segzoo.base.terminal import warn
from segzoo.errors import (
    CheckpointError,
    SegzooError,
    UsageError,
)
from segzoo.spec import SHA256
from segzoo.weights import safetensors as weights
from segzoo.weights.header import judge_header
from segzoo.weights.safetensors import CODES
from segzoo.weights.within import open_within, within

__all__ = [
    "MANIFEST",
    "RESUME",
    "Checkpoint",
    "begin",
    "clean",
    "exists",
    "find",
    "names",
    "prune",
    "publish",
    "steps",
    "write_json",
    "write_tensors",
]

Buffer: TypeAlias = bytes | memoryview

FORMAT = 1  # of the manifest
MANIFEST = "manifest.json"
MAX_JSON = 2**24  # bytes of one file
LEVELS = 16  # of nested JSON
FOLDER = re.compile(r"step-(\d{8}|[1-9]\d{8,18})(?:\.(tmp|old)-[0-9a-f]{32})?")
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
# The disk, a quota, or the largest file that the file system can hold.
RESUME = "Free some space and resume the run"
UNSUPPORTED = {errno.EINVAL, errno.ENOTSUP}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that verified when it was found.

    about: what `publish` was given. hashes: file name -> sha256 in hex.
    """

    path: Path
    step: int
    about: Mapping[str, Json]
    hashes: Mapping[str, str]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of NAME.safetensors, contiguous, on the CPU.

        CheckpointError when the manifest does not name the file, or the file is no longer the one
        that it names.
        """
        file = f"{name}.safetensors"
        expected = self._sha256(file)
        with _judging(self.path / file):
            return weights.read(
                self.path / file, sha256=expected, allow_nonfinite=True, verify=True, inside=True
            )

    def json(self, name: str) -> dict[str, Json]:
        """The content of NAME.json. CheckpointError as in `tensors`."""
        file = f"{name}.json"
        expected = self._sha256(file)
        with _judging(self.path / file):
            raw = _bounded(self.path, file)
            if hashlib.sha256(raw).hexdigest() != expected:
                raise CheckpointError("its sha256 is not the manifest's", file=self.path / file)
            return _parsed(raw, self.path / file)

    def _sha256(self, file: str) -> str:
        if file not in self.hashes:
            raise CheckpointError(
                f"the checkpoint has no '{file}'",
                file=self.path,
                found=", ".join(map(short, sorted(self.hashes))) or "no files",
            )
        return self.hashes[file]


def begin(run: Path, step: int) -> Path:
    """Make the folder in which the checkpoint of this step is written aside, and give its path.

    The run's folder must be there. One process calls this and tells the others. OutputError when
    it cannot be made, ResourceError when the disk is full.
    """
    folder = _aside(run, step, "tmp")
    with _changing(folder):
        folder.mkdir()
    return folder


def write_tensors(folder: Path, name: str, tensors: Mapping[str, Tensor]) -> None:
    """Write NAME.safetensors and force it to the disk.

    Tensors of any type, device and strides; NaN is allowed; what shares memory is written under
    each of its names. One tensor at a time is copied.

    When this or another function here that writes into `folder` fails, the folder is deleted, as
    it cannot become a checkpoint any more. UsageError for what safetensors cannot hold,
    WeightsFormatError for a name that it may not have, ResourceError with the bytes needed and
    free when the disk is full, OutputError when the folder cannot be written.
    """
    path = _path(folder, name, "safetensors")
    with _whole_or_deleted(folder):
        order = sorted(tensors, key=lambda key: (-tensors[key].element_size(), key))
        header, at = {}, 0
        for key in order:
            tensor = tensors[key]
            if tensor.dtype not in CODES or tensor.layout != torch.strided or tensor.is_meta:
                kind = f"{tensor.dtype}, {tensor.layout}, on {tensor.device}"
                raise UsageError(f"a checkpoint cannot hold '{short(key)}'", found=kind)
            end = at + tensor.nbytes
            code, shape = CODES[tensor.dtype], list(tensor.shape)
            header[key] = {"dtype": code, "shape": shape, "data_offsets": [at, end]}
            at = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # so that tensors lie aligned in the file
        raw = len(text).to_bytes(8, "little") + text
        judge_header(raw, len(raw) + at, path)  # what could not be read again is not written
        _write(path, len(raw) + at, chain([raw], (_data(tensors[key]) for key in order)))


def write_json(folder: Path, name: str, value: Mapping[str, Json]) -> None:
    """Write NAME.json and force it to the disk.

    UsageError for what is not JSON, which has neither NaN nor infinity, and for a whole number of
    more than 20 digits. Other errors, and what becomes of `folder`, as in `write_tensors`.
    """
    path = _path(folder, name, "json")
    with _whole_or_deleted(folder):
        _write_json(path, value)


def publish(folder: Path, *, about: Mapping[str, Json]) -> Path:
    """Make the folder from `begin` a checkpoint, in one move, and give its path.

    One process calls this, when each process has said that its files are written: a file that is
    not there is not missed. A checkpoint of the same step is replaced; until the new one is there
    it is found. Errors, and what becomes of `folder`, as in `write_json`.
    """
    run, step = folder.parent, _step(folder)
    final, replaced = run / _name(step), None
    with _whole_or_deleted(folder):
        files = {path.name: _described(path) for path in sorted(folder.iterdir())}
        manifest = {"format": FORMAT, "step": step, "files": files, "about": about}
        _write_json(folder / MANIFEST, manifest)
        _sync_folder(folder)
        if final.exists():
            replaced = final.rename(_aside(run, step, "old"))
            _sync_folder(run)
        folder.rename(final)
        _sync_folder(run)
    if replaced is not None:
        _delete(replaced)
    return final


def find(run: Path, *, step: int | None = None, warn: Callable[[str], object] = warn) -> Checkpoint:
    """The newest checkpoint that verifies, or the one of `step`. Nothing is changed.

    warn: told of each damaged one that is passed over. CheckpointError when none is whole, or the
    one of `step` is damaged or missing.
    """
    there = [(number, path) for number, kind, path in _folders(run) if kind != "tmp"]
    steps = [number for number, _ in there]
    if step is not None and step not in steps:
        found = ", ".join(map(str, sorted(steps))) or "none"
        raise CheckpointError(f"there is no checkpoint of step {step}", file=run, found=found)
    for number, path in there:
        if step in (None, number):
            try:
                return _verified(path, number)
            except CheckpointError as error:
                if step is not None:
                    raise
                warn(f"a damaged checkpoint is passed over: {error}")
    raise CheckpointError(
        "there is no whole checkpoint",
        file=run,
        found=f"{len(there)} damaged" if there else "none",
        next_step="Begin the run anew",
    )


def prune(run: Path, *, keep_last: int, keep: Iterable[int] = ()) -> None:
    """Delete all checkpoints but the newest `keep_last`, at least one, and the steps `keep`.

    One that is seen to be damaged (a file missing or cut; hashes are not computed) does not count
    as one of the newest, and is left. OutputError when the run's folder cannot be changed.
    """
    kept, left = set(keep), max(keep_last, 1)
    for number, kind, path in _folders(run):
        if kind == "":
            try:
                _manifest(path, number)
            except CheckpointError:
                continue
            left -= 1
            if left < 0 and number not in kept:
                _delete(path)


def exists(run: Path) -> bool:
    """Whether a folder holds a checkpoint that was finished, damaged or not."""
    return any(kind != "tmp" for _, kind, _ in _folders(run))


def steps(run: Path) -> list[int]:
    """The steps of the checkpoints that were finished, damaged or not, in their order."""
    there = _folders(run) if run.is_dir() else []
    return sorted({number for number, kind, _ in there if kind != "tmp"})


def names(run: Path) -> list[str]:
    """The names in a folder that are those of checkpoints, finished or not."""
    return [path.name for _, _, path in _folders(run)] if run.is_dir() else []


def clean(run: Path, *, after: int | None = None) -> None:
    """Remove what killed processes left behind. The caller holds the run's lock.

    after: the step that the run goes on from. Checkpoints of later steps are deleted too: `find`
    passed over them as damaged, or the run has gone back, and what it writes must not be mixed
    with them. OutputError when the run's folder cannot be changed.
    """
    found = _folders(run)
    whole = {number for number, kind, _ in found if kind == ""}
    for number, kind, path in found:
        later = after is not None and number > after
        if kind == "old" and number not in whole and not later:
            with _changing(path):
                path.rename(run / _name(number))
            whole.add(number)
        elif kind or later:
            _delete(path)


# --- reading what may be damaged or a stranger's --------------------------------------------------


def _folders(run: Path) -> list[tuple[int, str, Path]]:
    """(step, "" or "tmp" or "old", path) of every folder of ours, the newest first; no links."""
    found = []
    with _judging(run), os.scandir(run) as entries:
        for entry in entries:
            match = FOLDER.fullmatch(entry.name)
            if match and entry.is_dir(follow_symlinks=False):
                found.append((int(match[1]), match[2] or "", Path(entry.path)))
    return sorted(found, key=lambda item: (-item[0], item[1], item[2]))


def _verified(path: Path, step: int) -> Checkpoint:
    found = _manifest(path, step)
    for name, sha256 in found.hashes.items():
        with _judging(path / name), open_within(path, name) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise CheckpointError("its sha256 is not the manifest's", file=path / name)
    return found


def _manifest(path: Path, step: int) -> Checkpoint:
    """The checkpoint as its manifest tells it; each file is there and has its size."""
    file = path / MANIFEST
    with _judging(file):
        parsed = _parsed(_bounded(path, MANIFEST), file)
        version = parsed.get("format")
        if version != FORMAT:
            raise CheckpointError(
                "the manifest is of another format",
                file=file,
                found=short(version),
                expected=str(FORMAT),
                next_step="Update segzoo" if type(version) is int and version > FORMAT else "",
            )
        match parsed:
            case {"step": int(number), "files": dict(files), "about": dict(about)}:
                pass
            case _:
                raise CheckpointError("the manifest lacks step, files or about", file=file)
        if number != step:
            raise CheckpointError(
                "the manifest is of another step", file=file, found=str(number), expected=str(step)
            )
        hashes = {}
        for name, entry in files.items():
            match entry:
                case {"size": int(size), "sha256": str(sha256)} if SHA256.fullmatch(sha256):
                    hashes[name] = sha256
                case _:
                    raise CheckpointError(f"the manifest's '{short(name)}' is malformed", file=file)
            actual = within(path, name).stat().st_size
            if actual != size:
                raise CheckpointError(
                    "the file has another size than in the manifest",
                    file=path / name,
                    found=f"{actual:,} bytes",
                    expected=f"{size:,}",
                )
    return Checkpoint(path, step, about, hashes)


@contextlib.contextmanager
def _judging(file: Path) -> Iterator[None]:
    """What goes wrong with a file of a checkpoint is a CheckpointError that names it."""
    try:
        yield
    except CheckpointError:
        raise
    except SegzooError as error:
        raise CheckpointError(
            error.problem, file=error.file or file, found=error.found, expected=error.expected
        ) from None
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror}", file=file) from None


def _bounded(folder: Path, name: str) -> bytes:
    """A file's content, or one byte more of it than `_parsed` takes."""
    with open_within(folder, name) as file:
        return file.read(MAX_JSON + 1)


def _parsed(raw: bytes, path: Path, error: type[SegzooError] = CheckpointError) -> dict[str, Any]:
    if len(raw) > MAX_JSON:
        raise error("the file is too long", file=path, expected=f"at most {MAX_JSON:,} bytes")
    return strict_json(raw, path, what="the file", error=error, levels=LEVELS)


# --- writing --------------------------------------------------------------------------------------


@contextlib.contextmanager
def _whole_or_deleted(folder: Path) -> Iterator[None]:
    """When the block raises, the folder is deleted; an OSError is an error of ours."""
    try:
        with _changing(folder):
            yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextlib.contextmanager
def _changing(path: Path, needed: int = 0) -> Iterator[None]:
    """An OSError of the block is an OutputError for `path`, or, on a full disk, a ResourceError.

    needed: bytes of the checkpoint that `path` is a file of, 0 where it is not one.
    """
    try:
        yield
    except OSError as error:
        found = unwritable(path, error, remedy=RESUME)
        if error.errno in FULL:
            free = shutil.disk_usage(path.parent).free
            if needed:
                free += _size(path.parent)  # the folder is about to be deleted
                found.expected = f"at least {needed:,}"
            found.found = f"{free:,} bytes free"
        raise found from None


def _write(path: Path, size: int, pieces: Iterable[Buffer]) -> None:
    """A new file of `size` bytes, forced to the disk."""
    needed = _size(path.parent) + size
    with _changing(path, needed), open(path, "xb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def _write_json(path: Path, value: Mapping[str, Json]) -> None:
    try:
        raw = json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"a checkpoint cannot hold this: {error}", file=path) from None
    _parsed(raw, path, UsageError)  # what could not be read again is not written
    _write(path, len(raw), [raw])


def _data(tensor: Tensor) -> Buffer:
    flat = tensor.detach().cpu().resolve_conj().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def _described(path: Path) -> dict[str, Json]:
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size": path.stat().st_size, "sha256": sha256}


def _size(folder: Path) -> int:
    """The bytes of the files in the folder, as far as they can be seen."""
    with contextlib.suppress(OSError):
        return sum(path.stat().st_size for path in folder.iterdir())
    return 0


def _delete(path: Path) -> None:
    """Rename it aside, then delete it: one that is deleted in part never looks whole."""
    with _changing(path):
        aside = path.rename(_aside(path.parent, _step(path), "tmp"))
    shutil.rmtree(aside, ignore_errors=True)


def _sync_folder(path: Path) -> None:
    """Force the names in a folder to the disk."""
    if os.name == "nt":
        return  # a folder cannot be opened there
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


def _path(folder: Path, name: str, suffix: str) -> Path:
    assert NAME.fullmatch(name), name
    return folder / f"{name}.{suffix}"


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _aside(run: Path, step: int, kind: str) -> Path:
    return run / f"{_name(step)}.{kind}-{uuid.uuid4().hex}"


def _step(path: Path) -> int:
    match = FOLDER.fullmatch(path.name)
    assert match, path
    return int(match[1])
