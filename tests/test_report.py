"""`segzoo report`: what its page says, of whole runs and evaluations and of damaged ones."""

import base64
import csv
import hashlib
import json
import math
import re
import zipfile

import bright
import numpy as np
import pytest
from reports import TAG, evaluation_folder, looked, run_folder

import segzoo
from segzoo.base import ours
from segzoo.cli.main import run as command
from segzoo.errors import ConfigError, OutputError, UsageError
from segzoo.report import charts
from segzoo.report.evaluation_page import shown_places
from segzoo.report.exhibits import FALSE, LAYERS, MISSED, LabelLook, layers_of, write_pictures
from segzoo.report.page import Section, WebPage, rendered, write_page
from segzoo.runs.evaluation import evaluate
from segzoo.runs.reporting import ReportRequest, reported


def page_of(place, **settings):
    found = reported(ReportRequest(place=place, **settings))
    return found.path.read_text("utf-8"), found.notes


def text_of(html):
    """What a reader sees, on one line."""
    return " ".join(re.sub(r"<(style|script).*?</\1>|<[^>]*>", " ", html, flags=re.S).split())


# --- a run ----------------------------------------------------------------------------------------


def test_a_run_has_its_curves_recipe_data_and_machine(tmp_path):
    html, notes = page_of(run_folder(tmp_path / "run"), measure=False)
    text = text_of(html)
    assert notes == ()
    for part in ("60 steps", "weights of step 60", "kept: step 60", "adamw", "2.15.0", "40"):
        assert part in text
    assert "folder:cells?val=0.2, its held-out part" in text
    assert html.count('class="line ') >= 4  # training faint and smooth, validation, metrics
    assert re.search(r"\btime 30 s\b", text)
    assert f"{1 - 1 / 60:.4f}" in text and "while training, step 60" in text


def test_a_run_without_validation_says_so_and_how_to_measure_it(tmp_path):
    html, notes = page_of(run_folder(tmp_path / "run", val=False))
    assert "it had no validation set" in text_of(html)
    assert [f"Run: segzoo report {tmp_path / 'run'} --data WORDS" in note for note in notes] == [
        True
    ]
    assert "last training loss 0.0333" in text_of(html)


BROKEN = {
    "run.json is cut": ({"run.json": b'{"recipe": {'}, "run.json"),
    "run.json is a list": ({"run.json": b"[1, 2]"}, "run.json"),
    "run.json has other kinds": (
        {"run.json": b'{"recipe": [1], "identity": 3, "machine": "x", "sittings": 1}'},
        "names no validation set",
    ),
    "the last line is cut": ({"metrics.jsonl": b'{"step": 1, "loss": 2.0}\n{"step": 2, "lo'}, ""),
    "a line is no record": ({"metrics.jsonl": b'{"loss": 2.0}\n'}, "line 1 is no record"),
    "the loss is none": ({"metrics.jsonl": b'{"step": 1, "loss": null}\n'}, ""),
    "nothing was written down": ({"metrics.jsonl": b""}, ""),
    "its data are gone": ({"model/config.json": b"{}"}, "cells: there is no such folder"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_run_has_a_page_of_what_can_be_read(case, tmp_path):
    files, note = BROKEN[case]
    place = run_folder(tmp_path / "run")
    (place / "model").mkdir()
    for name, data in files.items():
        (place / name).write_bytes(data)
    html, notes = page_of(place)
    assert note in " ".join(notes)
    assert text_of(html).count("Machine and versions") >= 1
    assert ("They are not known." in text_of(html)) == case.startswith("run.json")
    assert not re.search(r"<dl>\s*</dl>", html)
    for found in notes:
        assert segzoo.errors.printable(found)[:40] in html.replace("&#39;", "'").replace(
            "&#34;", '"'
        )


def test_a_run_whose_steps_are_lost_still_shows_what_it_was(tmp_path):
    place = run_folder(tmp_path / "run")
    (place / "metrics.jsonl").unlink()
    html, _ = page_of(place, measure=False)
    assert "no step was written down" in text_of(html)
    assert "There is no metrics.jsonl that can be read." in text_of(html)


def test_what_a_run_file_names_outside_of_it_is_not_written_to(tmp_path):
    words = f"hf:cells?cache_dir={tmp_path / 'elsewhere'}&val=0.2"
    place = run_folder(tmp_path / "run", words=words)
    (place / "model").mkdir()
    (place / "model" / "config.json").write_text("{}")
    _, notes = page_of(place)
    assert "a file's word alone is not enough" in " ".join(notes)
    assert not (tmp_path / "elsewhere").exists()


# --- an evaluation --------------------------------------------------------------------------------


def test_an_evaluation_has_classes_confusion_spread_and_pictures(tmp_path):
    html, notes = page_of(evaluation_folder(tmp_path / "eval"))
    text = text_of(html)
    assert notes == ()
    for part in ("mean_iou 0.5000 0.4000 to 0.6000", "2 classes", "Confusion", "How many pictures"):
        assert part in text
    assert "absent" in text
    assert html.count('class="card exhibit') == 11  # 8 of the worst, 3 more; one has no value
    assert html.count('src="data:image/') == 11 * len(LAYERS)
    assert "picture-0 mean_iou 0.0000" in text and "picture-3 mean_iou" not in text


def test_a_model_that_was_measured_leaves_its_page(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    from PIL import Image

    for number in range(3):
        bits = np.random.default_rng(number).random((16, 16)) > 0.5
        Image.fromarray(np.where(bits, 220, 30).astype(np.uint8)).save(
            tmp_path / "images" / f"{number}.png"
        )
        wrong = bits ^ (np.arange(16) < 2 * number)
        Image.fromarray((wrong * 255).astype(np.uint8)).save(tmp_path / "masks" / f"{number}.png")
    out = tmp_path / "out"
    evaluate(
        segzoo.load(bright.BRIGHT),
        f"folder:{tmp_path}",
        workers=0,
        bootstrap=20,
        device="cpu",
        out=out,
    )
    html = (out / "report.html").read_text("utf-8")
    assert ours.is_ours(out / "report.html")
    assert html.index("of 2&#34;" if "of 2&#34;" in html else 'of 2"') < html.index(
        'of 0"'
    )  # the worst first
    with open(out / "confusion.csv", encoding="utf-8") as stream:
        rows = [*csv.DictReader(stream)]
    assert (
        sum(int(row["foreground"]) for row in rows) + sum(int(row["background"]) for row in rows)
        == 3 * 16 * 16
    )
    again, notes = page_of(out, out=tmp_path / "again.html")
    assert (again, notes) == (html, ())


def test_the_worst_and_the_median_are_told_apart():
    values = [*np.linspace(1, 0, 21).tolist(), math.nan]
    worst, middle = shown_places(values)
    assert worst == [20, 19, 18, 17, 16, 15, 14, 13]
    assert middle == [12, 11, 10, 9]
    assert shown_places([0.5, math.nan, 0.2]) == ([2, 0], [])
    assert shown_places([]) == ([], [])


def test_errors_are_missed_or_false_or_ignored():
    target = np.array([[0, 0, 1, 1, 255]])
    mask = np.array([[0, 1, 1, 0, 1]])
    image = np.full((1, 5, 3), 100, np.uint8)
    look = LabelLook(((0, 0, 0), (255, 0, 0)), 255, 0)
    errors = layers_of(image, target, {"prediction": mask}, look)["errors"]
    gray = (100, 100, 100)
    assert [tuple(pixel) for pixel in errors[0].tolist()] == [gray, FALSE, gray, MISSED, gray]
    assert "errors" not in layers_of(image, target, {"A": mask, "B": mask}, look)


def test_500_classes(tmp_path):
    place = evaluation_folder(tmp_path / "eval", classes=[f"class {n}" for n in range(500)])
    html, notes = page_of(place)
    assert notes == ()
    assert "500 classes" in html and "class 499" in html
    assert 'class="dense"' in html
    assert "Most often confused" in html
    assert len(html) < 2_000_000


BAD = {
    "metrics.json": (b"{", None),
    "rows.csv": (b"number,id\n\xff\x00,\n", "cannot be shown"),
    "confusion.csv": (b"truth,pixels,a\nb,many,1\n", "whole numbers"),
    "pictures.zip": (b"PK\x03\x04 and no more", "pictures cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_damaged_file_of_an_evaluation(name, tmp_path):
    data, note = BAD[name]
    place = evaluation_folder(tmp_path / "eval")
    (place / name).write_bytes(data)
    if note is None:
        with pytest.raises(ConfigError, match=r"metrics\.json"):
            page_of(place)
    else:
        html, notes = page_of(place)
        assert note in " ".join(notes)
        assert "mean_iou" in text_of(html)


@pytest.mark.parametrize("kind", ["compressed", "no picture", "of another size"])
def test_pictures_of_a_stranger_are_judged(kind, tmp_path):
    place = evaluation_folder(tmp_path / "eval")
    method = zipfile.ZIP_DEFLATED if kind == "compressed" else zipfile.ZIP_STORED
    with zipfile.ZipFile(place / "pictures.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    other = next(iter(members))
    if kind == "no picture":
        members[other] = b"<svg onload='alert(1)'/>"
    elif kind == "of another size":
        one = looked(0)
        write_pictures(
            tmp_path,
            {0: one._replace(**{k: getattr(one, k)[:9] for k in ("image", "target", "mask")})},
            LabelLook(((0, 0, 0), (9, 9, 9)), 255, 0),
        )
        with zipfile.ZipFile(tmp_path / "pictures.zip") as archive:
            members[other] = archive.read(other)
    with zipfile.ZipFile(place / "pictures.zip", "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    html, notes = page_of(place)
    assert "pictures.zip" in " ".join(notes)
    assert "data:image" not in html and "onload" not in html


# --- the file -------------------------------------------------------------------------------------


def test_markup_in_names_is_text(tmp_path):
    place = evaluation_folder(tmp_path / "eval", classes=["a", "b", "c"], mark=TAG)
    html, _ = page_of(place)
    run_html, _ = page_of(
        run_folder(tmp_path / "run", name=TAG, words=f"folder:{TAG}?val=1"), measure=False
    )
    for text in (html, run_html):
        assert "<img src=x" not in text and "&lt;img src=x onerror=alert(1)&gt;" in text
        assert text.count("<script>") == 1


def test_the_policy_lets_in_what_is_in_the_file_alone():
    html = rendered(WebPage(kicker="k", title="t", sections=[Section("s", "S", empty="none")]))
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    policy = policy.replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("style", "script"):
        [body] = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.S)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", html)
    assert " style=" not in html and "http:" not in html and "https:" not in html


def test_another_file_of_that_name_stays(tmp_path):
    place, other = evaluation_folder(tmp_path / "eval"), tmp_path / "mine.html"
    other.write_text("<p>mine</p>")
    with pytest.raises(OutputError, match="segzoo did not write it"):
        page_of(place, out=other)
    assert other.read_text() == "<p>mine</p>"
    page = tmp_path / "page.html"
    write_page(page, WebPage(kicker="k", title="t"))
    page_of(place, out=page)
    assert "mean_iou" in page.read_text("utf-8")


def test_folders_that_are_neither(tmp_path, capsys):
    with pytest.raises(UsageError, match="there is no such folder"):
        page_of(tmp_path / "nothing")
    with pytest.raises(UsageError, match=r"of no run and of no evaluation.*run\.json"):
        page_of(tmp_path)
    with pytest.raises(UsageError, match="has been measured already"):
        page_of(evaluation_folder(tmp_path / "eval"), data="folder:x")
    assert command(["report", str(tmp_path / "eval"), "-o", str(tmp_path / "r.html")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'r.html'}\n"


# --- charts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "labels"),
    [
        ([(0, 0.0), (100, 1.0)], ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        ([(0, 1.0), (100, 1000.0)], ["1", "10", "100", "1000"]),
        ([(5, 0.25)], ["0.24", "0.26"]),
    ],
)
def test_axes_have_round_ticks(points, labels):
    assert [tick.text for tick in charts.lines("t", {"a": points}).y.ticks] == labels


def test_shares_have_an_even_axis():
    chart = charts.lines("t", {"a": [(0, 0.001), (100, 1.0)]}, even=True)
    assert [tick.text for tick in chart.y.ticks] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]


def test_charts_of_nothing_and_of_infinities():
    assert charts.lines("t", {"a": [(1, math.inf), (2, math.nan)]}).lines == ()
    assert charts.histogram("t", [math.nan], x_label="x").bars == ()
    assert charts.scatter("t", [(math.nan, 1.0, "")], names=("a", "b")).dots == ()


def test_a_histogram_counts_every_value_once():
    chart = charts.histogram("t", [0.0, 0.05, 0.5, 1.0, 1.0], x_label="x")
    counts = [int(bar.text.rpartition(": ")[2]) for bar in chart.bars]
    assert counts == [1, 1, 1, 2]
    assert chart.rule.text == "median 0.500"


def test_a_long_line_has_no_more_points_than_can_be_seen():
    chart = charts.lines("t", {"a": [(n, 1.0 + n) for n in range(100_000)]})
    assert chart.lines[0].path.count("L") < charts.MOST_POINTS
    assert json.dumps([line.dots for line in chart.lines]) == "[[]]"
