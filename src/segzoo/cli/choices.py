"""The values that an option allows: all of a few, families of many, those of a pattern."""

import fnmatch
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from segzoo.base.counts import count_of
from segzoo.errors import UsageError
from segzoo.spec import Json, ModelSpec, Option

__all__ = ["matching", "told"]

MANY = 40  # values, from which on they are told by their families
LARGEST = 12  # families that are named


def told(option: Option, model: str) -> str:
    """In words, after the default: every value, or how many there are and of what families."""
    values = [*map(str, option.choices or ())]
    if len(values) < MANY:
        return f"one of {', '.join(values)}" if values else ""
    families = Counter(map(_family, values)).most_common()
    named = ", ".join(f"{name}* ({count})" for name, count in families[:LARGEST])
    rest = (
        f" and {count_of(len(families) - LARGEST, 'family')} more"
        if len(families) > LARGEST
        else ""
    )
    example = f"segzoo info {model} --choices '{families[0][0]}*'"
    return f"one of {len(values):,}: {named}{rest}; {example} lists those"


def matching(model: str, spec: ModelSpec, pattern: str) -> Mapping[str, Sequence[Json]]:
    """The allowed values that fit a shell pattern, by option. UsageError when none does."""
    found = {
        name: [v for v in option.choices or () if fnmatch.fnmatchcase(str(v), pattern)]
        for name, option in spec.options.items()
    }
    if not any(found.values()):
        raise UsageError(
            f"no option of {model} has a value like {pattern!r}",
            expected="; ".join(_known(spec)) or "nothing: no option of it has a list of values",
        )
    return {name: values for name, values in found.items() if values}


def _known(spec: ModelSpec) -> Iterator[str]:
    for name, option in spec.options.items():
        values = [*map(str, option.choices or ())]
        if values:
            some = dict.fromkeys(f"{_family(value)}*" for value in values)
            yield f"{name}: {', '.join([*some][:LARGEST])}{', ...' if len(some) > LARGEST else ''}"


def _family(value: str) -> str:
    """What a name begins with, up to its first number: tu-convnext of tu-convnext_tiny."""
    begin = re.match(r"(?:tu-|timm-)?[^\W\d_]+", value)
    return begin[0] if begin else value
