"""How well outlines agree: boundary IoU and boundary F, of every class.

    boundary IoU  Cheng et al. 2021, Boundary IoU (arXiv:2103.16562): the IoU of those pixels of
                  target and prediction that lie within a distance of their class's own edge. The
                  distance is counted in steps to any of 8 neighbours; beyond the picture there is
                  another class, as in the authors' code. Intersections and unions are added up
                  over the data set.
    boundary F    Csurka et al. 2013, What is a good evaluation measure for semantic segmentation?
                  Precision is the share of the prediction's outline of a class that lies within a
                  tolerance of the target's outline of it, recall the reverse, F their harmonic
                  mean; averaged over the pictures where either has an outline. The tolerance is
                  that of Perazzi et al. 2016, A benchmark dataset and evaluation methodology for
                  video object segmentation.

The outline of a class is its pixels with a pixel of another class above, below, left or right; the
picture's edge makes none. Ignored pixels are of no class: they do not count, and no edge is drawn
towards them; two classes with a strip of ignored pixels between them have an edge if the strip is
narrower than the distance (boundary IoU), and no outline there (boundary F).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from segzoo.metrics.measure import Numbers, Sums, counted, label_count, numbers_per_class

__all__ = ["Boundary"]

IGNORED = -1


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """The numbers boundary_iou and boundary_f, each with its mean_....

    width, tolerance: of boundary IoU and of boundary F, as shares of the picture's diagonal; the
    first is rounded to pixels, at least 1, the second rounded up. A class is absent when nothing
    of the data set counts for it.
    """

    num_classes: int
    ignore_index: int | None = None
    width: float = 0.02
    tolerance: float = 0.008

    lower_is_better: ClassVar[frozenset[str]] = frozenset()

    def sums(self, probabilities: Tensor, mask: Tensor, target: Tensor) -> dict[str, Tensor]:
        """intersection, union, pictures: (labels,) int64; f: (labels,) float64, added up."""
        counts = counted(target, num_classes=self.num_classes, ignore_index=self.ignore_index)
        labels = label_count(self.num_classes)
        known = (mask >= 0) & (mask < labels)  # any other prediction is one more class
        truth = torch.where(counts, target, IGNORED).int()
        found = torch.where(counts, torch.where(known, mask, labels), IGNORED).int()

        diagonal = math.hypot(*target.shape)
        distance = max(1, round(self.width * diagonal))
        at_edge = [_near_edge(x, distance, labels) for x in (truth, found)]
        bands = [_pixels(x[at], labels) for x, at in zip((truth, found), at_edge, strict=True)]
        intersection = _pixels(truth[at_edge[0] & at_edge[1] & (truth == found)], labels)

        radius = math.ceil(self.tolerance * diagonal)
        outlines = [torch.where(_on_outline(x), x, IGNORED) for x in (truth, found)]
        lengths = [_pixels(x[x != IGNORED], labels) for x in outlines]
        precision = _matched(outlines[1], outlines[0], radius, labels) / lengths[1].clamp(min=1)
        recall = _matched(outlines[0], outlines[1], radius, labels) / lengths[0].clamp(min=1)
        both = precision + recall
        return {
            "intersection": intersection,
            "union": bands[0] + bands[1] - intersection,
            "pictures": (lengths[0] + lengths[1] > 0).long(),
            "f": torch.where(both > 0, 2 * precision * recall / both, 0),
        }

    def result(self, sums: Sums) -> Numbers:
        numbers: Numbers = {}
        for name, part, whole in (
            ("boundary_iou", "intersection", "union"),
            ("boundary_f", "f", "pictures"),
        ):
            numbers |= numbers_per_class(
                name,
                sums[part].cpu(),
                sums[whole].cpu(),
                sums[whole].cpu() > 0,
                num_classes=self.num_classes,
                ignore_index=self.ignore_index,
            )
        return numbers


def _pixels(values: Tensor, labels: int) -> Tensor:
    """(labels,) on the CPU: how many of the values are each label."""
    return torch.bincount(values, minlength=labels + 1)[:labels].cpu()


def _near_edge(image: Tensor, distance: int, labels: int) -> Tensor:
    """(H, W) bool: pixels with another label, or the outside, at most `distance` steps away."""
    highest = _highest(image, distance)
    lowest = labels - _highest(torch.where(image == IGNORED, IGNORED, labels - image), distance)
    near = (highest != image) | (lowest != image)
    near[:distance] = near[-distance:] = near[:, :distance] = near[:, -distance:] = True
    return near & (image != IGNORED)


def _highest(image: Tensor, distance: int) -> Tensor:
    """(H, W): the largest value in the square of 2 distance + 1 around each pixel."""
    image = torch.nn.functional.pad(image, [distance] * 4, value=IGNORED)
    for axis in (0, 1):
        length = 1  # of the windows whose maxima `image` holds
        while length < 2 * distance + 1:
            step = min(length, 2 * distance + 1 - length)
            rest = image.shape[axis] - step
            image = torch.maximum(image.narrow(axis, 0, rest), image.narrow(axis, step, rest))
            length += step
    return image


def _on_outline(image: Tensor) -> Tensor:
    """(H, W) bool: pixels beside one of another label; neither of the two is ignored."""
    outline = torch.zeros_like(image, dtype=torch.bool)
    for axis in (0, 1):
        rest = image.shape[axis] - 1
        first, second = image.narrow(axis, 0, rest), image.narrow(axis, 1, rest)
        differ = (first != second) & (first != IGNORED) & (second != IGNORED)
        outline.narrow(axis, 0, rest).logical_or_(differ)
        outline.narrow(axis, 1, rest).logical_or_(differ)
    return outline


def _matched(outline: Tensor, other: Tensor, radius: int, labels: int) -> Tensor:
    """(labels,) float64: pixels of an outline with one of its label in `other` within the radius.

    outline, other: (H, W), labels on the outlines, elsewhere IGNORED.
    """
    around = torch.nn.functional.pad(other, [radius] * 4, value=IGNORED)
    row = around.shape[1]
    y, x = (outline != IGNORED).nonzero(as_tuple=True)
    places, values = (y + radius) * row + x + radius, outline[y, x]
    pixels, around = _pixels(values, labels), around.flatten()
    reach = range(-radius, radius + 1)
    disk = [(dy**2 + dx**2, dy * row + dx) for dy in reach for dx in reach]
    for square, step in sorted(disk):  # the nearest first: soon few are left to look for
        if square > radius**2 or not len(values):
            break
        missed = around[places + step] != values
        places, values = places[missed], values[missed]
    return (pixels - _pixels(values, labels)).double()
