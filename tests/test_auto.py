"""segzoo auto: a folder in, a model out; what it does with folders that are not fit for that."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import scenes
import tiny
from PIL import Image

import segzoo
from segzoo.automatic import auto as automatic
from segzoo.automatic import folds, planning
from segzoo.automatic import machine as capacity
from segzoo.automatic.plan import PLAN, read_plan
from segzoo.automatic.words import completed_words, with_part
from segzoo.cli.main import run
from segzoo.data.inverted import Inverted
from segzoo.engine.settings import Settings
from segzoo.errors import DatasetError, OutputError, ResourceError, RunError, UsageError
from segzoo.spec import Suits

QUIET = Settings(device="cpu", workers=0, quiet=True)


@pytest.fixture(autouse=True)
def stranger(monkeypatch):
    """A model of nobody's, in a module that only a variable names."""
    monkeypatch.setenv("SEGZOO_MODELS", "stranger=tiny:STRANGER,ruled_out=tiny:RULED_OUT")


@pytest.fixture
def cells(tmp_path):
    """A folder of 12 pictures, masks of 0 and 255, of which nothing is said."""
    scenes.stored(tmp_path / "cells", scenes.cells, 12)
    return str(tmp_path / "cells")


def plan_of(data, **more):
    more = {"minutes": 1, "like": "stranger", "settings": QUIET, **more}
    return segzoo.auto(data, plan_only=True, **more).plan


# --- the plan -------------------------------------------------------------------------------------


def test_a_plan_has_a_value_and_a_reason_for_every_line(cells, tmp_path):
    plan = plan_of(cells, run=tmp_path / "run")
    names = [line.name for line in plan.lines]
    assert names == [
        *("val", "model", "options", "begins", "recipe", "eval_metric", "size", "crop", "centred"),
        *("normalize", "loss", "class_weights", "sampling", "augment", "precision"),
        *("batch_size", "lr", "ema", "eval_every", "workers", "threads", "minutes"),
    ]
    assert all(line.why for line in plan.lines)
    assert plan.data == f"{cells}?values=0,255&val=0.25"
    assert (
        plan["val"] == 0.25 and plan["model"] == "stranger" and plan["options"]["width"] in (4, 8)
    )
    assert [step for step, _ in plan["augment"]] == ["flip", "rot90", "elastic", "gamma"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("measurement", "told"), [(1.0, "0.1"), (60.0, "1.0")])
def test_the_minutes_hold_what_is_tried_after_the_training(cells, monkeypatch, measurement, told):
    """Seven measurements, or a tenth of the minutes where that is less."""
    from segzoo.engine.warm_up import Pace

    monkeypatch.setattr(planning, "timed", lambda job: Pace(0.0, 0.01, measurement))
    plan = plan_of(cells, minutes=10.0)
    why = next(line.why for line in plan.lines if line.name == "minutes")
    assert why.endswith(f"{told} are for what follows")


def test_a_model_that_was_not_tried_for_want_of_time_is_told_so(cells, monkeypatch):
    from segzoo.engine.warm_up import Pace

    monkeypatch.setattr(planning, "timed", lambda job: Pace(0.0, 100.0, 0.1))
    monkeypatch.setattr(planning, "TIMING", 0.0)
    monkeypatch.setattr(planning, "LEAST_TIMING", 0.0)
    verdicts = {x.model: x.verdict for x in plan_of(cells, like=None).considered}
    assert verdicts["stranger"].startswith("taken: ")
    assert verdicts["unet"] == "no time was left to find out how fast"


def test_what_chooses_the_step_is_of_the_task_and_not_of_another_recipe(cells):
    """The stranger's own recipe names the metric of a task that this is not."""
    plan = plan_of(cells)
    assert plan["recipe"] == "own" and plan["eval_metric"] == "iou"
    assert plan_of(cells, changes=["eval_metric=dice"])["eval_metric"] == "dice"


def test_a_strangers_model_is_considered_and_one_that_suits_less_is_told_why(cells):
    plan = plan_of(cells, like=None)
    verdicts = {each.model: each.verdict for each in plan.considered}
    assert plan["model"] == "stranger" and verdicts["stranger"].startswith("taken: ")
    assert verdicts["ruled_out"] == "not gray < 0.5 (here 1)"
    assert next(x.source for x in plan.lines if x.name == "model") == "the spec of stranger"


def test_every_line_can_be_changed(cells):
    asked = {
        "val": "0.5",
        "crop": "32",
        "centred": "0.5",
        "normalize": "preprocess",
        "lr": "3e-4",
        "loss": "dice",
        "class_weights": "1,2",
        "augment": "flip",
        "sampling": "replacement",
        "precision": "fp32",
        "batch_size": "2",
        "ema": "none",
        "eval_every": "7",
        "workers": "1",
        "threads": "1",
        "size": "48",
        "begins": "random",
        "weight_decay": "0.1",
    }
    plan = plan_of(cells, changes=[f"{k}={v}" for k, v in asked.items()], width=2)
    found = {line.name: line for line in plan.lines}
    assert {name: found[name].text for name in asked} == asked
    assert {found[name].why for name in asked if name != "begins"} == {"as you asked"}
    assert plan["options"] == {"width": 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["crop"], "'crop' is not field=value"),
        (["crp=3"], "'crp' is not a field (did you mean 'crop'?)"),
        (["steps=3"], "follows from the minutes that there are. Give --minutes instead"),
        (["threads=0"], "threads=0; expected a whole number from 1 to 1,024"),
        (["batch_size=x"], "batch_size='x' is not of type int"),
        (["val=2"], "val=2; expected a share between 0 and 1"),
        (["begins=imagenet"], "begins=imagenet; expected begins=random. What it is to begin with"),
    ],
)
def test_changes_that_are_none(cells, changes, message):
    with pytest.raises(UsageError) as caught:
        plan_of(cells, changes=changes)
    assert message in str(caught.value)


@pytest.mark.parametrize("given", ["words", "--val"])
def test_a_share_to_hold_out_beside_what_is_given(cells, given):
    words = f"{cells}?values=0,255"
    data, more = (f"{words}&val=0.25", {}) if given == "words" else (words, {"val": words})
    with pytest.raises(UsageError, match=r"val=0.5: what to measure on is given already"):
        plan_of(data, changes=["val=0.5"], **more)


def test_minutes_that_are_too_few(cells):
    with pytest.raises(UsageError, match=r"minutes=0.1; expected 0.5 or more, at most a year"):
        plan_of(cells, minutes=0.1)


def test_no_model_suits(cells, monkeypatch):
    monkeypatch.setenv("SEGZOO_DISABLE", "segzoo-unet,segzoo-lite,segzoo-digit-unet")
    monkeypatch.setenv("SEGZOO_MODELS", "ruled_out=tiny:RULED_OUT")
    with pytest.raises(UsageError) as caught:
        plan_of(cells, like=None)
    assert "no installed model says that it suits this data" in str(caught.value)
    assert "ruled_out: not gray < 0.5 (here 1)" in str(caught.value)


@pytest.mark.parametrize(
    ("fit", "crop", "batch"), [(9000, 192, 8), (6000, 128, 8), (3000, 128, 4), (1000, 96, 4)]
)
def test_windows_are_smaller_where_few_of_them_fit(tmp_path, monkeypatch, fit, crop, batch):
    """Below 8,000: three quarters of a side, on the grid; of that below 4,000: half of a side."""
    from segzoo.engine.warm_up import Pace

    scenes.stored(tmp_path / "cells", scenes.large_cells, 12)
    seconds = 0.9 * 600 * planning.TRIED / fit  # for a step of so many pictures
    monkeypatch.setattr(planning, "timed", lambda job: Pace(0.0, seconds, 0.0))
    plan = plan_of(str(tmp_path / "cells"), minutes=10.0)
    assert (plan["crop"], plan["batch_size"]) == ([crop, crop], batch)
    asked = plan_of(str(tmp_path / "cells"), minutes=10.0, changes=["crop=160"])
    assert asked["crop"] == "160"


@pytest.mark.parametrize(("fit", "taken"), [(9000, "stranger"), (6000, "unet")])
def test_of_a_network_that_knows_nothing_more_has_to_fit(cells, monkeypatch, fit, taken):
    """Else the next one that suits is looked at, and the one is taken of which more fits."""
    from segzoo.engine.warm_up import Pace

    def timed(job):
        own = type(job.network).__name__ == "Tiny"
        return Pace(0.0, 0.9 * 60 * planning.TRIED / (fit if own else 20_000), 0.0)

    monkeypatch.setattr(planning, "timed", timed)
    assert plan_of(cells, like=None, changes=["crop=none"])["model"] == taken


@pytest.mark.parametrize(("alone", "threads"), [(0.5, 1), (2.0, 2)])
def test_one_thread_is_taken_where_it_is_faster(cells, monkeypatch, alone, threads):
    import torch

    from segzoo.engine.warm_up import Pace

    def timed(job):
        return Pace(0.0, alone if torch.get_num_threads() == 1 else 1.0, 0.1)

    here = planning.machine("cpu")
    monkeypatch.setattr(planning, "machine", lambda device: here._replace(threads=2))
    monkeypatch.setattr(planning, "timed", timed)
    torch.set_num_threads(2)
    try:
        plan = plan_of(cells)
    finally:
        torch.set_num_threads(1)
    assert plan["threads"] == threads
    assert torch.get_num_threads() == 1


def test_precisions_are_told_apart_by_work_and_not_by_the_clock(cells, monkeypatch):
    """Others on the machine move the clock: here half the work takes five times as long."""
    from segzoo.engine.warm_up import Pace

    def timed(job):
        half = job.recipe.precision == "bf16"
        return Pace(0.0, 5.0 if half else 1.0, 0.1, 0.5 if half else 1.0)

    monkeypatch.setattr(planning, "timed", timed)
    monkeypatch.setattr(capacity, "lacks_bf16", lambda: False)
    plan = plan_of(cells)
    assert plan["precision"] == "bf16"
    assert "0.50 of the work" in next(x.why for x in plan.lines if x.name == "precision")


def test_bfloat16_in_software_is_not_tried(cells, monkeypatch):
    from segzoo.engine.warm_up import Pace

    def timed(job):
        assert job.recipe.precision == "fp32"
        return Pace(0.0, 1.0, 0.1, 1.0)

    monkeypatch.setattr(planning, "timed", timed)
    monkeypatch.setattr(capacity, "lacks_bf16", lambda: True)
    plan = plan_of(cells)
    assert plan["precision"] == "fp32"
    assert "in software" in next(x.why for x in plan.lines if x.name == "precision")


# --- data that is not fit -------------------------------------------------------------------------


def save(folder, name, image, mask):
    for place, values in (("images", image), ("masks", mask)):
        (folder / place).mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(folder / place / f"{name}.png")


def test_one_picture(tmp_path):
    scenes.stored(tmp_path / "one", scenes.cells, 1)
    with pytest.raises(DatasetError) as caught:
        plan_of(str(tmp_path / "one"))
    assert "one picture cannot be trained on and measured on too; found 1 picture" in str(
        caught.value
    )
    assert "cut this one into tiles" in str(caught.value)


def test_all_of_one_class(tmp_path):
    nothing = np.zeros((40, 40), np.uint8)
    for number in range(3):
        image = scenes.painted(nothing, np.random.default_rng(number))
        save(tmp_path, f"{number}", image, nothing)
    with pytest.raises(DatasetError, match="every pixel that counts is of one class"):
        plan_of(f"{tmp_path}?values=0,255")


def test_numbers_of_things_instead_of_classes(tmp_path):
    numbers = np.arange(4000, dtype=np.uint16).reshape(40, 100)
    for number in range(3):
        save(tmp_path, f"{number}", np.zeros((40, 100), np.uint8), numbers)
    with pytest.raises(DatasetError) as caught:
        plan_of(str(tmp_path))
    assert "the masks hold numbers of things, it seems, and not classes" in str(caught.value)
    assert "found 4,000 values in 3 masks: 0, 1, 2" in str(caught.value)
    assert caught.value.next_step == "To tell things from the ground add values=0,* to the words"


def test_a_mask_of_another_size(tmp_path, cells):
    save(tmp_path / "cells", "odd", np.zeros((40, 40), np.uint8), np.zeros((40, 41), np.uint8))
    with pytest.raises(DatasetError, match="target is not as large as the picture"):
        plan_of(f"{cells}?values=0,255")


@pytest.mark.parametrize(
    ("image", "channels"),
    [
        (np.full((40, 40), 20000, np.uint16), 1),
        (np.full((40, 40, 4), 99, np.uint8), 1),
    ],
)
def test_deep_pictures_and_pictures_with_alpha(tmp_path, image, channels):
    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, 10:30] = 255
    for number in range(4):
        picture = image.copy()
        picture[10:30, 10:30] += picture.dtype.type(picture[0, 0].max() // 10 * (number + 1))
        save(tmp_path, f"{number}", picture, mask)
    assert plan_of(str(tmp_path)).traits.numbers["channels"] == channels


def test_memory_for_less_than_a_picture(cells, monkeypatch):
    here = planning.machine("cpu")
    monkeypatch.setattr(planning, "machine", lambda device: here._replace(memory=10_000))
    with pytest.raises(ResourceError) as caught:
        plan_of(cells)
    assert (
        "memory does not hold one picture to train on; found 0.0 GB for 64x64 in stranger"
        in str(caught.value)
    )


def test_a_picture_that_is_on_both_sides_is_said_and_not_measured_on(tmp_path):
    scenes.stored(tmp_path / "a", scenes.cells, 6)
    scenes.stored(tmp_path / "b", scenes.cells, 5, first=4)
    plan = plan_of(str(tmp_path / "a"), val=str(tmp_path / "b"))
    assert plan.notes[-1] == (
        "among those to train on are 2 pictures to measure on: not measured on"
    )
    _, val = planning.data_for(plan)
    assert [val.dataset.id_of(n)[-3:] for n in range(len(val))] == ["006", "007", "008"]


# --- words ----------------------------------------------------------------------------------------


def masks_of(folder, *values):
    for number in range(3):
        mask = np.resize(np.array(values, np.uint8), (8, 8))
        save(folder, f"{number}", np.zeros((8, 8), np.uint8), mask)
    return str(folder)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((0, 255), "?values=0,255"),
        ((0, 1), "?values=0,1"),
        ((0, 7), "?values=0,7"),
        ((0, 1, 2), "?values=0,1,2"),
        ((0, 2, 3), "?values=0,1,2,3"),
        ((0, 1, 2, 255), "?values=0,1,2&ignore_index=255"),
        ((0, 100, 200), "?values=0,100,200"),
    ],
)
def test_what_masks_say_of_themselves(tmp_path, values, said):
    folder = masks_of(tmp_path, *values)
    assert completed_words(folder).data == folder + said


def test_what_is_said_is_left_as_it_is(tmp_path):
    folder = masks_of(tmp_path, 0, 255)
    words = f"{folder}?values=0,255&classes=a,b"
    assert completed_words(words, words) == (words, words, ())


def test_a_folder_of_parts(tmp_path):
    masks_of(tmp_path / "train", 0, 255)
    masks_of(tmp_path / "valid", 0, 255)
    found = completed_words(str(tmp_path))
    assert found.data == f"{tmp_path}/train?values=0,255"
    assert found.val == f"{tmp_path}/valid?values=0,255"
    assert found.notes[:2] == ("train/ is what is trained on", "valid/ is what is measured on")


@pytest.mark.parametrize("name", ["old", "f", "folder"])
def test_a_folder_whose_name_lies_in_that_of_its_reader(tmp_path, monkeypatch, name):
    masks_of(tmp_path / name / "train", 0, 255)
    masks_of(tmp_path / name / "val", 0, 255)
    monkeypatch.chdir(tmp_path)
    found = completed_words(f"folder:{name}")
    assert found.data == f"folder:{name}/train?values=0,255"
    assert found.val == f"folder:{name}/val?values=0,255"


def test_a_part_is_never_empty():
    assert with_part("folder:x", 0.15, 3) == "folder:x?val=0.3333"
    assert with_part("folder:x?a=b", 0.15, 100) == "folder:x?a=b&val=0.15"


# --- grounds that are now bright, now dark --------------------------------------------------------


def test_inverted_pictures_stand_beside_their_own():
    both = Inverted(scenes.Drawn(3, scenes.cells))
    assert len(both) == 6 and both.id_of(4) == both[4]["id"] == "drawn-1, inverted"
    np.testing.assert_array_equal(both[4]["image"], 255 - both[1]["image"])
    np.testing.assert_array_equal(both[4]["target"], both[1]["target"])
    assert both.info.classes == ("ground", "thing")


def test_transparency_is_not_inverted():
    def clear(random):
        image, target = scenes.cells(random)
        return np.dstack([image, np.full(target.shape, 7, np.uint8)]), target

    found = Inverted(scenes.Drawn(1, clear))[1]["image"]
    assert (found[..., 3] == 7).all()


def test_mixed_grounds_are_found_inverted_and_measured_on_inverted_pictures(tmp_path):
    scenes.stored(tmp_path, scenes.mixed_cells, 40)
    plan = plan_of(str(tmp_path))
    assert {"gray", "invert"} <= {step for step, _ in plan["augment"]}
    assert plan["sampling"] == "kinds"
    _, val = planning.data_for(plan)
    assert isinstance(val.dataset, Inverted) and len(val) == 20


# --- whole runs -----------------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch):
    """Runs of three seconds, the least that a plan gives."""
    monkeypatch.setattr(automatic, "LEAST_MINUTES", 0.001)
    return {"minutes": 0.01, "like": "stranger", "settings": QUIET}


@pytest.mark.slow
def test_a_run_leaves_a_folder_that_every_verb_takes(cells, short, tmp_path, capsys):
    done = segzoo.auto(cells, run=tmp_path / "run", **short)
    assert done.value is not None and done.plan.done and done.stopped == ""
    begun = json.loads((tmp_path / "run/run.json").read_text())
    assert done.plan["workers"] == 0 and begun["settings"]["remember"] == planning.REMEMBER
    tried = [each.name for each in done.plan.kept if each.name != "soup"]
    assert tried == ["flips", "threshold", "smallest", "holes"]
    saved = str(tmp_path / "run" / "model")
    post = segzoo.load(saved).postprocess
    for kept in done.plan.kept:
        if kept.name != "soup" and kept.taken:
            assert getattr(post, kept.name) == kept.value
    last = done.plan.kept[-1]
    found = segzoo.evaluate(saved, done.plan.data, workers=0, bootstrap=0)
    assert found.values["iou"] == pytest.approx(last.after if last.taken else last.before, abs=0.01)
    again = segzoo.auto(cells, run=tmp_path / "run", **short)
    assert again.value == done.value and again.plan == read_plan(tmp_path / "run")
    with pytest.raises(RunError) as caught:
        segzoo.auto(cells, run=tmp_path / "run", **{**short, "minutes": 2})
    assert "the run was asked for otherwise; found minutes=0.01" in str(caught.value)


@pytest.mark.slow
def test_a_damaged_plan_is_an_error_and_not_believed(cells, short, tmp_path):
    segzoo.auto(cells, run=tmp_path / "run", **short)
    file = tmp_path / "run" / PLAN
    record = json.loads(file.read_text())
    record["lines"] = [x for x in record["lines"] if x["name"] != "threads"]
    record["lines"].append({"name": "threads", "value": 10**9, "why": "x", "source": ""})
    file.write_text(json.dumps(record))
    with pytest.raises(RunError, match="this is no plan: Plan: threads=1000000000"):
        segzoo.auto(cells, run=tmp_path / "run", **short)
    file.write_text("{" * 5000)
    with pytest.raises(OutputError, match="segzoo did not write it"):
        segzoo.auto(cells, run=tmp_path / "run", **short)


def test_a_plan_of_another_program_is_left_alone(cells, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / PLAN).write_text('{"mine": 1}')
    line = ["auto", cells, "--like", "stranger", "--minutes", "1", "-o", str(tmp_path / "run")]
    assert run(line) == 2
    assert "is there, and segzoo did not write it" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "run")


# --- the verb -------------------------------------------------------------------------------------


def test_the_verb_shows_the_plan(cells, capsys):
    line = ["auto", cells, "crop=32", "--like", "stranger", "--minutes", "1", "--plan-only"]
    assert run([*line, "--device", "cpu"]) == 0
    lines = [" ".join(text.split()) for text in capsys.readouterr().out.splitlines()]
    assert lines[0] == f"data {cells}?values=0,255&val=0.25"
    assert "note masks hold 0 and 255: two classes" in lines
    assert "LINE VALUE WHY" in lines and "crop 32 as you asked" in lines
    assert run([*line, "--json", "--device", "cpu"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["plan"]["asked"]["changes"] == ["crop=32"] and record["value"] is None


def test_two_data_sets_are_no_line(capsys):
    assert run(["auto", "a", "b"]) == 2
    assert "one data set at a time, not a, b" in capsys.readouterr().err


def test_the_strangers_spec_is_one(stranger):
    assert isinstance(tiny.STRANGER.suits[0], Suits)


# --- folds ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_folds_share_a_plan_and_the_best_is_the_model(cells, short, tmp_path):
    done = segzoo.auto(cells, run=tmp_path / "run", folds=2, **short)
    plans = [read_plan(tmp_path / "run" / f"fold-{n}") for n in range(2)]
    same = ("model", "options", "crop", "augment", "loss", "batch_size", "lr", "ema")
    texts = [[next(x.text for x in plan.lines if x.name == n) for n in same] for plan in plans]
    assert texts[0] == texts[1]
    assert plans[1].data.endswith("fold=1/2")
    record = json.loads((tmp_path / "run" / "folds.json").read_text())
    assert record["values"] == [*done.folds.values] and record["mean"] == done.value
    best = tmp_path / "run" / f"fold-{done.folds.best}" / "model"
    for name in ("model.safetensors", "config.json"):
        assert (best / name).read_bytes() == (tmp_path / "run/model" / name).read_bytes()


@pytest.mark.parametrize(
    ("values", "lower", "best"),
    [
        ((0.1, 0.4, 0.2), False, 1),
        ((0.1, 0.4, 0.05), True, 2),
        ((None, -3.0, None), False, 1),
        ((None, 0.4, 0.5), True, 1),
    ],
)
def test_the_best_fold_is_the_one_with_the_better_number(
    tmp_path, monkeypatch, values, lower, best
):
    class Saved:
        def __init__(self, ref):
            self.ref = ref

        def save_pretrained(self, folder, overwrite):
            (tmp_path / "taken").write_text(self.ref)

    monkeypatch.setattr(folds, "load", Saved)
    found = [folds.OfFold(Path(f"fold-{n}"), value, lower) for n, value in enumerate(values)]
    assert folds.settled(tmp_path, found).best == best
    assert (tmp_path / "taken").read_text() == os.path.join(f"fold-{best}", "model")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"folds": 2, "val": "folder:x"}, "folds part what the data's words name"),
        ({"folds": 21}, "folds=21; expected 2 to 20"),
        ({"folds": 4}, "1 minutes are too few for 4 folds; expected 2 or more"),
    ],
)
def test_folds_that_cannot_be(cells, more, message):
    with pytest.raises(UsageError, match=message):
        plan_of(cells, **more)


# --- killed ---------------------------------------------------------------------------------------

KILLED = """
import sys
import segzoo
from segzoo.automatic import auto
from segzoo.engine.settings import Settings

auto.LEAST_MINUTES = 0.001
settings = Settings(device="cpu", workers=0, quiet=True, save_every=2)
segzoo.auto(sys.argv[1], run=sys.argv[2], minutes=0.3, like="stranger", settings=settings)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_within_the_minutes_that_were_left(cells, short, tmp_path):
    place, here = tmp_path / "run", str(Path(__file__).parent / "support")
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, cells, str(place)],
        env=os.environ | {"PYTHONPATH": here},
    )
    until = time.monotonic() + 120
    whole = "step-" + 8 * "[0-9]"  # and not one that is half written
    while not [*place.glob(whole)] and time.monotonic() < until:
        time.sleep(0.05)
    process.kill()
    process.wait()
    planned = read_plan(place)
    assert not planned.done
    steps = max(int(path.name[5:]) for path in place.glob(whole))
    settings = Settings(device="cpu", workers=0, quiet=True, save_every=2)
    done = segzoo.auto(cells, run=place, **{**short, "minutes": 0.3, "settings": settings})
    assert done.plan.done and done.plan.lines == planned.lines
    notes = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
    seconds = [note["seconds"] for note in notes if "seconds" in note]
    assert notes[-1]["step"] > steps
    assert seconds == sorted(seconds) and seconds[-1] < 60 * planned["minutes"] + 5
