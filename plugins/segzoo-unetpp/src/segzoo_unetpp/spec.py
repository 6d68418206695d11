"""What segzoo knows of UNet++.

Differences from the two codes, by declaration: both return logits. The PyTorch one reads pictures
as blue, green, red, subtracts the means of red, green, blue, and divides by 255 once more after
that; here the channels are red, green, blue and are divided once. Both want sizes that can be
halved `depth` times; other pictures are extended by mirroring, and the result is cropped.
"""

from collections.abc import Callable
from dataclasses import replace

from segzoo.spec import (
    ImportPath,
    Json,
    ModelSpec,
    Option,
    Paper,
    Postprocess,
    Preprocess,
    Recipe,
    Task,
    TaskDefaults,
)
from segzoo_unetpp import published

PAPER = Paper(
    title="UNet++: A Nested U-Net Architecture for Medical Image Segmentation",
    authors="Zhou, Siddiquee, Tajbakhsh, Liang",
    year=2018,
    arxiv="1807.10165",
    code="https://github.com/4uiiurz1/pytorch-nested-unet/tree/557ea02",
    code_license="MIT",
    code_by="4uiiurz1",
)

# ImageNet's mean and standard deviation, as `Normalize()` of that code's train.py has them.
PREPROCESS = Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), multiple_of=16)
OFFICIAL_PREPROCESS = Preprocess(multiple_of=16)  # values from 0 to 1, as its README asks


def unetpp_fields(
    *, width: int, depth: int, deep_supervision: bool, **_: Json
) -> dict[str, int | Preprocess]:
    """Fields of `unetpp` that follow from its options."""

    def node(left: int, below: int, out: int) -> int:
        return conv(left + below, out) + conv(out, out) + 2 * 2 * out  # and two normalisations

    return {
        "num_parameters": num_parameters(
            node, width, depth, heads=depth if deep_supervision else 1
        ),
        "preprocess": replace(PREPROCESS, multiple_of=2**depth),
    }


def unetpp_official_fields(
    *, width: int, depth: int, deep_supervision: bool, **_: Json
) -> dict[str, int | Preprocess]:
    """Fields of `unetpp_official` that follow from its options."""

    def node(left: int, below: int, out: int) -> int:
        if not below:
            return conv(left, out) + conv(out, out)
        return conv(below, out, 2) + conv(left + out, out) + conv(out, out)

    return {
        "num_parameters": num_parameters(
            node, width, depth, heads=depth if deep_supervision else 1
        ),
        "preprocess": replace(OFFICIAL_PREPROCESS, multiple_of=2**depth),
    }


def num_parameters(
    node: Callable[[int, int, int], int], width: int, depth: int, *, heads: int
) -> int:
    """For RGB and one class. node: (left, below, out) channels -> parameters of a node."""
    total = heads * conv(width, 1, 1)
    for row in range(depth + 1):
        out = width * 2**row
        total += node(out // 2 if row else 3, 0, out)
        total += sum(node(column * out, 2 * out, out) for column in range(1, depth - row + 1))
    return total


def conv(in_channels: int, out_channels: int, kernel_size: int = 3) -> int:
    """Parameters of a convolution, plain or transposed, with its bias."""
    return (in_channels * kernel_size**2 + 1) * out_channels


OPTIONS = {
    "width": Option(
        default=32, min=1, max=512, help="Channels of the first row; each next doubles."
    ),
    "depth": Option(default=4, min=1, max=4, help="Of the deepest U-Net; fewer is faster."),
    "deep_supervision": Option(default=True, help="A head for every depth, not the deepest alone."),
    "mode": Option(
        default="fast",
        choices=("fast", "accurate", "accurate_multilabel"),
        help="Predict by the deepest head, or by the mean of all heads' probabilities.",
    ),
}


def tasks(bce: ImportPath) -> dict[Task, TaskDefaults]:
    """What both are used for. bce: the loss for one class, and for several that overlap."""
    classes = Postprocess(activation="softmax", threshold=None)
    return {
        "binary": TaskDefaults(loss=bce, postprocess=Postprocess()),
        "multiclass": TaskDefaults(
            loss="segzoo_unetpp.loss:cross_entropy_dice", postprocess=classes
        ),
        "multilabel": TaskDefaults(loss=bce, postprocess=Postprocess()),
    }


# Ours. Under a microscope nothing is upright.
CELLS = Recipe(
    epochs=100,
    batch_size=8,
    optimizer=("adamw", {}),
    lr=1e-3,
    weight_decay=1e-2,
    decay="weights",
    schedule=("cosine", {}),
    warmup=100,
    crop=(256, 256),
    augment=(("flip", {}), ("rot90", {}), ("color", {})),
    ema=0.999,
    grad_clip=1.0,
)

UNETPP = ModelSpec(
    summary="U-Nets of four depths nested in one; the depth is chosen at load",
    paper=PAPER,
    builder="segzoo_unetpp.model:unetpp",
    options=OPTIONS,
    variant="segzoo_unetpp.spec:unetpp_fields",
    elastic=("depth",),
    blocks={
        "node": "segzoo_unetpp.blocks:Node",
        "conv_bn_relu": "segzoo_unetpp.blocks:ConvBNReLU",
    },
    tasks=tasks("segzoo_unetpp.loss:bce_dice"),
    preprocess=PREPROCESS,
    num_classes=1,
    num_parameters=9_163_428,
    macs=34_491_858_944,
    recipes={
        "cells": CELLS,
        # The defaults of that code's train.py. It resizes pictures to 96x96, and turns, flips and
        # recolours them at random.
        "seed": Recipe(
            epochs=100,
            batch_size=16,
            optimizer=("sgd", {"momentum": 0.9}),
            lr=1e-3,
            weight_decay=1e-4,
            schedule=("cosine", {"min_lr": 1e-5}),
            crop=(96, 96),
            eval_metric="iou",
        ),
    },
    head=("heads.",),
    stem=("nodes.0_0.convs.0.0.",),
)

UNETPP_OFFICIAL = replace(
    UNETPP,
    summary="UNet++ as in its authors' Keras code: dropout, no normalisation",
    paper=replace(
        PAPER,
        code="https://github.com/MrGiovanni/UNetPlusPlus/tree/2659ddc",
        code_license="non-commercial, patent pending (Arizona State University)",
        code_by="",  # the first author's own
    ),
    builder="segzoo_unetpp.model:unetpp_official",
    options=OPTIONS
    | {"dropout": Option(default=0.5, min=0, max=0.9, help="Share of values dropped in training.")},
    variant="segzoo_unetpp.spec:unetpp_official_fields",
    blocks={
        "node": "segzoo_unetpp.blocks:TransposedNode",
        "conv_relu_dropout": "segzoo_unetpp.blocks:ConvReLUDropout",
    },
    tasks=tasks("segzoo_unetpp.loss:bce_dice_of_batch"),
    preprocess=OFFICIAL_PREPROCESS,
    num_parameters=9_042_276,
    macs=29_794_238_464,
    recipes={
        "cells": replace(CELLS, optimizer=("adam", {}), lr=3e-4, weight_decay=0.0),
        # Section 3 of the paper: Adam at 3e-4, stopped early; it names no epochs and no batch, so
        # those are the ones above. The code's L2 of 1e-4 adds 1e-4 times the squares to the loss,
        # whose gradient is a decay of twice that.
        "seed": Recipe(
            epochs=100,
            batch_size=16,
            optimizer=("adam", {}),
            lr=3e-4,
            weight_decay=2e-4,
            crop=(96, 96),
            eval_metric="iou",
        ),
    },
)

# --- weights --------------------------------------------------------------------------------------

# Last, as the other model is made from this one.
UNETPP = replace(UNETPP, weights={"nuclei": published.NUCLEI}, default_weights="nuclei")
