"""How long it takes to load U²-Net (176 MB) with segzoo, against the usual three lines of torch.

    python bench/load.py [--rounds 15]

One run, the ways in turn within each round, the files in the page cache. Prints the median of each
and its ratio to the torch way, and writes both to bench/results/load.json.

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
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import machine
import torch
from segzoo_u2net.model import u2net

import segzoo
from segzoo.weights import save

AIMS = {"first": 0.9, "repeated": 0.5}  # at most, of the torch way


def ways(folder: Path) -> dict[str, Callable[[], object]]:
    network = u2net()
    torch.save(network.state_dict(), folder / "u2net.pth")
    file = folder / "u2net.safetensors"
    save(network, file)
    time.sleep(2.5)  # a file that has just changed is not stamped

    def by_torch() -> object:
        network = u2net()
        network.load_state_dict(torch.load(folder / "u2net.pth", weights_only=True))
        return network

    return {
        "torch": by_torch,
        "first": lambda: segzoo.load("u2net", weights=file, verify=True),
        "repeated": lambda: segzoo.load("u2net", weights=file),
        "bytes": file.read_bytes,
        "hash": lambda: hashlib.sha256(file.read_bytes()).hexdigest(),
    }


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round; one round before the first is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SEGZOO_HOME"] = folder
        functions = ways(Path(folder))
        seconds: dict[str, list[float]] = {name: [] for name in functions}
        for _ in range(rounds + 1):
            for name, function in functions.items():
                start = time.perf_counter()
                function()
                seconds[name].append(time.perf_counter() - start)
    return {name: values[1:] for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(2)
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
