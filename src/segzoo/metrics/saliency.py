"""Salient objects: MAE, F-beta, weighted F, S-measure and E-measure of one map per picture.

    MAE          Perazzi et al. 2012, Saliency filters
    F-beta       Achanta et al. 2009, Frequency-tuned salient region detection; beta^2 = 0.3
    weighted F   Margolin, Zelnik-Manor and Tal 2014, How to evaluate foreground maps?; beta = 1
    S-measure    Fan et al. 2017 (arXiv:1708.00786), Structure-measure; alpha = 0.5
    E-measure    Fan et al. 2018 (arXiv:1805.10421), Enhanced-alignment measure

The protocol is that of the published tables, which are made from 8-bit pictures: a probability p
becomes the level round(255 p), then the levels of a picture are stretched to 0..1 unless they are
all the same. Every number is a mean over pictures; curves over the 256 thresholds are averaged
before their maximum or mean is taken. "adaptive" cuts each map at twice its mean, at most at 1.

There are two ways to the largest F of a data set, and they differ by some hundredths:

    max_f            of the mean precision and the mean recall at each threshold, as in the tables
                     of the U^2-Net paper (Qin et al. 2020, arXiv:2005.09007) and most others;
                     their tool: github.com/xuebinqin/Binary-Segmentation-Evaluation-Tool
    max_f_of_mean    of the mean of the pictures' F at each threshold, as in PySODMetrics

All but weighted F are functions of one table of counts, (quarter of the picture, target, level).
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segzoo.base.counts import count_of
from segzoo.errors import DependencyMissingError, UsageError
from segzoo.metrics.measure import Numbers, Sums, counted

__all__ = ["Saliency"]

Floats: TypeAlias = NDArray[np.float64]

LEVELS = 256
BETA2 = 0.3  # F-beta: precision counts more than recall
SHAPES: dict[str, tuple[int, ...]] = {  # of what is added up over pictures
    **dict.fromkeys(("mae", "adaptive_f", "weighted_f", "s", "adaptive_e"), ()),
    **dict.fromkeys(("f_curve", "precision_curve", "recall_curve", "e_curve"), (LEVELS,)),
}
SLOW = ("weighted_f", "s", "adaptive_e", "e_curve")
EPS = math.ulp(1.0)  # as in the authors' code
BLUR = np.exp(-(np.arange(-3, 4) ** 2) / (2 * 5**2))  # weighted F: 7 pixels, sigma 5
HALF_DISTANCE = 5  # weighted F: pixels from the object at which half of the extra weight is reached


@dataclass(frozen=True, kw_only=True)
class Saliency:
    """mae; max_f, max_f_of_mean, mean_f, adaptive_f; weighted_f; s; max_e, mean_e, adaptive_e.

    normalize: "none" takes the levels as they are. curves_alone: leaves out weighted_f, s, and
    those of e, which take most of the time. Ignored pixels do not count, and an entirely ignored
    picture is no picture. UsageError for several classes; weighted F needs scipy.
    """

    num_classes: int = 1
    ignore_index: int | None = None
    normalize: Literal["minmax", "none"] = "minmax"
    curves_alone: bool = False

    lower_is_better: ClassVar[frozenset[str]] = frozenset({"mae"})

    def __post_init__(self) -> None:
        if self.num_classes != 1:
            raise UsageError(
                "the saliency metrics measure one class",
                found=count_of(self.num_classes, "class"),
                next_step="Use the metric 'semantic'",
            )

    def sums(self, probabilities: Tensor, mask: Tensor, target: Tensor) -> dict[str, Tensor]:
        """pictures: int64; the value of each number, float64; each curve: (256,) float64, by
        threshold. probabilities: (1, H, W). `mask` is not looked at.
        """
        counts = counted(target, num_classes=1, ignore_index=self.ignore_index)
        foreground = counts & (target == 1)
        levels = (probabilities[0] * (LEVELS - 1)).round().clamp(0, LEVELS - 1).long()
        table = _table(levels, foreground, counts)
        if not table.any():
            wanted = {n: s for n, s in SHAPES.items() if not self.curves_alone or n not in SLOW}
            nothing = {name: torch.zeros(n, dtype=torch.float64) for name, n in wanted.items()}
            return {"pictures": torch.zeros((), dtype=torch.int64), **nothing}

        # The value of a level is steps / span, both whole numbers: sums of them are exact.
        used = table.sum((0, 1)).nonzero()
        low, high = int(used.min()), int(used.max())
        if self.normalize == "none" or low == high:
            low, high = 0, LEVELS - 1
        span = high - low
        steps = (torch.arange(LEVELS) - low).clamp(0, span)

        by_target = table.sum(0)
        background_steps, foreground_steps = (by_target * steps).sum(1).tolist()
        background_pixels, foreground_pixels = by_target.sum(1).tolist()
        pixels = background_pixels + foreground_pixels
        wrong = background_steps + foreground_pixels * span - foreground_steps

        # of 256, the highest that a level reaches; in float64, step by step as PySODMetrics does:
        # it puts some levels one lower than whole numbers would
        values = torch.arange(LEVELS, dtype=torch.float64) / (LEVELS - 1)
        values = (values - values[low]) / (values[high] - values[low])
        thresholds = (values * (LEVELS - 1)).long().clamp(0, LEVELS - 1)
        by_threshold = torch.zeros_like(by_target).index_add_(1, thresholds, by_target)
        above = by_threshold.flip(1).cumsum(1).flip(1)
        adaptive = min(2 * (background_steps + foreground_steps), pixels * span)
        above_adaptive = by_target[:, steps * pixels >= adaptive].sum(1)

        curves = {
            "pictures": torch.ones((), dtype=torch.int64),
            "mae": _scalar(wrong / (pixels * span)),
            "adaptive_f": _f_beta(above_adaptive, foreground_pixels),
            "f_curve": _f_beta(above, foreground_pixels),
            "precision_curve": above[1].double() / above.sum(0).clamp(min=1),
            "recall_curve": above[1].double() / max(foreground_pixels, 1),
        }
        if self.curves_alone:
            return curves
        error = torch.abs(steps.to(levels.device)[levels] - foreground * span).cpu().numpy() / span
        return curves | {
            "weighted_f": _scalar(_weighted_f(error, foreground, counts)),
            "s": _scalar(_structure(table, steps, span)),
            "adaptive_e": _alignment(above_adaptive, foreground_pixels, pixels),
            "e_curve": _alignment(above, foreground_pixels, pixels),
        }

    def result(self, sums: Sums) -> Numbers:
        mean = {k: v.cpu().double() / sums["pictures"].cpu() for k, v in sums.items()}
        numbers = {
            "mae": mean["mae"],
            "max_f": _f_of(mean["precision_curve"], mean["recall_curve"]).max(),
            "max_f_of_mean": mean["f_curve"].max(),
            "mean_f": mean["f_curve"].mean(),
            "adaptive_f": mean["adaptive_f"],
        }
        if not self.curves_alone:
            numbers |= {
                "weighted_f": mean["weighted_f"],
                "s": mean["s"],
                # the authors divide by one pixel less than there are, so that 1 can be passed
                "max_e": mean["e_curve"].max().clamp(max=1),
                "mean_e": mean["e_curve"].mean().clamp(max=1),
                "adaptive_e": mean["adaptive_e"].clamp(max=1),
            }
        return {name: float(value) for name, value in numbers.items()}


def _scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _table(levels: Tensor, foreground: Tensor, counts: Tensor) -> Tensor:
    """(4, 2, 256) int64 on the CPU: pixels that count, by quarter, target and level.

    The quarters meet at the foreground's centre of mass, whose row and column are of the upper and
    left ones (Fan et al. 2017).
    """
    quarter = torch.zeros_like(levels)
    for weight, axis in ((2, 0), (1, 1)):
        pixels = foreground.sum(1 - axis)
        place = torch.arange(len(pixels), device=levels.device)
        centre = round(int((pixels * place).sum()) / max(int(pixels.sum()), 1))
        quarter += weight * (place > centre).view((-1, 1) if axis == 0 else (1, -1))
    index = (2 * quarter + foreground) * LEVELS + levels
    table: Tensor = torch.bincount(index[counts], minlength=8 * LEVELS).view(4, 2, LEVELS).cpu()
    return table


def _f_beta(above: Tensor, wanted: int) -> Tensor:
    """F of thresholded maps; 0 without a hit.

    above: (2, ...) pixels of background and foreground that are over the threshold.
    (1 + beta^2) P R / (beta^2 P + R), written with counts.
    """
    false, true = above.double().unbind()
    # the same steps above and below, so that rounding never gives more than 1
    return (BETA2 * true + true) / (BETA2 * wanted + (false + true)).clamp(min=BETA2)


def _f_of(precision: Tensor, recall: Tensor) -> Tensor:
    """F of precision and recall; 0 where both are."""
    whole = BETA2 * precision + recall
    f = (BETA2 * precision * recall + precision * recall) / torch.where(whole > 0, whole, 1)
    return f.clamp(max=1)


def _alignment(above: Tensor, wanted: int, pixels: int) -> Tensor:
    """E of thresholded maps: their pixels' agreement with the target, both less their means.

    above: as in `_f_beta`. With an empty target the share of background in the map, with a full
    one the share of foreground.
    """
    false, true = above.double().unbind()
    found = false + true
    if wanted == 0:
        total = pixels - found
    elif wanted == pixels:
        total = found
    else:
        mean, share = found / pixels, wanted / pixels
        total = torch.zeros_like(found)
        for count, a, b in (
            (true, 1 - mean, 1 - share),
            (false, 1 - mean, -share),
            (wanted - true, -mean, 1 - share),
            (pixels - wanted - false, -mean, -share),
        ):
            total += count * (2 * a * b / (a**2 + b**2) + 1) ** 2 / 4
    return total / max(pixels - 1, 1)


def _structure(table: Tensor, steps: Tensor, span: int) -> float:
    """S: half the likeness of object and background, half that of the picture's four quarters."""
    background, foreground = map(int, table.sum((0, 2)))
    pixels = background + foreground
    mean = int((table * steps).sum()) / (pixels * span)
    if foreground == 0:
        return 1 - mean
    if background == 0:
        return mean
    objects = (
        background * _uniformity(table[:, 0].sum(0), span - steps, span)
        + foreground * _uniformity(table[:, 1].sum(0), steps, span)
    ) / pixels
    regions = sum(int(part.sum()) * _likeness(part, steps, span) for part in table) / pixels
    return max(0.0, (objects + regions) / 2)


def _uniformity(histogram: Tensor, steps: Tensor, span: int) -> float:
    """How near to 1 and to each other the values of an object are (Fan et al. 2017)."""
    mean, variance = _moments(histogram, steps, span)
    return 2 * mean / (mean**2 + 1 + math.sqrt(variance) + EPS)


def _likeness(part: Tensor, steps: Tensor, span: int) -> float:
    """SSIM of one quarter of map and target (Fan et al. 2017); 0 for no pixel.

    part: (2, 256) counts.
    """
    background, foreground = map(int, part.sum(1))
    pixels = background + foreground
    if pixels == 0:
        return 0.0
    x, variance_x = _moments(part.sum(0), steps, span)
    y = foreground / pixels
    pairs = max(pixels - 1, 1) * pixels
    variance_y = foreground * background / pairs
    inside = int((part[1] * steps).sum())
    covariance = (pixels * inside - int((part * steps).sum()) * foreground) / (pairs * span)
    above = 4 * x * y * covariance
    below = (x**2 + y**2) * (variance_x + variance_y)
    if above != 0:
        return above / (below + EPS)
    return 1.0 if below == 0 else 0.0


def _moments(histogram: Tensor, steps: Tensor, span: int) -> tuple[float, float]:
    """Mean and variance (of a sample; 0 for one pixel) of values steps / span, in whole numbers."""
    pixels = int(histogram.sum())
    first, second = int((histogram * steps).sum()), int((histogram * steps**2).sum())
    variance = (pixels * second - first**2) / (max(pixels - 1, 1) * pixels * span**2)
    return first / (pixels * span), variance


def _weighted_f(error: Floats, foreground: Tensor, counts: Tensor) -> float:
    """Weighted F; 0 for an empty target. error: (H, W) |map - target|.

    An error within the object weighs less where its surroundings are right; one outside weighs
    1 at the object, 2 far away. Outside the object, the blur sees the error of the nearest pixel
    of the object, so that only what lies within is smoothed.
    """
    inside: NDArray[np.bool_] = foreground.cpu().numpy()
    outside: NDArray[np.bool_] = counts.cpu().numpy() & ~inside
    wanted = int(inside.sum())
    if wanted == 0:
        return 0.0
    ndimage = _ndimage()
    distance, nearest = ndimage.distance_transform_edt(~inside, return_indices=True)
    blurred = error[tuple(nearest)]
    for axis in (0, 1):
        blurred = ndimage.correlate1d(blurred, BLUR / BLUR.sum(), axis, mode="constant")
    missed = np.minimum(error, blurred)[inside].sum()
    extra = (error * (2 - 0.5 ** (distance / HALF_DISTANCE)))[outside].sum()
    hits = wanted - missed
    recall, precision = 1 - missed / wanted, hits / (hits + extra + EPS)
    return float(2 * recall * precision / (recall + precision + EPS))


def _ndimage() -> Any:
    try:
        from scipy import ndimage
    except ImportError:
        raise DependencyMissingError(
            "the metric 'saliency' needs scipy", next_step="Run: pip install 'segzoo-core[train]'"
        ) from None
    return ndimage
