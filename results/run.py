"""Train and measure a row of docs/results.md, and keep what came out in results/ROW.

    python results/run.py ROW [RUN ...] --data FOLDER [--work FOLDER] [--device cuda] [--steps 2]

FOLDER holds the data sets as the words in results/ROW/row.toml say. Runs, models and the folders
that could be published stay in --work. A run that was stopped goes on from its last checkpoint
when the same is typed again, and one that is there whole is only measured. --steps shortens every
run, to see whether all of it works; nothing is kept then.
"""

import argparse
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from rows import Row, Run, read

SEGZOO = [sys.executable, "-P", "-m", "segzoo.cli.main"]  # -P: it runs in a folder of data
KEPT = ("recipe.json", "versions.json", "metrics.jsonl", "curves.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("row")
    parser.add_argument("runs", nargs="*", help="all by default")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int)
    args = parser.parse_args()

    row = read(args.row)
    if unknown := {*args.runs} - {run.name for run in row.runs}:
        parser.error(f"{row.name} has no run {', '.join(sorted(unknown))}")
    work = args.work.resolve() / row.name
    work.mkdir(parents=True, exist_ok=True)
    for run in row.runs:
        if not args.runs or run.name in args.runs:
            carry_out(row, run, args.data, work, args.device, args.steps)


def carry_out(row: Row, run: Run, data: Path, work: Path, device: str, steps: int | None) -> None:
    there = work / run.name
    weights = run.model or str(there / "model")
    if run.train:
        if (there / "run.json").exists():
            if not finished(there):
                segzoo(data, "train", "--resume", there, "--device", device)
        else:
            fewer = [] if steps is None else [f"steps={steps}", "warmup=1"]
            begins: list[str | Path] = (
                ["--init-from", work / run.after / "model"] if run.after else []
            )
            words = [*shlex.split(run.train), *begins, *fewer, "-o", there, "--device", device]
            segzoo(data, "train", *words)
    if run.auto:  # the same line goes on with what was stopped, and with what is whole does nothing
        segzoo(data, "auto", *shlex.split(run.auto), "-o", there, "--device", device)
    reports = {}
    for label, words in run.measured.items():
        reports[label] = work / f"{run.name}-{label}"
        shutil.rmtree(reports[label], ignore_errors=True)
        words = shlex.split(words)
        segzoo(data, "eval", weights, "--data", *words, "-o", reports[label], "--device", device)
    if run.pruned:
        reports["prune"] = work / f"{run.name}-pruned"
        shutil.rmtree(reports["prune"], ignore_errors=True)
        subject = [run.train.partition(" ")[0], "--weights", weights]
        words = ["--data", *shlex.split(run.pruned), "-o", reports["prune"]]
        segzoo(data, "prune", *subject, *words)
    made = None
    if run.train or run.auto:
        made = published(row, there, reports, data, work / f"{run.name}-published")
    if steps is None:
        keep(row.folder / run.name, made, reports, there)


def published(row: Row, there: Path, reports: dict[str, Path], data: Path, folder: Path) -> Path:
    """The folder that `segzoo publish` would send."""
    shutil.rmtree(folder, ignore_errors=True)
    words = ["--license", row.license, "--dtype", "float16", "--dry-run", folder]
    for trained_on in row.trained_on:
        words += ["--trained-on", trained_on]
    if reports:
        words += ["--eval", next(iter(reports.values()))]
    segzoo(data, "publish", there, f"segzoo/{row.name}", *words)
    return folder


def keep(folder: Path, made: Path | None, reports: dict[str, Path], there: Path) -> None:
    """What is small: replaces what an earlier run left."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    about = {"minutes": None, "machine": machine(threads=None), "sha256": None}
    if made is not None:
        for name in KEPT:
            if (made / "training" / name).exists():
                shutil.copy(made / "training" / name, folder / name)
        trained = json.loads((folder / "versions.json").read_text("utf-8"))["trained"]
        about["machine"] = machine(trained["threads"])
        about["minutes"] = round(seconds(there) / 60, 1)
        about["sha256"] = json.loads((made / "config.json").read_text("utf-8"))["files"]
    for label, report in reports.items():
        name = "prune.json" if label == "prune" else "metrics.json"
        text = (report / name).read_text("utf-8")
        text = text.replace(f"{there.parent}{os.sep}", "./")  # where it ran is nobody's business
        (folder / f"{label}.json").write_text(text, "utf-8")
    (folder / "run.json").write_text(json.dumps(about, indent=1) + "\n", "utf-8")


def finished(there: Path) -> bool:
    """Whether the last step was taken and measured."""
    steps = json.loads((there / "run.json").read_text("utf-8"))["recipe"]["steps"]
    lines = (there / "metrics.jsonl").read_text("utf-8").splitlines()
    last = json.loads(lines[-1]) if lines else {}
    return (there / "model").is_dir() and "val" in last and last["step"] == steps


def seconds(there: Path) -> float:
    """Of the training, as its journal counts them; those of several sittings together."""
    total = last = 0.0
    for line in (there / "metrics.jsonl").read_text("utf-8").splitlines():
        now = json.loads(line).get("seconds")
        if now is not None:
            total, last = total + (last if now < last else 0), now
    return total + last


def machine(threads: int | None) -> str:
    """In words: the card, or how many of the processor's cores."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text("utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{threads or os.cpu_count()} of {os.cpu_count()} cores, {name}"


def segzoo(data: Path, *words: str | Path) -> None:
    line = [*SEGZOO, *map(str, words)]
    print("$ segzoo", shlex.join(line[len(SEGZOO) :]), flush=True)
    subprocess.run(line, cwd=data, check=True)


if __name__ == "__main__":
    main()
