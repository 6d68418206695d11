"""Training pictures per second: segzoo's engine against a plain eager loop of PyTorch.

    python bench/train.py [--rounds 5] [--models u2netp,digit_unet]
    python bench/train.py --device cuda [--compile]

u2netp with batches of 8 pictures of 288x288, digit_unet with 32 of 64x84; pictures of noise in
memory, read by the same number of workers. One run, the ways in turn within each round; every way
begins with the same weights, warms up, and is then timed over some steps, from the start of one
step's loss to that of another. Prints medians and ratios, and writes bench/results/train.json, or
train_cuda.json with --device cuda.

plain          the loop below, as torch comes: float32 (on CUDA its convolutions may use TF32)
plain strict   on CUDA alone: the same without TF32
plain bf16     the same under torch.autocast
segzoo         the engine in float32 (on CUDA with TF32, as torch comes), channels_last
giving back    on a CPU alone: the same without keeping memory between steps (ADR 0026)
segzoo bf16    the engine under autocast, channels_last: what it is fastest with, where the
               processor has bfloat16; without it on a CPU none of bfloat16 is run
"""

import argparse
import contextlib
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import machine
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

import segzoo
from segzoo.data.opened import Data
from segzoo.data.sample import Sample
from segzoo.engine import flags, journal
from segzoo.engine.evaluate import Task
from segzoo.engine.job import TrainingJob
from segzoo.engine.settings import Settings
from segzoo.engine.train import train
from segzoo.model import build, profile
from segzoo.model.load import find_spec
from segzoo.predict.runtimes.processor import lacks_bf16
from segzoo.spec import Postprocess, Preprocess, Recipe

AIMS = {"u2netp": 1.25, "digit_unet": 1.0}  # times the plain loop, at least, on a CPU
AIM_CUDA = 2.0
SAMPLES = 64
RATE = 1e-3
# Dense bfloat16 of the tensor cores, in 10^12 operations a second, from the makers' data sheets.
PEAKS = {"H200": 989.4, "H100": 989.4, "A100": 312.0, "L40S": 362.0, "L4": 121.0}


@dataclass(frozen=True)
class Case:
    """What is trained. classes: 1 for a mask of an object."""

    model: str
    batch: int
    size: tuple[int, int]
    channels: int
    classes: int
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


CASES = {
    "u2netp": Case(
        "u2netp", 8, (288, 288), 3, 1, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    ),
    "digit_unet": Case("digit_unet", 32, (64, 84), 1, 11),
}


def loss_of(outputs: Any, target: Tensor) -> Tensor:
    """Of seven maps the sum of their binary cross-entropies; of one the cross-entropy."""
    if isinstance(outputs, Tensor):
        return F.cross_entropy(outputs.float(), target)
    truth = target.unsqueeze(1).float()
    entropies = [F.binary_cross_entropy_with_logits(o.float(), truth) for o in outputs]
    return torch.stack(entropies).sum()


class Noise:
    """Samples as segzoo reads them, in memory."""

    def __init__(self, case: Case) -> None:
        rng = np.random.default_rng(0)
        shape = (SAMPLES, *case.size)
        self.images = rng.integers(0, 256, (*shape, case.channels), np.uint8)
        self.targets = rng.integers(0, max(2, case.classes), shape, np.uint8)

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> Sample:
        return Sample(image=self.images[index], target=self.targets[index], id=str(index))


class Tensors(Noise):
    """The same as a script has them: normalised float32 and int64."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.mean = torch.tensor(case.mean).view(-1, 1, 1)
        self.std = torch.tensor(case.std).view(-1, 1, 1)

    def __getitem__(  # type: ignore[override]  # as the loop below takes it, not the engine
        self, index: int
    ) -> tuple[Tensor, Tensor]:
        x = torch.from_numpy(self.images[index]).permute(2, 0, 1).float() / 255
        return (x - self.mean) / self.std, torch.from_numpy(self.targets[index]).long()


@dataclass
class Clock:
    """Seconds between the first loss after the warm-up and the last one."""

    device: torch.device
    warm: int
    steps: int
    seen: int = 0
    times: list[float] = field(default_factory=list)

    def tick(self) -> None:
        if self.seen in (self.warm, self.warm + self.steps):
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            self.times.append(time.perf_counter())
        self.seen += 1

    @property
    def seconds(self) -> float:
        first, last = self.times
        return last - first


@dataclass(frozen=True)
class Length:
    """warm, steps: of each way in each round. workers: processes that read."""

    warm: int
    steps: int
    workers: int

    @property
    def total(self) -> int:
        return self.warm + self.steps + 1


def plainly(
    network: nn.Module, case: Case, clock: Clock, length: Length, *, bf16: bool = False
) -> dict[str, float]:
    """The loop that everybody writes first."""
    device = clock.device
    network = network.to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    loader: Any = DataLoader(
        Tensors(case),  # type: ignore[arg-type]
        batch_size=case.batch,
        shuffle=True,
        num_workers=length.workers,
        pin_memory=device.type == "cuda",
        persistent_workers=length.workers > 0,
        drop_last=True,
    )
    step = 0
    while step < length.total:
        for x, target in loader:
            x, target = x.to(device, non_blocking=True), target.to(device, non_blocking=True)
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                outputs = network(x)
            clock.tick()
            loss_of(outputs, target).backward()
            optimizer.step()
            step += 1
            if step == length.total:
                break
    return {}


def by_segzoo(
    network: nn.Module,
    case: Case,
    clock: Clock,
    length: Length,
    *,
    precision: str = "fp32",
    compiled: bool = False,
) -> dict[str, float]:
    """The engine; gives the share of the time in which it waited for data."""

    def loss(outputs: Any, batch: Mapping[str, Tensor]) -> Tensor:
        clock.tick()
        return loss_of(outputs, batch["target"])

    with tempfile.TemporaryDirectory() as folder:
        job = TrainingJob(
            network=network,
            loss=loss,
            data=Data(Noise(case)),
            recipe=Recipe(
                steps=length.total,
                batch_size=case.batch,
                optimizer=("adam", {}),
                lr=RATE,
                precision=precision,  # type: ignore[arg-type]
            ),
            task=Task(
                preprocess=Preprocess(mean=case.mean, std=case.std),
                postprocess=Postprocess(),
                in_channels=case.channels,
                num_classes=case.classes,
            ),
            run=Path(folder) / "run",
            settings=Settings(
                device=clock.device.type,
                workers=length.workers,
                channels_last=True,
                compile=compiled,
                save_every=10**9,
                quiet=True,
            ),
        )
        train(job)
        records = journal.read(Path(folder) / "run")
    return {"data_wait": records[-1]["data_wait"]}


Way = Callable[[nn.Module, Case, Clock, Length], dict[str, float]]


def ways_of(device: torch.device, compiled: bool) -> dict[str, Way]:
    cuda = device.type == "cuda"

    def strictly(*arguments: Any) -> dict[str, float]:
        with strict():
            return plainly(*arguments)

    def plainly_bf16(*arguments: Any) -> dict[str, float]:
        return plainly(*arguments, bf16=True)

    def engine(*arguments: Any) -> dict[str, float]:
        return by_segzoo(*arguments, precision="tf32" if cuda else "fp32", compiled=compiled)

    def engine_bf16(*arguments: Any) -> dict[str, float]:
        return by_segzoo(*arguments, precision="bf16", compiled=compiled)

    def giving_back(*arguments: Any) -> dict[str, float]:
        with mock.patch.object(flags, "keeping_memory", contextlib.nullcontext):
            return engine(*arguments)

    ways: dict[str, Way] = {"plain": plainly, "segzoo": engine}
    ways |= {"plain strict": strictly} if cuda else {"giving back": giving_back}
    if cuda or has_bf16(device):
        ways |= {"plain bf16": plainly_bf16, "segzoo bf16": engine_bf16}
    return ways


@contextlib.contextmanager
def strict() -> Iterator[None]:
    """Without TF32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def measure(
    case: Case, ways: Mapping[str, Way], length: Length, rounds: int, device: torch.device
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Pictures per second of each way in each round, and what the last round's engine waited."""
    network = segzoo.load(case.model, seed=0, num_classes=case.classes).network
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    waits = {}
    for _ in range(rounds):
        for name, way in ways.items():
            clock = Clock(device, length.warm, length.steps)
            told = way(deepcopy(network), case, clock, length)
            speeds[name].append(length.steps * case.batch / clock.seconds)
            if told:
                waits[name] = round(told["data_wait"], 4)
    return speeds, waits


def has_bf16(device: torch.device) -> bool:
    """Whether the processor multiplies bfloat16 itself."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return not lacks_bf16()


def share_of_peak(case: Case, speed: float, name: str) -> float | None:
    """Of the card's bfloat16: three times the forward's operations, for forward and backward."""
    peak = next((value for card, value in PEAKS.items() if card in name), None)
    if peak is None:
        return None
    _, spec = find_spec(case.model)
    *_, whole = profile.stages(
        lambda: build.build(spec, num_classes=case.classes), (1, case.channels, *case.size)
    )
    return round(3 * 2 * whole.macs * speed / (peak * 1e12), 4)


def result_of(
    case: Case, speeds: Mapping[str, list[float]], waits: dict[str, float], device: torch.device
) -> dict[str, Any]:
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    best = "segzoo bf16" if has_bf16(device) else "segzoo"
    pairs = [
        ("segzoo", "plain"),
        ("segzoo bf16", "plain bf16"),
        (best, "plain"),
        (best, "plain strict"),
        ("segzoo", "giving back"),
    ]
    ratios = {
        f"{ours} / {theirs}": medians[ours] / medians[theirs]
        for ours, theirs in pairs
        if {ours, theirs} <= {*medians}
    }
    result = {
        "batch": case.batch,
        "size": case.size,
        "median_pictures_per_second": {n: round(v, 2) for n, v in medians.items()},
        "least_and_most": {n: [round(min(v), 2), round(max(v), 2)] for n, v in speeds.items()},
        "ratios": {name: round(value, 3) for name, value in ratios.items()},
        "share_of_time_waiting_for_data": waits,
        "aim": {f"{best} / plain": AIM_CUDA if device.type == "cuda" else AIMS[case.model]},
    }
    if device.type == "cuda":
        share = share_of_peak(case, medians[best], torch.cuda.get_device_name(device))
        result["share_of_the_cards_bf16_peak"] = share
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--models", default="u2netp,digit_unet")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, help="instead of 8 and 32")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="torch.compile in the engine")
    args = parser.parse_args()
    device = torch.device(args.device)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    warnings.filterwarnings("ignore", message="No device id is provided")
    here = machine.describe()
    print(f"{args.rounds} rounds, load average {here['load_average']}")
    results = {}
    for name in args.models.split(","):
        case = CASES[name]
        if args.batch:
            case = Case(**{**vars(case), "batch": args.batch})
        cuda = device.type == "cuda"
        length = Length(warm=20 if cuda else 2, steps=100 if cuda else 6, workers=args.workers)
        speeds, waits = measure(case, ways_of(device, args.compile), length, args.rounds, device)
        results[name] = result_of(case, speeds, waits, device)
        print(f"\n{name}, batches of {case.batch}, {case.size[0]}x{case.size[1]}")
        for way, speed in results[name]["median_pictures_per_second"].items():
            print(f"  {way:12} {speed:8.2f} pictures/s")
        for ratio, value in results[name]["ratios"].items():
            aim = results[name]["aim"].get(ratio)
            print(f"  {ratio:26} {value:6.2f}" + f"   aim: at least {aim}" * (aim is not None))
    result = {
        "rounds": args.rounds,
        "threads": torch.get_num_threads(),
        "workers": args.workers,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "processor_has_bf16": has_bf16(device),
        "models": results,
    }
    name = "train" if device.type == "cpu" else "train_cuda"
    print(f"\n{machine.save(name, result, machine=here)}")


if __name__ == "__main__":
    main()
