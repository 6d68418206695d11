"""Maps of one picture, as tensors: the way from logits to a mask, as `preprocess` and `Predictor`.

Measuring goes it on the network's device and in its precision.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segzoo.pictures.pieces import cleaned
from segzoo.predict.preprocess import Geometry
from segzoo.spec import Postprocess

__all__ = ["NO_LABEL", "activated", "mask_of", "restored", "stretched"]

NO_LABEL = -1  # in a mask: no class is above the threshold
CHANNELS = 16  # maps that are resized at once, in float64


def restored(maps: Tensor, geometry: Geometry, *, scale: int) -> Tensor:
    """The network's maps (K, ...) at the picture's size, as `Geometry.restore`, on their device.

    In float64, as the weights of a resize in float32 would be wrong by 1e-5 for a large picture.
    """
    (top, left), (height, width) = geometry.offset, geometry.inside
    maps = maps[:, scale * top : scale * (top + height), scale * left : scale * (left + width)]
    if tuple(maps.shape[1:]) == geometry.picture:
        return maps
    if maps.device.type == "mps":  # it has no float64
        maps = maps.cpu()
    size, some = geometry.picture, range(0, len(maps), CHANNELS)
    wide = (maps[None, start : start + CHANNELS].double() for start in some)
    parts = (F.interpolate(part, size, mode="bilinear", antialias=True)[0] for part in wide)
    return torch.cat([part.float() for part in parts])


def activated(logits: Tensor, post: Postprocess) -> Tensor:
    if post.activation == "sigmoid":
        return logits.sigmoid()
    return logits.softmax(0) if post.activation == "softmax" else logits


def stretched(maps: Tensor, post: Postprocess) -> Tensor:
    if post.normalize == "minmax":
        low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
        constant = high == low
        maps = torch.where(constant, maps, (maps - low) / torch.where(constant, 1, high - low))
    return maps.clamp(0, 1)


def mask_of(probabilities: Tensor, post: Postprocess, *, overlapping: bool) -> Tensor:
    """(K, H, W) -> (H, W) int64 as `preprocess.mask_of`, with 1 for 255 of one class.

    NO_LABEL where no class of several is above the threshold. overlapping: (K, H, W) instead, 1
    where a class is above it.
    """
    if overlapping or len(probabilities) == 1:
        above = probabilities > (0.5 if post.threshold is None else post.threshold)
        if len(above) == 1 and (post.smallest or post.holes):
            found = cleaned(above[0].cpu().numpy(), smallest=post.smallest, holes=post.holes)
            above = torch.from_numpy(np.ascontiguousarray(found))[None].to(above.device)
        return above.long() if overlapping else above[0].long()
    likeliest, mask = probabilities.max(0)
    if post.threshold is not None:
        mask = mask.where(likeliest > post.threshold, NO_LABEL)
    return mask
