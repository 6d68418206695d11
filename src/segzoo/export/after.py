"""`preprocess.at_picture` and `preprocess.mask_of` in ONNX: from logits to masks."""

import numpy as np

from segzoo.errors import ConfigError
from segzoo.export.before import FrameNames
from segzoo.export.nodes import Nodes
from segzoo.export.resampling import Resampling, resized
from segzoo.predict.preprocess import NO_CLASS, mask_of
from segzoo.spec import Postprocess

__all__ = ["finished", "refuse_what_has_no_nodes"]


def refuse_what_has_no_nodes(postprocess: Postprocess, num_classes: int) -> None:
    """ConfigError for what cannot be in a graph, and for more classes than a mask can hold."""
    if postprocess.resize == "levels":
        raise ConfigError(
            "postprocess.resize='levels' rounds as Pillow does, which ONNX has no operator for",
            next_step="Save the model with a postprocess of resize='logits', and export that",
        )
    for name in ("smallest", "holes", "flips"):
        if getattr(postprocess, name):
            raise ConfigError(
                f"postprocess.{name} is done by segzoo, and is no part of a graph",
                next_step=f"Save the model with a postprocess without {name}, and export that",
            )
    mask_of(np.zeros((num_classes, 1, 1), np.float32), postprocess)


def finished(
    add: Nodes, logits: str, frame: FrameNames, postprocess: Postprocess, num_classes: int
) -> None:
    """Nodes from logits (N, K, h', w') to `probabilities` and `mask` at the pictures' size."""
    scale = postprocess.scale
    starts = [add("Mul", scale, side) for side in frame.offset]
    inside = add("Mul", scale, frame.inside[0]), add("Mul", scale, frame.inside[1])
    ends = [add("Add", start, side) for start, side in zip(starts, inside, strict=True)]
    maps = add("Slice", logits, add.listed(*starts), add.listed(*ends), [2, 3])
    if frame.inside is not frame.picture or scale != 1:
        maps = resized(add, maps, inside, frame.picture, Resampling())
    if postprocess.activation == "sigmoid":
        maps = add("Sigmoid", maps)
    elif postprocess.activation == "softmax":
        maps = add("Softmax", maps, axis=1)
    if postprocess.normalize == "minmax":
        maps = _stretched(add, maps)
    likely = add("Clip", maps, 0.0, 1.0, named="probabilities")
    _masked(add, likely, postprocess, num_classes)


def _stretched(add: Nodes, maps: str) -> str:
    low, high = add("ReduceMin", maps, [2, 3]), add("ReduceMax", maps, [2, 3])
    constant = add("Equal", low, high)
    raised = add("Sub", maps, add("Where", constant, 0.0, low))
    return add("Div", raised, add("Where", constant, 1.0, add("Sub", high, low)))


def _masked(add: Nodes, likely: str, postprocess: Postprocess, num_classes: int) -> None:
    threshold = postprocess.threshold
    if num_classes == 1:
        above = add("Greater", likely, 0.5 if threshold is None else float(threshold))
        white = add("Mul", add.cast(above, "int32"), np.array(255, np.int32))
        add("Cast", add("Squeeze", white, [1]), to=2, named="mask")
        return
    mask = add("ArgMax", likely, axis=1, keepdims=0)
    if threshold is not None:
        best = add("ReduceMax", likely, [1], keepdims=0)
        mask = add("Where", add("Greater", best, float(threshold)), mask, NO_CLASS)
    add("Cast", mask, to=2, named="mask")  # uint8
