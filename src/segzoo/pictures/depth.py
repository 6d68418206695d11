"""Values of any depth as 8 bits, where it is known how bright they are."""

from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from segzoo.errors import PictureError

__all__ = [
    "SPARE",
    "Bytes",
    "black_and_white",
    "eight_bits",
    "nearly_black",
    "repeated",
    "sixteen_bits",
]

Bytes: TypeAlias = NDArray[np.uint8]

SAY_PEAK = "peak={0} (predict: --peak {0})"
SPARE = 16  # a picture whose values use less than one part of so many of their range is said


def black_and_white(condition: NDArray[np.bool_]) -> Bytes:
    """True becomes 255, False 0."""
    return condition.astype(np.uint8) * np.uint8(255)


def repeated(values: Bytes) -> Bytes:
    return np.repeat(values[..., None], 3, axis=2)


def sixteen_bits(values: NDArray[Any]) -> NDArray[np.uint16]:
    low, high = int(values.min()), int(values.max())
    if not 0 <= low <= high <= 65535:
        raise PictureError(
            "it is not known how bright these 32-bit values are",
            found=f"{low} to {high}",
            expected="values in 0..65535",
            next_step="Save it with 8 or 16 bits" + _or_say(low, high),
        )
    return values.astype(np.uint16)


def eight_bits(
    values: NDArray[Any], notes: list[str], *, peak: float | None = None, full: int = 65535
) -> Bytes:
    """Values of any depth as 0..255, rounded; PictureError where it is not known how.

    peak: the largest value that there can be of more than 8 bits; it becomes 255, and so does what
    is above it. full: that of 16-bit integers of which nothing is said.
    """
    kind = values.dtype
    if kind == np.uint8:
        return cast(Bytes, values)
    if kind == np.bool_:
        return black_and_white(values)
    if peak is not None and kind.kind in "iuf":
        return _up_to(values, peak, notes)
    if kind.kind == "u" and kind.itemsize == 2:
        notes.append(f"{full.bit_length()}-bit values divided by {full / 255:.5g}")
        if 0 < (high := int(values.max())) < (full + 1) // SPARE:
            notes.append(nearly_black(f"{values.min()} to {high}", full))
        return ((values.astype(np.uint32) * 255 + full // 2) // full).astype(np.uint8)
    if kind.kind == "f":
        _refuse_nan(values)
        low, bright = float(values.min()), float(values.max())
        if not 0 <= low <= bright <= 1:
            raise PictureError(
                "it is not known how bright these floating-point values are",
                found=f"{low:g} to {bright:g}",
                expected="finite values in 0..1",
                next_step="Divide by the largest value that there can be" + _or_say(low, bright),
            )
        notes.append("floating-point values multiplied by 255")
        if 0 < bright < 1 / SPARE:
            notes.append(nearly_black(f"{low:g} to {bright:g}", 1))
        return np.rint(values * 255.0).astype(np.uint8)
    raise PictureError(
        "this array is not a picture",
        found=f"values of type {kind}",
        expected="uint8, bool, uint16, or float in 0..1",
        next_step="Values in 0..255: array.astype(numpy.uint8)",
    )


def _up_to(values: NDArray[Any], peak: float, notes: list[str]) -> Bytes:
    """Values of 0..peak as 0..255, rounded; those above `peak` become 255, with a note."""
    _refuse_nan(values)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high < float("inf")):
        raise PictureError(
            "the picture holds values that are no brightness",
            found=f"{low:g} to {high:g}",
            expected=f"finite values from 0 to {peak:g}",
        )
    notes.append(f"values divided by {peak / 255:.5g}, as {peak:g} is said to be the largest")
    if high > peak:
        notes.append(f"values above {peak:g} became 255; found up to {high:g}")
    elif 0 < high < peak / SPARE:
        notes.append(nearly_black(f"{low:g} to {high:g}", peak))
    scaled: NDArray[np.float64] = np.minimum(values.astype(np.float64), peak) * (255 / peak)
    return np.rint(scaled).astype(np.uint8)


def _refuse_nan(values: NDArray[Any]) -> None:
    wrong = np.isnan(values).reshape(*values.shape[:2], -1).any(axis=2)  # of (H, W) or (H, W, C)
    if count := int(wrong.sum()):
        raise PictureError(
            "the picture holds values that are no numbers",
            found=f"NaN in {count:,} of {wrong.size:,} pixels",
            expected="a brightness in each",
            next_step="Write what those pixels are meant to show, such as 0, and save it anew",
        )


def nearly_black(found: str, full: float) -> str:
    """The note of a picture that is nearly black because its range is not what its type says."""
    return (
        f"its values use less than a sixteenth of their range; found {found}, of {full:g}. "
        f"Say the largest that there can be, such as {SAY_PEAK.format(4095)}"
    )


def _or_say(low: float, high: float) -> str:
    """The other way out: to say the range, where values can be a brightness."""
    can = 0 <= low <= high < float("inf")
    return f", or say it: {SAY_PEAK.format(_power(high))}" if can else ""


def _power(high: float) -> str:
    """The largest value of as many bits as a number needs; of a fraction that number."""
    if not 1 < high < 1e18:
        return f"{high:.2g}"
    return str((1 << int(high).bit_length()) - 1)
