"""What segzoo knows of the FCN on VGG16.

The article trains the decoder alone, on ImageNet's VGG16, for the trimaps of the Oxford-IIIT pets.

Kept from its code: the sizes, the resize without smoothing, the ReLU after every convolution of the
decoder, the optimiser. Mended: it computes `x / 127.5 - 1` and throws the result away, so that its
network sees 0..255; here pictures have the mean and deviation that timm's VGG16 was trained with,
and `pixels="0..255"` is the article's way. It resizes trimaps bilinearly, which invents background
between foreground and border; here masks are resized to the nearest pixel. It pairs two lists of
files that glob gave in any order; our reader pairs them by name.

No weights of the backbone are declared, for want of a file whose hash we have seen. `load_backbone`
in `model.py` takes timm's file; the README shows how. Without it the frozen backbone is random:
train everything then (`frozen=none`).
"""

from segzoo.spec import (
    Json,
    ModelSpec,
    Option,
    Paper,
    Postprocess,
    Preprocess,
    Recipe,
    TaskDefaults,
)

CLASSES = ("foreground", "background", "border")  # 1, 2, 3 in the trimaps

# timm's configuration of vgg16.tv_in1k: ImageNet's mean and standard deviation.
PREPROCESS = Preprocess(
    size=(224, 224),
    resize="stretch",
    antialias="none",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    multiple_of=32,
)
RAW = Preprocess(
    size=(224, 224), resize="stretch", antialias="none", rescale="none", multiple_of=32
)


def fields(*, pixels: str) -> dict[str, Json]:
    """The fields that follow from the options."""
    return {"preprocess": RAW if pixels == "0..255" else PREPROCESS}


FCN_VGG16 = ModelSpec(
    summary="VGG16 with three skips added on the way up; the backbone is not trained",
    paper=Paper(
        title="Fully Convolutional Networks for Semantic Segmentation",
        authors="Long, Shelhamer, Darrell",
        year=2015,
        arxiv="1411.4038",
    ),
    builder="segzoo_fcn_vgg16.model:fcn_vgg16",
    options={
        "pixels": Option(
            default="imagenet",
            choices=("imagenet", "0..255"),
            help="ImageNet's mean and deviation, or values as they are, as the article has them.",
        )
    },
    variant="segzoo_fcn_vgg16.spec:fields",
    blocks={"up": "segzoo_fcn_vgg16.blocks:Up"},
    tasks={
        "multiclass": TaskDefaults(
            loss="segzoo.losses:cross_entropy",
            postprocess=Postprocess(activation="softmax", threshold=None),
        ),
        "binary": TaskDefaults(
            loss="segzoo.losses:binary_cross_entropy", postprocess=Postprocess()
        ),
        "multilabel": TaskDefaults(
            loss="segzoo.losses:binary_cross_entropy", postprocess=Postprocess()
        ),
    },
    preprocess=PREPROCESS,
    num_classes=len(CLASSES),
    num_parameters=26_369_987,
    recipes={
        "seed": Recipe(
            epochs=5,
            batch_size=16,
            optimizer=("adam", {"eps": 1e-7}),  # Keras's "adam"
            lr=1e-3,
            size=(224, 224),
            eval_metric="pixel_accuracy",
        )
    },
    head=("head.",),
    stem=("backbone.0.",),
    frozen=("backbone.",),
    requires={"timm": "timm>=1.0.20"},
)
