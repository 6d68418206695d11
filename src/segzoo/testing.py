"""The contract kit: whether a model keeps what its plugin promises.

For the tests of a plugin, and for `segzoo check`:

    from segzoo.testing import assert_keeps_contract

    def test_contract():
        assert_keeps_contract("my_net")

A promise is a function below whose docstring is the rule; `PROMISES` gives their order and which
of them a promise builds on. A promise whose ground is broken is left out, so that one fault is one
broken line. Inputs are small: a model of a million parameters takes seconds, not minutes.
"""

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from segzoo.blame import frames, say
from segzoo.errors import PluginError, SegzooError, printable
from segzoo.kit import Broken, Kit, Skipped
from segzoo.promises import PICTURES, PROMISES, Promise, predicts
from segzoo.spec import ModelSpec

if TYPE_CHECKING:
    from segzoo.model import Model

__all__ = ["PROMISES", "Result", "assert_keeps_contract", "check_folder", "check_model", "frames"]


@dataclass(frozen=True)
class Result:
    """How one promise went.

    ok: it was not found broken. detail, fix: what was found and how to mend it, when it was.
    skipped: why it was not tried.
    """

    promise: str
    ok: bool
    detail: str = ""
    fix: str = ""
    skipped: str = ""


def check_model(
    ref: str | ModelSpec, *, slow: bool = False, gpu: bool = False
) -> tuple[Result, ...]:
    """Every promise of the contract, kept or broken, in the order of `PROMISES`.

    ref: a model's name, `distribution/name`, `module:ATTR`, or a ModelSpec. slow: also what takes
    minutes for a large model. gpu: also what needs a CUDA device.

    A plugin that fails to load is a broken promise, whatever it raises. UnknownModelError and
    AmbiguousModelError when there is no one model to check.
    """
    from segzoo import api

    results: dict[Callable[[Kit], None], Result] = {}
    # What plugins print is not our output.
    with contextlib.redirect_stdout(sys.stderr), _one_thread():
        try:
            kit = Kit(*api.find_spec(ref))
        except PluginError as error:
            first, *rest = PROMISES
            cause = error.__cause__ or error
            fix = "see that the spec can be imported"
            results[first.keep] = Result(first.name, False, say(cause), fix)
            for promise in rest:
                results[promise.keep] = Result(promise.name, True, skipped=f"after: {first.name}")
            return tuple(results.values())
        for promise in PROMISES:
            results[promise.keep] = _judge(promise, kit, results, slow=slow, gpu=gpu)
    return tuple(results.values())


def assert_keeps_contract(ref: str | ModelSpec, *, slow: bool = False, gpu: bool = False) -> None:
    """AssertionError with a line for each broken promise of a model; see `check_model`."""
    broken = [r for r in check_model(ref, slow=slow, gpu=gpu) if not r.ok]
    lines = [f"{r.promise}: {r.detail}: {r.fix}" for r in broken]
    assert not broken, "\n".join(["the contract is broken", *lines])


def check_folder(folder: str | os.PathLike[str]) -> tuple[Result, ...]:
    """Whether the folder of a saved model loads, every byte of it checked, and predicts."""
    from segzoo import api

    models: list[Model] = []

    def loads() -> None:
        try:
            models.append(api.load(f"{api.LOCAL_DIR}{os.fspath(folder)}", verify=True))
        except SegzooError as error:
            fix, error.next_step = error.next_step, ""
            raise Broken(str(error), fix) from None

    with contextlib.redirect_stdout(sys.stderr), _one_thread():
        loaded = _result("the saved model loads", loads, "save the model again")
        if not loaded.ok:
            return loaded, Result(PICTURES, True, skipped=f"after: {loaded.promise}")
        return loaded, _result(PICTURES, lambda: predicts(models[0]), "train or save it again")


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Inputs are small: threads gain little, and cost tenfold on a machine that is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _judge(
    promise: Promise,
    kit: Kit,
    results: Mapping[Callable[[Kit], None], Result],
    *,
    slow: bool,
    gpu: bool,
) -> Result:
    if promise.slow and not slow:
        return Result(promise.name, True, skipped="slow; asked for with slow=True or --slow")
    if promise.gpu and not gpu:
        return Result(promise.name, True, skipped="needs CUDA; asked for with gpu=True or --gpu")
    for ground in (results[keep] for keep in promise.after):
        if not ground.ok or ground.skipped:
            return Result(promise.name, True, skipped=f"after: {ground.promise}")
    return _result(promise.name, lambda: promise.keep(kit), promise.fix)


def _result(promise: str, keep: Callable[[], None], fix: str) -> Result:
    """What comes of a promise, whatever `keep` raises."""
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            keep()
    except Skipped as reason:
        return Result(promise, True, skipped=str(reason))
    except Broken as broken:
        return Result(promise, False, printable(broken.found), broken.fix or fix)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may raise anything, SystemExit among it
        return Result(promise, False, say(error), fix)
    return Result(promise, True)
