"""A file's tensors under the network's names, by the key map of its layout.

The maps are data of the model's plugin (`segzoo.keymap`).
"""

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from segzoo.base.strictjson import short
from segzoo.errors import PluginError, UsageError, WeightsMismatchError
from segzoo.keymap import Converter
from segzoo.weights.prefixes import bare
from segzoo.weights.safetensors import state_names
from segzoo.zoo import registry
from segzoo.zoo.registry import Entry

__all__ = [
    "OWN",
    "PLAIN",
    "converters_of",
    "hash_in_name",
    "identity_norms",
    "lasting_names",
    "layout_of",
    "layouts_of",
    "mapped",
    "names_of",
    "unwrapped",
]

OWN = "segzoo"  # the layout of files whose names are the network's already
PLAIN = Converter(summary="names of its own", detect=(".",), rules=())
HASHED = re.compile(r"-([0-9a-f]{8,64})$")  # as torchvision and timm call a file
WRAPPED = "module."  # put before all names by DataParallel
# Of batch normalisation. Files from before torch 0.4.1, and Keras's, lack the counter.
VARIANCE, COUNTER = "running_var", "num_batches_tracked"

CHANGES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "keras_kernel": lambda kernel: kernel.permute(3, 2, 0, 1)
}
RANKS = {"keras_kernel": 4}


def converters_of(entry: Entry) -> dict[str, Converter]:
    """The layouts that a model's plugin declares for it. PluginError for what is no declaration."""
    offered = [
        each
        for each in registry.entries(registry.CONVERTERS)
        if each.name == entry.name
        and registry.same_distribution(each.distribution, entry.distribution)
    ]
    if not offered:
        return {}
    [found] = (each.load_as(Mapping) for each in offered[:1])  # type: ignore[type-abstract]
    for name, converter in found.items():
        if not isinstance(converter, Converter):
            raise PluginError(
                f"{offered[0].value}[{name!r}] is no Converter", found=type(converter).__name__
            )
    return dict(found)


def unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names as the network had them before something was put around it."""
    found = {name: tensors[old] for name, old in bare(tensors).items()}
    while found and all(name.startswith(WRAPPED) for name in found):
        found = {name.removeprefix(WRAPPED): tensor for name, tensor in found.items()}
    return found


def hash_in_name(source: Path) -> str:
    """How a file's sha256 begins, by its name; "" for a name that says nothing of it."""
    hashed = HASHED.search(source.stem)
    return hashed[1] if hashed else ""


def layouts_of(names: Collection[str], known: Mapping[str, Converter]) -> list[str]:
    """The layouts that names may be of: OWN where they are of none that is declared."""
    return [layout for layout, each in known.items() if each.detects(names)] or [OWN]


def layout_of(names: Collection[str], known: Mapping[str, Converter], source: Path) -> str:
    """The layout that a file's names tell; OWN for none of them, UsageError for several."""
    fits = layouts_of(names, known)
    if len(fits) > 1:
        raise UsageError(
            "its names are those of several layouts",
            file=source,
            found=", ".join(fits),
            next_step=f"Say which: --from {fits[0]}",
        )
    return fits[0]


def names_of(found: Mapping[str, Tensor], converter: Converter, source: Path) -> dict[str, str]:
    """The network's name of each tensor that is the network's, by the file's."""
    names: dict[str, str] = {}
    taken: dict[str, str] = {}
    for old in found:
        if converter.leaves_out(old):
            continue
        new = names[old] = converter.renamed(old)
        if (other := taken.setdefault(new, old)) != old:
            raise WeightsMismatchError(
                f"two of its tensors become '{short(new)}'",
                file=source,
                found=f"'{short(other)}' and '{short(old)}'",
            )
    return names


def mapped(
    found: Mapping[str, Tensor], names: Mapping[str, str], converter: Converter, source: Path
) -> dict[str, Tensor]:
    """The tensors under the network's names (`names_of`), in its order of axes, none below float32.

    Counters of batch normalisation are added at 0 where the file has none. WeightsMismatchError for
    a tensor of another rank than its change is made for.
    """
    state = {new: _changed(found[old], old, converter, source) for old, new in names.items()}
    return state | _counters(state)


def _changed(tensor: Tensor, name: str, converter: Converter, source: Path) -> Tensor:
    """A tensor in the network's order of axes, and in float32 where it had fewer bits."""
    for change in converter.changes_of(name):
        if tensor.ndim != RANKS[change]:
            raise WeightsMismatchError(
                f"'{short(name)}' has another rank",
                file=source,
                found=str([*tensor.shape]),
                expected=f"{RANKS[change]} axes",
            )
        tensor = CHANGES[change](tensor)
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _counters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Counters of batch normalisation at 0, where the file has none at all: none is ever used."""
    if any(name.endswith(COUNTER) for name in state):
        return {}
    norms = [n.removesuffix(VARIANCE) for n in state if n.endswith(VARIANCE)]
    return {norm + COUNTER: torch.zeros((), dtype=torch.int64) for norm in norms}


def lasting_names(build: Callable[[], nn.Module], converter: Converter) -> frozenset[str]:
    """The names of a network's tensors that a file of this layout cannot lack."""
    names = {n for n in state_names(build) if n.startswith(converter.part)}
    names -= identity_norms(build).keys() if converter.folded_norms else set()
    return frozenset(n for n in names if not n.endswith(COUNTER))


def identity_norms(build: Callable[[], nn.Module]) -> dict[str, Tensor]:
    """The tensors of a network's batch normalisations by which they change nothing."""
    with torch.device("meta"):
        modules = dict(build().named_modules())
    found: dict[str, Tensor] = {}
    for path, module in modules.items():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            ones = torch.ones(module.num_features, dtype=torch.float32)
            found[f"{path}.weight"], found[f"{path}.bias"] = ones, ones * 0
            found[f"{path}.running_mean"] = ones * 0
            found[f"{path}.{VARIANCE}"] = ones * (1 - module.eps)
            found[f"{path}.{COUNTER}"] = torch.tensor(0)
    return found
