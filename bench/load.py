"""How long it takes to load U²-Net (176 MB) with segzoo, against the usual three lines of torch.

    python bench/load.py [--rounds 15]

One run, the ways in turn within each round, each in a process of its own that has imported torch
and segzoo, the files in the page cache: a program loads a model once, into memory that it has not
used yet. Prints the median of each and its ratio to the torch way, and writes both to
bench/results/load.json.

torch     constructor, torch.load(weights_only=True), load_state_dict
first     segzoo.load("u2net", weights=FILE), nothing known of it: sha256 and all values checked
repeated  the same, the file stamped by an earlier load
bytes     reading the file into memory, no more
hash      reading the file and its sha256
"""

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
import torch
from segzoo_u2net.model import u2net

import segzoo
from segzoo import build, model  # noqa: F401  # what segzoo.load imports when it is called
from segzoo.runtimes import torch as runtime  # noqa: F401
from segzoo.weights import save

AIMS = {"first": 0.9, "repeated": 0.5}  # at most, of the torch way
PTH, SAFETENSORS = Path("u2net.pth"), Path("u2net.safetensors")


def by_torch() -> object:
    network = u2net()
    network.load_state_dict(torch.load(PTH, weights_only=True))
    return network


WAYS = {
    "torch": by_torch,
    "first": lambda: segzoo.load("u2net", weights=SAFETENSORS, verify=True),
    "repeated": lambda: segzoo.load("u2net", weights=SAFETENSORS),
    "bytes": SAFETENSORS.read_bytes,
    "hash": lambda: hashlib.sha256(SAFETENSORS.read_bytes()).hexdigest(),
}


def seconds_of(way: str) -> float:
    """What one call takes in this process, which has the files in its folder."""
    start = time.perf_counter()
    WAYS[way]()
    return time.perf_counter() - start


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round; one round before the first is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        network = u2net()
        torch.save(network.state_dict(), folder / PTH)
        save(network, folder / SAFETENSORS)
        time.sleep(2.5)  # a file that has just changed is not stamped
        environment = os.environ | {"SEGZOO_HOME": folder}
        seconds: dict[str, list[float]] = {name: [] for name in WAYS}
        for _ in range(rounds + 1):
            for name, values in seconds.items():
                command = [sys.executable, str(Path(__file__).resolve()), "--way", name]
                done = subprocess.run(
                    command, capture_output=True, text=True, check=True, cwd=folder, env=environment
                )
                values.append(float(done.stdout))
    return {name: values[1:] for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(2)
    if args.way:
        print(seconds_of(args.way))
        return
    rounds = args.rounds
    here = machine.describe()
    print(f"{rounds} rounds, load average {here['load_average']}\n")

    seconds = measure(rounds)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = {name: value / medians["torch"] for name, value in medians.items()}
    for name, value in medians.items():
        aim = f"   aim: at most {AIMS[name]}" if name in AIMS else ""
        print(f"{name:9} {value:6.3f} s   {ratios[name]:5.2f} of torch{aim}")

    result = {
        "rounds": rounds,
        "threads": torch.get_num_threads(),
        "median_seconds": {name: round(value, 4) for name, value in medians.items()},
        "least_seconds": {name: round(min(values), 4) for name, values in seconds.items()},
        "ratio_to_torch": {name: round(value, 3) for name, value in ratios.items()},
        "aims": AIMS,
    }
    machine.save("load", result, machine=here)


if __name__ == "__main__":
    main()
