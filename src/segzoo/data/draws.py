"""Chance that depends on numbers alone: which sample comes when, and what is drawn for it.

The order of an epoch is a function of (seed, epoch), what is drawn for a sample one of (seed,
epoch, index, repeat). So a run is the same with any number of workers, and can go on anywhere.

Orders and seeds are integer arithmetic on SHA-256 and SplitMix64 (Steele, Lea, Flood 2014, "Fast
splittable pseudorandom number generators"), the same on every platform and with every version of
torch and numpy. What a transform then draws from a seed is what its library's generator gives.
"""

import contextlib
import hashlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["drawn", "order", "sample_seed", "with_replacement"]

# The increment and the mixing constants of SplitMix64.
GAMMA = np.uint64(0x9E3779B97F4A7C15)
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def order(seed: int, epoch: int, length: int) -> NDArray[np.int64]:
    """The numbers 0 to length - 1 in the order of an epoch: (length,) int64."""
    return np.argsort(_words(_key("order", seed, epoch), length), kind="stable").astype(np.int64)


def with_replacement(seed: int, epoch: int, length: int) -> NDArray[np.int64]:
    """As many numbers from 0 to length - 1, each drawn from all: (length,) int64.

    length: below 2^32.
    """
    high = _words(_key("replacement", seed, epoch), length) >> np.uint64(32)
    return (high * np.uint64(length) >> np.uint64(32)).astype(np.int64)


def sample_seed(seed: int, epoch: int, index: int, repeat: int = 0) -> int:
    """The seed of what is drawn for one sample of an epoch, in 0..2^63 - 1.

    repeat: how often the sample came before in this epoch.
    """
    return _key("sample", seed, epoch, index, repeat) >> 1


@contextlib.contextmanager
def drawn(seed: int) -> Iterator[None]:
    """Inside, the global generators of torch (CPU), Python and numpy start from `seed`.

    seed: in 0..2^63 - 1. Afterwards they are as they were. They belong to the whole process: this
    is not for several threads.
    """
    ours = torch.default_generator
    states = ours.get_state(), random.getstate(), np.random.get_state()
    try:
        ours.manual_seed(seed)  # torch.manual_seed would seed the GPUs too, where nothing restores
        random.seed(seed)
        np.random.seed([seed & 0xFFFFFFFF, seed >> 32])
        yield
    finally:
        ours.set_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])


def _key(*parts: str | int) -> int:
    """64 bits for a list of words and numbers."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8], "big")


def _words(key: int, length: int) -> NDArray[np.uint64]:
    """The first outputs of SplitMix64 from the state `key`: (length,), no two of them equal."""
    # numpy warns when a number wraps around, not when an array does
    words = np.full(1, key, np.uint64) + GAMMA * np.arange(1, length + 1, dtype=np.uint64)
    words = (words ^ (words >> np.uint64(30))) * MIX_1
    words = (words ^ (words >> np.uint64(27))) * MIX_2
    mixed: NDArray[np.uint64] = words ^ (words >> np.uint64(31))
    return mixed
