"""The picture in a request: received in time and under limits, into memory and never to a disk."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from segzoo.serve.problems import Problem
from segzoo.serve.settings import Limits

__all__ = ["Bodies", "Body"]

FORM = "multipart/form-data"
RAW = ("image/", "application/octet-stream")
FIELD = "file"
MOST_FIELDS, FIELD_BYTES = 16, 4096
HELP = f"send a picture as {FORM} in the field '{FIELD}', or as the body, with Content-Type image/*"


class Body(NamedTuple):
    """The bytes of a picture, and the fields of a form that came with it."""

    picture: bytes
    fields: list[tuple[str, str]]


class Bodies:
    """Those that a server is receiving or holds. held: their bytes."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.held = limits, 0

    @asynccontextmanager
    async def of(self, request: Request) -> AsyncIterator[Body]:
        """A request's; it counts as held within the block.

        Problem: 400 for no picture or a broken form, 408 for one that comes too slowly, 413 above
        the limit as soon as that is known, 415 for another type, 503 where too much is held.
        """
        kind = _kind_of(request)
        self._refuse_declared(request)
        taken = [0]
        try:
            try:
                async with asyncio.timeout(self.limits.body_seconds):
                    stream = self._bounded(request, taken)
                    body = await (_form if kind == FORM else _raw)(request, stream)
            except TimeoutError:
                raise Problem(
                    408, f"the body did not arrive in {self.limits.body_seconds:g} s"
                ) from None
            except ClientDisconnect:
                raise Problem(400, "the connection ended before the body did") from None
            if not body.picture:
                raise Problem(400, f"there is no picture in this request; {HELP}")
            yield body
        finally:
            self.held -= taken[0]

    def _refuse_declared(self, request: Request) -> None:
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self._most(_kind_of(request)):
            raise self._too_large()

    def _most(self, kind: str) -> int:
        """A form has some bytes around its picture."""
        return self.limits.bytes + (MOST_FIELDS * FIELD_BYTES if kind == FORM else 0)

    def _too_large(self) -> Problem:
        return Problem(413, f"the body has more than {self.limits.bytes} bytes")

    async def _bounded(self, request: Request, taken: list[int]) -> AsyncGenerator[bytes, None]:
        """The body in chunks, as far as it may go."""
        most = self._most(_kind_of(request))
        async for chunk in request.stream():
            taken[0] += len(chunk)
            self.held += len(chunk)
            if taken[0] > most:
                raise self._too_large()
            if self.held > self.limits.held:
                raise Problem(503, "the server holds as many bytes as it may")
            yield chunk


async def _raw(request: Request, stream: AsyncGenerator[bytes, None]) -> Body:
    return Body(b"".join([chunk async for chunk in stream]), [])


async def _form(request: Request, stream: AsyncGenerator[bytes, None]) -> Body:
    from python_multipart.exceptions import FormParserError

    parser = MultiPartParser(
        request.headers,
        stream,
        max_files=1,
        max_fields=MOST_FIELDS,
        max_part_size=FIELD_BYTES,
    )
    parser.spool_max_size = 1 << 40  # never to a file
    try:
        form = await parser.parse()
    except (MultiPartException, FormParserError) as error:  # starlette before 1.7 lets it through
        raise Problem(400, f"the form is broken: {error}") from None
    fields: list[tuple[str, str]] = []
    picture = b""
    try:
        for name, value in form.multi_items():
            if isinstance(value, str):
                fields.append((name, value))
            elif name != FIELD:
                raise Problem(400, f"there is no field of a file but '{FIELD}'")
            else:
                picture = await value.read()
    finally:
        await form.close()
    return Body(picture, fields)


def _kind_of(request: Request) -> str:
    """FORM, or "" for a picture as the body. Problem 415 for all else."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Problem(415, "the body is compressed; send it as it is")
    kind = request.headers.get("content-type", RAW[1]).partition(";")[0].strip().lower()
    if kind == FORM:
        return FORM
    if kind.startswith(RAW):
        return ""
    raise Problem(415, HELP)
