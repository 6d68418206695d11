"""segzoo.train: from a model and data, whatever they are, to a folder that predicts."""

import json
import os
import re
import sys
from dataclasses import replace
from importlib import util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from squares import Squares
from tiny import TINY
from torch import nn

import segzoo
from segzoo.cli.options import options_of
from segzoo.data.sample import Info, Sample
from segzoo.data.statistics import mean_and_std
from segzoo.engine import journal
from segzoo.engine.settings import Settings
from segzoo.errors import (
    ConfigError,
    DatasetError,
    PluginMissingError,
    RunError,
    UsageError,
)
from segzoo.losses import binary_cross_entropy
from segzoo.model.load import find_spec
from segzoo.runs import subject
from segzoo.runs.request import Wishes
from segzoo.runs.training import measures_of, train
from segzoo.spec import Preprocess, Recipe

SMALL = {"width": 2, "depth": 1}  # of unetpp
RECIPE = Recipe(steps=2, batch_size=2, optimizer=("adam", {}), lr=1e-2)
QUIET = Settings(device="cpu", workers=0, quiet=True)
BCE = "binary_cross_entropy"


def trained(model="unetpp", data=None, **arguments):
    """Two steps on eight squares, of the smallest UNet++ unless told otherwise."""
    options = SMALL if model == "unetpp" else {}
    arguments = {"recipe": RECIPE, "settings": QUIET, **options, **arguments}
    return train(model, Squares(8) if data is None else data, **arguments)


@pytest.fixture(autouse=True)
def folder_of_its_own(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def tensors(folder="run"):
    return segzoo.load(f"{folder}/model").network.state_dict()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


# --- what a run leaves ----------------------------------------------------------------------------


def test_a_run_leaves_its_model_its_numbers_and_its_curves():
    found = trained(val=Squares(3), changes=["steps=4"], settings=replace(QUIET, eval_every=2))
    records = journal.read("run")
    assert [record["step"] for record in records if "val" in record] == [2, 4]
    assert {"loss", "iou", "mean_iou", "pixel_accuracy"} <= records[-1]["val"].keys()
    with Image.open("run/curves.png") as curves:
        assert curves.size == (1200, 480)
    assert json.loads(Path("run/run.json").read_text())["recipe"]["eval_metric"] == "iou"

    model = segzoo.load("run/model")
    assert (model.task, model.num_classes, model.classes) == ("binary", 1, ("square",))
    assert same(model.network.state_dict(), found.model.network.state_dict())
    assert not found.model.training
    picture = Squares(1)[0]["image"]
    assert (model.predict(picture).mask == found.model.predict(picture).mask).all()
    assert found.result.best == max(r["val"]["iou"] for r in records if "val" in r)


def test_a_run_without_validation_keeps_its_last_weights():
    found = trained()
    assert found.result.best_step is None
    assert same(tensors(), found.model.network.state_dict())
    assert Path("run/curves.png").exists()


def test_one_side_of_the_data_is_measured_on():
    np.savez("squares.npz", images=[Squares(9)[i]["image"] for i in range(9)],
             masks=[Squares(9)[i]["target"] for i in range(9)])  # fmt: skip
    words = "arrays:squares.npz?classes=background,square"
    assert trained(data=f"{words}&val=0.34").result.values.keys() > {"iou"}
    part = f"{words}&val=0.34&part=train"
    assert trained(data=part, run="other").result.values == {}


def test_names_and_colours_of_the_data_are_saved():
    data = Squares(4)
    data.info = Info(classes=("a", "b"), palette=((0, 0, 0), (1, 2, 3)))
    assert trained(data=data).model.config.palette == ((1, 2, 3),)
    model = trained(data=data, num_classes=2, run="two").model
    assert (model.classes, model.palette) == (("a", "b"), ((0, 0, 0), (1, 2, 3)))
    data.info = Info()
    again = trained(model="run/model", data=data, run="three").model
    assert (again.num_classes, again.classes, again.palette) == (1, (), ())


def test_the_seed_of_the_recipe_draws_the_first_values():
    for folder, seed in (("one", 0), ("two", 0), ("three", 1)):
        trained(run=folder, changes={"seed": str(seed), "lr": "1e-30"})
    one, two, three = (tensors(folder) for folder in ("one", "two", "three"))
    assert same(one, two)
    assert not torch.equal(one["heads.1.weight"], three["heads.1.weight"])


# --- what a person sees ---------------------------------------------------------------------------


def test_the_table_at_the_start(capsys):
    settings = replace(QUIET, quiet=False)
    trained(changes=["frozen=nodes.0_0."], val=Squares(3), settings=settings)
    shown = capsys.readouterr()
    assert shown.out == ""
    rows = dict(line.split(None, 1) for line in shown.err.splitlines()[:9])
    assert rows["model"].startswith("unetpp (width=2, depth=1, deep_supervision=True, mode=fast): ")
    assert rows["model"].endswith(" of them trained")
    assert rows["begins"] == "at random, seed 0"
    assert rows["task"] == "binary, 1 class, 3 channels"
    assert rows["trains"] == "on    Squares: 8 samples"
    assert rows["measures"] == "on  Squares: 3 samples"
    assert rows["takes"] == "2 steps of 2 samples: 0.5 epochs"
    assert re.fullmatch(r"on      cpu, 1 process of (1 thread|\d+ threads), fp32", rows["runs"])
    assert rows["writes"] == "to    run"
    assert rows["recipe"] == "optimizer=adam lr=0.01 frozen=nodes.0_0. eval_metric=iou"


def test_a_terminal_gets_a_table_of_rich(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    trained(settings=replace(QUIET, quiet=False))
    assert "nothing: no --val" in capsys.readouterr().err


def test_quiet_is_quiet(capsys):
    trained(val=Squares(3))
    assert capsys.readouterr() == ("", "")


def test_without_matplotlib_there_are_no_curves(monkeypatch):
    find = util.find_spec
    monkeypatch.setattr(
        util, "find_spec", lambda name: None if name == "matplotlib" else find(name)
    )
    with pytest.warns(UserWarning, match=r"^no curves.png: matplotlib is not installed; run: pip"):
        trained(val=Squares(3))
    assert not Path("run/curves.png").exists()


# --- classes and tasks ----------------------------------------------------------------------------


class Maps(Squares):
    """The same squares with a map of each class."""

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        target = sample["target"]
        return sample | {"target": np.stack([target == 0, target == 1]).astype(np.uint8)}


def of_three(length=8):
    data = Squares(length)
    data.info = Info(classes=("a", "b", "c"))
    return data


@pytest.mark.parametrize(
    ("data", "want"),
    [(Squares(8), ("binary", 1)), (of_three(), ("multiclass", 3)), (Maps(8), ("multilabel", 2))],
    ids=["two", "three", "maps"],
)
def test_classes_and_task_follow_the_data(data, want):
    found = trained("unetpp", data, val=data).model
    assert (found.task, found.num_classes) == want


NO_WISHES = Wishes()


@pytest.mark.parametrize(
    ("model", "has", "found", "overlapping", "wishes", "want"),
    [
        ("unet", None, 2, False, {}, (1, None)),  # its own are two of the softmax
        ("unet", None, 2, False, {"task": "binary"}, (1, "binary")),
        ("unet", None, 2, False, {"num_classes": 2}, (2, "multiclass")),
        ("unet", None, 2, False, {"task": "multiclass"}, (2, "multiclass")),
        ("unet", 2, 2, False, {}, (2, "multiclass")),  # of the weights that it begins with
        ("unet", None, None, False, {}, (None, "multiclass")),
        ("u2netp", None, 2, False, {}, (1, None)),
        ("u2netp", None, 5, False, {"num_classes": 4}, (4, "multiclass")),
        ("unet_strided", None, 3, False, {}, (3, "multiclass")),  # overlapping ones are its first
        ("unet_strided", None, None, False, {}, (None, "multiclass")),
        ("unet_strided", None, 3, True, {}, (3, "multilabel")),
        ("unet_strided", None, 2, True, {}, (2, "multilabel")),
        ("unet_strided", None, 2, False, {}, (1, None)),
        ("digit_unet", None, 3, True, {}, (3, None)),  # it has no such task
    ],
)
def test_how_many_classes_and_which_task(model, has, found, overlapping, wishes, want):
    _, spec = find_spec(model)
    wished = NO_WISHES._replace(**wishes)
    assert subject.suiting(spec, has, found, overlapping, wished) == want


def test_a_map_per_class_is_asked_for_and_not_there():
    with pytest.raises(UsageError) as error:
        trained(data=of_three(), task="multilabel")
    assert str(error.value) == (
        "the targets have one class per pixel, and the task multilabel a map per class; expected "
        "task=multiclass"
    )


def test_saliency_keeps_its_metrics_beside_those_asked_for():
    found = trained(
        "u2netp",
        val=Squares(2),
        metrics=["boundary"],
        changes=["steps=1", "size=32"],
    )
    assert {"max_f", "mae", "boundary_iou", "iou"} <= found.result.values.keys()
    record = json.loads(Path("run/run.json").read_text())
    assert record["recipe"]["eval_metric"] == "max_f"
    assert found.model.preprocess.size == (32, 32)


def test_measures_of_overlapping_classes():
    found = measures_of("multilabel", ["boundary"], 3, 255, overlapping=True)
    assert list(found) == ["semantic", "boundary"]
    assert {measure.num_classes for measure in found.values()} == {3}


def test_a_metric_that_is_not_measured_is_refused_before_the_first_step():
    with pytest.raises(UsageError) as error:
        trained(val=Squares(3), changes=["eval_metric=max_f"])
    assert str(error.value) == (
        "eval_metric='max_f' is not measured here; expected loss, iou, mean_iou, dice, mean_dice, "
        "precision, mean_precision, recall, mean_recall, pixel_accuracy, mean_accuracy, fw_iou. "
        "More are measured with --metric saliency or --metric boundary"
    )
    assert not Path("run").exists()
    trained(val=Squares(3), changes=["eval_metric=max_f"], metrics=["saliency"])


# --- preprocessing --------------------------------------------------------------------------------


def test_the_mean_of_the_data_set_is_saved_and_not_computed_again():
    data = Squares(8)
    found = trained(data=data, changes=["normalize=dataset"])
    mean, std = mean_and_std(data, found.model.preprocess, 3)
    saved = segzoo.load("run/model").preprocess
    assert (saved.mean, saved.std) == (mean, std)
    assert 0.1 < mean[0] < 0.4
    again = train(None, data, resume="run", run="longer", changes=["steps=+1"], settings=QUIET)
    assert again.model.preprocess == saved
    other = Squares(8, side=48)
    assert train(None, other, resume="run", run="other", settings=QUIET).model.preprocess == saved


def test_a_preprocess_of_ones_own():
    wanted = Preprocess(size=(16, 16), resize="stretch", multiple_of=2)
    assert trained(preprocess=wanted).model.preprocess == wanted
    assert segzoo.load("run/model").preprocess == wanted


# --- networks, specs and data of one's own --------------------------------------------------------


def network():
    torch.manual_seed(0)
    return nn.Conv2d(3, 1, 3, padding=1)


class Photos(torch.utils.data.Dataset):
    """A person's own, without names of classes."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index):
        return {**Squares(5)[index], "id": str(index)}


def test_a_network_and_a_data_set_of_ones_own():
    seen = []

    def turned(image, mask):
        seen.append(image.shape)
        return image[::-1].copy(), mask[::-1].copy()

    def doubled(outputs, batch):
        return 2 * binary_cross_entropy()(outputs, batch)

    before = network().weight
    found = trained(
        network(), Photos(), val=Photos(), num_classes=1, transform=turned, loss=doubled
    )
    assert seen == [(32, 32, 3)] * 4
    assert not torch.equal(found.model.weight, before)
    assert {p.name for p in Path("run/model").iterdir()} == {"model.safetensors"}
    assert found.result.best is not None
    plain = trained(network(), Photos(), num_classes=1, transform=turned, run="plain")
    losses = [journal.read(folder)[0]["loss"] for folder in ("run", "plain")]
    assert losses[0] == pytest.approx(2 * losses[1], rel=0.05)
    assert not torch.equal(plain.model.weight, before)

    with pytest.raises(UsageError, match=r"^run: the run is of a network or spec of your own"):
        train(None, Photos(), resume="run", settings=QUIET)
    more = {"resume": "run", "run": "more", "changes": ["steps=+1"], "num_classes": 1}
    assert trained(network(), Photos(), **more).result.step == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recipe": None, "num_classes": 1}, "an nn.Module needs recipe=Recipe(...) and num_"),
        ({"recipe": "seed", "num_classes": 1}, "an nn.Module needs recipe=Recipe(...) and num_"),
        ({}, "an nn.Module needs recipe=Recipe(...) and num_classes="),
        (
            {"num_classes": 1, "pretrained": True},
            "pretrained=, init_from= and options are about models that segzoo builds. Build the "
            "nn.Module, with its weights, before it is trained",
        ),
        (
            {"num_classes": 1, "width": 3},
            "pretrained=, init_from= and options are about models that segzoo builds; found width",
        ),
    ],
)
def test_what_a_network_needs(arguments, message):
    with pytest.raises(UsageError) as error:
        trained(network(), **arguments)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("model", [TINY, "tiny:TINY"], ids=["spec", "module:ATTR"])
def test_a_spec_that_no_plugin_offers(model):
    found = trained(model, loss=BCE, width=3)
    assert found.model.config.options == {"width": 3}
    with pytest.raises(PluginMissingError, match="was made from a spec that no plugin offers"):
        segzoo.load("run/model")
    weights = "run/model/model.safetensors"
    again = segzoo.load(model, weights=weights, width=3)
    assert same(again.network.state_dict(), found.model.network.state_dict())
    more = trained(model, loss=BCE, width=3, resume="run", run="more", changes=["steps=+1"])
    assert more.result.step == 3
    tuned = trained(model, loss=BCE, width=3, init_from="run/model", run="tuned")
    assert tuned.model.config.options == {"width": 3}


def test_a_model_loaded_before():
    zoo = segzoo.load("unetpp", num_classes=1, seed=3, **SMALL)
    found = train(zoo, Squares(8), recipe=RECIPE, settings=QUIET)
    assert found.model.network is zoo.network
    with pytest.raises(UsageError) as error:
        train(zoo, Squares(8), recipe=RECIPE, settings=QUIET, num_classes=2, run="other")
    assert str(error.value) == (
        "this unetpp is built already, with its classes, channels, task, options and weights. "
        "Give those to segzoo.load, or train it by its name"
    )


class Stream:
    def __iter__(self):
        return iter([Squares(1)[0]])


def test_a_stream_is_refused():
    with pytest.raises(UsageError) as error:
        trained(data=Stream())
    assert str(error.value) == (
        "a stream cannot be trained on: its samples have no numbers to resume by; found Stream. "
        "Download its shards, or write samples to a folder first"
    )


def test_data_that_cannot_be_trained_on():
    with pytest.raises(DatasetError, match=r"^the data set is empty; expected at least one sample"):
        trained(data=Squares(0))
    with pytest.raises(UsageError, match=r"^nothing to train, or to train on; expected a model"):
        train("unetpp", settings=QUIET)
    with pytest.raises(DatasetError, match=r"^a data set gave something that is not a sample"):
        trained(data=[(np.zeros((8, 8, 3)), np.zeros((8, 8)))])


# --- going on, and beginning from weights ---------------------------------------------------------


def test_a_run_goes_on_with_nothing_said():
    whole = trained(run="whole", changes=["steps=4"], val=Squares(3))
    words = save_squares()
    settings = replace(QUIET, save_every=1)
    arguments = {"data": words, "val": words, "changes": ["steps=4"]}
    stopped = trained(**arguments, settings=replace(settings, max_minutes=0.0))
    assert (stopped.result.stopped, stopped.result.step) == ("max_minutes", 1)
    resumed = train(resume="run", settings=settings)
    assert (resumed.result.step, resumed.result.exact) == (4, True)
    assert whole.result.best == resumed.result.best
    assert same(tensors("whole"), tensors())
    assert train(resume="run", settings=settings).result.step == 4  # a finished one stays


def test_a_run_from_before_goes_on_by_the_metrics_that_it_began_with(monkeypatch):
    """Its max_f is that of the mean curve, in its journal and in the choice of its step."""
    words = save_squares()
    settings = replace(QUIET, save_every=1, eval_every=1)
    changes = ["steps=4", "eval_metric=max_f"]
    arguments = {"data": words, "val": words, "changes": changes, "metrics": ["saliency"]}
    with monkeypatch.context() as before:
        before.setattr("segzoo.runs.training.VERSION", 1)
        whole = trained(**arguments, run="whole", settings=settings)
        trained(**arguments, settings=replace(settings, max_minutes=0.0))
    for run in ("whole", "run"):
        assert "metrics_version" not in json.loads(Path(run, "run.json").read_text())["identity"]
    resumed = train(resume="run", settings=settings)
    assert (resumed.result.step, resumed.result.exact) == (4, True)
    assert resumed.result.best == whole.result.best
    assert same(tensors("whole"), tensors())
    measured = [[r["val"] for r in journal.read(run) if "val" in r] for run in ("whole", "run")]
    assert measured[0] == measured[1]
    now = segzoo.evaluate("run/model", words, metrics=["saliency"], bootstrap=0, workers=0).values
    best = next(v for v in measured[1] if v["max_f"] == whole.result.best)
    assert best["max_f"] == pytest.approx(now["max_f_of_mean"], abs=1e-12)
    assert "max_f_of_mean" not in best

    new = trained(**arguments, run="new", settings=settings)
    assert new.result.values.keys() >= {"max_f", "max_f_of_mean"}
    identity = json.loads(Path("new/run.json").read_text())["identity"]
    assert identity["metrics_version"] == 2


def test_what_a_run_calls_otherwise_is_said_when_it_goes_on(monkeypatch, capfd):
    words = save_squares()
    with monkeypatch.context() as before:
        before.setattr("segzoo.runs.training.VERSION", 1)
        trained(data=words, val=words, metrics=["saliency"])
    train(resume="run", settings=replace(QUIET, quiet=False))
    told = "version 1 of the metrics, as it began: max_f is what is now max_f_of_mean"
    assert told in capfd.readouterr().err


def test_a_run_of_later_metrics_is_refused():
    words = save_squares()
    trained(data=words, val=words)
    record = json.loads(Path("run/run.json").read_text())
    record["identity"]["metrics_version"] = 3
    Path("run/run.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"run.json: its numbers are of another version of the metr"):
        train(resume="run", settings=QUIET)


def save_squares(length=8, name="squares.npz"):
    samples = [Squares(length)[index] for index in range(length)]
    np.savez(name, **{key: [s[of] for s in samples] for key, of in KEYS.items()})
    return f"arrays:{name}?classes=background,square"


KEYS = {"images": "image", "masks": "target"}


def test_a_finished_run_goes_on_elsewhere():
    trained(val=Squares(3), data=Squares(8))
    arguments = {"resume": "run", "settings": QUIET, "data": Squares(8), "val": Squares(3)}
    longer = train(**arguments, run="run2", changes=["steps=+2"])
    assert longer.result.step == 4
    assert segzoo.load("run2/model").classes == ("square",)
    with pytest.raises(RunError, match=r"the run was begun otherwise; found steps: was 2, is 4"):
        train(**arguments, run="run", changes=["steps=+2"])
    with pytest.raises(RunError, match=r"^run3: there is no run to go on with; expected a folder"):
        train(resume="run3")


def test_a_run_is_not_written_over():
    trained()
    before = Path("run/config.json").read_bytes()
    with pytest.raises(RunError, match=r"^run: holds a run already"):
        trained(num_classes=2)
    assert Path("run/config.json").read_bytes() == before


def test_beginning_with_weights_of_another_class_count():
    trained()
    with pytest.warns(UserWarning, match="the weights are of 1 class and 3 channels, asked for"):
        found = trained(
            data=of_three(), init_from="run/model", changes=["lr=1e-30"], run="tuned", **SMALL
        ).model
    assert (found.num_classes, found.task) == (3, "multiclass")
    old, new = tensors(), found.network.state_dict()
    assert all(torch.equal(old[k], new[k]) for k in old if "weight" in k and "head" not in k)

    file = "run/model/model.safetensors"
    from_file = trained(init_from=file, changes=["lr=1e-30"], run="file").model
    assert torch.equal(from_file.network.state_dict()["heads.1.weight"], old["heads.1.weight"])
    again = trained("run/model", changes=["lr=1e-30"], run="folder").model
    assert torch.equal(again.network.state_dict()["heads.1.weight"], old["heads.1.weight"])


def test_two_classes_of_the_softmax_stay_two():
    trained(num_classes=2)
    assert trained("run/model", run="again").model.num_classes == 2


def test_weights_of_another_model_are_refused():
    trained()
    with pytest.raises(UsageError) as error:
        trained("unet", init_from="run/model", width=2)
    assert str(error.value) == (
        "run/model: the weights to begin with are of another model; found unetpp, expected unet"
    )
    with pytest.raises(ConfigError, match="there is no such file"):
        trained(init_from=".", run="other")


def test_published_weights_by_their_tag():
    recipe = replace(RECIPE, steps=1, size=(32, 32), lr=1e-30)
    found = train("u2netp.duts", Squares(2), recipe=recipe, settings=QUIET).model
    published = segzoo.load("u2netp.duts").network.state_dict()
    assert torch.equal(found.network.state_dict()["fuse.weight"], published["fuse.weight"])
    assert found.preprocess.rescale == "255"  # as these weights were trained
    for reference, pretrained, size, ref in (
        ("segzoo-u2net/u2netp.duts", False, (176, 176), "u2netp.duts"),
        ("u2netp", True, (320, 320), "u2netp.tuned"),
    ):
        _, config, weighs = subject.origin_of(reference, pretrained)
        assert (config.preprocess.size, weighs) == (size, ref)
    assert not subject.origin_of("u2netp", False)[2]


# --- what is given in the wrong place -------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"changes": ["depth=3"]},
            "'depth' is an option of unetpp, not of its recipe. Write --option depth=3, in Python "
            "train(..., depth=3)",
        ),
        (
            {"changes": {"workers": "2"}},
            "'workers' is a setting, not a field of the recipe. In Python: "
            "settings=Settings(workers=...)",
        ),
        (
            {"changes": ["workers=2"]},
            "'workers' is a setting, not a field of the recipe. In Python: "
            "settings=Settings(workers=2)",
        ),
        ({"epochs": 3}, "'epochs' is not an option of unetpp. Give changes=['epochs=3']"),
        (
            {"device": "cpu"},
            "'device' is not an option of unetpp. Give settings=Settings(device='cpu')",
        ),
        ({"changes": ["crops=3"]}, "the recipe cannot be changed: 'crops' is not a field (did you"),
        ({"recipe": "seeds"}, "no recipe 'seeds'; expected cells or seed. Did you mean 'seed'?"),
        ({"loss": "dise"}, "no loss 'dise'"),
        ({"metrics": ["semantics"]}, "no metric 'semantics'"),
        ({"widht": 3}, "unetpp: 'widht' is not an option (did you mean 'width'?); it has width, "),
    ],
)
def test_what_is_given_in_the_wrong_place(arguments, message):
    with pytest.raises(UsageError) as error:
        trained(**arguments)
    assert str(error.value).startswith(message)
    assert not Path("run").exists()


def test_options_of_a_command_line():
    assert options_of(["depth=3", "mode=fast", "released=true"]) == {
        "depth": 3,
        "mode": "fast",
        "released": True,
    }
    with pytest.raises(UsageError, match=r"^cannot read the option 'depth'; expected name=value$"):
        options_of(["depth"])


# --- decoded samples ------------------------------------------------------------------------------


@pytest.fixture
def pictures():
    for index in range(6):
        sample = Squares(6, side=40)[index]
        for folder, key in (("images", "image"), ("masks", "target")):
            os.makedirs(f"squares/{folder}", exist_ok=True)
            Image.fromarray(sample[key]).save(f"squares/{folder}/{index}.png")
    return "folder:squares?classes=background,square&val=0.34"


def test_a_cache_changes_nothing(pictures):
    results = []
    for run, cache in (("plain", ""), ("cached", "cache"), ("again", "cache")):
        settings = replace(QUIET, cache=cache)
        trained(data=pictures, changes=["size=32"], settings=settings, run=run)
        results.append(tensors(run))
        assert len(list(Path("cache").glob("*.decoded"))) == (2 if cache else 0)
    assert same(results[0], results[1])
    assert same(results[0], results[2])
    found = train(resume="plain", settings=replace(QUIET, cache="cache"))
    assert found.result.exact


def test_a_cache_of_arrays_follows_their_file():
    words = save_squares()
    settings = replace(QUIET, cache="cache")
    trained(data=words, settings=settings)
    save_squares(9)
    os.utime("squares.npz", ns=(1, 1))
    assert len(list(Path("cache").glob("*.decoded"))) == 1
    trained(data=words, settings=settings, run="other")
    assert len(list(Path("cache").glob("*.decoded"))) == 2


def test_a_cache_needs_a_data_set_that_says_what_it_reads():
    with pytest.raises(UsageError, match="a Squares does not say which files it reads"):
        trained(settings=replace(QUIET, cache="cache"))
