"""Optimisers by name, and which parameters they train.

The names of `OPTIMIZERS` are torch's own classes, with torch's options and defaults. Every other
name is timm's (`timm.optim.list_optimizers()`). lr and weight_decay are the recipe's.

A parameter group may have `lr_scale`: whoever sets a rate multiplies it by that.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.optim import Optimizer

from segzoo.base.extras import imported
from segzoo.base.records import Json
from segzoo.errors import DependencyMissingError, UsageError, printable
from segzoo.spec import Recipe
from segzoo.zoo.options import faults_by_signature

__all__ = ["NORMS", "OPTIMIZERS", "freeze", "optimizer_of"]

OPTIMIZERS: Mapping[str, type[Optimizer]] = MappingProxyType(
    {
        "adadelta": torch.optim.Adadelta,
        "adagrad": torch.optim.Adagrad,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "nadam": torch.optim.NAdam,
        "radam": torch.optim.RAdam,
        "rmsprop": torch.optim.RMSprop,
        "sgd": torch.optim.SGD,
    }
)
OURS = frozenset({"self", "params", "lr", "weight_decay"})  # the recipe's fields and the engine's
NORMS = "norms"  # among a recipe's frozen prefixes: all normalisations with running statistics
FUSED = frozenset({"adagrad", "adam", "adamw", "sgd"})  # torch has one kernel for a whole step
FUSED_DEVICES = frozenset({"cpu", "cuda"})


class Maker(NamedTuple):
    """make: (groups, lr, weight_decay, **options) -> optimiser. takes: whose options they are."""

    make: Callable[..., Optimizer]
    takes: type[Optimizer]


def optimizer_of(network: nn.Module, recipe: Recipe, *, fused: bool | None = None) -> Optimizer:
    """The recipe's optimiser of a network that is on its device; freezes `recipe.frozen`.

    fused: one kernel for the whole step; None where torch has one for these parameters.
    decay "weights": parameters of fewer than two dimensions (biases, norms) are not decayed.
    layer_decay d: the last stage has the recipe's rate, the one before d times it, and so on. The
        stages are those of the network's own `group_matcher` (timm's networks have one); else its
        children in the order they were made, those of a list or sequence one by one. Parameters of
        the network itself go with the last.

    UsageError for an unknown name, for options that the optimiser lacks or refuses, all at once,
    and when nothing is left to train; DependencyMissingError.
    """
    freeze(network, recipe.frozen)
    groups = _groups(network, recipe)
    parameters = [p for group in groups for p in group["params"]]
    if not parameters:
        raise UsageError("no parameter is left to train", found="frozen=" + ",".join(recipe.frozen))
    name = recipe.optimizer[0].lower()
    maker = _torch(name) if name in OPTIMIZERS else _timm(name)
    options = _checked(name, maker, recipe.optimizer[1])
    available = name in FUSED and all(_fusible(p) for p in parameters)
    if fused and not available:
        raise UsageError(f"optimizer {name!r} has no fused kernel for this network")
    if available and fused is not False and not {"fused", "foreach"} & set(options):
        options["fused"] = True
    try:
        return maker.make(groups, lr=recipe.lr, weight_decay=recipe.weight_decay, **options)
    except ImportError as error:
        raise DependencyMissingError(
            f"optimizer {name!r} cannot be made: {_line(error)}"
        ) from error
    except Exception as error:  # each optimiser judges its options in its own way
        raise UsageError(f"optimizer {name!r} cannot be made: {_line(error)}") from error


def freeze(network: nn.Module, prefixes: Iterable[str]) -> list[nn.Module]:
    """Take the parameters with these prefixes out of training.

    `NORMS` among them stands for every normalisation with running statistics, wherever it is: what
    was folded into the convolutions before it, or comes in batches too small to measure, is
    trained without.

    Gives the normalisations among them, put in eval mode so that their running means stay too;
    `network.train()` takes them out of it, so call this again afterwards. UsageError, with a
    suggestion, for prefixes that no parameter has.
    """
    given = tuple(prefixes)
    prefixes = tuple(p for p in given if p != NORMS)
    names = [name for name, _ in network.named_parameters()]
    strange = [p for p in prefixes if not any(name.startswith(p) for name in names)]
    if strange:
        modules = [f"{name}." for name, m in network.named_modules() if name and _trainable(m)]
        near = [n for p in strange for n in difflib.get_close_matches(p, modules, n=1, cutoff=0.4)]
        children = [n for n in modules if n.count(".") == 1]
        raise UsageError(
            "no parameter begins with " + ", ".join(repr(printable(p)) for p in strange),
            expected="a prefix such as " + ", ".join(map(repr, dict.fromkeys(near or children))),
        )
    if NORMS in given:
        prefixes += tuple(f"{name}." for name in _norms(network))
    for name, parameter in network.named_parameters():
        if name.startswith(prefixes):
            parameter.requires_grad_(False)
    frozen = [m for name, m in _norms(network).items() if f"{name}.".startswith(prefixes)]
    for module in frozen:
        module.eval()
    return frozen


def _norms(network: nn.Module) -> dict[str, nn.Module]:
    """By name; torch's norms with running statistics have this, their subclasses inherit it."""
    modules = network.named_modules()
    return {name: m for name, m in modules if hasattr(m, "track_running_stats")}


def _groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameter groups of what is trained, in the order of the parameters."""
    sparing = recipe.decay == "weights"
    if recipe.layer_decay is not None and hasattr(network, "group_matcher"):
        by_layer: list[dict[str, Any]] = _timm_optim().param_groups_layer_decay(
            network,
            weight_decay=recipe.weight_decay,
            weight_decay_exclude_1d=sparing,
            layer_decay=recipe.layer_decay,
        )
        return [{**group, "lr": recipe.lr * group["lr_scale"]} for group in by_layer]
    stages = _stages(network)
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        stage = next((i for i, s in enumerate(stages) if name.startswith(s)), len(stages) - 1)
        key = (stage if recipe.layer_decay else 0, sparing and parameter.ndim < 2)
        group = groups.setdefault(key, {"params": []})
        group["params"].append(parameter)
        if recipe.layer_decay:
            group["lr_scale"] = recipe.layer_decay ** (len(stages) - 1 - stage)
            group["lr"] = recipe.lr * group["lr_scale"]
        if key[1]:
            group["weight_decay"] = 0.0
    return list(groups.values())


def _stages(network: nn.Module) -> list[str]:
    """Prefixes of the parameters of each stage."""

    def prefixes() -> Iterator[tuple[str, nn.Module]]:
        for name, child in network.named_children():
            if isinstance(child, nn.Sequential | nn.ModuleList | nn.ModuleDict):
                yield from ((f"{name}.{key}.", item) for key, item in child.named_children())
            else:
                yield f"{name}.", child

    return [prefix for prefix, module in prefixes() if _trainable(module)]


def _torch(name: str) -> Maker:
    cls = OPTIMIZERS[name]
    return Maker(cls, cls)


def _timm(name: str) -> Maker:
    library = _timm_optim()
    known = library.list_optimizers()
    if name not in known:
        near = difflib.get_close_matches(name, [*OPTIMIZERS, *known], n=3, cutoff=0.6)
        hint = f"Did you mean {' or '.join(map(repr, dict.fromkeys(near)))}?" if near else ""
        raise UsageError(
            f"no optimizer {printable(name)[:100]!r}",
            next_step=hint or f"There are {', '.join(OPTIMIZERS)}, and those of timm.optim",
        )
    if library.get_optimizer_info(name).second_order:
        raise UsageError(
            f"optimizer {name!r} needs second derivatives, which are not computed here"
        )

    def make(groups: list[dict[str, Any]], **options: Any) -> Optimizer:
        made: Optimizer = library.create_optimizer_v2(groups, opt=name, **options)
        return made

    try:
        cls = library.get_optimizer_class(name, bind_defaults=False)
    except Exception as error:  # of a library of its own, or of a device that is not there
        raise DependencyMissingError(
            f"optimizer {name!r} cannot be used: {_line(error)}"
        ) from error
    return Maker(make, cls)


def _timm_optim() -> Any:
    named = ", ".join(OPTIMIZERS)
    needed = f"optimizers beside {named}, and layers of timm's networks, need timm"
    return imported("timm.optim", needed=needed)


def _checked(name: str, maker: Maker, options: Mapping[str, Json]) -> dict[str, Any]:
    """The options, their lists as tuples."""
    of_recipe = [option for option in options if option in OURS]
    others = {option: value for option, value in options.items() if option not in OURS}
    faults = [f"{o} is a field of the recipe, not an option of its optimizer" for o in of_recipe]
    faults += faults_by_signature(others, maker.takes, without=OURS)
    if faults:
        raise UsageError(f"optimizer {name!r}: " + "; ".join(faults))
    return {key: tuple(v) if isinstance(v, list) else v for key, v in options.items()}


def _trainable(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _fusible(parameter: torch.Tensor) -> bool:
    return parameter.device.type in FUSED_DEVICES and parameter.is_floating_point()


def _line(error: BaseException) -> str:
    return printable(" ".join(str(error).split())) or type(error).__name__
