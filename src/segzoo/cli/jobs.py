"""What `segzoo predict` has to do: which pictures, and where their outputs go.

Everything here happens before a model is loaded: nothing is decoded, and what cannot work is
refused. A folder's files are held as names alone: a million take 80 MB, 150 while they are sorted.
"""

import heapq
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from segzoo.base import ours
from segzoo.base.counts import count_of
from segzoo.base.formats import endings, left_out
from segzoo.cli.shards import WHOLE, Shard
from segzoo.errors import OutputError, UsageError, printable
from segzoo.zoo import registry

__all__ = [
    "STDIN",
    "STDIO",
    "InputFolder",
    "Job",
    "Layout",
    "find",
    "jobs_of",
    "layout_of",
    "others_of",
    "part_of",
    "put_beside",
    "refuse_clashes",
    "refuse_shared",
    "with_parts",
]

STDIO = "-"  # standard input, standard output
ERRORS, DONE = "errors.jsonl", "done.jsonl"
OUTPUTS = "that segzoo predicted"  # behind an ending, as a kind of files that are left out
SHOWN = 10  # of a list in a message


class Job(NamedTuple):
    """A picture and the name of its outputs, relative to their folder and without their ending.

    in_parts: it is larger than what is read as a whole, and its outputs are TIFFs in tiles.
    """

    source: str
    stem: str
    in_parts: bool = False

    @property
    def ending(self) -> str:
        """Of the names of its outputs."""
        return ".tif" if self.in_parts else ".png"


class InputFolder(NamedTuple):
    """Pictures of one folder, in the order of their stems, whose outputs go to `out`.

    others: how many files of other kinds lie there, by their endings. in_parts: the names of those
    that are too large to be read as a whole.
    """

    path: str
    out: str
    names: tuple[str, ...]
    others: Mapping[str, int] = {}
    in_parts: frozenset[str] = frozenset()


STDIN = InputFolder("", "", (STDIO,))  # a picture from standard input


class Layout(NamedTuple):
    """Where outputs go: a folder, or one file. heads: side outputs too.

    beside: each to its picture, whose name it has with this behind it; `out` is empty then.
    folders: where a kind's folder is not called as the kind is. shard: the part of the pictures
    that this process is about. resumable: it is noted what is done.
    """

    out: str
    kinds: tuple[str, ...]
    is_file: bool = False
    heads: bool = False
    beside: str = ""
    folders: Mapping[str, str] = {}
    shard: Shard = WHOLE
    resumable: bool = False

    @property
    def folder(self) -> str:
        """The folder of the outputs, as an absolute path."""
        return os.path.abspath(os.path.dirname(self.out) if self.is_file else self.out)

    @property
    def errors(self) -> str:
        """The file that says which pictures failed; empty where outputs have no folder."""
        return self._own("" if self.is_file or self.beside else ERRORS)

    @property
    def done(self) -> str:
        """The file that says which pictures are done; empty where that is not noted."""
        return self._own(DONE if self.resumable else "")

    def _own(self, name: str) -> str:
        return name and os.path.join(self.out, self.shard.named(name))

    @property
    def heads_there(self) -> list[int]:
        """The heads that have a folder already, and the final one."""
        if not self.heads or not os.path.isdir(self.out):
            return [0]
        found = (re.fullmatch(r"head-(0|[1-9][0-9]{0,5})", name) for name in os.listdir(self.out))
        return sorted({0, *(int(match[1]) for match in found if match)})

    def path(self, job: Job, kind: str, head: int = 0) -> str:
        """OUT/STEM.png or .tif, with a folder for each head, and each kind where there are more."""
        if self.is_file:
            return self.out
        if self.beside:
            return f"{job.stem}{self.beside}.png"
        return os.path.join(
            self.out,
            f"head-{head}" if self.heads else "",
            self.folders.get(kind, kind) if len(self.kinds) > 1 else "",
            f"{job.stem}{job.ending}",
        )

    def paths(self, job: Job) -> list[str]:
        """The outputs of a job's final prediction."""
        return [self.path(job, kind) for kind in self.kinds]


def find(
    inputs: Iterable[str], *, recursive: bool, out: str, may_be_empty: bool = False
) -> list[InputFolder]:
    """The pictures that files, folders and globs name. UsageError for an input that names none.

    A file that is named twice counts once. may_be_empty: a folder need not have any.

    A folder gives its pictures (by extension; hidden ones are left out), and those of its folders
    if `recursive`. Links are followed, each folder once. The folder `out` is no input of another
    one, and neither are outputs of earlier runs in folders below the one that is named, or in that
    one where it is `out` itself.
    """
    found = []
    named = {os.path.normpath(text): text for text in reversed([*inputs])}
    for text in reversed(named.values()):
        if os.path.isdir(text):
            folders = list(_scan(text, None if recursive else 1, out))
            if not may_be_empty and not any(folder.names for folder in folders):
                hint = "" if recursive else "; -r looks into its folders too"
                raise UsageError(
                    f"this folder holds no pictures{hint}",
                    file=text,
                    found=left_out(others_of(folders)),
                )
        elif os.path.lexists(text):
            folders = [InputFolder(os.path.dirname(text), "", (os.path.basename(text),))]
        elif any(c in text for c in "*?["):
            folders = list(_glob(text, out))
            if not folders:
                raise UsageError("no picture matches", file=text, next_step=_meant(text))
        elif _is_hidden(text):
            raise UsageError("permission denied", file=text)
        else:
            raise UsageError("there is no such file or folder", file=text, next_step=_meant(text))
        found += folders
    return found


def _is_hidden(path: str) -> bool:
    """Whether this user may not know if it is there."""
    try:
        os.lstat(path)
    except PermissionError:
        return True
    except (OSError, ValueError):
        pass
    return False


def _meant(text: str) -> str:
    """What to do instead of giving this for a picture, where that is plain."""
    if text == STDIO:
        return "Standard input is an input on its own"
    if text.startswith(("http://", "https://")):
        return f"Fetch it first: curl -LO {shlex.quote(printable(text))}"
    if any(registry.fold(text) == entry.name for entry in registry.entries()):
        return f"The model comes first: segzoo predict {text} PICTURE -o out"
    return ""


def put_beside(folders: Iterable[InputFolder], ending: str) -> list[InputFolder]:
    """The same pictures, whose outputs go where they are.

    ending: of the outputs' names. What an earlier run has made of another picture is none.
    """
    return [
        folder._replace(out=os.path.normpath(folder.path) if folder.path else "", names=names)
        for folder in folders
        if (names := _without_made(folder.names, ending)) or folder.others
    ]


def _without_made(names: Sequence[str], ending: str) -> tuple[str, ...]:
    made = {f"{_stem(name)}{ending}.png" for name in names}
    return tuple(name for name in names if name not in made)


def jobs_of(folders: Iterable[InputFolder]) -> Iterator[Job]:
    """A job for every picture."""
    for folder in folders:
        if folder is STDIN:
            yield Job(STDIO, "stdin")
            continue
        for name in folder.names:
            stem = os.path.join(folder.out, _stem(name))
            yield Job(os.path.join(folder.path, name), stem, name in folder.in_parts)


def part_of(folders: Iterable[InputFolder], shard: Shard) -> list[InputFolder]:
    """The pictures of the folders that are of one part."""
    return [
        folder._replace(
            names=tuple(
                name
                for name in folder.names
                if shard.has(os.path.normpath(os.path.join(folder.out, _stem(name))))
            )
        )
        for folder in folders
    ]


def with_parts(folders: Iterable[InputFolder], max_pixels: int) -> list[InputFolder]:
    """The same, with which pictures are read in parts, as far as their headers say."""
    from segzoo.pictures import parts

    def of(folder: InputFolder) -> frozenset[str]:
        return frozenset(
            name
            for name in folder.names
            if parts.is_larger(os.path.join(folder.path, name), max_pixels)
        )

    return [each if each is STDIN else each._replace(in_parts=of(each)) for each in folders]


def others_of(folders: Iterable[InputFolder]) -> Counter[str]:
    """How many files of other kinds lie in the folders, by their endings."""
    return sum((Counter(folder.others) for folder in folders), Counter())


def layout_of(
    out: str, kinds: tuple[str, ...], *, total: int, heads: bool, as_json: bool
) -> Layout:
    """Where outputs go; total: of the pictures. UsageError or OutputError when they cannot."""
    suffix = os.path.splitext(out)[1].lower()
    is_file = out == STDIO or (suffix == ".png" and not os.path.isdir(out))
    if is_file and (total > 1 or len(kinds) > 1 or heads):
        raise UsageError(
            f"-o {printable(out)} holds one picture",
            found=f"{count_of(total, 'input')}, {count_of(len(kinds), 'kind')}"
            f"{', all heads' * heads}",
            expected="one input, one kind and the final head",
            next_step="Give a folder with -o",
        )
    if out == STDIO and as_json:
        raise UsageError("--json and -o - both write to standard output")
    if not is_file and not os.path.isdir(out):
        if os.path.lexists(out):
            raise OutputError("this is a file, not a folder", file=out)
        if suffix in endings():
            raise UsageError(
                f"outputs are PNG files, not {suffix}", file=out, next_step="Give -o a .png"
            )
    return Layout(out, kinds, is_file=is_file, heads=heads)


def refuse_clashes(
    folders: Sequence[InputFolder], layout: Layout, *, overwrite: bool, skip_existing: bool
) -> None:
    """Raise for outputs that would overwrite each other, an input, or what is there already."""
    refuse_shared(folders, layout)
    ours.refuse_others(filter(None, [layout.errors, layout.done]))
    real = cache(os.path.realpath)
    inputs = {real(folder.path or ".") for folder in folders}
    existing: list[str] = []
    beside: set[str] = set()  # outputs that are there, in a folder that has inputs
    heads = layout.heads_there
    for job in jobs_of(folders):
        paths = (layout.path(job, kind, head) for head in heads for kind in layout.kinds)
        for path in filter(os.path.lexists, paths):
            if os.path.isdir(path):
                raise OutputError("cannot be written: it is a folder", file=path)
            folder, name = os.path.split(path)
            if real(folder or ".") in inputs:
                beside.add(os.path.join(real(folder or "."), name))
            if not overwrite and not skip_existing:
                existing.append(path)
    if beside:
        pictures = (os.path.split(job.source) for job in jobs_of(folders))
        places = (os.path.join(real(folder or "."), name) for folder, name in pictures)
        if overwritten := [place for place in places if place in beside]:
            raise OutputError(
                f"this would overwrite {_list(overwritten, 'input')}",
                next_step="Choose another folder with -o",
            )
    if existing:
        raise OutputError(
            f"already there: {_list(existing, 'output')}",
            next_step="Give --skip-existing to leave such, or --overwrite to write them anew",
        )


def refuse_shared(folders: Sequence[InputFolder], layout: Layout) -> None:
    """UsageError for pictures of one output."""
    groups: dict[str, list[Iterable[tuple[str, str]]]] = {}
    for folder in folders:
        jobs = ((job.stem, job.source) for job in jobs_of([folder]))
        groups.setdefault(os.path.normpath(folder.out), []).append(jobs)
    shared = [
        f"{one} and {two} -> {layout.paths(Job(one, stem))[0]}"
        for group in groups.values()
        for (stem, one), (other, two) in pairwise(heapq.merge(*group))
        if stem == other
    ]
    if shared:
        raise UsageError(
            f"several pictures would be written to one output: {_list(shared, 'pair')}",
            next_step="Rename one of each pair, or write them to different folders",
        )


def _scan(root: str, depth: int | None, out: str) -> Iterator[InputFolder]:
    """The folders below `root` that hold pictures, down to `depth` levels, in sorted order."""
    skip = os.path.realpath(out) if out != STDIO else ""
    seen: set[tuple[int, int]] = set()
    stack = [""]
    while stack:
        below = stack.pop()
        path = os.path.join(root, below) if below else root
        try:
            status = os.stat(path or ".")
            if (status.st_dev, status.st_ino) in seen or (below and os.path.realpath(path) == skip):
                continue
            seen.add((status.st_dev, status.st_ino))
            names, folders, others = _entries(path or ".")
        except OSError as error:
            raise UsageError(f"cannot be read: {error.strerror}", file=path) from None
        own = os.path.realpath(path or ".") == skip
        if below or own:
            names = _inputs_of(path, names, others, mixed=own)
        if names or others:
            yield InputFolder(path, below, tuple(names), others)
        if depth is None or below.count(os.sep) + bool(below) + 1 < depth:
            stack += [os.path.join(below, folder) for folder in reversed(folders)]


def _inputs_of(path: str, names: list[str], others: Counter[str], *, mixed: bool) -> list[str]:
    """The names without those of outputs of an earlier run, which are counted instead.

    mixed: they may lie among pictures of the same ending. Else a folder whose first PNG is none has
    none, and so its TIFFs: two files of each folder are looked into, not each file.
    """
    for ending in (".png", ".tif"):
        images = [name for name in names if name.endswith(ending)]
        if images and (mixed or ours.is_output(os.path.join(path, images[0]))):
            outputs = {name for name in images if ours.is_output(os.path.join(path, name))}
            if outputs:
                others[f"{ending} {OUTPUTS}"] += len(outputs)
            names = [name for name in names if name not in outputs]
    return names


def _entries(path: str) -> tuple[list[str], list[str], Counter[str]]:
    """Names of the pictures and of the folders in a folder, both sorted; endings of other files.

    Hidden ones are left out.
    """
    names, folders, others = [], [], Counter[str]()
    known = frozenset(endings())
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():
                folders.append(entry.name)
            elif (ending := os.path.splitext(entry.name)[1].lower()) in known:
                names.append(entry.name)
            else:
                others[ending] += 1
    names.sort()
    names.sort(key=_stem)
    return names, sorted(folders), others


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]


def _glob(pattern: str, out: str) -> Iterator[InputFolder]:
    """The pictures that a pattern matches; outputs keep the folders below its first wildcard."""
    parts = pattern.split("/")
    first = next(n for n, part in enumerate(parts) if any(c in part for c in "*?["))
    root, wanted = "/".join(parts[:first]), parts[first:]
    if first == 1 and not root:
        root = "/"
    if not os.path.isdir(root or "."):
        return
    for folder in _scan(root, None if "**" in wanted else len(wanted), out):
        above = folder.out.split(os.sep) if folder.out else []
        names = tuple(n for n in folder.names if _matches([*above, n], wanted))
        if names:
            yield folder._replace(names=names, others={})


def _matches(parts: list[str], wanted: list[str]) -> bool:
    if not wanted:
        return not parts
    if wanted[0] == "**":
        return any(_matches(parts[n:], wanted[1:]) for n in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], wanted[0]) and _matches(parts[1:], wanted[1:])


def _list(items: list[str], noun: str) -> str:
    """ "3 outputs: a, b and c", "1 output: a", or the first ten and how many more there are."""
    shown = items[:SHOWN]
    text = ", ".join(shown[:-1]) + " and " * (len(shown) > 1) + shown[-1]
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return f"{count_of(len(items), noun)}: {text}{more}"
