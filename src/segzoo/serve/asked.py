"""What a request may ask of a picture: one table, by which requests are read and described."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from segzoo.base.records import Json, Record
from segzoo.base.strictjson import short
from segzoo.errors import UsageError

__all__ = ["PARAMETERS", "AskedFor", "Parameter", "UnknownNameError", "asked_of"]

HEX = r"^#?[0-9a-fA-F]{6}$"
# All of `predict.outputs.KINDS`, which imports numpy, and this may not. The first is the default.
OUTPUTS = ("cutout", "mask", "overlay", "color", "probability", "confidence")
MAX_VALUE = 200  # characters


class UnknownNameError(UsageError):
    """A request names a model that this server does not have."""


@dataclass(frozen=True, kw_only=True)
class AskedFor(Record):
    """What a request asks of its picture; `PARAMETERS` says what each means."""

    model: str
    output: tuple[str, ...] = ("cutout",)
    format: str = "png"
    background: tuple[int, int, int] | None = None
    edges: str = "clean"
    crop: bool = False
    threshold: float | None = None


class Parameter(NamedTuple):
    """A name, what OpenAPI says of its values, and how a text becomes one.

    read: raises ValueError for a text that the schema does not allow.
    """

    name: str
    about: str
    schema: dict[str, Json]
    read: Callable[[str], Any]


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"expected {', '.join(choices[:-1])} or {choices[-1]}")
        return text

    return read


def _outputs(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in OUTPUTS]
    if unknown or len(set(names)) < len(names):
        raise ValueError(f"expected some of {', '.join(OUTPUTS)}, each once")
    return names


def _colour(text: str) -> tuple[int, int, int]:
    if not re.fullmatch(HEX, text, re.ASCII):
        raise ValueError("expected a colour such as ffcc00")
    digits = text.removeprefix("#")
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def _probability(text: str) -> float:
    value = float(text) if re.fullmatch(r"[0-9.eE+-]{1,40}", text, re.ASCII) else math.nan
    if not 0 <= value <= 1:
        raise ValueError("expected a number from 0 to 1")
    return value


def _switch(text: str) -> bool:
    return _one_of("true", "false")(text) == "true"


PARAMETERS = (
    Parameter(
        "output",
        "Which pictures are made; several come as JSON alone.",
        {
            "type": "array",
            "items": {"type": "string", "enum": [*OUTPUTS]},
            "minItems": 1,
            "uniqueItems": True,
            "default": ["cutout"],
        },
        _outputs,
    ),
    Parameter(
        "format",
        "Of these pictures, without loss. WebP holds neither 16 bits nor the indices of classes.",
        {"type": "string", "enum": ["png", "webp"], "default": "png"},
        _one_of("png", "webp"),
    ),
    Parameter(
        "background",
        "A colour behind the cut-out, in hexadecimal; without it the cut-out is transparent.",
        {"type": "string", "pattern": HEX},
        _colour,
    ),
    Parameter(
        "edges",
        "Of the cut-out. clean: those of the photo; raw: what the network said.",
        {"type": "string", "enum": ["clean", "raw"], "default": "clean"},
        _one_of("clean", "raw"),
    ),
    Parameter(
        "crop",
        "Cut to the box around what was found.",
        {"type": "boolean", "default": False},
        _switch,
    ),
    Parameter(
        "threshold",
        "Probability above which the mask is foreground; without it the model's own.",
        {"type": "number", "minimum": 0, "maximum": 1},
        _probability,
    ),
)
READ: Mapping[str, Callable[[str], Any]] = {p.name: p.read for p in PARAMETERS}


def asked_of(given: Iterable[tuple[str, str]], models: Iterable[str]) -> AskedFor:
    """The parameters of a request. models: the names of the server's, the default first.

    An empty text is as if it were not given, as a form in a browser sends all of its fields.
    UnknownNameError for another model; UsageError for all else that PARAMETERS do not have.
    """
    names = [*models]
    found: dict[str, Any] = {"model": names[0]}
    seen: set[str] = set()
    for name, text in given:
        if name not in READ and name != "model":
            raise UsageError(
                f"there is no parameter '{short(name)}'", expected=", ".join(["model", *READ])
            )
        if name in seen:
            raise UsageError(f"the parameter '{name}' is given twice")
        seen.add(name)
        if len(text) > MAX_VALUE:
            raise UsageError(f"the value of '{name}' has {len(text)} characters")
        if text and name == "model":
            if text not in names:
                raise UnknownNameError(
                    f"this server has no model '{short(text)}'", expected=" or ".join(names)
                )
            found["model"] = text
        elif text:
            try:
                found[name] = READ[name](text)
            except ValueError as error:
                raise UsageError(f"{name}='{short(text)}' cannot be: {error}") from None
    return AskedFor(**found)
