"""A pretrained backbone, from a file of its own into a network that is random elsewhere."""

from pathlib import Path

from torch import nn

from segzoo.base.strictjson import short
from segzoo.errors import PluginError, WeightsMismatchError
from segzoo.spec import ModelSpec
from segzoo.weights import safetensors as weights
from segzoo.weights.mapping import converters_of, layout_of, mapped, names_of, unwrapped
from segzoo.zoo.registry import Entry

__all__ = ["fill"]


def fill(
    network: nn.Module,
    file: Path,
    *,
    entry: Entry,
    spec: ModelSpec,
    sha256: str,
    verify: bool = False,
) -> None:
    """Give a network the backbone that a safetensors file holds, all of it.

    Its names become the network's by the key maps of the model's plugin (`segzoo.keymap`). Where
    the network has other input channels, `weights.adapt_channels` adapts the stem. Errors of
    `weights.read`; PluginError for a file that no key map knows; WeightsMismatchError for a
    backbone of another network.
    """
    tensors = unwrapped(weights.read(file, sha256=sha256, verify=verify))
    known = converters_of(entry)
    converter = known.get(layout_of(tensors, known, file))
    if converter is None or not converter.part:
        raise PluginError(
            f"no key map of {entry.distribution} knows this file as a part of {entry.name}",
            file=file,
        )
    state = mapped(tensors, names_of(tensors, converter, file), converter, file)
    own = {n: t for n, t in network.state_dict().items() if n.startswith(converter.part)}
    for name in state.keys() & own.keys():
        if state[name].ndim == 4 and name.startswith(spec.stem):
            if state[name].shape[1] != own[name].shape[1]:
                state[name] = weights.adapt_channels(state[name], own[name].shape[1])
    wrong = [n for n in own.keys() | state.keys() if _shape(state.get(n)) != _shape(own.get(n))]
    if wrong:
        raise WeightsMismatchError(
            "a backbone of another network",
            file=file,
            found=f"{len(wrong)} tensors that differ, '{short(min(wrong))}' first",
        )
    network.load_state_dict(state, strict=False)


def _shape(tensor: object) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)  # type: ignore[attr-defined]
