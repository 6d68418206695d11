"""What a training set, its validation set and a model must agree on, so that a number means one.

    agree(info_of(training), info_of(validation), ignore_index=255)
    suit(model.preprocess, model.in_channels, info_of(dataset))

Two sets whose classes stand in another order give masks that mean something else, and every number
of them is plausible.
"""

from collections.abc import Sequence

from segzoo.base.counts import count_of
from segzoo.data.check import classes_of
from segzoo.data.sample import Info
from segzoo.errors import UsageError, printable
from segzoo.spec import Preprocess
from segzoo.zoo import registry

__all__ = ["agree", "in_other_order", "suit"]

SAME = "Say the same of both in their words, in one order"


def agree(train: Info, val: Info, *, ignore_index: int | None) -> None:
    """UsageError where the set to measure on means something else than the one to train on.

    ignore_index: the value that does not count in training.
    """
    sides = [(info.classes, info.pixel_values, info.palette) for info in (train, val)]
    (names, values, colours), (other_names, other_values, other_colours) = sides
    if names and other_names:
        if not _same(names, other_names):
            raise _differs("classes", _said(names), _said(other_names))
    elif _turned(values, other_values):
        raise _differs("values of classes", _said(values), _said(other_values))
    elif _turned(colours, other_colours):
        raise _differs("colours of classes", _said(colours), _said(other_colours))
    counts = classes_of(train), classes_of(val)
    if None not in counts and counts[0] != counts[1] and {*counts} != {1, 2}:
        raise _differs("classes", str(counts[0]), str(counts[1]))
    if val.ignore_index not in (None, ignore_index):
        raise _differs("ignored values", str(ignore_index), str(val.ignore_index))
    for option in ("bands", "peak"):
        pair = getattr(train, option), getattr(val, option)
        if pair[0] != pair[1]:
            raise _differs(f"pictures ({option}=)", *(_plain(value) for value in pair))


def suit(preprocess: Preprocess, in_channels: int, info: Info, *, by_words: bool) -> None:
    """UsageError for a data set whose pictures are read otherwise than the model reads them.

    by_words: whether a reader made the set, so that it is known of what was not said.
    """
    banded = preprocess.mode == "bands"
    if info.bands is not None and (not banded or info.bands != in_channels):
        takes = (
            count_of(in_channels, "band")
            if banded
            else f"{count_of(in_channels, 'channel')} of colour"
        )
        raise UsageError(
            "the data set's pictures are not what the model takes",
            found=f"bands={info.bands}",
            expected=takes,
        )
    if by_words and banded and info.bands is None:
        raise UsageError(
            f"the model takes pictures of {count_of(in_channels, 'band')}",
            next_step=f"Say so in the data set's words: bands={in_channels}",
        )
    if by_words and preprocess.peak is not None and info.peak != preprocess.peak:
        raise UsageError(
            "the model reads the values of deep pictures in another range",
            found=f"peak={_plain(info.peak)}",
            expected=f"peak={_plain(preprocess.peak)}",
            next_step="Say it in the data set's words; pictures of 8 bits do not change by it",
        )


def in_other_order(names: Sequence[str], others: Sequence[str]) -> bool:
    """Whether two lists name the same classes in another order.

    One name stands for the second of two, the class that is told from the rest.
    """
    one, two = (tuple(map(registry.fold, side)) for side in (names, others))
    if len(one) == len(two):
        return one != two and sorted(one) == sorted(two)
    if {len(one), len(two)} == {1, 2}:
        alone, both = (one, two) if len(one) == 1 else (two, one)
        return alone[0] == both[0] != both[1]
    return False


def _same(names: Sequence[str], others: Sequence[str]) -> bool:
    one, two = (tuple(map(registry.fold, side)) for side in (names, others))
    return one == two or ({len(one), len(two)} == {1, 2} and one[-1] == two[-1])


def _turned(values: Sequence[object], others: Sequence[object]) -> bool:
    return values != others and {*values} == {*others} and len(values) == len(others)


def _differs(what: str, train: str, val: str) -> UsageError:
    return UsageError(
        f"the sets to train on and to measure on have other {what}",
        found=f"{train} and {val}",
        next_step=SAME,
    )


def _said(values: Sequence[object]) -> str:
    return printable(", ".join(map(str, values)))[:200]


def _plain(value: object) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
