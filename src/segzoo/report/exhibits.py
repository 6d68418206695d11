"""Some pictures of an evaluation with truth, prediction and errors, kept in one file for its page.

pictures.zip holds, of each, four pictures of one size: 000012-picture.jpg and so on. They are
stored without compression, and of other members nothing is read.
"""

import io
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segzoo.base.files import replacing
from segzoo.engine.evaluate import Judged
from segzoo.engine.maps import NO_LABEL
from segzoo.errors import DataError
from segzoo.pictures.labels import Colour, Palette
from segzoo.report.page import Exhibit, Layer, data_uri
from segzoo.report.panels import overlaid, rgb

__all__ = [
    "ERROR_KEYS",
    "LAYERS",
    "PICTURES",
    "SIDE",
    "LabelLook",
    "Looked",
    "encoded",
    "exhibit_of",
    "layers_of",
    "looked_at",
    "read_pictures",
    "write_pictures",
]

PICTURES = "pictures.zip"
LAYERS = ("picture", "truth", "prediction", "errors")
SIDE = 640  # pixels of the longer side, at least, where a picture has them; below twice as many
FEW = 40_000  # pixels: smaller pictures are stored exactly
QUALITY = 86  # of a JPEG
FALSE, MISSED = (232, 93, 48), (58, 134, 255)
ERROR_KEYS: Sequence[tuple[str, Colour]] = (("false alarm", FALSE), ("missed", MISSED))
MOST_BYTES, MOST_SIDE = 1 << 23, 4 * SIDE  # of one picture that is read
TYPES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}  # by a file's beginning

Bytes: TypeAlias = NDArray[np.uint8]


class LabelLook(NamedTuple):
    """How labels are shown. background: the class that is left as the picture has it."""

    palette: Palette
    ignore_index: int | None
    background: int | None


class Looked(NamedTuple):
    """A picture that was judged, at the size at which it is shown; see `Judged`."""

    image: Bytes
    target: NDArray[np.int64]
    mask: NDArray[np.int64]
    id: str


def looked_at(one: Judged) -> Looked:
    """The picture with its maps, no larger than a person sees on a page."""
    target, mask = one.target.numpy(), one.mask.numpy()
    step = max(1, max(target.shape[-2:]) // SIDE)
    image = np.asarray(Image.fromarray(rgb(one.image)).reduce(step))
    return Looked(image, target[..., ::step, ::step], mask[..., ::step, ::step], one.id)


def layers_of(
    image: Bytes, target: NDArray[Any], masks: Mapping[str, NDArray[Any]], look: LabelLook
) -> dict[str, Bytes]:
    """The pictures to slide between, (H, W, 3) each: "picture", "truth", one of each mask.

    Of one mask also "errors": where it is wrong, on a gray picture. target, masks: as `Looked`.
    """
    unknown = len(look.palette)
    shown = {
        name: overlaid(
            image,
            np.where(mask == NO_LABEL, unknown, mask),
            look.palette,
            ignore_index=unknown,
            background=look.background,
        )
        for name, mask in masks.items()
    }
    truth = overlaid(
        image, target, look.palette, ignore_index=look.ignore_index, background=look.background
    )
    layers = {"picture": image, "truth": truth, **shown}
    if len(masks) == 1:
        [mask] = masks.values()
        layers["errors"] = _errors(image, target, mask, look)
    return layers


def _errors(image: Bytes, target: NDArray[Any], mask: NDArray[Any], look: LabelLook) -> Bytes:
    """The picture in gray, with what was missed in blue and what is wrong else in orange."""
    wrong = mask != target
    if look.ignore_index is not None:
        wrong &= target != look.ignore_index
    missed = wrong & (target != 0) & (mask == 0)
    if target.ndim == 3:
        wrong, missed = wrong.any(axis=0), missed.any(axis=0)
    elif look.background != 0:
        missed = np.zeros_like(wrong)
    gray = np.asarray(Image.fromarray(image).convert("L")).astype(np.float32)
    shown = np.repeat(np.rint(gray * 0.6 + 40)[..., None], 3, axis=2).astype(np.uint8)
    shown[wrong] = FALSE
    shown[missed] = MISSED
    return shown


def write_pictures(
    folder: str | os.PathLike[str], looked: Mapping[int, Looked], look: LabelLook
) -> None:
    """Write pictures.zip. looked: by the pictures' numbers."""
    with replacing(Path(folder, PICTURES)) as stream, zipfile.ZipFile(stream, "w") as archive:
        for number, one in looked.items():
            layers = layers_of(one.image, one.target, {"prediction": one.mask}, look)
            for name, picture in layers.items():
                data, kind = encoded(picture)
                archive.writestr(f"{number:06}-{name}.{kind.removeprefix('image/')}", data)


def encoded(picture: Bytes, *, exact: bool = False) -> tuple[bytes, str]:
    """The bytes of a file and its MIME type: exact where the picture is small, else nearly so."""
    stream = io.BytesIO()
    im = Image.fromarray(np.ascontiguousarray(picture))
    if exact or picture.shape[0] * picture.shape[1] <= FEW:
        im.save(stream, format="PNG", optimize=True)
        return stream.getvalue(), "image/png"
    im.save(stream, format="JPEG", quality=QUALITY, subsampling=0)
    return stream.getvalue(), "image/jpeg"


def exhibit_of(layers: Mapping[str, Bytes], *, caption: str, value: str = "") -> Exhibit:
    """Pictures (H, W, 3) of one size, by what they are called, for a page."""
    height, width = next(iter(layers.values())).shape[:2]
    shown = [Layer(name, data_uri(*encoded(picture))) for name, picture in layers.items()]
    return Exhibit(caption, value, shown, width, height)


def read_pictures(
    folder: str | os.PathLike[str], wanted: Iterable[tuple[int, str, str]]
) -> list[Exhibit]:
    """Those of the pictures (number, caption, value) that pictures.zip holds, for a page.

    DataError for a file that is damaged or not as `write_pictures` makes it.
    """
    path = Path(folder, PICTURES)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {Path(info.filename).stem: info for info in archive.infolist()}
            found = []
            for number, caption, value in wanted:
                names = [f"{number:06}-{name}" for name in LAYERS]
                if all(name in members for name in names):
                    pictures = [_read(archive, members[name], path) for name in names]
                    found.append(_exhibit(pictures, caption, value, path))
            return found
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(f"the pictures cannot be read: {error}", file=path) from None


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> bytes:
    if member.compress_type != zipfile.ZIP_STORED or member.file_size > MOST_BYTES:
        raise DataError(
            "a picture is compressed or too large",
            file=path,
            found=f"{member.filename}, {member.file_size:,} bytes",
            expected=f"stored, at most {MOST_BYTES:,}",
        )
    return archive.read(member)


def _exhibit(pictures: Sequence[bytes], caption: str, value: str, path: Path) -> Exhibit:
    layers, sizes = [], set()
    for name, data in zip(LAYERS, pictures, strict=True):
        kind = next((k for begin, k in TYPES.items() if data.startswith(begin)), "")
        if not kind:
            raise DataError("it holds what is no JPEG and no PNG", file=path)
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as im:
            sizes.add(im.size)
        layers.append(Layer(name, data_uri(data, kind)))
    [(width, height), *more] = sizes
    if more or max(width, height) > MOST_SIDE:
        raise DataError("pictures of other sizes than they are written with", file=path)
    return Exhibit(caption, value, layers, width, height)
