"""From a config to a network."""

import contextlib
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn

from segzoo.base.records import Json
from segzoo.errors import (
    ConfigError,
    DependencyMissingError,
    PluginError,
    SegzooError,
)
from segzoo.model.configured import adjusted, config_of, variant_of
from segzoo.saved.config import Config
from segzoo.spec import ModelSpec
from segzoo.zoo import registry
from segzoo.zoo.installed import missing
from segzoo.zoo.registry import Entry

__all__ = ["build", "builder_of", "in_float32", "initialised", "refuse_giants"]

MAX_PARAMETERS = 20_000_000_000  # no segmenter is near it; a slip of a digit in an option is


def build(
    spec: ModelSpec,
    *,
    in_channels: int | None = None,
    num_classes: int | None = None,
    options: Mapping[str, Json] | None = None,
) -> nn.Module:
    """The bare network of a spec with random initial values."""
    config = adjusted(
        config_of(Entry("unnamed", "", "", ""), spec, None),
        spec,
        num_classes=num_classes,
        in_channels=in_channels,
        options=options or {},
    )
    return builder_of(variant_of(spec, config.options), config)()


def builder_of(spec: ModelSpec, config: Config) -> Callable[[], nn.Module]:
    """The plugin's builder with its arguments; calling it raises PluginError for its faults."""
    if lacks := missing(spec.requires).values():
        raise DependencyMissingError(
            f"{config.model} needs {', '.join(lacks)}",
            next_step="Run: pip install " + " ".join(f"'{pip}'" for pip in lacks),
        )
    call = f"{spec.builder}(in_channels={config.in_channels}, num_classes={config.num_classes}"
    call += "".join(f", {name}={value!r}" for name, value in config.options.items()) + ")"

    def at_fault(what: str) -> PluginError:
        check = f"{config.distribution}/{config.model}" if config.distribution else config.model
        return PluginError(f"{call} {what}", next_step=f"Run: segzoo check {check}")

    with registry.guarded(lambda why: at_fault(f"cannot be imported: {why}")):
        function = registry.resolve(spec.builder)
    if not callable(function):
        raise at_fault(f"cannot be called: its type is {type(function).__name__}")

    def build() -> nn.Module:
        with registry.guarded(lambda why: at_fault(f"failed: {why}")), in_float32():
            network = function(config.in_channels, config.num_classes, **config.options)
        if not isinstance(network, nn.Module):
            raise at_fault(f"returned a {type(network).__name__}, not an nn.Module")
        return network

    return build


@contextlib.contextmanager
def in_float32() -> Iterator[None]:
    """torch's default type is float32 in the block, whatever a caller has set it to.

    What the block itself has set stays: the kit sees it, and tells the plugin's author.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        if torch.get_default_dtype() is torch.float32:
            torch.set_default_dtype(before)


def refuse_giants(builder: Callable[[], nn.Module], config: Config) -> None:
    """ConfigError before memory is taken, for options that ask for an absurd network."""
    try:
        with torch.device("meta"):
            total = sum(p.numel() for p in builder().parameters())
    except SegzooError:
        return  # a builder that cannot work on "meta" is judged when it builds for real
    if total > MAX_PARAMETERS:
        raise ConfigError(
            f"{config.model}: these options ask for a network of {total:,} parameters",
            expected=f"at most {MAX_PARAMETERS:,}",
        )


def initialised(builder: Callable[[], nn.Module], seed: int | None) -> nn.Module:
    if seed is None:
        return builder()
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
        torch.manual_seed(seed)
        return builder()
