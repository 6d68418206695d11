"""Picture, target and weight changed at random, together, as a recipe names it.

    augment = augmenter((("flip", {}), ("elastic", {"grid": 3, "sigma": 10.0})), ignore_index=255)
    with drawn(sample_seed(seed, epoch, index)):
        sample = augment(random_crop(sample, (256, 256)))

`AUGMENTATIONS` has the names. Every one keeps the sample's size. Where a step needs pixels from
outside, the picture goes on mirrored about its edge pixels; the target is the ignored index there,
or goes on mirrored too where none is declared or the target is one map per class. Targets and
weights are read at the nearest pixel: a class stays a class, a weight with the label that it is
for. Every number is drawn from the global generators, which `drawn` seeds.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segzoo.base.counts import count_of
from segzoo.base.records import Json
from segzoo.data import warp
from segzoo.data.named import Kind, faults_of, filled
from segzoo.data.sample import Sample
from segzoo.data.views import (
    Transform,
    Views,
    beyond_of,
    by_user,
    sample_of,
    torchvision,
    type_of,
    views_of,
)
from segzoo.errors import PluginError, UsageError, printable
from segzoo.predict.preprocess import mirror_index
from segzoo.spec import Augmentation, Option
from segzoo.zoo import registry
from segzoo.zoo.options import faults_by_signature

__all__ = ["AUGMENTATIONS", "augmenter", "mirror", "random_crop"]

Step: TypeAlias = Callable[["Views"], "Views"]


def augmenter(
    augment: Sequence[Augmentation],
    *,
    ignore_index: int | None,
    transform: Transform | None = None,
    bands: int | None = None,
) -> Callable[[Sample], Sample]:
    """What a recipe's `augment` does to a sample, one step after the other, then `transform`.

    augment: names of `AUGMENTATIONS`, or "module:attribute" of a user's own transform, each with
    its options: a class is first made with them, a function gets them as keywords. A transform of
    torchvision (any torch.nn.Module) is called with an Image (C, H, W), a Mask and, if there is
    one, the weight as a second Mask; any other function with the image (H, W, C) and the target as
    arrays of its own. Either gives back as many, of one size. A target keeps its type where torch
    has it and it holds the ignored index; else it becomes int64. bands: of pictures whose channels
    are measurements, to which steps that are about colours cannot be done.
    UsageError lists every name and option that cannot be used; PluginError when a transform fails
    or gives something else; DependencyMissingError.
    """
    faults = [fault for named in augment for fault in _faults(named)]
    if bands is not None:
        faults += [
            f"{name} is about colours, and pictures have {count_of(bands, 'band')}"
            for name, _ in augment
            if name in OF_COLOURS
        ]
    if faults:
        raise UsageError("augment: " + "; ".join(faults))
    if any(":" not in name for name, _ in augment):
        torchvision()  # say that it is missing now, not in the middle of an epoch
    steps = [_step(name, options) for name, options in augment]
    if transform is not None:
        who = getattr(transform, "__qualname__", type(transform).__name__)
        steps.append((1.0, partial(by_user, transform=transform, who=who)))
    return _Augmenter(tuple(steps), ignore_index, bands is not None)


def random_crop(
    sample: Sample,
    size: tuple[int, int],
    *,
    ignore_index: int | None = None,
    about: tuple[int, int] | None = None,
) -> Sample:
    """A window of (H, W) pixels of a sample, anywhere; its arrays are views.

    A smaller sample is first extended on all sides, as `mirror` does. about: the (row, column) of
    the pixel in its middle, or as near to it as the border allows.
    """
    have = sample["image"].shape[:2]
    lack = [max(0, wanted - side) for wanted, side in zip(size, have, strict=True)]
    if any(lack):
        top, left = lack[0] // 2, lack[1] // 2
        margins = (top, lack[0] - top, left, lack[1] - left)
        sample = mirror(sample, margins, ignore_index=ignore_index)
        have = sample["image"].shape[:2]
        about = None if about is None else (about[0] + top, about[1] + left)
    room = [side - wanted for wanted, side in zip(size, have, strict=True)]
    if about is None:
        corner = [_whole(most) for most in room]
    else:
        first = [place - wanted // 2 for wanted, place in zip(size, about, strict=True)]
        corner = [min(max(0, start), most) for start, most in zip(first, room, strict=True)]
    rows, columns = (
        slice(start, start + wanted) for start, wanted in zip(corner, size, strict=True)
    )
    return _each(sample, lambda values: values[..., rows, columns])


def mirror(
    sample: Sample, margins: tuple[int, int, int, int], *, ignore_index: int | None = None
) -> Sample:
    """The sample with so many more pixels at its top, bottom, left and right.

    They mirror it about its edge pixels, which are not repeated, again and again where the sample
    is small. ignore_index: what a target (H, W) has there instead.
    """
    top, bottom, left, right = margins
    height, width = sample["image"].shape[:2]
    rows = mirror_index(height, top + height + bottom, top)[:, None]
    columns = mirror_index(width, left + width + right, left)
    extended = _each(sample, lambda values: values[..., rows, columns])
    beyond = beyond_of(sample["target"], ignore_index)
    if beyond is not None:
        whole = np.full(extended["target"].shape, beyond, type_of(sample["target"], beyond))
        whole[top : top + height, left : left + width] = sample["target"]
        extended["target"] = whole
    return extended


@dataclass(frozen=True)
class _Augmenter:
    """Steps, each with the share of samples that it is done to. Picklable, as workers need it."""

    steps: tuple[tuple[float, Step], ...]
    ignore_index: int | None
    bands: bool = False

    def __call__(self, sample: Sample) -> Sample:
        if not self.steps:
            return sample
        views = views_of(sample, self.ignore_index, bands=self.bands)
        try:
            for share, step in self.steps:
                if torch.rand(()).item() < share:
                    views = step(views)
        except (PluginError, UsageError) as error:
            error.file = printable(sample["id"])
            raise
        return sample_of(sample, views)


def _each(sample: Sample, move: Callable[[NDArray[Any]], NDArray[Any]]) -> Sample:
    """Picture, target and weight moved by something that acts on their last two axes."""
    image = np.moveaxis(move(np.moveaxis(sample["image"], 2, 0)), 0, 2)
    made: Sample = sample | {"image": image, "target": move(sample["target"])}
    if "weight" in sample:
        made["weight"] = move(sample["weight"])
    return made


# --- the names ------------------------------------------------------------------------------------


def _step(name: str, options: Mapping[str, Json]) -> tuple[float, Step]:
    if ":" in name:
        return 1.0, partial(by_user, transform=_found(name, options), who=name)
    kind = AUGMENTATIONS[name]
    values = filled(options, kind)
    return values.pop("p"), partial(kind.function, **values)


def _faults(named: Any) -> list[str]:
    match named:
        case (str(name), Mapping() as options):
            if ":" in name:
                return []
            return faults_of(name, options, AUGMENTATIONS, "an augmentation")
    return [f"{printable(repr(named))[:100]} is not (name, options)"]


def _uniform(low: float, high: float) -> float:
    return torch.empty(()).uniform_(low, high).item()


def _whole(most: int) -> int:
    """A whole number from 0 to `most`."""
    return int(torch.randint(most + 1, ()).item())


def _flip(views: Views) -> Views:
    return views.moved(lambda values: values.flip(-1))


def _flip_vertical(views: Views) -> Views:
    return views.moved(lambda values: values.flip(-2))


def _rot90(views: Views) -> Views:
    height, width = views.size
    turns = _whole(3) if height == width else 2 * _whole(1)
    return views.moved(lambda values: values.rot90(turns, (-2, -1)))


def _rotate(views: Views, *, degrees: float) -> Views:
    angle = math.radians(_uniform(-degrees, degrees))
    cos, sin = math.cos(angle), math.sin(angle)
    return views.warped(warp.affine(views.size, matrix=((cos, -sin), (sin, cos))))


def _scale(views: Views, *, low: float, high: float) -> Views:
    step = 1 / _uniform(low, high)
    return views.warped(warp.affine(views.size, matrix=((step, 0), (0, step))))


def _zoom(views: Views, *, range: float) -> Views:
    down, right = _uniform(1 - range, 1 + range), _uniform(1 - range, 1 + range)
    return views.warped(warp.affine(views.size, matrix=((down, 0), (0, right))))


def _shift(views: Views, *, height: float, width: float) -> Views:
    down, right = (
        _uniform(-most, most) * side for most, side in zip((height, width), views.size, strict=True)
    )
    return views.warped(warp.affine(views.size, shift=(down, right)))


def _random_resized_crop(views: Views, *, area: float, ratio: float) -> Views:
    crop = torchvision().RandomResizedCrop(1, scale=(area, 1.0), ratio=(1 / ratio, ratio))
    drawn = crop.make_params([views.image])
    corner, inside = (drawn["top"], drawn["left"]), (drawn["height"], drawn["width"])
    return views.warped(warp.window(views.size, corner=corner, inside=inside))


def _elastic(views: Views, *, grid: int, sigma: float) -> Views:
    vectors = torch.randn(2, grid, grid) * sigma
    return views.warped(warp.identity(views.size) + warp.displacements(views.size, vectors))


def _color(views: Views, **strengths: float) -> Views:
    return views.recoloured(torchvision().ColorJitter(**strengths))


def _gray(views: Views) -> Views:
    convert = torchvision().functional.rgb_to_grayscale
    return views.recoloured(lambda colours: convert(colours, num_output_channels=len(colours)))


def _invert(views: Views) -> Views:
    return views.recoloured(lambda colours: 255 - colours)


def _gamma(views: Views, *, factor: float) -> Views:
    gamma = math.exp(_uniform(-math.log(factor), math.log(factor)))
    return views.recoloured(lambda colours: _rounded(255 * (colours / 255) ** gamma))


def _noise(views: Views, *, sigma: float) -> Views:
    return views.recoloured(lambda colours: _rounded(colours + sigma * torch.randn(colours.shape)))


def _blur(views: Views, *, sigma: float) -> Views:
    blur, drawn = torchvision().functional.gaussian_blur, _uniform(BLUR_LEAST, sigma)
    # to three sigmas; torchvision mirrors at the border, once and no further
    height, width = (2 * min(math.ceil(3 * drawn), side - 1) + 1 for side in views.size)

    def blurred(colours: Tensor) -> Tensor:
        down = blur(colours.float(), [1, height], [drawn, drawn])
        return _rounded(blur(down, [width, 1], [drawn, drawn]))

    return views.recoloured(blurred)


def _rounded(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)


def _kind(help: str, function: Step | Callable[..., Views], p: float, **options: Option) -> Kind:
    share = Option(default=p, min=0, max=1, help="the share of samples that it is done to")
    return Kind(help, {**options, "p": share}, function)


OF_COLOURS = ("color", "gray")  # they mix red, green and blue
BLUR_LEAST = 0.1  # pixels; a Gaussian below that leaves every pixel alone
TILT = Option(default=0.2, min=0, max=1, help="factor drawn from 1 - value to 1 + value")

AUGMENTATIONS: Mapping[str, Kind] = MappingProxyType(
    {
        "flip": _kind("Left and right exchanged.", _flip, 0.5),
        "flip_vertical": _kind("Top and bottom exchanged.", _flip_vertical, 0.5),
        "rot90": _kind(
            "Turned by 0 to 3 quarters; a sample that is not square by none or two.", _rot90, 1.0
        ),
        "rotate": _kind(
            "Turned about its centre.",
            _rotate,
            1.0,
            degrees=Option(default=15.0, min=0, max=180, help="at most so far, either way"),
        ),
        "scale": _kind(
            "Larger or smaller about its centre, its shape kept.",
            _scale,
            1.0,
            low=Option(default=0.5, min=0.1, max=1, help="least factor"),
            high=Option(default=2.0, min=1, max=10, help="largest factor"),
        ),
        "zoom": _kind(
            "Height and width by a factor each, as Keras' ImageDataGenerator: above 1 is smaller.",
            _zoom,
            1.0,
            range=Option(default=0.2, min=0, max=0.9, help="factors from 1 - range to 1 + range"),
        ),
        "shift": _kind(
            "Moved down or up and right or left, as Keras' ImageDataGenerator.",
            _shift,
            1.0,
            height=Option(default=0.1, min=0, max=1, help="at most this part of the height"),
            width=Option(default=0.1, min=0, max=1, help="at most this part of the width"),
        ),
        "random_resized_crop": _kind(
            "A window drawn as torchvision draws it, enlarged to the sample's size.",
            _random_resized_crop,
            1.0,
            area=Option(default=0.25, min=0.01, max=1, help="least part of the picture's area"),
            ratio=Option(default=4 / 3, min=1, max=10, help="longest width to height, and inverse"),
        ),
        "elastic": _kind(
            "Bent by random vectors on a coarse grid, with cubics between them (Ronneberger et al. "
            "2015, section 3.1).",
            _elastic,
            1.0,
            grid=Option(default=3, min=2, max=32, help="vectors per side"),
            sigma=Option(
                default=10.0, min=0, max=1000, help="their standard deviation in pixels, each way"
            ),
        ),
        "color": _kind(
            "Brightness, contrast, saturation and hue, in random order, by torchvision.",
            _color,
            1.0,
            brightness=TILT,
            contrast=TILT,
            saturation=TILT,
            hue=Option(default=0.05, min=0, max=0.5, help="turned by at most so much of a circle"),
        ),
        "gray": _kind("Colours replaced by their gray.", _gray, 0.1),
        "invert": _kind("Bright is dark and dark is bright.", _invert, 0.1),
        "gamma": _kind(
            "Values 0..1 to the power of a number.",
            _gamma,
            1.0,
            factor=Option(default=1.5, min=1, max=10, help="drawn from 1 / factor to factor"),
        ),
        "noise": _kind(
            "Gaussian noise, each channel by itself.",
            _noise,
            0.5,
            sigma=Option(default=10.0, min=0, max=255, help="its standard deviation, of 0..255"),
        ),
        "blur": _kind(
            "A Gaussian blur.",
            _blur,
            0.5,
            sigma=Option(
                default=2.0, min=BLUR_LEAST, max=50, help="at most so wide a Gaussian, in pixels"
            ),
        ),
    }
)


def _found(path: str, options: Mapping[str, Json]) -> Transform:
    """The transform that an import path names, with its options."""

    def fault(why: str) -> PluginError:
        return PluginError(f"augmentation {path} cannot be used: {why}")

    with registry.guarded(fault):
        found = registry.resolve(path)
    if options and callable(found) and (faults := faults_by_signature(options, found)):
        raise UsageError(f"augment: {path}: " + "; ".join(faults))
    with registry.guarded(fault):
        if isinstance(found, type):
            found = found(**options)
        elif options:
            found = partial(found, **options)
        if not callable(found):
            raise TypeError(f"it is a {type(found).__name__}, not a function")
    return found  # type: ignore[no-any-return]
