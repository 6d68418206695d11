"""The stages of a training, one by one: what each takes from the shared state and leaves in it."""

import contextlib
import json

import numpy as np
import pytest
import torch
from squares import Squares, job_of

from segzoo.engine import checkpoint, journal
from segzoo.engine import train as stages
from segzoo.engine.evaluate import Share
from segzoo.engine.job import Hooks
from segzoo.engine.record import EXACT, RUN
from segzoo.engine.train import Due, train
from segzoo.errors import DatasetError, NonFiniteError, RunError

BINARY = "segzoo.losses:binary_cross_entropy"


def asked(run, recipe=None, settings=None, **rest):
    """The job of training a small network for six steps of four squares."""
    recipe = {"steps": 6, "batch_size": 4, **(recipe or {})}
    _, job = job_of("tiny:TINY", run, loss=BINARY, recipe=recipe, settings=settings, **rest)
    return job


@contextlib.contextmanager
def at_work(job):
    """The job, ready for its next step."""
    with stages.place_of(job) as place, stages.trainee_of(job, place) as trainee:
        sitting = stages.begun(job, place, trainee)
        with stages.training_of(job, place, trainee, sitting) as training:
            yield training


def values_of(network):
    return torch.cat([value.flatten() for value in network.state_dict().values()]).clone()


def parameters_of(network):
    return torch.cat([value.detach().flatten() for value in network.parameters()])


def stepped(training):
    """One update; the losses of its step."""
    stages.set_rate(training)
    parts = stages.next_parts(training)
    losses, _ = stages.backward(training, parts)
    stages.update(training, parts, losses)
    return losses


def test_the_stages_by_hand_are_the_loop(tmp_path):
    whole = asked(tmp_path / "whole", {"ema": 0.5}, val=2)
    train(whole)
    by_hand = asked(tmp_path / "hand", {"ema": 0.5}, val=2)
    with at_work(by_hand) as training:
        while not training.is_over:
            stepped(training)
        stages.save(training)
        assert stages.ended(training).step == 6
    assert torch.equal(values_of(by_hand.network), values_of(whole.network))


def test_a_place_is_of_this_process_and_its_folder_is_locked(tmp_path):
    job = asked(tmp_path / "run")
    with stages.place_of(job) as place:
        assert (place.device, place.share, place.is_first, place.held) == (
            torch.device("cpu"),
            Share(0, 1),
            True,
            False,
        )
    assert not job.run.exists()  # it comes with the first step
    job.run.mkdir()
    with stages.place_of(job) as place:
        assert place.held
        with pytest.raises(RunError, match="another run uses this folder"), stages.place_of(job):
            pass
    with stages.place_of(job):  # which it is no more
        pass


def test_a_trainee_is_ready_and_the_callers_random_numbers_stay(tmp_path):
    job = asked(tmp_path / "run", {"ema": 0.5})
    job.network.eval()
    before = torch.get_rng_state()
    with stages.place_of(job) as place, stages.trainee_of(job, place) as trainee:
        assert trainee.state.network is job.network
        assert job.network.training
        assert trainee.state.average is not None
        held = {p for group in trainee.state.optimizer.param_groups for p in group["params"]}
        assert held == set(job.network.parameters())
        inside = torch.get_rng_state()
    assert not torch.equal(inside, before)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_begins_goes_on_and_is_not_begun_twice(tmp_path):
    job = asked(tmp_path / "run")
    with at_work(job) as training:
        assert training.sitting[1:] == (True, "", 0, 0.0, False, [])
        stepped(training)
        stages.save(training)
        after = values_of(job.network)
    assert json.loads((tmp_path / "run" / RUN).read_text())["recipe"]["steps"] == 6
    with pytest.raises(RunError, match="holds a run already"), at_work(asked(tmp_path / "run")):
        pass
    again = asked(tmp_path / "run", resume=True)
    assert not torch.equal(values_of(again.network), after)
    with at_work(again) as training:
        assert training.sitting[1:4] == (True, EXACT, 1)
        assert training.progress.step == 1
        assert torch.equal(values_of(again.network), after)


def test_the_rate_is_that_of_the_step(tmp_path):
    job = asked(tmp_path / "run", {"warmup": 4, "lr": 0.1})
    with at_work(job) as training:
        rates = []
        for step in range(6):
            training.progress.step = step
            rates.append(stages.set_rate(training))
            groups = training.state.optimizer.param_groups
            assert [group["lr"] for group in groups] == [rates[-1]] * len(groups)
    assert rates[:4] == sorted(rates[:4])
    assert rates[4:] == [0.1, 0.1]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_parts_are_the_steps_samples_on_the_device(tmp_path, accumulate):
    with at_work(asked(tmp_path / "run", {"accumulate": accumulate})) as training:
        parts = stages.next_parts(training)
        shapes = [part["image"].shape for part in parts]
        assert shapes == [(4 // accumulate, 3, 32, 32)] * accumulate
        assert {part["image"].dtype for part in parts} == {torch.float32}
        first = [name for part in parts for name in part["id"]]
        following = [name for part in stages.next_parts(training) for name in part["id"]]
    assert len({*first, *following}) == 8  # of twenty: no sample comes again in its epoch


def test_a_first_step_in_which_nothing_counts_is_refused(tmp_path):
    class Ignored(Squares):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return sample | {"target": np.full_like(sample["target"], 255)}

    job = asked(tmp_path / "run", data=Ignored(8))
    with pytest.raises(DatasetError, match="no pixel of the first batch"), at_work(job):
        pass
    assert not job.run.exists()


def test_the_folder_is_held_from_the_first_step_on(tmp_path):
    with at_work(asked(tmp_path / "run")), contextlib.ExitStack() as stack:
        with pytest.raises(RunError, match="another run uses this folder"):
            stack.enter_context(at_work(asked(tmp_path / "run")))


def test_gradients_are_those_of_the_whole_batch(tmp_path):
    job = asked(tmp_path / "run", {"accumulate": 2})
    with at_work(job) as training:
        job.network.norm.eval()  # in training each part has a mean of its own
        parts = stages.next_parts(training)
        losses, heads = stages.backward(training, parts)
        found = [p.grad.clone() for p in job.network.parameters()]
        job.network.zero_grad()
        whole = {key: torch.cat([part[key] for part in parts]) for key in ("image", "target")}
        loss = job.loss(job.network(whole["image"]), whole)
        loss.backward()
        torch.testing.assert_close([p.grad for p in job.network.parameters()], found)
        torch.testing.assert_close(losses["loss"], loss.detach())
    assert heads == 0  # one output, in no list


def test_an_update_that_is_not_finite_changes_nothing_and_is_told(tmp_path):
    job = asked(tmp_path / "run")
    with at_work(job) as training:
        values = [parameters_of(job.network)]
        stepped(training)
        stages.look_up(training)
        values.append(parameters_of(job.network))
        parts = stages.next_parts(training)
        losses, _ = stages.backward(training, parts)
        stages.update(training, parts, {"loss": losses["loss"] * float("nan")})
        values.append(parameters_of(job.network))
        assert not torch.equal(values[0], values[1])
        assert torch.equal(values[1], values[2])
        assert training.progress.step == 2
        assert all(p.grad is None for p in job.network.parameters())
        with pytest.raises(NonFiniteError, match="step 2 was not finite and was not applied"):
            stages.look_up(training)


@pytest.mark.parametrize(
    ("settings", "val", "due"),
    [
        ({}, 0, {5: (True, False, True, ""), 6: (True, False, True, "")}),  # an epoch is 5 steps
        ({}, 2, {5: (True, True, True, ""), 6: (True, True, True, "")}),
        ({"eval_every": 2, "save_every": 100}, 2, {s: (True, True, s == 6, "") for s in (2, 4, 6)}),
        ({"save_every": 3}, 0, {3: (True, False, True, ""), 6: (True, False, True, "")}),
        ({"max_minutes": 0.0}, 0, {1: (True, False, True, "max_minutes")}),
    ],
)
def test_what_is_due_after_a_step(tmp_path, settings, val, due):
    with at_work(asked(tmp_path / "run", settings=settings, val=val)) as training:
        found = {}
        for step in range(1, 7):
            stepped(training)
            now = stages.look_up(training)
            if now != Due(False, False, False, ""):
                found[step] = tuple(now)
            if now.stopped:
                break
    assert found == due


def test_a_note_is_a_line_of_the_journal(tmp_path):
    with at_work(asked(tmp_path / "run")) as training:
        losses = [float(stepped(training)["loss"]) for _ in range(2)]
        stages.note(training, 0.25)
    (line,) = journal.read(tmp_path / "run")
    assert line["loss"] == pytest.approx(sum(losses) / 2, rel=1e-6)
    assert (line["step"], line["lr"], line["epoch"], line["overflows"]) == (2, 0.25, 0.4, 0)


def test_a_measurement_that_is_the_best_is_told_and_saved(tmp_path):
    seen = []
    hooks = Hooks(on_best=seen.append, after_measuring=seen.append)
    job = asked(tmp_path / "run", settings={"patience": 1}, val=2, hooks=hooks)
    with at_work(job) as training:
        stepped(training)
        due = stages.measure(training, Due(True, True, False, ""), 0)
        assert due == Due(True, True, True, "")
        assert seen == [job.network, tmp_path / "run"]
        assert training.progress.best == training.values["loss"]
        same = stages.measure(training, Due(True, True, False, ""), 0)  # no better than before
        assert same == Due(True, True, True, "patience")
        assert seen == [job.network, tmp_path / "run", tmp_path / "run"]
    assert [r["best"] for r in journal.read(tmp_path / "run")] == [True, False]


def test_what_is_saved_stays_as_long_as_it_is_needed(tmp_path):
    with at_work(asked(tmp_path / "run", settings={"keep": 1})) as training:
        for step in range(1, 4):
            stepped(training)
            if step == 1:
                training.progress.note(0.5, lower_is_better=True)
            stages.save(training)
    names = sorted(path.name for path in (tmp_path / "run").glob("step-*"))
    assert names == ["step-00000001", "step-00000003"]
    assert checkpoint.find(tmp_path / "run", step=3).json("progress")["best"] == 0.5


def test_at_the_end_the_network_has_its_best_values(tmp_path):
    job = asked(tmp_path / "run")
    with at_work(job) as training:
        stepped(training)
        training.progress.note(0.5, lower_is_better=True)
        stages.save(training)
        best = values_of(job.network)
        stepped(training)
        training.stopped = "patience"
        result = stages.ended(training)
    assert (result.step, result.best_step, result.stopped, result.exact) == (2, 1, "patience", True)
    assert torch.equal(values_of(job.network), best)
    assert not job.network.training
