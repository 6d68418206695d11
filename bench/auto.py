"""`segzoo auto` beside nnU-Net, at the same minutes of one thread: Dice, seconds per picture.

    python bench/auto.py --nnunet VENV/bin/python --minutes 12 \\
        nuclei='folder:nuclei/train?values=0,255' nuclei='folder:nuclei/test?values=0,255'

A name comes twice: first what to train on, then what to measure on. nnU-Net is trained by
bench/nnunet_small.py in an environment of its own, with a small plan under a budget: its own plan
schedules 250,000 iterations of a network for a card, which no two cores can run, so that its
figures here are not nnU-Net's real quality. Both get the same pictures as PNGs, one thread, and the
minutes, in which both also look and plan, and segzoo tries thresholds; importing is not counted.
Writes bench/results/auto.json after each set, beside what was measured before. Without --nnunet
only segzoo is measured. Where the seconds of the processor are far fewer than the minutes, others
had the processor meanwhile, and the row is to be measured again.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import machine
import numpy as np
from PIL import Image

import segzoo
from segzoo.data.kinds import kind_of_picture
from segzoo.data.sample import Dataset
from segzoo.data.source import open_data
from segzoo.engine.settings import Settings

SMALL = Path(__file__).parent / "nnunet_small.py"
SMALL_PLAN = "nnU-Net, small plan under a budget"
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "nnUNet_compile": "f"}
ENVIRONMENT |= {"nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", metavar="NAME=WORDS")
    parser.add_argument("--nnunet", help="the interpreter of an environment with nnunetv2")
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--most", type=int, help="pictures of each part, at most, for a try")
    parser.add_argument("--keep", help="a folder that gets the pictures, the runs and the masks")
    arguments = parser.parse_args()
    before = machine.describe()
    for name, (train, test) in paired(arguments.sets).items():
        with tempfile.TemporaryDirectory() as folder:
            place = Path(arguments.keep or folder) / name
            pictures = {
                part: stored(numbered(words), place / part, arguments.most)
                for part, words in (("train", train), ("test", test))
            }
            ways = {"segzoo": of_segzoo(place, arguments.minutes)}
            plan = ways["segzoo"].pop("plan")
            if arguments.nnunet:
                ways[SMALL_PLAN] = of_nnunet(place, arguments.nnunet, arguments.minutes)
        print(json.dumps({name: ways}, indent=1), flush=True)
        if not arguments.most:
            found = {
                f"{name}, {way}": {"minutes": arguments.minutes, **values}
                for way, values in ways.items()
            }
            result = with_others(name, found, pictures, plan)
            print(machine.save("auto", result, machine=before))


def with_others(
    name: str, found: dict[str, Any], pictures: dict[str, int], plan: dict[str, str]
) -> dict[str, Any]:
    """What is written: what was measured now, and all else that was measured before."""
    file = machine.RESULTS / "auto.json"
    kept = json.loads(file.read_text("utf-8")) if file.exists() else {}
    lines = kept.get("plans", {})
    return {
        "threads": 1,
        "sets": kept.get("sets", {}) | found,
        "pictures": kept.get("pictures", {}) | {name: pictures},
        "plans": lines | {n: lines.get(n, {}) | {name: value} for n, value in plan.items()},
    }


def paired(sets: list[str]) -> dict[str, tuple[str, str]]:
    """What to train on and what to measure on, by name."""
    found: dict[str, list[str]] = {}
    for text in sets:
        name, _, words = text.partition("=")
        found.setdefault(name, []).append(words)
    if odd := [name for name, both in found.items() if len(both) != 2]:
        raise SystemExit(f"give {', '.join(odd)} twice: what to train on, what to measure on")
    return {name: (both[0], both[1]) for name, both in found.items()}


def numbered(words: str) -> Dataset:
    dataset = open_data(words)
    assert isinstance(dataset, Dataset), f"{words} is a stream"
    return dataset


def stored(dataset: Dataset, place: Path, most: int | None) -> int:
    """The samples as both read them: images/NAME_0000.png in colours, masks/NAME.png of indices."""
    count = min(len(dataset), most or len(dataset))
    for part in ("images", "masks"):
        (place / part).mkdir(parents=True)
    for number in range(count):
        sample = dataset[number]
        image = sample["image"]
        colours = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3]
        Image.fromarray(colours).save(place / f"images/{number:05}_0000.png")
        target = sample["target"].astype(np.uint8)
        Image.fromarray(target).save(place / f"masks/{number:05}_0000.png")
    return count


def of_segzoo(place: Path, minutes: float) -> dict[str, Any]:
    words = f"folder:{place}/train"
    run = place / "segzoo"
    began, worked = time.perf_counter(), time.process_time()
    settings = Settings(device="cpu", workers=0, quiet=True)
    done = segzoo.auto(words, run=run, minutes=minutes, settings=settings)
    seconds = {
        "seconds": time.perf_counter() - began,
        "seconds_of_the_processor": time.process_time() - worked,
    }
    assert done.model is not None
    masks, each = [], []
    for file in sorted((place / "test/images").iterdir()):
        began = time.perf_counter()
        mask = done.model.predict(file).mask
        each.append(time.perf_counter() - began)
        masks.append(np.minimum(mask, 1) if done.model.num_classes == 1 else mask)
    plan = {line.name: line.shown for line in done.plan.lines}
    return {**scores(masks, place), **seconds, **pace(each), "plan": plan}


def of_nnunet(place: Path, interpreter: str, minutes: float) -> dict[str, Any]:
    out = place / "nnunet"
    environment = os.environ | ENVIRONMENT
    for name in ("raw", "preprocessed", "results"):
        environment[f"nnUNet_{name}"] = str(out / name)
        (out / name).mkdir(parents=True)
    line = [interpreter, str(SMALL), str(place), str(out), str(minutes)]
    subprocess.run(line, env=environment, check=True)
    told: dict[str, Any] = json.loads((out / "told.json").read_text("utf-8"))
    told |= told.pop("versions")
    files = sorted((out / "masks").glob("*.png"))
    masks = [np.asarray(Image.open(file)) for file in files]
    return {**scores(masks, place), **pace(told.pop("each")), **told}


def scores(masks: list[Any], place: Path) -> dict[str, float]:
    """Dice of all pictures, and of those of the rarest kind where there are several."""
    truths = [np.asarray(Image.open(file)) for file in sorted((place / "test/masks").iterdir())]
    files = sorted((place / "test/images").iterdir())
    kinds = [kind_of_picture(np.asarray(Image.open(file))) for file in files]
    found = {"dice": dice(masks, truths)}
    if len({*kinds}) > 1:
        rarest = min({*kinds}, key=kinds.count)
        chosen = [n for n, kind in enumerate(kinds) if kind == rarest]
        rare = [masks[n] for n in chosen], [truths[n] for n in chosen]
        found[f"dice_of_{len(chosen)}_{rarest.words.replace(' ', '_')}"] = dice(*rare)
    return found


def dice(masks: list[Any], truths: list[Any]) -> float:
    """Over all pixels of these pictures, the mean over the classes but the first."""
    classes = sorted({*np.concatenate([np.unique(t) for t in truths]).tolist()} - {0, 255})
    hits, sizes = (np.zeros(len(classes)) for _ in range(2))
    for mask, truth in zip(masks, truths, strict=True):
        counts = truth != 255
        for number, value in enumerate(classes):
            found, there = (mask == value) & counts, truth == value
            hits[number] += np.count_nonzero(found & there)
            sizes[number] += np.count_nonzero(found) + np.count_nonzero(there)
    return float(np.mean(2 * hits / np.maximum(sizes, 1)))


def pace(each: list[float]) -> dict[str, float]:
    return {"seconds_a_picture": float(np.median(each[1:] or each))}


if __name__ == "__main__":
    main()
