"""Tar shards as webdataset writes them: `KEY.jpg` and `KEY.png` side by side, thousands in a tar.

    shards:duts-tr?values=0,255                    every tar of a folder, or one tar
    shards:duts-tr/duts-tr-{00..02}.tar            or duts-tr/*.tar
    shards:https://host/duts-tr-{00..02}.tar       a stream: samples in order, not counted

Shards on a disk are read once over their headers (15 microseconds a file), then in any order. What
a member is, its extension says, by an explicit table; nothing is ever unpickled.
"""

import contextlib
import glob
import math
import os
import re
import urllib.error
import urllib.request
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from http.client import HTTPException, HTTPMessage, HTTPResponse
from typing import IO, Any, NamedTuple, Self, TypeAlias, TypeVar, Unpack
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from segzoo.base.counts import count_of
from segzoo.base.formats import endings
from segzoo.base.terminal import warn
from segzoo.data.declared import OPTIONS, Declared, Said, declared
from segzoo.data.paired import read_sample
from segzoo.data.sample import Sample
from segzoo.data.tarindex import Keyed, Member, groups
from segzoo.errors import DatasetError, UsageError, printable
from segzoo.spec import Option, ReaderSpec

__all__ = ["SPEC", "ShardStream", "Shards", "Wanted", "open_shards"]

Labels: TypeAlias = NDArray[Any]
T = TypeVar("T")

IMAGE, MASK = "webp,jpg,jpeg,png,tif,tiff,gif,bmp,avif,npy", "png"  # where nothing else is said
MAX_BYTES = 1 << 30  # of one member
TOLD = 20  # faulty samples, or missing shards, that one error names
TIMEOUT = 60.0  # seconds that a server may be silent
CHUNK = 1 << 16
COLUMNS = 8  # of the index: shard; picture's offset, size, extension; mask's; the end of the key
BRACES = re.compile(r"\{(\d+\.\.\d+)\}")

SPEC = ReaderSpec(
    summary="tar shards in the layout of webdataset, on a disk or by URL",
    open="segzoo.data.readers.shards:open_shards",
    url="https://github.com/webdataset/webdataset",
    options={
        "image": Option(default=IMAGE, help="extensions of pictures: the first that is there"),
        "mask": Option(default=MASK, help="extensions of masks: the first that is there"),
        **OPTIONS,
        "bad_samples": Option(
            default="error", help="of a stream: error, or skip:0.001 to lose at most that share"
        ),
    },
)


def open_shards(
    path: str,
    *,
    image: str = IMAGE,
    mask: str = MASK,
    bad_samples: str = "error",
    **said: Unpack[Said],
) -> "Shards | ShardStream":
    """The data set of these words; what they say stands above.

    UsageError for an option that cannot be used; DatasetError, UnsafeArchiveError and
    UnsafeFormatError for tars that cannot.
    """
    wanted = Wanted.of(image, mask)
    meaning = declared(**said)
    allowed = _share(bad_samples)
    if urlsplit(path).scheme in ("http", "https"):
        urls = _braced(path)
        return ShardStream(urls, wanted=wanted, meaning=meaning, allowed=allowed)
    if allowed:
        raise UsageError(
            "bad_samples= is for streams: samples on a disk are numbered before they are read"
        )
    return Shards(_files(path), wanted=wanted, meaning=meaning)


class Wanted(NamedTuple):
    """Extensions of pictures and of masks, the preferred first; none is in both."""

    image: tuple[str, ...]
    mask: tuple[str, ...]

    @property
    def all(self) -> frozenset[str]:
        return frozenset(self.image + self.mask)

    @classmethod
    def of(cls, image: str, mask: str) -> Self:
        """Of two lists with commas; what is a mask is no picture. UsageError without a decoder."""
        masks, images = _extensions(mask), _extensions(image)
        found = cls(tuple(e for e in images if e not in masks), masks)
        known = [ending[1:] for ending in endings()]
        unknown = [e for e in (*found.image, *masks) if e.rpartition(".")[2] not in known]
        if unknown or not found.image or not masks:
            raise UsageError(
                f"image={printable(image)}&mask={printable(mask)} do not tell one from the other",
                found=f"no decoder for {_series(unknown)}" if unknown else "",
                expected=f"extensions such as {', '.join(known)}, others for masks",
            )
        return found


class Shards:
    """Samples of tars on a disk, in any order; their ids are "SHARD/KEY".

    files: the tars, whose names differ. meaning: of what masks hold. DatasetError,
    UnsafeArchiveError and UnsafeFormatError for tars or samples that cannot be used. Of a sample
    64 bytes and its key are kept. A tar is opened for each sample (7 microseconds), so that an
    object of this kind goes to other processes as it is.
    """

    def __init__(self, files: Sequence[str], *, wanted: Wanted, meaning: Declared) -> None:
        self.files = list(files)
        self.wanted = wanted
        self.info = meaning.info
        self.meaning = meaning
        self.states: list[tuple[int, int]] = []
        rows, keys, faults = array("q"), bytearray(), list[DatasetError]()
        for number, file in enumerate(self.files):
            with _opened(file) as tar:
                self.states.append(_state(tar))
                for group in groups(tar, shard=file, wanted=wanted.all, take=lambda member: member):
                    try:
                        (image, picture), (mask, answer) = _chosen(group, file, wanted)
                    except DatasetError as error:
                        faults.append(error)
                        continue
                    keys += group.key.encode("utf-8", "surrogateescape")
                    rows.extend((number, picture.offset, picture.size, wanted.image.index(image)))
                    rows.extend((answer.offset, answer.size, wanted.mask.index(mask), len(keys)))
        if faults:
            raise _together(faults)
        if not rows:
            raise _no_samples(self.files)
        self.rows = np.frombuffer(rows, np.int64).reshape(-1, COLUMNS)
        self.keys = bytes(keys)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        shard, *places, _ = self.rows[index].tolist()
        image, mask = self.wanted.image[places[2]], self.wanted.mask[places[5]]
        file, key = self.files[shard], self._key(index)
        with _opened(file) as tar:
            if _state(tar) != self.states[shard]:
                raise DatasetError("has changed since it was opened", file=file)
            picture = _bytes_at(tar, Member(f"{key}.{image}", *places[0:2]), file)
            answer = _bytes_at(tar, Member(f"{key}.{mask}", *places[3:5]), file)
        return _decoded((image, picture), (mask, answer), file, key, self.meaning)

    def id_of(self, index: int) -> str:
        return f"{_stem(self.files[self.rows[index, 0]])}/{self._key(index)}"

    def _key(self, index: int) -> str:
        index = range(len(self))[index]
        start = self.rows[index - 1, -1] if index else 0
        return self.keys[start : self.rows[index, -1]].decode("utf-8", "surrogateescape")


class ShardStream:
    """Samples of tars behind URLs, one after the other.

    allowed: the share of samples that may be lost, rounded up, of those met so far. Each loss is a
    warning with the count; one too many is a DatasetError. A connection that ends early costs the
    samples that the rest would hold, estimated from its bytes; where its length is not known, and
    for a tar that is not there, it is an error. Redirections to another host are not followed.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        wanted: Wanted,
        meaning: Declared,
        allowed: float = 0.0,
        timeout: float = TIMEOUT,
    ) -> None:
        self.urls = list(urls)
        self.wanted = wanted
        self.info = meaning.info
        self.meaning = meaning
        self.allowed = allowed
        self.timeout = timeout

    def __iter__(self) -> Iterator[Sample]:
        losses = _Losses(self.allowed)
        for url in self.urls:
            with _Connection(url, self.timeout) as tar:
                yield from self._samples(tar, losses)
        if not losses.met:
            raise _no_samples(self.urls)

    def _samples(self, tar: "_Connection", losses: "_Losses") -> Iterator[Sample]:
        for group in self._groups(tar, losses):
            try:
                image, mask = _chosen(group, tar.url, self.wanted)
                sample = _decoded(image, mask, tar.url, group.key, self.meaning)
            except DatasetError as error:
                losses.add(error, 1)
                continue
            losses.met += 1
            yield sample

    def _groups(self, tar: "_Connection", losses: "_Losses") -> Iterator[Keyed[bytes]]:
        met = 0
        try:
            for group in groups(tar, shard=tar.url, wanted=self.wanted.all, take=tar.take):
                met += 1
                yield group
        except DatasetError as error:
            losses.add(error, tar.rest(met))


# --- a sample of its members ---------------------------------------------------------------------


def _chosen(group: Keyed[T], shard: str, wanted: Wanted) -> tuple[tuple[str, T], tuple[str, T]]:
    """(extension, what was taken) of a picture and of its mask. DatasetError without one."""
    image = next((e for e in wanted.image if e in group.parts), "")
    mask = next((e for e in wanted.mask if e in group.parts), "")
    lacking = [what for what, e in (("picture", image), ("mask", mask)) if not e]
    if group.fault or lacking:
        raise DatasetError(
            group.fault or f"it has no {' and no '.join(lacking)}",
            file=f"{shard}/{group.key}",
            found=_series([f".{e}" for e in group.extensions]),
            expected=f"image={','.join(wanted.image)} and mask={','.join(wanted.mask)}",
        )
    return (image, group.parts[image]), (mask, group.parts[mask])


def _decoded(
    image: tuple[str, bytes], mask: tuple[str, bytes], shard: str, key: str, meaning: Declared
) -> Sample:
    """A sample of the bytes of its two members, each with its extension."""
    return read_sample(
        image[1],
        mask[1],
        id=f"{_stem(shard)}/{key}",
        target=meaning,
        reading=meaning.reading,
        names=(f"{shard}/{key}.{image[0]}", f"{shard}/{key}.{mask[0]}"),
    )


# --- tars on a disk ------------------------------------------------------------------------------


def _files(path: str) -> list[str]:
    """The tars of a folder, a glob or a brace pattern, or the one. DatasetError without any."""
    if os.path.isdir(path):
        files = sorted(glob.glob(os.path.join(glob.escape(path), "*.tar")))
    elif os.path.exists(path):
        files = [path]
    elif BRACES.search(path):
        files = _braced(path)
        if missing := [file for file in files if not os.path.exists(file)]:
            problem = f"{len(missing)} of {len(files)} shards are not there"
            raise DatasetError(problem, file=path, found="no " + _series(missing))
    else:
        files = sorted(glob.glob(path))
    if not files:
        raise DatasetError(
            "there are no shards",
            file=path,
            expected="a .tar, a folder of them, x-{000..009}.tar or a pattern with *",
        )
    counts = Counter(map(_stem, files))
    if twice := sorted(stem for stem, count in counts.items() if count > 1):
        raise DatasetError("two shards have one name", file=path, found=_series(twice))
    return files


@contextlib.contextmanager
def _opened(file: str) -> Iterator[IO[bytes]]:
    try:
        if not os.path.isfile(file):
            raise DatasetError("is not a file", file=file)
        with open(file, "rb", buffering=0) as tar:
            yield tar
    except OSError as error:
        raise DatasetError(f"cannot be read: {error.strerror or error}", file=file) from error


def _state(tar: IO[bytes]) -> tuple[int, int]:
    status = os.fstat(tar.fileno())
    return status.st_size, status.st_mtime_ns


def _bytes_at(tar: IO[bytes], member: Member, shard: str) -> bytes:
    _judge_size(member, shard)
    tar.seek(member.offset)
    data = tar.read(member.size)
    if len(data) < member.size:
        raise DatasetError("is cut short", file=f"{shard}/{member.name}")
    return data


def _judge_size(member: Member, shard: str) -> None:
    if member.size > MAX_BYTES:
        raise DatasetError(
            "is too large for a picture",
            file=f"{shard}/{member.name}",
            found=f"{member.size} bytes",
            expected=f"at most {MAX_BYTES}",
        )


# --- tars behind a URL ---------------------------------------------------------------------------


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows redirections within the host that was asked, never from https to http."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.hostname != old.hostname or new.scheme not in ("https", old.scheme):
            fp.close()
            raise DatasetError(
                "leads to another host, which is not followed",
                file=req.full_url,
                found=printable(f"{new.scheme}://{new.hostname}"),
                next_step="Give the URL that it leads to",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Connection:
    """A tar behind a URL, read forwards: `seek` passes over what lies between."""

    def __init__(self, url: str, timeout: float) -> None:
        self.url = url
        self.position = 0
        try:
            opener = urllib.request.build_opener(_SameHost)
            self.response: HTTPResponse = opener.open(url, timeout=timeout)
        except (OSError, HTTPException, ValueError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            raise DatasetError(f"cannot be read: {error}", file=url) from error
        length = self.response.headers.get("Content-Length", "")
        self.length = int(length) if length.isdecimal() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.response.close()

    def seek(self, position: int) -> None:
        while self.position < position and self.read(min(CHUNK, position - self.position)):
            pass

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer where the connection has ended; DatasetError if it broke."""
        data = bytearray()
        try:
            while len(data) < size and (part := self.response.read(min(CHUNK, size - len(data)))):
                data += part
                self.position += len(part)
        except (OSError, HTTPException) as error:
            raise DatasetError(f"the connection broke: {error}", file=self.url) from error
        return bytes(data)

    def take(self, member: Member) -> bytes:
        _judge_size(member, self.url)
        data = self.read(member.size)
        if len(data) < member.size:
            raise DatasetError("is cut short", file=self.url, found=f"no end of {member.name!r}")
        return data

    def rest(self, samples: int) -> float:
        """How many samples lie behind what was read, if as many as `samples` lie before it."""
        if not samples or self.length is None:
            return math.inf
        return max(1, math.ceil(samples * (self.length - self.position) / self.position))


class _Losses:
    """How many samples a stream met, and how many of them were lost."""

    def __init__(self, allowed: float) -> None:
        self.allowed = allowed
        self.met = 0
        self.lost = 0

    def add(self, error: DatasetError, number: float) -> None:
        """Count lost samples: a warning, or the error when they are more than is allowed."""
        if not self.lost + number <= math.ceil(self.allowed * (self.met + min(number, 1e18))):
            before = f"{count_of(self.met, 'sample')} before it, {self.lost} of them lost"
            raise DatasetError(
                error.problem,
                file=error.file,
                found=f"{error.found}; {before}" if error.found else before,
                expected=error.expected,
                next_step=error.next_step or "To go on without: bad_samples=skip:0.001",
            ) from error
        self.met += int(number)
        self.lost += int(number)
        warn(
            f"{error}. Samples lost: {self.lost} of {self.met} so far", RuntimeWarning, stacklevel=4
        )


# --- words ---------------------------------------------------------------------------------------


def _stem(shard: str) -> str:
    """What ids call a shard: "x-000" for a/x-000.tar, and for a URL that ends so."""
    return os.path.basename(shard).removesuffix(".tar")


def _braced(pattern: str) -> list[str]:
    """The names that a pattern with {000..009} stands for, in order; numbers keep their zeros."""
    names = [""]
    for place, word in enumerate(BRACES.split(pattern)):  # text and range in turn
        first, dots, last = word.partition("..") if place % 2 else (word, "", "")
        choices = [first]
        if dots:
            choices = [str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)]
        names = [name + choice for name in names for choice in choices]
    if not names:
        raise UsageError(f"{printable(pattern)!r} counts downwards", expected="{FIRST..LAST}")
    return names


def _extensions(text: str) -> tuple[str, ...]:
    return tuple(word.strip().lower().lstrip(".") for word in text.split(",") if word.strip())


def _share(text: str) -> float:
    """0 of "error", the share of "skip:SHARE"."""
    if text == "error":
        return 0.0
    word, _, number = text.partition(":")
    try:
        share = float(number)
    except ValueError:
        share = 0.0
    if word != "skip" or not 0 < share < 1:
        raise UsageError(
            f"bad_samples={printable(text)!r} cannot be used",
            expected="error, or skip:SHARE with a share between 0 and 1",
        )
    return share


def _together(faults: Sequence[DatasetError]) -> DatasetError:
    """One error of several samples'."""
    if len(faults) == 1:
        return faults[0]
    told = [f"{fault.file}: {fault.problem}" for fault in faults[:TOLD]]
    return DatasetError(
        f"{count_of(len(faults), 'sample')} cannot be used", found=_series(told, len(faults))
    )


def _no_samples(shards: Sequence[str]) -> DatasetError:
    return DatasetError(
        "there are no samples",
        file=shards[0],
        expected="pictures and masks under one key, side by side: KEY.jpg, KEY.png",
    )


def _series(words: Iterable[str], number: int | None = None) -> str:
    words = list(words)
    number = len(words) if number is None else number
    more = f" and {number - TOLD} more" if number > TOLD else ""
    return ", ".join(map(printable, words[:TOLD])) + more
