"""The order of the samples in an epoch, and how often each occurs."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vocdet.recipes.schema import Sampling


class LabeledSamples(Protocol):
    """Samples whose labels are known."""

    def __len__(self) -> int: ...

    def shown_labels(self) -> NDArray[np.int64]:
        """(M, 2) every sample and label in it, each pair once; a sample without objects is in no row."""
        ...


def epoch_order(
    samples: LabeledSamples, *, seed: int, epoch: int, sampling: Sampling = "uniform", threshold: float | None = None
) -> NDArray[np.int64]:
    """The order (n,) of the n samples in an epoch.

    `uniform` has each once. `balanced` repeats each in proportion to its repeat factor, rounded up or down at random,
    perhaps to 0, so that the mean over epochs is exact.
    """
    n = len(samples)
    rng = np.random.default_rng((seed, epoch))
    if sampling == "uniform" or not n:
        order = np.arange(n)
        rng.shuffle(order)
        return order
    if sampling != "balanced":
        raise ValueError(f"no sampling {sampling!r}")
    factors = repeat_factors(samples, threshold=threshold)
    mixed = rng.permutation(n)  # otherwise neighbors would replace each other
    # one draw for all: sample i occurs as often as there is an integer between the sums before and after it
    sums = np.cumsum(factors[mixed]) * (n / factors.sum())
    sums[-1] = n
    counts = np.diff(np.floor(sums + rng.random()).astype(np.int64), prepend=0)
    order = np.repeat(mixed, counts)
    rng.shuffle(order)
    return order


def repeat_factors(samples: LabeledSamples, *, threshold: float | None = None) -> NDArray[np.float64]:
    """(n,) how often each sample occurs, relative to 1 for samples with frequent labels or without objects.

    LVIS's repeat-factor sampling (Gupta et al. 2019, appendix): a label in a share f of the samples has
    max(1, sqrt(threshold / f)), a sample the maximum of its labels. LVIS takes a threshold of .001 for 1,200 labels;
    the default is the mean of f over the labels that occur, which suits datasets of any size.
    """
    n = len(samples)
    sample, label = samples.shown_labels().T
    factors = np.ones(n)
    if not len(sample):
        return factors
    shares = np.bincount(label) / n
    limit = float(shares[shares > 0].mean()) if threshold is None else threshold
    of_label = np.sqrt(np.maximum(1.0, limit / np.maximum(shares, 1 / n)))
    np.maximum.at(factors, sample, of_label[label])
    return factors


def group_by_orientation(order: NDArray[np.int64], landscape: NDArray[np.bool_], batch: int) -> NDArray[np.int64]:
    """The same samples in an order in which a batch of `batch` is all landscape or all portrait, the last ones mixed.

    `landscape` (N,) tells of every sample whether it is wider than high; a mixed batch would be padded to a square. The
    order (n,) is unchanged among the samples of an orientation, and batches come in the order in which they fill up.
    """
    if batch < 1:
        raise ValueError(f"batches of {batch}")
    shape = landscape[order]
    position = np.empty(len(order), np.int64)  # among those of its orientation
    for value in (False, True):
        position[shape == value] = np.arange(int((shape == value).sum()))
    whole = np.where(shape, shape.sum(), (~shape).sum()) // batch * batch
    rest = position >= whole  # not in a full batch
    full = np.flatnonzero(~rest & (position % batch == batch - 1))  # where a batch has its last sample
    rank = {(bool(shape[i]), int(position[i]) // batch): k for k, i in enumerate(full.tolist())}
    ranks = [len(full) if rest[i] else rank[bool(shape[i]), int(position[i]) // batch] for i in range(len(order))]
    return order[np.argsort(np.array(ranks, np.int64), kind="stable")]
