"""The contract kit: whether a model keeps what its plugin promises.

For the tests of a plugin, and for `segzoo check`:

    from segzoo.testing import assert_keeps_contract

    def test_contract():
        assert_keeps_contract("my_net")

and, where the plugin has weights:

    from segzoo.testing import assert_weights_hold

    def test_weights():
        assert_weights_hold("my_net", "first")

A promise is a function below whose docstring is the rule; `PROMISES` gives their order and which
of them a promise builds on. A promise whose ground is broken is left out, so that one fault is one
broken line. Inputs are small: a model of a million parameters takes seconds, not minutes.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from segzoo.checks import verify
from segzoo.checks.blame import frames, in_one_line
from segzoo.checks.kit import Kit
from segzoo.checks.promises import PICTURES, PROMISES, Promise, predicts
from segzoo.checks.results import Broken, Result, judged, one_thread
from segzoo.errors import PluginError, SegzooError
from segzoo.spec import ModelSpec

if TYPE_CHECKING:
    from segzoo.model.loaded import Model

__all__ = [
    "PROMISES",
    "Result",
    "assert_keeps_contract",
    "assert_weights_hold",
    "check_folder",
    "check_model",
    "check_weights",
    "frames",
]


def check_model(
    ref: str | ModelSpec, *, slow: bool = False, gpu: bool = False
) -> tuple[Result, ...]:
    """Every promise of the contract, kept or broken, in the order of `PROMISES`.

    ref: a model's name, `distribution/name`, `module:ATTR`, or a ModelSpec. slow: also what takes
    minutes for a large model. gpu: also what needs a CUDA device.

    A plugin that fails to load is a broken promise, whatever it raises. UnknownModelError and
    AmbiguousModelError when there is no one model to check.
    """
    from segzoo.model.load import find_spec

    results: dict[Callable[[Kit], None], Result] = {}
    # What plugins print is not our output.
    with contextlib.redirect_stdout(sys.stderr), one_thread():
        try:
            kit = Kit(*find_spec(ref))
        except PluginError as error:
            first, *rest = PROMISES
            cause = error.__cause__ or error
            fix = "see that the spec can be imported"
            results[first.keep] = Result(first.name, False, in_one_line(cause), fix)
            for promise in rest:
                results[promise.keep] = Result(promise.name, True, skipped=f"after: {first.name}")
            return tuple(results.values())
        for promise in PROMISES:
            results[promise.keep] = _judge(promise, kit, results, slow=slow, gpu=gpu)
    return tuple(results.values())


def assert_keeps_contract(ref: str | ModelSpec, *, slow: bool = False, gpu: bool = False) -> None:
    """AssertionError with a line for each broken promise of a model; see `check_model`."""
    _assert_kept("the contract is broken", check_model(ref, slow=slow, gpu=gpu))


def check_weights(name: str, tag: str | None = None) -> tuple[Result, ...]:
    """Every proof of weights that a plugin declares, held or broken, in the order of `RECORD` in
    `segzoo.checks.verify`: licence, data with licences, source and hash are stated; hash, header,
    values, strict load; and the golden's logits, where FILE.golden.safetensors lies beside its
    file.

    tag: None for the default weights. UnknownModelError, WeightsMissingError when there are none.
    """
    return verify.prove(verify.declared(name, tag), verify.RECORD)


def assert_weights_hold(name: str, tag: str | None = None) -> None:
    """AssertionError with a line for each broken proof of weights; see `check_weights`."""
    _assert_kept("the weights are broken", check_weights(name, tag))


def check_folder(folder: str | os.PathLike[str]) -> tuple[Result, ...]:
    """Whether the folder of a saved model loads, every byte of it checked, and predicts."""
    from segzoo.model.load import load
    from segzoo.zoo import refs

    models: list[Model] = []

    def loads() -> None:
        try:
            models.append(load(f"{refs.LOCAL_DIR}{os.fspath(folder)}", verify=True))
        except SegzooError as error:
            fix, error.next_step = error.next_step, ""
            raise Broken(str(error), fix) from None

    with contextlib.redirect_stdout(sys.stderr), one_thread():
        loaded = judged("the saved model loads", loads, "save the model again")
        if not loaded.ok:
            return loaded, Result(PICTURES, True, skipped=f"after: {loaded.promise}")
        return loaded, judged(PICTURES, lambda: predicts(models[0]), "train or save it again")


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
    return judged(promise.name, lambda: promise.keep(kit), promise.fix)


def _assert_kept(what: str, results: tuple[Result, ...]) -> None:
    broken = [r for r in results if not r.ok]
    lines = [f"{r.promise}: {r.detail}: {r.fix}" for r in broken]
    assert not broken, "\n".join([what, *lines])
