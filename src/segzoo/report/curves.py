"""Loss and metrics of a run over its steps, as a picture."""

import os
from pathlib import Path
from typing import Any

from segzoo.engine import journal
from segzoo.errors import DependencyMissingError
from segzoo.files import replacing

__all__ = ["CURVES", "draw_curves"]

CURVES = "curves.png"
MOST = 6  # metrics drawn


def draw_curves(run: str | os.PathLike[str]) -> Path:
    """Draw run/curves.png from run/metrics.jsonl: loss at the left, metrics at the right."""
    records = journal.read(run)
    trained = [r for r in records if "loss" in r]
    measured = [r for r in records if r.get("val")]
    figure, (left, right) = _figure()
    left.plot([r["step"] for r in trained], [r["loss"] for r in trained], label="training")
    losses = [(r["step"], r["val"].get("loss")) for r in measured]
    losses = [(step, value) for step, value in losses if value is not None]
    if losses:
        left.plot(*zip(*losses, strict=True), marker="o", markersize=3, label="validation")
    left.set(xlabel="step", ylabel="loss")
    left.legend(frameon=False)
    names = [
        name
        for name, value in (measured[-1]["val"] if measured else {}).items()
        if isinstance(value, int | float) and name != "loss"
    ]
    for name in names[:MOST]:
        points = [(r["step"], r["val"].get(name)) for r in measured]
        points = [(step, value) for step, value in points if value is not None]
        right.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
    right.set(xlabel="step", ylabel="on the validation set", ylim=(0, 1))
    if names:
        right.legend(frameon=False, loc="lower right")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    path = Path(run) / CURVES
    with replacing(path) as stream:
        figure.savefig(stream, format="png", dpi=120)
    return path


def _figure() -> tuple[Any, Any]:
    """A figure of two axes that no window and no other figure of the program knows of."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyMissingError(
            f"curves need matplotlib: {error}", next_step="Run: pip install 'segzoo-core[train]'"
        ) from None
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, 2)
