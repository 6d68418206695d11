"""A look at a data set before anything is trained on it: its traits, and what is wrong with it.

    look = look_at(data, val)
    look.traits.numbers, look.notes, look.shared

What was found is kept under the fingerprint of both sets, so that the next look reads no picture.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from segzoo.base import cache, files
from segzoo.base.counts import count_of
from segzoo.base.records import Record, asdict, from_dict
from segzoo.base.strictjson import strict_json
from segzoo.data import check
from segzoo.data.fingerprint import fingerprint
from segzoo.data.opened import Data
from segzoo.data.source import Subset
from segzoo.data.traits import Traits, spread, traits_of
from segzoo.errors import DatasetError, SegzooError

__all__ = ["Look", "look_at", "without"]

MOST = 2000  # pictures that are read
KIND = "traits"  # the folder of what is kept
VERSION = 1  # of what is kept: another one is looked at anew
MOST_BYTES = 1 << 20
LEVELS = 6


@dataclass(frozen=True, kw_only=True)
class Look(Record):
    """What a look has found. looked_at: pictures of the set that were read.

    notes: what a person should know of it. shared: numbers of pictures of the validation set that
    are in the set to train on too.
    """

    traits: Traits
    looked_at: int
    notes: tuple[str, ...] = ()
    shared: tuple[int, ...] = ()


def look_at(data: Data, val: Data | None = None, *, num_classes: int | None = None) -> Look:
    """What a data set is like, and which pictures of `val` it holds too.

    num_classes: where the set does not say it. At most 2,000 pictures of the set are read, evenly
    spread. DatasetError for what would stop a training: the first of the faults, with how many
    there are; and for masks of one class alone.
    """
    key = _key_of(data, val, num_classes)
    if key and (found := _kept(key)) is not None:
        return found
    some = _some(data)
    others = None if val is None else val.dataset
    report, shared = check.report_and_shared(some.dataset, others, num_classes=num_classes)
    _refuse(report)
    traits = traits_of(some, report, shared=len(shared))
    numbers = {**traits.numbers, "pictures": float(len(data))}
    look = Look(
        traits=dataclasses.replace(traits, numbers=numbers),
        looked_at=len(some),
        notes=tuple(_said(finding) for finding in report.notes),
        shared=shared,
    )
    if key:
        _keep(key, look)
    return look


def without(data: Data, numbers: Sequence[int]) -> Data:
    """The data but for some of its samples. DatasetError where none is left."""
    out = frozenset(numbers)
    left = [number for number in range(len(data)) if number not in out]
    if not left:
        raise DatasetError(
            "every picture to measure on is among those to train on",
            found=count_of(len(numbers), "picture"),
            next_step="Measure on others: val=0.2 holds out a fifth of the set",
        )
    return Data(Subset(data.dataset, left)) if numbers else data  # its words are of all of them


def _some(data: Data) -> Data:
    chosen = spread(len(data), MOST)
    return data if len(chosen) == len(data) else data.over(Subset(data.dataset, chosen))


def _refuse(report: check.Report) -> None:
    """DatasetError for the first fault; for one that is in many samples, with their number."""
    if report.faults:
        first, more = report.faults[0], len(report.faults) - 1
        items = first.items[0] if first.items else None
        count = f"{count_of(first.count, 'sample')}: " if first.count > 1 else ""
        others = f"; and {count_of(more, 'other fault')}, see segzoo data check" if more else ""
        raise DatasetError(
            f"{count}{first.problem}",
            file="" if items is None else items.name,
            found=("" if items is None else items.detail) + others,
            next_step=first.next_step,
        )
    there = [found for found in report.classes if found.pixels]
    if len(there) < 2:
        only = there[0].name if there else "none"
        raise DatasetError(
            "there is nothing to learn: every pixel that counts is of one class",
            found=f"class {only} in all of {count_of(report.samples, 'picture')}",
            expected="pixels of two classes or more",
            next_step="Look at the masks: segzoo data preview WORDS",
        )


def _said(finding: check.Finding) -> str:
    names = ", ".join(item.name for item in finding.items[:3])
    return f"{finding.count} x {finding.problem}" + (f": {names}" if names else "")


# --- what is kept ---------------------------------------------------------------------------------


def _key_of(data: Data, val: Data | None, num_classes: int | None) -> str:
    """What the look is kept under; empty where the sets do not tell what is in their files."""
    sets = [each for each in (data, val) if each is not None]
    prints = [fingerprint(each.dataset) for each in sets]
    if any(found.of != "contents" for found in prints):
        return ""
    means = [dataclasses.astuple(each.info) for each in sets]
    text = json.dumps([VERSION, [found.sha256 for found in prints], means, num_classes])
    return hashlib.sha256(text.encode()).hexdigest()


def _kept(key: str) -> Look | None:
    """The look that was kept under a key; None for none that is whole, ours and of this version."""
    try:
        raw = cache.trusted(cache.home() / KIND / f"{key}.json", most=MOST_BYTES)
        if raw is None:
            return None
        record = strict_json(raw, KIND, what="the look", error=DatasetError, levels=LEVELS)
        return from_dict(Look, record)
    except (OSError, ValueError, TypeError, SegzooError):
        return None


def _keep(key: str, look: Look) -> None:
    with contextlib.suppress(OSError, SegzooError):  # the next look is as long as this one
        text = json.dumps(asdict(look), indent=1)
        files.write(cache.folder(KIND) / f"{key}.json", text.encode())
