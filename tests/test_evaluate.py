"""The engine's evaluation: what `predict` sees, added up the same way however it is divided."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from squares import Squares
from torch import nn

import segzoo
from segzoo.data.sample import Info
from segzoo.engine.evaluate import Looks, Task, distinct, evaluate, judged
from segzoo.engine.maps import NO_LABEL
from segzoo.errors import DatasetError, PluginError, ResourceError
from segzoo.metrics.overlapping import Overlapping
from segzoo.metrics.saliency import Saliency
from segzoo.metrics.semantic import Semantic
from segzoo.predict.preprocess import NO_CLASS
from segzoo.spec import Postprocess, Preprocess

ROOT = Path(__file__).parents[1]
PHOTOS = sorted((ROOT / "demo/photos").glob("*.jpg"))


class Listed:
    """A data set of given samples; targets are zero where none is given."""

    def __init__(self, images, targets=None, info=None):
        self.images = images
        self.targets = targets or [np.zeros(image.shape[:2], np.uint8) for image in images]
        self.info = info or Info()

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return {"image": self.images[index], "target": self.targets[index], "id": f"no-{index}"}


class Pixels(nn.Module):
    """The first channels as logits, one for each class; refuses what `refuse` says."""

    def __init__(self, num_classes=1, refuse=None):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(8.0))
        self.num_classes = num_classes
        self.refuse = refuse
        self.tried, self.batches = [], []

    def forward(self, x):
        self.tried.append(len(x))
        if self.refuse is not None:
            self.refuse(x)
        self.batches.append(len(x))
        return self.gain * (x[:, : self.num_classes] - 0.5)


class Answers:
    """A measure that keeps the masks and the probabilities themselves."""

    lower_is_better = frozenset()

    def sums(self, probabilities, mask, target):
        return {"mask": mask.cpu(), "probabilities": probabilities.double().cpu()}

    def result(self, sums):
        return {}


def photos(*sizes):
    """Photographs of these sizes (H, W)."""
    found = []
    for number, (height, width) in enumerate(sizes):
        with Image.open(PHOTOS[number % len(PHOTOS)]) as photo:
            found.append(np.asarray(photo.convert("RGB").resize((width, height))))
    return found


def task_of(model):
    return Task(
        preprocess=model.preprocess,
        postprocess=model.postprocess,
        in_channels=model.in_channels,
        num_classes=model.num_classes,
    )


def plain(num_classes=1, **changes):
    """The task of `Pixels`."""
    post = Postprocess()
    if num_classes > 1:
        post = Postprocess(activation="softmax", threshold=None)
    given = {"preprocess": Preprocess(), "postprocess": post, "in_channels": 3}
    return Task(**{**given, "num_classes": num_classes, **changes})


def changed(model, **changes):
    config = dataclasses.replace(model.config, **changes)
    return segzoo.Model(model.network, spec=model.spec, config=config).eval()


def brightness(count, *, side=8, seed=0):
    """Noise, and what of its red is bright: targets that `Pixels` gets right."""
    generator = np.random.default_rng(seed)
    images = [generator.integers(0, 256, (side, side, 3)).astype(np.uint8) for _ in range(count)]
    return Listed(images, [(image[..., 0] > 127).astype(np.uint8) for image in images])


# --- the same as predict --------------------------------------------------------------------------

LETTERBOX = Preprocess(size=(96, 64), resize="letterbox", rescale="image_max", border="zero")
CASES = {
    "stretch": ("u2netp.duts", {}, {}, [(120, 90), (61, 200)]),
    "letterbox": ("u2netp.duts", {}, {"preprocess": LETTERBOX}, [(120, 90), (61, 200)]),
    "minmax": ("u2netp.duts", {}, {"postprocess": Postprocess(normalize="minmax")}, [(120, 90)]),
    "levels": (
        "u2netp.duts",
        {},
        {"postprocess": Postprocess(normalize="minmax", resize="levels")},
        [(120, 90)],
    ),
    "a large picture": ("u2netp.duts", {}, {}, [(900, 1300)]),
    "a multiple of 16": ("unet", {"width": 4}, {}, [(50, 33), (32, 16)]),
    "a margin": ("unet_paper", {"width": 2}, {}, [(40, 61)]),
    "thrice the size": ("unet_slim_3x", {}, {}, [(40, 50), (33, 21)]),
    "a gray network": ("digit_unet", {}, {}, [(32, 40)]),
    "a threshold for classes": (
        "digit_unet",
        {},
        {"postprocess": Postprocess(activation="softmax", threshold=0.096)},
        [(32, 40)],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_sees_what_predict_sees(name):
    model, options, changes, sizes = CASES[name]
    model = changed(segzoo.load(model, seed=0, **options), **changes)
    dataset = Listed(photos(*sizes))
    found = list(judged(model.network, dataset, range(len(sizes)), task=task_of(model)))
    for image, one in zip(dataset.images, found, strict=True):
        predicted = model.predict(image)
        probability, mask = predicted.probability, predicted.mask.astype(np.int64)
        if model.num_classes == 1:
            probability, mask = probability[None], mask // 255
        mask[mask == NO_CLASS] = NO_LABEL
        np.testing.assert_allclose(one.probabilities.numpy(), probability, rtol=0, atol=1e-6)
        assert (one.mask.numpy() != mask).mean() <= 1e-6
        assert (one.image == image).all()
    if "threshold" in name:
        assert len(np.unique(found[0].mask)) > 2
        assert (found[0].mask == NO_LABEL).any()


@pytest.mark.parametrize("channels", [1, 4])
def test_gray_and_transparent_pictures_are_seen_as_predict_sees_them(channels):
    model = segzoo.load("u2netp.duts")
    (image,) = photos((64, 80))
    if channels == 1:
        image = np.ascontiguousarray(image[..., :1])
        predicted = model.predict(image[..., 0])
    else:
        alpha = np.linspace(0, 255, 64 * 80).reshape(64, 80, 1).astype(np.uint8)
        image = np.concatenate([image, alpha], axis=2)
        predicted = model.predict(image)
    (one,) = judged(model.network, Listed([image]), [0], task=task_of(model))
    np.testing.assert_allclose(one.probabilities[0], predicted.probability, rtol=0, atol=1e-6)


def test_mirrored_pictures_are_predicted_and_mirrored_back():
    model = segzoo.load("u2netp.duts")
    (image,) = photos((120, 90))
    (one,) = judged(
        model.network, Listed([image]), [0], task=task_of(model), views=Looks(flip=True)
    )
    mirrored = model.predict(np.ascontiguousarray(image[:, ::-1])).probability[:, ::-1]
    mean = (model.predict(image).probability + mirrored) / 2
    np.testing.assert_allclose(one.probabilities[0], mean, rtol=0, atol=1e-5)
    assert np.abs(mean - mirrored).max() > 0.01


@pytest.mark.parametrize(
    ("name", "options", "size", "larger"),
    [
        ("u2netp.duts", {}, (120, 90), {"size": (220, 220)}),
        ("unet", {"width": 4}, (50, 33), {"size": (62, 41), "resize": "stretch"}),
        ("unet_paper", {"width": 2}, (40, 61), {"size": (50, 76), "resize": "stretch"}),
    ],
)
def test_other_scales_are_other_sizes_of_the_picture(name, options, size, larger):
    model = segzoo.load(name, seed=0, **options)
    (image,) = photos(size)
    other = changed(model, preprocess=dataclasses.replace(model.preprocess, **larger))
    (one,) = judged(
        model.network, Listed([image]), [0], task=task_of(model), views=Looks(scales=(1.25,))
    )
    mean = (model.predict(image).probability + other.predict(image).probability) / 2
    np.testing.assert_allclose(one.probabilities.squeeze(0), mean, rtol=0, atol=1e-6)


# --- however it is divided ------------------------------------------------------------------------


def measured(dataset, model, **settings):
    measures = {
        "answers": Answers(),
        "semantic": Semantic(num_classes=1),
        "saliency": Saliency(num_classes=1),
    }
    return evaluate(
        model.network, dataset, task=task_of(model), measures=measures, keep_rows=True, **settings
    )


def differences(one, other):
    """The share of pixels and the largest number by which two evaluations differ."""
    pairs = list(zip(one.rows, other.rows, strict=True))
    assert [(a.number, a.id) for a, _ in pairs] == [(b.number, b.id) for _, b in pairs]
    pixels = [(a.sums["answers"]["mask"] != b.sums["answers"]["mask"]).double() for a, b in pairs]
    assert one.values.keys() == other.values.keys()
    numbers = [abs(one.values[key] - other.values[key]) for key in one.values]
    return float(torch.stack(pixels).mean()), max(numbers)


def test_one_or_eight_at_a_time_and_with_workers():
    model = segzoo.load("u2netp.duts")
    dataset = Squares(10, side=48)
    one = measured(dataset, model, batch_size=1)
    for settings in ({"batch_size": 8}, {"batch_size": 4, "workers": 2}):
        pixels, numbers = differences(one, measured(dataset, model, **settings))
        assert pixels <= 1e-6
        assert numbers <= 1e-6
    assert 0.1 < one.values["iou"] < 1
    assert len(one.rows) == one.count == 10


def test_pictures_of_many_sizes_are_grouped_and_come_in_their_order():
    sizes = [(8, 8), (6, 9), (8, 8), (5, 5), (6, 9)]
    network = Pixels()
    found = evaluate(
        network,
        Listed(photos(*sizes)),
        task=plain(),
        measures={"answers": Semantic(num_classes=1)},
        batch_size=5,
        keep_rows=True,
    )
    assert sorted(network.batches) == [1, 2, 2]
    assert [row.id for row in found.rows] == [f"no-{n}" for n in range(5)]


PROCESSES = """
import json, sys
from pathlib import Path
import torch
import torch.distributed as dist
torch.set_num_threads(1)
from squares import Squares
import segzoo
from test_evaluate import differences, measured
from segzoo.engine.evaluate import Share

class Bad(Squares):
    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return sample | {"target": sample["target"] + 7 * (index == 1)}

dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
model = segzoo.load("u2netp.duts")
said = {}
for name, dataset in (("many", Squares(5)), ("one", Squares(1)), ("bad", Bad(4))):
    try:
        found = measured(dataset, model, batch_size=2, share=Share(rank, world))
        said[name] = differences(found, measured(dataset, model, batch_size=2))
    except segzoo.SegzooError as error:
        said[name] = str(error)
Path(sys.argv[1], f"{rank}.json").write_text(json.dumps(said))
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory):
    """What each of two gloo processes says of its measurements."""
    place = tmp_path_factory.mktemp("processes")
    (place / "script.py").write_text(PROCESSES)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    paths = [str(ROOT / "tests/support"), str(ROOT / "tests")]
    done = subprocess.run(
        [*command, str(place / "script.py"), str(place)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads((place / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("name", ["many", "one"])  # of one picture, a process has none
def test_two_processes_measure_what_one_does(of_two_processes, name):
    for said in of_two_processes:
        pixels, numbers = said[name]
        assert pixels <= 1e-6
        assert numbers <= 1e-6


def test_an_error_of_one_process_is_raised_by_all(of_two_processes):
    for said in of_two_processes:
        assert said["bad"].startswith("square-1: the target holds values that are no class")


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_batch_is_halved_while_memory_is_short(kind):
    def refuse(x):
        if len(x) > 2:
            raise kind

    dataset = brightness(11)
    measures = {"semantic": Semantic(num_classes=1)}
    settings = {"task": plain(), "measures": measures, "keep_rows": True}
    whole = evaluate(Pixels(), dataset, batch_size=8, **settings)
    network = Pixels(refuse=refuse)
    found = evaluate(network, dataset, batch_size=8, **settings)
    assert network.batches == network.tried[-6:] == [2, 2, 2, 2, 2, 1]  # 8 is not tried again
    assert found.values == whole.values
    assert [row.number for row in found.rows] == [*range(11)]
    assert (whole.batch_size, found.batch_size) == (8, 2)


def test_a_picture_that_does_not_fit_by_itself_is_named():
    def refuse(x):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(ResourceError) as caught:
        evaluate(
            Pixels(refuse=refuse),
            brightness(3),
            task=plain(),
            measures={"semantic": Semantic(num_classes=1)},
        )
    assert str(caught.value) == (
        "no-0: memory ran out while this picture was measured, by itself; found a network input "
        "of (3, 8, 8). Use smaller pictures, or another device"
    )


# --- what goes in and what is left ----------------------------------------------------------------


def test_the_network_stays_as_it_was():
    class Keeps(Pixels):
        """Makes a tensor when it is first called, and goes on with it."""

        def forward(self, x):
            if not hasattr(self, "kept"):
                self.kept = x.new_full((1, 1, 1, 1), 2.0)
            return super().forward(x) * self.kept

    network = Keeps()
    network.frozen = nn.BatchNorm2d(1).eval()
    network.train()
    network.frozen.eval()
    state = torch.get_rng_state()
    evaluate(
        network,
        brightness(3),
        task=plain(),
        measures={"semantic": Semantic(num_classes=1)},
        workers=1,
    )
    assert network.training
    assert not network.frozen.training
    assert torch.equal(state, torch.get_rng_state())
    network(torch.rand(1, 3, 4, 4)).sum().backward()  # it can still be trained
    assert network.gain.grad is not None


@pytest.mark.parametrize(
    "wrap",
    [lambda maps: (maps, -maps), lambda maps: {"side": -maps, "logits": maps}],
    ids=["tuple", "mapping"],
)
def test_side_outputs_are_left_aside(wrap):
    class Wrapped(Pixels):
        def forward(self, x):
            return wrap(super().forward(x))

    found = evaluate(
        Wrapped(), brightness(3), task=plain(), measures={"semantic": Semantic(num_classes=1)}
    )
    assert found.values["iou"] == 1


def test_a_network_without_parameters_and_one_of_half_precision():
    class Bare(nn.Module):
        def forward(self, x):
            return x[:, :1] - 0.5

    for network in (Bare(), Pixels().to(torch.bfloat16)):
        found = evaluate(
            network, brightness(3), task=plain(), measures={"semantic": Semantic(num_classes=1)}
        )
        assert found.values["iou"] > 0.98


def test_half_precision_changes_little():
    model = segzoo.load("u2netp.duts")
    dataset, seen = Squares(2, side=48), []
    for precision in ("fp32", "bf16"):
        found = measured(dataset, model, precision=precision)
        seen.append(found.rows[0].sums["answers"]["probabilities"])
    assert 1e-5 < (seen[0] - seen[1]).abs().max() < 0.1


def test_progress_is_told_of_every_picture():
    told = []
    evaluate(
        Pixels(),
        brightness(5),
        task=plain(),
        measures={"semantic": Semantic(num_classes=1)},
        batch_size=2,
        progress=told.append,
    )
    assert told == [2, 2, 1]


def test_names_that_two_measures_share():
    assert distinct("mine", {"iou": 1.0, "new": 2.0}, {"iou": 0.5}) == {"mine.iou": 1.0, "new": 2.0}


# --- loss -----------------------------------------------------------------------------------------


class Heads(Pixels):
    """A final map and a side output, as a network with deep supervision gives them."""

    def forward(self, x, *, all_heads=False):
        maps = super().forward(x)
        return (maps, maps / 2) if self.training or all_heads else maps


def test_the_loss_is_the_mean_of_the_pictures_own():
    """That of a picture by itself: a Dice of a batch is not the mean of its pictures' ones."""

    def dice(outputs, batch):
        final, side = outputs
        target = batch["target"].float()[:, None]
        hits = (final.sigmoid() * target).sum()
        return {"loss": 1 - hits / (final.sigmoid() + target).sum() + 0 * side.sum(), "part": hits}

    dataset = brightness(5)
    own = []
    for sample in (dataset[n] for n in range(5)):
        x = torch.from_numpy(sample["image"] / np.float32(255)).permute(2, 0, 1)[None]
        maps = (8 * (x[:, :1] - 0.5)).sigmoid()
        target = torch.from_numpy(sample["target"]).float()
        own.append(float(1 - (maps * target).sum() / (maps + target).sum()))
    for batch_size in (1, 4):
        found = evaluate(
            Heads(), dataset, task=plain(), measures={}, loss=dice, batch_size=batch_size
        )
        assert found.values == {"loss": pytest.approx(np.mean(own), abs=1e-6)}


def test_the_loss_sees_the_target_at_the_size_of_the_logits():
    model = segzoo.load("unet_slim_3x", seed=0)
    shapes = []

    def shape_of(outputs, batch):
        shapes.append((tuple(outputs.shape), tuple(batch["target"].shape)))
        return outputs.mean() * 0

    evaluate(
        model.network, Listed(photos((20, 32))), task=task_of(model), measures={}, loss=shape_of
    )
    assert shapes == [((1, 3, 60, 96), (1, 60, 96))]


def test_a_picture_that_is_wholly_ignored_counts_for_nothing():  # M3
    dataset = brightness(3)
    measures = {"semantic": Semantic(num_classes=1, ignore_index=255)}
    settings = {"task": plain(ignore_index=255), "measures": measures, "keep_rows": True}
    before = evaluate(Pixels(), dataset, **settings)
    dataset.images.append(dataset.images[0])
    dataset.targets.append(np.full_like(dataset.targets[0], 255))
    after = evaluate(Pixels(), dataset, **settings)
    assert after.values == before.values
    assert np.isnan(measures["semantic"].result(after.rows[3].sums["semantic"])["iou"])


# --- classes that overlap -------------------------------------------------------------------------


def overlapping(count=4, num_classes=3):
    dataset = brightness(count)
    dataset.targets = [
        np.moveaxis(image > 127, -1, 0).astype(np.uint8)[:num_classes] for image in dataset.images
    ]
    dataset.targets[0][1] = 1 - dataset.targets[0][1]  # one that is wrong
    return dataset


def test_classes_that_overlap_are_judged_one_by_one():
    dataset = overlapping()
    task = plain(3, postprocess=Postprocess())
    measures = {"semantic": Overlapping(Semantic(num_classes=1), 3)}
    found = evaluate(Pixels(3), dataset, task=task, measures=measures, keep_rows=True)
    alone = []
    for k in range(3):
        one = Listed(
            [np.repeat(image[..., k : k + 1], 3, axis=2) for image in dataset.images],
            [target[k] for target in dataset.targets],
        )
        measure = {"semantic": Semantic(num_classes=1)}
        alone.append(evaluate(Pixels(), one, task=plain(), measures=measure).values)
    for name in ("iou", "dice", "pixel_accuracy"):
        assert found.values[name] == pytest.approx([values[name] for values in alone])
        assert found.values[f"mean_{name}"] == pytest.approx(np.mean(found.values[name]))
    assert found.values["iou"][0] == found.values["iou"][2] == 1
    assert found.values["iou"][1] < 0.8
    assert "mean_mean_iou" not in found.values
    (one,) = judged(Pixels(3), dataset, [1], task=task)
    assert (one.mask.numpy() == dataset.targets[1]).all()


def test_a_class_that_no_picture_holds_is_absent_among_overlapping_ones():
    measure = Overlapping(Semantic(num_classes=1), 2)
    empty = torch.zeros(2, 4, 4, dtype=torch.int64)
    held = empty.clone()
    held[0] = 1
    values = measure.result(measure.sums(held.float(), held, held))
    assert values["iou"][0] == values["mean_iou"] == 1
    assert np.isnan(values["iou"][1])


def test_a_measure_of_overlapping_classes_knows_which_numbers_are_better_low():
    measure = Overlapping(Saliency(num_classes=1), 2)
    assert measure.lower_is_better == {"mae", "mean_mae"}
    assert Overlapping(Semantic(num_classes=1), 2).total_only == {"confusion"}


def test_one_class_may_have_a_map_of_its_own():
    dataset = brightness(2)
    dataset.targets = [target[None] for target in dataset.targets]
    measures = {"semantic": Semantic(num_classes=1)}
    assert evaluate(Pixels(), dataset, task=plain(), measures=measures).values["iou"] == 1


@pytest.mark.parametrize(
    ("dataset", "measure", "text"),
    [
        (
            overlapping(),
            Semantic(num_classes=3),
            "no-0: the target is of another kind than the metrics are of; found a map of each "
            "class, expected one class per pixel",
        ),
        (
            brightness(2),
            Overlapping(Semantic(num_classes=1), 3),
            "no-0: the target is of another kind than the metrics are of; found one class per "
            "pixel, expected a map of each class",
        ),
    ],
)
def test_a_measure_of_the_other_kind_is_refused(dataset, measure, text):
    with pytest.raises(DatasetError) as caught:
        evaluate(Pixels(3), dataset, task=plain(3), measures={"it": measure})
    assert str(caught.value) == text


# --- what cannot be measured ----------------------------------------------------------------------


def with_label(value):
    dataset = brightness(3)
    dataset.targets[1][0, 0] = value
    return dataset


class Raises(Listed):
    def __getitem__(self, index):
        if index == 1:
            raise ValueError("the disk\nis gone")
        return super().__getitem__(index)


def not_finite(x):
    x[0, 0, 0, 0] = torch.nan


def fails(x):
    raise ValueError("I like other\nsizes")


class Killed(Listed):
    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_reader_that_is_killed():  # T7
    with pytest.raises(ResourceError) as caught:
        evaluate(
            Pixels(),
            Killed(brightness(3).images),
            task=plain(),
            measures={"semantic": Semantic(num_classes=1)},
            workers=1,
        )
    text = str(caught.value)
    assert text.startswith("a process that reads the data is gone: DataLoader worker (pid")
    assert text.endswith("memory or /dev/shm: use fewer workers")
    assert "\n" not in text


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("dataset", "network", "error", "text"),
    [
        pytest.param(
            Listed([]),
            Pixels(),
            DatasetError,
            "the data set to measure on is empty; expected at least one sample",
            id="M4",
        ),
        pytest.param(
            with_label(7),
            Pixels(),
            DatasetError,
            "no-1: the target holds values that are no class; found 7 (1 pixel), expected 0 to 1",
            id="M1",
        ),
        pytest.param(
            Listed([np.zeros((8, 8, 3), np.uint8)], [np.zeros((8, 9), np.uint8)]),
            Pixels(),
            DatasetError,
            "no-0: target is not as large as the picture; found target 8x9, expected 8x8",
            id="M2",
        ),
        pytest.param(
            Raises(brightness(3).images),
            Pixels(),
            DatasetError,
            "sample 1 of the data set cannot be read: ValueError: the disk is gone",
            id="T7",
        ),
        pytest.param(
            brightness(3),
            Pixels(refuse=not_finite),
            PluginError,
            "no-0: the network gave numbers that are not finite",
            id="a network that gives NaN",
        ),
        pytest.param(
            brightness(3),
            Pixels(refuse=fails),
            PluginError,
            "the network failed for an input (3, 3, 8, 8): ValueError: I like other sizes",
            id="a network that fails",
        ),
        pytest.param(
            brightness(3),
            Pixels(2),
            PluginError,
            "the network's logits have a wrong shape for an input (3, 3, 8, 8); "
            "found (3, 2, 8, 8), expected (3, 1, 8, 8). Run `segzoo check` on the model",
            id="a network of other classes",
        ),
    ],
)
def test_what_cannot_be_measured(dataset, network, error, text, workers):
    with pytest.raises(error) as caught:
        evaluate(
            network,
            dataset,
            task=plain(),
            measures={"semantic": Semantic(num_classes=1)},
            workers=workers,
        )
    assert str(caught.value).startswith(text)
    assert "\n" not in str(caught.value)
