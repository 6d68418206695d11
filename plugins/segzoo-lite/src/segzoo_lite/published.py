"""The weights that come with the light networks; how they were made stands in docs/results.md."""

from segzoo.spec import Dataset, Metric, Weights

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

LITE0_DUTS = Weights(
    bundled="segzoo_lite:weights/lite0.duts.safetensors",
    sha256="SHA",
    dtype="float16",
    task="saliency",
    classes=("salient object",),
    trained_on=(DUTS_TR, IMAGENET),
    metrics=(
        Metric(name="max F-beta", value=0.1, split=_ECSSD, protocol=_MEANS),
        Metric(name=_MEAN_CURVE, value=0.2, split=_ECSSD, protocol=_CURVES),
        Metric(name="MAE", value=0.3, split=_ECSSD, protocol=_PROTOCOL),
        Metric(name="max F-beta", value=0.4, split=_DUTS_TE, protocol=_MEANS),
        Metric(name=_MEAN_CURVE, value=0.5, split=_DUTS_TE, protocol=_CURVES),
        Metric(name="MAE", value=0.6, split=_DUTS_TE, protocol=_PROTOCOL),
    ),
    license="Apache-2.0",
    source="trained by this project; the encoder began with EfficientNet-Lite0's ImageNet weights",
    recipe="python results/run.py lite0.duts --data FOLDER",
    notes="NOTES",
)
