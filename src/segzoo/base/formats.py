"""Which files are pictures, by the endings of their names: without a decoder, and before one."""

from collections.abc import Mapping
from importlib import util

from segzoo.base.counts import count_of
from segzoo.errors import printable

__all__ = ["endings", "left_out"]

ENDINGS: Mapping[str, tuple[str, ...]] = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif",),
    "HEIC": (".heic", ".heif", ".hif"),
    "NPY": (".npy",),
}
NEEDED = {"HEIC": "pillow_heif"}  # a library that not everybody has
SHOWN = 8  # endings that are told


def endings() -> tuple[str, ...]:
    """What the names of pictures that are read here end in, in lower case."""
    return tuple(
        ending
        for kind, known in ENDINGS.items()
        if kind not in NEEDED or util.find_spec(NEEDED[kind]) is not None
        for ending in known
    )


def left_out(others: Mapping[str, int]) -> str:
    """ "3 files of other kinds left out: 2 .heic, 1 .jxl"; empty for none.

    others: how many files there are of each ending; "" for those without one.
    """
    count = sum(others.values())
    if not count:
        return ""
    ranked = sorted(others.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{n} {printable(end) or 'without an ending'}" for end, n in ranked[:SHOWN])
    more = " and more" * (len(ranked) > SHOWN)
    install = " (pip install 'segzoo-core[heic]' reads .heic)"
    unread = {*ENDINGS["HEIC"]} & {*others} - {*endings()}
    return (
        f"{count_of(count, 'file')} of other kinds left out: {shown}{more}{install * bool(unread)}"
    )
