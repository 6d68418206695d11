"""What segzoo knows of torchvision's segmentation networks.

The numbers of parameters are those that torchvision states of its published weights, which have 21
classes and, but for LR-ASPP, the auxiliary classifier. Reading this file needs neither torchvision
nor torch.
"""

from collections.abc import Mapping
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

CODE = "https://github.com/pytorch/vision/tree/v0.25.0"

# Parameters with 3 channels, 21 classes and the auxiliary classifier (`num_params` of the
# weights' metadata in torchvision), the channels of the features that this one is fed with, and
# multiply-adds for a picture of 256x256.
TABLE: Mapping[str, Mapping[str, tuple[int, int, int]]] = {
    "deeplabv3": {
        "resnet50": (42_004_074, 1024, 40_895_250_432),
        "resnet101": (60_996_202, 1024, 60_289_712_128),
        "mobilenet_v3_large": (11_029_328, 40, 2_457_806_720),
    },
    "fcn": {
        "resnet50": (35_322_218, 1024, 34_591_997_952),
        "resnet101": (54_314_346, 1024, 53_986_459_648),
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

# ImageNet's, in torchvision.transforms._presets.SemanticSegmentation; the resize to 520 of the
# shorter side, which stands there too, is left to whoever measures.
PREPROCESS = Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

# Ours, for any of them.
ADAMW = Recipe(
    epochs=100,
    batch_size=8,
    optimizer=("adamw", {}),
    lr=3e-4,
    weight_decay=1e-2,
    decay="weights",
    schedule=("cosine", {}),
    warmup=100,
    crop=(256, 256),
    augment=(("flip", {}), ("color", {})),
    grad_clip=1.0,
)


def auxiliary_parameters(channels: int, num_classes: int = 21) -> int:
    """Of an FCN head on so many channels: a convolution, its normalisation, and the classes."""
    inner = channels // 4
    return channels * inner * 9 + 2 * inner + (inner + 1) * num_classes


def fields(family: str, *, encoder: str, aux: bool) -> dict[str, Any]:
    """The fields that follow from the options."""
    parameters, channels, macs = TABLE[family][encoder]
    last = "classifier.4."
    return {
        "num_parameters": parameters - (0 if aux else auxiliary_parameters(channels)),
        "macs": macs,
        "stem": ("backbone.0.0.",) if encoder.startswith("mobilenet") else ("backbone.conv1.",),
        "head": (last, f"aux_{last}") if aux else (last,),
    }


def paper(title: str, authors: str, year: int, arxiv: str) -> Paper:
    return Paper(
        title=title,
        authors=authors,
        year=year,
        arxiv=arxiv,
        code=CODE,
        code_license="BSD-3-Clause",
        code_by="torchvision",
    )


def spec_of(family: str, summary: str, paper: Paper) -> ModelSpec:
    return ModelSpec(
        summary=f"{summary} (torchvision)",
        paper=paper,
        builder=f"segzoo_torchvision.model:{family}",
        options={
            "encoder": Option(default="resnet50", choices=tuple(TABLE[family])),
            "aux": Option(
                default=True, help="The auxiliary classifier, which torchvision's own files have."
            ),
        },
        variant=f"segzoo_torchvision.spec:{family}_fields",
        tasks=TASKS,
        preprocess=PREPROCESS,
        num_classes=21,
        recipes={"adamw": ADAMW},
        requires={"torchvision": "torchvision>=0.25"},
        **fields(family, encoder="resnet50", aux=True),
    )


deeplabv3_fields = partial(fields, "deeplabv3")
fcn_fields = partial(fields, "fcn")

DEEPLABV3 = spec_of(
    "deeplabv3",
    "dilated convolutions side by side, at an eighth of the size",
    paper(
        "Rethinking Atrous Convolution for Semantic Image Segmentation",
        "Chen, Papandreou, Schroff, Adam",
        2017,
        "1706.05587",
    ),
)

FCN = spec_of(
    "fcn",
    "a fully convolutional head on a dilated ResNet",
    paper(
        "Fully Convolutional Networks for Semantic Segmentation",
        "Long, Shelhamer, Darrell",
        2015,
        "1411.4038",
    ),
)

LRASPP = ModelSpec(
    summary="light: two of MobileNetV3's features, one of them weighed by what is in all of the "
    "picture (torchvision)",
    paper=paper("Searching for MobileNetV3", "Howard, Sandler, Chu et al.", 2019, "1905.02244"),
    builder="segzoo_torchvision.model:lraspp",
    tasks=TASKS,
    preprocess=PREPROCESS,
    num_classes=21,
    num_parameters=3_221_538,
    macs=494_888_832,
    recipes={"adamw": ADAMW},
    head=("classifier.low_classifier.", "classifier.high_classifier."),
    stem=("backbone.0.0.",),
    requires={"torchvision": "torchvision>=0.25"},
)
