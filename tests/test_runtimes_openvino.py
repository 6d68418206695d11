"""What OpenVINO has to be told."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from segzoo.predict.runtimes.openvino import OpenVinoRuntime

pytest.importorskip("openvino")


def attention():
    """x (N, C, h, w) -> softmax(x xᵀ) x, of each channel's rows."""
    x, y = (
        helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, 1, None, None]) for n in "xy"
    )
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["x", "t"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "x"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [x], [y])
    opset = helper.make_opsetid("", 18)
    return helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString()


def test_attention_over_many_is_right_after_attention_over_one():
    runtime = OpenVinoRuntime(attention)
    random = np.random.default_rng(0)
    for count in (1, 33, 1, 64):
        x = random.random((1, 1, count, 32), np.float32)
        weights = np.exp(x @ x.swapaxes(2, 3))
        wanted = weights / weights.sum(3, keepdims=True) @ x
        np.testing.assert_allclose(runtime(x)[0], wanted, rtol=1e-4)
