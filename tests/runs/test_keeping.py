"""Which weights a training keeps, and what it says about them."""

from __future__ import annotations

import numpy as np
import pytest

from vocdet.runs.keeping import TrainingSummary, Verdict, is_surely_better, mean_bounds, share_bounds
from vocdet.training.loop import Ended


def verdict(samples: int, *, keeps_best: bool = False, gain: tuple[float, float] | None = None) -> Verdict:
    bounds = (0.75, 0.88) if samples >= 10 else None
    return Verdict(keeps_best, gain, "AP50", 0.812, bounds, samples, "image", 3 * samples)


def summary(peak: int, weighed: Verdict | None, *, ended: Ended = "epochs", nothing: bool = False) -> TrainingSummary:
    best = 0 if weighed is None else peak if weighed.keeps_best else 100
    return TrainingSummary(best, 100, False, ended, 20, "ap50", peak, weighed, nothing)


@pytest.mark.parametrize(
    ("samples", "gain", "better"),
    [
        (1, (0.4, 0.4), False),  # one image is no sample: the difference seems certain
        (9, (0.1, 0.3), False),
        (10, (0.1, 0.3), True),
        (500, (0.001, 0.004), True),  # little, but certain
        (500, (0.0, 0.2), False),
        (500, (-0.02, 0.03), False),
        (9, None, False),
        (10, None, True),  # a metric without bounds, such as the loss
    ],
)
def test_an_earlier_epoch_is_kept_where_enough_images_show_that_it_is_better(
    samples: int, gain: tuple[float, float] | None, better: bool
) -> None:
    assert is_surely_better(samples, gain) is better


def test_two_images_decide_nothing_and_the_remarks_say_so() -> None:
    assert summary(4, verdict(2)).remarks() == (
        "not stopped early: all epochs are done",
        "kept the last averaged weights: epoch 4 has the best ap50, but 2 validation images with 6 objects cannot tell "
        "whether it is better",
        "AP50 0.812 on 2 validation images with 6 objects says nothing about others: validate on 10 images or more",
    )


def test_a_difference_that_may_be_chance_keeps_the_last_weights() -> None:
    _, kept, trust = summary(61, verdict(87, gain=(-0.011, 0.034))).remarks()
    assert kept == (
        "kept the last averaged weights: epoch 61 has the best ap50, but this may be chance (a difference of -0.011 to "
        "+0.034, with a confidence of 95 %)"
    )
    assert trust == (
        "AP50 0.812 on 87 validation images with 261 objects: between 0.750 and 0.880, with a confidence of 95 %"
    )


def test_a_sure_difference_keeps_the_best_epoch() -> None:
    kept = summary(61, verdict(87, keeps_best=True, gain=(0.012, 0.05))).remarks()[1]
    assert kept == (
        "kept epoch 61, which is better than the last averaged weights: a difference of +0.012 to +0.050, with a "
        "confidence of 95 %"
    )


@pytest.mark.parametrize(
    ("ended", "text"),
    [
        ("patience", "stopped early, after 20 epochs without a better ap50"),
        ("target", "stopped early: the AP of the recipe is reached"),
        ("time", "not stopped early: the time is used up"),
        ("steps", "not stopped early: all steps are done"),
    ],
)
def test_the_remarks_say_why_a_training_ended(ended: Ended, text: str) -> None:
    assert summary(100, verdict(3), ended=ended).remarks()[0] == text


def test_without_validation_there_is_nothing_to_trust() -> None:
    assert summary(0, None).remarks() == (
        "not stopped early: all epochs are done",
        "without validation the last weights count as the best; a detector's thresholds come from training images",
    )


@pytest.mark.parametrize(
    ("images", "end"), [(40, "weights"), (2, "; 2 validation samples cannot tell which is better")]
)
def test_an_interrupted_training_says_which_file_has_what(images: int, end: str) -> None:
    stopped = TrainingSummary(3, 7, interrupted=True, chosen_by="ap50", validated=images)
    (remark,) = stopped.remarks()
    assert remark.startswith("best.safetensors has epoch 3, with the best ap50 so far, last.safetensors the newest")
    assert remark.endswith(end)


@pytest.mark.parametrize("best", [0, 7])
def test_an_interrupted_training_whose_files_are_the_same_says_nothing(best: int) -> None:
    assert TrainingSummary(best, 7, interrupted=True).remarks() == ()


def test_where_nothing_is_detected_the_remarks_name_what_to_look_at() -> None:
    last = summary(100, verdict(3), nothing=True).remarks()[-1]
    assert last.startswith("AP is 0 in every epoch: look at batches.png")
    assert "curves.png" in last
    assert "`vocdet.check(dataset)`" in last


def test_the_bounds_of_a_share_are_those_of_wilson() -> None:
    # Agresti and Coull 1998, table 1 of their discussion's example: 10 of 10 gives .722 to 1
    assert share_bounds(10, 10) == pytest.approx((0.722, 1.0), abs=0.001)
    assert share_bounds(5, 10) == pytest.approx((0.237, 0.763), abs=0.001)


def test_the_bounds_of_a_mean_are_two_standard_errors_wide() -> None:
    values = np.array([0.0, 1.0] * 50)
    low, high = mean_bounds(values)
    assert (low + high) / 2 == pytest.approx(0.5)
    assert high - low == pytest.approx(2 * 1.96 * 0.5025 / 10, rel=1e-3)
    assert mean_bounds(np.array([1.0])) == (-np.inf, np.inf)
