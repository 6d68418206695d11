"""How long it takes to load U²-Net (176 MB) with segzoo, against the usual three lines of torch,
and against reading the file's bytes.

    python bench/load.py [--rounds 15] [--before CHECKOUT]

One run, the ways in turn within each round, each in a process of its own that has imported torch
and segzoo, the files in the page cache: a program loads a model once, into memory that it has not
used yet. Prints the median of each and its ratios to other ways, and writes them to
bench/results/load.json.

torch             constructor, torch.load(weights_only=True), load_state_dict
first             segzoo.load("u2net", weights=FILE), nothing known of it: sha256 and all values
                  checked
repeated          the same, the file stamped by an earlier load
folder first      segzoo.load(FOLDER) of a saved model with a manifest: config and weights against
                  it, and all values checked
folder repeated   the same, the file stamped by an earlier load
library           constructor on "meta", safetensors.torch.load_file, load_state_dict(assign=True):
                  nothing is checked, and the file is mapped, so that its bytes come later
before            "first" of another commit: CHECKOUT is a worktree of it with a .venv of its own
                  (`make .venv/for-use` there), and its own bench/load.py runs
bytes             reading the file into memory, no more
hash              reading the file and its sha256
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
import safetensors.torch
import torch
from segzoo_u2net.model import u2net

import segzoo
from segzoo.model import build  # noqa: F401
from segzoo.model import loaded as model  # noqa: F401  # what segzoo.load imports when it is called
from segzoo.predict.runtimes import torch as runtime  # noqa: F401

AIMS = {  # at most, of another way
    "first": {"torch": 0.9, "hash": 1.5, "before": 1.1},
    "repeated": {"torch": 0.5, "bytes": 1.5},
    "folder first": {"hash": 1.5},
    "folder repeated": {"bytes": 1.5},
}
PTH, FOLDER = Path("u2net.pth"), Path("saved")
SAFETENSORS = FOLDER / "model.safetensors"


def by_torch() -> object:
    network = u2net()
    network.load_state_dict(torch.load(PTH, weights_only=True))
    return network


def by_the_library() -> object:
    with torch.device("meta"):
        network = u2net()
    network.load_state_dict(safetensors.torch.load_file(SAFETENSORS), assign=True)
    return network


WAYS = {
    "torch": by_torch,
    "first": lambda: segzoo.load("u2net", weights=SAFETENSORS, verify=True),
    "repeated": lambda: segzoo.load("u2net", weights=SAFETENSORS),
    "folder first": lambda: segzoo.load(f"local-dir:{FOLDER}", verify=True),
    "folder repeated": lambda: segzoo.load(f"local-dir:{FOLDER}"),
    "library": by_the_library,
    "bytes": SAFETENSORS.read_bytes,
    "hash": lambda: hashlib.sha256(SAFETENSORS.read_bytes()).hexdigest(),
}


def seconds_of(way: str) -> float:
    """What one call takes in this process, which has the files in its folder."""
    start = time.perf_counter()
    WAYS[way]()
    return time.perf_counter() - start


def measure(rounds: int, before: Path | None) -> dict[str, list[float]]:
    """Seconds of each way in each round; one round before the first is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        saved = segzoo.load("u2net", seed=0)
        torch.save(saved.network.state_dict(), folder / PTH)
        saved.save_pretrained(folder / FOLDER)
        time.sleep(2.5)  # a file that has just changed is not stamped
        environment = os.environ | {"SEGZOO_HOME": folder}
        here = [sys.executable, str(Path(__file__).resolve()), "--way"]
        commands = {name: [*here, name] for name in WAYS}
        if before is not None:
            python, script = before / ".venv/bin/python", before / "bench/load.py"
            commands["before"] = [str(python.absolute()), str(script.absolute()), "--way", "first"]
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds + 1):
            for name, values in seconds.items():
                done = subprocess.run(
                    commands[name],
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                    cwd=folder,
                    env=environment,
                )
                values.append(float(done.stdout))
    return {name: values[1:] for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--before", type=Path, help="the folder of another commit")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(2)
    if args.way:
        print(seconds_of(args.way))
        return
    rounds = args.rounds
    here = machine.describe()
    print(f"{rounds} rounds, load average {here['load_average']}\n")

    seconds = measure(rounds, args.before)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = {
        name: {other: medians[name] / medians[other] for other in aims if other in medians}
        for name, aims in AIMS.items()
    }
    for name, value in medians.items():
        aims = "".join(
            f"   {ratio:5.2f} of {other} (aim: at most {AIMS[name][other]})"
            for other, ratio in ratios.get(name, {}).items()
        )
        print(f"{name:15} {value:6.3f} s{aims}")

    result = {
        "rounds": rounds,
        "threads": torch.get_num_threads(),
        "median_seconds": {name: round(value, 4) for name, value in medians.items()},
        "least_seconds": {name: round(min(values), 4) for name, values in seconds.items()},
        "ratios": {
            name: {other: round(ratio, 3) for other, ratio in to.items()}
            for name, to in ratios.items()
        },
        "aims": AIMS,
    }
    machine.save("load", result, machine=here)


if __name__ == "__main__":
    main()
