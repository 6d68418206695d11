"""A model as a program of torch.export, a .pt2 file: pictures in, probabilities and masks out."""

import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segzoo.errors import ConfigError, PluginError
from segzoo.export.after import finished, refuse_what_has_no_nodes
from segzoo.export.before import bands_of, prepared
from segzoo.export.in_torch import Steps
from segzoo.export.nodes import Nodes
from segzoo.predict.runtimes.torch import evaluating, logits_of
from segzoo.saved.config import Config
from segzoo.zoo import registry

if TYPE_CHECKING:
    from segzoo.export.formats import Files, Run

__all__ = ["make", "run"]

EXAMPLE = (2, 83, 101)  # pictures, H, W: no two alike, so that no size is taken for another


class Whole(nn.Module):
    """A network with all that segzoo does around it: pictures (N, H, W, C) uint8 -> two maps."""

    def __init__(self, network: nn.Module, config: Config) -> None:
        super().__init__()
        before, after = Nodes("before."), Nodes("after.")
        frame = prepared(before, "pictures", config.preprocess, config.in_channels, named="x")
        finished(after, "logits", frame, config.postprocess, config.num_classes)
        self.network = network
        self.before = Steps(before.nodes, before.constants)
        self.after = Steps(after.nodes, after.constants)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        known = self.before({"pictures": pictures})
        known["logits"] = logits_of(self.network(known["x"]))[0].float()
        found = self.after(known)
        return found["probabilities"], found["mask"]


def make(network: nn.Module, config: Config) -> "Files":
    """The file of a model. ConfigError and PluginError as `whole_graph` has them.

    ConfigError for sizes that torch.export does not get to the end of following.
    """
    for name, value in (("resize", "letterbox"), ("antialias", "gaussian")):
        if getattr(config.preprocess, name) == value:
            raise ConfigError(
                f"preprocess.{name}={value!r} makes sizes that torch.export cannot follow",
                next_step="Give --format onnx",
            )
    bands = bands_of(config.preprocess, config.in_channels)
    refuse_what_has_no_nodes(config.postprocess, config.num_classes)
    whole = Whole(network, config).eval()
    n, h, w = EXAMPLE
    pictures = torch.zeros((n, h, w, bands), dtype=torch.uint8)
    dynamic = torch.export.Dim.DYNAMIC
    file = io.BytesIO()
    try:
        with warnings.catch_warnings(), evaluating(network), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporter's own
            program = torch.export.export(
                whole, (pictures,), dynamic_shapes=({0: dynamic, 1: dynamic, 2: dynamic},)
            )
            torch.export.save(_without_sources(program), file)
    except Exception as error:
        raise PluginError(
            f"torch cannot export {config.model}: {registry.cause(error)}",
            next_step="See --debug for the cause; give --format onnx",
        ) from error
    return {".pt2": file.getvalue()}


def run(files: "Files") -> "Run":
    """What runs such a file."""
    try:
        program = torch.export.load(io.BytesIO(files[".pt2"])).module()
    except Exception as error:
        raise PluginError(f"torch does not take the program: {registry.cause(error)}") from error

    def answer(pictures: NDArray[np.uint8]) -> Any:
        try:
            with torch.inference_mode():
                likely, mask = program(torch.from_numpy(pictures))
        except Exception as error:  # a size for which torch has made other assumptions
            cause = registry.cause(error)[:120]
            raise PluginError(
                f"the program that torch made fails for pictures of {pictures.shape}: {cause}",
                next_step="Give --format onnx or openvino, which hold for every size",
            ) from error
        return likely.numpy(), mask.numpy()

    return answer


def _without_sources(program: Any) -> Any:
    """Without what the exporter notes of source files: they are of this machine."""
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                for key in ("stack_trace", "nn_module_stack", "source_fn_stack"):
                    node.meta.pop(key, None)
    return program
