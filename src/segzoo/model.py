"""What `segzoo.load` returns: a network with everything needed to use it."""

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from torch import Tensor, nn

from segzoo import config as configs
from segzoo import files, pictures, weights
from segzoo.config import Config
from segzoo.spec import ModelSpec, Postprocess, Preprocess, Task, Weights

if TYPE_CHECKING:
    from segzoo.predictor import Prediction, Predictor, Source

__all__ = ["Model"]


class Model(nn.Module):
    """A plugin's network, untouched as `.network`, with its spec and its config.

    Calling it calls the network: x (N, in_channels, H, W) -> logits. `predict` goes from pictures
    to masks. What is saved and published are `.network`'s parameters, under their own names.

    spec: what the plugin declares. config: how this network was built and is used.
    weights: the record of the published weights it holds, or None.
    notes: what a person should know of how it was loaded, a line each.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        spec: ModelSpec,
        config: Config,
        weights: Weights | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.network = network
        self.spec = spec
        self.config = config
        self.weights = weights
        self.notes = notes

    @property
    def task(self) -> Task:
        return self.config.task

    @property
    def preprocess(self) -> Preprocess:
        return self.config.preprocess

    @property
    def postprocess(self) -> Postprocess:
        return self.config.postprocess

    @property
    def in_channels(self) -> int:
        return self.config.in_channels

    @property
    def num_classes(self) -> int:
        return self.config.num_classes

    @property
    def classes(self) -> tuple[str, ...]:
        return self.config.classes

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        return self.config.palette

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.network(*args, **kwargs)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """What each stage of the network gives for x (N, in_channels, H, W), by its name.

        The stages are those that `segzoo info` lists; see `segzoo.features.features`.
        """
        from segzoo.features import features

        return features(self.network, x)

    def predictor(
        self,
        *,
        batch_size: int = 8,
        max_pixels: int = pictures.MAX_PIXELS,
        tile: int | tuple[int, int] | None = None,
        overlap: int | tuple[int, int] | None = None,
    ) -> "Predictor":
        """A Predictor on the device that the network is on; it says what the settings mean."""
        from segzoo.predictor import Predictor
        from segzoo.runtimes.torch import TorchRuntime

        return Predictor(
            TorchRuntime(self.network),
            preprocess=self.preprocess,
            postprocess=self.postprocess,
            in_channels=self.in_channels,
            num_classes=self.num_classes,
            classes=self.classes,
            palette=self.palette,
            batch_size=batch_size,
            max_pixels=max_pixels,
            tile=tile,
            overlap=overlap,
        )

    @overload
    def predict(
        self,
        source: "Source",
        *,
        batch_size: int = 8,
        all_heads: bool = False,
        tile: int | tuple[int, int] | None = None,
        overlap: int | tuple[int, int] | None = None,
    ) -> "Prediction": ...
    @overload
    def predict(
        self,
        source: "list[Any] | tuple[Any, ...]",
        *,
        batch_size: int = 8,
        all_heads: bool = False,
        tile: int | tuple[int, int] | None = None,
        overlap: int | tuple[int, int] | None = None,
    ) -> "list[Prediction]": ...
    def predict(
        self,
        source: "Source | list[Any] | tuple[Any, ...]",
        *,
        batch_size: int = 8,
        all_heads: bool = False,
        tile: int | tuple[int, int] | None = None,
        overlap: int | tuple[int, int] | None = None,
    ) -> "Prediction | list[Prediction]":
        """Masks at the pictures' upright size.

        source: a path, bytes, a PIL image or an array (H, W[, 3|4]) uint8 gives a Prediction; a
        list of these gives a list. all_heads: side outputs too. tile, overlap: run large pictures
        in windows, as `Predictor` says. PictureError for one that cannot be decoded.
        """
        predictor = self.predictor(batch_size=batch_size, tile=tile, overlap=overlap)
        return predictor.predict(source, all_heads=all_heads)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Write model.safetensors and config.json; `segzoo.load(folder)` reads them back.

        The config comes last, so a folder that has one is whole. OutputError when it cannot be
        written; weights that hold NaN or infinity are refused.
        """
        target = Path(folder)
        files.make_folder(target)
        sha256 = weights.save(self.network, target / configs.WEIGHTS_NAME)
        config = dataclasses.replace(self.config, files={configs.WEIGHTS_NAME: sha256})
        files.write(target / configs.CONFIG_NAME, configs.dump(config).encode())
        return target
