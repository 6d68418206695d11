"""The confusion matrix as a picture: of each class's pixels, which class they were called."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from segzoo.base.files import replacing
from segzoo.errors import DependencyMissingError, printable

__all__ = ["draw_confusion", "refuse_missing"]

WRITTEN = 16  # labels: with more there is no room for numbers
DPI = 120
LARGEST = 24.0  # inches of a side
LONGEST = 24  # characters of a class's name
LEAST = 0.0005  # share that is written
GRAY = "0.9"  # of a class that no picture holds


def draw_confusion(
    path: str | os.PathLike[str], matrix: ArrayLike, *, pixels: ArrayLike, classes: Sequence[str]
) -> None:
    """Draw a matrix whose rows are the truth and whose columns are the prediction, in shares.

    matrix: (L, L) pixels. pixels: (L,) of each class in the truth, by which its row is divided; a
    row adds up to less than 1 where pixels were given no class. classes: L names.
    """
    Figure, Canvas, colormaps = _matplotlib()
    counts, whole = np.asarray(matrix, np.float64), np.asarray(pixels, np.float64)[:, None]
    shares = np.divide(counts, whole, out=np.full_like(counts, np.nan), where=whole > 0)
    names = [as_drawn(n if len(n) <= LONGEST else f"{n[: LONGEST - 1]}…") for n in classes]
    count = len(names)
    cell = 0.55 if count <= WRITTEN else 0.28
    side = min(LARGEST, 2.4 + cell * count + 0.05 * max(map(len, names)))
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    Canvas(figure)
    axes = figure.subplots()
    blues = colormaps["Blues"].with_extremes(bad=GRAY)
    image = axes.imshow(np.ma.masked_invalid(shares), vmin=0, vmax=1, cmap=blues)
    size = 9 if count <= WRITTEN else max(3.0, min(9.0, 72 * (side - 2.4) / count * 0.7))
    axes.set_xticks(range(count), names, rotation=90, fontsize=size)
    axes.set_yticks(range(count), names, fontsize=size)
    axes.set(xlabel="prediction", ylabel="truth", title="share of a class's pixels, in %")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if count <= WRITTEN:
        for (row, column), share in np.ndenumerate(shares):
            if share >= LEAST:  # nan is not
                text, colour = f"{100 * share:.1f}", "white" if share > 0.6 else "black"
                axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    figure.colorbar(image, ax=axes, shrink=0.7, format=lambda share, _: f"{100 * share:g}")
    with replacing(path) as stream:
        figure.savefig(stream, format="png", dpi=DPI)


def as_drawn(text: str) -> str:
    """Text that matplotlib draws as it is: it would read formulas between dollar signs."""
    return printable(text).replace("$", r"\$")


def refuse_missing() -> None:
    """DependencyMissingError where the matrix could not be drawn."""
    _matplotlib()


def _matplotlib() -> tuple[Any, Any, Any]:
    """Figures that no window and no other figure of the program knows of, canvas, colour maps."""
    try:
        from matplotlib import colormaps
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyMissingError(
            f"the picture of the confusion matrix needs matplotlib: {error}",
            next_step="Run: pip install 'segzoo-core[train]'",
        ) from None
    return Figure, FigureCanvasAgg, colormaps
