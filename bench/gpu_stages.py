"""The stages of `gpu.py`, each by its name: what is run, and what of it is written down.

    python bench/gpu_stages.py tests|train|resume|predict|step [MODEL] --device cuda --out FILE

A stage writes one JSON object to FILE, and ends with an error where what it tries does not hold.
--tiny: sizes for which a CPU takes seconds.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import train as training
from PIL import Image
from torch import Tensor

import segzoo
from segzoo.engine import journal
from segzoo.engine.settings import Settings

ROOT = Path(__file__).parents[1]
# Times strict float32 of plain PyTorch, at least.
AIMS = {1: 3.0, 64: 2.5}  # by the batch that is predicted
AIM_STEP = 2.0
SHOWN = ("mae", "max_f", "iou")
CASES = training.CASES | {"lite0": training.Case("lite0", 16, (288, 288), 3, 1)}
Found = dict[str, Any]


# --- the tests ------------------------------------------------------------------------------------


def tests(model: str, device: str, tiny: bool) -> Found:
    """The tests marked gpu. On a card none may be left out; without one all are."""
    files = [
        *sorted(ROOT.glob("tests/test_*.py")),
        *sorted(ROOT.glob("plugins/*/tests/test_*.py")),
    ]
    marked = [str(file) for file in files if "\n@pytest.mark.gpu" in file.read_text("utf-8")]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", f"--junitxml={report}"]
        done = subprocess.run([*command, *marked], cwd=ROOT)
        suite = next(iter(ET.parse(report).getroot().iter("testsuite")))
    counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    expected = counts["tests"] if device == "cpu" else 0
    if done.returncode or not counts["tests"] or counts["skipped"] != expected:
        raise SystemExit(f"pytest ended with {done.returncode}: {counts}")
    return counts


# --- training -------------------------------------------------------------------------------------


def drawn(folder: Path, count: int, side: int) -> str:
    """Bright discs on noise with their masks, as files; gives the words of the data set."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    rows, columns = np.mgrid[:side, :side]
    for number in range(count):
        row, column = rng.uniform(0.3, 0.7, 2) * side
        radius = rng.uniform(0.15, 0.3) * side
        disc = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
        picture = rng.integers(0, 100, (side, side, 3)) + 120 * disc[..., None]
        Image.fromarray(picture.astype(np.uint8)).save(folder / "images" / f"{number:03}.png")
        Image.fromarray((disc * 255).astype(np.uint8)).save(folder / "masks" / f"{number:03}.png")
    return f"folder:{folder}?values=0,255"


def recipe_of(tiny: bool, steps: int) -> dict[str, str]:
    """What is changed of the model's first recipe."""
    size, batch = (64, 2) if tiny else (288, 16)
    changes = {"steps": steps, "batch_size": batch, "size": size, "crop": size, "warmup": 2}
    return {"precision": "bf16"} | {name: str(value) for name, value in changes.items()}


def train(model: str, device: str, tiny: bool) -> Found:
    """A training in bfloat16 that has to learn the discs, and its evaluation on the device."""
    steps, count, side = (6, 8, 64) if tiny else (150, 128, 320)
    with tempfile.TemporaryDirectory() as folder:
        words = drawn(Path(folder) / "discs", count, side)
        done = segzoo.train(
            model,
            words + "&val=0.25",
            run=Path(folder) / "run",
            changes=recipe_of(tiny, steps),
            task="saliency",
            settings=Settings(device=device, workers=4, eval_every=steps // 3, quiet=True),
        )
        losses = [r["loss"] for r in journal.read(done.run) if isinstance(r.get("loss"), float)]
        start = time.perf_counter()
        found = segzoo.evaluate(
            str(done.run / "model"), words + "&val=0.25", device=device, bootstrap=0
        )
        seconds = time.perf_counter() - start
    if not tiny and not losses[-1] < losses[0]:
        raise SystemExit(f"it did not learn: the loss went from {losses[0]} to {losses[-1]}")
    return {
        "steps": done.result.step,
        "loss_at_first_and_at_last": [round(loss, 4) for loss in (losses[0], losses[-1])],
        "measured": {name: found.values[name] for name in SHOWN},
        "evaluation_seconds": round(seconds, 2),
        **memory(device),
    }


def resume(model: str, device: str, tiny: bool) -> Found:
    """A training that a signal stops half way goes on to the bits of one that was left alone."""
    steps, count, side = (4, 4, 64) if tiny else (20, 32, 320)
    changes = recipe_of(tiny, steps)
    seen = 0
    half = steps // 2 * int(changes["batch_size"])

    def stop(image: Any, mask: Any) -> tuple[Any, Any]:
        nonlocal seen
        seen += 1
        if seen == half:
            os.kill(os.getpid(), signal.SIGTERM)
        return image, mask

    def leave(image: Any, mask: Any) -> tuple[Any, Any]:
        return image, mask

    settings = Settings(device=device, workers=0, deterministic=True, quiet=True)
    with tempfile.TemporaryDirectory() as folder:
        words = drawn(Path(folder) / "discs", count, side)
        go = partial(
            segzoo.train, model, words, changes=changes, task="saliency", settings=settings
        )
        whole = go(run=Path(folder) / "whole", transform=leave)
        stopped = go(run=Path(folder) / "halves", transform=stop)
        halves = go(run=Path(folder) / "halves", resume=Path(folder) / "halves", transform=leave)
    one, other = (trained.model.state_dict() for trained in (whole, halves))
    different = [name for name, tensor in one.items() if not torch.equal(tensor, other[name])]
    result = {
        "stopped_at": stopped.result.step,
        "ended_at": halves.result.step,
        "tensors": len(one),
        "different": len(different),
    }
    if different or not 0 < stopped.result.step < halves.result.step == steps:
        raise SystemExit(f"it did not go on to the same bits: {result} {different[:3]}")
    return result


# --- speed ----------------------------------------------------------------------------------------


def predict(model: str, device: str, tiny: bool) -> Found:
    """Pictures per second at batches of 1 and 64: from numpy to numpy, and of the card alone."""
    side, rounds = (64, 2) if tiny else (320, 15)
    batches = (1, 2) if tiny else (1, 64)
    zoo = segzoo.load(model, seed=0, device=device)
    result: Found = {}
    for batch in batches:
        x = np.random.default_rng(0).random((batch, zoo.in_channels, side, side), np.float32)
        ways = ways_of(zoo, x, device)
        found = speeds(ways, rounds, batch, model, side, device)
        aim = {} if tiny else {"aim_of_segzoo_bf16": AIMS[batch]}
        result[f"batch {batch}"] = found | aim
    return result | memory(device)


def ways_of(zoo: Any, x: Any, device: str) -> dict[str, Callable[[], object]]:
    """What is timed, by name; those that begin with "card" have x on the device already."""
    network = zoo.network
    there = torch.from_numpy(x).to(device)
    last = there.contiguous(memory_format=torch.channels_last)

    def strict(tensor: Tensor) -> Tensor:
        with training.strict(), torch.inference_mode():
            return network(tensor)

    def autocast() -> torch.autocast:
        # Within a CUDA graph no cast of the weights may be kept from one call to the next.
        return torch.autocast(there.device.type, torch.bfloat16, cache_enabled=False)

    def low(tensor: Tensor) -> Tensor:
        with torch.inference_mode(), autocast():
            return network(tensor)

    ways: dict[str, Callable[[], object]] = {
        "strict": lambda: strict(torch.from_numpy(x).to(device)).cpu().numpy()
    }
    for precision in ("fp32", "bf16"):
        run = zoo.predictor(runtime="torch", precision=precision).runtime
        ways[f"segzoo {precision}"] = partial(run, x)
    ways |= {
        "card strict": lambda: strict(there),
        "card bf16": lambda: low(there),
        "card bf16 channels_last": lambda: low(last),
    }
    if there.device.type == "cuda":
        ways["card bf16 channels_last graph"] = captured(low, last)
    return ways


def captured(function: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], object]:
    """The function of x as a CUDA graph, which launches all of its kernels at once."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            function(x)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function(x)
    return graph.replay


def speeds(
    ways: dict[str, Callable[[], object]],
    rounds: int,
    batch: int,
    model: str,
    side: int,
    device: str,
) -> Found:
    """Medians, each way once a round; ratios to strict; shares of the card's limit."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 3):
        for name, way in ways.items():
            wait(device)
            start = time.perf_counter()
            way()
            wait(device)
            if number >= 3:
                taken[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(each) for name, each in taken.items()}
    result: Found = {
        "milliseconds": {name: round(value * 1000, 3) for name, value in medians.items()},
        "times_strict": {
            name: ratio(taken["card strict" if name.startswith("card") else "strict"], each)
            for name, each in taken.items()
        },
    }
    if device != "cpu":
        case = replace(CASES[model], size=(side, side))
        card = torch.cuda.get_device_name(device)
        shares = {n: training.share_of_peak(case, batch / v, card) for n, v in medians.items()}
        # share_of_peak counts forward and backward: three times the forward alone.
        result["share_of_the_cards_bf16_peak"] = {
            n: None if share is None else round(share / 3, 5)
            for n, share in shares.items()
            if "bf16" in n
        }
    return result


def step(model: str, device: str, tiny: bool) -> Found:
    """Pictures per second of training: a plain loop in strict float32, and the engine in bf16."""
    case = replace(CASES[model], size=(64, 64), batch=2) if tiny else CASES[model]
    warm, steps, rounds = (1, 2, 1) if tiny else (10, 30, 3)
    place = torch.device(device)

    def strictly(*arguments: Any) -> dict[str, float]:
        with training.strict():
            return training.plainly(*arguments)

    ways: dict[str, training.Way] = {
        "plain strict": strictly,
        "segzoo bf16": partial(training.by_segzoo, precision="bf16"),
    }
    length = training.Length(warm, steps, 0 if tiny else 4)
    found, waits = training.measure(case, ways, length, rounds, place)
    medians = {name: statistics.median(each) for name, each in found.items()}
    result: Found = {
        "batch": case.batch,
        "pictures_per_second": {name: round(value, 1) for name, value in medians.items()},
        "times_strict": ratio(found["segzoo bf16"], found["plain strict"]),
        "aim": AIM_STEP,
        "share_of_time_waiting_for_data": waits,
    }
    if device != "cpu":
        card = torch.cuda.get_device_name(place)
        share = training.share_of_peak(case, medians["segzoo bf16"], card)
        result["share_of_the_cards_bf16_peak"] = share
    return result | memory(device)


def ratio(over: list[float], under: list[float]) -> float:
    """The median of the ratios of each round."""
    return round(statistics.median(a / b for a, b in zip(over, under, strict=True)), 3)


def wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def memory(device: str) -> Found:
    if device == "cpu":
        return {}
    return {"peak_memory_mib": round(torch.cuda.max_memory_allocated(device) / 2**20)}


STAGES: dict[str, Callable[[str, str, bool], Found]] = {
    "tests": tests,
    "train": train,
    "resume": resume,
    "predict": predict,
    "step": step,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("model", nargs="?", default="")
    parser.add_argument("--device", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    found = STAGES[args.stage](args.model, args.device, args.tiny)
    args.out.write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    main()
