"""A pretrained backbone, from a file of its own into a network that has everything else at random."""

from pathlib import Path

from torch import nn

from segzoo import weights
from segzoo.errors import PluginError, UsageError, WeightsMismatchError, printable
from segzoo.mapping import converters_of, layout_of, mapped, names_of, unwrapped
from segzoo.registry import Entry
from segzoo.spec import ModelSpec, Weights
from segzoo.strictjson import short

__all__ = ["fill", "record_of"]


def record_of(entry: Entry, spec: ModelSpec, name: str) -> Weights:
    """The record of a model's backbone. UsageError when it has none of this name."""
    if name not in spec.backbone:
        raise UsageError(
            f"{entry.name} has no backbone {printable(name)[:100]!r}",
            expected=", ".join(spec.backbone) or "none is declared",
            next_step=f"See: segzoo info {entry.name}",
        )
    return spec.backbone[name]


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
    the network has other input channels, the first convolution is adapted (`weights.adapt_channels`).
    Errors of `weights.read`; PluginError for a file that no key map knows; WeightsMismatchError for
    a backbone of another network.
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
            f"a backbone of another network: {len(wrong)} tensors differ, '{short(min(wrong))}' first",
            file=file,
        )
    network.load_state_dict(state, strict=False)


def _shape(tensor: object) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)  # type: ignore[attr-defined]
