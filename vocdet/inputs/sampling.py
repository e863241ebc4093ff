"""In which order an epoch shows its samples, and how often each."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Sampling = Literal["uniform", "balanced"]


class Labeled(Protocol):
    """Samples of which one knows what they show."""

    def __len__(self) -> int: ...

    def shown_labels(self) -> NDArray[np.int64]:
        """(M, 2) every sample and label that it shows, each pair once; a sample that shows none is in no row."""
        ...


def epoch_order(
    samples: Labeled, *, seed: int, epoch: int, sampling: Sampling = "uniform", threshold: float | None = None
) -> NDArray[np.int64]:
    """The samples (n,) in the order in which an epoch shows them; n is how many there are.

    `uniform` shows each once. `balanced` shows each in proportion to its repeat factor, once in a while not at all:
    over epochs as often as that says, in one epoch as near to it as whole numbers come.
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
    mixed = rng.permutation(n)  # else neighbours would be drawn in each other's place
    # one draw for all: sample i is shown as often as a whole number lies between the sums before and after it
    sums = np.cumsum(factors[mixed]) * (n / factors.sum())
    sums[-1] = n
    counts = np.diff(np.floor(sums + rng.random()).astype(np.int64), prepend=0)
    order = np.repeat(mixed, counts)
    rng.shuffle(order)
    return order


def repeat_factors(samples: Labeled, *, threshold: float | None = None) -> NDArray[np.float64]:
    """(n,) how often to show each sample, where 1 is a sample of frequent labels or of none.

    LVIS's repeat-factor sampling (Gupta et al. 2019, appendix): a label that a share f of the samples show has
    max(1, sqrt(threshold / f)), a sample the highest of its labels. LVIS takes a threshold of .001 for 1,200 labels;
    without one it is the mean of f over the labels that are there, which suits datasets of any size.
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


def by_shape(order: NDArray[np.int64], lying: NDArray[np.bool_], batch: int) -> NDArray[np.int64]:
    """The same samples in an order in which each batch of `batch` is of samples of one shape, the last ones mixed.

    `lying` (N,) says of every sample whether it is wider than high; a batch of both would be padded to a square. The
    order (n,) stays as it is among the samples of a shape, and batches come in the order in which they are full.
    """
    if batch < 1:
        raise ValueError(f"batches of {batch}")
    shape = lying[order]
    place = np.empty(len(order), np.int64)  # among those of its shape
    for kind in (False, True):
        place[shape == kind] = np.arange(int((shape == kind).sum()))
    whole = np.where(shape, shape.sum(), (~shape).sum()) // batch * batch
    left = place >= whole  # of no whole batch
    full = np.flatnonzero(~left & (place % batch == batch - 1))  # where a batch has its last sample
    when = {(bool(shape[i]), int(place[i]) // batch): k for k, i in enumerate(full.tolist())}
    turn = [len(full) if left[i] else when[bool(shape[i]), int(place[i]) // batch] for i in range(len(order))]
    return order[np.argsort(np.array(turn, np.int64), kind="stable")]
