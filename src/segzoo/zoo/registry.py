"""Which models, readers, losses and metrics are installed, and the one that was asked for.

Each kind has an entry-point group of its own (`GROUPS`); all follow the same rules.

Looking reads the metadata of installed distributions and runs none of their code; a plugin's spec
is imported when its model is asked for (`Entry.load`) or listed (`rows`), under a guard that turns
whatever goes wrong into one `PluginError`. What a guard cannot hold (a crash of the interpreter, a
hang) is set aside with `SEGZOO_DISABLE=distribution,...`. `SEGZOO_MODELS=name=module:ATTR,...` adds
models without an installation.
"""

import contextlib
import difflib
import importlib
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import metadata
from types import FrameType, MappingProxyType
from typing import Any, TypeVar

from segzoo import spec as records
from segzoo.errors import (
    AmbiguousModelError,
    PluginError,
    SegzooError,
    UnknownModelError,
    UsageError,
    printable,
)
from segzoo.spec import IMPORT_PATH, MODEL_NAME, ModelSpec
from segzoo.zoo.offered import plugin_of

__all__ = [
    "GROUP",
    "GROUPS",
    "Entry",
    "Row",
    "entries",
    "find",
    "known",
    "resolve",
    "rows",
    "unreadable",
]

GROUP = "segzoo.models"  # a group's name is the contract's version
READERS, LOSSES, METRICS = "segzoo.readers", "segzoo.losses", "segzoo.metrics"
CONVERTERS = "segzoo.converters"  # under the names of models
FOLDERS = "segzoo.folders"  # of other libraries
EXPORTERS = "segzoo.exporters"
GROUPS = MappingProxyType(
    {
        GROUP: "model",
        READERS: "reader",
        LOSSES: "loss",
        METRICS: "metric",
        CONVERTERS: "converters",
        FOLDERS: "kind of folder",
        EXPORTERS: "format",
    }
)
T = TypeVar("T")
UNKNOWN_FIELD = re.compile(
    rf"({'|'.join(records.__all__)})\.__init__\(\) got an unexpected keyword argument ('\w+')"
)
CORE = "segzoo-core"
OURS = re.compile(r"segzoo-(?!core\b)[a-z0-9-]+")  # what an extra of the core installs
SLOW_SECONDS = 1.0  # a spec is data; what takes longer is named with its time
SET_ASIDE = "set aside by SEGZOO_DISABLE"
ENVIRONMENT = "SEGZOO_MODELS"
MAX_CAUSE = 500  # characters of a plugin's own message

# sys.stdout belongs to the whole process: threads that redirect it must take turns, or the last
# one to finish leaves it redirected.
_LOADING = threading.RLock()


@dataclass(frozen=True)
class Entry:
    """One offered model (or reader, loss, metric: `group`), as metadata tells it.

    problem: why it cannot be loaded, or empty.
    """

    name: str
    distribution: str
    version: str
    value: str
    problem: str = ""
    group: str = GROUP

    @property
    def full_name(self) -> str:
        """What names this entry and no other: `distribution/name`, else its import path."""
        return f"{self.distribution}/{self.name}" if self.distribution else self.value

    def load(self) -> ModelSpec:
        """Import a model's spec, as `load_as` does."""
        return self.load_as(ModelSpec)

    def load_as(self, kind: type[T]) -> T:
        """Import what the entry names, which must be of this kind.

        PluginError, with the cause in one line, whatever the plugin does.
        """
        if self.problem:
            raise self._error(self.problem)
        with guarded(self._error):
            with _LOADING, contextlib.redirect_stdout(sys.stderr):
                found = resolve(self.value)
            if not isinstance(found, kind):
                raise TypeError(f"{self.value} is a {type(found).__name__}, not a {kind.__name__}")
            # a record is data, which whoever has it reads without a guard
            if issubclass(kind, records.Record) and type(found) is not kind:
                raise TypeError(f"{self.value} is of a class of its own, {type(found).__name__}")
        return found

    def _error(self, cause: str) -> PluginError:
        origin = " ".join(filter(None, (self.distribution, self.version))) or self.value
        check = f"Run: segzoo check {self.full_name}" if self.group == GROUP else ""
        return PluginError(
            f"{GROUPS[self.group]} '{self.name}' of {origin} cannot be used: {cause}",
            next_step=check,
        )


@dataclass(frozen=True)
class Row:
    """One line of `segzoo list`: an entry with its spec, or with what is wrong with it."""

    entry: Entry
    spec: ModelSpec | None = field(repr=False)
    problem: str
    seconds: float


def entries(group: str = GROUP) -> tuple[Entry, ...]:
    """Everything offered in a group, by name, broken entries too. Runs no plugin's code."""
    added = _from_environment() if group == GROUP else ()
    return tuple(sorted([*_installed(group), *added], key=lambda e: (e.name, e.distribution)))


def rows() -> Iterator[Row]:
    """Every entry with its spec loaded, one after the other; a failure is a row, never an error."""
    offered = entries()
    owners: dict[str, list[str]] = {}
    for entry in offered:
        if not entry.problem:
            owners.setdefault(entry.name, []).append(entry.full_name)
    for entry in offered:
        start = time.perf_counter()
        try:
            spec, problem = entry.load(), ""
        except PluginError as error:
            spec, problem = None, entry.problem or cause(error.__cause__ or error)
        seconds = time.perf_counter() - start
        if not problem and seconds > SLOW_SECONDS:
            problem = f"slow: its spec took {seconds:.1f} s to import"
        if not problem and len(owners[entry.name]) > 1:
            problem = f"shares its name; ask for it as {entry.full_name}"
        yield Row(entry, spec, problem, seconds)


def find(name: str, group: str = GROUP, *, tag: str | None = None) -> Entry:
    """The entry of a model's name, or of its full name `distribution/name`.

    group: another one's entries instead, where a name that nobody offers is a UsageError.
    tag: of weights; of several distributions that offer the name, those that have it are meant.
    Upper case and hyphens are folded. AmbiguousModelError when several distributions offer the
    name; UnknownModelError, with a suggestion, when none does. An entry that cannot be loaded (it
    is set aside, malformed, or of another version of the contract) gives way to one that can.
    """
    offered = entries(group)
    distribution, _, bare = name.rpartition("/")
    wanted = fold(bare)
    matches = [e for e in offered if e.name == wanted]
    if distribution:
        matches = [e for e in matches if same_distribution(e.distribution, distribution)]
    matches = [e for e in matches if not e.problem] or matches
    if len(matches) > 1 and tag is not None:
        matches = [e for e in matches if _has_weights(e, tag)] or matches
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise AmbiguousModelError(
            f"'{wanted}' is provided by {_series([e.full_name for e in matches], 'and')}",
            next_step="Ask for one by its full name",
        )
    plugin = plugin_of(wanted) if group == GROUP else ""
    if plugin and (not distribution or same_distribution(distribution, plugin)):
        raise UnknownModelError(
            f"no model {wanted!r} is installed; {plugin} offers it",
            next_step=f"Run: pip install --upgrade {plugin}",
        )
    usable = sorted({e.name for e in offered if MODEL_NAME.fullmatch(e.name)})
    near = difflib.get_close_matches(wanted, usable, n=3, cutoff=0.6)
    if group == GROUP and name and os.path.isdir(name):
        next_step = f"There is a folder of that name; for the model in it write ./{printable(name)}"
    elif group == GROUP and name.startswith((".", "~", "/")):
        next_step = "There is no such folder either"
    elif near:
        next_step = f"Did you mean {_series([repr(n) for n in near], 'or')}?"
    elif group != GROUP:
        next_step = f"There are {', '.join(usable)}"
    elif usable:
        next_step = "See: segzoo list"
    else:
        next_step = "No model is installed; run: pip install 'segzoo-core[all]'"
    of_here = any(same_distribution(e.distribution, distribution) for e in offered)
    if group == GROUP and not of_here and re.fullmatch(r"[\w-]+/[\w.-]+", name, re.ASCII):
        next_step += f" A model on the Hub is written hf-hub:{name[:100]}"
    problem = f"no {GROUPS[group]} {printable(name)[:100]!r}"
    raise (UnknownModelError if group == GROUP else UsageError)(problem, next_step=next_step)


def _has_weights(entry: Entry, tag: str) -> bool:
    """Whether a model has weights of this tag; one that cannot be loaded has none."""
    try:
        return tag in entry.load().weights
    except PluginError:
        return False


def known(distribution: str) -> str:
    """The name, as its own metadata spell it, of a plugin of ours or one that is installed.

    Empty for any other: a name that only a file says could be anybody's.
    """
    installed = [entry.distribution for group in GROUPS for entry in entries(group)]
    try:
        required = metadata.requires(CORE) or []
    except metadata.PackageNotFoundError:
        required = []
    ours = [match[0] for text in required if (match := OURS.match(text))]
    return next((name for name in (*ours, *installed) if same_distribution(name, distribution)), "")


def resolve(path: str) -> Any:
    """The object that an import path "module:attribute" names. Raises what the import raises."""
    if not IMPORT_PATH.fullmatch(path):
        raise ValueError(f"{path!r} is not 'module:attribute'")
    module, _, attributes = path.partition(":")
    found: Any = importlib.import_module(module)
    for attribute in attributes.split("."):
        found = getattr(found, attribute)
    return found


def unreadable() -> list[str]:
    """Distributions whose entry_points.txt is no text: any library that looks there stumbles."""
    found = []
    for distribution in metadata.distributions():
        try:
            distribution.read_text("entry_points.txt")
        except UnicodeDecodeError:
            found.append(_identity(distribution)[0])
        except Exception:
            continue
    return found


@contextlib.contextmanager
def guarded(fault: Callable[[str], PluginError]) -> Iterator[None]:
    """Around a plugin's code: what it raises becomes `fault(cause)`, but for a person's Ctrl-C."""
    pressed: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def notice(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        signal.default_int_handler(number, frame)

    is_main = threading.current_thread() is threading.main_thread()
    # another handler is a program's own, and then nobody can tell who interrupts
    told_apart = is_main and before is signal.default_int_handler
    if told_apart:
        signal.signal(signal.SIGINT, notice)
    try:
        yield
    except BaseException as error:  # a plugin may raise anything, SystemExit among it
        if isinstance(error, KeyboardInterrupt) and (pressed or not told_apart):
            raise
        raise fault(cause(error)) from error
    finally:
        if told_apart and signal.getsignal(signal.SIGINT) is notice:
            signal.signal(signal.SIGINT, before)


def fold(name: str) -> str:
    """A model's name as it is looked up."""
    return name.strip().lower().replace("-", "_")


def same_distribution(one: str, other: str) -> bool:
    """Whether two spellings name one distribution."""
    return _normalize(one) == _normalize(other)


def _normalize(distribution: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _installed(group: str) -> Iterator[Entry]:
    disabled = {_normalize(d.strip()) for d in os.environ.get("SEGZOO_DISABLE", "").split(",")}
    for distribution, text in _offering(metadata.distributions, _where()):
        if group not in text:
            continue  # most distributions: nothing else of them is read
        name, version = _identity(distribution)
        for entry in _entries_of(text, group, name, version):
            if _normalize(name) in disabled:
                yield replace(entry, problem=SET_ASIDE)
            else:
                yield entry


def _where() -> tuple[Hashable, ...]:
    """What changes when something is installed: each folder looked into, and when it changed."""
    folders: list[tuple[str, int | None]] = []
    for folder in sys.path:
        try:
            folders.append((folder, os.stat(folder or os.curdir).st_mtime_ns))
        except OSError:
            folders.append((folder, None))
    return os.getcwd() if "" in sys.path else "", *folders, *map(id, sys.meta_path)


@lru_cache(maxsize=1)  # a command asks five times or more, for 5 ms each
def _offering(
    distributions: Callable[[], Iterable[metadata.Distribution]], where: tuple[Hashable, ...]
) -> tuple[tuple[metadata.Distribution, str], ...]:
    """The distributions that have entry points, with the text of these."""
    found: dict[str, tuple[metadata.Distribution, str]] = {}
    for distribution in distributions():
        key = _normalize(_folder_name(distribution))
        if key not in found and not key.startswith("~"):  # what pip left of one
            found[key] = distribution, _entry_points(distribution)
    return tuple((distribution, text) for distribution, text in found.values() if text)


def _folder_name(distribution: metadata.Distribution) -> str:
    """A distribution's name as its metadata folder spells it, known without reading a file."""
    folder = os.path.basename(str(getattr(distribution, "_path", "")))
    return os.path.splitext(folder)[0].partition("-")[0] or distribution.metadata["Name"]


def _entry_points(distribution: metadata.Distribution) -> str:
    """The text of entry_points.txt, empty when there is none or it cannot be opened."""
    try:
        return distribution.read_text("entry_points.txt") or ""
    except UnicodeDecodeError as error:
        return error.object.decode(errors="replace")
    except Exception:
        return ""


def _identity(distribution: metadata.Distribution) -> tuple[str, str]:
    """Name and version; those of the folder when the metadata is damaged."""
    try:
        name, version = distribution.metadata["Name"], distribution.metadata["Version"]
    except Exception:
        name, version = None, None
    return printable(name or _folder_name(distribution)), printable(version or "")


def _entries_of(text: str, wanted: str, distribution: str, version: str) -> Iterator[Entry]:
    """One group's entries of one entry_points.txt. A malformed line is an entry with a problem."""
    group = ""
    declared: set[str] = set()
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip()
        elif line and not line.startswith(("#", ";")):
            known = group == wanted
            if not known and not group.startswith(f"{wanted}."):
                continue
            name, _, value = (part.strip() for part in line.partition("="))
            value = value.partition("[")[0].strip()  # "module:ATTR [extra]"
            if not known:
                problem = f"needs a newer segzoo: it is written for the contract '{group}'"
            elif not IMPORT_PATH.fullmatch(value):
                problem = f"malformed entry point {line!r}: expected name = module:ATTRIBUTE"
            elif not MODEL_NAME.fullmatch(name):
                problem = f"the name {name!r} does not match {MODEL_NAME.pattern}"
            elif name in declared:
                problem = f"{distribution} declares the name twice"
            else:
                problem = ""
                declared.add(name)
            yield Entry(printable(name), distribution, version, value, problem, wanted)


def _from_environment() -> Iterator[Entry]:
    for item in filter(None, map(str.strip, os.environ.get(ENVIRONMENT, "").split(","))):
        name, _, value = (part.strip() for part in item.partition("="))
        problem = ""
        if not MODEL_NAME.fullmatch(name) or not IMPORT_PATH.fullmatch(value):
            problem = f"malformed item {item!r} of {ENVIRONMENT}: expected name=module:ATTRIBUTE"
        yield Entry(printable(name), ENVIRONMENT, "", value, problem)


def from_import_path(path: str) -> Entry:
    """An entry for a spec named by "module:ATTR" instead of by a model's name."""
    if not IMPORT_PATH.fullmatch(path):
        raise UsageError(f"{printable(path)!r} is not a model", expected="a name or module:ATTR")
    return Entry(fold(path.rpartition(":")[2]), "", "", path)


def cause(error: BaseException) -> str:
    """An exception in one line. A field that a record lacks means a plugin of a later contract."""
    if isinstance(error, SegzooError):
        return error.problem
    try:
        text = str(error)
    except BaseException:  # the exception is the plugin's own, and so is its __str__
        text = "its message cannot be shown"
    text = printable(" ".join(text[:MAX_CAUSE].split())) or "no message"
    if isinstance(error, TypeError) and (unknown := UNKNOWN_FIELD.match(text)):
        return f"needs a newer segzoo: {unknown[1]} has no field {unknown[2]}"
    if isinstance(error, ImportError) and error.name == records.__name__:
        return f"needs a newer segzoo: {text.partition(' (')[0]}"
    if isinstance(error, SystemExit):
        return f"it called sys.exit({text if error.args else ''})"
    return f"{type(error).__name__}: {text}"


def _series(items: list[str], word: str) -> str:
    return f"{', '.join(items[:-1])} {word} {items[-1]}" if len(items) > 1 else items[0]
