"""manifest.json: the sha256 and size of every file of a folder, in one spelling.

Its bytes are a function of what it says, and its digest one of what it lists: a reader refuses
any other spelling, so one changed byte in it, or in a file that it lists, is seen. Two folders
with the same digest hold the same files.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BufferedReader
from os import PathLike
from pathlib import Path

from segzoo.base import files
from segzoo.base.strictjson import short, strict_json
from segzoo.errors import ConfigError, IntegrityError, OutputError

__all__ = ["MANIFEST_NAME", "SIGNATURE_NAME", "File", "Manifest", "check", "dump", "read", "write"]

MANIFEST_NAME = "manifest.json"
SIGNATURE_NAME = "model.sig"  # it signs the manifest too
UNLISTED = (MANIFEST_NAME, SIGNATURE_NAME, ".gitattributes")  # the Hub writes the last one
FORMAT_VERSION = 1
MAX_BYTES = 1 << 20
MAX_NAME = 255  # characters
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class File:
    """sha256: in hex. size: in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """files: by their names in the folder, with "/" between parts. digest: sha256 of them all."""

    files: Mapping[str, File]
    digest: str


def write(folder: str | PathLike[str], names: Iterable[str] | None = None) -> Manifest:
    """Write a folder's manifest.json over these files of it.

    names: None takes all that there are, but for the manifest, a signature and .gitattributes.
    OutputError for a file that cannot be read, or whose name another system could not have.
    """
    root = Path(folder)
    if names is None:
        names = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    found = {}
    for name in sorted(set(names) - set(UNLISTED)):
        if fault := _fault_of(name):
            raise OutputError(f"a file of this name cannot be listed: {fault}", file=root / name)
        try:
            with _open(root / name) as stream:
                found[name] = _measured(stream)
        except OSError as error:
            raise OutputError(f"cannot be read: {error.strerror}", file=root / name) from None
    manifest = Manifest(found, _digest(found))
    files.write(root / MANIFEST_NAME, dump(manifest))
    return manifest


def dump(manifest: Manifest) -> bytes:
    """The bytes of manifest.json, the only ones that `read` takes for it."""
    record = {
        "format_version": FORMAT_VERSION,
        "files": _plain(manifest.files),
        "digest": manifest.digest,
    }
    return (json.dumps(record, indent=2, sort_keys=True) + "\n").encode("ascii")


def read(path: str | PathLike[str]) -> Manifest:
    """The manifest in a file.

    ConfigError for one that cannot be read, is not a manifest, was made by a newer segzoo, or
    lists a name that could lie outside its folder. IntegrityError for one whose digest is not that
    of its files, or that is not spelled as `dump` spells it.
    """
    try:
        with _open(path) as stream:
            raw = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot be read: {cause}", file=path) from None
    if len(raw) > MAX_BYTES:
        raise ConfigError("the manifest is too large", file=path, expected="at most 1 MiB")
    record = strict_json(raw, path, what="the manifest", error=ConfigError, levels=3)
    version = record.get("format_version")
    if type(version) is int and version > FORMAT_VERSION:
        raise ConfigError(
            "made by a newer segzoo",
            file=path,
            found=f"format_version {version}",
            expected=f"at most {FORMAT_VERSION}",
            next_step="Run: pip install --upgrade segzoo-core",
        )
    faults = _faults_of(record)
    if faults:
        more = f" and {len(faults) - 5:,} more" if len(faults) > 5 else ""
        raise ConfigError(f"not a manifest: {'; '.join(faults[:5])}{more}", file=path)
    found = {name: File(**item) for name, item in record["files"].items()}
    manifest = Manifest(found, record["digest"])
    if manifest.digest != (actual := _digest(found)):
        raise IntegrityError(
            "its digest is not that of the files it lists",
            file=path,
            found=actual,
            expected=manifest.digest,
            next_step="Fetch it again",
        )
    if dump(manifest) != raw:
        raise IntegrityError(
            "it is not spelled as segzoo spells a manifest", file=path, next_step="Fetch it again"
        )
    return manifest


def check(folder: str | PathLike[str], names: Iterable[str] | None = None) -> None:
    """Compare files of a folder with its manifest.

    names: None takes all that it lists. IntegrityError for a file that differs, is missing or is
    not listed; errors as in `read`.
    """
    root = Path(folder)
    listed = read(root / MANIFEST_NAME).files
    for name in listed if names is None else names:
        expected, file = listed.get(name), root / name
        if expected is None:
            raise IntegrityError(f"the folder's {MANIFEST_NAME} does not list it", file=file)
        try:
            with _open(file) as stream:
                size = os.fstat(stream.fileno()).st_size
                if size != expected.size:
                    raise _differs("size", file, f"{size:,} bytes", f"{expected.size:,} bytes")
                found = _measured(stream)
        except OSError as error:
            raise IntegrityError(
                f"the manifest lists it, but it cannot be read: {error.strerror}",
                file=file,
                next_step="Fetch it again",
            ) from None
        if found != expected:
            raise _differs("sha256", file, found.sha256, expected.sha256)


def _differs(what: str, file: Path, found: str, expected: str) -> IntegrityError:
    return IntegrityError(
        f"its {what} is not the one in {MANIFEST_NAME}",
        file=file,
        found=found,
        expected=expected,
        next_step="Fetch it again",
    )


def _open(path: str | PathLike[str]) -> BufferedReader:
    """A regular file; a pipe or a device is an OSError at once."""
    stream = open(path, "rb", opener=_open_at_once)
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise OSError(0, "not a regular file")
    return stream


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _measured(stream: BufferedReader) -> File:
    sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return File(sha256, stream.tell())


def _plain(listed: Mapping[str, File]) -> dict[str, dict[str, str | int]]:
    return {name: {"sha256": file.sha256, "size": file.size} for name, file in listed.items()}


def _digest(listed: Mapping[str, File]) -> str:
    text = json.dumps(_plain(listed), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _faults_of(record: dict[str, object]) -> list[str]:
    """What keeps a JSON object from being a manifest, in words."""
    wanted = {"format_version", "files", "digest"}
    if set(record) != wanted:
        odd = ", ".join(sorted(map(short, set(record) ^ wanted)))
        return [f"unknown or missing: {odd}"]
    version, listed, digest = record["format_version"], record["files"], record["digest"]
    faults = []
    if type(version) is not int or version != FORMAT_VERSION:
        faults.append(f"format_version is {short(version)!r}, not {FORMAT_VERSION}")
    if not isinstance(digest, str) or not SHA256.fullmatch(digest):
        faults.append(f"digest is {short(digest)!r}, not 64 hex digits")
    if not isinstance(listed, dict):
        return [*faults, "files is not an object"]
    for name, item in listed.items():
        if fault := _fault_of(name):
            faults.append(f"the name '{short(name)}' {fault}")
        if not (
            isinstance(item, dict)
            and set(item) == {"sha256", "size"}
            and isinstance(item["sha256"], str)
            and SHA256.fullmatch(item["sha256"])
            and type(item["size"]) is int
            and item["size"] >= 0
        ):
            faults.append(f"'{short(name)}' has no sha256 and size")
    return faults


def _fault_of(name: str) -> str:
    """Why a name may not stand in a manifest; empty when it may.

    It is one that means the same file on every system, and never one outside the folder.
    """
    if not name.isprintable() or "\\" in name or ":" in name:
        return "holds a control character, a backslash or a colon"
    if len(name) > MAX_NAME:
        return f"has more than {MAX_NAME} characters"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "is not a path inside the folder"
    if name in UNLISTED:
        return "is of a file that no manifest lists"
    return ""
