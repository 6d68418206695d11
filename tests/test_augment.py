"""Augmentation: picture, target and weight move together, and a seed decides how."""

import sys
import types
from collections.abc import Iterator, Mapping
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2

from segzoo.data import warp
from segzoo.data.augment import AUGMENTATIONS, augmenter, mirror, random_crop
from segzoo.data.draws import drawn, sample_seed
from segzoo.data.sample import Sample
from segzoo.errors import DependencyMissingError, PluginError, UsageError

COLOURS = {"color", "gray", "gamma", "noise", "blur", "invert"}
MOVES = sorted(set(AUGMENTATIONS) - COLOURS)
EXACT = {"flip", "flip_vertical", "rot90"}
VOID = 255


def coordinates(height: int, width: int, **changes: Any) -> Sample:
    """Red is the row, green the column; target and weight are the number of the pixel."""
    rows, columns = np.mgrid[:height, :width]
    number = rows * width + columns
    image = np.stack([rows, columns, np.full_like(rows, 7)], axis=2).astype(np.uint8)
    sample = Sample(image=image, target=number, weight=number.astype(np.float32), id="a.png")
    return sample | changes


def photo(height: int = 24, width: int = 31, channels: int = 3) -> Sample:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Sample(image=image, target=rng.integers(0, 3, (height, width)), id="a.png")


def done(
    sample: Sample, *named: Any, seed: int = 0, ignore_index: int | None = None, **options: Any
) -> Sample:
    """The sample after some augmentations; one name may be given with its options."""
    steps = [(n, {**options, "p": 1.0}) if isinstance(n, str) else n for n in named]
    augment = augmenter(steps, ignore_index=ignore_index)
    with drawn(seed):
        return augment(sample)


def place(sample: Sample, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the picture's pixels come from, less where the target's do."""
    came = sample["image"].astype(int)
    return came[..., 0] - sample["target"] // width, came[..., 1] - sample["target"] % width


def options_of(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Any options that the table allows, up to what a person would use."""
    choices = {}
    for key, option in AUGMENTATIONS[name].options.items():
        most = min(option.max, 4 * max(option.default, 1))
        numbers = st.integers if isinstance(option.default, int) else st.floats
        choices[key] = numbers(option.min, most)
    return st.fixed_dictionaries(choices)


# --- what moves, moves together -------------------------------------------------------------------


@pytest.mark.parametrize("name", MOVES)
@given(data=st.data())
@settings(max_examples=25)
def test_the_target_and_the_weight_go_where_the_picture_goes(name, data):
    height, width = data.draw(st.tuples(st.integers(1, 60), st.integers(1, 60)))
    options = data.draw(options_of(name)) | {"p": 1.0}
    ignore_index = data.draw(st.sampled_from([None, -1]))
    moved = done(
        coordinates(height, width),
        (name, options),
        seed=data.draw(st.integers(0, 2**63 - 1)),
        ignore_index=ignore_index,
    )
    counts = moved["target"] != -1
    assert counts.all() or ignore_index is not None
    tolerance = 0 if name in EXACT else 1
    for off in place(moved, width):
        assert np.abs(off[counts]).max(initial=0) <= tolerance
    np.testing.assert_array_equal(moved["weight"][counts], moved["target"][counts])
    assert (moved["image"][..., 2] == 7).all()  # no black corners


@pytest.mark.parametrize("name", MOVES)
def test_it_does_move(name):
    sample = coordinates(40, 40)
    results = [done(sample, name, seed=seed)["target"] for seed in range(8)]
    assert any((found != sample["target"]).any() for found in results)


@pytest.mark.parametrize("name", sorted(COLOURS))
def test_colours_change_and_nothing_moves(name):
    sample = coordinates(20, 30)
    for channels in (1, 3, 4):
        sample["image"] = photo(20, 30, channels)["image"]
        found = done(sample, name)
        assert found["image"].shape == sample["image"].shape
        changed = (found["image"] != sample["image"]).any(axis=(0, 1))
        assert changed[:3].all() or (name, channels) == ("gray", 1)
        assert not changed[3:].any()  # alpha
        np.testing.assert_array_equal(found["target"], sample["target"])
        np.testing.assert_array_equal(found["weight"], sample["weight"])


@pytest.mark.parametrize("name", AUGMENTATIONS)
@given(data=st.data())
@settings(max_examples=15)
def test_every_one_keeps_the_size_the_types_and_the_values(name, data):
    height, width = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    sample = photo(height, width, data.draw(st.sampled_from([1, 3, 4])))
    if data.draw(st.booleans()):
        sample["target"] = np.stack([sample["target"] == k for k in range(3)]).astype(np.uint8)
    found = done(
        sample,
        (name, data.draw(options_of(name))),
        seed=data.draw(st.integers(0, 99)),
        ignore_index=VOID,
    )
    for key in ("image", "target"):
        assert found[key].shape == sample[key].shape
        assert found[key].dtype == sample[key].dtype
    assert "weight" not in found
    allowed = {*sample["target"].flat} | ({VOID} if sample["target"].ndim == 2 else set())
    assert {*found["target"].flat} <= allowed


def test_outside_lies_the_mirror_image_and_the_ignored_index():
    sample = coordinates(20, 20)
    turned = done(sample, "rotate", degrees=45.0, seed=3, ignore_index=-1)
    outside = turned["target"] == -1
    assert 0.02 < outside.mean() < 0.3
    assert outside[0, 0] and not outside[10, 10]
    mirrored = done(sample, "rotate", degrees=45.0, seed=3)
    np.testing.assert_array_equal(mirrored["target"][~outside], turned["target"][~outside])
    np.testing.assert_array_equal(mirrored["image"], turned["image"])
    assert (mirrored["target"] >= 0).all()


@pytest.mark.parametrize(("down", "right"), [(2, 3), (-2, -3), (1, -4)])
def test_outside_begins_at_the_edge(down, right):
    values = torch.arange(42).reshape(6, 7)
    source = warp.affine((6, 7), shift=(down, right))
    expected = torch.full((6, 7), -1)
    inner = values[max(0, -down) : 6 - max(0, down), max(0, -right) : 7 - max(0, right)]
    top, left = max(0, down), max(0, right)
    expected[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    assert torch.equal(warp.nearest(values, source, beyond=-1), expected)


def test_maps_per_class_go_on_mirrored():
    number = coordinates(20, 20)["target"]
    sample = coordinates(20, 20, target=np.stack([number, number + 1000]))
    found = done(sample, "rotate", degrees=45.0, seed=3, ignore_index=-1)["target"]
    np.testing.assert_array_equal(found[0], found[1] - 1000)
    assert found.min() >= 0


def test_one_draw_serves_all_in_a_chain():
    chain = [(name, {"p": 0.7}) for name in AUGMENTATIONS if name not in COLOURS]
    for seed in range(20):
        moved = done(coordinates(48, 48), *chain, seed=seed, ignore_index=-1)
        assert ((moved["weight"] == moved["target"]) | (moved["target"] == -1)).all()


# --- what each one does ---------------------------------------------------------------------------


def test_flips_and_quarter_turns_are_exact():
    sample = photo(6, 6)
    image = sample["image"]
    np.testing.assert_array_equal(done(sample, "flip")["image"], image[:, ::-1])
    np.testing.assert_array_equal(done(sample, "flip_vertical")["image"], image[::-1])
    turned = {done(sample, "rot90", seed=seed)["image"].tobytes() for seed in range(40)}
    assert turned == {np.rot90(image, k).tobytes() for k in range(4)}


def test_a_sample_that_is_not_square_is_turned_upside_down_at_most():
    sample = photo(4, 7)
    turned = {done(sample, "rot90", seed=seed)["image"].tobytes() for seed in range(20)}
    assert turned == {sample["image"].tobytes(), sample["image"][::-1, ::-1].tobytes()}


def drawn_numbers(name: str, measure: Any, **options: float) -> np.ndarray:
    """What `measure` reads off the target (rows, columns of the source) for 300 seeds."""
    side = 101
    found = []
    for seed in range(300):
        number = done(coordinates(side, side), name, seed=seed, **options)["target"]
        found.append(measure(number // side, number % side))
    return np.array(found)


def even(values: np.ndarray, low: float, high: float, tolerance: float) -> None:
    """Values that fill a range evenly."""
    assert low - tolerance <= values.min() < low + 0.1 * (high - low)
    assert high - 0.1 * (high - low) < values.max() <= high + tolerance
    assert values.mean() == pytest.approx((low + high) / 2, abs=0.06 * (high - low) + tolerance)


def test_rotate_draws_evenly_between_its_degrees():
    def angle(rows, columns):
        return np.degrees(np.arctan2(rows[50, 90] - 50, columns[50, 90] - 50))

    even(drawn_numbers("rotate", angle, degrees=30.0), -30, 30, 1.5)


def test_scale_keeps_the_shape():
    def steps(rows, columns):
        return rows[60, 60] - rows[40, 40], columns[60, 60] - columns[40, 40]

    down, right = drawn_numbers("scale", steps, low=0.5, high=2.0).T
    np.testing.assert_array_equal(down, right)
    even(20 / down, 0.5, 2.0, 0.12)


def test_zoom_draws_a_factor_per_axis_as_keras_does():
    """zoom_range=0.2: the source's steps are from 0.8 to 1.2, for rows and columns apart."""

    def steps(rows, columns):
        return rows[75, 75] - rows[25, 25], columns[75, 75] - columns[25, 25]

    for values in drawn_numbers("zoom", steps, range=0.2).T:
        even(values / 50, 0.8, 1.2, 0.02)


def test_shift_draws_parts_of_the_sides_as_keras_does():
    def moved(rows, columns):
        return rows[50, 50] - 50, columns[50, 50] - 50

    down, right = drawn_numbers("shift", moved, height=0.1, width=0.2).T
    even(down, -10.1, 10.1, 0.5)
    even(right, -20.2, 20.2, 0.5)


def test_random_resized_crop_shows_a_window_of_its_least_area_or_more():
    def area(rows, columns):
        return np.ptp(rows) * np.ptp(columns) / 100**2

    areas = drawn_numbers("random_resized_crop", area, area=0.3, ratio=1.5)
    assert 0.27 < areas.min() < 0.4
    assert 0.9 < areas.max() <= 1


def test_a_window_is_what_torchvision_cuts_and_enlarges():
    image = torch.from_numpy(photo(30, 40)["image"]).permute(2, 0, 1)
    source = warp.window((30, 40), corner=(3, 5), inside=(17, 21))
    expected = v2.functional.resized_crop(image, 3, 5, 17, 21, [30, 40], antialias=False)
    inner = (slice(None), slice(2, -2), slice(2, -2))  # at the window's edge torchvision stops
    off = warp.interpolated(image, source)[inner].int() - expected[inner].int()
    assert off.abs().max() <= 1


def test_a_turn_is_what_scipy_turns():
    image = photo(31, 31)["image"]
    source = warp.affine((31, 31), matrix=((np.cos(0.4), -np.sin(0.4)), (np.sin(0.4), np.cos(0.4))))
    found = warp.interpolated(torch.from_numpy(image).permute(2, 0, 1), source)
    for channel in range(3):
        # scipy calls this border "mirror"
        expected = ndimage.map_coordinates(
            image[..., channel].astype(float), source.double().numpy(), order=1, mode="mirror"
        )
        np.testing.assert_allclose(found[channel].numpy(), expected, atol=0.51)


def test_gray_is_gray():
    found = done(photo(), "gray")["image"].astype(int)
    assert (np.ptp(found, axis=2) == 0).all()
    np.testing.assert_allclose(
        found[..., 0], photo()["image"] @ [0.299, 0.587, 0.114], rtol=0, atol=1.1
    )


def test_gamma_keeps_black_and_white():
    sample = photo()
    sample["image"][0, 0], sample["image"][0, 1], sample["image"][0, 2] = 0, 255, 128
    values = []
    for seed in range(100):
        found = done(sample, "gamma", seed=seed, factor=2.0)["image"]
        assert (found[0, 0] == 0).all() and (found[0, 1] == 255).all()
        values.append(int(found[0, 2, 0]))
    assert 255 * (128 / 255) ** 2 - 1 <= min(values) < 75
    assert 170 < max(values) <= 255 * (128 / 255) ** 0.5 + 1


def test_noise_has_its_standard_deviation():
    sample = photo(60, 60)
    sample["image"][:] = 128
    off = done(sample, "noise", sigma=10.0)["image"].astype(float) - 128
    assert off.std() == pytest.approx(10, rel=0.03)
    assert off.mean() == pytest.approx(0, abs=0.3)
    assert np.corrcoef(off[..., 0].ravel(), off[..., 1].ravel())[0, 1] == pytest.approx(0, abs=0.06)


def test_blur_is_scipys_gaussian(monkeypatch):
    from segzoo.data import augment

    monkeypatch.setattr(augment, "_uniform", lambda low, high: high)
    sample = photo(30, 41)
    found = done(sample, "blur", sigma=1.7)["image"].astype(float)
    expected = ndimage.gaussian_filter(
        sample["image"].astype(float), (1.7, 1.7, 0), mode="mirror", radius=(6, 6, 0)
    )
    np.testing.assert_allclose(found, expected, atol=0.51)


def test_a_step_is_done_to_its_share_of_the_samples():
    sample = photo(3, 4)
    augment = augmenter([("flip", {"p": 0.3})], ignore_index=None)
    flipped = 0
    for index in range(1000):
        with drawn(sample_seed(0, 0, index)):
            flipped += int((augment(sample)["image"] != sample["image"]).any())
    assert flipped == pytest.approx(300, abs=45)


# --- elastic --------------------------------------------------------------------------------------


def keys(vectors: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cubic convolution (Keys 1981) with a = -0.75 in float64, the corners on the corners."""

    def kernel(x):
        x, a = abs(x), -0.75
        near = (a + 2) * x**3 - (a + 3) * x**2 + 1
        return np.where(x < 1, near, np.where(x < 2, a * (x**3 - 5 * x**2 + 8 * x - 4), 0))

    for axis, side in zip((1, 2), size, strict=True):
        nodes = vectors.shape[axis]
        at = np.arange(side) * (nodes - 1) / (side - 1)
        weights = np.zeros((side, nodes))
        for node in range(-2, nodes + 2):
            weights[:, min(max(node, 0), nodes - 1)] += kernel(at - node)
        vectors = np.moveaxis(np.tensordot(weights, vectors, axes=(1, axis)), 0, axis)
    return vectors


@pytest.fixture
def vectors():
    return torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0)) * 10


def test_the_field_equals_the_vectors_at_their_nodes(vectors):
    field = warp.displacements((81, 121), vectors)
    torch.testing.assert_close(field[:, ::40, ::60], vectors, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(81, 121), (40, 33)])
def test_the_field_is_the_cubic_of_keys(vectors, size):
    found = warp.displacements(size, vectors).numpy()
    np.testing.assert_allclose(found, keys(vectors.double().numpy(), size), atol=1e-4)


def test_the_field_is_near_scipys_splines(vectors):
    """Another cubic through the same vectors: scipy's has no parameter a."""
    found = warp.displacements((81, 121), vectors).numpy()
    splines = ndimage.zoom(vectors.numpy(), (1, 27, 121 / 3), order=3, mode="nearest")
    assert np.abs(found - splines).max() < 0.35 * vectors.abs().max()
    assert np.corrcoef(found.ravel(), splines.ravel())[0, 1] > 0.95


def test_the_field_is_smooth(vectors):
    field = warp.displacements((201, 201), vectors)
    most = vectors.abs().max()
    for axis in (1, 2):
        slope = field.diff(dim=axis)
        assert slope.abs().max() < 4 * most / 100  # pixels per pixel; nodes lie 100 apart
        assert slope.diff(dim=axis).abs().max() < 16 * most / 100**2  # no kinks


def test_without_vectors_nothing_moves():
    sample = photo(37, 53)
    found = done(sample, "elastic", sigma=0.0, seed=5)
    np.testing.assert_array_equal(found["image"], sample["image"])
    np.testing.assert_array_equal(found["target"], sample["target"])


def test_the_vectors_have_their_standard_deviation():
    """Of the node in the middle of a 3x3 grid, down and right."""
    side, middle = 61, 30

    def moved(seed):
        number = done(coordinates(side, side), "elastic", sigma=4.0, seed=seed)["target"]
        return divmod(int(number[middle, middle]), side)

    places = np.array([moved(seed) for seed in range(400)]) - middle
    np.testing.assert_allclose(places.std(axis=0), 4, rtol=0.12)
    np.testing.assert_allclose(places.mean(axis=0), 0, atol=0.7)
    assert np.corrcoef(places.T)[0, 1] == pytest.approx(0, abs=0.15)


# --- seeds ----------------------------------------------------------------------------------------

EVERYTHING = [(name, {"p": 1.0}) for name in AUGMENTATIONS]


@pytest.mark.parametrize(
    "name", sorted(set(AUGMENTATIONS) - {"flip", "flip_vertical", "gray", "invert"})
)
def test_a_seed_gives_one_result_and_others_give_others(name):
    sample = photo()
    same = [done(sample, name, seed=4)["image"] for _ in range(2)]
    np.testing.assert_array_equal(*same)
    assert len({done(sample, name, seed=s)["image"].tobytes() for s in range(12)}) > 1


def test_the_callers_generators_are_untouched():
    state = torch.get_rng_state()
    done(photo(), *EVERYTHING)
    assert torch.equal(torch.get_rng_state(), state)


class Augmented:
    """Six augmented samples, each drawn by its number."""

    def __init__(self) -> None:
        self.augment = augmenter(EVERYTHING, ignore_index=VOID)

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        with drawn(sample_seed(1, 2, index)):
            sample = self.augment(random_crop(photo(), (16, 16)))
        return {key: np.ascontiguousarray(sample[key]) for key in ("image", "target")}


def test_the_number_of_workers_changes_nothing():
    found = []
    for workers in (0, 1, 4):
        torch.manual_seed(workers)
        loader = DataLoader(Augmented(), batch_size=2, num_workers=workers)
        batches = list(loader)
        found.append([torch.cat([b[key] for b in batches]) for key in ("image", "target")])
    for other in found[1:]:
        for part, same in zip(found[0], other, strict=True):
            assert torch.equal(part, same)
    assert len({image.numpy().tobytes() for image in found[0][0]}) == 6


def test_an_augmenter_can_be_sent_to_a_worker():
    blur = v2.GaussianBlur(3)
    augment = augmenter(EVERYTHING, ignore_index=None, transform=blur)
    sent = ForkingPickler.loads(ForkingPickler.dumps(augment))
    with drawn(3):
        expected = augment(photo())
    with drawn(3):
        np.testing.assert_array_equal(sent(photo())["image"], expected["image"])


# --- arrays of every kind -------------------------------------------------------------------------


def test_what_is_not_changed_is_not_copied():
    sample = coordinates(9, 8)
    for found in (
        augmenter([], ignore_index=VOID)(sample),
        done(sample, ("flip", {"p": 0.0})),
        random_crop(sample, (9, 8)),
    ):
        for key in ("image", "target", "weight"):
            assert np.shares_memory(found[key], sample[key])


def test_a_samples_own_memory_is_not_written():
    sample = coordinates(20, 20)
    before = {key: sample[key].copy() for key in ("image", "target", "weight")}
    done(sample, *EVERYTHING, ignore_index=-1)
    for key, values in before.items():
        np.testing.assert_array_equal(sample[key], values)


@pytest.mark.parametrize("kind", ["read-only", "turned", "columns first"])
def test_arrays_of_any_memory(kind):
    sample = coordinates(8, 12)
    for key in ("image", "target", "weight"):
        if kind == "read-only":
            sample[key].flags.writeable = False
        elif kind == "turned":
            sample[key] = np.ascontiguousarray(sample[key][::-1])[::-1]
        else:
            sample[key] = np.asfortranarray(sample[key])
    found = done(sample, "flip")
    for key in ("image", "target", "weight"):
        np.testing.assert_array_equal(found[key], sample[key][:, ::-1])


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64"])
def test_a_target_keeps_its_type(dtype):
    target = np.arange(81).reshape(9, 9).astype(dtype)
    found = done(coordinates(9, 9, target=target), "shift", ignore_index=127)["target"]
    assert found.dtype == dtype
    assert 127 in found


@pytest.mark.parametrize(
    ("dtype", "ignore_index"), [("uint8", -100), ("uint16", 255), (">i4", -1), ("uint32", None)]
)
def test_a_target_that_torch_or_the_ignored_index_does_not_fit_becomes_int64(dtype, ignore_index):
    target = np.arange(81).reshape(9, 9).astype(dtype)
    found = done(coordinates(9, 9, target=target), "shift", seed=2, ignore_index=ignore_index)
    assert found["target"].dtype == np.int64
    assert {*found["target"].flat} <= {*range(81), ignore_index}


# --- crop and mirror ------------------------------------------------------------------------------


@given(data=st.data())
def test_a_crop_is_a_window_of_everything(data):
    sides = st.tuples(st.integers(1, 30), st.integers(1, 30))
    (height, width), size = data.draw(sides), data.draw(sides)
    sample = coordinates(height, width)
    with drawn(data.draw(st.integers(0, 99))):
        crop = random_crop(sample, size)
    assert crop["image"].shape == (*size, 3)
    assert crop["target"].shape == crop["weight"].shape == size
    assert all((off == 0).all() for off in place(crop, width))
    np.testing.assert_array_equal(crop["weight"], crop["target"])
    if size[0] <= height and size[1] <= width:
        top, left = divmod(int(crop["target"][0, 0]), width)
        window = sample["target"][top : top + size[0], left : left + size[1]]
        np.testing.assert_array_equal(crop["target"], window)


def test_every_window_is_as_likely():
    corners = []
    for seed in range(600):
        with drawn(seed):
            corners.append(int(random_crop(coordinates(4, 5), (3, 3))["target"][0, 0]))
    assert sorted({*corners}) == [0, 1, 2, 5, 6, 7]
    assert min(corners.count(c) for c in {*corners}) > 65


def test_a_small_sample_lies_in_the_middle_of_its_crop():
    crop = random_crop(coordinates(3, 4), (6, 4), ignore_index=-1)
    assert crop["target"][:, 0].tolist() == [-1, 0, 4, 8, -1, -1]
    assert crop["image"][:, 0, 0].tolist() == [1, 0, 1, 2, 1, 0]
    assert crop["weight"][:, 0].tolist() == [4, 0, 4, 8, 4, 0]


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="it padded [0 1 2] wrong")
@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    margins=st.tuples(*[st.integers(0, 15)] * 4),
)
def test_a_mirrored_border_is_numpys(size, margins):
    sample = coordinates(*size)
    top, bottom, left, right = margins
    found = mirror(sample, margins)
    around = ((top, bottom), (left, right))
    np.testing.assert_array_equal(
        found["image"], np.pad(sample["image"], (*around, (0, 0)), "reflect")
    )
    for key in ("target", "weight"):
        np.testing.assert_array_equal(found[key], np.pad(sample[key], around, "reflect"))
    void = mirror(sample, margins, ignore_index=-1)["target"]
    np.testing.assert_array_equal(void, np.pad(sample["target"], around, constant_values=-1))
    maps = mirror(sample | {"target": sample["target"][None]}, margins, ignore_index=-1)["target"]
    np.testing.assert_array_equal(maps[0], found["target"])


# --- a user's own ---------------------------------------------------------------------------------


def upside_down(image, mask):
    return image[::-1], mask[::-1]


def darker(image, mask, *, by):
    image[:] = image // by  # it may write: the arrays are its own
    return image, mask


class Noisy:
    """A callable that draws from every global generator."""

    def __call__(self, image, mask):
        import random

        add = torch.randint(9, ()).item() + random.randrange(9) + np.random.randint(9)
        return image + np.uint8(add), mask


@pytest.fixture
def my_steps(monkeypatch):
    module = types.ModuleType("my_steps")
    vars(module).update(upside_down=upside_down, darker=darker, Noisy=Noisy, number=3)
    monkeypatch.setitem(sys.modules, "my_steps", module)


def unweighted(sample: Sample) -> Sample:
    return Sample(image=sample["image"], target=sample["target"], id=sample["id"])


@pytest.mark.usefixtures("my_steps")
def test_a_users_function_by_name_and_as_an_object():
    sample = photo()
    image = sample["image"].copy()
    found = done(sample, ("my_steps:upside_down", {}), ("my_steps:darker", {"by": 2}))
    np.testing.assert_array_equal(found["image"], image[::-1] // 2)
    np.testing.assert_array_equal(found["target"], sample["target"][::-1])
    np.testing.assert_array_equal(sample["image"], image)
    augment = augmenter([("flip", {"p": 1.0})], ignore_index=None, transform=upside_down)
    np.testing.assert_array_equal(augment(sample)["image"], image[::-1, ::-1])


@pytest.mark.usefixtures("my_steps")
def test_what_a_user_draws_depends_on_the_seed():
    found = [done(photo(), ("my_steps:Noisy", {}), seed=s)["image"].tobytes() for s in (1, 1, 2, 3)]
    assert found[0] == found[1]
    assert len({*found}) > 1


def test_a_transform_of_torchvision_moves_all_three():
    sample = coordinates(21, 21)
    step = ("torchvision.transforms.v2:RandomAffine", {"degrees": 40, "translate": [0.2, 0.2]})
    moved = done(sample, step)
    assert (moved["target"] != sample["target"]).any()
    np.testing.assert_array_equal(moved["weight"], moved["target"])
    found = done(coordinates(21, 21), ("torchvision.transforms.v2:CenterCrop", {"size": 9}))
    assert found["target"].tolist() == sample["target"][6:15, 6:15].tolist()
    assert found["image"].shape == (9, 9, 3)


def test_torchvision_is_given_tv_tensors():
    class Look(torch.nn.Module):
        def forward(self, *parts):
            kinds.append([(type(part), tuple(part.shape), part.dtype) for part in parts])
            return parts

    kinds: list[Any] = []
    augmenter([], ignore_index=None, transform=Look())(coordinates(4, 5))
    assert kinds == [
        [
            (tv_tensors.Image, (3, 4, 5), torch.uint8),
            (tv_tensors.Mask, (4, 5), torch.int64),
            (tv_tensors.Mask, (4, 5), torch.float32),
        ]
    ]


def fails(image, mask):
    raise RuntimeError("no such luck")


@pytest.mark.parametrize(
    ("transform", "text"),
    [
        (fails, "a.png: augmentation fails failed: RuntimeError: no such luck"),
        (
            lambda image, mask: image,
            "a.png: augmentation <lambda> gave something else; found ndarray, "
            "expected (image, mask)",
        ),
        (
            lambda image, mask: (image, mask, mask),
            "a.png: augmentation <lambda> gave something else; found 3 parts, "
            "expected (image, mask)",
        ),
        (
            lambda image, mask: (image / 255, mask),
            "a.png: augmentation <lambda> gave something else: image has a wrong type or shape; "
            "found float64 (24, 31, 3), expected uint8 (H, W, 1), (H, W, 3) or (H, W, 4), or "
            "(H, W, bands)",
        ),
        (
            lambda image, mask: (image[::2], mask),
            "a.png: augmentation <lambda> gave something else: target is not as large as the "
            "picture; found target 24x31, expected 12x31 (height x width)",
        ),
        (
            lambda image, mask: ([1], mask),
            "a.png: augmentation <lambda> gave something else: image is not a numpy array; "
            "found list",
        ),
        (
            v2.ToDtype(torch.float32, scale=True),
            "a.png: augmentation ToDtype gave something else: image has a wrong type or shape; "
            "found float32 (24, 31, 3), expected uint8 (H, W, 1), (H, W, 3) or (H, W, 4), or "
            "(H, W, bands)",
        ),
    ],
)
def test_a_users_mistake_is_told_with_the_sample(transform, text):
    with pytest.raises(PluginError) as caught:
        augmenter([], ignore_index=None, transform=transform)(photo())
    assert str(caught.value) == text


def test_a_users_function_cannot_move_a_weight():
    with pytest.raises(UsageError) as caught:
        augmenter([], ignore_index=None, transform=upside_down)(coordinates(4, 5))
    assert str(caught.value) == (
        "a.png: augmentation upside_down moves a picture and its mask, and this sample has a "
        "weight too. Make it a transform of torchvision, which moves all three"
    )


@pytest.mark.usefixtures("my_steps")
@pytest.mark.parametrize(
    ("named", "text"),
    [
        (
            ("my_stepz:upside_down", {}),
            "augmentation my_stepz:upside_down cannot be used: ModuleNotFoundError: No module "
            "named 'my_stepz'",
        ),
        (
            ("my_steps:number", {}),
            "augmentation my_steps:number cannot be used: TypeError: it is a int, not a function",
        ),
        (
            ("torchvision.transforms.v2:CenterCrop", {"sizes": 9}),
            "augment: torchvision.transforms.v2:CenterCrop: 'sizes' is not an option (did you mean "
            "'size'?); it has size",
        ),
    ],
)
def test_a_users_name_that_leads_nowhere(named, text):
    with pytest.raises((PluginError, UsageError)) as caught:
        augmenter([named], ignore_index=None)
    assert str(caught.value) == text


# --- names and options ----------------------------------------------------------------------------


def test_everything_that_is_wrong_is_told_at_once():
    wrong: list[Any] = [
        ("flipp", {}),
        ("rotate", {"degree": 5, "degrees": 200}),
        ("elastic", {"grid": 2.5, "sigma": "wide"}),
        ("sharpen", {}),
        "flip",
    ]
    with pytest.raises(UsageError) as caught:
        augmenter(wrong, ignore_index=None)
    assert str(caught.value) == (
        "augment: 'flipp' is not an augmentation (did you mean 'flip'?); "
        "rotate: 'degree' is not an option (did you mean 'degrees'?); it has degrees, p; "
        "rotate: degrees is 200, above 180; "
        "elastic: grid is 2.5 (float), not a value of type int; "
        "elastic: sigma is 'wide' (str), not a value of type float; "
        "'sharpen' is not an augmentation; there are "
        + ", ".join(AUGMENTATIONS)
        + "; 'flip' is not (name, options)"
    )


def test_without_torchvision_the_install_line_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.transforms.v2", None)
    with pytest.raises(DependencyMissingError) as caught:
        augmenter([("flip", {})], ignore_index=None)
    assert str(caught.value) == (
        "augmentation needs torchvision. Run: pip install 'segzoo-core[train]'"
    )
    augmenter([], ignore_index=None)(photo())


def test_the_page_has_every_name_and_option():
    page = (Path(__file__).parents[1] / "docs/augmentation.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith(("| `", "| | |"))]
    assert rows == [*table()]


def table() -> Iterator[str]:
    """The rows of docs/augmentation.md."""
    for name, kind in AUGMENTATIONS.items():
        options = dict(kind.options)
        yield f"| `{name}` | {options.pop('p').default:g} | | | | {kind.help} |"
        for key, option in options.items():
            span = f"{option.min:g} to {option.max:g}"
            yield f"| | | `{key}` | {option.default:.3g} | {span} | {option.help} |"
