"""Pieces of masks against scipy's, of every shape and at every edge."""

import numpy as np
import pytest
from scipy import ndimage

from segzoo.pictures.pieces import cleaned, with_holes_filled, without_specks


def as_scipy_has_it(mask, smallest, holes):
    pieces, _ = ndimage.label(mask)
    stays = np.bincount(pieces.ravel()) >= smallest
    stays[0] = False
    mask = stays[pieces]
    gaps, _ = ndimage.label(~mask)
    filled = np.bincount(gaps.ravel()) < holes
    filled[np.concatenate([gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]])] = False
    filled[0] = False
    return mask | filled[gaps]


@pytest.mark.parametrize("seed", range(40))
def test_pieces_are_those_of_scipy(seed):
    random = np.random.default_rng(seed)
    noise = random.random(random.integers(1, 60, 2))
    smooth = ndimage.gaussian_filter(noise, random.random() * 2)
    mask = smooth > np.quantile(smooth, random.random())
    smallest, holes = (int(n) for n in random.integers(0, 40, 2))
    found = cleaned(mask, smallest=smallest, holes=holes)
    assert np.array_equal(found, as_scipy_has_it(mask, smallest, holes))


def spiral(side):
    """One piece whose end is as far from its beginning as can be."""
    mask = np.zeros((side, side), bool)
    for ring in range(0, side // 2, 2):
        mask[ring : side - ring, [ring, side - ring - 1]] = True
        mask[[ring, side - ring - 1], ring : side - ring] = True
        mask[ring + 1, ring] = False
        mask[ring + 2, ring : ring + 3] = True
    return mask


@pytest.mark.parametrize("mask", [spiral(65), np.ones((9, 7), bool), np.zeros((9, 7), bool)])
def test_long_ways_and_nothing_at_all(mask):
    for smallest, holes in ((3, 3), (500, 10), (10, 500)):
        found = cleaned(mask, smallest=smallest, holes=holes)
        assert np.array_equal(found, as_scipy_has_it(mask, smallest, holes))


def test_a_piece_of_just_so_many_pixels_stays():
    mask = np.zeros((6, 9), bool)
    mask[1:3, 1:3] = mask[1:5, 5:9] = True
    mask[2:4, 6:8] = False  # a hole of four
    mask[5, 0] = True  # touches nothing by its side
    assert not without_specks(mask, 5)[1, 1] and without_specks(mask, 4)[1, 1]
    assert with_holes_filled(mask, 5)[2, 6] and not with_holes_filled(mask, 4)[2, 6]
    assert not with_holes_filled(mask, 1000)[0, 0]
    assert np.array_equal(cleaned(mask), mask)
