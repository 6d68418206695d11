"""How far the answers of one runtime are from those of another, on pictures of several sizes."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from segzoo.errors import PluginError
from segzoo.pictures.codec import Picture
from segzoo.pictures.resample import Size, resize
from segzoo.predict.artefacts.store import Case
from segzoo.predict.network import Runtime
from segzoo.predict.preprocess import prepare, probabilities
from segzoo.spec import Postprocess, Preprocess

__all__ = ["TOLERANCE", "compare", "difference_and_rounding", "example"]

# The largest difference of probabilities with which a runtime is used. Of int8, whose losses were
# measured on data, the mean between two runtimes: they round differently.
TOLERANCE = {"fp32": 1e-4, "bf16": 1e-2, "int8": 5e-2}
# How many pictures, and their (H, W). The first makes stages of one pixel, where exporters have
# been wrong; the last two are no squares.
BATCHES: tuple[tuple[int, Size], ...] = ((1, (1, 1)), (2, (96, 160)), (1, (250, 203)))
BLOB = 16  # pixels


def example(
    preprocess: Preprocess, in_channels: int, *, count: int = 2, size: Size = (96, 160)
) -> NDArray[np.float32]:
    """An x (N, C, h, w) of so many pictures of a size (H, W), to export or measure with."""
    return _batch(count, size, preprocess, in_channels)


def compare(
    reference: Runtime,
    candidate: Runtime,
    *,
    preprocess: Preprocess,
    postprocess: Postprocess,
    in_channels: int,
    exact: Callable[[], Runtime] | None = None,
) -> tuple[Case, ...]:
    """The largest difference of probabilities of each batch of pictures that the reference takes.

    Before the map is stretched or resized. A network of one size sees every picture at that.
    exact: gives the reference in float64. Where the candidate differs by more than fp32 may, both
    are compared with it: large logits, as random values make them, are moved by rounding alone.
    PluginError when the reference fails for each of them, or the candidate for one; also where its
    logits have another shape.
    """
    plain = Postprocess(activation=postprocess.activation)
    return tuple(_compared(reference, candidate, plain, preprocess, in_channels, exact))


def _compared(
    reference: Runtime,
    candidate: Runtime,
    postprocess: Postprocess,
    preprocess: Preprocess,
    in_channels: int,
    exact: Callable[[], Runtime] | None,
) -> Iterator[Case]:
    failure: PluginError | None = None
    none = True
    for count, size in BATCHES:
        x = _batch(count, size, preprocess, in_channels)
        try:
            wanted = reference(x)[0]
        except PluginError as error:  # it takes no picture of this size
            failure = error
            continue
        found = candidate(x)[0]
        if found.shape != wanted.shape:
            raise PluginError(
                f"the exported network's logits have another shape for an input {x.shape}",
                found=str(found.shape),
                expected=str(wanted.shape),
            )
        none = False
        truth = None if exact is None else partial(_truth, exact, x, postprocess)
        difference, rounding = difference_and_rounding(
            _likely(found, postprocess), _likely(wanted, postprocess), truth
        )
        n, c, h, w = x.shape
        yield Case(shape=(n, c, h, w), difference=difference, rounding=rounding)
    if none and failure is not None:
        raise failure


def difference_and_rounding(
    found: NDArray[np.float32],
    wanted: NDArray[np.float32],
    exact: Callable[[], NDArray[np.float32]] | None,
) -> tuple[float, float]:
    """The largest difference of probabilities, and how much of it rounding explains.

    wanted: torch's in float32. exact: gives torch's in float64; asked for where `found` differs by
    more than fp32 may, and both are compared with it then. It may raise PluginError for a network
    that computes in float32 alone.
    """
    difference = _largest(found, wanted)
    if exact is not None and difference > TOLERANCE["fp32"]:
        with contextlib.suppress(PluginError):
            truth = exact()
            return _largest(found, truth), _largest(wanted, truth)
    return difference, 0.0


def _largest(some: NDArray[np.float32], others: NDArray[np.float32]) -> float:
    """Difference of probabilities; 1 where one is no number."""
    found = float(np.abs(some - others).max())
    return found if np.isfinite(found) else 1.0


def _truth(
    exact: Callable[[], Runtime], x: NDArray[np.float32], postprocess: Postprocess
) -> NDArray[np.float32]:
    return _likely(exact()(x)[0], postprocess)


def _likely(logits: NDArray[np.float32], postprocess: Postprocess) -> NDArray[np.float32]:
    """Probabilities of logits (N, K, h, w)."""
    return np.stack([probabilities(each, postprocess) for each in logits])


def _batch(count: int, size: Size, preprocess: Preprocess, in_channels: int) -> NDArray[np.float32]:
    return np.stack(
        [
            prepare(_picture(seed, size, preprocess, in_channels), preprocess, in_channels)[0]
            for seed in range(count)
        ]
    )


def _picture(seed: int, size: Size, preprocess: Preprocess, in_channels: int) -> Picture:
    """A picture of soft blobs, with the bands that the network takes; the same for a seed."""
    bands = in_channels if preprocess.mode == "bands" else 3
    coarse = tuple(2 + side // BLOB for side in size)
    values = np.random.default_rng(seed).integers(0, 256, (*coarse, bands), np.uint8)
    image = resize(values, size, axes=(0, 1))
    return Picture(np.clip(np.rint(image), 0, 255).astype(np.uint8))
