"""Losses that any network can be trained with.

Each name is a factory (**options) -> a loss of (outputs, batch), named in the group
"segzoo.losses", as a plugin's are.

outputs: logits (N, K, H, W); or several of them, the final prediction first, as networks with side
    outputs give in training; or a mapping with "logits".
batch["target"]: class indices (N, H, W) where K > 1 classes exclude each other (softmax); values
    from 0 to 1 where a pixel may belong to each or none (sigmoid): (N, H, W) for K = 1, or
    (N, K, H, W).
batch["weight"], optional: (N, H, W), how often a pixel counts.

Gives a scalar; of several outputs {"loss": their sum, "loss_final": scalar, "loss_side1": ...}.
Half precision is widened to float32. What all factories take:

ignore_index: where the target is this, nothing counts. Where nothing at all counts, the loss is 0.
class_weights: one factor per class; where K = 1, a mean over pixels takes two, of the background
    and of the class.
head_weights: one factor per output, 1 each by default. A single output counts 1.

A loss that is a mean over pixels may have `count(batch)`: the number (a scalar) by which that mean
divides. The mean over the parts of a batch, on other processes or in other steps, is then exactly
sum(loss * count) / sum(count). `cross_entropy`, `binary_cross_entropy` and `focal` have it. `dice`,
`lovasz` and `structure` are no such means: for those an engine has to bring the outputs together.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from segzoo.base.counts import count_of
from segzoo.base.records import Json, factors_fault
from segzoo.errors import PluginError, UsageError, printable
from segzoo.zoo import registry
from segzoo.zoo.options import faults_by_signature

__all__ = [
    "Batch",
    "Loss",
    "Mean",
    "Outputs",
    "OverHeads",
    "binary_cross_entropy",
    "build",
    "combined",
    "cross_entropy",
    "dice",
    "focal",
    "lovasz",
    "refuse_weights_of_one",
    "structure",
]

Batch: TypeAlias = Mapping[str, Any]
Outputs: TypeAlias = Tensor | Sequence[Tensor] | Mapping[str, Tensor]
Loss: TypeAlias = Callable[[Outputs, Batch], Tensor | Mapping[str, Tensor]]
Weights: TypeAlias = Sequence[float] | None
Per = Literal["batch", "picture"]

OVER_CLASSES = ("dice", "lovasz", "structure")  # means over classes, not over pixels
FACTORS = ("class_weights", "head_weights")
LEAST = 1e-12  # keeps 0 / 0 away where nothing counts


@dataclass(frozen=True)
class OverHeads:
    """A loss of one output's logits, summed over all outputs by their weights."""

    of_logits: Callable[[Tensor, Batch], Tensor]
    head_weights: Weights

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor | dict[str, Tensor]:
        if isinstance(outputs, Mapping):
            outputs = outputs["logits"]
        if isinstance(outputs, Tensor):
            return self.of_logits(_wide(outputs), batch)
        factors = self.head_weights or [1.0] * len(outputs)
        if len(factors) != len(outputs):
            raise UsageError(
                "head_weights does not fit the network",
                found=count_of(len(factors), "value"),
                expected=f"{len(outputs)}, one per output",
            )
        names = ["loss_final", *(f"loss_side{i}" for i in range(1, len(outputs)))]
        values = [self.of_logits(_wide(logits), batch) for logits in outputs]
        total = torch.stack([f * v for f, v in zip(factors, values, strict=True)]).sum()
        return {"loss": total, **dict(zip(names, values, strict=True))}


@dataclass(frozen=True)
class Mean(OverHeads):
    """A mean over pixels. count: of a batch, what the mean divides by."""

    count: Callable[[Batch], Tensor]


def cross_entropy(
    *, ignore_index: int = 255, class_weights: Weights = None, head_weights: Weights = None
) -> Mean:
    """Softmax and cross-entropy, for classes that exclude each other."""

    def values(logits: Tensor, batch: Batch) -> Tensor:
        if not _exclusive(logits, batch):
            raise _misfit("cross_entropy", logits, batch, "class indices (N, H, W), and K > 1")
        return _softmax_entropy(logits, batch, ignore_index)

    return _mean(values, ignore_index, class_weights, head_weights)


def binary_cross_entropy(
    *, ignore_index: int = 255, class_weights: Weights = None, head_weights: Weights = None
) -> Mean:
    """Sigmoid and binary cross-entropy, the mean over pixels and classes."""

    def values(logits: Tensor, batch: Batch) -> Tensor:
        if _exclusive(logits, batch):
            raise _misfit(
                "binary_cross_entropy", logits, batch, "(N, H, W) for K = 1, else (N, K, H, W)"
            )
        return _sigmoid_entropy(logits, batch, ignore_index)

    return _mean(values, ignore_index, class_weights, head_weights)


def focal(
    *,
    gamma: float = 2.0,
    ignore_index: int = 255,
    class_weights: Weights = None,
    head_weights: Weights = None,
) -> Mean:
    """Cross-entropy, softmax or sigmoid by the target, times (1 - p)^gamma.

    p: the probability given to the truth. gamma: at least 0. Lin et al. 2017, arXiv:1708.02002,
    equation 4; its alpha is `class_weights`, by whose sum the mean divides here.
    """
    if gamma < 0:
        raise UsageError(f"gamma={gamma} is below 0")

    def values(logits: Tensor, batch: Batch) -> Tensor:
        if _exclusive(logits, batch):
            entropy = _softmax_entropy(logits, batch, ignore_index)
            missing = -torch.expm1(-entropy)
        else:
            entropy = _sigmoid_entropy(logits, batch, ignore_index)
            target = _counted(batch, ignore_index)[0].to(logits.dtype)
            missing = (target - logits.sigmoid().reshape(target.shape)).abs()
        return entropy * missing.clamp_min(LEAST) ** gamma  # 0^gamma has no slope below 1

    return _mean(values, ignore_index, class_weights, head_weights)


def dice(
    *,
    per: Per = "batch",
    smooth: float = 1.0,
    negative: bool = False,
    ignore_index: int = 255,
    class_weights: Weights = None,
    head_weights: Weights = None,
) -> OverHeads:
    """1 - (2 sum(t p) + smooth) / (sum(t) + sum(p) + smooth) of each class, their mean.

    per: whether the sums are over all pixels of the batch, or over each picture's (then the mean
    over the pictures). negative: minus Dice, from -1 to 0, instead of 1 - Dice.
    Milletari et al. 2016, arXiv:1606.04797, without the squares.
    """
    _check_per(per)
    if smooth < 0:
        raise UsageError(f"smooth={smooth} is below 0")

    def of_logits(logits: Tensor, batch: Batch) -> Tensor:
        probabilities = logits.softmax(1) if _exclusive(logits, batch) else logits.sigmoid()
        target, weight = _planes(logits, batch, ignore_index)
        over = (0, 2, 3) if per == "batch" else (2, 3)
        common = (weight * target * probabilities).sum(over)
        total = (weight * (target + probabilities)).sum(over)
        scores = (2 * common + smooth) / (total + smooth).clamp_min(LEAST)
        counts = (weight.sum(over) > 0).to(scores.dtype)
        score = _over_classes(scores, counts, class_weights)
        return -score if negative else counts.amax() - score

    return OverHeads(of_logits, head_weights)


def lovasz(
    *,
    per: Per = "batch",
    ignore_index: int = 255,
    class_weights: Weights = None,
    head_weights: Weights = None,
) -> OverHeads:
    """The convex extension of 1 - IoU, the mean over the classes.

    Berman et al. 2018, arXiv:1705.08790, algorithm 1, each pixel as often as its weight says: of
    the softmax, over the classes that the target has; of the hinge, over all, for a target of
    values from 0 to 1, where above 0.5 is of the class. per: as in `dice`.
    """
    _check_per(per)

    def of_logits(logits: Tensor, batch: Batch) -> Tensor:
        exclusive = _exclusive(logits, batch)
        target, weight = _planes(logits, batch, ignore_index)
        target = (target > 0.5).to(logits.dtype)
        if exclusive:
            errors = (target - logits.softmax(1)).abs()
        else:
            errors = F.relu(1 - logits * (2 * target - 1))
        shape = (1, 0, 2, 3) if per == "batch" else (0, 1, 2, 3)
        start = 1 if per == "batch" else 2  # from here on pixels, in front of it K, or N and K
        errors, target, weight = (
            part.permute(shape).flatten(start) for part in (errors, target, weight)
        )
        errors, order = errors.sort(dim=-1, descending=True)
        target, weight = target.gather(-1, order), weight.gather(-1, order)
        wanted = (target * weight).sum(-1, keepdim=True)
        union = wanted + ((1 - target) * weight).cumsum(-1)
        lost = weight.cumsum(-1) / union.clamp_min(LEAST)  # 1 - IoU with the worst so many wrong
        slopes = lost.diff(dim=-1, prepend=torch.zeros_like(lost[..., :1]))
        counts = (wanted.squeeze(-1) if exclusive else weight.sum(-1)) > 0
        return _over_classes((errors * slopes).sum(-1), counts.to(errors.dtype), class_weights)

    return OverHeads(of_logits, head_weights)


def structure(
    *,
    edge: float = 5.0,
    reach: float = 0.09,
    ignore_index: int = 255,
    class_weights: Weights = None,
    head_weights: Weights = None,
) -> Loss:
    """Cross-entropy plus 1 - IoU of each picture and class, where pixels near an edge count more.

    A pixel of the target y counts 1 + edge * |m - y|, where m is the mean of y in the window around
    it, whose side is `reach` of the picture's shorter one. For targets of the sigmoid.
    Wei, Wang, Huang 2020, F3Net, arXiv:1911.11445, the "pixel position aware" loss: a window of 31
    pixels for pictures of 352, and an edge of 5.
    """
    if edge < 0 or not 0 <= reach <= 1:
        raise UsageError(
            f"edge={edge}, reach={reach}", expected="edge at least 0, reach from 0 to 1"
        )

    def of_logits(logits: Tensor, batch: Batch) -> Tensor:
        target, counts = batch["planes"], batch["counts"].to(logits.dtype)
        entropy = F.binary_cross_entropy_with_logits(
            logits, target.to(logits.dtype), reduction="none"
        )
        probabilities = logits.sigmoid()
        pixels = (2, 3)
        common = (counts * target * probabilities).sum(pixels)
        union = (counts * (target + probabilities)).sum(pixels) - common
        total = counts.sum(pixels)
        values = (counts * entropy).sum(pixels) / total.clamp_min(LEAST)
        values = values + 1 - (common + 1) / (union + 1)
        return _over_classes(values, (total > 0).to(values.dtype), class_weights)

    over_heads = OverHeads(of_logits, head_weights)

    def loss(outputs: Outputs, batch: Batch) -> Tensor | Mapping[str, Tensor]:
        first = outputs["logits"] if isinstance(outputs, Mapping) else outputs
        logits = first if isinstance(first, Tensor) else first[0]
        if _exclusive(logits, batch):
            raise _misfit("structure", logits, batch, "(N, H, W) for K = 1, else (N, K, H, W)")
        target, weight = _planes(_wide(logits), batch, ignore_index)
        window = round(reach * min(target.shape[-2:]))
        counts = weight * (1 + edge * (_local_mean(target, weight, window) - target).abs())
        return over_heads(outputs, {**batch, "planes": target, "counts": counts})

    return loss


def _local_mean(values: Tensor, weight: Tensor, window: int) -> Tensor:
    """The mean of (N, K, H, W) values that weigh anything, in a square around each pixel."""
    counted = (weight > 0).to(values.dtype)
    sums, numbers = values * counted, counted
    for kernel in ((window // 2 * 2 + 1, 1), (1, window // 2 * 2 + 1)):
        padding = (kernel[0] // 2, kernel[1] // 2)
        sums, numbers = (
            F.avg_pool2d(part, kernel, 1, padding, count_include_pad=False)
            for part in (sums, numbers)
        )
    return sums / numbers.clamp_min(LEAST)


def combined(
    *,
    parts: Sequence[Sequence[Json]],
    ignore_index: int | None = None,
    class_weights: Weights = None,
    head_weights: Weights = None,
) -> Loss:
    """A sum of losses by name: parts=[["dice", 1.0], ["focal", 0.5, {"gamma": 1.0}]].

    Each part: a name that `build` takes, a factor and, if it has any, options. The other arguments
    go to every part. Gives {"loss": the sum, "dice": its part before the factor, ...}.
    """
    given = {
        "ignore_index": ignore_index,
        "class_weights": class_weights,
        "head_weights": head_weights,
    }
    given = {name: value for name, value in given.items() if value is not None}
    losses: list[tuple[str, float, Loss]] = []
    for part in parts:
        if not _is_part(part):
            raise UsageError(f"{part!r} is not [name, factor] or [name, factor, options]")
        name, factor = part[:2]
        key = name if all(name != other for other, *_ in losses) else f"{name}_{len(losses) + 1}"
        losses.append((key, factor, build(name, part[2] if len(part) == 3 else {}, given)))

    def loss(outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        values = {name: _scalar(one(outputs, batch)) for name, _, one in losses}
        total = torch.stack([factor * values[name] for name, factor, _ in losses])
        return {"loss": total.sum(), **values}

    return loss


def _is_part(part: Json) -> bool:
    """Whether it is a name, a finite factor and, if anything, options."""
    match part:
        case [str(), int() | float() as factor] | [str(), int() | float() as factor, Mapping()]:
            return not isinstance(factor, bool) and math.isfinite(factor)
    return False


def build(name: str, options: Mapping[str, Json], given: Mapping[str, Json] = {}) -> Loss:
    """The loss of a name in the group "segzoo.losses", or of an import path "module:attribute".

    options: of the factory. given: further options, which come from the recipe itself.
    UsageError for a name that nobody offers and for options that the factory does not take, all at
    once; PluginError when it fails.
    """

    def fault(why: str) -> PluginError:
        return PluginError(f"the loss {printable(name)!r} cannot be made: {why}")

    if ":" in name:
        with registry.guarded(fault):
            factory = registry.resolve(name)
    else:
        factory = registry.find(name, registry.LOSSES).load_as(object)
    if not callable(factory):
        raise fault(f"it is a {type(factory).__name__}, not a function")
    _check_options(name, factory, options, given)
    try:
        with registry.guarded(fault):
            loss = factory(**options, **given)
    except PluginError as error:
        if isinstance(error.__cause__, UsageError):
            raise error.__cause__ from None
        raise
    if not callable(loss):
        raise fault(f"it gives a {type(loss).__name__}, not a function of (outputs, batch)")
    return loss  # type: ignore[no-any-return]


def _check_options(
    name: str,
    factory: Callable[..., object],
    options: Mapping[str, Json],
    given: Mapping[str, Json],
) -> None:
    parameters = inspect.signature(factory).parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    takes_all = inspect.Parameter.VAR_KEYWORD in kinds
    twice = [option for option in options if option in given]
    once = {option: value for option, value in options.items() if option not in given}
    faults = [f"{o} is given by the recipe and as an option of its loss" for o in twice]
    faults += faults_by_signature(once, factory)
    for option in FACTORS:
        fault = factors_fault(once.get(option)) if not faults else ""
        faults += [f"{option} {fault}"] if fault else []
    for option in given:
        if option not in parameters and not takes_all:
            faults.append(f"it takes no {option}, which the recipe sets")
    for option, parameter in parameters.items():
        needed = parameter.default is parameter.empty and parameter.kind == parameter.KEYWORD_ONLY
        if needed and option not in options and option not in given:
            faults.append(f"it needs the option {option!r}")
    if faults:
        raise UsageError(f"loss {printable(name)!r}: " + "; ".join(faults))


def _mean(
    values: Callable[[Tensor, Batch], Tensor],
    ignore_index: int,
    class_weights: Weights,
    head_weights: Weights,
) -> Mean:
    """The mean of values, in the shape of the target, by how often each counts."""
    weight_of = partial(_weight, class_weights=class_weights, ignore_index=ignore_index)

    def of_logits(logits: Tensor, batch: Batch) -> Tensor:
        weight = weight_of(batch)
        return (values(logits, batch) * weight).sum() / weight.sum().clamp_min(LEAST)

    return Mean(of_logits, head_weights, lambda batch: weight_of(batch).sum())


def _target(batch: Batch) -> Tensor:
    """(N, H, W), or (N, K, H, W) with K > 1."""
    target: Tensor = batch["target"]
    return target.squeeze(1) if target.ndim == 4 and target.shape[1] == 1 else target


def _counted(batch: Batch, ignore_index: int) -> tuple[Tensor, Tensor]:
    """The target, 0 where it is ignored, and where it is not."""
    target = _target(batch)
    counted = target != ignore_index
    return target * counted, counted


def _weight(batch: Batch, *, class_weights: Weights, ignore_index: int) -> Tensor:
    """How often each value of the target counts, in its shape."""
    target, counted = _counted(batch, ignore_index)
    weight = counted.float()  # sums of many pixels are beyond half precision
    if class_weights is not None:
        factors = weight.new_tensor(class_weights)
        if target.ndim == 4:
            weight = weight * factors.view(-1, 1, 1)
        elif target.is_floating_point():  # between the two of one class
            weight = weight * (factors[0] + (factors[1] - factors[0]) * target)
        else:
            weight = weight * factors[target.long()]
    if "weight" in batch:
        weight = weight * (batch["weight"].unsqueeze(1) if target.ndim == 4 else batch["weight"])
    return weight


def _planes(logits: Tensor, batch: Batch, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Target and weight of each class, both (N, K, H, W) and 0 where the target is ignored."""
    target, counted = _counted(batch, ignore_index)
    weight = _weight(batch, class_weights=None, ignore_index=ignore_index)
    if _exclusive(logits, batch):
        target = F.one_hot(target.long(), logits.shape[1]).movedim(-1, 1) * counted.unsqueeze(1)
    if weight.ndim == 3:
        weight = weight.unsqueeze(1)
    target = target.reshape(logits.shape).to(logits.dtype)
    return target, weight.to(logits.dtype).expand_as(logits)


def _softmax_entropy(logits: Tensor, batch: Batch, ignore_index: int) -> Tensor:
    target = _target(batch).long()
    return F.cross_entropy(logits, target, ignore_index=ignore_index, reduction="none")


def _sigmoid_entropy(logits: Tensor, batch: Batch, ignore_index: int) -> Tensor:
    target, _ = _counted(batch, ignore_index)
    return F.binary_cross_entropy_with_logits(
        logits.reshape(target.shape), target.to(logits.dtype), reduction="none"
    )


def _over_classes(values: Tensor, counts: Tensor, class_weights: Weights) -> Tensor:
    """The mean of (K,) or (N, K) values over the classes that count, then over the pictures."""
    if class_weights is not None:
        if counts.shape[-1] == 1:
            raise _weights_of_one()
        if len(class_weights) != counts.shape[-1]:
            raise UsageError(
                "class_weights does not fit this loss",
                found=count_of(len(class_weights), "value"),
                expected=f"{counts.shape[-1]}, one per class",
            )
        counts = counts * counts.new_tensor(class_weights)
    total = counts.sum(-1)
    means = (values * counts).sum(-1) / total.clamp_min(LEAST)
    return means.sum() / (total > 0).sum().clamp_min(1)


def refuse_weights_of_one(name: str, options: Mapping[str, Json]) -> None:
    """UsageError for a loss that is a mean over classes, which has nothing to weigh where K = 1."""
    if name.removeprefix("segzoo.losses:") in OVER_CLASSES:
        raise _weights_of_one()
    for part in options.get("parts") or ():
        if _is_part(part):
            refuse_weights_of_one(part[0], part[2] if len(part) == 3 else {})


def _weights_of_one() -> UsageError:
    return UsageError(
        "class_weights weighs classes against each other, and this loss, a mean over classes, has "
        "one",
        next_step="Leave class_weights out, or take a mean over pixels, such as "
        "binary_cross_entropy or focal: it takes two, of the background and of the class",
    )


def _exclusive(logits: Tensor, batch: Batch) -> bool:
    """Whether the target is class indices. UsageError for a target that is not of these logits."""
    target = _target(batch)
    if target.ndim == 3 and target.shape == logits[:, 0].shape:
        return logits.shape[1] > 1
    if target.shape != logits.shape:
        raise _misfit("the loss", logits, batch, "(N, H, W) or (N, K, H, W)")
    return False


def _misfit(who: str, logits: Tensor, batch: Batch, expected: str) -> UsageError:
    return UsageError(
        f"{who} cannot compare the target with the network's output",
        found=f"target {tuple(batch['target'].shape)}, logits {tuple(logits.shape)}",
        expected=f"a target of {expected}",
    )


def _check_per(per: str) -> None:
    if per not in ("batch", "picture"):
        raise UsageError(f"per={per!r} is not 'batch' or 'picture'")


def _scalar(value: Tensor | Mapping[str, Tensor]) -> Tensor:
    return value if isinstance(value, Tensor) else value["loss"]


def _wide(logits: Tensor) -> Tensor:
    """At least float32: sums over a batch of pixels need it."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
