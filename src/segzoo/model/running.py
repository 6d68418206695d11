"""A config and a runtime make a predictor; a config and a network, what artefacts are made of."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from segzoo.pictures import codec
from segzoo.predict.artefacts.identity import identified
from segzoo.predict.artefacts.ready import Exportable
from segzoo.predict.artefacts.shipped import Shipped
from segzoo.predict.network import Runtime
from segzoo.predict.predictor import Predictor
from segzoo.predict.preprocess import network_size
from segzoo.saved.config import Config
from segzoo.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn

__all__ = ["exportable_of", "predictor_of"]


def predictor_of(
    runtime: Runtime,
    config: Config,
    *,
    batch_size: int = 8,
    max_pixels: int = codec.MAX_PIXELS,
    tile: int | tuple[int, int] | None = None,
    overlap: int | tuple[int, int] | None = None,
) -> Predictor:
    """The predictor of a model; `Predictor` says what the settings mean."""
    return Predictor(
        runtime,
        preprocess=config.preprocess,
        postprocess=config.postprocess,
        in_channels=config.in_channels,
        num_classes=config.num_classes,
        classes=config.classes,
        palette=config.palette,
        batch_size=batch_size,
        max_pixels=max_pixels,
        tile=tile,
        overlap=overlap,
    )


def exportable_of(
    spec: ModelSpec,
    config: Config,
    weights: str,
    network: "Callable[[], nn.Module]",
    shipped: Mapping[str, Shipped] = MappingProxyType({}),
    tell: Callable[[str], None] = lambda line: None,
) -> Exportable:
    """A network as artefacts are made of it; `Identity` and `Exportable` say of what."""
    size = config.preprocess.size
    x_size = None if size is None else network_size(*size, config.preprocess)
    return Exportable(
        identity=identified(spec, config, weights, x_size),
        network=network,
        preprocess=config.preprocess,
        postprocess=config.postprocess,
        shipped=shipped,
        tell=tell,
    )
