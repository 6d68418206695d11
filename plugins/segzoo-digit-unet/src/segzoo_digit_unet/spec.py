"""What segzoo knows of the digit U-Net.

The article's picture of a prediction is written by OpenCV, so its colours stand there in the order
blue, green, red; PALETTE has them in the order red, green, blue.
"""

from segzoo.spec import (
    Dataset,
    Expect,
    Metric,
    ModelSpec,
    Paper,
    Postprocess,
    Preprocess,
    Recipe,
    Suits,
    TaskDefaults,
    Weights,
)

CLASSES = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "background")
PALETTE = (
    (255, 0, 255),  # purplish red
    (255, 0, 0),  # the article calls it orange
    (0, 255, 0),  # green
    (203, 192, 255),  # and this pink
    (255, 255, 225),  # nearly white
    (155, 155, 155),  # gray
    (255, 255, 0),  # yellow
    (128, 0, 120),  # violet
    (0, 0, 255),  # dark blue
    (0, 0, 0),  # black
    (0, 255, 255),  # light blue
)

_TEST = "M2NIST, test split, 500 pictures of 64x84"
_PROTOCOL = "segzoo eval, over all pixels of the set"
_M2NIST = Weights(
    bundled="segzoo_digit_unet:weights/digit_unet.m2nist.safetensors",
    sha256="96c194d8a4dd3a7ff937cc853d250426c8e35c8f45d36f36da3ab7332fded912",
    dtype="float16",
    classes=CLASSES,
    palette=PALETTE,
    trained_on=(
        Dataset(
            name="M2NIST",
            license="CC-BY-SA-4.0",  # by a page of the set; the repository it is in says MIT
            url="https://github.com/leonardohaig/m2nist-segmentation",
        ),
    ),
    metrics=(
        Metric(name="pixel accuracy", value=0.9978, split=_TEST, protocol=_PROTOCOL),
        Metric(name="mean IoU of the ten digits", value=0.9519, split=_TEST, protocol=_PROTOCOL),
    ),
    license="Apache-2.0",
    source="trained from random initial values by this project",
    recipe="segzoo train digit_unet --recipe fast steps=6000 batch_size=16 precision=bf16 "
    "--data arrays:m2nist/train.npz --val arrays:m2nist/val.npz",
    expect=(
        Expect(
            data="arrays:m2nist/test.npz",
            metric="pixel_accuracy",
            value=0.9978,
            tolerance=0.001,  # as far as three seeds of the recipe are apart, here and below
            source="docs/results.md",
        ),
        Expect(
            data="arrays:m2nist/test.npz",
            metric="mean_iou",
            value=0.9561,
            tolerance=0.016,
            source="docs/results.md",
        ),
    ),
    notes="24 minutes on 2 CPU cores that had other work too. It knows digits on a black "
    "background, as M2NIST has them, and no others.",
)

DIGIT_UNET = ModelSpec(
    summary="which digit each pixel belongs to; the plugin to be read first",
    paper=Paper(
        title="U-Net: Convolutional Networks for Biomedical Image Segmentation",
        authors="Ronneberger, Fischer, Brox",
        year=2015,
        arxiv="1505.04597",
    ),
    builder="segzoo_digit_unet.model:digit_unet",
    blocks={"down": "segzoo_digit_unet.blocks:Down", "up": "segzoo_digit_unet.blocks:Up"},
    tasks={
        "multiclass": TaskDefaults(
            loss="segzoo_digit_unet.loss:cross_entropy",
            postprocess=Postprocess(activation="softmax", threshold=None),
        ),
        "binary": TaskDefaults(
            loss="segzoo_digit_unet.loss:binary_cross_entropy", postprocess=Postprocess()
        ),
    },
    preprocess=Preprocess(mode="L"),
    in_channels=1,
    num_classes=11,
    num_parameters=3_556_349,
    macs=9_284_681_728,
    recipes={
        # Ours, for a CPU: the article's quality in a tenth of an hour. Small batches, as what is
        # learned depends on the number of steps far more than on their size.
        "fast": Recipe(
            steps=3000,
            batch_size=8,
            optimizer=("adamw", {}),
            lr=4e-3,
            weight_decay=1e-2,
            schedule=("cosine", {}),
            warmup=200,
            ema=0.98,
            eval_metric="mean_iou",
        ),
        "seed": Recipe(
            epochs=200,
            batch_size=16,
            sampling="replacement",
            # The article writes "adadelta" alone: tf.keras makes this of it (Keras 2 without
            # TensorFlow's copy has a rate of 1).
            optimizer=("adadelta", {"rho": 0.95, "eps": 1e-7}),
            lr=1e-3,
            eval_metric="pixel_accuracy",
            expect=Expect(
                data="M2NIST, the last 100 of 5,000 pictures",
                metric="pixel_accuracy",
                value=0.987,
                tolerance=0.005,
                source='Twilight737, "Keras-Unet", blog.csdn.net: "about 0.987"',
            ),
        ),
    },
    suits=(
        Suits(
            when=("channels == 1", "classes >= 3", "height <= 128", "width <= 128"),
            why="small gray pictures of several classes",
            recipe="fast",
        ),
    ),
    weights={"m2nist": _M2NIST},
    default_weights="m2nist",
    head=("head.",),
    stem=("encoder.0.0.",),
)
