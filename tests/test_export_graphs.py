"""What a graph holds around a network is what segzoo does there, in each library that reads it."""

import numpy as np
import pytest
from around import BOX, KINDS, MASKS, SIZE, SIZES, config_of
from onnx import TensorProto, helper

from segzoo.export.before import bands_of
from segzoo.export.formats import openvino_files, run_onnx, run_openvino
from segzoo.export.whole import joined
from segzoo.predict.predictor import Predictor
from segzoo.spec import Postprocess, Preprocess

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

RUNTIMES = {
    "onnxruntime": (lambda graph: {".onnx": graph}, run_onnx),
    "openvino": (openvino_files, run_openvino),
}


def nothing(channels):
    """A network that gives its input."""
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, "h", "w"])
        for name in ("x", "logits")
    )
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["logits"])], "g", [x], [y])
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


def both(runtime, preprocess, postprocess, channels):
    """What a graph gives for pictures, and what a predictor gives."""
    make, run_files = RUNTIMES[runtime]
    config = config_of(preprocess, postprocess, channels)
    bands = bands_of(preprocess, channels)
    files = make(joined(nothing(channels), config, bands))
    predictor = Predictor(
        lambda x, all_heads=False: (x,),
        preprocess=preprocess,
        postprocess=postprocess,
        in_channels=channels,
        num_classes=channels,
    )
    run, random = run_files(files), np.random.default_rng(0)
    for size in SIZES:
        pictures = random.integers(0, 256, (2, *size, bands), np.uint8)
        yield run(pictures), predictor.predict(list(pictures))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("preprocess", "postprocess", "channels"),
    [
        *((Preprocess(**BOX, **kind), MASKS, 3) for kind in KINDS),
        (Preprocess(), MASKS, 3),
        (Preprocess(multiple_of=16, remainder=4), MASKS, 3),
        (Preprocess(**SIZE, multiple_of=20), MASKS, 3),
        (Preprocess(**SIZE, rescale="image_max"), MASKS, 3),
        (Preprocess(**SIZE, rescale="none", mean=(1, 2, 3), std=(90, 80, 70)), MASKS, 3),
        (Preprocess(mode="L"), MASKS, 1),
        (Preprocess(), MASKS, 4),
        (Preprocess(mean=(0.5,), std=(0.1,)), Postprocess(), 3),
        (Preprocess(mean=(0.5,), std=(0.1,)), Postprocess(normalize="minmax"), 1),
        (Preprocess(), Postprocess(activation="softmax", threshold=None), 3),
        (Preprocess(), Postprocess(activation="softmax", threshold=0.4), 3),
    ],
    ids=lambda value: (
        "-".join(v for v in vars(value).values() if type(v) is str)
        if isinstance(value, Preprocess)
        else ""
    ),
)
def test_the_graph_does_what_the_predictor_does(preprocess, postprocess, channels, runtime):
    """For pictures of one pixel, of the network's size, larger, and of another shape."""
    for (likely, masks), wanted in both(runtime, preprocess, postprocess, channels):
        for one, mask, prediction in zip(likely, masks, wanted, strict=True):
            probability = prediction.probability.reshape(one.shape)
            np.testing.assert_allclose(one, probability, rtol=0, atol=2e-5)
            top = np.sort(probability, axis=0)
            threshold = 0.5 if postprocess.threshold is None else postprocess.threshold
            sure = np.abs(top[-1] - threshold) > 1e-4
            sure &= channels == 1 or top[-1] - top[max(-2, -channels)] > 1e-4
            assert (mask == prediction.mask)[sure].all()
