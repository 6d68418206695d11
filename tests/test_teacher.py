"""Learning from another model: what it says, the loss, the run, the card."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from squares import Squares
from test_card import FACTS
from tiny import TINY

import segzoo
from segzoo.data.sample import Info
from segzoo.engine.distil import Distilled, agreement
from segzoo.engine.evaluate import Task
from segzoo.engine.settings import Settings
from segzoo.engine.teacher import Teacher
from segzoo.errors import RunError, UsageError
from segzoo.losses import binary_cross_entropy
from segzoo.publish import card
from segzoo.publish.trained import taught_by_of
from segzoo.runs.begun import begun_of, typed_again
from segzoo.runs.training import train
from segzoo.spec import Dataset, Preprocess, Recipe

QUIET = Settings(device="cpu", workers=0, quiet=True)
RECIPE = Recipe(
    steps=6, batch_size=2, optimizer=("adam", {}), lr=1e-2, crop=(16, 16), augment=(("flip", {}),)
)


@pytest.fixture(autouse=True)
def folder_of_its_own(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def model(seed=0, spec=TINY, **arguments):
    return segzoo.load(spec, seed=seed, **arguments)


def trained(teacher, **arguments):
    arguments = {"run": "run", "recipe": RECIPE, "settings": QUIET, "loss": "dice", **arguments}
    arguments = {"seed": 0, **arguments} if "seed" in arguments else arguments
    return train("tiny:TINY", Squares(6), teacher=teacher, **arguments)


def identity(run="run"):
    return json.loads(Path(run, "run.json").read_text("utf-8"))["identity"]


# --- what it says ---------------------------------------------------------------------------------

OWN = Preprocess(size=(24, 40), resize="stretch", mean=(0.4, 0.5, 0.6), std=(0.2,), multiple_of=16)


@pytest.mark.parametrize("margin", [0, 3])
def test_it_says_of_what_the_student_sees_what_it_predicts_by_its_own_preprocessing(margin):
    found = model(spec=replace(TINY, preprocess=OWN))
    generator = np.random.default_rng(0)
    inner = generator.integers(0, 256, (2, 30, 20, 3)).astype(np.uint8)
    wide = np.pad(inner, ((0, 0), (margin,) * 2, (margin,) * 2, (0, 0)))
    images = torch.from_numpy(wide.transpose(0, 3, 1, 2).copy())
    said = Teacher(found.network, _task(found), 1)(images, Preprocess(margin=margin))
    assert said.shape == (2, 1, 30, 20)
    for picture, one in zip(inner, said, strict=True):
        # One picture and two are summed in another order on some processors.
        assert np.allclose(found.predict(picture).probability, one[0].numpy(), atol=1e-6)


def _task(found):
    return Task(
        preprocess=found.preprocess,
        postprocess=found.postprocess,
        in_channels=found.in_channels,
        num_classes=found.num_classes,
    )


def test_one_class_is_the_second_of_two_and_gray_pictures_are_colours_to_it():
    two, one = model(num_classes=2, task="multiclass"), model()
    gray = torch.randint(0, 256, (1, 1, 8, 8), dtype=torch.uint8)
    said = Teacher(two.network, _task(two), 1)(gray, Preprocess())
    picture = gray[0].expand(3, 8, 8).permute(1, 2, 0).numpy().copy()
    assert np.allclose(said[0, 0], two.predict(picture).probability[1])
    said = Teacher(one.network, _task(one), 2)(gray, Preprocess())
    assert torch.allclose(said.sum(1), torch.ones(1, 8, 8))
    assert np.allclose(said[0, 1], one.predict(picture).probability)


# --- the loss -------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_agreement_is_the_divergence_of_softened_probabilities(temperature):
    generator = torch.Generator().manual_seed(0)
    theirs, ours = (torch.randn(2, 3, 4, 5, generator=generator) for _ in range(2))
    loss = agreement(temperature=temperature)
    batch = {"target": torch.zeros(2, 4, 5).long(), "teacher": theirs.softmax(1)}
    p, log_q = (theirs / temperature).softmax(1), (ours / temperature).log_softmax(1)
    expected = temperature**2 * F.kl_div(log_q, p, reduction="none").sum(1).mean()
    assert loss(ours, batch).item() == pytest.approx(expected.item(), rel=1e-4)
    assert loss(theirs, batch).item() == pytest.approx(0, abs=1e-5)
    batch = {"target": torch.zeros(2, 3, 4, 5), "teacher": theirs.sigmoid()}
    p = (theirs / temperature).sigmoid()
    both = [
        F.binary_cross_entropy_with_logits(logits / temperature, p) for logits in (ours, theirs)
    ]
    expected = temperature**2 * (both[0] - both[1])
    assert loss(ours, batch).item() == pytest.approx(expected.item(), rel=1e-3)


def test_what_has_no_weight_is_not_compared_and_each_head_is():
    logits, said = torch.full((1, 1, 2, 2), 3.0), torch.full((1, 1, 2, 2), 0.5)
    said[..., 0] = torch.tensor(3.0).sigmoid()
    weight = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    batch = {"target": torch.zeros(1, 2, 2), "teacher": said}
    loss = agreement(head_weights=(1.0, 0.5))
    assert agreement()(logits, batch | {"weight": weight}).item() == pytest.approx(0, abs=1e-6)
    single = agreement()(logits, batch).item()
    assert loss((logits, logits), batch)["loss"].item() == pytest.approx(1.5 * single)


def test_a_share_of_the_loss_is_the_teachers_and_a_measurement_is_the_datas():
    own = binary_cross_entropy()
    logits = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    batch = {"target": torch.ones(1, 4, 4)}
    taught = {**batch, "teacher": torch.full((1, 1, 4, 4), 0.3)}
    found = Distilled(own, 0.25, agreement())(logits, taught)
    assert found["loss_data"] == own(logits, batch)
    assert found["loss_teacher"] == agreement()(logits, taught)
    assert found["loss"] == 0.75 * found["loss_data"] + 0.25 * found["loss_teacher"]
    assert Distilled(own, 0.25, agreement())(logits, batch) == own(logits, batch)


# --- the run --------------------------------------------------------------------------------------


def values(run="run"):
    return Path(run, "model", "model.safetensors").read_bytes()


def test_a_student_of_a_teacher_alone_comes_to_say_the_same():
    teacher = model(seed=3)
    before = {name: value.clone() for name, value in teacher.network.state_dict().items()}
    changes = ["steps=60", "distil=1", "lr=0.05", "batch_size=6"]
    found = trained(teacher, changes=changes).model
    picture = Squares(9)[8]["image"]
    said, learned, untaught = (m.predict(picture).probability for m in (teacher, found, model(7)))
    assert np.abs(said - learned).mean() < 0.3 * np.abs(said - untaught).mean()
    assert all(torch.equal(before[n], v) for n, v in teacher.network.state_dict().items())


def test_a_taught_run_goes_on_to_the_same_bits_and_says_by_whom():
    teacher = model(seed=3)
    trained(teacher, run="whole")
    trained(teacher, settings=replace(QUIET, max_minutes=0.0))
    first = identity()["teacher"]
    assert first["model"] == ""
    assert len(first["values"]) == 64
    with pytest.raises(UsageError, match="taught by a model in hand, which it cannot name"):
        train("tiny:TINY", Squares(6), run="run", resume="run", settings=QUIET, loss="dice")
    with pytest.raises(RunError, match="was begun otherwise; found teacher: was"):
        trained(model(seed=4), resume="run")
    trained(teacher, resume="run")
    assert values() == values("whole")
    trained(None, run="alone")
    assert values() != values("alone")
    assert "teacher" not in identity("alone")


def test_a_runs_word_alone_imports_no_teacher():
    trained(model(), changes=["steps=1"])
    file = Path("run/run.json")
    record = json.loads(file.read_text("utf-8"))
    record["identity"]["teacher"]["model"] = "strange:CODE"
    file.write_text(json.dumps(record))
    with pytest.raises(RunError, match="type again what the file claims: --teacher strange:CODE"):
        begun_of(Path("run"))
    assert begun_of(Path("run"), typed=["teacher"]).teacher is None
    assert "--teacher strange:CODE" in typed_again(Path("run"))


class Three(Squares):
    def __init__(self) -> None:
        super().__init__(4)
        self.info = Info(classes=("a", "b", "c"), ignore_index=255)


def softmax(classes=()):
    found = model(num_classes=3, task="multiclass")
    found.config = replace(found.config, classes=classes)
    return found


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (lambda: model(num_classes=4, task="multiclass"), "tells other classes apart; found 4"),
        (lambda: softmax(("a", "c", "b")), "its classes are others, or in another order"),
        (
            lambda: model(num_classes=3, task="binary"),
            "its answers are of another kind; found a probability for each class",
        ),
        (
            lambda: model(
                spec=replace(TINY, preprocess=Preprocess(mode="bands")),
                num_classes=3,
                task="multiclass",
            ),
            "it takes other pictures; found 3 channels in mode bands",
        ),
    ],
)
def test_who_cannot_teach(teacher, message):
    with pytest.raises(UsageError, match=message):
        train("tiny:TINY", Three(), teacher=teacher(), recipe=RECIPE, settings=QUIET, loss="dice")
    assert not Path("run").exists()


def test_a_share_without_a_teacher_is_refused():
    with pytest.raises(UsageError, match="distil and temperature are of a teacher"):
        trained(None, changes=["distil=0.5"])


# --- the card -------------------------------------------------------------------------------------


def test_the_card_says_by_whom_it_was_taught_and_under_which_licence():
    record = {"identity": {"teacher": {"model": "hf-hub:acme/big@r1", "license": "CC-BY-NC-4.0"}}}
    found = taught_by_of(record)
    assert found == ("hf-hub:acme/big@r1", "CC-BY-NC-4.0")
    text = card.readme(replace(FACTS, taught_by=found))
    assert "distilled: it learned from what `hf-hub:acme/big@r1` says" in text
    assert "licence of that model's weights: CC-BY-NC-4.0." in text
    assert "and what `hf-hub:acme/big@r1` learned from" in text
    assert "distilled" not in card.readme(FACTS)
    assert taught_by_of({}) is None


def test_what_the_teacher_learned_from_the_student_did_too():
    teacher = model()
    data = Dataset(name="Sky", license="CC-BY-4.0")
    teacher.config = replace(teacher.config, trained_on=(data,), license="MIT")
    found = trained(teacher, changes=["steps=1"]).model
    assert found.config.trained_on == (data,)
    assert identity()["teacher"]["license"] == "MIT"
    assert found.config.license == ""
