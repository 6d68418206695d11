"""The picture of a run: what is on its axes, and that it can be drawn of any run."""

import json
import sys

import pytest
from PIL import Image

from segzoo.errors import DependencyMissingError
from segzoo.report import curves
from segzoo.report.curves import draw_curves


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draws a run of these records; gives the two axes, as matplotlib has them."""

    def draw(*records, recipe=None):
        text = "".join(json.dumps(record) + "\n" for record in records)
        (tmp_path / "metrics.jsonl").write_text(text)
        if recipe is not None:
            (tmp_path / "run.json").write_text(json.dumps({"recipe": recipe}))
        made = []
        make = curves._figure
        monkeypatch.setattr(curves, "_figure", lambda: made.append(make()) or made[-1])
        path = draw_curves(tmp_path)
        with Image.open(path) as picture:
            assert (picture.format, picture.size) == ("PNG", (1200, 480))
        return made[-1][1]

    return draw


def trained(step, loss):
    return {"step": step, "loss": loss}


def measured(step, *, best=True, **values):
    return {"step": step, "val": values, "best": best}


def lines(axes):
    return {
        line.get_label(): [*map(tuple, line.get_xydata().tolist())]
        for line in axes.get_lines()
        if not line.get_label().startswith("_")
    }


def test_losses_and_metrics_over_the_steps(drawn):
    left, right = drawn(
        trained(1, 0.9),
        trained(2, 0.8),
        measured(2, loss=0.7, iou=0.5, mean_iou=0.4, of_classes=[0.1, 0.2]),
        trained(4, 0.6),
        measured(4, loss=0.75, iou=0.45, mean_iou=0.5, best=False),
    )
    assert lines(left) == {
        "training": [(1, 0.9), (2, 0.8), (4, 0.6)],
        "validation": [(2, 0.7), (4, 0.75)],
    }
    found = lines(right)
    assert found.pop("best: 2") == [(2, 0), (2, 1)]
    assert found == {"iou": [(2, 0.5), (4, 0.45)], "mean_iou": [(2, 0.4), (4, 0.5)]}
    assert left.get_xlim() == right.get_xlim()
    assert left.get_yscale() == "linear"


def test_an_axis_spans_its_values(drawn):
    _, right = drawn(measured(1, psnr=31.0, mae=0.02), measured(2, psnr=35.0, mae=0.01))
    low, high = right.get_ylim()
    assert (low < 0.01, 35 < high < 40) == (True, True)
    _, right = drawn(measured(1, iou=0.90), measured(2, iou=0.92))
    low, high = right.get_ylim()
    assert (0.88 < low < 0.90, 0.92 < high < 0.94) == (True, True)


def test_a_steep_loss_is_on_a_logarithmic_axis(drawn):
    assert drawn(trained(1, 2.0), trained(2, 0.1))[0].get_yscale() == "log"
    assert drawn(trained(1, 2.0), trained(2, -0.1))[0].get_yscale() == "linear"  # minus Dice


def test_the_metric_that_decides_is_among_those_drawn(drawn):
    values = {f"metric_{n}": n / 10 for n in range(9)}
    _, right = drawn(measured(1, **values), recipe={"eval_metric": "metric_8"})
    names = [name for name in lines(right) if name.startswith("metric")]
    assert names == ["metric_8", *(f"metric_{n}" for n in range(5))]


def test_many_points_get_a_smooth_line(drawn):
    left, _ = drawn(*(trained(step, step % 2 + 1.0) for step in range(100)))
    (smooth,) = lines(left).values()
    assert len(smooth) == 100
    assert [value for _, value in smooth[:2]] == [1.0, 1.5]
    assert all(1.4 <= value <= 1.6 for _, value in smooth[10:])
    assert len(left.get_lines()) == 2


def test_a_run_with_nothing_measured_or_not_finite(drawn):
    left, right = drawn(trained(1, None), trained(2, 0.5))
    assert lines(left) == {"training": [(2, 0.5)]}
    assert lines(right) == {}
    assert [text.get_text() for text in right.texts] == ["nothing was measured"]
    assert lines(drawn()[0]) == {}
    _, right = drawn(measured(1, iou=None, best=False), measured(2, iou=0.5))
    assert lines(right)["iou"] == [(2, 0.5)]


def test_without_matplotlib(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(DependencyMissingError) as error:
        draw_curves(tmp_path)
    assert str(error.value).startswith("curves need matplotlib: ")
    assert str(error.value).endswith("Run: pip install 'segzoo-core[train]'")
    assert list(tmp_path.iterdir()) == []
