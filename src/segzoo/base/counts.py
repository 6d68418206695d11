"""A number and what it counts, as a person writes them."""

__all__ = ["count_of"]

SIBILANTS = ("s", "x", "z", "ch", "sh")  # after which the plural is heard as "es"
HARD = ("epoch",)  # its "ch" is heard as a "k"
VOWELS = "aeiou"


def count_of(number: float, noun: str) -> str:
    """ "1 picture", "3,000 pictures", "0 classes", "1.5 minutes", "2 more families".

    noun: in the singular, with what stands before it.
    """
    shown = f"{number:,.0f}" if float(number).is_integer() else f"{number:g}"
    return f"{shown} {noun if number == 1 else _plural(noun)}"


def _plural(noun: str) -> str:
    if noun.endswith("y") and noun[-2:-1] not in VOWELS:
        return f"{noun[:-1]}ies"
    hissing = noun.endswith(SIBILANTS) and not noun.endswith(HARD)
    return f"{noun}es" if hissing else f"{noun}s"
