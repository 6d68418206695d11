"""One picture without its background, by the best weights that are on this machine."""

from functools import lru_cache
from typing import TYPE_CHECKING

from PIL import Image

from segzoo.errors import UsageError
from segzoo.model import choice
from segzoo.model.served import Request, serve
from segzoo.predict import outputs
from segzoo.predict.outputs import Background, Edges

if TYPE_CHECKING:
    from segzoo.model.loaded import Model
    from segzoo.predict.predictor import Predictor
    from segzoo.predict.stages import Source

__all__ = ["cutout"]


def cutout(
    picture: "Source",
    *,
    model: "str | Model | None" = None,
    background: str | Background | None = None,
    edges: Edges = "clean",
    crop: bool = False,
    device: str = "cpu",
) -> Image.Image:
    """The subject of a picture on transparency, upright and at the picture's size: RGBA.

    picture: a path, bytes, a PIL image or an array (H, W[, 3|4]) uint8.
    model: a name, `name.tag` or a saved model, which is fetched where need be, or a loaded Model;
        None takes the best of what is on this machine, as `segzoo.model.choice` says.
    background: a colour ("white", "#ffcc00", (255, 204, 0)), or a picture as a path or an array
        (H, W, 3) uint8: the result is RGB then.
    edges: "clean" follows the picture's edges and leaves out what was behind; "raw" is what the
        network said. crop: cut to the box around what was found, if anything was.

    The network runs without torch where onnxruntime or OpenVINO is installed and the weights came
    with a graph, or `segzoo warm` has made one.

    The result's `info` has the picture's icc_profile, dpi and exif, and under "segzoo" which
    weights were used. Without a `model` these are kept in memory for the next call.
    """
    if edges not in ("clean", "raw"):
        raise UsageError(f"edges={edges!r} is not known", expected="'clean' or 'raw'")
    predictor: Predictor | Model
    if model is None:
        ref, predictor = _best(device)
    elif isinstance(model, str):
        request = Request(ref=model, pretrained=True, device=device, runtime=None)
        ref, predictor = model, serve(request).predictor
    else:
        ref, predictor = model.config.model, model
    behind = outputs.background_of(background) if isinstance(background, str) else background
    prediction = predictor.predict(picture)
    output = outputs.render(
        "cutout",
        prediction,
        background=behind,
        edges=edges,
        box=outputs.subject_box(prediction) if crop else None,
    )
    image = Image.fromarray(output.image)
    said = {"icc_profile": output.icc_profile, "dpi": output.dpi, "exif": output.exif}
    image.info |= {name: value for name, value in said.items() if value is not None}
    image.info["segzoo"] = ref
    return image


@lru_cache(maxsize=1)
def _best(device: str) -> "tuple[str, Predictor]":
    """What `choice.best` names, ready to predict."""
    ref = choice.best().ref
    request = Request(ref=ref, device=device, local_files_only=True, runtime=None)
    return ref, serve(request).predictor
