"""What a person opens after an evaluation: numbers, every picture's numbers, and pictures.

metrics.json     values, intervals, and the protocol that they were measured by
rows.csv         picture by picture
confusion.csv    pixels of the row's class that were called the column's
panels.png       some pictures, with truth and prediction
worst.png        those that came out worst
"""

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from segzoo.base.files import replacing, write
from segzoo.base.records import Json
from segzoo.engine.maps import NO_LABEL
from segzoo.pictures.labels import Palette
from segzoo.report.exhibits import Looked
from segzoo.report.panels import coloured, sheet

__all__ = ["CONFUSION", "draw_judged", "write_confusion", "write_metrics", "write_rows"]

CONFUSION = "confusion.csv"
TITLES = ("picture", "truth", "prediction")
HEIGHT = 160  # pixels of a picture on a sheet
KEYS = 40  # classes that a legend names, at most


def write_metrics(folder: str | os.PathLike[str], record: Json) -> None:
    """metrics.json."""
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write(Path(folder, "metrics.json"), text.encode(errors="backslashreplace"))


def write_rows(folder: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """rows.csv, with an empty field for nan."""
    table = [[*rows[0]], *(["" if v != v else v for v in row.values()] for row in rows)]
    _write_table(Path(folder, "rows.csv"), table)


def write_confusion(
    folder: str | os.PathLike[str],
    matrix: ArrayLike,
    *,
    pixels: ArrayLike,
    classes: Sequence[str],
) -> None:
    """confusion.csv: a row of each class with its pixels in the truth, and what they were called.

    matrix: (L, L); pixels: (L,). A row adds up to less where pixels were given no class.
    """
    counts = np.column_stack([np.asarray(pixels), np.asarray(matrix)]).astype(np.int64).tolist()
    rows = [[name, *row] for name, row in zip(classes, counts, strict=True)]
    _write_table(Path(folder, CONFUSION), [["truth", "pixels", *classes], *rows])


def _write_table(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    write(path, text.getvalue().encode(errors="backslashreplace"))


def draw_judged(
    path: str | os.PathLike[str],
    looked: Iterable[Looked],
    *,
    captions: Sequence[str],
    classes: Sequence[str],
    palette: Palette,
    ignore_index: int | None,
    across: int = 1,
) -> None:
    """Pictures with their truth and prediction on a sheet, and a legend of the classes in them.

    captions: one of each. classes, palette: names and colours by label. across: side by side.
    """
    rows, present = [], set[int]()
    for image, target, mask, _ in looked:
        step = max(1, min(target.shape[-2:]) // (2 * HEIGHT))  # a sheet shows no more than that
        image = np.asarray(Image.fromarray(image).reduce(step))
        target, mask = target[..., ::step, ::step], mask[..., ::step, ::step]
        rows.append(
            (
                image,
                coloured(target, palette, ignore_index=ignore_index),
                coloured(_shown(mask, len(palette)), palette, ignore_index=len(palette)),
            )
        )
        present |= _labels_in(target) | _labels_in(mask)
    legend = [(classes[n], palette[n]) for n in sorted(present) if 0 <= n < len(classes)]
    picture = sheet(
        rows,
        titles=TITLES,
        captions=captions,
        legend=legend[:KEYS],
        height=HEIGHT,
        across=across,
    )
    with replacing(path) as stream:
        Image.fromarray(picture).save(stream, format="PNG")


def _shown(mask: NDArray[np.int64], unknown: int) -> NDArray[np.int64]:
    """The mask with `unknown` where it has no label."""
    return np.where(mask == NO_LABEL, unknown, mask)


def _labels_in(target: NDArray[np.int64]) -> set[int]:
    if target.ndim == 2:
        return {int(value) for value in np.unique(target)}
    return {k for k, one in enumerate(target) if (one == 1).any()}
