"""A model written as the files of a format, once its answers were compared with torch's."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from segzoo.base import files
from segzoo.base.home import expanded
from segzoo.base.records import Json, asdict
from segzoo.errors import DependencyMissingError, OutputError, PluginError, UsageError
from segzoo.export.before import bands_of
from segzoo.export.formats import Files, Run
from segzoo.pictures.resample import Size, resize
from segzoo.predict.artefacts.export import OPSET
from segzoo.predict.artefacts.identity import version_of
from segzoo.predict.artefacts.parity import TOLERANCE, difference_and_rounding
from segzoo.predict.artefacts.store import allowed
from segzoo.predict.preprocess import mask_of
from segzoo.spec import ExporterSpec
from segzoo.zoo import registry
from segzoo.zoo.installed import missing

if TYPE_CHECKING:
    from segzoo.model.loaded import Model

__all__ = ["ExportedFiles", "Target", "Trial", "export_model", "target_of"]

BATCHES: tuple[tuple[int, Size], ...] = ((1, (64, 64)), (2, (97, 160)), (1, (250, 203)))
BLOB = 8  # pixels
RECORD = ".json"  # after the name of the file


@dataclass(frozen=True)
class Target:
    """Where a model is to be written, and as what."""

    file: Path
    format: str
    spec: ExporterSpec


@dataclass(frozen=True)
class Trial:
    """Pictures (N, H, W) on which the file and `Model.predict` were compared.

    difference: of probabilities, the largest. pixels: whose masks differ. rounding: the largest
    difference between torch in float32 and in float64, where that was asked; then `difference` is
    from float64 too. 0 where it was not.
    """

    pictures: tuple[int, int, int]
    difference: float
    pixels: int
    rounding: float = 0.0

    @property
    def most(self) -> float:
        """By how much they may differ."""
        return allowed(TOLERANCE["fp32"], self.rounding)


@dataclass(frozen=True)
class ExportedFiles:
    """What was written. record: what stands in the last of the files, as JSON."""

    files: tuple[Path, ...]
    compared: tuple[Trial, ...]
    record: dict[str, Json]


def target_of(out: str | os.PathLike[str], format: str, *, overwrite: bool = False) -> Target:
    """What a user asked for, looked at before a network is built.

    UsageError for no such format, or another ending; DependencyMissingError without the libraries;
    OutputError for what is in the way.
    """
    spec = registry.find(format, registry.EXPORTERS).load_as(ExporterSpec)
    file = Path(expanded(out))
    if not file.name.endswith(spec.suffix) or file.name == spec.suffix:
        raise UsageError(
            f"a file of the format {format} ends in {spec.suffix}",
            found=file.name or os.fspath(out),
            next_step=f"Give -o {(file.stem or 'model')}{spec.suffix}",
        )
    if lacks := missing(spec.requires).values():
        quoted = " ".join(f"'{each}'" for each in lacks)
        raise DependencyMissingError(
            f"the format {format} needs {', '.join(lacks)}", next_step=f"Run: pip install {quoted}"
        )
    if not file.parent.is_dir():
        raise OutputError("there is no such folder", file=os.fspath(file.parent))
    for each in (file, _record_of(file)):
        if each.is_dir() or (os.path.lexists(each) and not overwrite):
            raise OutputError(
                "is a folder" if each.is_dir() else "is there already",
                file=os.fspath(each),
                next_step="Choose another name" + " or give --overwrite" * (not each.is_dir()),
            )
    return Target(file, format, spec)


def export_model(model: "Model", target: Target, *, overwrite: bool = False) -> ExportedFiles:
    """Make the files, compare them with `model.predict`, and write them with a record beside.

    ConfigError for what the format cannot hold; PluginError for a network that cannot be exported,
    or whose probabilities then differ by more than 1e-4 and more than rounding explains. Nothing is
    written then.
    """
    bands = bands_of(model.preprocess, model.in_channels)
    spec = target.spec
    made: Files = registry.resolve(spec.make)(model.network, model.config)
    beside = [_beside(target, suffix) for suffix in made]
    for file in beside:
        if os.path.lexists(file) and not overwrite:
            raise OutputError(
                "is there already", file=os.fspath(file), next_step="Give --overwrite"
            )
    run: Run = registry.resolve(spec.run)(made)
    compared = tuple(_compared(model, run, bands))
    worst = max(compared, key=lambda each: each.difference / each.most)
    if not worst.difference <= worst.most:
        n, h, w = worst.pictures
        raise PluginError(
            f"{model.config.model} as {target.format} gives other probabilities than torch",
            found=f"a difference of {worst.difference:.2g} for {n} of {h}x{w}",
            expected=f"at most {worst.most:.2g}",
            next_step="Nothing was written; segzoo predict runs it in torch",
        )
    record = _record(model, target, compared, bands)
    for file, content in zip(beside, made.values(), strict=True):
        files.write(file, content)
    written = _record_of(target.file)
    files.write(written, (json.dumps(record, indent=2) + "\n").encode())
    return ExportedFiles((*beside, written), compared, record)


def _beside(target: Target, suffix: str) -> Path:
    stem = target.file.name.removesuffix(target.spec.suffix)
    return target.file.with_name(stem + suffix)


def _record_of(file: Path) -> Path:
    return file.with_name(file.name + RECORD)


def _compared(model: "Model", run: Run, bands: int) -> Iterator[Trial]:
    for count, size in BATCHES:
        pictures = np.stack([_picture(seed, size, bands) for seed in range(count)])
        wanted = model.predict(list(pictures))
        likely, masks = run(pictures)
        expected = (count, model.num_classes, *size)
        if likely.shape != expected or masks.shape != (count, *size):
            raise PluginError(
                "the exported model's outputs have a wrong shape",
                found=f"{likely.shape} and {masks.shape}",
                expected=f"{expected} and {(count, *size)}",
            )
        if any(
            (mask_of(p, model.postprocess) != m).any() for p, m in zip(likely, masks, strict=True)
        ):
            raise PluginError("the exported model's masks are not those of its probabilities")
        torchs = np.stack([each.probability.reshape(expected[1:]) for each in wanted])
        truth = partial(_in_float64, model, pictures)
        difference, rounding = difference_and_rounding(likely, torchs, truth)
        pixels = sum(int((a.mask != b).sum()) for a, b in zip(wanted, masks, strict=True))
        yield Trial((count, *size), difference, pixels, rounding)


def _in_float64(model: "Model", pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The probabilities (N, K, H, W) of a copy that computes in float64."""
    from segzoo.predict.runtimes.torch import in_float64

    exact = type(model)(in_float64(model.network).network, spec=model.spec, config=model.config)
    found = np.stack([each.probability for each in exact.predict(list(pictures))])
    return found.reshape(len(pictures), model.num_classes, *found.shape[-2:])


def _picture(seed: int, size: Size, bands: int) -> NDArray[np.uint8]:
    """Soft blobs; the same for a seed."""
    coarse = (2 + size[0] // BLOB, 2 + size[1] // BLOB, bands)
    values = np.random.default_rng(seed).integers(0, 256, coarse, np.uint8)
    image = resize(values, size, axes=(0, 1))
    picture: NDArray[np.uint8] = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return picture


def _record(
    model: "Model", target: Target, compared: tuple[Trial, ...], bands: int
) -> dict[str, Json]:
    config = model.config
    libraries = ("torch", "onnx", "onnxruntime", "openvino")
    return {
        "model": config.model,
        "format": target.format,
        "opset": None if target.format == "pt2" else OPSET,
        "input": {"pictures": ["N", "H", "W", bands], "dtype": "uint8"},
        "outputs": {
            "probabilities": ["N", config.num_classes, "H", "W"],
            "mask": ["N", "H", "W"],
        },
        "classes": list(config.classes),
        "license": model.weights.license if model.weights else None,
        "preprocess": cast(Json, asdict(config.preprocess)),
        "postprocess": cast(Json, asdict(config.postprocess)),
        "tolerance": TOLERANCE["fp32"],
        "compared": [
            {
                "pictures": [*c.pictures],
                "difference": c.difference,
                "pixels": c.pixels,
                "rounding": c.rounding,
            }
            for c in compared
        ],
        "segzoo": metadata.version("segzoo-core"),
        "versions": {name: v for name in libraries if (v := version_of(name))},
    }
