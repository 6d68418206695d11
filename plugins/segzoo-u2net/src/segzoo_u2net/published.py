"""The weights of U²-Net and U²-Netp: those that come with it, and the authors' own.

How the first were made stands in docs/results.md. The authors' are fetched when they are asked for,
from where rembg serves them (docs/convert.md).
"""

from dataclasses import replace

from segzoo.spec import Dataset, Graph, Metric, Postprocess, Preprocess, Weights

# ImageNet's mean and standard deviation, as in the authors' data_loader.py (ToTensorLab, flag 0).
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# What the authors' code makes of a picture.
AS_AUTHORS = Preprocess(
    size=(320, 320),
    resize="stretch",
    antialias="none",
    border="zero",
    rescale="image_max",
    mean=MEAN,
    std=STD,
)

_ECSSD = "850 of ECSSD's 1,000 pictures, long side 320"
_DUTS_TE = "200 of DUTS-TE's 5,019 pictures"
_PROTOCOL = "maps of 8 bits, each stretched to 0..255; version 2 of segzoo's metrics"
_MEANS = f"F of the mean precision and recall, beta^2 = 0.3; {_PROTOCOL}"
_CURVES = f"the mean of the pictures' F, beta^2 = 0.3; {_PROTOCOL}"
_MEAN_CURVE = "max F-beta of the mean curve"
_DUTS_TR = Dataset(name="DUTS-TR", license="not stated", url="http://saliencydetection.net/duts/")


def _measured(split: str, max_f: float, of_the_mean: float, mae: float) -> tuple[Metric, ...]:
    """What records of salient objects state of a set of pictures."""
    return (
        Metric(name="max F-beta", value=max_f, split=split, protocol=_MEANS),
        Metric(name=_MEAN_CURVE, value=of_the_mean, split=split, protocol=_CURVES),
        Metric(name="MAE", value=mae, split=split, protocol=_PROTOCOL),
    )


# Trained by training/train_duts.py, which says how; measured by `segzoo eval`. The run was
# begun for 4,500 steps and shortened on its way: to 3,600 after 2,600, to 3,200 after 2,800. The
# size of 176 pixels is the best of 144, 160, 176 and 192 on the validation split of DUTS-TR.
DUTS = Weights(
    bundled="segzoo_u2net:weights/u2netp.duts.safetensors",
    sha256="a512b2e9b295d3a741fb8ebc5d591aa72c0d3023e446f2890b5b429fac785f94",
    dtype="float16",
    task="saliency",
    preprocess=Preprocess(size=(176, 176), resize="stretch", mean=MEAN, std=STD),
    postprocess=Postprocess(),
    classes=("salient object",),
    trained_on=(_DUTS_TR,),
    metrics=(
        *_measured(_ECSSD, 0.8457, 0.8199, 0.0989),
        *_measured(_DUTS_TE, 0.7359, 0.6914, 0.1269),
    ),
    license="Apache-2.0",
    source="trained from random initial values by this project",
    recipe="plugins/segzoo-u2net/training/train_duts.py DUTS_TR_FOLDER RUN_FOLDER --steps 3200",
    notes="A start, not the paper's quality: 92 minutes on 2 CPU cores that had other work too, "
    "51,200 pictures of 112 to 192 pixels a side. A centred blob has max F-beta 0.591 and MAE "
    "0.306 on the same ECSSD pictures; the paper's U²-Netp has 0.943 and 0.041 on all 1,000 at "
    "full size. Objects in several parts, thin structures and subjects that fill the picture "
    "come out incomplete.",
)

_DRIVE = Dataset(
    name="DRIVE",
    license="research and education only",
    url="https://drive.grand-challenge.org/",
)
_DRIVE_TEST = "DRIVE, 17 of its 20 test pictures, the first observer"
_PIXELS = "segzoo eval, over all pixels of the set"

DRIVE = Weights(
    bundled="segzoo_u2net:weights/u2netp.drive.safetensors",
    sha256="a04364b96cffc6bed3c02c5cc9b61a1fb4a9056fe1d1a1760ae0bfe06cc302fd",
    dtype="float16",
    preprocess=replace(AS_AUTHORS, size=(576, 576)),
    classes=("vessel",),
    trained_on=(_DRIVE,),
    metrics=(
        Metric(name="Dice", value=0.7978, split=_DRIVE_TEST, protocol=_PIXELS),
        Metric(name="IoU", value=0.6637, split=_DRIVE_TEST, protocol=_PIXELS),
    ),
    license="Apache-2.0",
    source="trained from random initial values by this project",
    recipe="segzoo train u2netp --recipe vessels crop=160 batch_size=8 precision=bf16 "
    "--data 'drive:drive?split=train&val=0.2' --eval-every 100 --channels-last",
    notes="Vessels of the retina in pictures of one camera, at about its size of 565x584; 14 "
    "pictures were trained on, for 23 minutes of one CPU core. The finest vessels are missed. No "
    "medical device.",
)

DRIVE_FOV = Weights(
    bundled="segzoo_u2net:weights/u2netp.drive_fov.safetensors",
    sha256="e56e331f9e5188a72371dcf770bc34bc5003a09ddb7ade5dc160f252d300f15f",
    dtype="float16",
    preprocess=replace(AS_AUTHORS, size=(160, 160)),
    classes=("field of view",),
    trained_on=(_DRIVE,),
    metrics=(
        Metric(name="Dice", value=0.9955, split=_DRIVE_TEST, protocol=_PIXELS),
        Metric(name="IoU", value=0.9911, split=_DRIVE_TEST, protocol=_PIXELS),
    ),
    license="Apache-2.0",
    source="trained from random initial values by this project",
    recipe="segzoo train u2netp --recipe seed steps=1000 size=160 crop=144 precision=bf16 "
    "--data 'drive:drive?split=train&target=fov&val=0.2' --eval-every 100 --channels-last",
    notes="What the camera sees of the retina, without the black around it; 14 pictures of one "
    "camera were trained on, for 24 minutes of one CPU core. No medical device.",
)

_CCP = Dataset(
    name="Clothing Co-Parsing",
    license="Apache-2.0",  # of its repository; whose the photographs are is not stated
    url="https://github.com/bearpaw/clothing-co-parsing",
)
_CCP_TEST = "Clothing Co-Parsing, 171 pictures held out; jeans, leggings and pants"

TROUSERS = Weights(
    bundled="segzoo_u2net:weights/u2netp.trousers.safetensors",
    sha256="d718dbc93261d39bd1592dc9bbff4415190f2b7ee25501f57812d1bcc60b1b1e",
    dtype="float16",
    task="binary",
    preprocess=DUTS.preprocess,
    postprocess=Postprocess(threshold=0.25),  # the best on the pictures that chose the step
    classes=("trousers",),
    trained_on=(_CCP, _DUTS_TR),
    metrics=(
        Metric(name="Dice", value=0.71, split=_CCP_TEST, protocol=_PIXELS),
        Metric(name="IoU", value=0.5503, split=_CCP_TEST, protocol=_PIXELS),
    ),
    license="Apache-2.0",
    source="trained from u2netp.duts by this project",
    recipe="segzoo train u2netp.duts --task binary --recipe duts_cpu "
    """'loss.parts=[["binary_cross_entropy",1.0],["dice",1.0]]' """
    "steps=500 batch_size=10 warmup=50 size=176 lr=1e-3 ema=0.98 eval_metric=iou "
    "--data 'folder:clothing_ccp/train?masks=masks_clothing59&values=*,25|27|31&classes=trousers"
    "&val=0.1' --eval-every 100 --channels-last",
    notes="A start: 20 minutes of one CPU core after those of u2netp.duts. It takes dark "
    "tights for trousers and overlooks bright ones: pink, yellow, brown.",
)

_SERVED = "https://github.com/danielgatis/rembg/releases/download/v0.0.0"
_AUTHORS = "the authors of U²-Net; the ONNX file that rembg serves"
_NOT_SEEN = "The file at the address was not seen by this project, only its hash."

OFFICIAL_SMALL = Weights(
    url=f"{_SERVED}/u2netp.onnx",
    sha256="309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
    converted_sha256="77c862aba3d04a75a932210cb5418ef227016822285b734722f7ecc522ae422b",
    classes=DUTS.classes,
    trained_on=(_DUTS_TR,),
    metrics=(
        *_measured(_ECSSD, 0.9341, 0.9179, 0.0445),
        *_measured(_DUTS_TE, 0.8508, 0.8229, 0.0601),
    ),
    license="Apache-2.0",
    source=_AUTHORS,
)

# What int8 loses of what fp32 reaches, in the runtime that loses more.
_HELD_OUT = "DUTS-TR, 528 pictures held out; the authors' weights were trained on them too"
_BESIDE = "onnxruntime and OpenVINO in int8 beside fp32, max F-beta 0.9818 and MAE 0.0148"
_LOST = (
    Metric(name="max F-beta lost", value=0.0001, split=_HELD_OUT, protocol=f"{_BESIDE}; {_MEANS}"),
    Metric(name="MAE gained", value=0.0002, split=_HELD_OUT, protocol=f"{_BESIDE}; {_PROTOCOL}"),
)

TUNED = Weights(
    bundled="segzoo_u2net:weights/u2netp.tuned.safetensors",
    sha256="b5669e2caada68ff48b729550b631067dc938983eb86af1133eb68077a10168c",
    dtype="float16",
    graphs={
        "int8": Graph(
            bundled="segzoo_u2net:weights/u2netp.tuned.int8.onnx",
            sha256="e7280ce127497d5a6912097e813077bf766bdf39f7ea426a383b381d748b8f86",
            metrics=_LOST,
        ),
    },
    classes=DUTS.classes,
    trained_on=(_DUTS_TR,),
    metrics=(
        *_measured(_ECSSD, 0.936, 0.9194, 0.0438),
        *_measured(_DUTS_TE, 0.8508, 0.8234, 0.0599),
    ),
    license="Apache-2.0",
    source="trained on from the weights of the authors of U²-Net (u2netp.official) by this project",
    recipe="segzoo train u2netp.official --task saliency --recipe duts_tuned "
    "--data 'shards:duts-tr/duts-tr-{00..02}.tar?values=0,255&classes=salient object&val=0.05' "
    "--channels-last -o RUN; python plugins/segzoo-u2net/training/mix_duts.py RUN/model OUT",
    notes="A quarter of the way from the authors' weights to those of 200 steps more, 34 minutes "
    "of one CPU core. On pictures of DUTS-TR that were held out of those steps, but not of the "
    "authors' training: max F-beta 0.982 and MAE 0.015, as the authors' 0.982 and 0.014; all of "
    "the way, 0.977 and 0.020.",
)

OFFICIAL = replace(
    OFFICIAL_SMALL,
    url=f"{_SERVED}/u2net.onnx",
    sha256="8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491",
    converted_sha256=None,
    metrics=(),
    notes=_NOT_SEEN,
)

HUMAN = replace(
    OFFICIAL,
    url=f"{_SERVED}/u2net_human_seg.onnx",
    sha256="01eb6a29a5c4d8edb30b56adad9bb3a2a0535338e480724a213e0acfd2d1c73c",
    classes=("person",),
    trained_on=(
        Dataset(
            name="Supervisely Person",
            license="not stated",
            url="https://github.com/xuebinqin/U-2-Net",
        ),
    ),
    notes=f"People, whole or in part. {_NOT_SEEN}",
)
