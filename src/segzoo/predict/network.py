"""A network as a runtime runs it, its answers held to the contract of its model."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segzoo.errors import PluginError
from segzoo.predict.preprocess import Geometry, Maps
from segzoo.spec import Postprocess, Preprocess

__all__ = ["Network", "Runtime", "logits_size"]


class Runtime(Protocol):
    """How a network is run: x (N, C, h, w) float32 -> logits, each (N, K, h', w') float32.

    The final prediction comes first and is alone unless `all_heads` asks for the side outputs too.
    MemoryError when this many pictures of this size do not fit the device.
    """

    def __call__(
        self, x: NDArray[np.float32], *, all_heads: bool = False
    ) -> tuple[NDArray[np.float32], ...]: ...


@dataclass(frozen=True)
class Network:
    """A runtime and what its model declares. num_classes: K.

    all_heads: the side outputs are asked for too.
    """

    runtime: Runtime
    preprocess: Preprocess
    postprocess: Postprocess
    num_classes: int
    all_heads: bool = False

    def logits(self, x: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """The logits of each head for x (N, C, h, w): (N, K, h', w'), of both sides if it flips.

        PluginError when the network fails or their shape is wrong; MemoryError as `Runtime` says.
        """
        outputs = self._outputs(x)
        if self.postprocess.flips:
            mirrored = self._outputs(np.ascontiguousarray(x[..., ::-1]))
            outputs = tuple(
                (output + other[..., ::-1]) * np.float32(0.5)
                for output, other in zip(outputs, mirrored, strict=True)
            )
        return outputs

    def _outputs(self, x: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """What the runtime gives for x, of the declared shape."""
        outputs = self.runtime(x, all_heads=self.all_heads)
        n, _, h, w = x.shape
        expected = (n, self.num_classes, *logits_size(h, w, self.preprocess, self.postprocess))
        wrong = [output.shape for output in outputs if output.shape != expected]
        if wrong or not outputs:
            raise PluginError(
                f"the network's logits have a wrong shape for an input {x.shape}",
                found=str(wrong[0]) if wrong else "none",
                expected=str(expected),
                next_step="Run `segzoo check` on the model",
            )
        return outputs

    def probabilities(
        self, logits: NDArray[np.float32], geometry: Geometry, postprocess: Postprocess
    ) -> NDArray[np.float32]:
        """(K, H, W) at the size of `geometry.picture`, from one head's (K, h', w').

        PluginError for logits that are not finite.
        """
        return self.maps(logits, geometry, postprocess).probability()

    def maps(
        self, logits: NDArray[np.float32], geometry: Geometry, postprocess: Postprocess
    ) -> Maps:
        """The same, made when it is asked for."""
        wrong = logits.size - int(np.isfinite(logits).sum())
        if wrong:
            raise PluginError(
                "the network gave numbers that are not finite",
                found=f"NaN or infinity in {wrong} of {logits.size} logits",
            )
        return Maps(logits, geometry, postprocess)


def logits_size(
    h: int, w: int, preprocess: Preprocess, postprocess: Postprocess
) -> tuple[int, int]:
    """The size of the logits that the contract wants for a network input of (h, w)."""
    eaten = 2 * preprocess.margin
    return postprocess.scale * (h - eaten), postprocess.scale * (w - eaten)
