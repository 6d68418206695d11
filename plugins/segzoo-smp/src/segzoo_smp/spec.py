"""What segzoo knows of the networks of segmentation-models-pytorch (SMP).

Twelve decoders, and for each the encoders that SMP can build it on: `encoders.json` lists them with
what follows from the choice. `tools/make_table.py` makes that file by trying every pair; reading it
needs neither SMP nor torch. A pair that does not fit is refused with SMP's reason.

Pictures are normalised as the encoder's published weights expect it. Networks begin with random
values, with a file of the whole network, or with weights of the encoder (`published.py`).

An encoder that takes pictures of one size only (BEiT under DPT, say) has that size in its
preprocessing, so `predict` resizes to it; its network takes no other.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from segzoo.spec import (
    ModelSpec,
    Option,
    Paper,
    Postprocess,
    Preprocess,
    Recipe,
    Suits,
    Task,
    TaskDefaults,
)
from segzoo_smp import published

CODE = "https://github.com/qubvel-org/segmentation_models.pytorch/tree/v0.6.0"

# Of every encoder a row, which tools/make_table.py explains.
TABLE: Mapping[str, Any] = json.loads(Path(__file__).with_name("encoders.json").read_text("utf-8"))[
    "encoders"
]

# How names begin, and how they once did, which SMP still takes and then renames.
OLD_NAMES = {
    "tu-gernet": "timm-gernet",
    "tu-tf_mobilenetv3": "timm-mobilenetv3",
    "tu-regnet": "timm-regnet",
    "tu-res2": "timm-res2",
    "tu-resnest": "timm-resnest",
}
OLD = {
    name: old + name.removeprefix(new)
    for new, old in OLD_NAMES.items()
    for name in TABLE
    if name.startswith(new)
}


def refusals() -> dict[str, dict[str, list[str]]]:
    """Of each decoder, the encoders that SMP refuses for it, by the reason."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, row in TABLE.items():
        for reason, decoders in row.get("refused", {}).items():
            why = f"which SMP refuses ({reason.removesuffix('.')})"
            for decoder in decoders:
                found.setdefault(decoder, {}).setdefault(why, []).append(name)
    return found


REFUSED = refusals()


def encoder_option(decoder: str, default: str) -> Option:
    """The encoders of a decoder; and why others of SMP's, and its old names, are none."""
    fitting = [name for name, row in TABLE.items() if decoder in row]
    old_names = {
        f"an old name of SMP's for {name!r}": (old,)
        for name, old in OLD.items()
        if decoder in TABLE[name]
    }
    return Option(
        default=default,
        choices=tuple(fitting),
        help="As SMP names it; those of timm begin with tu-.",
        refused={why: tuple(names) for why, names in REFUSED[decoder].items()} | old_names,
    )


def fields(decoder: str, *, encoder: str, **widths: int) -> dict[str, Any]:
    """The fields that follow from the encoder, and from options that widen the decoder."""
    row = TABLE[encoder]
    parameters, multiple_of, *extras = row[decoder]
    more = extras[0] if extras else {}
    mean, std = row["statistics"]
    size = tuple(more["size"]) if "size" in more else None
    for name, count in WIDTHS.get(decoder, {}).items():
        parameters += count(row["channels"], widths.get(name, 256)) - count(row["channels"], 256)
    return {
        "num_parameters": parameters,
        "preprocess": Preprocess(
            size=size,
            resize="stretch" if size else "none",
            mean=tuple(mean),
            std=tuple(std),
            multiple_of=multiple_of,
        ),
        "stem": tuple(more.get("stem", row["stem"])),
        "backbone": published.backbones(encoder, row),
        "frozen": tuple(more.get("frozen", ())),  # what the decoder makes no use of
    }


def segformer_parameters(channels: list[int], width: int) -> int:
    """What of a SegFormer grows with `decoder_segmentation_channels`, and one class."""
    used = [c for c in channels[1:] if c]
    mlp, fusion = sum((c + 1) * width for c in used), len(used) * width**2 + 2 * width
    return mlp + fusion + width


def upernet_parameters(channels: list[int], width: int) -> int:
    """What of a UPerNet grows with `decoder_channels`, and one class."""

    def conv(inputs: int, kernel_size: int = 3) -> int:
        return inputs * width * kernel_size**2 + 2 * width  # and its normalisation

    *lateral, last = channels[2:]
    pools = 4 * conv(last, 1) + conv(last + 4 * width)
    pyramid = sum(conv(c, 1) + conv(width) for c in lateral)
    return pools + pyramid + conv((len(lateral) + 1) * width) + width


WIDTHS = {
    "segformer": {"decoder_segmentation_channels": segformer_parameters},
    "upernet": {"decoder_channels": upernet_parameters},
}

# --- training -------------------------------------------------------------------------------------

_PLAIN = Postprocess()
TASKS: dict[Task, TaskDefaults] = {
    "binary": TaskDefaults(loss="segzoo.losses:binary_cross_entropy", postprocess=_PLAIN),
    "multiclass": TaskDefaults(
        loss="segzoo.losses:cross_entropy",
        postprocess=Postprocess(activation="softmax", threshold=None),
    ),
    "multilabel": TaskDefaults(loss="segzoo.losses:binary_cross_entropy", postprocess=_PLAIN),
}

# Ours, for any of them. 256 is a multiple of what nearly every pair asks for.
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

# For PASCAL VOC 2012 with its extra annotations, and for encoders that begin with ImageNet's
# weights. PSPNet: section 4 of the paper; its code crops 473, here a multiple of 8.
PSPNET_VOC = Recipe(
    steps=30_000,
    batch_size=16,
    optimizer=("sgd", {"momentum": 0.9}),
    lr=1e-2,
    weight_decay=1e-4,
    schedule=("poly", {"power": 0.9}),
    crop=(472, 472),
    augment=(
        ("flip", {}),
        ("scale", {"low": 0.5, "high": 2.0}),
        ("rotate", {"degrees": 10}),
        ("blur", {}),
    ),
    eval_metric="mean_iou",
)
# DeepLabv3+: section 4 of the paper, with the steps and batches of DeepLabv3's section 4; the decay
# of its code. It crops 513, here a multiple of 16.
DEEPLABV3PLUS_VOC = replace(
    PSPNET_VOC,
    lr=7e-3,
    weight_decay=4e-5,
    crop=(512, 512),
    augment=(("flip", {}), ("scale", {"low": 0.5, "high": 2.0})),
)

# --- the models -----------------------------------------------------------------------------------


def spec_of(
    decoder: str,
    summary: str,
    paper: Paper,
    *,
    encoder: str = "resnet34",
    options: Mapping[str, Option] = {},
    recipes: Mapping[str, Recipe] = {},
    suits: tuple[Suits, ...] = (),
    head: str = "segmentation_head.0.",
) -> ModelSpec:
    """One of SMP's networks. encoder: the default, SMP's own or a lighter one of its kind."""
    return ModelSpec(
        summary=f"{summary}; a choice of encoders (SMP)",
        paper=paper,
        builder=f"segzoo_smp.model:{decoder}",
        options={"encoder": encoder_option(decoder, encoder)} | dict(options),
        variant=f"segzoo_smp.spec:{decoder}_fields",
        tasks=TASKS,
        num_classes=1,
        recipes={"adamw": ADAMW} | dict(recipes),
        suits=suits,
        head=(head,),
        requires={
            "segmentation_models_pytorch": "segmentation-models-pytorch>=0.6",
            "timm": "timm>=1.0.31",
        },
        **fields(decoder, encoder=encoder),
    )


def paper(title: str, authors: str, year: int, arxiv: str = "") -> Paper:
    return Paper(
        title=title,
        authors=authors,
        year=year,
        arxiv=arxiv,
        code=CODE,
        code_license="MIT",
        code_by="segmentation-models-pytorch",
    )


deeplabv3_fields = partial(fields, "deeplabv3")
deeplabv3plus_fields = partial(fields, "deeplabv3plus")
dpt_fields = partial(fields, "dpt")
fpn_fields = partial(fields, "fpn")
linknet_fields = partial(fields, "linknet")
manet_fields = partial(fields, "manet")
pan_fields = partial(fields, "pan")
pspnet_fields = partial(fields, "pspnet")
segformer_fields = partial(fields, "segformer")
unet_fields = partial(fields, "unet")
unetplusplus_fields = partial(fields, "unetplusplus")
upernet_fields = partial(fields, "upernet")

UNET = spec_of(
    "unet",
    "U-Net on the encoder of a classifier",
    paper(
        "U-Net: Convolutional Networks for Biomedical Image Segmentation",
        "Ronneberger, Fischer, Brox",
        2015,
        "1505.04597",
    ),
    suits=(
        Suits(
            when=("channels == 3", "gray < 0.5", "thinnest >= 8"),
            why="things in colours, wide enough for an encoder that first halves the picture",
            options=({"encoder": "tu-tf_efficientnet_lite0"},),
            recipe="adamw",
            pretrained=True,
            needs_to_know=True,
        ),
    ),
)

UNETPLUSPLUS = spec_of(
    "unetplusplus",
    "nested U-Nets on one encoder",
    paper(
        "UNet++: A Nested U-Net Architecture for Medical Image Segmentation",
        "Zhou, Siddiquee, Tajbakhsh, Liang",
        2018,
        "1807.10165",
    ),
)

MANET = spec_of(
    "manet",
    "U-Net with attention over positions and scales",
    paper(
        "MA-Net: A Multi-Scale Attention Network for Liver and Tumor Segmentation",
        "Fan, Wang, Li, Wang",
        2020,
    ),
)

LINKNET = spec_of(
    "linknet",
    "light and quick, skips by addition",
    paper(
        "LinkNet: Exploiting Encoder Representations for Efficient Semantic Segmentation",
        "Chaurasia, Culurciello",
        2017,
        "1707.03718",
    ),
)

FPN = spec_of(
    "fpn",
    "a feature pyramid, summed",
    paper(
        "Feature Pyramid Networks for Object Detection",
        "Lin, Dollár, Girshick, He, Hariharan, Belongie",
        2016,
        "1612.03144",
    ),
)

PSPNET = spec_of(
    "pspnet",
    "pools the picture at four sizes, at an eighth of its size",
    paper("Pyramid Scene Parsing Network", "Zhao, Shi, Qi, Wang, Jia", 2016, "1612.01105"),
    recipes={"voc": PSPNET_VOC},
)

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

DEEPLABV3PLUS = spec_of(
    "deeplabv3plus",
    "DeepLabv3 with a skip, at a sixteenth of the size",
    paper(
        "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation",
        "Chen, Zhu, Papandreou, Schroff, Adam",
        2018,
        "1802.02611",
    ),
    recipes={"voc": DEEPLABV3PLUS_VOC},
)

PAN = spec_of(
    "pan",
    "attention by a pyramid; for sizes that are multiples of 128",
    paper(
        "Pyramid Attention Network for Semantic Segmentation",
        "Li, Xiong, An, Wang",
        2018,
        "1805.10180",
    ),
)

UPERNET = spec_of(
    "upernet",
    "a feature pyramid with pools at its top",
    paper(
        "Unified Perceptual Parsing for Scene Understanding",
        "Xiao, Liu, Zhou, Jiang, Sun",
        2018,
        "1807.10221",
    ),
    options={
        "decoder_channels": Option(default=256, min=1, max=4096, help="Width of the decoder."),
        "img_size": Option(
            default=0,
            min=0,
            max=4096,
            help="Of the pictures that a Swin's windows are laid out for; 0 for its own.",
        ),
    },
)

SEGFORMER = spec_of(
    "segformer",
    "a light decoder of linear layers, made for transformers",
    paper(
        "SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers",
        "Xie, Wang, Yu, Anandkumar, Alvarez, Luo",
        2021,
        "2105.15203",
    ),
    encoder="mit_b0",
    options={
        "decoder_segmentation_channels": Option(
            default=256, min=1, max=4096, help="Width of the decoder; 768 from mit_b2 on."
        )
    },
)

DPT = spec_of(
    "dpt",
    "for plain vision transformers, which have one size throughout",
    paper(
        "Vision Transformers for Dense Prediction",
        "Ranftl, Bochkovskiy, Koltun",
        2021,
        "2103.13413",
    ),
    encoder="tu-vit_tiny_patch16_224",
    head="segmentation_head.head.4.",
)
