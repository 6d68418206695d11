"""Loss and metrics of a run over its steps, as a picture."""

import os
from pathlib import Path
from typing import Any

from segzoo.base.files import replacing
from segzoo.engine import journal
from segzoo.engine.record import RUN, begun_as
from segzoo.errors import DependencyMissingError
from segzoo.report.confusion import as_drawn
from segzoo.report.series import FEW, best_step, series_of, smooth

__all__ = ["CURVES", "draw_curves"]

CURVES = "curves.png"
MOST = 6  # metrics drawn
STEEP = 10.0  # times its least: a loss above that is drawn on a logarithmic axis


def draw_curves(run: str | os.PathLike[str]) -> Path:
    """Draw run/curves.png from run/metrics.jsonl: loss at the left, metrics at the right.

    The metric that chooses the best weights comes first, and a dashed line marks their step. Each
    axis spans its values. DependencyMissingError without matplotlib; OutputError.
    """
    records = journal.read(run)
    found = series_of(records, main=_main_metric(run))
    figure, (left, right) = _figure()
    losses, validated = found.training, found.validation
    if len(losses) > FEW:
        left.plot(*zip(*losses, strict=True), color="C0", linewidth=0.8, alpha=0.35)
        losses = smooth(losses)
    for label, colour, points in (("training", "C0", losses), ("validation", "C1", validated)):
        if points:
            mark = "o" if label == "validation" or len(points) < FEW else ""
            left.plot(
                *zip(*points, strict=True), color=colour, marker=mark, markersize=3, label=label
            )
    values = [value for _, value in losses + validated]
    if values and min(values) > 0 and max(values) > STEEP * min(values):
        left.set_yscale("log")
        left.yaxis.set_major_formatter("{x:g}")
    left.set(title="loss", xlabel="step")

    for name in [*found.metrics][:MOST]:
        points = found.metrics[name]
        right.plot(*zip(*points, strict=True), marker="o", markersize=3, label=as_drawn(name))
    best = best_step(records)
    if best is not None:
        right.axvline(best, color="0.4", linewidth=1, linestyle="--", label=f"best: {best}")
    right.set(title="on the validation set", xlabel="step")
    if not any(record.get("val") for record in records):
        right.text(0.5, 0.5, "nothing was measured", ha="center", transform=right.transAxes)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.locator_params(axis="x", integer=True)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize="small")
    path = Path(run) / CURVES
    with replacing(path) as stream:
        figure.savefig(stream, format="png", dpi=120)
    return path


def _main_metric(run: str | os.PathLike[str]) -> str | None:
    if not Path(run, RUN).exists():
        return None
    name: str | None = begun_as(Path(run)).get("recipe", {}).get("eval_metric")
    return name


def _figure() -> tuple[Any, Any]:
    """A figure of two axes that no window and no other figure of the program knows of."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyMissingError(
            f"curves need matplotlib: {error}", next_step="Run: pip install 'segzoo-core[train]'"
        ) from None
    figure = Figure(figsize=(10, 4))
    FigureCanvasAgg(figure)
    figure.subplots_adjust(left=0.07, right=0.98, bottom=0.12, top=0.92, wspace=0.18)
    return figure, figure.subplots(1, 2, sharex=True)
