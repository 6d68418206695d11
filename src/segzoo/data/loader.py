"""From a data set to batches for training, in an order and with draws that depend on a seed alone.

The samples are an endless sequence of epochs, and every step takes exactly `batch_size` of it, so
that a boundary of epochs may fall inside a batch and no sample is left out. Positions in that
sequence are all that a resumed run needs, on any number of processes and workers.
"""

import contextlib
import dataclasses
import multiprocessing
import signal
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from segzoo.base import children
from segzoo.data import draws
from segzoo.data.augment import augmenter, mirror, random_crop
from segzoo.data.centred import pixel_of_a_class
from segzoo.data.kinds import copies_of
from segzoo.data.pixel_weight import pixel_weight
from segzoo.data.resizing import resize_sample
from segzoo.data.sample import Dataset, Sample, checked, info_of, picture_of
from segzoo.errors import DatasetError, SegzooError, UsageError
from segzoo.pictures import labels
from segzoo.pictures.codec import flatten
from segzoo.pictures.resample import Size
from segzoo.predict.preprocess import (
    BLACK,
    channels,
    custom_values,
    framed,
    mirror_index,
    network_size,
    per_channel,
    placed,
)
from segzoo.spec import Preprocess, Recipe
from segzoo.zoo.registry import cause

__all__ = [
    "Batch",
    "Draw",
    "Order",
    "Prepared",
    "as_channels",
    "batches",
    "collated",
    "ignore_index_of",
    "normalized",
    "read",
]

Batch: TypeAlias = dict[str, Any]


class Draw(NamedTuple):
    """One sample of a run: which epoch, which sample, and how often it came before in the epoch."""

    epoch: int
    number: int
    repeat: int


class Order:
    """Which sample lies at a position of the endless sequence of epochs."""

    def __init__(
        self, length: int, *, seed: int, replacement: bool, copies: Sequence[int] = ()
    ) -> None:
        """copies: how often each sample is there, where an epoch is drawn from more than the set.

        It is as long as the set then too.
        """
        self.length = length
        self.numbers = np.repeat(np.arange(length), copies) if copies else np.arange(length)
        self.seed = seed
        self.draw = draws.with_replacement if replacement else draws.order
        self.epoch = -1
        self.indices: Sequence[int] = ()
        self.repeats: list[int] = []

    def __getitem__(self, position: int) -> Draw:
        epoch, place = divmod(position, self.length)
        if epoch != self.epoch:
            self.epoch = epoch
            drawn = self.draw(self.seed, epoch, len(self.numbers))[: self.length]
            self.indices = self.numbers[drawn].tolist()
            seen: dict[int, int] = {}
            self.repeats = []
            for index in self.indices:
                self.repeats.append(seen.get(index, 0))
                seen[index] = self.repeats[-1] + 1
        return Draw(epoch, self.indices[place], self.repeats[place])


class Prepared:
    """Samples of a data set as a network trains on them, by `Draw`.

    Each is resized, cropped, augmented and weighted as the recipe says. Gives "image" (C, h, w)
    uint8 (float32 where the preprocess is a function of the plugin), h and w the network's input;
    "target" (scale * (h - 2 * margin), ...) int16 or int32, or (K, ..., ...) for maps that overlap;
    "weight" float32 of the same size, where something weighs or a border was added; "id" and
    "notes" as the sample has them.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        recipe: Recipe,
        preprocess: Preprocess,
        in_channels: int,
        num_classes: int,
        scale: int = 1,
        transform: Callable[[Any, Any], tuple[Any, Any]] | None = None,
    ) -> None:
        if recipe.centred is not None and recipe.crop is None:
            raise UsageError(
                "centred is the share of crops that lie about a class, and this recipe cuts none",
                next_step="Give crop=HEIGHT,WIDTH too, or centred=none",
            )
        self.dataset = dataset
        self.recipe = recipe
        self.preprocess = preprocess
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.scale = scale
        self.ignore_index = ignore_index_of(recipe, dataset)
        self.size = recipe.size or preprocess.size
        self.answers = _unsized(preprocess)
        self.augment = augmenter(
            recipe.augment,
            ignore_index=self.ignore_index,
            transform=transform,
            bands=in_channels if preprocess.mode == "bands" else None,
        )
        self.weigh = (
            pixel_weight(recipe.pixel_weight, num_classes=num_classes)
            if recipe.pixel_weight
            else None
        )

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, draw: Draw) -> Sample:
        """The sample after augmentation, as a person can look at it: its crop with its margins."""
        with draws.drawn(draws.sample_seed(self.recipe.seed, *draw)):
            sample = checked(self.dataset[draw.number])
            target = labels.judged(
                sample["target"],
                num_classes=self.num_classes,
                ignore_index=self.ignore_index,
                file=sample["id"],
            )
            sample = self.whole(sample | {"target": target})
            if self.recipe.crop is not None:
                height, width = (side + 2 * self.preprocess.margin for side in self.recipe.crop)
                about = self._centre(sample["target"])
                sample = random_crop(sample, (height, width), about=about)
            sample = self.augment(sample)
            if self.weigh is not None:
                weight = self.weigh(sample["target"])
                if self.ignore_index is not None:
                    weight = weight * (sample["target"] != self.ignore_index)
                sample = sample | {"weight": weight * sample.get("weight", 1)}
        return sample

    def whole(self, sample: Sample) -> Sample:
        """A judged sample at the size of the network's pictures, with its margins, uncropped."""
        image = sample["image"]
        if image.shape[2] == 4 != self.in_channels:  # before a resize blends what is transparent
            picture = picture_of(image, self.preprocess, self.in_channels)
            sample = sample | {"image": flatten(picture)}
        if self.size is not None and self.preprocess.resize == "letterbox":
            sample = self._letterboxed(sample, self.size)
        else:
            sample = resize_sample(sample, self.size, self.preprocess)
        margin = self.preprocess.margin
        return mirror(sample, (margin,) * 4) if margin else sample

    def __getitem__(self, draw: Draw) -> "Batch | SegzooError":
        """What the class says; or why there is none, as torch garbles what a worker raises."""
        try:
            return self.arrays(self.sample(draw))
        except SegzooError as error:
            return error
        except Exception as error:  # a user's data set or transform may raise anything
            return DatasetError(
                f"sample {draw.number} of the data set cannot be made ready: {cause(error)}"
            )

    def arrays(self, sample: Sample) -> Batch:
        """The tensors of what `sample` or `whole` gave."""
        margin = self.preprocess.margin
        image = as_channels(sample["image"], self.preprocess, self.in_channels)
        height, width = (side - 2 * margin for side in image.shape[:2])
        network = network_size(height, width, self.answers)
        for axis, length in enumerate(network):
            if length != image.shape[axis]:
                index = mirror_index(image.shape[axis], length, 0)
                image = np.take(image, index, axis=axis)
        if self.preprocess.custom is None:
            x: NDArray[Any] = np.ascontiguousarray(image.transpose(2, 0, 1))
        else:
            x = custom_values(self.preprocess.custom, image, self.in_channels)
        answer = (network[0] - 2 * margin, network[1] - 2 * margin)
        target = _at(_inner(sample["target"], margin), (0, 0), answer, self._beyond())
        weight = sample.get("weight")
        if weight is not None or answer != (height, width):
            inner = np.ones((height, width)) if weight is None else _inner(weight, margin)
            weight = _at(inner.astype(np.float32), (0, 0), answer, 0)
        return {
            "image": torch.from_numpy(x),
            "target": torch.from_numpy(_enlarged(_narrow(target), self.scale)),
            "weight": None if weight is None else torch.from_numpy(_enlarged(weight, self.scale)),
            "id": sample["id"],
            "notes": sample.get("notes", ()),
        }

    def _centre(self, target: NDArray[Any]) -> tuple[int, int] | None:
        """What this crop lies about; None for one that lies anywhere."""
        share, margin = self.recipe.centred, self.preprocess.margin
        if share is None or torch.rand(()).item() >= share:
            return None
        found = pixel_of_a_class(
            _inner(target, margin), num_classes=self.num_classes, ignore_index=self.ignore_index
        )
        return None if found is None else (found[0] + margin, found[1] + margin)

    def _letterboxed(self, sample: Sample, size: Size) -> Sample:
        """Resized in its own shape, in the middle of `size`; around it nothing counts."""
        rule = dataclasses.replace(self.preprocess, size=size)
        height, width = sample["image"].shape[:2]
        inside, offset = placed(height, width, rule)
        sample = resize_sample(sample, inside, rule)
        weight = sample.get("weight", np.ones(inside, np.float32))
        made: Sample = sample | {
            "image": framed(sample["image"], size, offset, rule.border),
            "target": _at(sample["target"], offset, size, self._beyond()),
            "weight": _at(weight, offset, size, 0),
        }
        return made

    def _beyond(self) -> int:
        return 0 if self.ignore_index is None else self.ignore_index


def batches(
    prepared: Prepared,
    *,
    start: int,
    stop: int,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    timeout: float = 0,
    pin: bool = False,
) -> Generator[Batch, None, None]:
    """What one process sees of the steps `start` to `stop` - 1, one batch per accumulated part.

    Every part of a step holds batch_size / accumulate samples of all processes, this one's share
    of them every `world`-th from `rank`. workers: processes that prepare them; 0 prepares them
    here. timeout: seconds to wait for a worker, 0 for ever. pin: memory that a GPU copies faster.
    """
    recipe = prepared.recipe
    order = Order(
        len(prepared),
        seed=recipe.seed,
        replacement=recipe.sampling == "replacement",
        copies=copies_of(prepared.dataset) if recipe.sampling == "kinds" else (),
    )
    part = recipe.batch_size // recipe.accumulate

    def keys() -> Iterator[list[Draw]]:
        for first in range(start * recipe.batch_size, stop * recipe.batch_size, part):
            yield [order[position] for position in range(first + rank, first + part, world)]

    for batch in read(
        prepared,
        workers=workers,
        batch_sampler=_Keys(keys),
        collate_fn=collated,
        timeout=timeout if workers else 0,
        pin_memory=pin,
        prefetch_factor=4 if workers else None,
    ):
        if isinstance(batch, SegzooError):
            raise batch
        yield batch


@contextlib.contextmanager
def _unadvised() -> Iterator[None]:
    """torch advises against more readers than cores, which still read while a network computes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")
        yield


def _deaf(worker: int) -> None:
    """Of a process that reads data: a wish to stop, sent to all, is its parent's to hear.

    The reader would else be gone before the step is done that the parent ends with.
    """
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def read(dataset: Any, *, workers: int, **settings: Any) -> Generator[Any, None, None]:
    """What torch's loader gives of what has the keys that its sampler gives.

    workers: processes that read, which are gone afterwards, also one that hangs. settings: more of
    the loader's own.
    """
    others = set(multiprocessing.active_children())
    with children.workers_may_start(), _unadvised():
        loader: DataLoader[Any] = DataLoader(
            dataset,
            num_workers=workers,
            generator=torch.Generator(),  # it draws a seed: not from the caller's numbers
            worker_init_fn=_deaf,
            **settings,
        )
        source = iter(loader)
    begun = set(multiprocessing.active_children()) - others
    try:
        yield from source
    finally:
        if begun:
            source._shutdown_workers()  # type: ignore[attr-defined]
        for process in begun:
            process.kill()
            process.join()


class _Keys:
    """Keys that a DataLoader asks for, once."""

    def __init__(self, keys: Callable[[], Iterator[list[Draw]]]) -> None:
        self.keys = keys

    def __iter__(self) -> Iterator[list[Draw]]:
        return self.keys()


def collated(samples: "Sequence[Batch | SegzooError]") -> "Batch | SegzooError":
    """Samples side by side; where their sizes differ each is framed to the largest, weighing 0.

    The first error among them instead, if there is one.
    """
    for sample in samples:
        if isinstance(sample, SegzooError):
            return sample
    return _side_by_side([sample for sample in samples if isinstance(sample, dict)])


def _side_by_side(samples: Sequence[Batch]) -> Batch:
    sizes = {sample["image"].shape for sample in samples}
    answers = {sample["target"].shape[-2:] for sample in samples}
    weighed = any(sample["weight"] is not None for sample in samples) or len(answers) > 1
    batch: Batch = {
        "id": [sample["id"] for sample in samples],
        "notes": [(sample["id"], note) for sample in samples for note in sample["notes"]],
    }
    network = tuple(max(shape[axis] for shape in sizes) for axis in (-2, -1))
    answer = tuple(max(shape[axis] for shape in answers) for axis in (-2, -1))
    for key, size in (("image", network), ("target", answer)):
        batch[key] = torch.stack([_grown(sample[key], size) for sample in samples])
    if weighed:
        ones = [torch.ones(sample["target"].shape[-2:], dtype=torch.float32) for sample in samples]
        given = [sample["weight"] for sample in samples]
        batch["weight"] = torch.stack(
            [_grown(one if w is None else w, answer) for one, w in zip(ones, given, strict=True)]
        )
    return batch


def normalized(image: Tensor, preprocess: Preprocess) -> Tensor:
    """(N, C, H, W) uint8 -> float32 as `preprocess.prepare` makes it: rescaled, less mean, by std.

    Float32 is given back as it is: the plugin's own function has made it.
    """
    if image.dtype != torch.uint8:
        return image
    x = image.float()
    if preprocess.rescale == "255":
        x /= 255
    elif preprocess.rescale == "image_max":
        peak = x.amax(dim=(1, 2, 3), keepdim=True)
        x /= torch.where(peak >= 255 * BLACK, peak, 1)
    for name, step in (("mean", x.sub_), ("std", x.div_)):
        values = per_channel(name, getattr(preprocess, name), image.shape[1])
        step(torch.from_numpy(values).to(x.device, non_blocking=True))
    return x


def ignore_index_of(recipe: Recipe, dataset: object) -> int | None:
    """The value of a target that does not count: the recipe's, else the data set's."""
    return info_of(dataset).ignore_index if recipe.ignore_index is None else recipe.ignore_index


# --- arrays ---------------------------------------------------------------------------------------


def as_channels(image: NDArray[np.uint8], preprocess: Preprocess, in_channels: int) -> Any:
    """(H, W, C) of a sample -> (H, W, in_channels)."""
    if image.shape[2] == 1 == in_channels:
        return image
    picture = picture_of(image, preprocess, in_channels)
    return channels(picture, preprocess.mode, in_channels)


def _unsized(preprocess: Preprocess) -> Preprocess:
    """The rule of sizes for a picture that has been resized already."""
    return Preprocess(
        multiple_of=preprocess.multiple_of,
        remainder=preprocess.remainder,
        margin=preprocess.margin,
    )


def _inner(values: NDArray[Any], margin: int) -> NDArray[Any]:
    """(..., H, W) without a border of `margin` pixels."""
    return values[..., margin : values.shape[-2] - margin, margin : values.shape[-1] - margin]


def _at(values: NDArray[Any], offset: Size, size: Size, fill: int) -> NDArray[Any]:
    """(..., h, w) with its top left corner at `offset` of (..., H, W)."""
    filled = np.full((*values.shape[:-2], *size), fill, values.dtype)
    (top, left), (height, width) = offset, values.shape[-2:]
    filled[..., top : top + height, left : left + width] = values
    return filled


def _narrow(target: NDArray[Any]) -> NDArray[Any]:
    """Class indices in the smallest signed type that holds them."""
    fits = target.size == 0 or -32768 <= int(target.min()) <= int(target.max()) <= 32767
    return np.ascontiguousarray(target, np.int16 if fits else np.int32)


def _enlarged(values: NDArray[Any], scale: int) -> NDArray[Any]:
    if scale != 1:
        values = values.repeat(scale, axis=-2).repeat(scale, axis=-1)
    return np.ascontiguousarray(values)


def _grown(values: Tensor, size: tuple[int, ...]) -> Tensor:
    """(..., h, w) at the top left of `size`, with zeros around."""
    if tuple(values.shape[-2:]) == size:
        return values
    grown = values.new_zeros((*values.shape[:-2], *size))
    grown[..., : values.shape[-2], : values.shape[-1]] = values
    return grown
