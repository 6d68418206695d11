"""A golden: a small input of a network and the logits that it gave, kept beside its weights.

Hashes say that the bytes are those that were published; a golden says that they still mean what
they meant: the same builder, the same order of layers, the same arithmetic. It is a safetensors
file with "input" (1, C, h, w) and "logits", both float32, made in eval mode on the CPU.

To make one for weights that lie in a plugin, `FILE.safetensors` and `FILE.golden.safetensors`:

    from segzoo.model import golden
    from segzoo import load

    model = load("u2netp.duts")
    golden.write(model.network, model.config, "u2netp.duts.golden.safetensors")
"""

import copy
import dataclasses
import math
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from segzoo.base.strictjson import short
from segzoo.errors import WeightsFormatError, WeightsMismatchError
from segzoo.predict.preprocess import network_size
from segzoo.predict.runtimes.torch import TorchRuntime
from segzoo.saved.config import Config
from segzoo.weights import safetensors as weights

__all__ = ["GOLDEN_NAME", "TOLERANCE", "beside", "deviation", "golden_input", "write"]

GOLDEN_NAME = "golden.safetensors"  # of a published folder
SIDE = 64  # pixels of the picture, at least: small, and yet not nothing after five halvings
TOLERANCE = 1e-4  # how far other processors and versions of torch may take the logits
MAX_SIDE = 2048  # of an input that a stranger chose

SUFFIX = ".safetensors"


def golden_input(config: Config) -> Tensor:
    """The input that goldens are made with: (1, C, h, w) float32, the smallest allowed from 64 up.

    Sines of other lengths in each channel, within -2..2, as a picture with its mean taken off: no
    random numbers, so that every machine and every version makes the same.
    """
    whole = dataclasses.replace(config.preprocess, size=None, resize="none")
    h, w = network_size(SIDE, SIDE, whole)
    y = torch.arange(h, dtype=torch.float64)[:, None]
    x = torch.arange(w, dtype=torch.float64)
    planes = [
        torch.sin(y / (3 + c % 5)) + torch.cos(x / (5 + c % 7) + c)
        for c in range(config.in_channels)
    ]
    return torch.stack(planes)[None].float()


def write(network: nn.Module, config: Config, path: str | PathLike[str]) -> str:
    """Write the golden of a network; gives the file's sha256 in hex.

    WeightsValueError for logits with NaN or infinity, PluginError when the network fails;
    OutputError when the file cannot be written.
    """
    x = golden_input(config)
    return weights.save({"input": x, "logits": _logits(network, x)}, path)


def deviation(network: nn.Module, path: str | PathLike[str]) -> float:
    """How far the network's logits are from those of a golden, at most; infinite for NaN.

    The largest difference, over the golden's largest logit where that is above 1: float32 keeps
    seven digits, wherever the point is. To be held against `TOLERANCE`.

    Errors of `weights.read`; WeightsFormatError for a file that is no golden; WeightsMismatchError
    when the network takes another input or gives other logits; PluginError when it fails.
    """
    stored = weights.read(path)
    x, wanted = stored.get("input"), stored.get("logits")
    if (
        stored.keys() != {"input", "logits"}
        or x is None
        or wanted is None
        or {x.dtype, wanted.dtype} != {torch.float32}
        or x.ndim != 4
        or len(x) != 1
        or max(x.shape) > MAX_SIDE
        or not x.numel()
    ):
        raise WeightsFormatError(
            "this is not a golden",
            file=path,
            found=", ".join(f"{short(n)} {[*t.shape]}" for n, t in stored.items()) or "no tensors",
            expected=f"input [1, C, h, w] of at most {MAX_SIDE} a side and logits, both float32",
        )
    logits = _logits(network, x)
    if logits.shape != wanted.shape:
        raise WeightsMismatchError(
            "the network gives logits of another shape",
            file=path,
            found=str([*logits.shape]),
            expected=str([*wanted.shape]),
        )
    off = (logits - wanted).abs().max().item() / max(1.0, wanted.abs().max().item())
    return off if math.isfinite(off) else math.inf


def beside(path: str | PathLike[str]) -> Path:
    """Where the golden of a plugin's embedded weights lies: FILE.golden.safetensors."""
    file = Path(path)
    return file.with_name(f"{file.name.removesuffix(SUFFIX)}.golden{SUFFIX}")


def _logits(network: nn.Module, x: Tensor) -> Tensor:
    """The final logits of x, in eval mode on the CPU, whatever the network is in and on."""
    if any(p.device.type != "cpu" or p.dtype != torch.float32 for p in network.parameters()):
        network = copy.deepcopy(network).cpu().float()
    return torch.from_numpy(TorchRuntime(network)(x.numpy())[0])
