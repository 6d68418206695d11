"""Weights that a plugin declares by an address: fetched once, converted once, and kept.

What is kept is a safetensors file under the network's names, in segzoo's cache (`saved.kept`).
The source is opened as `segzoo convert` opens a stranger's file, and thrown away. As the same file
gives the same bytes, a plugin can declare what must come of it.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from segzoo.base import cache, files
from segzoo.errors import IntegrityError, SegzooError, printable
from segzoo.hub import cache as hubcache
from segzoo.hub.asset import Asset, fetched
from segzoo.hub.receive import one_at_a_time
from segzoo.model import build, configured
from segzoo.saved import kept
from segzoo.spec import ModelSpec, Weights
from segzoo.weights import safetensors as weights
from segzoo.weights.mapping import (
    PLAIN,
    converters_of,
    identity_norms,
    layout_of,
    mapped,
    names_of,
    unwrapped,
)
from segzoo.weights.pickles import ONNX, read_foreign, refuse_missing_library
from segzoo.zoo.registry import Entry

__all__ = ["file_of"]


def file_of(
    entry: Entry,
    spec: ModelSpec,
    record: Weights,
    ref: str,
    *,
    given: Path | None = None,
    local_files_only: bool = False,
    verify: bool = False,
) -> tuple[Path, str]:
    """The safetensors file of a record with a url, and its sha256.

    given: the source's file, where a person has it: it is converted, and nothing is fetched.

    Errors of `fetched`, `read_foreign` and `load_network`; IntegrityError for a kept file that was
    changed, which is then set aside, and for a conversion that is not the declared one; OutputError
    and ResourceError when the cache cannot hold it. Nothing is kept then.
    """
    if given is None and (found := kept.kept_file(ref, record)):
        return _whole(*found, verify=verify)
    assert record.url is not None  # its own rule
    asset = Asset(record.url, record.sha256, ref)
    if asset.name.endswith(".onnx"):
        refuse_missing_library(ONNX, asset.name)
    if given is not None:
        return _converted(given, given, entry, spec, record, ref)
    try:
        folder = _folder(ref)
        with one_at_a_time(folder / ".lock"):
            if found := kept.kept_file(ref, record):  # by another process
                return _whole(*found, verify=verify)
            with fetched(asset, folder, local_files_only=local_files_only) as source:
                return _converted(source, asset.url, entry, spec, record, ref)
    except OSError as error:
        raise _unwritable(error) from None


def _folder(ref: str) -> Path:
    place = cache.folder(kept.FOLDER) / ref
    place.mkdir(mode=0o700, exist_ok=True)
    return place


def _unwritable(error: OSError) -> SegzooError:
    remedy = "Free some space (segzoo cache), or set SEGZOO_HOME to another disk"
    return files.unwritable(cache.home() / kept.FOLDER, error, remedy=remedy)


def _whole(path: Path, sha256: str, *, verify: bool) -> tuple[Path, str]:
    """A kept file that is what it was. IntegrityError for one that was changed, set aside then."""
    try:
        if hubcache.is_whole(path, sha256, verify=verify):
            return path, sha256
        aside = path.with_name(path.name + hubcache.CORRUPT)
        os.replace(path, aside)
    except OSError as error:
        raise IntegrityError(
            f"it cannot be used: {error.strerror}", file=path, next_step="Remove it"
        ) from None
    raise IntegrityError(
        "its bytes are not those that were converted",
        file=path,
        next_step=f"It is set aside as {aside}; the next try makes it anew",
    )


def _converted(
    source: Path,
    called: str | Path,
    entry: Entry,
    spec: ModelSpec,
    record: Weights,
    ref: str,
) -> tuple[Path, str]:
    """Convert a file into the cache; called: the source, as an error names it."""
    config = configured.config_of(entry, spec, record)
    builder = build.builder_of(configured.variant_of(spec, config.options), config)
    with _blaming(called, ref):
        foreign = read_foreign(source, begins=record.sha256)
        found = unwrapped(foreign.tensors)
        known = converters_of(entry)
        converter = known.get(layout_of(found, known, source), PLAIN)
        state = mapped(found, names_of(found, converter, source), converter, source)
        if converter.folded_norms:
            state = identity_norms(builder) | state
    try:
        files.sweep_old(_folder(ref), f"*{hubcache.INCOMPLETE}")
        new = _folder(ref) / f"{secrets.token_hex(8)}{hubcache.INCOMPLETE}"
        try:
            sha256 = weights.save(state, new)
            with _blaming(called, ref):
                weights.load_network(builder, new)
            if record.converted_sha256 not in (None, sha256):
                raise IntegrityError(
                    f"the conversion of {ref} gives other bytes than its plugin declares; nothing "
                    "was kept",
                    file=called,
                    found=sha256,
                    expected=record.converted_sha256 or "",
                    next_step=f"Please report it, with the version of {entry.distribution}",
                )
            path = new.with_name(kept.name_of(record, sha256))
            os.replace(new, path)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(error) from None
    return path, sha256


@contextlib.contextmanager
def _blaming(called: str | Path, ref: str) -> Iterator[None]:
    """An error about a temporary file is about the source."""
    try:
        yield
    except SegzooError as error:
        error.file = printable(os.fspath(called))
        error.next_step = error.next_step or f"It cannot become {ref}; nothing was kept"
        raise
