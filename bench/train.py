"""Training pictures per second: the engine against a plain eager loop of PyTorch.

    python bench/train.py [--rounds 3] [--device cpu]

Both train the same network with the same loss, batch size and optimiser on pictures that lie in
memory: u2netp (8 of 288x288) and digit_unet (32 of 64x84). One run, the ways in turn within each
round. Prints medians and ratios to the plain loop, and writes bench/results/train.json.

plain     forward, loss, backward, Adam.step(), zero_grad(): as tutorials write it; ready tensors
segzoo    `segzoo train` as it is: workers that make the batches, the guard against NaN, fused Adam
last      the same with --channels-last
bf16      the same with precision=bf16 and --channels-last

On a card, `plain` is PyTorch's default, which rounds convolutions to TF32; `strict` is without.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch

import segzoo
from segzoo.data.sample import Sample
from segzoo.engine import journal
from segzoo.engine.evaluate import Task
from segzoo.engine.settings import Settings
from segzoo.engine.train import train
from segzoo.registry import resolve
from segzoo.spec import Preprocess, Recipe

AIMS = {"u2netp": 1.25, "digit_unet": 1.0}  # times the plain loop on a CPU, at least
CASES = {"u2netp": (8, (288, 288)), "digit_unet": (32, (64, 84))}  # batch size, height and width


class Pictures:
    """Noise with a bright square, made once."""

    def __init__(self, length: int, size: tuple[int, int], channels: int) -> None:
        generator = np.random.default_rng(0)
        self.images = generator.integers(0, 120, (length, *size, channels)).astype(np.uint8)
        self.targets = np.zeros((length, *size), np.uint8)
        self.targets[:, 8:40, 8:40] = 1
        self.images[:, 8:40, 8:40] += 100

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        return Sample(image=self.images[index], target=self.targets[index], id=str(index))


def plain(name: str, steps: int, device: str, *, strict: bool = False) -> float:
    """Pictures per second of a loop of one's own, after one step that is not counted."""
    batch_size, size = CASES[name]
    model, loss = of_zoo(name, device)
    network = model.network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    x = torch.rand(batch_size, model.in_channels, *size, device=device)
    batch = {"target": torch.zeros(batch_size, *size, dtype=torch.long, device=device)}
    torch.backends.cudnn.conv.fp32_precision = "ieee" if strict else "tf32"
    start = 0.0
    for step in range(steps + 1):
        if step == 1:
            synchronize(device)
            start = time.perf_counter()
        value = loss(network(x), batch)
        value = value["loss"] if isinstance(value, dict) else value
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
    synchronize(device)
    return steps * batch_size / (time.perf_counter() - start)


def engine(name: str, steps: int, device: str, **changes: Any) -> tuple[float, float]:
    """Pictures per second, and the share of time spent waiting for data, of the last steps."""
    batch_size, size = CASES[name]
    model, loss = of_zoo(name, device)
    recipe = Recipe(
        steps=2 * steps,
        batch_size=batch_size,
        optimizer=("adam", {}),
        lr=1e-4,
        precision=changes.pop("precision", "fp32"),
    )
    data = Pictures(4 * batch_size, size, model.in_channels if model.in_channels == 1 else 3)
    with tempfile.TemporaryDirectory() as folder:
        train(
            model.network,
            loss=loss,
            data=data,
            recipe=recipe,
            task=Task(
                preprocess=Preprocess(mode=model.preprocess.mode),
                postprocess=model.postprocess,
                in_channels=model.in_channels,
                num_classes=model.num_classes,
            ),
            run=Path(folder) / "run",
            settings=Settings(device=device, quiet=True, save_every=steps, **changes),
        )
        records = [r for r in journal.read(Path(folder) / "run") if "images_per_s" in r]
    return records[-1]["images_per_s"], records[-1]["data_wait"]


def of_zoo(name: str, device: str) -> tuple[Any, Any]:
    model = segzoo.load(name, seed=0, device=device)
    return model, resolve(model.spec.tasks[model.task].loss)()


def synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def measure(name: str, rounds: int, steps: int, device: str) -> dict[str, list[float]]:
    ways: dict[str, Callable[[], float]] = {
        "plain": lambda: plain(name, steps, device),
        "segzoo": lambda: engine(name, steps, device)[0],
        "last": lambda: engine(name, steps, device, channels_last=True)[0],
        "bf16": lambda: engine(name, steps, device, channels_last=True, precision="bf16")[0],
    }
    if device != "cpu":
        ways["strict"] = lambda: plain(name, steps, device, strict=True)
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, run in ways.items():
            speeds[way].append(run())
    return speeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    here = machine.describe()
    print(f"{args.rounds} rounds on {args.device}, load average {here['load_average']}")
    models = {}
    for name in CASES:
        speeds = measure(name, args.rounds, args.steps, args.device)
        medians = {way: statistics.median(values) for way, values in speeds.items()}
        ratios = {way: value / medians["plain"] for way, value in medians.items()}
        print(f"\n{name}: aim at least {AIMS[name]:g} times the plain loop on a CPU")
        for way, value in medians.items():
            print(f"  {way:7} {value:8.2f} pictures/s  {ratios[way]:5.2f}")
        waits = engine(name, args.steps, args.device, channels_last=True)[1]
        print(f"  waiting for data: {100 * waits:.1f} % of the time")
        models[name] = {
            "median_pictures_per_second": {way: round(v, 2) for way, v in medians.items()},
            "ratio_to_plain": {way: round(v, 2) for way, v in ratios.items()},
            "share_waiting_for_data": round(waits, 4),
        }
    command = f"python bench/train.py --rounds {args.rounds} --device {args.device}"
    result = {
        "command": command,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if args.device != "cpu" else None,
        "rounds": args.rounds,
        "steps_a_round": args.steps,
        "models": models,
        "aims": AIMS,
    }
    name = "train" if args.device == "cpu" else f"train_{args.device}"
    machine.save(name, result, machine=here)


if __name__ == "__main__":
    main()
