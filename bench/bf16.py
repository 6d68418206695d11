"""Where bfloat16 changes what a network says, and which layers it is.

    python bench/bf16.py [--models u2netp.tuned lite0.duts] [--keep 3] [PICTURE ...]

Differences of probabilities from float32, on photographs (those of demo/photos) and on the pictures
that runtimes are compared on: OpenVINO in bfloat16; torch's autocast; float32 in which nothing but
the inputs of convolutions is rounded to bfloat16, all of them, and all but those of the layers that
have the worst channel. That is one whose deviation over the first photograph is small beside the
step that bfloat16 has at its mean: what it says is lost.
Writes bench/results/bf16.json.
"""

import argparse
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import machine

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import numpy as np
import torch

import segzoo
from segzoo.model.loaded import Model
from segzoo.pictures.codec import read
from segzoo.predict.artefacts.export import to_onnx
from segzoo.predict.artefacts.parity import BATCHES, example
from segzoo.predict.preprocess import prepare
from segzoo.predict.runtimes.openvino import OpenVinoRuntime

PHOTOS = Path(__file__).parent.parent / "demo" / "photos"
Maps = list[torch.Tensor]


class Rounded:
    """While it is open, the inputs of these convolutions are rounded to bfloat16."""

    def __init__(self, network: torch.nn.Module, names: Iterable[str]) -> None:
        self.modules = [network.get_submodule(name) for name in names]

    def __enter__(self) -> None:
        self.handles = [
            module.register_forward_pre_hook(lambda _, x: (x[0].bfloat16().float(),))
            for module in self.modules
        ]

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pictures", nargs="*", type=Path, default=sorted(PHOTOS.iterdir()))
    parser.add_argument("--models", nargs="+", default=["u2netp.tuned", "lite0.duts"])
    parser.add_argument("--keep", type=int, default=3)
    args = parser.parse_args()
    here = machine.describe()
    rows = [row for name in args.models for row in measured(name, args.pictures, args.keep)]
    result = {"pictures": ", ".join(path.name for path in args.pictures), **tabled(rows)}
    print(f"\nwritten to {machine.save('bf16', result, machine=here)}")


def tabled(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The rows of each model by what they are of."""
    made: dict[str, Any] = {"difference": {}, "channels": {}}
    for row in rows:
        kind, key = ("difference", "way") if "way" in row else ("channels", "layer")
        of_model = made[kind].setdefault(row["model"], {})
        of_model[row[key]] = {n: v for n, v in row.items() if n not in ("model", key)}
    return made


def measured(name: str, pictures: Sequence[Path], keep: int) -> Iterable[dict[str, Any]]:
    model = segzoo.load(name)
    network = model.network.eval()
    photos = [_prepared(model, path) for path in pictures]
    others = [
        example(model.preprocess, model.in_channels, count=count, size=size)
        for count, size in BATCHES
    ]
    xs = [torch.from_numpy(x) for x in (*photos, *others)]
    wanted = _maps(network, xs)

    def row(way: str, found: Maps) -> dict[str, Any]:
        gaps = [(a - b).abs() for a, b in zip(found, wanted, strict=True)]
        of_photos, of_others = gaps[: len(photos)], gaps[len(photos) :]
        made = {
            "model": name,
            "way": way,
            "photos_largest": _number(max(g.max() for g in of_photos)),
            "photos_mean": _number(np.mean([g.mean() for g in of_photos])),
            "compared_largest": _number(max(g.max() for g in of_others)),
        }
        print(f"{name:16} {way:44} " + "  ".join(f"{v:8.5f}" for v in list(made.values())[2:]))
        return made

    in_openvino = OpenVinoRuntime(
        lambda: to_onnx(network, np.concatenate([xs[0], xs[0]]), any_size=False), "bf16"
    )
    yield row("OpenVINO in bfloat16", [_likely(in_openvino(x.numpy())[0]) for x in xs])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        yield row("torch's autocast", _maps(network, xs))
    names = [n for n, part in network.named_modules() if isinstance(part, torch.nn.Conv2d)]
    with Rounded(network, names):
        yield row("inputs of convolutions rounded", _maps(network, xs))
    channels = _channels(network, names, xs[0])  # of the layers that are run
    worst = sorted(channels, key=lambda each: -channels[each]["steps"])[:keep]
    for count in range(1, keep + 1):
        with Rounded(network, set(names) - set(worst[:count])):
            kept = "the same but of one" if count == 1 else f"the same but of {count}"
            yield row(kept, _maps(network, xs))
    for each in worst:
        print(f"{'':16} {each:28} {channels[each]}")
        yield {"model": name, "layer": each} | channels[each]


def _channels(
    network: torch.nn.Module, names: Sequence[str], x: torch.Tensor
) -> dict[str, dict[str, float]]:
    """Of the input of each layer, the channel that bfloat16 has fewest steps for."""
    found: dict[str, dict[str, float]] = {}

    def look(name: str, given: torch.Tensor) -> None:
        mean, deviation = given[0].mean((1, 2)), given[0].std((1, 2))
        step = 2.0 ** torch.floor(torch.log2(mean.abs().clamp(min=1e-9))) / 128
        steps = step / deviation.clamp(min=1e-6)
        worst = int(steps.argmax())
        found[name] = {
            "channel": worst,
            "mean": _number(mean[worst]),
            "deviation": _number(deviation[worst]),
            "step": _number(step[worst]),
            "steps": _number(steps[worst]),
        }

    handles = [
        network.get_submodule(name).register_forward_pre_hook(
            lambda _, given, name=name: look(name, given[0].detach())
        )
        for name in names
    ]
    _maps(network, [x])
    for handle in handles:
        handle.remove()
    return found


@torch.inference_mode()
def _maps(network: torch.nn.Module, xs: Sequence[torch.Tensor]) -> Maps:
    return [torch.sigmoid(network(x).float()) for x in xs]


def _likely(logits: np.ndarray) -> torch.Tensor:
    return torch.sigmoid(torch.from_numpy(logits))


def _prepared(model: Model, path: Path) -> np.ndarray:
    return prepare(read(path), model.preprocess, model.in_channels)[0][None]


def _number(value: Any) -> float:
    return float(f"{float(value):.4g}")


if __name__ == "__main__":
    main()
