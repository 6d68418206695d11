"""What segzoo knows of U²-Net and U²-Netp.

Differences from the authors' repository and from other write-ups of it, all by declaration:
the network returns logits; the picture is divided by its own maximum and the map stretched to 0..1
(`image_max`, `minmax`) because the authors' data_loader.py and u2net_test.py do so; a constant map,
where their code divides by zero, is left as it is; the resize blends the border with zero and does
not blur first, as in the version of scikit-image that they pin. `pool="floor"` is a variant seen in
write-ups, which differs at odd sizes only.
"""

from dataclasses import replace

from segzoo.spec import (
    Dataset,
    Metric,
    ModelSpec,
    Option,
    Paper,
    Postprocess,
    Preprocess,
    Recipe,
    TaskDefaults,
    Weights,
)

PAPER = Paper(
    title="U²-Net: Going deeper with nested U-structure for salient object detection",
    authors="Qin, Zhang, Huang, Dehghan, Zaiane, Jagersand",
    year=2020,
    arxiv="2005.09007",
    code="https://github.com/xuebinqin/U-2-Net/tree/ac7e1c8",
    code_license="Apache-2.0",
)

# ImageNet's mean and standard deviation, as in the authors' data_loader.py (ToTensorLab, flag 0).
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

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
    preprocess=Preprocess(
        size=(320, 320),
        resize="stretch",
        antialias="none",
        border="zero",
        rescale="image_max",
        mean=MEAN,
        std=STD,
    ),
    num_classes=1,
    num_parameters=44_009_869,
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
    head=("heads.", "fuse."),
    stem=("encoder.0.conv_in.0.",),
)

# Trained by training/train_duts.py, which says how; measured by `segzoo eval`. The run was
# begun for 4,500 steps and shortened on its way: to 3,600 after 2,600, to 3,200 after 2,800. The
# size of 176 pixels is the best of 144, 160, 176 and 192 on the validation split of DUTS-TR.
_ECSSD = "850 of ECSSD's 1,000 pictures, long side 320"
_DUTS_TE = "200 of DUTS-TE's 5,019 pictures"
_PROTOCOL = "beta^2 = 0.3, maps of 8 bits stretched to 0..255, curves averaged over pictures"
_DUTS = Weights(
    bundled="segzoo_u2net:weights/u2netp.duts.safetensors",
    sha256="a512b2e9b295d3a741fb8ebc5d591aa72c0d3023e446f2890b5b429fac785f94",
    dtype="float16",
    task="saliency",
    preprocess=Preprocess(size=(176, 176), resize="stretch", mean=MEAN, std=STD),
    postprocess=Postprocess(),
    classes=("salient object",),
    trained_on=(
        Dataset(name="DUTS-TR", license="not stated", url="http://saliencydetection.net/duts/"),
    ),
    metrics=(
        Metric(name="max F-beta", value=0.8199, split=_ECSSD, protocol=_PROTOCOL),
        Metric(name="MAE", value=0.0989, split=_ECSSD, protocol=_PROTOCOL),
        Metric(name="max F-beta", value=0.6914, split=_DUTS_TE, protocol=_PROTOCOL),
        Metric(name="MAE", value=0.1269, split=_DUTS_TE, protocol=_PROTOCOL),
    ),
    license="Apache-2.0",
    source="trained from random initial values by this project",
    recipe="plugins/segzoo-u2net/training/train_duts.py DUTS_TR_FOLDER RUN_FOLDER --steps 3200",
    notes="A start, not the paper's quality: 92 minutes on 2 CPU cores that had other work too, "
    "51,200 pictures of 112 to 192 pixels a side. A centred blob has max F-beta 0.552 and MAE "
    "0.306 on the same ECSSD pictures; the paper's U²-Netp has 0.943 and 0.041 on all 1,000 at "
    "full size. Objects in several parts, thin structures and subjects that fill the picture "
    "come out incomplete.",
)

U2NETP = replace(
    U2NET,
    summary="salient objects and cut-outs; the small U²-Net, weights embedded",
    builder="segzoo_u2net.model:u2netp",
    num_parameters=1_131_181,
    weights={"duts": _DUTS},
    default_weights="duts",
)
