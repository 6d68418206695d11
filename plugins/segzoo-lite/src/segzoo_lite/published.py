"""The weights that come with the light networks; how they were made stands in docs/results.md."""

from dataclasses import replace

from segzoo.spec import Dataset, Graph, Metric, Preprocess, Weights

PREPROCESS = Preprocess(
    size=(320, 320), resize="stretch", rescale="none", mean=(127.0,), std=(128.0,)
)

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

# What int8 loses of what fp32 reaches on pictures that neither was trained on nor int8 made of.
_HELD_OUT = "DUTS-TR, 528 pictures held out"
_BESIDE = "OpenVINO in int8, which loses more than onnxruntime, beside fp32"


def _lost(*, max_f: float, mae: float, beside: str) -> tuple[Metric, ...]:
    """beside: what fp32 has of both."""
    return tuple(
        Metric(name=name, value=value, split=_HELD_OUT, protocol=f"{_BESIDE}: {beside}; {protocol}")
        for name, value, protocol in (
            ("max F-beta lost", max_f, _MEANS),
            ("MAE gained", mae, _PROTOCOL),
        )
    )


def _measured(
    *, ecssd: tuple[float, float, float], duts_te: tuple[float, float, float]
) -> tuple[Metric, ...]:
    """Of each set the max F-beta, that of the mean curve, and the MAE."""
    names = {"max F-beta": _MEANS, "max F-beta of the mean curve": _CURVES, "MAE": _PROTOCOL}
    return tuple(
        Metric(name=name, value=value, split=split, protocol=protocol)
        for split, values in ((_ECSSD, ecssd), (_DUTS_TE, duts_te))
        for (name, protocol), value in zip(names.items(), values, strict=True)
    )


LITE0_DUTS = Weights(
    bundled="segzoo_lite:weights/lite0.duts.safetensors",
    sha256="d74adce304ba9798277b23adae632e6c1534a99b31cfe09870f15458ec8a5759",
    dtype="float16",
    task="saliency",
    classes=("salient object",),
    trained_on=(DUTS_TR, IMAGENET),
    metrics=_measured(ecssd=(0.9257, 0.9105, 0.0512), duts_te=(0.8657, 0.844, 0.0621)),
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

LITE0_FINE = Weights(
    bundled="segzoo_lite:weights/lite0.fine.safetensors",
    sha256="7c875ebdb15c6964836eba06cba090ee716e2650270d4b443ca57bce2a00d3a3",
    dtype="float16",
    graphs={
        "fp32": Graph(
            bundled="segzoo_lite:weights/lite0.fine.fp32.onnx",
            sha256="43afd522d9af7e8220d5eae420a3825d34ce0914d9612898d9233da1e25a7a0e",
        ),
        "int8": Graph(
            bundled="segzoo_lite:weights/lite0.fine.int8.onnx",
            sha256="b654e0291a00b56e67680357db5f6937ebda310a9cd857b1e2cfc6ecd4ef0b52",
            metrics=_lost(max_f=0.0004, mae=-0.0002, beside="0.9487 and 0.0361"),
        ),
    },
    task="saliency",
    classes=("salient object",),
    trained_on=(DUTS_TR, IMAGENET),
    metrics=_measured(ecssd=(0.928, 0.9148, 0.0461), duts_te=(0.8659, 0.8461, 0.0571)),
    license="Apache-2.0",
    source="trained on from lite0.duts by this project",
    recipe="segzoo train lite0.duts --task saliency --recipe duts_fine "
    "--data 'shards:duts-tr/duts-tr-{00..02}.tar?values=0,255&classes=salient object&val=0.05' "
    "--channels-last --eval-every 275 seed=1 steps=1100 lr=6e-4 -o RUN; "
    "python plugins/segzoo-lite/training/mix_fine.py RUN/model OUT",
    notes="Three quarters of the way from lite0.duts to what 1,100 steps more made of it, 84 "
    "minutes of one CPU core; then the final logits times 1.25, so that maps are less gray: no "
    "pixel's rank and no mask at 0.5 changes by that, and two thirds of the smaller MAE come of "
    "it. Both were chosen on 528 pictures of DUTS-TR held out of the training (max F-beta 0.949, "
    "MAE 0.036; lite0.duts 0.948 and 0.040). A larger scale has a smaller MAE still, and cuts hair "
    "and fur harder. Of many that are alike (balls, a crowd, rows of chairs) all are taken where "
    "one is meant; what touches a person (a car's door, a sentry box) may come along; gaps between "
    "feathers are filled.",
)

LITE2_DUTS = Weights(
    bundled="segzoo_lite:weights/lite2.duts.safetensors",
    sha256="c18c2742a40ea2b47482f4ba693331ab11d574733e2bdcbc944bbab264cdb10d",
    dtype="float16",
    task="saliency",
    classes=("salient object",),
    trained_on=(DUTS_TR, IMAGENET),
    metrics=_measured(ecssd=(0.9326, 0.9234, 0.0434), duts_te=(0.8668, 0.8472, 0.0594)),
    license="Apache-2.0",
    source="trained by this project; the encoder began with EfficientNet-Lite2's ImageNet weights",
    recipe="python results/run.py lite2.duts fine --data FOLDER --work WORK; "
    "python plugins/segzoo-lite/training/mix_fine.py WORK/lite2.duts/fine/model OUT "
    "--begun lite2 --share 1",
    notes="105 minutes of one CPU core: 41,600 pictures at windows of 160 pixels, then 18,400 at "
    "288; then the final logits times 1.25, as in lite0.fine. On 528 pictures of DUTS-TR held out "
    "of the training it has max F-beta 0.947 and MAE 0.036, where lite0.fine, trained for longer, "
    "has 0.949 and 0.036. On ECSSD it is better than that in both, and its MAE is smaller than "
    "that of the authors' U²-Netp; on DUTS-TE its max F-beta is as high and its MAE a little "
    "larger. Of the demo's photos it finds the cup's saucer and the cat's chest, of which "
    "lite0.fine loses a part.",
)

LITE2_FINE = Weights(
    bundled="segzoo_lite:weights/lite2.fine.safetensors",
    sha256="3cdab84ef2cedc8da4ffac8fb757ae326f08181954a8a58f00a0b85ae0541c52",
    dtype="float16",
    task="saliency",
    classes=("salient object",),
    trained_on=(DUTS_TR, IMAGENET),
    metrics=_measured(ecssd=(0.9339, 0.9249, 0.0424), duts_te=(0.8703, 0.8506, 0.0556)),
    license="Apache-2.0",
    source="trained on from lite2.duts by this project",
    recipe="segzoo train lite2.duts --task saliency --recipe duts_fine "
    "--data 'shards:duts-tr/duts-tr-{00..02}.tar?values=0,255&classes=salient object&val=0.05' "
    "--channels-last --eval-every 280 seed=1 steps=840 lr=6e-4 -o RUN; "
    "python plugins/segzoo-lite/training/mix_fine.py RUN/model OUT --begun lite2.duts --share 0.5 "
    "--scale 1.15",
    notes="Half of the way from lite2.duts to the best of what 840 steps more made of it, in 100 "
    "minutes of one CPU core; then the final logits times 1.15. Both were chosen on 528 pictures "
    "of DUTS-TR held out of the training (max F-beta 0.949, MAE 0.035; lite2.duts 0.947 and "
    "0.036). Beside the authors' U²-Netp on the same pictures: ahead on DUTS-TE in both, on ECSSD "
    "in the MAE, and 0.0002 behind in max F-beta, at a fifteenth of the multiply-adds. Of many "
    "that are alike (balls, a crowd, rows of chairs) all are taken where one is meant.",
)

LITE2_FINE_352 = replace(
    LITE2_FINE,
    graphs={
        "fp32": Graph(
            bundled="segzoo_lite:weights/lite2.fine_352.fp32.onnx",
            sha256="73918e42c4be42d049cd5c68f154cbaa4535432a64d793f33e66ef1f36e4e4b1",
        ),
        "int8": Graph(
            bundled="segzoo_lite:weights/lite2.fine_352.int8.onnx",
            sha256="85b42dfa3cec123829b0dbcfc092f2f6cea6d25eab4cfa7ff43faae5b59f6bb0",
            metrics=_lost(max_f=0.0, mae=0.0001, beside="0.9502 and 0.0340"),
        ),
    },
    preprocess=replace(PREPROCESS, size=(352, 352)),
    metrics=_measured(ecssd=(0.9346, 0.9258, 0.0405), duts_te=(0.8754, 0.8568, 0.0528)),
    source="the weights of lite2.fine",
    notes="The weights of lite2.fine, which see 352 pixels: by a fifth more work a larger max "
    "F-beta and a smaller MAE on the 528 pictures held out (0.950 and 0.034; at 320 pixels 0.949 "
    "and 0.035, at 384 0.949 and 0.034). Beside the authors' U²-Netp on the same pictures: ahead "
    "on ECSSD and DUTS-TE, in max F-beta and in MAE, at a twelfth of the multiply-adds. Of many "
    "that are alike (balls, a crowd, rows of chairs) all are taken where one is meant.",
)
