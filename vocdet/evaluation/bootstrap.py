"""How far figures may lie from those of other images of the same kind: the bootstrap (Efron 1979) over images.

A resample is as many images, drawn with replacement. What becomes of a detection does not depend on which other images
there are, so everything is matched once, and in a resample the detections and objects of an image count as often as
it was drawn. The figures of a resample are those of `coco_score` for a dataset of these images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Objects
from vocdet.evaluation.coco_score import IOUS, MOST, RECALLS
from vocdet.evaluation.matching import IGNORED, TRUE, Found, Outcome, Pairs, match_coco

SHARE = 0.95  # of the resamples whose figure lies within the interval
RESAMPLES = 1000
RECALL_OF = (1, 10, MOST)  # detections of an image
NAMES = ("AP", "AP50", "AP75", *(f"AR{most}" for most in RECALL_OF))

_AT_ONCE = 4_000_000  # numbers of one temporary array

Weights = NDArray[np.float64]  # (R, N) how often each image was drawn in every resample


@dataclass(frozen=True, slots=True)
class Interval:
    """Where figures lie in the middle `share` of all resamples (percentiles)."""

    share: float
    resamples: int
    seed: int
    bounds: dict[str, tuple[float, float] | None]  # AP, AP50, AP75, AR1, AR10, AR100; None: there is nothing to find


def bootstrap(
    pairs: Pairs, found: Found, objects: Objects, images: int, *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """The interval of COCO's AP and AR of all sizes, for pairs down to an overlap of .5; the same for the same seed.

    A label of which a resample shows no object counts in no mean of that resample.
    """
    ignored = objects.difficult | objects.crowd
    outcome = match_coco(pairs, found, ignored, objects.crowd, IOUS)
    labels = np.unique(objects.label[~ignored])
    rows = [_rows(outcome, found, label) for label in labels]
    counts = np.zeros((len(labels), images))
    np.add.at(counts, (np.searchsorted(labels, objects.label[~ignored]), objects.image[~ignored]), 1)
    parts = [np.empty((len(NAMES), 0))]
    widest = max([1, images, *map(len, rows)])
    for weights in _draws(images if len(labels) else 0, resamples, max(1, _AT_ONCE // widest), seed):
        figures = [
            _figures(outcome[:, mine], weights[:, found.image[mine]], found.rank[mine], weights @ count)
            for mine, count in zip(rows, counts, strict=True)
        ]
        parts.append(_mean(np.stack(figures)))
    values = np.concatenate(parts, axis=1)
    return Interval(SHARE, resamples, seed, {name: _middle(row) for name, row in zip(NAMES, values, strict=True)})


def _draws(images: int, resamples: int, at_once: int, seed: int) -> Iterator[Weights]:
    numbers = np.random.default_rng(seed)
    for start in range(0, resamples if images else 0, at_once):
        drawn = [numbers.integers(0, images, images) for _ in range(min(at_once, resamples - start))]
        yield np.stack([np.bincount(one, minlength=images) for one in drawn]).astype(np.float64)


def _rows(outcome: Outcome, found: Found, label: int) -> NDArray[np.int64]:
    """The detections of a label, best score first, as far as the last one that is true anywhere: the rest is noise."""
    mine = np.flatnonzero((found.label == label) & (found.rank < MOST))
    mine = mine[np.argsort(-found.score[mine], kind="stable")]
    true = np.flatnonzero((outcome[:, mine] == TRUE).any(axis=0))
    return mine[: true[-1] + 1 if len(true) else 0]


def _figures(
    outcome: Outcome, weights: Weights, rank: NDArray[np.int64], objects: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(6, R) of one label, from its detections (D) at every IoU (T, D); NaN where there are no objects (R,) to find."""
    there = np.where(objects, objects, np.nan)[:, None]  # (R, 1)
    precisions = np.zeros((len(outcome), len(weights)))
    kept: Weights | None = None
    for level, one in enumerate(outcome):
        if kept is None or ((one == IGNORED) != (outcome[level - 1] == IGNORED)).any():
            kept = np.cumsum(weights * (one != IGNORED), axis=1)
        true = np.flatnonzero(one == TRUE)  # only there is precision at its best, and does recall grow
        right = np.cumsum(weights[:, true], axis=1)  # (R, P)
        precision = right / (kept[:, true] + np.spacing(1))
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        reached = np.searchsorted(RECALLS, np.nan_to_num(right / there), side="right")
        precisions[level] = (precision * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(RECALLS)
    right = np.stack([weights @ ((outcome == TRUE) & (rank < most)).T for most in RECALL_OF])  # (3, R, T)
    precisions[:, ~(objects > 0)] = np.nan
    return np.stack([precisions.mean(axis=0), precisions[0], precisions[5], *(right / there).mean(axis=2)])


def _mean(figures: NDArray[np.float64]) -> NDArray[np.float64]:
    """(6, R) over labels (L, 6, R); NaN where none has an object."""
    known = ~np.isnan(figures)
    total = np.where(known, figures, 0.0).sum(axis=0)
    return np.asarray(np.divide(total, known.sum(axis=0), out=np.full(total.shape, np.nan), where=known.any(axis=0)))


def _middle(values: NDArray[np.float64]) -> tuple[float, float] | None:
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    low, high = np.percentile(known, (50 * (1 - SHARE), 50 * (1 + SHARE))).tolist()
    return low, high
