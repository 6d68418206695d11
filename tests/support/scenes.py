"""Data sets of a kind, drawn when asked for: what tells one kind from another is known."""

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from segzoo.data.opened import Data
from segzoo.data.sample import Info, Sample


class Drawn:
    """Samples that a function of their number draws."""

    def __init__(self, length: int, draw: Callable[[Any], tuple[Any, Any]], **info: Any) -> None:
        self.length, self.draw = length, draw
        self.info = Info(**{"classes": ("ground", "thing"), **info})

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        image, target = self.draw(np.random.default_rng(index))
        return Sample(image=image, target=target, id=f"drawn-{index}")

    def id_of(self, index: int) -> str:
        return f"drawn-{index}"


def data(draw: Callable[[Any], tuple[Any, Any]], length: int = 24, **info: Any) -> Data:
    return Data(Drawn(length, draw, **info))


def painted(target: Any, random: Any, *, ground: int = 40, thing: int = 160) -> Any:
    """Gray noise: dark ground, bright things."""
    noise = random.integers(0, 30, target.shape)
    image = (np.where(target > 0, thing, ground) + noise).astype(np.uint8)
    return np.repeat(image[..., None], 3, axis=2)


def discs(random: Any, *, side: int = 64, count: int = 6, radius: int = 6) -> Any:
    """Round things anywhere."""
    rows, columns = np.mgrid[:side, :side]
    target = np.zeros((side, side), np.uint8)
    for row, column in random.integers(0, side, (count, 2)):
        target[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = 1
    return target


def cells(random: Any) -> Any:
    target = discs(random)
    return painted(target, random), target


def large_cells(random: Any) -> Any:
    """As `cells`, four times as large: a window of 192 pixels holds eight side by side."""
    target = discs(random, side=256, radius=14)
    return painted(target, random), target


def mixed_cells(random: Any) -> Any:
    """As `cells`, every fourth or so on a bright ground."""
    image, target = cells(random)
    return (255 - image if random.random() < 0.25 else image), target


def lines(random: Any) -> Any:
    """Thin things: strips of 2 pixels, across and down."""
    target = np.zeros((64, 64), np.uint8)
    for place in random.integers(2, 60, 3):
        target[place : place + 2] = 1
        target[:, place : place + 2] = 1
    return painted(target, random), target


def standing(random: Any) -> Any:
    """In colours: what is of class 1 stands in the lower part, a triangle on its base."""
    target = np.zeros((64, 48), np.uint8)
    top, left = random.integers(30, 36), random.integers(4, 20)
    for row in range(20):
        target[top + row, left + 10 - row // 2 : left + 10 + row // 2] = 1
    image = painted(target, random)
    image[..., 0] //= 2
    return image, target


def hooks(random: Any) -> Any:
    """Things that are not their own mirror image: an L anywhere."""
    target = np.zeros((64, 64), np.uint8)
    top, left = random.integers(2, 40, 2)
    target[top : top + 18, left : left + 5] = 1
    target[top + 13 : top + 18, left : left + 14] = 1
    return painted(target, random), target


def stored(folder: Any, draw: Callable[[Any], tuple[Any, Any]], count: int, first: int = 0) -> str:
    """A folder of such samples as PNGs, its masks of 0 and 255; gives its words."""
    for place in ("images", "masks"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        image, target = draw(np.random.default_rng(number))
        Image.fromarray(image).save(folder / f"images/{number:03}.png")
        Image.fromarray((target > 0) * np.uint8(255)).save(folder / f"masks/{number:03}.png")
    return f"folder:{folder}?values=0,255&classes=ground,thing"
