"""The weights that come with the light networks; how they were made stands in docs/results.md."""

from segzoo.spec import Dataset, Graph, Metric, Weights

IMAGENET = Dataset(
    name="ImageNet-1K",
    license="non-commercial research and education",
    url="https://image-net.org/download",
)
DUTS_TR = Dataset(name="DUTS-TR", license="not stated", url="http://saliencydetection.net/duts/")

# As the records of other networks say them, to the letter: only then are they compared.
_ECSSD = "850 of ECSSD's 1,000 pictures, long side 320"
_DUTS_TE = "200 of DUTS-TE's 5,019 pictures"
_PROTOCOL = "maps of 8 bits, each stretched to 0..255; version 2 of segzoo's metrics"
_MEANS = f"F of the mean precision and recall, beta^2 = 0.3; {_PROTOCOL}"
_CURVES = f"the mean of the pictures' F, beta^2 = 0.3; {_PROTOCOL}"
_MEAN_CURVE = "max F-beta of the mean curve"

# What int8 loses of what fp32 reaches on pictures that neither was trained on nor int8 made of.
_HELD_OUT = "DUTS-TR, 528 pictures held out"
_BESIDE = "onnxruntime and OpenVINO in int8 beside fp32, max F-beta 0.9477 and MAE 0.0401"
_LOST = (
    Metric(name="max F-beta lost", value=0.0006, split=_HELD_OUT, protocol=f"{_BESIDE}; {_MEANS}"),
    Metric(name="MAE gained", value=0.0005, split=_HELD_OUT, protocol=f"{_BESIDE}; {_PROTOCOL}"),
)

LITE0_DUTS = Weights(
    bundled="segzoo_lite:weights/lite0.duts.safetensors",
    sha256="d74adce304ba9798277b23adae632e6c1534a99b31cfe09870f15458ec8a5759",
    dtype="float16",
    graphs={
        "fp32": Graph(
            bundled="segzoo_lite:weights/lite0.duts.fp32.onnx",
            sha256="f898cc161494f7657acc340d830254c5fdb5c8a26a9ab26eb4b7f7c7308996d8",
        ),
        "int8": Graph(
            bundled="segzoo_lite:weights/lite0.duts.int8.onnx",
            sha256="e61aa786abade8acddac562d19b0d053d9ac6a2692e6bd817972fd8dea077ecb",
            metrics=_LOST,
        ),
    },
    task="saliency",
    classes=("salient object",),
    trained_on=(DUTS_TR, IMAGENET),
    metrics=(
        Metric(name="max F-beta", value=0.9257, split=_ECSSD, protocol=_MEANS),
        Metric(name=_MEAN_CURVE, value=0.9105, split=_ECSSD, protocol=_CURVES),
        Metric(name="MAE", value=0.0512, split=_ECSSD, protocol=_PROTOCOL),
        Metric(name="max F-beta", value=0.8657, split=_DUTS_TE, protocol=_MEANS),
        Metric(name=_MEAN_CURVE, value=0.844, split=_DUTS_TE, protocol=_CURVES),
        Metric(name="MAE", value=0.0621, split=_DUTS_TE, protocol=_PROTOCOL),
    ),
    license="Apache-2.0",
    source="trained by this project; the encoder began with EfficientNet-Lite0's ImageNet weights",
    recipe="python results/run.py lite0.duts --data FOLDER",
    notes="132 minutes of one CPU core: 41,600 pictures at windows of 160 pixels, then 24,000 at "
    "288, where the step was chosen on pictures of DUTS-TR held out of the training (max F-beta "
    "0.948, MAE 0.040). Beside the authors' U²-Netp on the same pictures: a higher max F-beta on "
    "DUTS-TE, a lower one on ECSSD, a larger MAE on both, at a twentieth of the multiply-adds. Of "
    "many that are alike (balls, a crowd, rows of chairs) all are taken where one is meant; what "
    "touches a person (a car's door, a sentry box) may come along; gaps between feathers are "
    "filled.",
)
