"""What segzoo knows of the FCN on VGG16.

The article trains the decoder alone, on ImageNet's VGG16, for the trimaps of the Oxford-IIIT pets.

Kept from its code: the sizes, the resize without smoothing, the ReLU after every convolution of the
decoder, the optimiser. Mended: it computes `x / 127.5 - 1` and throws the result away, so that its
network sees 0..255; here pictures have the mean and deviation that timm's VGG16 was trained with,
and `pixels="0..255"` is the article's way. It resizes trimaps bilinearly, which invents background
between foreground and border; here masks are resized to the nearest pixel. It pairs two lists of
files that glob gave in any order; our reader pairs them by name.

The frozen backbone is random unless ImageNet's weights are asked for (`backbone="imagenet"`, or
`--backbone imagenet` of `segzoo train`); without them train everything (`frozen=none`).
"""

from segzoo.spec import (
    Dataset,
    Json,
    ModelSpec,
    Option,
    Paper,
    Postprocess,
    Preprocess,
    Recipe,
    TaskDefaults,
    Weights,
)

IMAGENET = Dataset(
    name="ImageNet-1K",
    license="non-commercial research and education",
    url="https://image-net.org/download",
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
    macs=23_829_184_512,
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
    backbone={
        # The file that timm's vgg16 takes: torchvision's VGG16_Weights.IMAGENET1K_V1.
        "imagenet": Weights(
            repo="timm/vgg16.tv_in1k",
            revision="b8d8aa2dd860af9233c8c67385a8097fd6c35d3f",
            file="model.safetensors",
            sha256="57b026918159a6bf9faf8405c3a551903768e7138989d9c6224a14227203fad8",
            trained_on=(IMAGENET,),
            license="BSD-3-Clause",
            source="https://docs.pytorch.org/vision/stable/models/vgg.html",
        ),
        # The same values in torchvision's own file, of whose hash its name has the first digits.
        "torchvision": Weights(
            file="torchvision's vgg16-397923af.pth",
            sha256="",
            trained_on=(IMAGENET,),
            license="BSD-3-Clause",
            source="https://docs.pytorch.org/vision/stable/models/vgg.html",
        ),
    },
    stem=("backbone.0.",),
    frozen=("backbone.",),
    requires={"timm": "timm>=1.0.20"},
)
