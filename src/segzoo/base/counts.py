"""Numbers and what they count, and the first of many, as a person writes them."""

from collections.abc import Sequence

from segzoo.errors import printable

__all__ = ["count_of", "some_of"]

SIBILANTS = ("s", "x", "z", "ch", "sh")  # after which the plural is heard as "es"
HARD = ("epoch",)  # its "ch" is heard as a "k"
VOWELS = "aeiou"


def count_of(number: float, noun: str) -> str:
    """ "1 picture", "3,000 pictures", "0 classes", "1.5 minutes", "2 more families".

    noun: in the singular, with what stands before it.
    """
    shown = f"{number:,.0f}" if float(number).is_integer() else f"{number:g}"
    return f"{shown} {noun if number == 1 else _plural(noun)}"


def some_of(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are: "cat, dog and 3 more"."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(printable, names[:most])) + more


def _plural(noun: str) -> str:
    if noun.endswith("y") and noun[-2:-1] not in VOWELS:
        return f"{noun[:-1]}ies"
    hissing = noun.endswith(SIBILANTS) and not noun.endswith(HARD)
    return f"{noun}es" if hissing else f"{noun}s"
