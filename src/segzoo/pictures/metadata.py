"""What a file says besides its pixels: which way is up, profile, EXIF, dots per inch, frames."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from segzoo.errors import printable
from segzoo.pictures.exif import block_of, is_cheap
from segzoo.pictures.streams import COUNT_BYTES, PictureStream

__all__ = [
    "UPRIGHT",
    "dpi_of",
    "exif_of",
    "icc_profile_of",
    "is_on_its_side",
    "note_frames",
    "orientation_of",
    "turned",
]

ICC_BYTES = 1 << 20  # what Pillow accepts of a profile inside a PNG
EXIF_BYTES = 64 << 10  # what a JPEG can hold
ABOUT_THE_FILE = (
    ExifTags.Base.ExifImageWidth,
    ExifTags.Base.ExifImageHeight,
    ExifTags.Base.MakerNote,  # its offsets are those of the file
)
PROFILE_SPACE = slice(16, 20)  # of an ICC profile: the colours it is about (ICC.1, table 17)
# EXIF orientation -> rows and columns exchanged, then upside down, then mirrored
UPRIGHT = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def turned(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """(H, W, ...) upright, with an EXIF orientation undone; contiguous."""
    if orientation not in UPRIGHT:
        return np.ascontiguousarray(array)
    exchanged, upside_down, mirrored = UPRIGHT[orientation]
    array = array.swapaxes(0, 1) if exchanged else array
    array = array[::-1] if upside_down else array
    return np.ascontiguousarray(array[:, ::-1] if mirrored else array)


def is_on_its_side(orientation: int) -> bool:
    """Whether rows of the picture are columns in its file."""
    return orientation in UPRIGHT and UPRIGHT[orientation][0]


def orientation_of(im: Image.Image, notes: list[str]) -> int:
    """The EXIF orientation that the pixels do not have yet."""
    block = block_of(im)
    try:
        exif = im.getexif() if block is None or is_cheap(block) else Image.Exif()
        broken = not exif and block is not None
        orientation = exif.get(ExifTags.Base.Orientation, 1)
    except Exception:  # written by any camera or editor: it may fail in any way
        broken, orientation = True, 1
    if broken:
        notes.append("its broken EXIF data is ignored")
    return orientation if isinstance(orientation, int) else 1


def icc_profile_of(im: Image.Image, notes: list[str]) -> bytes | None:
    """The profile when it can stand in a PNG of these RGB values."""
    profile = im.info.get("icc_profile")
    if not isinstance(profile, bytes) or not profile:
        return None
    if profile[PROFILE_SPACE] != b"RGB ":
        space = printable(profile[PROFILE_SPACE].decode("latin-1").strip())
        notes.append(f"its ICC profile is dropped: it is about {space or 'nothing'}, not RGB")
    elif len(profile) > ICC_BYTES:
        notes.append(f"its ICC profile is dropped: it is larger than {ICC_BYTES >> 20} MiB")
    else:
        return profile
    return None


def exif_of(im: Image.Image, notes: list[str]) -> bytes | None:
    """The EXIF data of an upright copy: without what is about the file that they are from.

    The small copy that cameras add shows what was there before; Pillow leaves it out.
    """
    block = block_of(im)
    if block is None:
        return None
    exif = Image.Exif()  # not the picture's own, which may be its owner's
    try:
        exif.load(block if is_cheap(block) else b"")
        exif.pop(ExifTags.Base.Orientation, None)
        inner = exif.get_ifd(ExifTags.IFD.Exif)
        for tag in ABOUT_THE_FILE:
            inner.pop(tag, None)
        found = exif.tobytes() if len(exif) else b""
    except Exception:  # as above
        notes.append("its broken EXIF data is ignored")
        return None
    if len(found) > EXIF_BYTES:
        notes.append(f"its EXIF data are dropped: they are larger than {EXIF_BYTES >> 10} KiB")
    return found if 0 < len(found) <= EXIF_BYTES else None


def dpi_of(im: Image.Image, orientation: int) -> tuple[float, float] | None:
    """Horizontal and vertical dots per inch of the upright picture, when they make sense."""
    try:
        x, y = map(float, im.info["dpi"])
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None
    if not (1 <= x <= 100_000 and 1 <= y <= 100_000):
        return None
    return (y, x) if is_on_its_side(orientation) else (x, y)


def note_frames(im: Image.Image, stream: PictureStream, notes: list[str]) -> None:
    """That there are further frames or pages. An MPO's are previews and depth maps of a photo."""
    stream.allowance = COUNT_BYTES
    try:
        if im.format != "MPO" and getattr(im, "is_animated", False):
            notes.append(f"the first of {getattr(im, 'n_frames', 'several')} frames")
    except Exception:  # damaged or endless behind the first one, which is here
        notes.append("the first of several frames")
