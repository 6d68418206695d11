"""segzoo label: a data set of what a model says, which training takes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from squares import Squares

import segzoo
from segzoo.cli.main import run
from segzoo.data.fingerprint import fingerprint
from segzoo.data.opened import opened
from segzoo.engine.settings import Settings
from segzoo.errors import DatasetError, UsageError
from segzoo.predict.outputs import confidence
from segzoo.predict.prediction import Prediction
from segzoo.runs.training import train
from segzoo.spec import Recipe

ONE = "folder:data?values=0,255&weight=confidence"


@pytest.fixture(autouse=True)
def photos(monkeypatch, tmp_path):
    """Photos, one of them in a folder below, and a model with weights that is no plugin's."""
    monkeypatch.chdir(tmp_path)
    Path("photos/more").mkdir(parents=True)
    for number, name in enumerate(["a.png", "b.jpg", "more/c.png"]):
        Image.fromarray(Squares(9)[number]["image"]).save(f"photos/{name}", quality=95)
    segzoo.load("tiny:TINY", seed=0).save_pretrained("saved")


def label(*arguments: str) -> int:
    weights = ("--weights", "saved/model.safetensors")
    return run(["label", "tiny:TINY", "photos", "-r", "-o", "data", *weights, *arguments])


def test_a_folder_of_photos_becomes_a_data_set_that_training_takes(capfd):
    assert label() == 0
    told = capfd.readouterr()
    assert told.out.splitlines()[-1] == f"segzoo train MODEL --data '{ONE}'"
    assert Path("data/images/b.jpg").read_bytes() == Path("photos/b.jpg").read_bytes()
    data = opened(ONE, part="train")
    assert [data.dataset[n]["id"] for n in range(3)] == ["a", "b", "more/c"]
    sample = data.dataset[2]
    predicted = segzoo.load("tiny:TINY", weights="saved/model.safetensors").predict(
        "photos/more/c.png"
    )
    assert np.array_equal(sample["target"] * 255, predicted.mask)
    assert np.allclose(sample["weight"], np.abs(2 * predicted.probability - 1), atol=1 / 255)
    assert "its masks are what tiny:TINY with model.safetensors says" in " ".join(data.notes)
    recipe = Recipe(steps=1, batch_size=2, optimizer=("adam", {}), lr=1e-3)
    settings = Settings(device="cpu", workers=0, quiet=True)
    assert train("tiny:TINY", ONE, recipe=recipe, loss="dice", settings=settings).result.step == 1


def test_mask_and_confidence_of_one_class_are_the_soft_mask():
    p = np.linspace(0, 1, 11, dtype=np.float32).reshape(1, 11)
    mask = np.where(p > 0.5, np.uint8(255), np.uint8(0))
    sure = confidence(Prediction(mask, p, picture=None)).image / 255
    assert np.allclose(np.where(mask > 0, 0.5 + sure / 2, 0.5 - sure / 2), p, atol=1 / 255)
    three = np.array([0.5, 0.3, 0.2], np.float32).reshape(3, 1, 1)
    assert confidence(Prediction(mask[:, :1], three, picture=None)).image == round(0.2 * 255)


def test_the_card_says_who_said_so_and_names_no_place_of_this_machine():
    assert label("-q") == 0
    about = json.loads(Path("data/labels.json").read_text("utf-8"))
    assert about["model"] == "tiny:TINY with model.safetensors"
    assert (about["license"], about["trained_on"]) == ("not stated", [])
    card = Path("data/README.md").read_text("utf-8")
    assert "Nobody drew these masks: they are what `tiny:TINY with model.safetensors`" in card
    assert "segzoo train MODEL --data 'folder:DATA?values=0,255&weight=confidence'" in card
    assert str(Path.cwd()) not in card


def test_it_goes_on_where_it_was_and_writes_nothing_over(capfd):
    assert label("-q") == 0
    assert label("-q") == 2
    assert "Give --skip-existing" in capfd.readouterr().err
    Path("data/masks/a.png").unlink()
    assert label("--skip-existing", "--json") == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["written"], found["skipped"]) == (1, 2)
    Path("data/README.md").rename("kept.md")
    Path("data/labels.json").unlink()
    Path("data/README.md").write_text("mine")
    assert label("--overwrite") == 2
    assert Path("data/README.md").read_text() == "mine"


def test_a_change_of_a_weight_is_a_change_of_the_data():
    assert label("-q") == 0
    before = fingerprint(opened(ONE, part="train").dataset).sha256
    Image.fromarray(np.zeros((32, 32), np.uint8)).save("data/confidence/a.png")
    assert fingerprint(opened(ONE, part="train").dataset).sha256 != before


def test_weights_that_do_not_fit_are_named():
    assert label("-q") == 0
    Image.fromarray(np.zeros((3, 4), np.uint8)).save("data/confidence/a.png")
    with pytest.raises(DatasetError, match=r"confidence/a\.png: this is no weight of its picture"):
        opened(ONE, part="train").dataset[0]
    Path("data/confidence/a.png").unlink()
    with pytest.raises(DatasetError, match="masks without a picture of their weights; found 1: a"):
        opened(ONE, part="train")
    with pytest.raises(UsageError, match="weight= is of one class per pixel"):
        opened("folder:data?overlap=yes&weight=confidence", part="train")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["label", "tiny:TINY", "-", "-o", "data"], "a data set is made of files"),
        (["label", "tiny:TINY", "photos", "-o", "data", "--random-init"], "has nothing to say"),
    ],
)
def test_what_cannot_be_labelled(arguments, message, capfd):
    assert run(arguments) == 2
    assert message in capfd.readouterr().err
    assert not Path("data").exists()
