"""The rate of every step: against the golden of the warm-up, torch's and timm's schedulers."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from segzoo.engine.schedule import SCHEDULES, rate_at, steps_of
from segzoo.errors import DatasetError, UsageError
from segzoo.spec import Recipe

GOLDEN = json.loads((Path(__file__).parent / "goldens" / "warmup.json").read_text())["results"]
RECIPE = Recipe(steps=1, batch_size=1, optimizer=("sgd", {}), lr=0.5)
NAMED = pytest.mark.parametrize("name", SCHEDULES)


def rates(name, total, *, lr=0.5, warmup=0, **options):
    recipe = replace(RECIPE, lr=lr, warmup=warmup, schedule=(name, options))
    return [rate_at(step, total=total, recipe=recipe) for step in range(total)]


def of_scheduler(make, total):
    """The rates that a scheduler of torch or timm sets, for steps 0, 1, ..."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = make(optimizer)
    found = []
    for step in range(total):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(step + 1) if "timm" in type(scheduler).__module__ else scheduler.step()
    return found


@pytest.mark.parametrize("lr", GOLDEN)
def test_the_articles_warm_up(lr):
    found = rates("constant", 7, lr=float(lr), warmup=5)
    assert found == pytest.approx(GOLDEN[lr]["ideal_float64"], rel=1e-15)
    assert found == pytest.approx(GOLDEN[lr]["keras_float32"], rel=1e-7)


#        ours                                             torch's
SAME = {
    "constant": (("constant", {}), lambda o: lr_scheduler.ConstantLR(o, factor=1)),
    "cosine": (
        ("cosine", {"min_lr": 0.01}),
        lambda o: lr_scheduler.CosineAnnealingLR(o, 40, eta_min=0.01),
    ),
    "poly": (("poly", {"power": 0.9}), lambda o: lr_scheduler.PolynomialLR(o, 40, power=0.9)),
    "step": (
        ("step", {"every": 7, "factor": 0.3}),
        lambda o: lr_scheduler.StepLR(o, 7, gamma=0.3),
    ),
    "warm-up": (
        ("constant", {"warmup": 8}),
        lambda o: lr_scheduler.LinearLR(o, start_factor=1 / 8, total_iters=7),
    ),
    "warm-up, cosine": (
        ("cosine", {"warmup": 8}),
        lambda o: lr_scheduler.SequentialLR(
            o,
            [
                lr_scheduler.LinearLR(o, start_factor=1 / 8, total_iters=7),
                lr_scheduler.CosineAnnealingLR(o, 32),
            ],
            [8],
        ),
    ),
}


@pytest.mark.parametrize(("ours", "torchs"), SAME.values(), ids=SAME)
def test_as_torch(ours, torchs):
    (name, options), total = ours, 40
    assert rates(name, total, **options) == pytest.approx(of_scheduler(torchs, total), rel=1e-9)


@pytest.mark.parametrize("name", ["cosine", "poly"])
def test_as_timm(name):
    timm = pytest.importorskip("timm.scheduler")
    kind = {"cosine": timm.CosineLRScheduler, "poly": timm.PolyLRScheduler}[name]
    extra = {"power": 0.9} if name == "poly" else {}
    found = of_scheduler(lambda o: kind(o, t_initial=30, lr_min=0.02, **extra), 30)
    assert rates(name, 30, min_lr=0.02, **extra) == pytest.approx(found, rel=1e-9)


def test_a_share_of_the_steps():
    found = rates("step", 10, lr=1.0, warmup=1, every=1 / 3)
    assert found == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01])


@NAMED
@given(
    total=st.integers(1, 1000),
    warmup=st.integers(0, 1200),
    step=st.integers(0, 2000),
    lr=st.floats(1e-6, 10),
)
def test_rates_rise_to_lr_and_never_above(name, total, warmup, step, lr):
    recipe = replace(RECIPE, lr=lr, warmup=warmup, schedule=(name, {}))
    rate, after = (rate_at(s, total=total, recipe=recipe) for s in (step, step + 1))
    assert 0 <= rate <= lr
    assert rate <= after if step + 1 < warmup else after <= rate
    peak = max(0, warmup - 1)
    assert rate_at(peak, total=total, recipe=recipe) == pytest.approx(lr, rel=1e-15)
    if step >= max(total, warmup + 1):  # over
        assert rate == after


@NAMED
def test_the_end_is_reached(name):
    recipe = replace(RECIPE, schedule=(name, {}))
    end = rate_at(50, total=50, recipe=recipe)
    assert end == pytest.approx({"constant": 0.5, "step": 0.0005}.get(name, 0), abs=1e-15)


# --- what a user can get wrong --------------------------------------------------------------------

WRONG = {
    "name": (("cosin", {}), "no schedule 'cosin'. Did you mean 'cosine'?"),
    "far": (("zzz", {}), "no schedule 'zzz'. There are constant, cosine, poly, step"),
    "options": (
        ("poly", {"pover": 2, "min_lr": 0.7, "power": "2"}),
        "schedule 'poly': 'pover' is not an option (did you mean 'power'?); it has power, min_lr; "
        "power is '2' (str), not a value of type float; min_lr is 0.7, above lr=0.5",
    ),
    "none": (
        ("constant", {"min_lr": 0.1}),
        "schedule 'constant': 'min_lr' is not an option; it has none",
    ),
    "range": (("step", {"every": 0}), "schedule 'step': every is 0, below 1e-06"),
}


@pytest.mark.parametrize(("schedule", "message"), WRONG.values(), ids=WRONG)
def test_wrong_schedules(schedule, message):
    with pytest.raises(UsageError) as error:
        rate_at(0, total=9, recipe=replace(RECIPE, schedule=schedule))
    assert str(error.value) == message


# --- steps ----------------------------------------------------------------------------------------


@given(epochs=st.integers(1, 50), length=st.integers(1, 200), batch_size=st.integers(1, 70))
def test_each_sample_is_met_as_often_as_there_are_epochs(epochs, length, batch_size):
    recipe = replace(RECIPE, steps=None, epochs=epochs, batch_size=batch_size)
    steps = steps_of(recipe, length)
    assert (steps - 1) * batch_size < epochs * length <= steps * batch_size


def test_steps_of_the_digits():
    """200 epochs of 4,900 pictures by 16: 306.25 batches an epoch."""
    recipe = replace(RECIPE, steps=None, epochs=200, batch_size=16)
    assert steps_of(recipe, 4900) == 61_250
    assert steps_of(replace(RECIPE, steps=5), 4900) == 5
    assert steps_of(replace(RECIPE, steps=5), None) == 5
    assert steps_of(replace(recipe, batch_size=10_000), 1) == 1  # a batch larger than the data set


def test_m4_an_empty_data_set_and_epochs_of_a_stream():
    with pytest.raises(DatasetError) as empty:
        steps_of(RECIPE, 0)
    assert str(empty.value) == "the data set to train on is empty"
    with pytest.raises(UsageError) as stream:
        steps_of(replace(RECIPE, steps=None, epochs=1), None)
    assert str(stream.value) == (
        "this data set is a stream, whose samples are not counted, so it has no epochs. "
        "Give steps=NUMBER instead"
    )
