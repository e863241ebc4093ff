"""Which weights a finished training keeps, and how far the metrics of its validation can be trusted.

The last averaged weights have seen the whole schedule of the learning rate. An earlier epoch with a higher metric is
mostly luck if the validation is small: with two images the best of a hundred epochs can be one that has hardly learned.
So the earlier epoch is kept only where the validation shows that it is better.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vocdet.outputs import BEST, LAST
from vocdet.training.loop import Ended
from vocdet.wording import counted

FEWEST = 10  # validation images with objects, or crops: fewer decide nothing
Z = 1.96  # of the central 95 % of a normal distribution

Bounds = tuple[float, float]  # of the central 95 %


@dataclass(frozen=True, slots=True)
class Verdict:
    """The last weights of a training beside those of its best epoch, on the validation."""

    keeps_best: bool  # else the last weights are kept
    gain: Bounds | None  # how much higher the metric of the best epoch is; None: unknown, or the last epoch is the best
    metric: str  # AP50 or accuracy: what `value` is
    value: float  # of the weights that are kept
    bounds: Bounds | None  # of `value`, over the choice of the images; None: too few
    samples: int  # validation images with objects, or crops
    noun: Literal["image", "crop"]
    objects: int  # in these images; 0: crops


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """The outcome of a training."""

    best_epoch: int  # whose weights are kept; 0: no epoch was validated
    epochs: int
    interrupted: bool
    ended: Ended = ""  # why; "" if it was interrupted
    patience: int = 0
    chosen_by: str = ""  # the metric that selects the best epoch
    peak_epoch: int = 0  # with the highest metric
    verdict: Verdict | None = None  # None: no validation, or interrupted
    nothing_found: bool = False  # AP is 0 in every epoch
    validated: int = 0  # validation images or crops

    def as_dict(self) -> dict[str, object]:
        """The summary for the record of a run."""
        return asdict(self) | {"remarks": list(self.remarks())}

    def remarks(self) -> tuple[str, ...]:
        """For people: why training ended, which weights are kept, and how far the metrics can be trusted."""
        if self.interrupted:
            return _so_far(self)
        remarks = (_ending(self), _kept(self), _trust(self.verdict), _nothing(self))
        return tuple(text for text in remarks if text)


def is_surely_better(samples: int, gain: Bounds | None) -> bool:
    """Whether the validation shows that an earlier epoch is better than the last weights.

    `samples` are images with objects, or crops; `gain` bounds the difference of their metrics. Where a metric has no
    bounds, enough samples must do.
    """
    return samples >= FEWEST and (gain is None or gain[0] > 0)


def mean_bounds(values: NDArray[np.float64]) -> Bounds:
    """The bounds of the mean of values (N,), of one value per sample."""
    spread = Z * float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else float("inf")
    return float(values.mean()) - spread, float(values.mean()) + spread


def share_bounds(count: float, of: int) -> Bounds:
    """The bounds of a share: Wilson's score interval (1927), which has a width even where all are correct."""
    share, z2 = count / of, Z * Z
    middle, spread = share + z2 / (2 * of), Z * (share * (1 - share) / of + z2 / (4 * of * of)) ** 0.5
    return max(0.0, (middle - spread) / (1 + z2 / of)), min(1.0, (middle + spread) / (1 + z2 / of))


def _so_far(summary: TrainingSummary) -> tuple[str, ...]:
    """What an interrupted training has kept; it compares its best epoch with the last weights only when it ends."""
    if not 0 < summary.best_epoch < summary.epochs:
        return ()
    few = f"; {counted(summary.validated, 'validation sample')} cannot tell which is better"
    return (
        f"{BEST} has epoch {summary.best_epoch}, with the best {summary.chosen_by} so far, {LAST} the newest averaged "
        f"weights{few if summary.validated < FEWEST else ''}",
    )


def _ending(summary: TrainingSummary) -> str:
    endings = {
        "patience": f"stopped early, after {counted(summary.patience, 'epoch')} without a better {summary.chosen_by}",
        "target": "stopped early: the AP of the recipe is reached",
        "time": "not stopped early: the time is used up",
        "steps": "not stopped early: all steps are done",
        "epochs": "not stopped early: all epochs are done",
    }
    return endings.get(summary.ended, "")


def _kept(summary: TrainingSummary) -> str:
    verdict, peak = summary.verdict, f"epoch {summary.peak_epoch}"
    if verdict is None:
        return (
            "without validation the last weights count as the best; a detector's thresholds come from training images"
        )
    if verdict.keeps_best:
        why = _difference(verdict.gain) if verdict.gain else f"it has the best {summary.chosen_by} of all epochs"
        return f"kept {peak}, which is better than the last averaged weights: {why}"
    if summary.peak_epoch == summary.epochs:
        return f"kept the last averaged weights, which have the best {summary.chosen_by} of all epochs"
    if verdict.samples < FEWEST:
        why = f"{_amount(verdict)} cannot tell whether it is better"
    else:
        why = f"this may be chance ({_difference(verdict.gain)})" if verdict.gain else "this may be chance"
    return f"kept the last averaged weights: {peak} has the best {summary.chosen_by}, but {why}"


def _trust(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    value = f"{verdict.metric} {verdict.value:.3f}"
    if verdict.bounds is None:
        return f"{value} on {_amount(verdict)} says nothing about others: validate on {FEWEST} images or more"
    low, high = verdict.bounds
    return f"{value} on {_amount(verdict)}: between {low:.3f} and {high:.3f}, with a confidence of 95 %"


def _nothing(summary: TrainingSummary) -> str:
    if not summary.nothing_found:
        return ""
    return (
        "AP is 0 in every epoch: look at batches.png (the boxes must lie on the objects) and curves.png in the run "
        "(while the loss still falls, train for longer), and verify the dataset with `vocdet.check(dataset)`"
    )


def _amount(verdict: Verdict) -> str:
    of = f" with {counted(verdict.objects, 'object')}" if verdict.objects else ""
    return f"{verdict.samples} validation {verdict.noun}{'s' * (verdict.samples != 1)}{of}"


def _difference(gain: Bounds) -> str:
    return f"a difference of {gain[0]:+.3f} to {gain[1]:+.3f}, with a confidence of 95 %"
