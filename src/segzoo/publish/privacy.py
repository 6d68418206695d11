"""What is published of a text: nothing of the machine and the person that it comes from.

A data set is named by words that hold a path, and a recipe or a record may hold others. Of a path
that means a place on this machine its last part stays, which says what the data are; a relative
path says nothing of the machine and stays whole.
"""

import contextlib
import getpass
import os
import re
import socket
from collections.abc import Mapping
from pathlib import PurePosixPath

from segzoo.base.records import Json
from segzoo.data.source import parse

__all__ = ["public", "public_words"]

SECRET = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://)[^/@\s]*@")  # name and password of an address
NOBODY = "DATA"  # for a path of which nothing may be said
A_PATH = re.compile(r"(?<![\w/])(?:~[\w.-]*|\.{1,2}|[A-Za-z]:)?[/\\](?![/\\])[^\s?&,;'\"<>]+")


def public_words(words: str) -> str:
    """The words of a data set, with the last part alone of a path that is of this machine."""
    source = parse(words)
    options = "&".join(f"{name}={_text(value)}" for name, value in source.options.items())
    path = _path(source.path)
    return f"{source.reader}:{path}" + (f"?{options}" if options else "")


def _path(path: str) -> str:
    """A relative path as it is, of another its last part; NOBODY where even that is somebody."""
    if re.match(r"https?://", path):
        return re.sub(r"//[^/@]*@", "//", path)  # without a name and a password
    parts = PurePosixPath(path.replace("\\", "/")).parts
    drive = bool(re.match(r"[A-Za-z]:", path))
    if parts and not drive and not set(parts) & {"..", *_somebody()} and parts[0][:1] not in "/~":
        return path
    last = parts[-1] if parts and parts[-1][:1] not in ("/", "~", ".") else ""
    return last if last and last not in _somebody() and not last.endswith(":") else NOBODY


def public(value: Json) -> Json:
    """JSON values without paths of this machine in their texts."""
    if isinstance(value, Mapping):
        return {key: public(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [public(item) for item in value]
    return _text(value) if isinstance(value, str) else value


def _text(text: str) -> str:
    home, text = os.path.expanduser("~"), SECRET.sub(r"\1", text)
    if text.startswith(("/", "~", home)) or re.match(r"[A-Za-z]:[/\\]", text):
        return _path(text)  # all of it, spaces too
    return A_PATH.sub(lambda found: _path(found[0]), text)


def _somebody() -> set[str]:
    """What this user and this machine are called."""
    names = {socket.gethostname(), os.path.basename(os.path.expanduser("~"))}
    with contextlib.suppress(Exception):  # a user without an entry has no name
        names.add(getpass.getuser())
    return names - {""}
