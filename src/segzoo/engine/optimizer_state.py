"""An optimiser's state by the names of the parameters, as tensors and JSON, and back to the bit.

torch's own state_dict numbers the parameters and is written with pickle. Here an entry may be a
tensor, None, a boolean, a number or a string, or a list or tuple of the last five; what an
optimiser keeps else is refused, before a run begins (`refuse_unknown`).
"""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from segzoo.base.records import Json
from segzoo.base.strictjson import short
from segzoo.errors import CheckpointError, RunError
from segzoo.zoo import registry

__all__ = ["flatten", "refuse_unknown", "restore"]

# How an optimiser computes, not what: they stay as this machine's own.
OWN = ("foreach", "fused", "capturable")
ANOTHER = "Choose another optimiser"
TRIAL_SIDE = 16  # at most, of a trial's parameters
TRIAL_STEPS = 2


def flatten(
    optimizer: Optimizer, names: Mapping[nn.Parameter, str]
) -> tuple[dict[str, Tensor], dict[str, Json]]:
    """The optimiser's own tensors (no copies) and the rest.

    names: of each parameter that the optimiser has; others are allowed. RunError for a parameter
    without a name and for an entry that a checkpoint cannot hold.
    """
    kind = type(optimizer).__name__
    tensors: dict[str, Tensor] = {}

    def encoded(value: object, key: str, parameter: Tensor) -> Json:
        match value:
            case Tensor():
                tensors[key] = value.detach()
                elsewhere = value.device != parameter.device  # a count that the host reads
                return {"tensor": key, "device": "cpu"} if elsewhere else {"tensor": key}
            case torch.dtype():
                return {"dtype": str(value).removeprefix("torch.")}
            case tuple() if type(value) is tuple:
                return {"tuple": [plain(item, key) for item in value]}
            case list() if type(value) is list:
                return [plain(item, key) for item in value]
        return plain(value, key)

    def plain(value: object, key: str) -> Json:
        if type(value) is float and not math.isfinite(value):
            return {"float": str(value)}
        if value is None or type(value) in (bool, int, float, str):
            return value
        raise RunError(
            f"a checkpoint cannot hold the state of the optimiser {kind}",
            found=f"{type(value).__name__} in '{short(key)}'",
            expected="a tensor, number, string, boolean, None, or a list without tensors",
            next_step=ANOTHER,
        )

    def name_of(parameter: object) -> str:
        name = names.get(parameter) if isinstance(parameter, nn.Parameter) else None
        if name is None:
            raise RunError(f"the optimiser {kind} holds what is no parameter of the network")
        return name

    state = {}
    for parameter, entries in optimizer.state.items():
        name = name_of(parameter)
        state[name] = {
            key: encoded(value, f"state.{name}.{key}", parameter) for key, value in entries.items()
        }
    groups = []
    for index, group in enumerate(optimizer.param_groups):
        first = group["params"][0]
        options = {
            key: encoded(value, f"group.{index}.{key}", first)
            for key, value in group.items()
            if key != "params" and key not in OWN
        }
        groups.append({"params": [name_of(p) for p in group["params"]], "options": options})
    return tensors, {"optimizer": kind, "groups": groups, "state": state}


def restore(
    optimizer: Optimizer,
    names: Mapping[nn.Parameter, str],
    tensors: Mapping[str, Tensor],
    rest: Mapping[str, Json],
    *,
    judged: bool = False,
) -> None:
    """Give an optimiser the state that `flatten` took from one with the same parameters.

    judged: whether what it keeps of each parameter has to be of the kinds that it keeps with these
    options, as some steps of a twin tell; what comes after more of them is not known.
    A tensor of its parameter's shape gets the parameter's strides: fused kernels read both as one.
    Options that only say how to compute (foreach, fused, capturable) stay as they are.
    CheckpointError, and the optimiser unchanged, when the two do not fit.
    """
    match rest:
        case {"optimizer": str(kind), "groups": list(groups), "state": dict(states)}:
            pass
        case _:
            raise _malformed("the optimiser's state")
    ours = type(optimizer).__name__
    if kind != ours:
        raise CheckpointError("a state of another optimiser", found=short(kind), expected=ours)
    if len(groups) != len(optimizer.param_groups):
        raise CheckpointError(
            "the optimiser's state has another number of parameter groups",
            found=str(len(groups)),
            expected=str(len(optimizer.param_groups)),
        )
    used: set[str] = set()
    options = []
    for index, (group, saved) in enumerate(zip(optimizer.param_groups, groups, strict=True)):
        match saved:
            case {"params": list(params), "options": dict(values)}:
                pass
            case _:
                raise _malformed(f"group {index} of the optimiser's state")
        expected = [names[parameter] for parameter in group["params"]]
        if params != expected:
            differ = {*map(str, params)} ^ {*expected}
            raise CheckpointError(
                f"group {index} of the optimiser's state has other parameters",
                found=f"a difference in '{short(min(differ))}'" if differ else "another order",
            )
        first = group["params"][0]
        decoded = {
            key: _decoded(value, f"group {index}, '{short(key)}'", tensors, used, first)
            for key, value in values.items()
            if key != "params" and key not in OWN
        }
        for key, value in decoded.items():
            if not _alike(value, group.get(key)):
                raise _malformed(f"the optimiser's state, group {index}, '{short(key)}',")
        options.append(decoded)
    kinds = _kinds_of(optimizer, names, options) if judged else {}
    parameters = {names[p]: p for group in optimizer.param_groups for p in group["params"]}
    state = {}
    for name, entries in states.items():
        if name not in parameters or not isinstance(entries, dict):
            raise _malformed(f"the optimiser's state of '{short(name)}'")
        parameter = parameters[name]
        state[parameter] = {
            key: _decoded(value, f"'{short(name)}', '{short(key)}'", tensors, used, parameter)
            for key, value in entries.items()
        }
        for key, kind in kinds.get(name, {}).items():
            if kind != _kind(state[parameter].get(key), parameter):
                raise _malformed(f"the optimiser's state of '{short(name)}', '{short(key)}',")
    if used != tensors.keys():
        raise _malformed(f"the optimiser's tensor '{short(min(tensors.keys() - used))}'")
    for group, values in zip(optimizer.param_groups, options, strict=True):
        group.update(values)
    optimizer.state.clear()
    optimizer.state.update(state)


def refuse_unknown(optimizer: Optimizer) -> None:
    """RunError when a checkpoint could not hold what this optimiser keeps, or not all of it.

    Tried out on a twin with small parameters, to be called before the first step: some steps, what
    `flatten` makes of them into another twin, and some more steps of both, which must end at the
    same bits. The optimiser, its parameters and all random numbers stay as they are.
    """
    kind = type(optimizer).__name__
    try:
        straight, resumed = _twin(optimizer), _twin(optimizer)
        _try_steps(straight, seed=0)
        with torch.no_grad():
            for ours, theirs in zip(_parameters(resumed), _parameters(straight), strict=True):
                ours.copy_(theirs)
        restore(resumed, _numbered(resumed), *flatten(straight, _numbered(straight)))
        _try_steps(straight, seed=1)
        _try_steps(resumed, seed=1)
        same = _bits(straight) == _bits(resumed)
    except RunError:
        raise
    except Exception as error:  # an optimiser of a stranger may raise anything
        raise RunError(
            f"the optimiser {kind} cannot be tried out: {registry.cause(error)}", next_step=ANOTHER
        ) from error
    if not same:
        raise RunError(
            f"the optimiser {kind} keeps something that a checkpoint does not hold: "
            "it goes on to other values",
            next_step=ANOTHER,
        )


def _kinds_of(
    optimizer: Optimizer,
    names: Mapping[nn.Parameter, str],
    options: Sequence[Mapping[str, object]],
) -> dict[str, dict[str, str]]:
    """What an optimiser with these options keeps of each parameter, by its name, of which kind."""
    twin = _twin(optimizer)
    for group, values in zip(twin.param_groups, options, strict=True):
        group.update(copy.deepcopy(values))  # some count in a tensor there
    _try_steps(twin, seed=0)
    found = {}
    for parameter, small in zip(_parameters(optimizer), _parameters(twin), strict=True):
        entries = twin.state.get(small, {})
        found[names[parameter]] = {key: _kind(value, small) for key, value in entries.items()}
    return found


# --- one entry ------------------------------------------------------------------------------------


def _decoded(
    value: Json, place: str, tensors: Mapping[str, Tensor], used: set[str], parameter: Tensor
) -> object:
    match value:
        case {"tensor": str(key)} if key in tensors:
            used.add(key)
            return _placed(tensors[key], parameter, "cpu" if "device" in value else None)
        case {"tuple": list(items)}:
            return tuple(_plain(item, place) for item in items)
        case {"dtype": str(name)} if isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        case list():
            return [_plain(item, place) for item in value]
    return _plain(value, place)


def _plain(value: Json, place: str) -> object:
    match value:
        case {"float": "inf" | "-inf" | "nan" as word}:
            return float(word)
        case None | bool() | int() | float() | str():
            return value
    raise _malformed(f"the optimiser's state, {place},")


def _kind(value: object, parameter: Tensor) -> str:
    if isinstance(value, Tensor):
        like = value.shape == parameter.shape
        return "like its parameter" if like else f"of {value.ndim} dimensions"
    return type(value).__name__


def _alike(value: object, now: object) -> bool:
    """Whether an option is of the kind that it is of now; where it is None, anything may be it."""
    match now:
        case None:
            return True
        case bool():
            return type(value) is bool
        case int() | float() | Tensor():
            return isinstance(value, int | float | Tensor) and type(value) is not bool
        case tuple() | list():
            if not isinstance(value, tuple | list) or type(value) is not type(now):
                return False
            return len(value) == len(now) and all(map(_alike, value, now))
    return type(value) is type(now)


def _placed(value: Tensor, parameter: Tensor, device: str | None) -> Tensor:
    """A copy as the optimiser itself would have made it beside the parameter."""
    like = parameter if value.shape == parameter.shape else value
    blank = torch.empty_like(like, dtype=value.dtype, device=device or parameter.device)
    return blank.copy_(value)


def _malformed(what: str) -> CheckpointError:
    return CheckpointError(f"{what} is not as it was written")


# --- the trial ------------------------------------------------------------------------------------


def _twin(optimizer: Optimizer) -> Optimizer:
    """A copy of the optimiser with all that it keeps, but for hooks, on small parameters."""
    memo: dict[int, Any] = {}  # what stands for which object
    for parameter in _parameters(optimizer):
        memo[id(parameter)] = nn.Parameter(_corner(parameter), parameter.requires_grad)
    for owner, entries in optimizer.state.items():
        for value in entries.values():
            if isinstance(value, Tensor) and value.shape == owner.shape:
                memo[id(value)] = _corner(value)
    for name, value in vars(optimizer).items():
        if name.startswith("_optimizer_"):
            memo[id(value)] = type(value)()  # the hooks
    twin: Optimizer = object.__new__(type(optimizer))
    memo[id(optimizer)] = twin
    vars(twin).update(copy.deepcopy(vars(optimizer), memo))
    return twin


def _corner(tensor: Tensor) -> Tensor:
    sides = range(TRIAL_SIDE, TRIAL_SIDE - tensor.ndim, -1)  # none is another's length
    part = tensor.detach()[tuple(slice(side) for side in sides)]
    return torch.empty_like(part).copy_(part)


def _try_steps(optimizer: Optimizer, *, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    devices = {p.device.index for p in _parameters(optimizer) if p.device.type == "cuda"}
    with torch.random.fork_rng(sorted(devices)):
        for _ in range(TRIAL_STEPS):
            for parameter in _parameters(optimizer):
                if parameter.requires_grad:
                    values = torch.randn(parameter.shape, generator=generator)
                    parameter.grad = torch.empty_like(parameter).copy_(values)
            type(optimizer).step(optimizer)


def _bits(optimizer: Optimizer) -> tuple[dict[str, bytes], Json]:
    tensors, rest = flatten(optimizer, _numbered(optimizer))
    tensors |= {name: p.detach() for p, name in _numbered(optimizer).items()}
    flat = {name: t.cpu().contiguous().reshape(-1) for name, t in tensors.items()}
    return {name: t.view(torch.uint8).numpy().tobytes() for name, t in flat.items()}, rest


def _parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _numbered(optimizer: Optimizer) -> dict[nn.Parameter, str]:
    return {parameter: str(index) for index, parameter in enumerate(_parameters(optimizer))}
