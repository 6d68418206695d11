"""docs/images/demo.jpg: the photos of demo/photos, and below each what `segzoo cutout` makes of it.

python demo/sheet.py
"""

from pathlib import Path

import numpy as np
from PIL import Image

import segzoo

ROOT = Path(__file__).resolve().parents[1]
HEIGHT, GAP, SQUARE = 300, 8, 10  # pixels


def main() -> None:
    photos = [Image.open(file).convert("RGB") for file in sorted(ROOT.glob("demo/photos/*.jpg"))]
    columns = [(small(photo), on_checks(small(segzoo.cutout(photo)))) for photo in photos]
    width = sum(photo.width + GAP for photo, _ in columns) - GAP
    sheet = Image.new("RGB", (width, 2 * HEIGHT + GAP), "white")
    left = 0
    for photo, cut_out in columns:
        sheet.paste(photo, (left, 0))
        sheet.paste(cut_out, (left, HEIGHT + GAP))
        left += photo.width + GAP
    sheet.save(ROOT / "docs/images/demo.jpg", quality=88, optimize=True)


def small(image: Image.Image) -> Image.Image:
    """As high as every other picture of the sheet."""
    return image.resize((round(image.width * HEIGHT / image.height), HEIGHT), Image.Resampling.BOX)


def on_checks(image: Image.Image) -> Image.Image:
    """A cut-out on the light and dark squares that stand for transparency."""
    y, x = np.indices((image.height, image.width)) // SQUARE
    squares = np.where((x + y) % 2, 255, 214).astype(np.uint8)
    behind = Image.fromarray(squares).convert("RGBA")
    behind.alpha_composite(image)
    return behind.convert("RGB")


if __name__ == "__main__":
    main()
