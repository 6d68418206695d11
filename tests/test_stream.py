"""Many pictures through stages: order, errors by position, and how little is held on the way."""

import gc
import itertools
import threading
import tracemalloc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from segzoo.errors import PictureError, PluginError
from segzoo.predict.prediction import Prediction
from segzoo.predict.predictor import Predictor
from segzoo.predict.stream import HELD_BATCHES, THREADS, stream
from segzoo.spec import Postprocess, Preprocess


class Piece:
    """What a stage makes of a source; `alive` knows those that somebody still holds."""

    def __init__(self, source, nbytes, alive):
        self.source, self.nbytes = source, nbytes
        alive.add(self)


class Numbers:
    """Stages whose sources are numbers: what becomes of each is its result.

    together: of a number; fails: at which stage a number does. Remembers the batches, and by which
    thread a stage was called.
    """

    def __init__(self, together=lambda n: 0, fails=None, nbytes=1):
        self.key, self.fails, self.size = together, fails or {}, nbytes
        self.alive, self.batches = weakref.WeakSet(), []
        self.threads = {"read": set(), "run": set(), "finish": set()}

    def _at(self, stage, n):
        self.threads[stage].add(threading.current_thread().name)
        if self.fails.get(n) == stage:
            return PictureError(f"{n} fails at {stage}")
        return Piece(n, self.size, self.alive)

    def read(self, n):
        return self._at("read", n)

    def together(self, read):
        return self.key(read.source)

    def run(self, batch):
        self.batches.append([read.source for read in batch])
        return [self._at("run", read.source) for read in batch]

    def finish(self, ran):
        made = self._at("finish", ran.source)
        return made if isinstance(made, PictureError) else f"result {made.source}"


def test_every_source_has_its_result_in_order():
    stages = Numbers(together=lambda n: n % 3)
    results = list(stream(range(50), stages, batch_size=4))
    assert results == [(n, f"result {n}") for n in range(50)]
    assert sorted(itertools.chain(*stages.batches)) == list(range(50))
    for batch in stages.batches:
        assert len({n % 3 for n in batch}) == 1
        assert len(batch) <= 4
    assert list(stream([], stages, batch_size=4)) == []


def test_one_that_runs_alone_does_not_wait():
    stages = Numbers(together=lambda n: None if n == 2 else 0)
    assert [n for n, _ in stream(range(6), stages, batch_size=4)] == list(range(6))
    assert stages.batches == [[2], [0, 1, 3, 4], [5]]


@pytest.mark.parametrize("stage", ["read", "run", "finish"])
@pytest.mark.parametrize("failing", [{0}, {5}, {1, 2, 3, 4}, {11}, set(range(12))])
def test_an_error_at_any_stage_keeps_its_place(stage, failing):
    stages = Numbers(together=lambda n: n % 2, fails=dict.fromkeys(failing, stage))
    results = list(stream(range(12), stages, batch_size=3))
    assert [n for n, _ in results] == list(range(12))
    for n, result in results:
        if n in failing:
            assert str(result) == f"{n} fails at {stage}"
        else:
            assert result == f"result {n}"


@pytest.mark.parametrize("stage", ["read", "together", "run", "finish"])
def test_what_a_stage_raises_ends_the_work_and_its_threads(stage, monkeypatch):
    def defect(self, given):
        raise ZeroDivisionError

    monkeypatch.setattr(Numbers, stage, defect)
    with pytest.raises(ZeroDivisionError):
        list(stream(range(9), Numbers(), batch_size=2))
    assert not any(t.name.startswith("segzoo-") for t in threading.enumerate())


def test_the_network_runs_in_the_callers_thread_alone():
    stages = Numbers()
    list(stream(range(40), stages, batch_size=4))
    assert stages.threads["run"] == {threading.current_thread().name}
    for stage in ("read", "finish"):
        assert all(name.startswith("segzoo-") for name in stages.threads[stage])


def test_bytes_that_are_held_are_bounded(monkeypatch):
    """Logits count too: they may be much larger than what was read."""
    monkeypatch.setattr("segzoo.predict.stream.HELD_BYTES", 100)

    class Growing(Numbers):
        def run(self, batch):
            ran = super().run(batch)
            for piece in ran:
                piece.nbytes = 60
            return ran

    # The first waits for others like it, and those behind it have run.
    stages = Growing(together=lambda n: "rare" if n == 0 else None)
    found = stream(range(100), stages, batch_size=8)
    next(found)
    assert stages.batches == [[1], [2], [0]]
    assert len(list(found)) == 99


@pytest.mark.parametrize("keys", [1, 2, 7, 1000])
def test_no_more_is_held_of_a_thousand_than_of_a_hundred(keys):
    """keys: of how many kinds the pictures are that run together."""

    def most(count):
        stages, held = Numbers(together=lambda n: n % keys), 0
        for _ in stream(range(count), stages, batch_size=4):
            held = max(held, len(stages.alive))
        gc.collect()
        assert not stages.alive
        return held

    bound = (HELD_BATCHES + 1) * 4 + 2 * THREADS
    assert most(1000) <= bound
    assert most(100) > 3


@pytest.mark.slow
def test_memory_is_flat_in_the_number_of_pictures():
    """Of real pictures, through a predictor: decoded, run, brought back to their size."""

    def runtime(x, *, all_heads=False):
        return (x.mean(axis=1, keepdims=True),)

    predictor = Predictor(
        runtime,
        preprocess=Preprocess(size=(32, 32), resize="stretch"),
        postprocess=Postprocess(),
        in_channels=3,
        num_classes=1,
        batch_size=4,
    )

    def peak(count):
        sources = (np.full((64, 96, 3), n % 256, np.uint8) for n in range(count))
        gc.collect()
        tracemalloc.start()
        try:
            for _, result in predictor.stream(sources):
                assert result.mask.shape == (64, 96)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(30)
    few, many = peak(60), peak(600)
    # How threads meet differs by a few pictures; 540 that were kept would be 13 MB and more.
    assert many - few < 540 * (64 * 96 * 4) / 16


def test_errors_of_a_batch_are_not_shared():
    """Two pictures that ran together fail by one cause, and each error can be named by itself."""

    def runtime(x, *, all_heads=False):
        raise PluginError("no")

    predictor = Predictor(
        runtime,
        preprocess=Preprocess(),
        postprocess=Postprocess(),
        in_channels=3,
        num_classes=1,
    )
    (_, first), (_, second) = predictor.stream([np.zeros((4, 4, 3), np.uint8)] * 2)
    assert first is not second
    first.file = "first"
    assert (str(first), str(second)) == ("first: no", "no")


def test_two_streams_of_one_predictor_at_once_are_each_in_order():
    def runtime(x, *, all_heads=False):
        return (20 * (x.mean(axis=1, keepdims=True) - np.float32(0.5)),)

    predictor = Predictor(
        runtime,
        preprocess=Preprocess(),
        postprocess=Postprocess(),
        in_channels=3,
        num_classes=1,
        batch_size=3,
    )

    def masks(values):
        sources = [np.full((4, 5, 3), value, np.uint8) for value in values]
        results = [result for _, result in predictor.stream(sources)]
        assert all(isinstance(result, Prediction) for result in results)
        return [bool(result.mask.all()) for result in results]

    values = [[0, 255] * 20, [255, 0, 0] * 20]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(masks, values))
    assert found == [[value == 255 for value in row] for row in values]
