"""Training pictures per second of one core: segzoo's reader against the loader of U²-Net's scripts.

    python bench/data.py FOLDER [--rounds 9] [--pictures 60]

FOLDER holds the tar shards of DUTS-TR (pictures of at most 320 pixels a side as WebP, masks as
PNG). Every way makes the same batches of ten: 320x320, a crop of 288x288, normalised float32. One
run, the ways in turn within each round, each on the next pictures of a shuffled order, one thread.
Prints the medians and the ratio to the scripts' loader, and writes bench/results/data.json.

scripts  what u2net_train does with files of the same pictures: scikit-image reads and resizes to
         float64, the mask by nearest; a random crop; each picture over its maximum, less the mean,
         over the standard deviation; torch stacks and converts to float32
segzoo   from the shards, and a random flip besides
cached   the same from the decoded cache, made beforehand
decode   no more than decoding the two files of each sample, as segzoo does
"""

import argparse
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import machine
import numpy as np
import torch
from skimage import io, transform
from torch import Tensor

from segzoo.data.decoded import Decoded
from segzoo.data.loader import Draw, Prepared, collated, normalized
from segzoo.data.sample import Dataset, Stream
from segzoo.data.source import Subset, open_data
from segzoo.pictures import codec
from segzoo.pictures.stored import read_labels
from segzoo.spec import Preprocess, Recipe

AIM = 5.0  # times the scripts' loader, at least
SIZE, CROP, BATCH = 320, 288, 10
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PREPROCESS = Preprocess(
    size=(SIZE, SIZE),
    resize="stretch",
    antialias="none",
    border="zero",
    rescale="image_max",
    mean=MEAN,
    std=STD,
)
RECIPE = Recipe(
    steps=1,
    batch_size=BATCH,
    optimizer=("adam", {}),
    lr=1e-3,
    crop=(CROP, CROP),
    augment=(("flip", {}),),
)
RNG = np.random.default_rng(0)

Batch = tuple[Tensor, Tensor]  # (N, 3, 288, 288) float32 and (N, 1, 288, 288) float32


def of_the_scripts(files: Sequence[tuple[Path, Path]]) -> Batch:
    """A batch as the scripts make it, from files."""
    images, masks = [], []
    for picture, mask in files:
        image = transform.resize(io.imread(picture), (SIZE, SIZE), mode="constant")
        target = transform.resize(
            io.imread(mask), (SIZE, SIZE), mode="constant", order=0, preserve_range=True
        )
        top, left = RNG.integers(0, SIZE - CROP, 2)
        image = image[top : top + CROP, left : left + CROP]
        target = target[top : top + CROP, left : left + CROP, None]
        normalized = np.zeros((CROP, CROP, 3))
        image = image / np.max(image)
        for channel in range(3):
            normalized[..., channel] = (image[..., channel] - MEAN[channel]) / STD[channel]
        target = target / max(np.max(target), 1e-6)
        images.append(torch.from_numpy(normalized.transpose(2, 0, 1).copy()))
        masks.append(torch.from_numpy(target.transpose(2, 0, 1).copy()))
    return torch.stack(images).float(), torch.stack(masks).float()


def of_segzoo(prepared: Prepared, indices: Sequence[int]) -> Batch:
    """The same batch as `segzoo train` makes it, some pictures mirrored."""
    batch = collated([prepared[Draw(0, index, 0)] for index in indices])
    assert isinstance(batch, dict)
    return normalized(batch["image"], PREPROCESS), batch["target"].float().unsqueeze(1)


def in_training(dataset: Dataset) -> Prepared:
    """A data set with the recipe's crop and flip."""
    return Prepared(dataset, recipe=RECIPE, preprocess=PREPROCESS, in_channels=3, num_classes=1)


def decoded_alone(files: Sequence[tuple[Path, Path]]) -> None:
    for picture, mask in files:
        codec.read(picture)
        read_labels(mask)


def unpacked(shards: Path, names: Sequence[str], folder: Path) -> list[tuple[Path, Path]]:
    """The picture and the mask of each sample SHARD/KEY as files, byte by byte."""
    wanted = set(names)
    for shard in sorted(shards.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                if f"{shard.stem}/{key}" in wanted:
                    stream = tar.extractfile(member)
                    assert stream is not None  # a file, as its extension says
                    (folder / f"{shard.stem}-{key}.{extension}").write_bytes(stream.read())
    stems = [str(folder / name.replace("/", "-")) for name in names]
    return [(Path(f"{stem}.webp"), Path(f"{stem}.png")) for stem in stems]


def measure(folder: Path, rounds: int, count: int) -> dict[str, list[float]]:
    """Pictures per second of each way in each round; one round before the first is not counted."""
    dataset = open_data(f"shards:{folder}?values=0,255")
    assert not isinstance(dataset, Stream)  # shards of a folder have a length
    indices = RNG.permutation(len(dataset))[: (rounds + 1) * count].tolist()
    with tempfile.TemporaryDirectory() as temporary:
        part = Subset(dataset, indices)
        cached = Decoded(part, size=(SIZE, SIZE), preprocess=PREPROCESS, folder=temporary)
        files = unpacked(folder, [part.id_of(n) for n in range(len(part))], Path(temporary))
        ours, kept = in_training(part), in_training(cached)
        ways: dict[str, Callable[[slice], object]] = {
            "scripts": lambda batch: of_the_scripts(files[batch]),
            "segzoo": lambda batch: of_segzoo(ours, range(len(part))[batch]),
            "cached": lambda batch: of_segzoo(kept, range(len(part))[batch]),
            "decode": lambda batch: decoded_alone(files[batch]),
        }
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds + 1):
            for name, way in ways.items():
                start = time.perf_counter()
                for first in range(number * count, (number + 1) * count, BATCH):
                    way(slice(first, first + BATCH))
                speeds[name].append(count / (time.perf_counter() - start))
    return {name: values[1:] for name, values in speeds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--pictures", type=int, default=60, help="of each round, a multiple of 10")
    args = parser.parse_args()
    torch.set_num_threads(1)
    here = machine.describe()
    print(f"{args.rounds} rounds, load average {here['load_average']}\n")

    speeds = measure(args.folder, args.rounds, args.pictures)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    ratios = {name: value / medians["scripts"] for name, value in medians.items()}
    for name, value in medians.items():
        aim = f"   aim: at least {AIM:g}" if name == "segzoo" else ""
        print(f"{name:8} {value:7.1f} pictures/s   {ratios[name]:6.2f} times the scripts{aim}")

    result = {
        "command": f"python bench/data.py FOLDER --rounds {args.rounds}",  # not whose folder
        "rounds": args.rounds,
        "pictures_a_round": args.pictures,
        "threads": torch.get_num_threads(),
        "median_pictures_per_second": {name: round(value, 1) for name, value in medians.items()},
        "best_pictures_per_second": {name: round(max(v), 1) for name, v in speeds.items()},
        "ratio_to_scripts": {name: round(value, 2) for name, value in ratios.items()},
        "aims": {"segzoo": AIM},
    }
    machine.save("data", result, machine=here)


if __name__ == "__main__":
    main()
