"""What a server and its worker say to each other: a record of JSON, and bytes behind it."""

import json
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from segzoo.base.records import Json
from segzoo.base.strictjson import strict_json
from segzoo.errors import DataError

__all__ = ["Frame", "read_frame", "write_frame"]

LENGTHS = struct.Struct(">IQ")  # of the record, of what is behind it
MAX_RECORD = 1 << 20
MAX_BYTES = 1 << 33


class Frame(NamedTuple):
    record: dict[str, Any]
    content: bytes = b""


class Readable(Protocol):
    def read(self, size: int, /) -> bytes | None: ...


def read_frame(stream: Readable) -> Frame | None:
    """The next frame; None at the end of the stream, which may be in the middle of one.

    DataError for what no frame is.
    """
    head = _exactly(stream, LENGTHS.size)
    if head is None:
        return None
    length, size = LENGTHS.unpack(head)
    if length > MAX_RECORD or size > MAX_BYTES:
        raise DataError("not a frame", found=f"{length} and {size} bytes")
    record, content = _exactly(stream, length), _exactly(stream, size)
    if record is None or content is None:
        return None
    return Frame(strict_json(record, "", what="the frame", error=DataError, levels=6), content)


def write_frame(
    write: Callable[[bytes], object], record: dict[str, Json], contents: Sequence[bytes] = ()
) -> None:
    """Send a frame. write: takes all that it is given."""
    head = json.dumps(record).encode("ascii")
    write(LENGTHS.pack(len(head), sum(map(len, contents))) + head)
    for content in contents:
        write(content)


def _exactly(stream: Readable, size: int) -> bytes | None:
    """So many bytes, or None where the stream ends before."""
    parts, missing = [], size
    while missing:
        part = stream.read(min(missing, 1 << 20))
        if not part:
            return None
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
