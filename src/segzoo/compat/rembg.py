"""rembg's `remove` and `new_session`, with its signatures and what they give back.

    from segzoo.compat.rembg import new_session, remove    # instead of: from rembg import ...

A name means what it means in rembg where an installed plugin has those weights; any other model of
segzoo's is taken too. docs/move-from-rembg.md says what differs.
"""

import dataclasses
import io
from pathlib import PurePosixPath
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from segzoo.base.terminal import warn
from segzoo.errors import UnknownModelError, printable
from segzoo.pictures import codec
from segzoo.predict import edges
from segzoo.zoo import registry

__all__ = ["Session", "new_session", "remove"]

Picture: TypeAlias = bytes | Image.Image | NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
SIGMA, REACH = 2.0, 8  # of rembg's blur of a mask: scipy's filter ends at four sigma
HALF = 127  # of 255: what of a blurred mask is foreground


class Session:
    """A model as rembg's sessions are: `predict` gives masks. model_name: as it was asked for."""

    def __init__(self, model_name: str, ref: str, device: str) -> None:
        from segzoo.model.served import Request, serve

        self.model_name = model_name
        predictor = serve(Request(ref=ref, pretrained=True, device=device)).predictor
        if predictor.postprocess.normalize == "minmax":
            # rembg brings a map of 8-bit levels to the picture's size, not the logits.
            levels = dataclasses.replace(predictor.postprocess, resize="levels")
            predictor = dataclasses.replace(predictor, postprocess=levels)
        self._predictor = predictor

    def predict(self, img: Image.Image, *args: Any, **kwargs: Any) -> list[Image.Image]:
        """A mask of mode L at the picture's size, in a list: how surely each pixel is subject.

        Of a model of several classes it is that of not being background.
        """
        seen = self._predictor.predict(np.asarray(img.convert("RGB")))
        likely, background = seen.probability, seen.background
        if likely.ndim == 3:
            likely = likely.max(axis=0) if background is None else 1 - likely[background]
        return [Image.fromarray(np.rint(likely * 255).astype(np.uint8))]


def new_session(
    model_name: str = "u2net", *args: Any, sess_opts: Any = None, **kwargs: Any
) -> Session:
    """A model, loaded once for many pictures.

    model_name: one of rembg's whose weights an installed plugin has, fetched where need be; or a
    name, `name.tag` or saved folder of segzoo's. sess_opts: onnxruntime's, which does not run here:
    a warning says so. kwargs: `providers` chooses a device; the rest is left alone.

    ValueError for another name, as rembg has it.
    """
    if sess_opts is not None:
        warn("sess_opts are onnxruntime's, and nothing heeds them here", stacklevel=2)
    providers = kwargs.get("providers")
    device = "auto"
    if isinstance(providers, list) and providers:
        device = {CUDA: "cuda", CPU: "cpu"}.get(_name_of(providers[0]), "auto")
    ref = _known().get(model_name, model_name)
    if ref == model_name:
        try:
            return Session(model_name, ref, device)
        except UnknownModelError as error:
            names = ", ".join(sorted(_known()))
            raise ValueError(
                f"No session class found for model '{printable(model_name)}'; of rembg's there are "
                f"{names or 'none'}, and all of `segzoo list`"
            ) from error
    return Session(model_name, ref, device)


def remove(
    data: Picture,
    alpha_matting: bool = False,
    alpha_matting_foreground_threshold: int = 240,
    alpha_matting_background_threshold: int = 10,
    alpha_matting_erode_size: int = 10,
    session: Any = None,
    only_mask: bool = False,
    post_process_mask: bool = False,
    bgcolor: tuple[int, int, int, int] | None = None,
    force_return_bytes: bool = False,
    *args: Any,
    **kwargs: Any,
) -> Picture:
    """The picture without its background, of the type that was given: bytes are a PNG.

    alpha_matting: edges that follow the picture, by `segzoo.predict.edges`; where the mask is above
    the first threshold or below the second, both drawn in by erode_size pixels, it is believed.
    session: what `new_session` gives, or anything with such a `predict`. only_mask: of mode L.
    post_process_mask: without specks, and black and white. bgcolor: (r, g, b, a) behind it.
    kwargs: `putalpha` keeps the colours of soft pixels; all others go to the session.

    ValueError for data of another type; PictureError for bytes that are no picture.
    """
    img = _opened(data)
    putalpha = kwargs.pop("putalpha", False)
    if session is None:
        session = new_session(*args, **kwargs)
    parts = []
    for mask in session.predict(img, *args, **kwargs):
        mask = _smoothed(mask) if post_process_mask else mask
        if only_mask:
            parts.append(mask)
        elif alpha_matting:
            believed = _believed(
                mask,
                above=alpha_matting_foreground_threshold,
                below=alpha_matting_background_threshold,
                erode=alpha_matting_erode_size,
            )
            parts.append(_with_clean_edges(img, believed))
        elif putalpha:
            whole = img.copy()
            whole.putalpha(mask)
            parts.append(whole)
        else:
            # As there: the colours of soft pixels are dimmed with them.
            parts.append(Image.composite(img, Image.new("RGBA", img.size, 0), mask))
    result = _below_each_other(parts) if parts else img
    if bgcolor is not None and not only_mask:
        behind = Image.new("RGBA", result.size, tuple(bgcolor))
        result = Image.alpha_composite(behind, result.convert("RGBA"))
    if isinstance(data, bytes) or force_return_bytes:
        content = io.BytesIO()
        result.save(content, "PNG")
        return content.getvalue()
    return result if isinstance(data, Image.Image) else np.asarray(result)


def _known() -> dict[str, str]:
    """rembg's names of the weights that installed plugins fetch where rembg does.

    Its name of a model is that of its file; a plugin's record says which file its weights are from.
    """
    return {
        PurePosixPath(urlsplit(record.url).path).stem: f"{row.entry.name}.{tag}"
        for row in registry.rows()
        if row.spec is not None
        for tag, record in row.spec.weights.items()
        if record.url and "/rembg/" in record.url
    }


def _name_of(provider: Any) -> str:
    """onnxruntime takes a name, or a name with options."""
    return str(provider[0] if isinstance(provider, tuple) and provider else provider)


def _opened(data: Any) -> Image.Image:
    """Upright, with alpha where it has some."""
    if isinstance(data, bytes):
        picture = codec.read(data)
        if picture.alpha is None:
            return Image.fromarray(codec.visible(picture))
        return Image.fromarray(np.dstack([codec.visible(picture), picture.alpha]))
    if isinstance(data, Image.Image):
        turned = ImageOps.exif_transpose(data)
        return data if turned is None else turned
    if isinstance(data, np.ndarray):
        return Image.fromarray(data)
    raise ValueError(
        f"Input type {type(data)} is not supported. "
        "Try using force_return_bytes=True to force python bytes output"
    )


# --- masks ----------------------------------------------------------------------------------------


def _smoothed(mask: Image.Image) -> Image.Image:
    """Opened with a cross, blurred, and black and white."""
    values = np.asarray(mask, np.float64)
    opened = _over_a_cross(_over_a_cross(values, np.minimum, 255), np.maximum, 0)
    distance = np.arange(-REACH, REACH + 1)
    weights = np.exp(-0.5 * (distance / SIGMA) ** 2)
    weights /= weights.sum()
    blurred = _along(_along(opened, weights).T, weights).T
    return Image.fromarray(np.where(blurred < HALF, 0, 255).astype(np.uint8))


def _over_a_cross(values: Floats, of_two: np.ufunc, outside: float) -> Floats:
    """The least, or the largest, of each pixel and the four beside it."""
    padded = np.pad(values, 1, constant_values=outside)
    found: Floats = values.copy()
    for there in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        found = of_two(found, there)
    return found


def _along(values: Floats, weights: Floats) -> Floats:
    """Each row weighted with its neighbours; beyond its ends it is mirrored."""
    padded = np.pad(values, ((0, 0), (REACH, REACH)), mode="symmetric")
    found: Floats = np.zeros_like(values)
    for place, weight in enumerate(weights):
        found += weight * padded[:, place : place + values.shape[1]]
    return found


def _believed(mask: Image.Image, *, above: int, below: int, erode: int) -> NDArray[np.float32]:
    """(H, W) The mask's opacity: 1 and 0 where it is believed, between them elsewhere."""
    values = np.asarray(mask)
    subject = _eroded(values > above, erode, outside=False)
    behind = _eroded(values < below, erode, outside=True)
    soft = np.clip(values / np.float32(255), edges.BACKGROUND, edges.FOREGROUND)
    return np.where(subject, 1, np.where(behind, 0, soft)).astype(np.float32)


def _eroded(region: NDArray[np.bool_], size: int, *, outside: bool) -> NDArray[np.bool_]:
    """The pixels around which a square of `size` lies in the region."""
    if size <= 1:
        return region
    for axis in (0, 1):
        before, after = size // 2, size - 1 - size // 2
        widths = [(before, after) if n == axis else (0, 0) for n in (0, 1)]
        padded = np.pad(region, widths, constant_values=outside)
        windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis)
        region = np.asarray(windows.all(-1))
    return region


def _with_clean_edges(img: Image.Image, opacity: NDArray[np.float32]) -> Image.Image:
    colours = np.asarray(img.convert("RGB"))
    opacity = edges.refined(colours, opacity)
    colours = edges.foreground(colours, opacity)
    return Image.fromarray(np.dstack([colours, np.rint(opacity * 255).astype(np.uint8)]))


def _below_each_other(parts: list[Image.Image]) -> Image.Image:
    if len(parts) == 1:
        return parts[0]
    width, heights = max(p.width for p in parts), [p.height for p in parts]
    whole = Image.new("RGBA", (width, sum(heights)))
    for place, part in enumerate(parts):
        whole.paste(part, (0, sum(heights[:place])))
    return whole
