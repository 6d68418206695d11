"""Windows over a picture: they cover it, and together they say what the whole says."""

import itertools
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segzoo_unet.model import CANVAS, CANVAS_TOP_LEFT, UNet
from torch import nn

import segzoo
from segzoo.predict.predictor import Predictor
from segzoo.predict.preprocess import network_size
from segzoo.predict.runtimes.torch import TorchRuntime
from segzoo.predict.tiling import PHASE, Grid, bands, is_seamless
from segzoo.spec import Postprocess, Preprocess

VALID = Preprocess(multiple_of=16, remainder=12, margin=92)
SIDES = st.integers(1, 700)


@st.composite
def declared(draw):
    """Any sizes that a network may ask for."""
    step = draw(st.integers(1, 40))
    margin = draw(st.integers(0, 30))
    return Preprocess(multiple_of=step, remainder=draw(st.integers(0, 50)), margin=margin)


@st.composite
def axes(draw):
    """(picture's side, tile, overlap)"""
    tile = draw(SIDES)
    return draw(SIDES), tile, draw(st.integers(0, tile - 1))


def grid_of(axis, preprocess, other=(5, 9, 0)):
    picture, tile, overlap = zip(axis, other, strict=True)
    return Grid.of(picture, preprocess, tile=tile, overlap=overlap)


# --- where the windows lie -----------------------------------------------------------------------


@settings(max_examples=300)
@given(axis=axes(), preprocess=declared())
def test_windows_of_sizes_that_the_network_takes_cover_the_picture(axis, preprocess):
    length, _, overlap = axis
    rows = grid_of(axis, preprocess).rows
    whole, _ = network_size(length, length, preprocess)
    covered = np.zeros(length)
    for row in rows:
        assert row.start % preprocess.multiple_of == 0
        assert row.start + row.side <= whole
        assert (row.side - preprocess.remainder) % preprocess.multiple_of == 0
        assert row.side >= network_size(1, 1, preprocess)[0]
        answered = min(row.side - 2 * preprocess.margin, length - row.start)
        assert row.weights.shape == (answered,)
        assert (row.weights >= 0).all()
        covered[row.answers] += row.weights
    np.testing.assert_allclose(covered, 1, atol=1e-6)
    for left, right in itertools.pairwise(rows):
        assert left.start < right.start
        assert left.answers.stop - right.start >= min(overlap, len(right.weights))


@settings(max_examples=300)
@given(axis=axes(), preprocess=declared())
def test_windows_are_no_larger_than_was_asked_for(axis, preprocess):
    """But for the network's own sizes, and for the phase of its poolings."""
    length, tile, overlap = axis
    rows = grid_of(axis, preprocess).rows
    if tile >= length:
        assert len(rows) == 1
    step = preprocess.multiple_of
    asked, _ = network_size(*2 * (max(tile, overlap + step),), preprocess)
    sides = [row.side for row in rows]
    assert max(sides) <= max(asked, 2 * step) + max(tile, PHASE) / 4
    assert len(set(sides[:-1])) <= 1


def test_the_windows_of_a_tile_of_the_paper():
    """Figure 2 shows an output of 388x388; here windows begin at multiples of 32."""
    grid = Grid.of((1000, 300), VALID, tile=(388, 388), overlap=(0, 0))
    assert [(row.start, row.side) for row in grid.rows] == [(0, 540), (320, 540), (640, 556)]
    assert [len(row.weights) for row in grid.rows] == [356, 356, 360]
    assert [(column.start, column.side) for column in grid.columns] == [(0, 492)]
    assert grid.largest == (556, 492)


@pytest.mark.parametrize("overlap", [0, 1, 4, 40, 60])
def test_the_edge_of_a_window_does_not_count(overlap):
    """Of what two windows share, a quarter at each one's edge; and nothing at the picture's."""
    rows = grid_of((1000, 200, overlap), Preprocess()).rows
    assert rows[0].weights[0] == rows[-1].weights[-1] == 1
    for left, right in itertools.pairwise(rows):
        shared = left.answers.stop - right.start
        assert (right.weights[: shared // 4] == 0).all()
        assert (left.weights[len(left.weights) - shared // 4 :] == 0).all()
        assert (np.diff(right.weights[:shared]) >= 0).all()


# --- what they say together ----------------------------------------------------------------------


@settings(max_examples=100)
@given(
    down=axes(), across=axes(), preprocess=declared(), maps=st.integers(1, 3), seed=st.integers(0)
)
def test_windows_that_say_the_same_give_it_back(down, across, preprocess, maps, seed):
    """The rows come from the top down, each once."""
    picture = down[0] % 90 + 1, across[0] % 90 + 1
    down, across = (picture[0], *down[1:]), (picture[1], *across[1:])
    truth = np.random.default_rng(seed).random((maps, *picture), np.float32)

    def maps_of(tiles):
        for y, x, geometry in tiles:
            h, w = geometry.picture
            yield truth[:, y : y + h, x : x + w]

    found = list(bands(grid_of(down, preprocess, across), maps_of))
    tops = [top for top, _ in found]
    assert tops == [0, *np.cumsum([rows.shape[1] for _, rows in found])[:-1]]
    assert all(rows.dtype == np.float32 for _, rows in found)
    np.testing.assert_allclose(np.concatenate([rows for _, rows in found], 1), truth, atol=1e-6)


def test_where_a_window_is_alone_nothing_is_changed():
    truth = np.random.default_rng(0).random((1, 64, 320), np.float32)
    grid = Grid.of((64, 320), Preprocess(), tile=(64, 64), overlap=(0, 0))

    def maps_of(tiles):
        return [truth[:, :, t.x : t.x + t.geometry.picture[1]] for t in tiles]

    ((_, rows),) = bands(grid, maps_of)
    assert len(grid.columns) == 5
    np.testing.assert_array_equal(rows, truth)


def test_held_are_the_rows_of_two_windows_not_those_of_the_picture():
    grid = Grid.of((20_000, 500), Preprocess(), tile=(100, 500), overlap=(20, 20))

    def maps_of(tiles):
        return [np.zeros((1, *t.geometry.picture), np.float32) for t in tiles]

    tracemalloc.start()
    try:
        rows = sum(band.shape[1] for _, band in bands(grid, maps_of))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows == 20_000
    assert peak < 8 * (132 * 500 * 4)


# --- networks ------------------------------------------------------------------------------------


def predictor_of(network, *, preprocess=None, postprocess=None, num_classes=1, **tiles):
    return Predictor(
        TorchRuntime(network.eval()),
        preprocess=preprocess or Preprocess(),
        postprocess=postprocess or Postprocess(),
        in_channels=3,
        num_classes=num_classes,
        **tiles,
    )


def convolutions(depth, *, stride=1, dilation=1, padding=True, seed=0):
    """A small network that sees `depth * dilation` pixels far at each side (times the stride)."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.MaxPool2d(stride), nn.Conv2d(3, 4, 1)]
        for _ in range(depth):
            pad = dilation if padding else 0
            layers += [nn.Conv2d(4, 4, 3, padding=pad, dilation=dilation, bias=True), nn.Tanh()]
        layers += [nn.Conv2d(4, 1, 1), nn.Upsample(scale_factor=stride)]
        network = nn.Sequential(*layers)
        for p in network.parameters():
            p.data *= 2
        return network


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def paper():
    return segzoo.load("unet_paper", width=2, seed=0)


@settings(max_examples=8)
@given(
    height=st.integers(1, 110),
    width=st.integers(1, 110),
    tile=st.tuples(st.integers(1, 130), st.integers(1, 130)),
    seed=st.integers(0, 9),
)
def test_valid_convolutions_give_what_the_whole_picture_gives(paper, height, width, tile, seed):
    """Ronneberger et al. 2015, section 2: the overlap-tile strategy is seamless."""
    image = photo(height, width, seed)
    whole = paper.predict(image)
    tiled = paper.predict(image, tile=tile)
    np.testing.assert_allclose(tiled.probability, whole.probability, atol=1e-5)
    doubtful = np.abs(whole.probability[1] - 0.5) < 1e-5
    assert ((tiled.mask == whole.mask) | doubtful).all()


def test_the_windows_of_valid_convolutions_abut(paper):
    grid = paper.predictor(tile=96).grid(400, 96)
    shared = [a.answers.stop - b.start for a, b in itertools.pairwise(grid.rows)]
    assert min(shared) == 4  # 16 m + 12 less 184 is 16 n + 4, and poolings want steps of 16
    assert max(shared) <= 4 + PHASE
    assert len(grid.columns) == 1


def test_a_large_picture_is_tiled_by_itself_where_that_changes_nothing(paper, monkeypatch):
    monkeypatch.setattr("segzoo.predict.predictor.OWN_TILE", 100)
    predictor = paper.predictor()
    assert predictor.grid(100, 100) is None
    grid = predictor.grid(150, 250)
    assert (len(grid.rows), len(grid.columns)) == (2, 3)
    image = photo(150, 250)
    whole = paper.predict(image, tile=250)
    np.testing.assert_allclose(predictor.predict(image).probability, whole.probability, atol=1e-5)


@pytest.mark.parametrize("variant", [CANVAS, CANVAS_TOP_LEFT], ids=["centre", "top_left"])
def test_a_margin_that_does_not_cover_what_the_network_sees_is_found_out(variant):
    """A network that eats 4 pixels and fills up with zeros further in."""
    network = UNet(replace(variant, width=2), 3, 1)
    preprocess = Preprocess(multiple_of=16, remainder=140, margin=4)
    assert predictor_of(network, preprocess=preprocess).grid(3000, 3000) is None
    grid = predictor_of(network, preprocess=preprocess, tile=512).grid(3000, 3000)
    shared = [a.answers.stop - b.start for a, b in itertools.pairwise(grid.rows)]
    assert min(shared) >= 128


@pytest.mark.parametrize(
    ("network", "margin", "seamless"),
    [
        (convolutions(3, padding=False), 3, True),
        (nn.Sequential(nn.ReflectionPad2d(1), convolutions(3, padding=False)), 2, False),
        (nn.Sequential(convolutions(2, padding=False), nn.InstanceNorm2d(1)), 2, False),
    ],
    ids=["valid", "padded", "global"],
)
def test_whether_windows_give_what_the_whole_gives_is_measured(network, margin, seamless):
    preprocess = Preprocess(margin=margin)
    runtime = TorchRuntime(network.eval())
    assert is_seamless(lambda x: runtime(x)[0], preprocess, 3) is seamless


@settings(max_examples=15)
@given(
    size=st.tuples(st.integers(40, 150), st.integers(40, 150)),
    tile=st.integers(24, 100),
    depth=st.integers(1, 5),
)
def test_where_the_overlap_is_four_times_what_is_seen_nothing_changes(size, tile, depth):
    """Padding falsifies `depth` pixels at a window's edge; they do not count."""
    network, image = convolutions(depth), photo(*size)
    whole = predictor_of(network).predict(image)
    tiled = predictor_of(network, tile=tile, overlap=4 * depth).predict(image)
    np.testing.assert_allclose(tiled.probability, whole.probability, atol=1e-6)


def test_with_less_overlap_the_edges_of_windows_show_and_more_makes_them_fainter():
    network, image = convolutions(6, dilation=2), photo(160, 160)
    whole = predictor_of(network).predict(image).probability
    errors = [
        np.abs(predictor_of(network, tile=64, overlap=o).predict(image).probability - whole).max()
        for o in (0, 16, 48)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[0] > 1e-2
    assert errors[2] < 1e-6


def test_poolings_fall_on_the_same_pixels_declared_or_not():
    """An odd place would pool other pixels together, and no overlap would mend that."""
    network, image = convolutions(1, stride=8), photo(208, 400)
    whole = predictor_of(network).predict(image).probability
    tiled = predictor_of(network, tile=192, overlap=64).predict(image).probability
    np.testing.assert_allclose(tiled, whole, atol=1e-6)


def test_an_output_larger_than_the_input():
    """The maps of each window are brought to the picture's size by themselves."""
    network = nn.Sequential(convolutions(2), nn.Upsample(scale_factor=3, mode="bilinear"))
    scale = Postprocess(scale=3)
    image = photo(100, 130)
    whole = predictor_of(network, postprocess=scale).predict(image).probability
    tiled = predictor_of(network, postprocess=scale, tile=60, overlap=20).predict(image).probability
    np.testing.assert_allclose(tiled, whole, atol=1e-6)


def test_several_classes_sum_to_one_and_minmax_is_of_the_whole_picture():
    colours = nn.Conv2d(3, 3, 1)
    softmax = Postprocess(activation="softmax", threshold=None)
    image = photo(90, 70)
    found = predictor_of(colours, postprocess=softmax, num_classes=3, tile=40).predict(image)
    np.testing.assert_allclose(found.probability.sum(axis=0), 1, atol=1e-6)

    minmax = Postprocess(normalize="minmax")
    whole = predictor_of(convolutions(1), postprocess=minmax).predict(image).probability
    tiled = predictor_of(convolutions(1), postprocess=minmax, tile=40).predict(image).probability
    assert (tiled.min(), tiled.max()) == (0, 1)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)
