"""Networks, builders and losses that keep the contract, and others that break one promise each."""

import os
import random
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

# --- what keeps the contract


class Good(nn.Module):
    """A convolution and a head."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()
        )
        self.head = nn.Conv2d(4, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stem(x))


class Sided(Good):
    """With a side output, as a tuple."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(in_channels, num_classes)
        self.head_side = nn.Conv2d(4, num_classes, 1)

    def forward(self, x: Tensor, *, all_heads: bool = False) -> Tensor | tuple[Tensor, ...]:
        features = self.stem(x)
        final = self.head(features)
        return (final, self.head_side(features)) if self.training or all_heads else final


class Named(Sided):
    """With a side output, by name."""

    def forward(self, x: Tensor, *, all_heads: bool = False) -> Tensor | dict[str, Tensor]:
        features = self.stem(x)
        final = self.head(features)
        if self.training or all_heads:
            return {"side": self.head_side(features), "logits": final}
        return final


class Valid(nn.Module):
    """Two valid convolutions eat two pixels at each side; sizes must be 4 m + 2; output doubled."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 4, 3)
        self.head = nn.Conv2d(4, num_classes, 3)

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-2] % 4 == x.shape[-1] % 4 == 2
        return F.interpolate(self.head(self.stem(x)), scale_factor=2.0)


def weighted_mean(pixels, counts, batch):
    """Of (N, K, H, W) values, each as often as it counts and its weight says."""
    weight = counts * batch["weight"].unsqueeze(1) if "weight" in batch else counts.float()
    return (pixels * weight).sum() / weight.sum()


def bce(*, ignore_index=255):
    def loss(outputs, batch):
        named = outputs if isinstance(outputs, dict) else {}
        outputs = [*named.values()] or (outputs if isinstance(outputs, tuple) else [outputs])
        target = batch["target"].float()
        target = target if target.ndim == 4 else target.unsqueeze(1)
        counts = target != ignore_index
        pixels = [
            F.binary_cross_entropy_with_logits(o, target * counts, reduction="none")
            for o in outputs
        ]
        return sum(weighted_mean(values, counts, batch) for values in pixels)

    return loss


def named_bce(*, ignore_index=255):
    return lambda outputs, batch: {"loss": bce(ignore_index=ignore_index)(outputs, batch)}


def cross_entropy(*, ignore_index=255):
    def loss(outputs, batch):
        target = batch["target"]
        pixels = F.cross_entropy(outputs, target, ignore_index=ignore_index, reduction="none")
        counts = target != ignore_index
        return weighted_mean(pixels.unsqueeze(1), counts.unsqueeze(1), batch)

    return loss


# --- what breaks it


def one_class(in_channels, num_classes):
    return Good(in_channels, 1)


def rgb_only(in_channels, num_classes):
    return Good(3, num_classes)


class Halving(Good):
    def forward(self, x):
        return self.head(F.interpolate(F.max_pool2d(self.stem(x), 2), scale_factor=2.0))


class Joining(Good):
    def forward(self, x):
        features = self.stem(x)
        up = F.interpolate(F.max_pool2d(features, 2), scale_factor=2.0)
        return self.head(features + up)


class Infinite(Good):
    def forward(self, x):
        return super().forward(x) / 0


class SideFirst(Sided):
    def forward(self, x, *, all_heads=False):
        features = self.stem(x)
        final = self.head(features)
        return (self.head_side(features), final) if self.training or all_heads else final


class NoAllHeads(Sided):
    def forward(self, x):
        return super().forward(x)


class AlwaysBoth(Sided):
    def forward(self, x):
        return super().forward(x, all_heads=True)


class NoTensor(Good):
    def forward(self, x):
        return {"masks": super().forward(x)}


class Sigmoid(Good):
    def forward(self, x):
        return super().forward(x).sigmoid()


class Dropping(Good):
    def forward(self, x):
        return F.dropout(super().forward(x))


class Idle(Good):
    def __init__(self, in_channels, num_classes):
        super().__init__(in_channels, num_classes)
        self.spare = nn.Conv2d(4, 4, 1)


class Forgetful(Good):
    def __init__(self, in_channels, num_classes):
        super().__init__(in_channels, num_classes)
        self.register_buffer("scale", torch.rand(1), persistent=False)

    def forward(self, x):
        return super().forward(x) * (1 + self.scale)


class Lambda(Good):
    def __init__(self, in_channels, num_classes):
        super().__init__(in_channels, num_classes)
        self.activation = lambda x: x

    def forward(self, x):
        return self.activation(super().forward(x))


class Choosing(Good):
    def forward(self, x):
        logits = super().forward(x)
        return logits if logits.mean() > 0 else logits + 1


class Thread(Good):
    """Cannot be copied: a generator of numbers runs in it."""

    def __init__(self, in_channels, num_classes):
        super().__init__(in_channels, num_classes)
        self.numbers = (n for n in range(3))


def meddling(in_channels, num_classes):
    network = Good(in_channels, num_classes)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(7)
    torch.nn.functional.relu6 = no_picture
    os.environ["CONTRACT_NETWORKS"] = "1"
    os.chdir("/")
    warnings.simplefilter("ignore", ResourceWarning)
    random.seed(3)
    return network


def nan_loss():
    return lambda outputs, batch: outputs.mean() * float("nan")


def pixel_loss():
    return lambda outputs, batch: outputs.square()


def number_loss():
    return lambda outputs, batch: outputs.mean().item()


def wild_gradient():
    return lambda outputs, batch: (outputs * 0).sqrt().mean()  # 0, and its slope 0 * infinity


def weight_unseen(*, ignore_index=255):
    """As if every pixel counted once."""
    all_count = bce(ignore_index=ignore_index)
    return lambda outputs, batch: all_count(outputs, {"target": batch["target"]})


def ignored_as_foreground(*, ignore_index=255):
    """Whatever is not 0 is of the class."""
    return lambda outputs, batch: bce()(outputs, {**batch, "target": batch["target"] > 0})


def always_255(*, ignore_index=255):
    return bce()


def ignored_in_the_value_alone(*, ignore_index=255):
    """The right value; the gradient is that of all pixels."""

    def loss(outputs, batch):
        value = bce(ignore_index=ignore_index)(outputs, batch)
        if "weight" in batch:
            return value
        slope = outputs.square().mean()
        return value + slope - slope.detach()

    return loss


def weight_unseen_by_the_slope(*, ignore_index=255):
    """The right value; the gradient of what counts depends on what does not."""

    def loss(outputs, batch):
        value = bce(ignore_index=ignore_index)(outputs, batch)
        counts = batch["weight"].unsqueeze(1) > 0 if "weight" in batch else 0
        slope = (outputs * counts).mean() * outputs.mean().detach()
        return value + slope - slope.detach()

    return loss


def no_ignore_index():
    return bce()


def climbing(*, ignore_index=255):
    """The right value with the wrong sign of the gradient."""

    def loss(outputs, batch):
        value = bce(ignore_index=ignore_index)(outputs, batch)
        return 2 * value.detach() - value

    return loss


def no_picture(image):
    raise ValueError("only pictures of cats")


def wide_picture(image):
    return np.moveaxis(image, -1, 0) / 255  # float64
