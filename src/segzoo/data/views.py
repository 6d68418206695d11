"""A sample as the steps of an augmentation see it: three tensors that move together."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segzoo.base.counts import count_of
from segzoo.base.extras import imported
from segzoo.data import warp
from segzoo.data.sample import Sample, checked
from segzoo.errors import DatasetError, PluginError, UsageError
from segzoo.zoo import registry

__all__ = [
    "Transform",
    "Views",
    "beyond_of",
    "by_user",
    "sample_of",
    "torchvision",
    "type_of",
    "views_of",
]

Transform: TypeAlias = Callable[..., Any]

TYPES = [np.dtype(name) for name in ("uint8", "int8", "int16", "int32", "int64")]  # torch has all


@dataclass(frozen=True)
class Views:
    """A sample's arrays, their own memory where that is possible: steps write nothing in place.

    image: (C, H, W) uint8. target: (H, W) or (K, H, W) integers. weight: (H, W) float32. beyond:
    what a target is outside; None where it goes on mirrored. bands: the channels are measurements,
    and the fourth of four is no alpha.
    """

    image: Tensor
    target: Tensor
    weight: Tensor | None
    beyond: int | None
    bands: bool = False

    @property
    def size(self) -> warp.Size:
        height, width = self.image.shape[1:]
        return height, width

    def moved(self, move: Callable[[Tensor], Tensor]) -> "Views":
        """Every part moved by something that makes no new values."""
        weight = None if self.weight is None else move(self.weight)
        return replace(self, image=move(self.image), target=move(self.target), weight=weight)

    def warped(self, source: Tensor) -> "Views":
        """Every part read at a source, as `segzoo.data.warp` defines it."""
        return replace(
            self,
            image=warp.interpolated(self.image, source),
            target=warp.nearest(self.target, source, beyond=self.beyond),
            weight=None if self.weight is None else warp.nearest(self.weight, source),
        )

    def recoloured(self, change: Callable[[Tensor], Tensor]) -> "Views":
        """The picture's colours changed; its alpha, if it has one, and the rest stay."""
        if self.bands or len(self.image) != 4:
            return replace(self, image=change(self.image))
        return replace(self, image=torch.cat([change(self.image[:3]), self.image[3:]]))


def views_of(sample: Sample, ignore_index: int | None, *, bands: bool = False) -> Views:
    """The sample's parts; the target in the type that `type_of` says."""
    target, weight = sample["target"], sample.get("weight")
    beyond = beyond_of(target, ignore_index)
    return Views(
        image=_tensor(sample["image"]).permute(2, 0, 1),
        target=_tensor(target.astype(type_of(target, beyond), copy=False)),
        weight=None if weight is None else _tensor(weight.astype(np.float32, copy=False)),
        beyond=beyond,
        bands=bands,
    )


def sample_of(sample: Sample, views: Views) -> Sample:
    """The sample with these parts instead of its own."""
    made: Sample = sample | {
        "image": views.image.permute(1, 2, 0).numpy(),
        "target": views.target.numpy(),
    }
    if views.weight is not None:
        made["weight"] = views.weight.numpy()
    return made


def beyond_of(target: NDArray[Any], ignore_index: int | None) -> int | None:
    """What a target is outside: maps of 0 and 1 per class have no value that does not count."""
    return ignore_index if target.ndim == 2 else None


def type_of(target: NDArray[Any], beyond: int | None) -> np.dtype[Any]:
    """The target's own type where torch has it and it holds `beyond`, else int64."""
    kept = target.dtype in TYPES and (beyond is None or _holds(target.dtype, beyond))
    return target.dtype if kept else np.dtype(np.int64)


def _holds(dtype: np.dtype[Any], value: int) -> bool:
    return np.iinfo(dtype).min <= value <= np.iinfo(dtype).max


def _tensor(array: NDArray[Any]) -> Tensor:
    """The array's memory; a copy where torch cannot share it or would warn of it."""
    if not array.flags.writeable or min(array.strides, default=0) < 0:
        array = array.copy()
    return torch.from_numpy(array)


def torchvision() -> Any:
    """The module torchvision.transforms.v2. DependencyMissingError."""
    return imported("torchvision.transforms.v2", needed="augmentation needs torchvision")


# --- a user's own ---------------------------------------------------------------------------------


def by_user(views: Views, *, transform: Transform, who: str) -> Views:
    """What a user's transform makes of the views, as `augmenter` describes it. who: names it."""
    given = _as_tensors(views) if isinstance(transform, torch.nn.Module) else _as_arrays(views, who)
    with registry.guarded(lambda why: PluginError(f"augmentation {who} failed: {why}")):
        result = transform(*given)
    parts = len(result) if isinstance(result, tuple | list) else 0
    if parts != len(given):
        raise PluginError(
            f"augmentation {who} gave something else",
            found=count_of(parts, "part") if parts else type(result).__name__,
            expected="(image, mask)" if len(given) == 2 else "(image, mask, weight)",
        )
    image, target, *weight = map(_as_array, result)
    if isinstance(result[0], Tensor) and image.ndim == 3:
        image = image.transpose(1, 2, 0)
    made: Any = {"image": image, "target": target, "id": ""}
    if weight:
        made["weight"] = weight[0]
    try:
        sample = checked(made)
    except DatasetError as error:
        raise PluginError(
            f"augmentation {who} gave something else: {error.problem}",
            found=error.found,
            expected=error.expected,
        ) from error
    return views_of(sample, views.beyond, bands=views.bands)


def _as_tensors(views: Views) -> list[Tensor]:
    torchvision()
    from torchvision import tv_tensors

    masks = [views.target] if views.weight is None else [views.target, views.weight]
    # copies: a transform may write, and the sample may be a data set's own memory
    return [tv_tensors.Image(views.image.clone()), *(tv_tensors.Mask(m.clone()) for m in masks)]


def _as_arrays(views: Views, who: str) -> list[NDArray[Any]]:
    if views.weight is not None:
        raise UsageError(
            f"augmentation {who} moves a picture and its mask, and this sample has a weight too",
            next_step="Make it a transform of torchvision, which moves all three",
        )
    return [views.image.permute(1, 2, 0).numpy().copy(), views.target.numpy().copy()]


def _as_array(part: Any) -> Any:
    return part.as_subclass(Tensor).numpy() if isinstance(part, Tensor) else part
