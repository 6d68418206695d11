"""Folders as a training and an evaluation leave them, made by hand, for tests of their pages."""

import csv
import json
from pathlib import Path

import numpy as np

from segzoo.report.exhibits import LabelLook, Looked, write_pictures

TAG = "<script>document.title='run'</script><img src=x onerror=alert(1)>"


def run_folder(
    place: Path, *, steps=60, val=True, words="folder:cells?val=0.2", name="tiny"
) -> Path:
    """A run of so many steps, measured at every tenth; without its weights."""
    place.mkdir(parents=True, exist_ok=True)
    about = {
        "recipe": {"steps": steps, "lr": 0.01, "optimizer": ["adamw", {}], "eval_metric": "iou"},
        "identity": {"data": words if val else "folder:cells", "model": {"name": name}},
        "data": {"samples": 40, "sha256": "0" * 64, "of": "contents"},
        "machine": {"torch": "2.15.0", "python": "3.11.7", "device": "cpu"},
        "settings": {"workers": 2},
        "sittings": [{"from_step": 0}],
    }
    if val:
        about["val"] = {"samples": 8, "sha256": "1" * 64, "of": "contents"}
    (place / "run.json").write_text(json.dumps(about))
    records = []
    for step in range(1, steps + 1):
        records.append({"step": step, "loss": 2 / step, "seconds": step / 2})
        if val and step % 10 == 0:
            values = {"iou": 1 - 1 / step, "dice": 1 - 0.5 / step, "loss": 3 / step}
            records.append({"step": step, "val": values, "best": True})
    (place / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return place


def evaluation_folder(place: Path, *, classes=("background", "cell"), count=12, mark="") -> Path:
    """An evaluation with so many pictures. mark: stands in every name."""
    place.mkdir(parents=True, exist_ok=True)
    names, draws = [f"{name}{mark}" for name in classes], np.random.default_rng(0)
    shares = draws.random(len(names)).round(4).tolist()
    record = {
        "values": {"mean_iou": 0.5, "iou": [*shares[:-1], None], "dice": shares},
        "intervals": {"mean_iou": [0.4, 0.6]},
        "classes": names,
        "protocol": {
            "main": "mean_iou",
            "model": {"name": f"tiny{mark}", "weights": f"tiny.best{mark}"},
            "data": {"words": f"folder:cells{mark}", "samples": count, "part": None},
            "versions": {"torch": "2.15.0"},
            "date": "2026-11-29T10:00:00+00:00",
        },
        "palette": [[n % 256, 200, 60] for n in range(len(names))],
    }
    (place / "metrics.json").write_text(json.dumps(record))
    rows = [[n, f"picture-{n}{mark}", "" if n == 3 else n / count] for n in range(count)]
    _table(place / "rows.csv", [["number", "id", "mean_iou"], *rows])
    matrix = draws.integers(0, 99, (len(names), len(names)))
    counts = [
        [name, int(row.sum()), *row.tolist()] for name, row in zip(names, matrix, strict=True)
    ]
    _table(place / "confusion.csv", [["truth", "pixels", *names], *counts])
    write_pictures(
        place, {n: looked(n) for n in range(count)}, LabelLook(((0, 0, 0), (9, 9, 9)), 255, 0)
    )
    return place


def looked(number: int) -> Looked:
    draws = np.random.default_rng(number)
    image = draws.integers(0, 256, (24, 32, 3), np.uint8)
    return Looked(image, draws.integers(0, 2, (24, 32)), draws.integers(0, 2, (24, 32)), "")


def _table(path: Path, rows: list) -> None:
    with open(path, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)
