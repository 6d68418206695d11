"""What segzoo knows of the U-Net family.

| model                   | follows                                       | golden case           |
|-------------------------|-----------------------------------------------|-----------------------|
| `unet`                  | milesial/Pytorch-UNet at 21d7850              | unet_milesial         |
| `unet`, `bilinear=True` | the same                                      | unet_milesial_bilinear|
| `unet_vggblock`         | 4uiiurz1/pytorch-nested-unet at 557ea02, UNet | unet_vggblock         |
| `unet_mrgiovanni`       | MrGiovanni/UNetPlusPlus at 2659ddc, U_Net     | unet_mrgiovanni       |
| `unet_wide`             | the same, wU_Net                              | its count             |
| `unet_zhixuhao`         | zhixuhao/unet at b45af4d                      | unet_zhixuhao         |
| `unet_paper`            | Ronneberger et al. 2015                       | unet_paper            |
| .., `released=True`     | ports of the Caffe network that they released | unet_paper_caffe      |
| `unet_dice`             | an article's Keras code                       | keras_unet            |
| `unet_strided`          | the same article's PyTorch code               | pytorch_unet          |
| `unet_slim`             | the same article's TF-slim code, UNet_1X      | tfslim_unet_1x        |
| `unet_slim_3x`          | the same, UNet_3X                             | tfslim_unet_3x        |
| `unet_canvas`           | another article's U-Net, `"top_left"`         | valid_unet            |

The code is our own; what was followed are the numbers. Differences, all by declaration:
every network returns logits; where the source resizes all pictures to one size, the picture keeps
its own and is extended by mirroring to the next size that the network takes; pictures are gray for
a network of one channel and RGB else. `unet_canvas` places the upsampled map where the article's
formula meant to, `placement="top_left"` where its slip puts it.
"""

from collections.abc import Mapping
from dataclasses import replace

from segzoo.spec import (
    Augmentation,
    ModelSpec,
    Named,
    Option,
    Paper,
    Postprocess,
    Preprocess,
    Recipe,
    Suits,
    Task,
    TaskDefaults,
)
from segzoo_unet import published

U_NET = Paper(
    title="U-Net: Convolutional networks for biomedical image segmentation",
    authors="Ronneberger, Fischer, Brox",
    year=2015,
    arxiv="1505.04597",
)
UNET_PLUS_PLUS = Paper(
    title="UNet++: A nested U-Net architecture for medical image segmentation",
    authors="Zhou, Siddiquee, Tajbakhsh, Liang",
    year=2018,
    arxiv="1807.10165",
    code="https://github.com/MrGiovanni/UNetPlusPlus/tree/2659ddc",
    code_license="Arizona State University, non-commercial use only",
)

# --- preprocessing --------------------------------------------------------------------------------

# Pixels 0..1 as in milesial's data_loading.py and zhixuhao's data.py, and by ToTensor in the
# article of `unet_canvas`. The paper, the other article and MrGiovanni's helper_functions.py state
# no range; 0..1 there too.
# Four poolings: below 16 nothing is left, and multiples of it are even before each.
SAME = Preprocess(multiple_of=16)
ANY_SIZE = Preprocess()  # poolings that round up
# 4uiiurz1's train.py normalises by ImageNet's mean and standard deviation. Not kept: its dataset.py
# then divides by 255 once more, and gives the channels in the order of OpenCV.
IMAGENET = replace(SAME, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# The valid convolutions of figure 1 eat 92 pixels at each side, and only sides of 16 m + 12 are
# even before each pooling. The least, 188, comes by itself: 1 + 2 * 92 = 185.
VALID = Preprocess(multiple_of=16, remainder=12, margin=92)
# On a canvas of the skip's size only the convolutions of the two finest blocks eat from the border.
# The lowest stage needs sides of 140 = 16 * 8 + 12.
CANVAS = Preprocess(multiple_of=16, remainder=140, margin=4)

# --- tasks ----------------------------------------------------------------------------------------

SIGMOID = Postprocess()
SOFTMAX = Postprocess(activation="softmax", threshold=None)
MULTICLASS = TaskDefaults(loss="segzoo_unet.loss:cross_entropy", postprocess=SOFTMAX)


def _one_class_first(loss: str) -> dict[Task, TaskDefaults]:
    sigmoid = TaskDefaults(loss=loss, postprocess=SIGMOID)
    return {"binary": sigmoid, "multiclass": MULTICLASS, "multilabel": sigmoid}


BY_BCE = _one_class_first("segzoo_unet.loss:bce")
BY_DICE = _one_class_first("segzoo_unet.loss:dice")
BY_BCE_DICE = _one_class_first("segzoo_unet.loss:bce_dice")
CLASSES_FIRST: dict[Task, TaskDefaults] = {"multiclass": MULTICLASS, **BY_BCE}
LABELS_FIRST: dict[Task, TaskDefaults] = {"multilabel": BY_BCE["multilabel"], **BY_BCE}


def _enlarged(tasks: Mapping[Task, TaskDefaults], scale: int) -> dict[Task, TaskDefaults]:
    return {
        task: replace(defaults, postprocess=replace(defaults.postprocess, scale=scale))
        for task, defaults in tasks.items()
    }


# --- recipes --------------------------------------------------------------------------------------

# Cross-entropy and Dice, of the softmax or of the sigmoid as the task has it: a focal loss with
# gamma = 0 is the cross-entropy.
ENTROPY_AND_DICE: Named = (
    "segzoo.losses:combined",
    {"parts": [["focal", 1.0, {"gamma": 0.0}], ["dice", 1.0]]},
)

# Ours, for networks with batch normalisation.
ADAMW = Recipe(
    epochs=100,
    batch_size=8,
    optimizer=("adamw", {}),
    lr=1e-3,
    weight_decay=1e-2,
    decay="weights",
    schedule=("cosine", {}),
    warmup=100,
    loss=ENTROPY_AND_DICE,
    crop=(256, 256),
    augment=(("flip", {}), ("color", {})),
    ema=0.999,
    grad_clip=1.0,
)
# At the rate of the UNet++ paper, section 3: for networks that nothing normalises.
ADAM = replace(ADAMW, optimizer=("adam", {}), lr=3e-4, weight_decay=0.0)

# Under a microscope nothing is upright.
ANY_SIDE_UP: tuple[Augmentation, ...] = (("flip", {}), ("rot90", {}), ("color", {}))


def _with_cells(name: str, recipe: Recipe) -> dict[str, Recipe]:
    return {name: recipe, "cells": replace(recipe, augment=ANY_SIDE_UP)}


# 21 classes of natural scenes. Rate, schedule, momentum and decay are those of the DeepLab papers
# (Chen et al. 2017, arXiv:1706.05587, section 4.1, for training from ImageNet's weights) but for a
# rate that suits random values.
VOC = Recipe(
    steps=60_000,
    batch_size=16,
    optimizer=("sgd", {"momentum": 0.9}),
    lr=2e-2,
    weight_decay=1e-4,
    decay="weights",
    schedule=("poly", {"power": 0.9}),
    warmup=1000,
    crop=(320, 320),
    augment=(("flip", {}), ("scale", {"low": 0.5, "high": 2.0}), ("color", {})),
    eval_metric="mean_iou",
)

# --- the models -----------------------------------------------------------------------------------


def unet_variant(*, bilinear: bool, width: int) -> dict[str, int]:
    """Weights grow with the square of the width; norms, biases, stem and head with the width."""
    square, linear = (4_212, 167) if bilinear else (7_574, 228)
    return {"num_parameters": square * width**2 + linear * width + 2}


WIDTH = Option(
    default=64, min=1, max=256, help="Channels of the first of five stages; they double."
)

UNET = ModelSpec(
    summary="the practical U-Net: same padding, batch normalisation",
    paper=replace(
        U_NET,
        code="https://github.com/milesial/Pytorch-UNet/tree/21d7850",
        code_license="GPL-3.0",
        code_by="milesial",
    ),
    builder="segzoo_unet.model:unet",
    options={
        "bilinear": Option(
            default=False, help="Bilinear interpolation on the way up; nearly half the parameters."
        ),
        "width": WIDTH,
    },
    variant="segzoo_unet.spec:unet_variant",
    blocks={
        "double_conv": "segzoo_unet.blocks:DoubleConv",
        "encoder_stage": "segzoo_unet.blocks:EncoderStage",
        "decoder_stage": "segzoo_unet.blocks:DecoderStage",
    },
    tasks=CLASSES_FIRST,
    preprocess=SAME,
    num_classes=2,
    num_parameters=31_037_698,
    macs=48_171_581_440,
    recipes=_with_cells("adamw", ADAMW) | {"voc": VOC},
    head=("head.",),
    stem=("encoder.0.block.conv1.",),
)


def vggblock_variant(*, width: int) -> dict[str, int]:
    """As `unet_variant`."""
    return {"num_parameters": 7_659 * width**2 + 304 * width + 1}


def mrgiovanni_variant(*, width: int) -> dict[str, int]:
    """As `unet_variant`."""
    return {"num_parameters": 7_574 * width**2 + 135 * width + 1}


UNET_VGGBLOCK = replace(
    UNET,
    summary="U-Net with bilinear interpolation, 7.9 M parameters",
    paper=replace(
        U_NET,
        code="https://github.com/4uiiurz1/pytorch-nested-unet/tree/557ea02",
        code_license="MIT",
        code_by="4uiiurz1",
    ),
    builder="segzoo_unet.model:unet_vggblock",
    options={"width": replace(WIDTH, default=32)},
    variant="segzoo_unet.spec:vggblock_variant",
    tasks=BY_BCE_DICE,
    preprocess=IMAGENET,
    num_classes=1,
    num_parameters=7_852_545,
    macs=13_950_255_104,
    recipes={
        **_with_cells("adamw", ADAMW),
        # Its train.py called without arguments; its pictures are made 96x96 beforehand.
        "source": Recipe(
            epochs=100,
            batch_size=16,
            optimizer=("sgd", {"momentum": 0.9}),
            lr=1e-3,
            weight_decay=1e-4,
            schedule=("cosine", {"min_lr": 1e-5}),
            crop=(96, 96),
        ),
    },
)

UNET_MRGIOVANNI = replace(
    UNET_VGGBLOCK,
    summary="the U-Net that UNet++ was compared with: dropout, no normalisation",
    paper=UNET_PLUS_PLUS,
    builder="segzoo_unet.model:unet_mrgiovanni",
    variant="segzoo_unet.spec:mrgiovanni_variant",
    preprocess=SAME,
    num_parameters=7_760_097,
    macs=12_071_206_912,
    recipes=_with_cells("adam", ADAM),
)

UNET_WIDE = replace(
    UNET_MRGIOVANNI,
    summary="the wide U-Net of the UNet++ paper, as large as UNet++",
    options={"width": replace(WIDTH, default=35)},
    num_parameters=9_282_876,
    macs=14_434_631_680,
)

UNET_ZHIXUHAO = replace(
    UNET_MRGIOVANNI,
    summary="U-Net at the paper's width with padding, for gray pictures",
    paper=replace(
        U_NET,
        code="https://github.com/zhixuhao/unet/tree/b45af4d",
        code_license="MIT",
        code_by="zhixuhao",
    ),
    builder="segzoo_unet.model:unet_zhixuhao",
    options={},
    variant=None,
    tasks=BY_BCE,
    in_channels=1,
    num_parameters=31_031_685,
    macs=54_605_774_848,
    recipes=_with_cells("adam", ADAM)
    | {
        # Its main.py: 300 steps of 2 pictures, there resized to 256x256.
        "source": Recipe(steps=300, batch_size=2, optimizer=("adam", {}), lr=1e-4, crop=(256, 256)),
    },
)


def paper_variant(*, released: bool, width: int) -> dict[str, int]:
    """As `unet_variant`; the released network has the same parameters."""
    return {"num_parameters": 7_574 * width**2 + 118 * width + 2}


UNET_PAPER = replace(
    UNET,
    summary="the U-Net of 2015: valid convolutions, mirrored borders",
    paper=U_NET,
    builder="segzoo_unet.model:unet_paper",
    options={
        "released": Option(
            default=False,
            help="As the Caffe network that the authors released: ReLU after each "
            "up-convolution, the skip after the upsampled map.",
        ),
        "width": WIDTH,
    },
    variant="segzoo_unet.spec:paper_variant",
    preprocess=VALID,
    in_channels=1,
    num_parameters=31_030_658,
    macs=78_270_372_096,
    recipes=_with_cells("adam", replace(ADAM, crop=(196, 196), batch_size=4))
    | {
        # Section 3: SGD with momentum 0.99, one large tile at a time, border weights with w0 = 10
        # and sigma = 5 pixels, elastic deformation from vectors on a 3x3 grid with a standard
        # deviation of 10 pixels. 388 is the output tile of figure 1. The paper states neither the
        # rate nor the number of steps.
        "seed": Recipe(
            steps=20_000,
            batch_size=1,
            optimizer=("sgd", {"momentum": 0.99}),
            lr=1e-4,
            pixel_weight=("border", {"w0": 10.0, "sigma": 5.0}),
            crop=(388, 388),
            augment=(("elastic", {"grid": 3, "sigma": 10.0}),),
        ),
    },
)


def dice_variant(*, dropout: bool, batch_norm: bool) -> dict[str, int]:
    """Batch normalisation has two parameters per channel: 480 after the poolings, 960 joined."""
    return {"num_parameters": 7_759_521 + (2 * (480 + 960) if batch_norm else 0)}


UNET_DICE = replace(
    UNET_ZHIXUHAO,
    summary="U-Net at half width with the Dice loss, for gray pictures",
    # The article's network is this repository's; so are the functions that it calls and leaves out.
    paper=replace(
        U_NET,
        code="https://github.com/jocicmarko/ultrasound-nerve-segmentation/tree/df9eb77",
        code_license="MIT",
        code_by="jocicmarko",
    ),
    builder="segzoo_unet.model:unet_dice",
    options={
        "dropout": Option(
            default=False, help="Dropout before the blocks: 0.25 after the first pooling, else 0.5."
        ),
        "batch_norm": Option(default=False, help="Batch normalisation before the blocks."),
    },
    variant="segzoo_unet.spec:dice_variant",
    tasks=BY_DICE,
    num_parameters=7_759_521,
    macs=12_033_458_176,
    recipes=_with_cells("adam", ADAM)
    | {
        # Adam 1e-5 is the article's; 20 epochs of 32 pictures, there resized to 96x96, are the
        # repository's.
        "seed": Recipe(epochs=20, batch_size=32, optimizer=("adam", {}), lr=1e-5, crop=(96, 96)),
    },
)

UNET_STRIDED = replace(
    UNET,
    summary="U-Net with convolutions of stride 2 for pooling, dropout, leaky ReLU",
    paper=U_NET,
    builder="segzoo_unet.model:unet_strided",
    options={},
    variant=None,
    tasks=LABELS_FIRST,  # a sigmoid over three channels
    num_classes=3,
    num_parameters=32_090_627,
    macs=50_692_358_144,
    recipes={"adamw": ADAMW},
)

UNET_SLIM = replace(
    UNET_STRIDED,
    summary="U-Net at half width with leaky ReLU; takes odd sizes",
    builder="segzoo_unet.model:unet_slim",
    tasks=CLASSES_FIRST,
    preprocess=ANY_SIZE,
    num_classes=6,
    num_parameters=7_759_782,
    macs=12_081_692_672,
    recipes={
        "adam": ADAM,
        # The article has an L2 of 0.001 on the weights of the convolutions, whose gradient is a
        # decay of as much, and pictures of 256x256 by four, and nothing else.
        "seed": Recipe(
            epochs=100,
            batch_size=4,
            optimizer=("adam", {}),
            lr=3e-4,
            weight_decay=1e-3,
            decay="weights",
            schedule=("cosine", {}),
            crop=(256, 256),
        ),
    },
)

UNET_SLIM_3X = replace(
    UNET_SLIM,
    summary="`unet_slim` whose output is three times as high and wide as the picture",
    builder="segzoo_unet.model:unet_slim_3x",
    tasks=_enlarged(CLASSES_FIRST, 3),
    num_classes=3,
    num_parameters=7_760_475,
    macs=12_125_732_864,
)

UNET_CANVAS = replace(
    UNET_STRIDED,
    summary="U-Net with valid convolutions whose output is all but as large as its input",
    builder="segzoo_unet.model:unet_canvas",
    options={
        "placement": Option(
            default="centre",
            choices=("centre", "top_left"),
            help="Where the upsampled map lies on the canvas; the article has it top left.",
        )
    },
    tasks=CLASSES_FIRST,
    preprocess=CANVAS,
    num_classes=4,
    num_parameters=31_029_892,
    macs=39_001_502_464,
    recipes={"adam": ADAM},
)

# --- weights, and what they are meant for ---------------------------------------------------------

ANYTHING = Suits(
    why="any pictures, by texture and border at their own size",
    options=({"width": 32}, {"width": 16}, {"width": 8}),
    recipe="cells",
)

# Last, as many of the models above are made from one another.
UNET = replace(
    UNET, weights={"nuclei": published.NUCLEI}, default_weights="nuclei", suits=(ANYTHING,)
)
UNET_PAPER = replace(UNET_PAPER, weights={"em": published.EM}, default_weights="em")
