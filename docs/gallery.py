"""docs/gallery.md and its pictures: what each set of weights that comes along makes of a picture.

python docs/gallery.py            # those that are not there yet
python docs/gallery.py --anew     # all of them

Photos are those of demo/photos. Where weights are for pictures of another kind, one is drawn here:
nothing is fetched, and what is drawn is CC0. It shows what the weights look for, not how good they
are; that is measured in docs/results.md.
"""

import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

import segzoo
from segzoo.predict.outputs import overlay
from segzoo.zoo import registry

ROOT = Path(__file__).resolve().parents[1]
PAGE, FOLDER = ROOT / "docs/gallery.md", ROOT / "docs/images/gallery"
HEIGHT, GAP = 300, 8  # pixels
Bytes = NDArray[np.uint8]

HEAD = """\
# Gallery

What each set of weights that comes in a plugin makes of one picture: left the picture, right what
was found in it. Written by `python docs/gallery.py`. The photos are
[CC0 or public domain](../demo/ORIGIN.md); pictures that say "drawn" are drawn by that script and
CC0 as well. They show what weights look for. What weights are worth is measured, and stands in
[Results](results.md).

    segzoo predict {first} photo.jpg -o out
"""


def photo(name: str) -> Callable[[], Bytes]:
    """A photo of demo/photos."""
    return lambda: np.asarray(Image.open(ROOT / "demo/photos" / name).convert("RGB"))


def digits() -> Bytes:
    """Three of scikit-learn's handwritten digits on black, as large as M2NIST's pictures."""
    from sklearn.datasets import load_digits

    pictures = load_digits().images
    canvas = Image.new("L", (84, 64))
    for number, left, top in ((4, 4, 20), (13, 32, 4), (8, 58, 28)):
        one = Image.fromarray((pictures[number] * 15.9).astype(np.uint8))
        canvas.paste(one.resize((24, 24), Image.Resampling.BICUBIC), (left, top))
    return np.asarray(canvas.convert("RGB"))


def retina() -> Bytes:
    """A disc of orange on black with a bright spot, from which dark vessels branch."""
    draws = np.random.default_rng(3)
    side = 512
    y, x = np.mgrid[:side, :side] - side / 2
    radius = np.hypot(x, y)
    disc = np.clip(1.15 - radius / 300, 0, 1)[..., None] * np.array((232, 120, 52))
    spot = np.exp(-((x + 120) ** 2 + y**2) / 1500)[..., None] * np.array((60, 90, 60))
    image = Image.fromarray(np.clip(disc + spot, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)

    def branch(at: complex, angle: float, width: float, steps: int) -> None:
        for _ in range(steps):
            angle += draws.normal(0, 0.16)
            there = at + 9 * complex(math.cos(angle), math.sin(angle))
            draw.line(
                (at.real, at.imag, there.real, there.imag), (140, 45, 25), max(1, round(width))
            )
            at = there
            if width > 1.6 and draws.random() < 0.16:
                branch(at, angle + draws.choice((-0.7, 0.7)), width * 0.7, steps)
            width *= 0.985

    for angle in (-2.2, -1.2, -0.5, 0.5, 1.2, 2.2):
        branch(complex(136, 256), angle, 5, 32)
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(0.8))).copy()
    pixels[radius > 245] = 0
    return pixels


def nuclei() -> Bytes:
    """Bright ellipses of several sizes on black, as a microscope of fluorescence shows them."""
    draws = np.random.default_rng(5)
    image = Image.new("L", (256, 256), 6)
    for _ in range(34):
        cell = Image.new("L", (60, 60))
        wide, high = draws.integers(9, 19, 2)
        box = (30 - wide, 30 - high, 30 + wide, 30 + high)
        ImageDraw.Draw(cell).ellipse(box, fill=int(draws.integers(90, 190)))
        cell = cell.rotate(draws.integers(180)).filter(ImageFilter.GaussianBlur(1.5))
        image.paste(
            cell, tuple(draws.integers(-15, 220, 2).tolist()), cell.point(lambda v: min(255, 4 * v))
        )
    noise = draws.normal(0, 4, (256, 256))
    return np.repeat(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)[..., None], 3, 2)


def membranes() -> Bytes:
    """Cells of a Voronoi diagram with dark walls and some dark bodies within, in gray."""
    draws = np.random.default_rng(7)
    side = 256
    seeds = draws.integers(0, side, (45, 2))
    grid = np.mgrid[:side, :side].reshape(2, -1).T
    far = np.sort(np.linalg.norm(grid[:, None] - seeds[None], axis=2), axis=1)
    wall = (far[:, 1] - far[:, 0]).reshape(side, side)
    gray = 175 - 110 * np.exp(-((wall / 3.5) ** 2)) + draws.normal(0, 14, (side, side))
    image = Image.fromarray(np.clip(gray, 0, 255).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(0.9)
    )
    return np.asarray(image.convert("RGB"))


def person() -> Bytes:
    """Somebody who stands, in a blue pair of trousers, before a wall."""
    image = Image.new("RGB", (300, 480), (222, 216, 206))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 430, 300, 480), fill=(168, 150, 128))
    draw.ellipse((128, 30, 172, 86), fill=(214, 168, 138))
    draw.rounded_rectangle((102, 88, 198, 240), 22, fill=(196, 60, 60))
    draw.polygon(
        [(108, 236), (192, 236), (196, 440), (160, 440), (150, 300), (140, 440), (104, 440)],
        fill=(48, 70, 120),
    )
    draw.rectangle((100, 438, 142, 452), fill=(40, 34, 30))
    draw.rectangle((158, 438, 200, 452), fill=(40, 34, 30))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(1)))


PICTURES: dict[str, tuple[Callable[[], Bytes], str]] = {
    "digit_unet.m2nist": (digits, "drawn of scikit-learn's digits"),
    "lite0.duts": (photo("cat.jpg"), "cat.jpg"),
    "lite0.fine": (photo("cat.jpg"), "cat.jpg"),
    "lite2.duts": (photo("cat.jpg"), "cat.jpg"),
    "lite2.fine": (photo("cat.jpg"), "cat.jpg"),
    "lite2.fine_352": (photo("cat.jpg"), "cat.jpg"),
    "u2netp.drive": (retina, "drawn"),
    "u2netp.drive_fov": (retina, "drawn"),
    "u2netp.duts": (photo("coffee.jpg"), "coffee.jpg"),
    "u2netp.trousers": (
        person,
        "drawn, and simpler than any photo that the weights were trained on",
    ),
    "u2netp.tuned": (photo("coffee.jpg"), "coffee.jpg"),
    "unet.nuclei": (nuclei, "drawn"),
    "unet_paper.em": (membranes, "drawn"),
    "unetpp.nuclei": (nuclei, "drawn"),
}


def bundled() -> Iterator[tuple[str, str]]:
    """(MODEL.TAG, what it was trained on) of all weights that come in our plugins."""
    for row in registry.rows():
        for tag, record in row.spec.weights.items() if row.spec else ():
            if record.bundled is not None:
                yield f"{row.entry.name}.{tag}", ", ".join(d.name for d in record.trained_on)


def page() -> str:
    """The text of docs/gallery.md."""
    found = dict(bundled())
    parts = [HEAD.format(first=next(iter(found)))]
    for name, data in sorted(found.items()):
        parts.append(f"## {name}\n\n![{name} on a picture](images/gallery/{name}.jpg)\n")
        parts.append(f"Trained on {data}. The picture: {PICTURES[name][1]}.\n")
    return "\n".join(parts)


def draw(name: str) -> None:
    """A picture, and beside it what the weights see in it."""
    pixels = PICTURES[name][0]()
    prediction = segzoo.load(name, pretrained=True).predict(pixels)
    seen = np.asarray(overlay(prediction).image)[..., :3]
    pair = [Image.fromarray(pixels), Image.fromarray(np.ascontiguousarray(seen))]
    small = pair[0].height < HEIGHT / 2
    kernel = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
    pair = [im.resize((round(im.width * HEIGHT / im.height), HEIGHT), kernel) for im in pair]
    sheet = Image.new("RGB", (sum(im.width for im in pair) + GAP, HEIGHT), "white")
    sheet.paste(pair[0], (0, 0))
    sheet.paste(pair[1], (pair[0].width + GAP, 0))
    sheet.save(FOLDER / f"{name}.jpg", quality=85, optimize=True)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, _ in bundled():
        if "--anew" in sys.argv or not (FOLDER / f"{name}.jpg").exists():
            draw(name)
    PAGE.write_text(page(), "utf-8")
