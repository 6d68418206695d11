"""Operators that torch's exporter or a runtime has wrong, in graphs for any size."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from segzoo.predict.artefacts import ready
from segzoo.predict.artefacts.export import to_onnx

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

SIZES = ((1, 1), (7, 5), (33, 20))


class Means(nn.Module):
    """Over bins; None: as many as the map has columns."""

    def forward(self, x):
        pools = [functional.adaptive_avg_pool2d(x, bins) for bins in (1, 2, 3, 6, (4, None))]
        return joined(x, *pools, functional.adaptive_avg_pool1d(x.mean(2), 3)[:, :, None])


class Resized(nn.Module):
    """Antialiased, to a size, to one that follows from the map's, and by a factor."""

    def __init__(self, mode):
        super().__init__()
        self.resize = partial(functional.interpolate, mode=mode, antialias=True)

    def forward(self, x):
        size = (x.shape[2] // 3 + 1, x.shape[3] * 2 + 1)
        by = self.resize(x, scale_factor=(1.7, 2.3), align_corners=True)
        return joined(x, self.resize(x, size=(6, 9)), self.resize(x, size=size), by)


def joined(x, *maps):
    """Each brought to x's size by its nearest values, as channels of one map."""
    return torch.cat([functional.interpolate(each, size=x.shape[2:]) for each in maps], 1)


@pytest.mark.parametrize(
    "network", [Means(), Resized("bilinear"), Resized("bicubic")], ids=["means", "linear", "cubic"]
)
def test_maps_are_torchs_at_sizes_that_were_not_exported(network):
    random = np.random.default_rng(0)
    x = random.random((2, 3, 16, 24), np.float32)
    graph = to_onnx(network, x, any_size=True, small=True)
    for name in ("onnxruntime", "openvino"):
        runtime = ready.started(name, "fp32", lambda: graph)
        for size in SIZES:
            for count in (1, 2):
                x = random.random((count, 3, *size), np.float32)
                (found,) = runtime(x)
                np.testing.assert_allclose(found, network(torch.from_numpy(x)), atol=2e-6)
