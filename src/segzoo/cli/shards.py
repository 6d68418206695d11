"""Equal parts of a folder for several processes: `--shard I/N`.

A picture's part is told by the name of its outputs alone. So every machine finds the same without
asking the others, and a picture that comes later moves no other one.
"""

import hashlib
import os
import re
from typing import NamedTuple

from segzoo.base.counts import count_of
from segzoo.errors import UsageError, printable

__all__ = ["WHOLE", "Shard", "shard_of"]

MOST = 1_000_000  # parts
NEXT = "Give --shard I/N: the same N to every process, and to each an I of its own from 1 to N"


class Shard(NamedTuple):
    """One of several equal parts; the first is 1."""

    number: int
    parts: int

    def __str__(self) -> str:
        return f"{self.number}/{self.parts}"

    def has(self, stem: str) -> bool:
        """Whether a picture whose outputs have this name is in this part; it is in one alone."""
        name = os.fsencode(stem.replace(os.sep, "/"))
        place = int.from_bytes(hashlib.sha256(name).digest()[:8], "big")
        return place % self.parts == self.number - 1

    def named(self, name: str) -> str:
        """The name of a part's own file: done.jsonl of the whole, done-2-of-3.jsonl of a part."""
        if self.parts == 1:
            return name
        stem, ending = os.path.splitext(name)
        return f"{stem}-{self.number}-of-{self.parts}{ending}"


WHOLE = Shard(1, 1)


def shard_of(text: str | None) -> Shard:
    """The part that a text such as 2/8 names; None is the whole. UsageError for another text."""
    if text is None:
        return WHOLE
    match = re.fullmatch(r"([0-9]{1,7})/([0-9]{1,7})", text)
    if match is None:
        raise UsageError(
            f"--shard '{printable(text)[:50]}' is no part of a folder",
            expected="I/N, such as 2/8",
            next_step=NEXT,
        )
    shard = Shard(*map(int, match.groups()))
    if not 1 <= shard.parts <= MOST:
        raise UsageError(
            f"--shard {shard}: a folder has no {count_of(shard.parts, 'part')}",
            expected=f"1 to {MOST:,}",
            next_step=NEXT,
        )
    if not 1 <= shard.number <= shard.parts:
        raise UsageError(
            f"--shard {shard}: there is no part {shard.number} of {shard.parts}",
            expected=f"1/{shard.parts} to {shard.parts}/{shard.parts}",
            next_step=NEXT,
        )
    return shard
