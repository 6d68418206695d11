"""What `segzoo.load` returns: a network with everything needed to use it."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from torch import Tensor, nn

from segzoo.base import files, ours
from segzoo.base.home import expanded
from segzoo.errors import UsageError
from segzoo.pictures import codec
from segzoo.saved import config as configs
from segzoo.saved import manifest
from segzoo.saved.config import Config
from segzoo.saved.manifest import MANIFEST_NAME
from segzoo.spec import Dataset, ModelSpec, Postprocess, Preprocess, Task, Weights
from segzoo.weights import safetensors as weights

if TYPE_CHECKING:
    from segzoo.predict.network import Runtime
    from segzoo.predict.prediction import Prediction
    from segzoo.predict.predictor import Predictor
    from segzoo.predict.stages import Source
    from segzoo.publish.publish import Published

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
        """Logits of x (N, in_channels, H, W); in training side outputs too, where it has any."""
        return self.network(*args, **kwargs)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """What each stage of the network gives for x (N, in_channels, H, W), by its name.

        The stages are those that `segzoo info --full` lists; see `segzoo.model.features.features`.
        """
        from segzoo.model.features import features

        return features(self.network, x)

    def predictor(
        self,
        *,
        runtime: str = "torch",
        precision: str = "fp32",
        batch_size: int = 8,
        max_pixels: int = codec.MAX_PIXELS,
        tile: int | tuple[int, int] | None = None,
        overlap: int | tuple[int, int] | None = None,
    ) -> "Predictor":
        """A Predictor on the device that the network is on; it says what the settings mean.

        runtime: "torch", or "onnxruntime" or "openvino", which run what is exported of the network
        as it is now, on the CPU; "auto" takes the fastest of them. precision: "fp32" or "bf16";
        int8 is for weights in a file, by `segzoo predict`.
        """
        from segzoo.model.running import predictor_of

        return predictor_of(
            self._runtime(runtime, precision),
            self.config,
            batch_size=batch_size,
            max_pixels=max_pixels,
            tile=tile,
            overlap=overlap,
        )

    def _runtime(self, runtime: str, precision: str) -> "Runtime":
        from segzoo.model.running import exportable_of
        from segzoo.predict.artefacts.export import values_of
        from segzoo.predict.artefacts.ready import runtime_for
        from segzoo.predict.artefacts.speed import auto_runtime
        from segzoo.predict.runtimes import offered
        from segzoo.predict.runtimes.torch import TorchRuntime

        offered.refuse_unoffered(runtime, precision)
        place = next((p.device for p in self.network.parameters()), None)
        is_elsewhere = place is not None and place.type != "cpu"
        if runtime == "torch" or (runtime == offered.AUTO and is_elsewhere):
            return TorchRuntime(self.network, precision)
        if is_elsewhere:
            raise UsageError(
                f"{runtime} runs on the CPU",
                found=f"a network on {place}",
                next_step='Move it there: model.to("cpu")',
            )
        weights = f"values:{values_of(self.network)}"
        subject = exportable_of(self.spec, self.config, weights, lambda: self.network)
        if runtime == offered.AUTO:
            runtime = auto_runtime(subject, precision)
        if runtime == "torch":
            return TorchRuntime(self.network, precision)
        return runtime_for(subject, runtime, precision)

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

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        *,
        dtype: weights.StoredDtype | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write model.safetensors, config.json, manifest.json; `segzoo.load(folder)` reads them.

        dtype: store floats so, and widen them when they are loaded; None keeps them as they are.
        overwrite: also what is there and is no saved model of segzoo's, else an OutputError. The
        config comes after the weights, so a new folder that has one is whole. OutputError when it
        cannot be written; weights that hold NaN or infinity, also by `dtype`, are refused.
        """
        target = Path(expanded(folder))
        if not overwrite:
            names = (*ours.known_by(configs.CONFIG_NAME), MANIFEST_NAME)
            ours.refuse_others((target / name for name in names), next_step="choose another folder")
        with files.folder_for(target):
            sha256 = weights.save(self.network, target / configs.WEIGHTS_NAME, dtype=dtype)
            (target / MANIFEST_NAME).unlink(missing_ok=True)  # it was of other files
            config = dataclasses.replace(
                self.config, dtype=dtype or "float32", files={configs.WEIGHTS_NAME: sha256}
            )
            files.write(target / configs.CONFIG_NAME, configs.dump(config).encode())
            manifest.write(target, [configs.CONFIG_NAME, configs.WEIGHTS_NAME])
        return target

    def push_to_hub(
        self,
        repo: str,
        *,
        license: str = "",
        trained_on: Sequence[Dataset] = (),
        evaluation: str | os.PathLike[str] | None = None,
        picture: str | os.PathLike[str] | None = None,
        dtype: weights.StoredDtype | None = None,
        base_model: str = "",
        notes: str = "",
        tag: str = "",
        private: bool = False,
        create_pr: bool = False,
    ) -> "Published":
        """Publish it as "user/name", as `segzoo publish` does; see `segzoo.publish`."""
        from segzoo.publish.publish import publish
        from segzoo.publish.request import PublishRequest

        request = PublishRequest(
            self,
            repo,
            license=license,
            trained_on=trained_on,
            evaluation=evaluation,
            picture=picture,
            dtype=dtype,
            base_model=base_model,
            notes=notes,
            tag=tag,
            private=private,
            create_pr=create_pr,
        )
        return publish(request)
