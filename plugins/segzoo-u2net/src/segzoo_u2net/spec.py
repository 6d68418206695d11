"""What segzoo knows of U²-Net and U²-Netp.

Differences from the authors' repository and from other write-ups of it, all by declaration:
the network returns logits; the picture is divided by its own maximum and the map stretched to 0..1
(`image_max`, `minmax`) because the authors' data_loader.py and u2net_test.py do so; a constant map,
where their code divides by zero, is left as it is; the logits are resized to the picture, where
u2net_test.py resizes 8-bit levels of the stretched map (`resize="levels"`); the resize of the
picture blends the border with zero and does not blur first, as in the version of scikit-image that
they pin. `pool="floor"` is a variant seen in write-ups, which differs at odd sizes only.
"""

from dataclasses import replace

from segzoo.spec import (
    ModelSpec,
    Option,
    Paper,
    Postprocess,
    Recipe,
    TaskDefaults,
)
from segzoo_u2net import published

PAPER = Paper(
    title="U²-Net: Going deeper with nested U-structure for salient object detection",
    authors="Qin, Zhang, Huang, Dehghan, Zaiane, Jagersand",
    year=2020,
    arxiv="2005.09007",
    code="https://github.com/xuebinqin/U-2-Net/tree/ac7e1c8",
    code_license="Apache-2.0",
)

DEEP_BCE = "segzoo_u2net.loss:deep_bce"

# Of every map its cross-entropy and 1 - Dice of each picture, which the F-measure rewards (BASNet,
# Qin et al. 2019, adds 1 - IoU likewise).
ENTROPY_AND_OVERLAP = (
    "segzoo.losses:combined",
    {"parts": [["binary_cross_entropy", 1.0], ["dice", 1.0, {"per": "picture"}]]},
)
# For salient objects, at the article's size; for a GPU.
DUTS = Recipe(
    steps=20_000,
    batch_size=32,
    optimizer=("adamw", {}),
    lr=2e-3,
    weight_decay=1e-2,
    schedule=("cosine", {}),
    warmup=500,
    loss=ENTROPY_AND_OVERLAP,
    crop=(288, 288),
    augment=(
        ("random_resized_crop", {"area": 0.5}),
        ("flip", {}),
        ("color", {"brightness": 0.25, "contrast": 0.25, "saturation": 0.25, "hue": 0.02}),
        ("gray", {}),
    ),
    precision="bf16",
    ema=0.999,
    grad_clip=5.0,
    eval_metric="max_f",
)

U2NET = ModelSpec(
    summary="salient objects and cut-outs; a U-Net of U-Nets",
    paper=PAPER,
    builder="segzoo_u2net.model:u2net",
    options={
        "pool": Option(
            default="ceil", choices=("ceil", "floor"), help="How pooling rounds odd sizes."
        )
    },
    blocks={"rsu": "segzoo_u2net.blocks:RSU", "conv_bn_relu": "segzoo_u2net.blocks:ConvBNReLU"},
    tasks={
        "saliency": TaskDefaults(loss=DEEP_BCE, postprocess=Postprocess(normalize="minmax")),
        "binary": TaskDefaults(loss=DEEP_BCE, postprocess=Postprocess()),
        "multiclass": TaskDefaults(
            loss="segzoo_u2net.loss:deep_cross_entropy",
            postprocess=Postprocess(activation="softmax", threshold=None),
        ),
        "multilabel": TaskDefaults(loss=DEEP_BCE, postprocess=Postprocess()),
    },
    preprocess=published.AS_AUTHORS,
    num_classes=1,
    num_parameters=44_009_869,
    macs=58_598_246_400,
    recipes={
        # The fourth project of the article that segzoo implements: 10 epochs of batches of 10.
        "seed": Recipe(
            epochs=10,
            batch_size=10,
            optimizer=("adam", {"betas": [0.9, 0.999], "eps": 1e-8}),
            lr=1e-3,
            crop=(288, 288),
            head_weights=(1, 1, 1, 1, 1, 1, 1),
        ),
        "duts": DUTS,
        # As training/train_duts.py, at one size throughout: for hours of a CPU.
        "duts_cpu": replace(
            DUTS, steps=3200, batch_size=16, warmup=150, size=(192, 192), crop=None, ema=0.995
        ),
        # From the authors' weights, whose normalisations were folded into the convolutions: what is
        # near an edge counts more, and little is changed.
        "duts_tuned": replace(
            DUTS,
            steps=200,
            batch_size=12,
            lr=5e-5,
            warmup=10,
            loss=("structure", {}),
            frozen=("norms",),
            size=(320, 320),
            ema=0.98,
        ),
        # Thin vessels on a few large pictures, of which the fifth project's 320 pixels leave
        # little; from its optimiser, rate and batch.
        "vessels": Recipe(
            steps=1000,
            batch_size=10,
            optimizer=("adam", {}),
            lr=1e-3,
            schedule=("cosine", {}),
            warmup=50,
            loss=ENTROPY_AND_OVERLAP,
            size=(576, 576),
            crop=(288, 288),
            augment=(("flip", {}), ("rot90", {}), ("color", {"saturation": 0.1, "hue": 0.02})),
            ema=0.99,
            grad_clip=5.0,
            eval_metric="dice",
        ),
    },
    weights={"official": published.OFFICIAL, "human": published.HUMAN},
    default_weights="official",
    head=("heads.", "fuse."),
    stem=("encoder.0.conv_in.0.",),
)

U2NETP = replace(
    U2NET,
    summary="salient objects and cut-outs; the small U²-Net, weights embedded",
    builder="segzoo_u2net.model:u2netp",
    num_parameters=1_131_181,
    macs=19_756_089_600,
    weights={
        "duts": published.DUTS,
        "drive": published.DRIVE,
        "drive_fov": published.DRIVE_FOV,
        "trousers": published.TROUSERS,
        "tuned": published.TUNED,
        "official": published.OFFICIAL_SMALL,
    },
    default_weights="tuned",
)
