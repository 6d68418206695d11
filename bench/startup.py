"""How long does looking take? `segzoo list` and its kin against importing torch and timm.

    python bench/startup.py [--rounds 15]

Each command runs in a process of its own, the commands in turn, so that a busy moment of the
machine meets all of them; figures are medians over the rounds. Fake plugins are dist-info folders
with a real spec module each, byte-compiled as pip does, on PYTHONPATH beside what is installed.
`import segzoo` is counted over the start of a bare interpreter, the difference of two medians.
"""

import argparse
import compileall
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import machine

NUMBERS_OF_PLUGINS = (6, 100)

SPEC = '''"""A model that nobody trained."""

from segzoo.spec import (
    Dataset, Metric, ModelSpec, Option, Paper, Postprocess, Preprocess, Recipe, TaskDefaults,
    Weights,
)

SPEC = ModelSpec(
    summary="fake model number {i}",
    paper=Paper(title="A fake", authors="Nobody", year=2020, arxiv="2001.00001"),
    builder="{package}.model:build",
    options={{"width": Option(default=32, min=8, max=64, help="Channels of the first stage.")}},
    blocks={{"block": "{package}.blocks:Block"}},
    tasks={{
        "binary": TaskDefaults(loss="{package}.loss:loss", postprocess=Postprocess()),
        "multiclass": TaskDefaults(
            loss="{package}.loss:loss",
            postprocess=Postprocess(activation="softmax", threshold=None),
        ),
    }},
    preprocess=Preprocess(
        size=(320, 320),
        resize="stretch",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    ),
    num_classes=1,
    num_parameters=1_000_000,
    recipes={{"seed": Recipe(epochs=10, batch_size=8, optimizer=("adam", {{}}), lr=1e-3)}},
    weights={{
        "first": Weights(
            bundled="{package}:weights/first.safetensors",
            sha256="0" * 64,
            trained_on=(Dataset(name="fakes", license="CC0-1.0"),),
            metrics=(Metric(name="IoU", value=0.5, split="fakes/test", protocol="per picture"),),
            license="Apache-2.0",
        )
    }},
    default_weights="first",
    head=("head.",),
)
'''


def fake_plugins(folder: Path, number: int) -> Path:
    """A folder with `number` distributions that offer one model each, as pip would leave them."""
    for i in range(number):
        package = f"fake_plugin_{i}"
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text("")
        (folder / package / "spec.py").write_text(SPEC.format(i=i, package=package))
        info = folder / f"{package}-1.0.dist-info"
        info.mkdir()
        name = package.replace("_", "-")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[segzoo.models]\nfake_{i} = {package}.spec:SPEC\n")
    assert compileall.compile_dir(folder, quiet=1)
    return folder


def commands(folder: Path) -> dict[str, tuple[list[str], Path | None]]:
    """What is measured, by name: the command line, and the folder of plugins that it sees."""
    python, segzoo = sys.executable, str(Path(sys.executable).with_name("segzoo"))
    measured: dict[str, tuple[list[str], Path | None]] = {
        "python": ([python, "-c", "pass"], None),
        "import segzoo": ([python, "-c", "import segzoo"], None),
        "segzoo --help": ([segzoo, "--help"], None),
        "import torch": ([python, "-c", "import torch"], None),
    }
    if find_spec("timm"):
        code = "import timm; timm.list_models()"
        measured["timm.list_models()"] = ([python, "-c", code], None)
    for number in NUMBERS_OF_PLUGINS:
        plugins = fake_plugins(folder / str(number), number)
        measured[f"segzoo list, {number} plugins"] = ([segzoo, "list"], plugins)
        measured[f"segzoo list --names, {number} plugins"] = ([segzoo, "list", "--names"], plugins)
    return measured


def seconds(command: list[str], plugins: Path | None) -> float:
    environment = os.environ | {"PYTHONPATH": str(plugins or "")}
    start = time.perf_counter()
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    elapsed = time.perf_counter() - start
    if plugins is not None:
        shown = sum(line.startswith("fake_") for line in result.stdout.splitlines())
        assert shown == int(plugins.name), f"{command} shows {shown} models of {plugins.name}"
    return elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    here = machine.describe()
    with tempfile.TemporaryDirectory() as folder:
        measured = commands(Path(folder))
        times: dict[str, list[float]] = {name: [] for name in measured}
        for _ in range(rounds + 1):  # the first round fills the caches of disk and bytecode
            for name, (command, plugins) in measured.items():
                times[name].append(seconds(command, plugins))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    least = {name: min(values[1:]) for name, values in times.items()}

    few, many = (f"segzoo list, {n} plugins" for n in NUMBERS_OF_PLUGINS)
    torch = medians["import torch"]
    aims = [
        (
            "import segzoo, over a bare python, in s",
            medians["import segzoo"] - medians["python"],
            0.06,
        ),
        ("segzoo --help / import torch", medians["segzoo --help"] / torch, 0.25),
        (f"{few} / import torch", medians[few] / torch, 0.25),
        (f"{many} / import torch", medians[many] / torch, 0.25),
        (f"{many}, in s", medians[many], 0.5),
    ]
    if "timm.list_models()" in medians:
        aims.append(
            (f"{few} / timm.list_models()", medians[few] / medians["timm.list_models()"], 0.25)
        )
    else:
        print("timm is not installed here, so it is not compared; run: pip install timm")

    print(f"{rounds} rounds, load average {here['load_average']}\n")
    print(f"{'':40}  median      min")
    for name in medians:
        print(f"{name:40}  {medians[name]:6.3f} s  {least[name]:6.3f} s")
    print()
    for aim, value, limit in aims:
        print(f"{aim:52}  {value:6.3f}  aim {limit:5.2f}  {'met' if value <= limit else 'MISSED'}")
    path = machine.save(
        "startup",
        {
            "rounds": rounds,
            "median_seconds": {name: round(value, 4) for name, value in medians.items()},
            "least_seconds": {name: round(value, 4) for name, value in least.items()},
            "aims": [
                {"what": what, "value": round(value, 4), "at_most": limit, "met": value <= limit}
                for what, value, limit in aims
            ],
        },
        machine=here,
    )
    print(
        f"\nwritten to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}"
    )


if __name__ == "__main__":
    main()
