"""`segzoo.evaluate`: from names to numbers, and what it leaves in a folder."""

import csv
import json
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path

import bright
import numpy as np
import pytest
import torch
from PIL import Image

import segzoo
from segzoo.data.readers.folder import open_folder
from segzoo.data.sample import Info
from segzoo.errors import (
    DatasetError,
    DependencyMissingError,
    DeviceError,
    UnknownModelError,
    UsageError,
    WeightsMissingError,
)
from segzoo.metrics.versions import VERSION
from segzoo.report.confusion import draw_confusion
from segzoo.runs.evaluation import evaluate

SUPPORT = Path(__file__).parent / "support"
FILES = [
    "confusion.csv",
    "confusion.png",
    "metrics.json",
    "panels.png",
    "pictures.zip",
    "report.html",
    "rows.csv",
    "worst.png",
]
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def noise(number, side=16):
    """A picture of pixels that are clearly dark or clearly bright, and which of them are bright."""
    found = np.random.default_rng(number).random((side, side)) > 0.5
    return np.repeat(np.where(found, 220, 30).astype(np.uint8)[..., None], 3, axis=2), found


def folder_of(place, count=8, *, wrong=()):
    """Pictures of noise; their masks, 0 and 255, are inverted where they are to be wrong."""
    for name in ("images", "masks"):
        (place / name).mkdir(parents=True)
    for number in range(count):
        image, found = noise(number)
        mask = found != (number in wrong)
        Image.fromarray(image).save(place / "images" / f"{number:02}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(place / "masks" / f"{number:02}.png")
    return f"folder:{place}"


class Colours:
    """Pictures of pure colours; of four classes, blue and yellow, the last is never seen."""

    def __init__(
        self,
        count=5,
        classes=("red", "green", "blue"),
        num_colours=2,
        overlap=False,
        palette=(RED, GREEN, BLUE),
    ):
        self.count, self.num_colours, self.overlap = count, num_colours, overlap
        self.info = Info(classes=classes, palette=palette, ignore_index=255)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        target = np.random.default_rng(index).integers(0, self.num_colours, (12, 14))
        image = np.array((RED, GREEN, BLUE), np.uint8)[target]
        target = target.astype(np.uint8)
        if self.overlap:
            target = np.stack([target == k for k in range(3)]).astype(np.uint8)
        else:
            target[0] = 255
        return {"image": image, "target": target, "id": f"colours-{index}"}

    def id_of(self, index):
        return f"colours-{index}"


NOTHING_SAID = Colours(3, (), palette=())


def settled(model, data, **settings):
    return evaluate(model, data, **{"workers": 0, "bootstrap": 0, "device": "cpu", **settings})


# --- numbers --------------------------------------------------------------------------------------


def test_a_folder_of_pictures(tmp_path):
    found = settled(segzoo.load(bright.BRIGHT), folder_of(tmp_path, wrong=[3]), bootstrap=200)
    assert found.classes == ("background", "foreground")
    assert [row["id"] for row in found.rows] == [f"{n:02}" for n in range(8)]
    assert [row["iou"] for row in found.rows] == [0 if n == 3 else 1 for n in range(8)]
    assert found.worst[0] == 3
    assert sorted(found.worst) == [*range(8)]
    assert 0.7 < found.values["iou"] < 0.9
    low, high = found.intervals["iou"]
    assert low < found.values["iou"] < high == 1
    assert found.intervals.keys() == {k for k, v in found.values.items() if isinstance(v, float)}
    assert int(found.confusion.sum()) == 8 * 16 * 16
    assert next(iter(found.values)) == "iou" and "pixel_accuracy" in found.values
    assert not {"max_f", "mae", "boundary_iou"} & found.values.keys()


def test_classes(tmp_path):
    found = settled(segzoo.load(bright.STRONGEST), Colours(), metrics=["boundary"])
    assert found.classes == ("red", "green", "blue")
    assert found.values["iou"][:2] == [1, 1]
    assert math.isnan(found.values["iou"][2])
    assert found.values["mean_iou"] == found.values["mean_boundary_iou"] == 1
    assert found.confusion[2].sum() == 0
    assert int(found.confusion.sum()) == 5 * 11 * 14  # a row of each is ignored
    assert "mae" not in found.values


def test_classes_that_overlap(tmp_path):
    found = settled(
        segzoo.load(bright.STRONGEST), Colours(overlap=True), metrics=["saliency"], out=tmp_path
    )
    assert found.values["iou"][:2] == [1, 1]
    assert found.values["mean_mae"] == pytest.approx(0, abs=1e-3)
    assert found.confusion is None
    assert found.protocol["overlapping"] is True
    assert sorted(os.listdir(tmp_path)) == [
        name for name in FILES if not name.startswith("confusion")
    ]


def test_the_held_out_part_is_measured(tmp_path):
    words = folder_of(tmp_path) + "?val=0.25"
    model = segzoo.load(bright.BRIGHT)
    held, trained = settled(model, words), settled(model, f"{words}&part=train")
    assert (len(held.rows), len(trained.rows)) == (2, 6)
    assert not {row["id"] for row in held.rows} & {row["id"] for row in trained.rows}
    assert held.protocol["data"]["part"] == "val"
    assert trained.protocol["data"]["part"] is None
    assert held.protocol["data"]["sha256"] != trained.protocol["data"]["sha256"]


def test_flips_and_scales_change_the_numbers(tmp_path):
    words = folder_of(tmp_path, 2)
    model = segzoo.load("u2netp.duts")
    plain = settled(model, words).values["mae"]
    assert settled(model, words, flip=True).values["mae"] != plain
    assert settled(model, words, scales=[0.75, 1.25]).values["mae"] != plain


def test_memory_that_is_short_is_said(tmp_path, monkeypatch):
    def refuse(self, x, **_):
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 20 * (x.mean(1, keepdim=True) - 0.5)

    monkeypatch.setattr(bright.Bright, "forward", refuse)
    with pytest.warns(UserWarning, match="^memory held 2 pictures at once$"):
        found = settled(segzoo.load(bright.BRIGHT), folder_of(tmp_path))
    assert found.values["iou"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "count", "expected"),
    [
        ("ecssd/test", 850, (0.8457, 0.8199, 0.0989)),
        ("duts-te/test", 200, (0.7359, 0.6914, 0.1269)),
    ],
)
def test_the_numbers_of_the_embedded_weights(part, count, expected):
    """Of maps of 8 bits, as the protocol is; of maps of floats they are up to 0.0002 higher."""
    folder = os.environ.get("SEGZOO_TEST_DATA")
    if not folder:
        pytest.skip("SEGZOO_TEST_DATA does not name the folder of the real data sets")
    found = evaluate("u2netp.duts", f"folder:{folder}/{part}", bootstrap=0)
    assert found.protocol["data"]["samples"] == count
    numbers = [found.values[name] for name in ("max_f", "max_f_of_mean", "mae")]
    assert numbers == pytest.approx(expected, abs=1e-4)
    declared = segzoo.load("u2netp.duts").weights.metrics
    same = [m.value for m in declared if m.split.startswith(str(count))]
    assert numbers == pytest.approx(same, abs=3e-4)


# --- where models come from -----------------------------------------------------------------------


def test_names_tags_folders_and_files(tmp_path):
    words = folder_of(tmp_path / "data", 2)
    model = segzoo.load("u2netp.duts")
    model.save_pretrained(tmp_path / "saved")
    record = model.spec.weights["duts"]
    found = {
        "u2netp": settled("u2netp", words),
        "u2netp.duts": settled("u2netp.duts", words),
        "folder": settled(str(tmp_path / "saved"), words),
        "object": settled(model, words),
    }
    file = tmp_path / "saved" / "model.safetensors"
    plain = settled("u2netp", words, weights=file).protocol["model"]
    origins = {name: one.protocol["model"] for name, one in found.items()}
    assert origins["u2netp"]["weights"] == "u2netp.tuned"
    assert origins["u2netp"]["sha256"] == model.spec.weights["tuned"].sha256
    assert origins["u2netp.duts"]["weights"] == "u2netp.duts"
    assert origins["u2netp.duts"]["sha256"] == record.sha256
    assert origins["folder"]["sha256"] == plain["sha256"] != record.sha256
    assert origins["folder"]["weights"] == str(tmp_path / "saved")
    assert plain["weights"] == str(file)
    assert origins["object"]["weights"] is origins["object"]["sha256"] is None
    values = [found[name].values for name in ("u2netp.duts", "folder", "object")]
    assert values[0] == values[1] == values[2]


def test_the_protocol_says_how_to_measure_again(tmp_path):
    words = folder_of(tmp_path, 3, wrong=[1])
    settings = {"metrics": ["boundary"], "flip": True, "scales": [0.5], "bootstrap": 50}
    found = settled("u2netp.duts", words, **settings)
    said = found.protocol
    assert said["data"] | {"sha256": ""} == {
        "words": words,
        "part": None,
        "samples": 3,
        "sha256": "",
        "of": "contents",
        "ignore_index": None,
    }
    assert said["metrics"]["boundary"] == "segzoo.metrics.boundary:Boundary"
    assert (said["main"], said["metrics_version"]) == ("max_f", VERSION)
    assert said["versions"].keys() >= {"segzoo-core", "segzoo-u2net", "torch", "python"}
    assert said["preprocess"]["size"] == [176, 176]
    assert json.loads(json.dumps(said)) == json.loads(json.dumps(found.as_json()["protocol"]))
    again = settled(
        said["model"]["weights"],
        said["data"]["words"],
        metrics=[*said["metrics"]],
        flip=said["flip"],
        scales=said["scales"],
        bootstrap=said["bootstrap"]["rounds"],
    )
    assert (again.values, again.intervals) == (found.values, found.intervals)


# --- files ----------------------------------------------------------------------------------------


def test_the_files_of_a_report(tmp_path):
    words = folder_of(tmp_path / "data", 9, wrong=[4])
    out = tmp_path / "out"
    found = settled(segzoo.load(bright.BRIGHT), words, out=out, num_worst=3, bootstrap=20)
    assert sorted(os.listdir(out)) == FILES
    written = json.loads((out / "metrics.json").read_text())
    assert written.pop("palette")[0] == [0, 0, 0]  # for the page of it
    assert written == json.loads(json.dumps(found.as_json()))
    with open(out / "rows.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [row["id"] for row in found.rows]
    assert [float(row["iou"]) for row in rows] == [row["iou"] for row in found.rows]
    assert len(found.worst) == 3
    sizes = {}
    for name in ("panels", "worst", "confusion"):
        with Image.open(out / f"{name}.png") as picture:
            sizes[name] = picture.size
            assert len(np.unique(np.asarray(picture.convert("L")))) > 4, name
    assert sizes["panels"][1] > sizes["worst"][1]  # five rows of one, two rows of two


def test_numbers_that_are_not_defined_are_null_and_empty(tmp_path):
    class Nothing(Colours):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            sample["target"][:] = 255 if index == 0 else sample["target"]
            return sample

    settled(segzoo.load(bright.STRONGEST), Nothing(), out=tmp_path)
    record = json.loads((tmp_path / "metrics.json").read_text())
    assert record["values"]["iou"] == [1, 1, None]
    with open(tmp_path / "rows.csv", newline="") as file:
        assert next(csv.DictReader(file))["mean_iou"] == ""


def test_truth_and_prediction_are_shown_in_the_colours_of_the_classes(tmp_path):
    settled(segzoo.load(bright.STRONGEST), Colours(1), out=tmp_path, num_worst=0)
    assert not (tmp_path / "worst.png").exists()
    with Image.open(tmp_path / "panels.png") as picture:
        colours = {tuple(colour) for colour in np.asarray(picture).reshape(-1, 3).tolist()}
    assert {RED, GREEN} <= colours
    assert BLUE not in colours  # nor in the legend: no picture has it


@pytest.mark.parametrize("count", [2, 40])
def test_a_confusion_matrix_of_shares(tmp_path, count):
    matrix = np.eye(count) * 3
    matrix[0] = 0  # absent
    path = tmp_path / "confusion.png"
    names = [f"class {n}" for n in range(count)]
    draw_confusion(
        path, matrix, pixels=4 * np.eye(count).sum(0) * (np.arange(count) > 0), classes=names
    )
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert os.listdir(tmp_path) == ["confusion.png"]
    # a diagonal of 75 %, in matplotlib's Blues; the absent class is gray
    values = {tuple(colour) for colour in pixels.reshape(-1, 3).tolist()}
    assert (26, 104, 174) in values
    assert (229, 229, 229) in values


# --- several processes, and libraries that are not there ------------------------------------------

SCRIPT = """
import sys
import torch
sys.path.insert(0, {support!r})

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(f"no module {{name}}")

sys.meta_path.insert(0, Block())
if __name__ == "__main__":
    torch.set_num_threads(1)
    import segzoo
    from segzoo.runs.evaluation import evaluate
    for out in {outs!r}:
        try:
            found = evaluate(
                "u2netp.duts", {words!r}, workers=0, device="cpu", out=out, bootstrap=9
            )
        except segzoo.SegzooError as error:
            print(f"{{type(error).__name__}}: {{error}}\\n", end="", flush=True)
        else:
            print(f"{{len(found.rows)}} {{found.protocol['processes']}}\\n", end="", flush=True)
"""


def run_script(tmp_path, words, *, blocked, outs, launcher=()):
    script = tmp_path / "script.py"
    script.write_text(
        SCRIPT.format(support=str(SUPPORT), blocked=tuple(blocked), words=words, outs=outs)
    )
    done = subprocess.run(
        [sys.executable, *launcher, str(script)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_two_processes_without_accelerate(tmp_path):
    words, out = folder_of(tmp_path / "data", 5), tmp_path / "out"
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    lines = run_script(tmp_path, words, blocked=["accelerate"], outs=[str(out)], launcher=launcher)
    assert lines == ["5 2", "5 2"]
    assert sorted(os.listdir(out)) == FILES
    record = json.loads((out / "metrics.json").read_text())
    alone = settled("u2netp.duts", words, bootstrap=9)
    for name, value in alone.values.items():
        assert record["values"][name] == pytest.approx(value, abs=1e-6)
    for name, pair in alone.intervals.items():
        assert record["intervals"][name] == pytest.approx(pair, abs=1e-6)


def test_what_it_does_without_the_libraries_of_training(tmp_path):
    words = folder_of(tmp_path / "data", 3)
    blocked = ["accelerate", "torchvision", "timm", "matplotlib", "sklearn"]
    outs = [None, str(tmp_path / "out")]
    numbers, pictures = run_script(tmp_path, words, blocked=blocked, outs=outs)
    assert numbers == "3 1"
    assert pictures == (
        "DependencyMissingError: the picture of the confusion matrix needs matplotlib: no module "
        "matplotlib. Run: pip install 'segzoo-core[train]'"
    )


def test_what_is_missing_is_said_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(DependencyMissingError):
        settled(segzoo.load(bright.PICKY), NOTHING_SAID, out=tmp_path)  # it fails for every picture


# --- what cannot be measured ----------------------------------------------------------------------


class Stream:
    def __iter__(self):
        return iter(())


@pytest.mark.parametrize(
    ("model", "data", "settings", "error", "text"),
    [
        (
            "u2nett",
            Colours(),
            {},
            UnknownModelError,
            "no model 'u2nett'. Did you mean 'u2net",
        ),
        (
            "unet_dice",
            Colours(),
            {},
            WeightsMissingError,
            "unet_dice has no weights; found none. Give a file",
        ),
        (
            "u2netp",
            Stream(),
            {},
            UsageError,
            "a stream cannot be measured on: its samples have no numbers. Download its shards, or "
            "write samples to a folder first",
        ),
        ("u2netp", "nowhere:x", {}, UsageError, "no reader 'nowhere'"),
        ("u2netp", "folder:nowhere", {}, DatasetError, "nowhere: "),
        ("u2netp", Colours(), {"batch_size": 0}, UsageError, "batch_size=0 is below 1"),
        ("u2netp", Colours(), {"workers": -1}, UsageError, "workers=-1 is below 0"),
        ("u2netp", Colours(), {"bootstrap": -1}, UsageError, "bootstrap=-1 is below 0"),
        ("u2netp", Colours(), {"num_worst": -1}, UsageError, "num_worst=-1 is below 0"),
        (
            "u2netp",
            Colours(),
            {"scales": [0.5, 0]},
            UsageError,
            "scales=(0.5, 0); expected above 0, at most 8",
        ),
        (
            "u2netp",
            Colours(),
            {},
            UsageError,
            "the data set has not as many classes as the model; found 3: red, green, blue, "
            "expected 1",
        ),
        (
            "u2netp",
            Colours(classes=()),  # of which its colours tell how many there are
            {},
            UsageError,
            "the data set has not as many classes as the model; found 3, expected 1",
        ),
        (
            "u2netp",
            Colours(0, (), palette=()),
            {},
            DatasetError,
            "the data set to measure on is empty",
        ),
        (
            "u2netp",
            Colours(3, (), palette=()),
            {"metrics": ["io"]},
            UsageError,
            "no metric 'io'. There are ",
        ),
        (
            bright.STRONGEST,
            Colours(),
            {"metrics": ["saliency"]},
            UsageError,
            "the saliency metrics measure one class; found 3 classes. Use the metric 'semantic'",
        ),
        (
            "u2netp",
            Colours(),
            {"device": "cuda:77"},
            DeviceError,
            "the device 'cuda:77' is not there",
        ),
        (
            bright.BRIGHT,
            Colours(),
            {"weights": "x.safetensors"},
            UsageError,
            "x.safetensors: a Model has its weights and options already",
        ),
        (
            bright.BRIGHT,
            Colours(),
            {"depth": 2},
            UsageError,
            "a Model has its weights and options already",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 12 else "",
)
def test_what_cannot_be_measured(model, data, settings, error, text):
    if not isinstance(model, str):
        model = segzoo.load(model)
    with pytest.raises(error) as caught:
        settled(model, data, **settings)
    assert str(caught.value).startswith(text)


def test_a_folder_that_cannot_be_made_is_said_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file/out: cannot be written: Not a directory"):
        settled(
            segzoo.load(bright.PICKY), Colours(3, (), palette=()), out=tmp_path / "file" / "out"
        )


def test_other_names_of_classes_are_a_warning():
    model = segzoo.load("digit_unet", num_classes=3, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        settled(model, Colours(1))  # the model has no names
    object.__setattr__(model.config, "classes", ("Red", "blue", "blue"))
    text = "^class 1 is 'green' in the data set, 'blue' to the model$"
    with pytest.warns(UserWarning, match=text) as heard:
        settled(model, Colours(1))
    assert len(heard) == 1


def test_a_data_set_need_say_nothing_of_itself():
    class Bare:
        def __len__(self):
            return 2

        def __getitem__(self, index):
            image, mask = noise(index)
            return {"image": image, "target": mask.astype(np.uint8), "id": str(index)}

    found = settled(segzoo.load(bright.BRIGHT), Bare())
    assert found.values["iou"] == 1
    assert found.protocol["data"]["sha256"] == ""


def test_a_reader_gives_what_its_words_give(tmp_path):
    words = folder_of(tmp_path, 3, wrong=[0])
    model = segzoo.load(bright.BRIGHT)
    one, other = settled(model, words), settled(model, open_folder(tmp_path))
    assert one.values == other.values
    assert one.protocol["data"]["sha256"] == other.protocol["data"]["sha256"] != ""
    assert other.protocol["data"]["words"] is None
