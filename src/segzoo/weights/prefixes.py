"""Which tensors of a file are the network's: those below a prefix that makes all of its names fit.

DataParallel puts `module.` before the names, torch.compile `_orig_mod.`, Lightning the name of a
field: `model.`, `net.`. Beside them a file may hold a loss, a metric, or averages of the weights.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from segzoo.keymap import Converter

__all__ = ["AVERAGED", "NetworkNames", "bare", "names_below", "prefix_before"]

# Inside of names, where a part of the network was wrapped; the same is often before all of them.
WRAPPER = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
AVERAGED = re.compile(r"(?:^|[._])ema(?:[._]|$)")  # in the name of averages of the weights
COUNTS = ("n_averaged",)  # what torch's AveragedModel has beside the network
DEEPEST, MOST = 4, 64  # names in a prefix, and prefixes that are tried


class NetworkNames(NamedTuple):
    """Where a network's tensors are in a file.

    layout: of the names. prefix: before them in the file. named: the file's name of each tensor by
    its name without the prefix. beside: the file's names of all others.
    whole: whether all names of the network are among them.
    """

    layout: str
    prefix: str
    named: Mapping[str, str]
    beside: tuple[str, ...]
    whole: bool


def bare(names: Collection[str]) -> dict[str, str]:
    """The names by what they are without wrappers within them; as they are where that is no use."""
    found = {WRAPPER.sub("", name): name for name in names}
    return found if len(found) == len(names) else {name: name for name in names}


def prefix_before(names: Collection[str], expected: Collection[str]) -> str:
    """What stands before every one of `names` and makes them the expected ones; "" for nothing."""
    last = max(expected, key=len, default="")
    for name in names:
        prefix = name.removesuffix(last)
        if prefix != name and prefix.endswith("."):
            if {prefix + each for each in expected} == set(names):
                return prefix
    return ""


def names_below(
    names: Mapping[str, str],
    layouts: Callable[[Collection[str]], list[str]],
    known: Mapping[str, Converter],
    expected: Callable[[str], Collection[str]],
    *,
    averaged: bool = False,
) -> list[NetworkNames]:
    """The places in a file at which a network of these names may lie.

    names: the file's, by `bare`. layouts: those that names may be of. known: their key maps; a
    layout without one has the network's own names. expected: the names that a file of a layout
    cannot lack. averaged: averages of weights are wanted.

    Several where several prefixes fit and none of them is to be preferred. Where none fits: the
    one that fits best.
    """
    places: list[tuple[float, NetworkNames]] = []
    for prefix in _prefixes(names):
        named = {n.removeprefix(prefix): old for n, old in names.items() if n.startswith(prefix)}
        beside = tuple(old for n, old in names.items() if not n.startswith(prefix))
        for layout in layouts(named):
            converter, needed = known.get(layout), expected(layout)
            own = {
                converter.renamed(n) if converter else n
                for n in named
                if not (converter and converter.leaves_out(n))
            }
            fit = sum(n in own for n in needed) / max(len(needed), 1)
            others = tuple(n for n in beside if n not in COUNTS)
            places.append((fit, NetworkNames(layout, prefix, named, others, fit == 1)))
    whole = [place for _, place in places if place.whole]
    if not whole:
        best = max((fit for fit, _ in places), default=0)
        first = next(place for fit, place in places if fit == best)
        return [place for _, place in places if place.prefix == first.prefix]
    preferred = [p for p in whole if bool(AVERAGED.search(p.prefix)) == averaged]
    found = preferred or ([] if averaged else whole)
    not_meant = tuple(p.prefix for p in whole if p not in found)
    found = [_without(place, not_meant) for place in found]
    return [place for place in found if not place.beside] or found


def _without(place: NetworkNames, prefixes: tuple[str, ...]) -> NetworkNames:
    """The place with nothing of other networks beside it."""
    beside = (old for old in place.beside if not old.startswith(prefixes))
    return place._replace(beside=tuple(beside) if prefixes else place.beside)


def _prefixes(names: Collection[str]) -> Iterator[str]:
    """What the names may begin with: nothing, then what most of them begin with."""
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        counts.update(".".join(parts[:n]) + "." for n in range(1, min(len(parts), DEEPEST + 1)))
    yield ""
    yield from sorted(counts, key=lambda prefix: (-counts[prefix], len(prefix), prefix))[:MOST]
