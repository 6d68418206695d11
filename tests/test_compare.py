"""`segzoo compare`: who is better, how sure that is, and the page that shows it."""

import json
import math

import bright
import numpy as np
import pytest
import torch
from PIL import Image

import segzoo
from segzoo.cli.main import run
from segzoo.errors import DatasetError, UsageError
from segzoo.metrics.bootstrap import differences
from segzoo.metrics.semantic import Semantic
from segzoo.runs.comparing import CompareRequest, compared
from segzoo.runs.evaluation import Machine

HERE = Machine("cpu", 8, 0)
COUNT = 10


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Pictures of noise whose masks are what is bright; in the first one they are inverted."""
    place = tmp_path_factory.mktemp("photos")
    for number in range(COUNT):
        bits = np.random.default_rng(number).random((16, 16)) > 0.4
        for folder, pixels in (
            ("images", np.where(bits, 220, 30)),
            ("masks", 255 * (bits ^ (number < 1))),
        ):
            (place / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(place / folder / f"{number}.png")
    return f"folder:{place}"


def model(sharpness=20.0):
    found = segzoo.load(bright.BRIGHT)
    with torch.no_grad():
        found.network.sharpness.fill_(sharpness)
    return found


def both(first, second, data, **settings):
    request = CompareRequest(models=(first, second), data=data, machine=HERE, **settings)
    return compared(request)


def test_the_better_one_is_told_with_an_interval(photos, tmp_path):
    out = tmp_path / "page.html"
    found = both(model(-20.0), model(20.0), photos, bootstrap=300, out=out)
    assert found.main == "iou"
    assert found.wins == (1, 9, 0)
    assert found.winner("pixel_accuracy") == "B"
    a, b = found.values["pixel_accuracy"]
    assert (a, b) == pytest.approx((0.1, 0.9))
    difference = found.differences["pixel_accuracy"]
    assert 0 < difference.low < b - a < difference.high
    assert (
        found.speed.pictures == COUNT and found.speed.low <= found.speed.ratio <= found.speed.high
    )
    html = out.read_text("utf-8")
    assert html.count('class="spot') == COUNT
    assert "Where A leads" in html and "Where B leads" in html
    assert html.count('class="card exhibit') == 1 + 4
    assert json.loads(json.dumps(found.as_json()))["wins"] == {"A": 1, "B": 9, "equal": 0}


def test_a_model_is_no_better_than_itself(photos, tmp_path):
    found = both(model(), model(), photos, bootstrap=50, speed=False, out=tmp_path / "page.html")
    assert {found.winner(name) for name in found.values} == {""}
    assert {tuple(d) for d in found.differences.values()} == {(0.0, 0.0, 0.5)}
    assert found.wins == (0, 0, COUNT)
    assert found.speed is None
    assert "On every picture both are the same." in (tmp_path / "page.html").read_text("utf-8")


def test_models_that_mean_different_things_are_not_compared(photos):
    with pytest.raises(DatasetError, match="0 to 2"):
        both(model(), segzoo.load(bright.STRONGEST), photos, speed=False)


def test_the_command_tells_a_person_and_a_program(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGZOO_MODELS", "bright=bright:BRIGHT")
    for name, sharpness in (("bad", -20.0), ("good", 20.0)):
        saved = segzoo.load("bright")
        with torch.no_grad():
            saved.network.sharpness.fill_(sharpness)
        saved.save_pretrained(tmp_path / name)
    line = ["compare", "./bad", "./good", "--data", photos, "--workers", "0", "--device", "cpu"]
    assert run([*line, "--no-speed"]) == 0
    captured = capsys.readouterr()
    assert "pictures by iou: A 1, B 9, equal 0" in captured.out
    assert "to look at: compare.html" in captured.out
    assert (tmp_path / "compare.html").exists()
    assert run(line[:3]) == 2
    assert "no data" in capsys.readouterr().err


# --- the paired bootstrap -------------------------------------------------------------------------

SEMANTIC = Semantic(num_classes=1, ignore_index=None)


def sums(counts):
    """Pictures of 100 pixels of which so many are right."""
    target = torch.ones(1, 100, dtype=torch.int64)
    return [
        SEMANTIC.sums(torch.empty(0), (torch.arange(100)[None] < right).long(), target)
        for right in counts
    ]


def test_differences_are_those_of_the_same_drawn_pictures():
    draws = np.random.default_rng(1)
    hard = draws.integers(20, 80, 40)
    first, second = hard, hard + draws.integers(-2, 6, 40)
    found = differences((SEMANTIC, sums(first)), (SEMANTIC, sums(second)), rounds=400, seed=7)
    means = []
    for draw in np.random.default_rng(3).integers(40, size=(20_000, 40)):
        means.append((second - first)[draw].mean() / 100)
    low, high = np.quantile(means, [0.025, 0.975])
    assert found["pixel_accuracy"].low == pytest.approx(low, abs=0.002)
    assert found["pixel_accuracy"].high == pytest.approx(high, abs=0.002)
    assert found["pixel_accuracy"].above > 0.99
    # unpaired, the pictures' own spread would hide it
    assert (
        found["pixel_accuracy"].high - found["pixel_accuracy"].low < 0.3 * np.std(first / 100) / 2
    )


def test_differences_without_pictures_and_of_other_pictures():
    assert differences((SEMANTIC, []), (SEMANTIC, []), seed=0) == {}
    with pytest.raises(UsageError, match="different pictures"):
        differences((SEMANTIC, sums([1])), (SEMANTIC, sums([1, 2])), seed=0)


def test_a_number_that_is_never_defined_has_no_difference():
    empty = [
        SEMANTIC.sums(torch.empty(0), torch.zeros(1, 9).long(), torch.zeros(1, 9).long())
        for _ in range(3)
    ]
    found = differences((SEMANTIC, empty), (SEMANTIC, empty), rounds=20, seed=0)
    assert all(not math.isnan(d.low) for d in found.values())
    assert "iou" not in found
