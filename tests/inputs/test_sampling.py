"""The order of an epoch: every sample once, or rare labels more often."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vocdet.inputs.sampling import epoch_order, group_by_orientation, repeat_factors


@dataclass
class Shown:
    """Samples by the labels that each shows."""

    labels: list[list[int]]

    def __len__(self) -> int:
        return len(self.labels)

    def shown_labels(self) -> NDArray[np.int64]:
        pairs = [(i, label) for i, labels in enumerate(self.labels) for label in sorted(set(labels))]
        return np.array(pairs, np.int64).reshape(-1, 2)


# label 0 in 90 of 100 samples, 1 in 10, 2 in one that shows 0, too; the last shows none
MIXED = Shown([[0]] * 89 + [[0, 2]] + [[1]] * 9 + [[]])


def test_a_uniform_order_is_every_sample_once_in_another_order_each_epoch() -> None:
    first, second = (epoch_order(MIXED, seed=0, epoch=epoch) for epoch in (1, 2))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(100))
    assert first.tolist() != second.tolist()
    assert first.tolist() == epoch_order(MIXED, seed=0, epoch=1).tolist()
    assert first.tolist() != epoch_order(MIXED, seed=1, epoch=1).tolist()


def test_repeat_factors_are_those_of_lvis() -> None:
    factors = repeat_factors(MIXED, threshold=0.25)
    # max(1, sqrt(t / f)): f is .9, .09 and .01; a sample has the highest of its labels
    assert factors[:89] == pytest.approx(1)
    assert factors[89] == pytest.approx(5)
    assert factors[90:99] == pytest.approx((0.25 / 0.09) ** 0.5)
    assert factors[99] == 1


def test_without_a_threshold_labels_rarer_than_the_mean_are_rare() -> None:
    mean = (0.9 + 0.09 + 0.01) / 3
    factors = repeat_factors(MIXED)
    assert factors[89] == pytest.approx((mean / 0.01) ** 0.5)
    assert factors[90] == pytest.approx((mean / 0.09) ** 0.5)
    assert (repeat_factors(Shown([[0], [1], [2], [3]])) == 1).all()
    assert (repeat_factors(Shown([[], []])) == 1).all()


def test_a_balanced_order_shows_samples_in_proportion_to_their_factors() -> None:
    epochs = 400
    orders = [epoch_order(MIXED, seed=3, epoch=epoch, sampling="balanced") for epoch in range(epochs)]
    assert {len(order) for order in orders} == {100}
    counts = np.array([np.bincount(order, minlength=100) for order in orders])
    factors = repeat_factors(MIXED)
    expected = factors * 100 / factors.sum()
    # each is the whole number below or above what it should be, in every epoch
    assert ((counts == np.floor(expected)) | (counts == np.ceil(expected))).all()
    assert np.abs(counts.mean(0) - expected).max() < 4 * 0.5 / epochs**0.5


def test_a_balanced_order_is_the_same_for_the_same_seed_and_epoch() -> None:
    order = epoch_order(MIXED, seed=3, epoch=7, sampling="balanced").tolist()
    assert order == epoch_order(MIXED, seed=3, epoch=7, sampling="balanced").tolist()
    assert order != epoch_order(MIXED, seed=3, epoch=8, sampling="balanced").tolist()
    assert order != epoch_order(MIXED, seed=4, epoch=7, sampling="balanced").tolist()
    assert order != sorted(order)


@given(st.lists(st.lists(st.integers(0, 5), max_size=4), max_size=40), st.integers(0, 99))
def test_a_balanced_order_is_as_long_as_there_are_samples(labels: list[list[int]], epoch: int) -> None:
    order = epoch_order(Shown(labels), seed=0, epoch=epoch, sampling="balanced")
    assert len(order) == len(labels)
    assert order.dtype == np.int64
    assert set(order.tolist()) <= set(range(len(labels)))


def test_labels_that_are_all_as_frequent_are_shown_once_each() -> None:
    order = epoch_order(Shown([[0], [1], [2]] * 5), seed=0, epoch=1, sampling="balanced")
    assert sorted(order.tolist()) == list(range(15))


def test_another_sampling_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no sampling 'rare'"):
        epoch_order(MIXED, seed=0, epoch=1, sampling="rare")  # type: ignore[arg-type]


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 9), st.integers(0, 99))
def test_batches_are_of_one_shape_but_for_the_last_and_every_sample_stays(
    lying: list[bool], batch: int, seed: int
) -> None:
    shape = np.array(lying, np.bool_)
    order = np.random.default_rng(seed).permutation(len(shape))
    grouped = group_by_orientation(order, shape, batch)
    assert sorted(grouped.tolist()) == list(range(len(shape)))
    mixed = len(shape) - sum(int((shape == kind).sum()) // batch * batch for kind in (False, True))
    whole = len(shape) - mixed
    assert mixed <= 2 * (batch - 1)
    for first in range(0, whole, batch):
        assert len(set(shape[grouped[first : first + batch]].tolist())) == 1
    for kind in (False, True):  # those of a shape come as they came
        assert grouped[shape[grouped] == kind][:1].tolist() == order[shape[order] == kind][:1].tolist()
        full = grouped[:whole]
        assert full[shape[full] == kind].tolist() == order[shape[order] == kind][: (shape[full] == kind).sum()].tolist()


def test_batches_of_one_shape_come_in_the_order_in_which_they_are_full() -> None:
    lying = np.array([False, True, True, False, True, True, False])
    assert group_by_orientation(np.arange(7), lying, 2).tolist() == [1, 2, 0, 3, 4, 5, 6]
    assert group_by_orientation(np.array([6, 6, 1, 1, 1, 0, 2]), lying, 2).tolist() == [
        6,
        6,
        1,
        1,
        1,
        2,
        0,
    ]  # some come twice


def test_batches_of_no_samples_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="batches of 0"):
        group_by_orientation(np.arange(3), np.zeros(3, np.bool_), 0)
