"""Orders and seeds: functions of numbers alone, and generators left as they were."""

import contextlib
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segzoo.data import draws
from segzoo.data.draws import drawn, order, sample_seed, with_replacement

NUMBERS = st.integers(0, 2**40)


def test_splitmix64_gives_its_published_outputs():
    """From the state 1234567, as Rosetta Code lists them for every language."""
    assert draws._words(1234567, 5).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_these_numbers_never_change():
    """A run that was stopped goes on with another version of segzoo."""
    assert order(0, 0, 10).tolist() == [6, 3, 4, 5, 9, 2, 0, 8, 7, 1]
    assert with_replacement(0, 0, 10).tolist() == [3, 7, 2, 5, 9, 0, 2, 7, 0, 1]
    assert sample_seed(0, 0, 0) == 743816988821243946


@given(seed=NUMBERS, epoch=NUMBERS, length=st.integers(0, 300))
def test_an_order_has_every_number_once(seed, epoch, length):
    numbers = order(seed, epoch, length)
    assert sorted(numbers.tolist()) == list(range(length))
    assert numbers.dtype == np.int64
    np.testing.assert_array_equal(numbers, order(seed, epoch, length))


@given(seed=NUMBERS, epoch=NUMBERS, length=st.integers(0, 300))
def test_numbers_with_replacement_lie_in_the_set(seed, epoch, length):
    numbers = with_replacement(seed, epoch, length)
    assert numbers.shape == (length,)
    assert numbers.dtype == np.int64
    assert all(0 <= n < length for n in numbers.tolist())


@pytest.mark.parametrize("draw", [order, with_replacement])
def test_another_seed_or_epoch_is_another_order(draw):
    orders = [draw(seed, epoch, 100).tolist() for seed in (0, 1, -1) for epoch in (0, 1, 10)]
    assert len({tuple(o) for o in orders}) == len(orders)


def test_every_order_is_as_likely():
    counts = dict.fromkeys(range(24), 0)
    codes: dict[tuple[int, ...], int] = {}
    for epoch in range(24 * 200):
        counts[codes.setdefault(tuple(order(3, epoch, 4).tolist()), len(codes))] += 1
    chi_square = sum((n - 200) ** 2 / 200 for n in counts.values())
    assert chi_square < 49.7  # 23 degrees of freedom: one in a thousand is larger


def test_every_number_is_as_likely_with_replacement():
    counts = np.bincount(with_replacement(5, 0, 100_000) // 1000, minlength=100)
    assert ((counts - 1000) ** 2 / 1000).sum() < 148.2  # 99 degrees of freedom, one in a thousand
    assert len(np.unique(with_replacement(5, 0, 100_000))) == pytest.approx(63_212, abs=500)


@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, st.integers(0, 9)), unique=True))
def test_every_sample_of_a_run_has_a_seed_of_its_own(samples):
    seeds = [sample_seed(*sample) for sample in samples]
    assert len(set(seeds)) == len(samples)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_parts_of_a_seed_do_not_run_together():
    assert sample_seed(1, 23, 4) != sample_seed(12, 3, 4)


def three() -> tuple[float, float, float]:
    return torch.randn(()).item(), random.random(), float(np.random.rand())


def test_what_is_drawn_inside_depends_on_the_seed_alone():
    found = []
    for seed in (7, 2**63 - 1, 7):
        torch.randn(3), random.random(), np.random.rand()
        with drawn(seed):
            found.append(three())
    assert found[0] == found[2]
    assert not set(found[0]) & set(found[1])


@pytest.mark.parametrize("fails", [False, True])
def test_afterwards_the_generators_are_as_they_were(fails):
    for seed_all in (torch.manual_seed, random.seed, np.random.seed):
        seed_all(11)
    torch.randn(1)  # half of a pair of normal numbers: the other one is part of the state
    expected = [three() for _ in range(3)]
    for seed_all in (torch.manual_seed, random.seed, np.random.seed):
        seed_all(11)
    torch.randn(1)
    found = []
    for _ in range(3):
        found.append(three())
        with pytest.raises(KeyError) if fails else contextlib.nullcontext(), drawn(5):
            three()
            torch.randn(1)
            if fails:
                raise KeyError
    assert found == expected


def test_drawn_in_drawn():
    with drawn(1):
        plain = three(), three()
    with drawn(1):
        first = three()
        with drawn(2):
            three()
        assert (first, three()) == plain
