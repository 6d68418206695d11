"""What code can change for the rest of its process, seen and put back."""

import contextlib
import os
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["DEEP_STATES", "STATES", "State", "watched"]


class State(NamedTuple):
    """A part of the process that model code must leave alone. put: sets what get gave."""

    name: str
    get: Callable[[], Any]
    put: Callable[[Any], object]


def _put_signals(handlers: Mapping[int, Any]) -> None:
    for number, handler in handlers.items():  # None: not set from Python, and not to be set from it
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def _put_environment(variables: Mapping[str, str]) -> None:
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)


def _put_filters(filters: list[Any]) -> None:
    cast(list[Any], warnings.filters)[:] = filters


_PATCHABLE: dict[str, Any] = {
    "torch": torch,
    "torch.nn.functional": F,
    "torch.nn.Module": nn.Module,
    "torch.Tensor": Tensor,
}


def _functions() -> dict[tuple[str, str], object]:
    """What of torch's namespaces can be called, by namespace and name."""
    return {
        (owner, name): value
        for owner, where in _PATCHABLE.items()
        for name, value in vars(where).items()
        if callable(value)
    }


def _patched(before: Mapping[tuple[str, str], object]) -> list[tuple[str, str]]:
    """What was replaced since, or added to a class, by anyone but torch's own late imports."""
    now = _functions()
    return [
        (owner, name)
        for (owner, name), value in now.items()
        if value is not before.get((owner, name))
        and ((owner, name) in before or isinstance(_PATCHABLE[owner], type))
        and not str(getattr(value, "__module__", "")).startswith("torch")
    ]


def _put_function(owner: str, name: str, value: object) -> None:
    if value is None:  # it was inherited, or not there
        delattr(_PATCHABLE[owner], name)
    else:
        setattr(_PATCHABLE[owner], name, value)


# What a library that a plugin needs does not change either, so that imports are watched for it too.
DEEP_STATES = (
    State("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
    State("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
    State("whether torch records gradients", torch.is_grad_enabled, torch.set_grad_enabled),
    State(
        "torch's deterministic algorithms",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    State(
        "torch's float32 precision",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    State(
        "cudnn's benchmark flag",
        lambda: torch.backends.cudnn.benchmark,
        lambda value: setattr(torch.backends.cudnn, "benchmark", value),
    ),
    State(
        "cudnn's deterministic flag",
        lambda: torch.backends.cudnn.deterministic,
        lambda value: setattr(torch.backends.cudnn, "deterministic", value),
    ),
    State("the working folder", os.getcwd, os.chdir),
    State(
        "signal handlers",
        lambda: {number: signal.getsignal(number) for number in signal.valid_signals()},
        _put_signals,
    ),
)
STATES = (
    *DEEP_STATES,
    State("the environment", lambda: dict(os.environ), _put_environment),
    State("warnings.filters", lambda: list(warnings.filters), _put_filters),
)


@contextlib.contextmanager
def watched(changed: list[str], states: tuple[State, ...]) -> Iterator[None]:
    """Put back what the block changes of the process's state, and note it in `changed`."""
    before = [state.get() for state in states]
    functions = _functions()
    try:
        yield
    finally:
        for state, value in zip(states, before, strict=True):
            if state.get() != value:
                changed.append(state.name)
                state.put(value)
        for owner, name in _patched(functions):
            changed.append(f"{owner}.{name}")
            _put_function(owner, name, functions.get((owner, name)))
