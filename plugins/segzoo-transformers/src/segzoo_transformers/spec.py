"""What segzoo knows of transformers' segmentation networks.

Encoders are those of published checkpoints, and so are classes, normalisation and size: 150 of
ADE20K, on pictures of 512x512. Reading this file needs neither transformers nor torch.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from segzoo.spec import (
    ModelSpec,
    Option,
    Paper,
    Postprocess,
    Preprocess,
    Recipe,
    Task,
    TaskDefaults,
)
from segzoo_transformers import encoders

CODE = "https://github.com/huggingface/transformers/tree/v5.24.0"
SIZE = 512  # of SegformerImageProcessor, which UPerNet's checkpoints come with too
MULTIPLE = 32  # four halvings of a quarter; other sizes lose what is left over at the border
AUXILIARY = 256  # channels of the auxiliary head

# Parameters with 3 channels and 150 classes, UPerNet with its auxiliary head, and multiply-adds in
# eval mode for a picture of 512x512 and one of 256x256.
TABLE: Mapping[str, Mapping[str, tuple[int, int, int]]] = {
    "segformer": {
        "mit_b0": (3_752_694, 8_387_821_568, 1_901_920_256),
        "mit_b1": (13_715_798, 15_878_062_080, 3_579_445_248),
        "mit_b2": (27_461_974, 62_337_843_200, 14_854_651_904),
        "mit_b3": (47_337_814, 78_963_015_680, 18_633_457_664),
        "mit_b4": (64_108_374, 95_567_478_784, 22_300_131_328),
        "mit_b5": (84_708_694, 111_510_290_432, 25_977_552_896),
    },
    "upernet": {
        "convnext_tiny": (60_242_636, 234_636_115_968, 58_673_774_592),
        "convnext_small": (81_877_196, 256_726_204_416, 64_196_296_704),
        "convnext_base": (122_102_956, 292_355_833_856, 73_108_619_264),
        "convnext_large": (234_994_796, 393_210_101_760, 98_332_016_640),
        "convnext_xlarge": (391_140_396, 533_524_381_696, 133_420_417_024),
        "swin_tiny": (59_941_862, 236_864_792_448, 60_199_981_824),
        "swin_small": (81_259_766, 260_583_910_272, 67_144_357_632),
        "swin_base": (121_415_076, 305_514_807_296, 81_993_138_176),
        "swin_large": (233_962_976, 419_342_254_080, 116_905_869_312),
    },
}

_PLAIN = Postprocess()
TASKS: dict[Task, TaskDefaults] = {
    "multiclass": TaskDefaults(
        loss="segzoo.losses:cross_entropy",
        postprocess=Postprocess(activation="softmax", threshold=None),
    ),
    "binary": TaskDefaults(loss="segzoo.losses:binary_cross_entropy", postprocess=_PLAIN),
    "multilabel": TaskDefaults(loss="segzoo.losses:binary_cross_entropy", postprocess=_PLAIN),
}

# As SegformerImageProcessor of transformers prepares a picture.
PREPROCESS = Preprocess(
    size=(SIZE, SIZE),
    resize="stretch",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    multiple_of=MULTIPLE,
)

# Ours, for any of them; the rate and its schedule are both articles'.
ADAMW = Recipe(
    epochs=100,
    batch_size=8,
    optimizer=("adamw", {}),
    lr=6e-5,
    weight_decay=1e-2,
    decay="weights",
    schedule=("poly", {"power": 1.0}),
    warmup=1500,
    crop=(SIZE, SIZE),
    augment=(("flip", {}), ("color", {})),
    grad_clip=1.0,
)

SIZED = Option(
    default=SIZE,
    min=0,
    max=4096,
    help="The square that pictures are stretched to; 0 keeps their size. Published checkpoints "
    "are for 512, but mit_b5 for 640 and those of Cityscapes for 1024.",
)


def sized(image_size: int) -> Preprocess:
    if not image_size:
        return replace(PREPROCESS, size=None, resize="none")
    return replace(PREPROCESS, size=(image_size, image_size))


def macs_of(counted: tuple[int, int], image_size: int) -> int | None:
    return {SIZE: counted[0], 0: counted[1]}.get(image_size)


def auxiliary_parameters(channels: int, num_classes: int = 150) -> int:
    """Of the auxiliary head on so many channels: convolution, normalisation, classes."""
    return channels * AUXILIARY * 9 + 2 * AUXILIARY + (AUXILIARY + 1) * num_classes


def segformer_fields(*, encoder: str, image_size: int) -> dict[str, Any]:
    """The fields that follow from the options."""
    parameters, *macs = TABLE["segformer"][encoder]
    return {
        "num_parameters": parameters,
        "macs": macs_of((macs[0], macs[1]), image_size),
        "preprocess": sized(image_size),
    }


def upernet_fields(*, encoder: str, aux: bool, image_size: int) -> dict[str, Any]:
    """The fields that follow from the options."""
    parameters, *macs = TABLE["upernet"][encoder]
    auxiliary = 0 if aux else auxiliary_parameters(encoders.third_width(encoder))
    patches = "backbone.embeddings.patch_embeddings."
    heads = ("decode_head.classifier.", "auxiliary_head.classifier.")
    return {
        "num_parameters": parameters - auxiliary,
        "macs": macs_of((macs[0], macs[1]), image_size),
        "preprocess": sized(image_size),
        "stem": (patches if encoder in encoders.CONVNEXT else f"{patches}projection.",),
        "head": heads if aux else heads[:1],
        # the weight of the auxiliary loss in transformers' own training
        "recipes": {"adamw": replace(ADAMW, head_weights=(1.0, 0.4)) if aux else ADAMW},
    }


paper = partial(Paper, code=CODE, code_license="Apache-2.0", code_by="transformers")
REQUIRES = {"transformers": "transformers>=5.9,<6"}

SEGFORMER = ModelSpec(
    summary="attention at four scales, and a light decoder of linear layers (transformers)",
    paper=paper(
        title="SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers",
        authors="Xie, Wang, Yu, Anandkumar, Alvarez, Luo",
        year=2021,
        arxiv="2105.15203",
    ),
    builder="segzoo_transformers.model:segformer",
    options={
        "encoder": Option(default="mit_b0", choices=tuple(encoders.MIX)),
        "image_size": SIZED,
    },
    variant="segzoo_transformers.spec:segformer_fields",
    tasks=TASKS,
    num_classes=150,
    recipes={"adamw": ADAMW},
    head=("decode_head.classifier.",),
    stem=("segformer.stages.0.patch_embeddings.proj.",),
    requires=REQUIRES,
    **segformer_fields(encoder="mit_b0", image_size=SIZE),
)

UPERNET = ModelSpec(
    summary="a feature pyramid with pools at its top, on ConvNeXt or Swin (transformers)",
    paper=paper(
        title="Unified Perceptual Parsing for Scene Understanding",
        authors="Xiao, Liu, Zhou, Jiang, Sun",
        year=2018,
        arxiv="1807.10221",
    ),
    builder="segzoo_transformers.model:upernet",
    options={
        "encoder": Option(default="convnext_tiny", choices=tuple(encoders.UPERNET)),
        "aux": Option(default=True, help="The auxiliary head, which published checkpoints have."),
        "image_size": SIZED,
    },
    variant="segzoo_transformers.spec:upernet_fields",
    tasks=TASKS,
    num_classes=150,
    requires=REQUIRES,
    **upernet_fields(encoder="convnext_tiny", aux=True, image_size=SIZE),
)
