"""The fit of a learning curve, against points with a known answer."""

from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation.conftest import Make
from vocdet.evaluation.bootstrap import resampled_by_label
from vocdet.evaluation.learning_curve import fit_curve
from vocdet.evaluation.report import evaluate
from vocdet.evaluation.resamples import Resampling

SIZES = (100, 200, 400, 800)


def power(b: float, c: float, sizes: tuple[int, ...] = SIZES) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([1 - b * size**-c for size in sizes])


@pytest.mark.parametrize(("b", "c"), [(2.0, 0.5), (0.9, 0.1), (0.3, 0.0)])
def test_points_on_a_power_law_give_it_back(b: float, c: float) -> None:
    metric = power(b, c)
    fit = fit_curve(SIZES, metric, np.repeat(metric[:, None], 50, axis=1))
    assert fit is not None
    assert fit.exponent == pytest.approx(c, abs=1e-9)
    assert fit.now == pytest.approx(metric[-1])
    assert fit.doubled == pytest.approx(1 - b * 1600.0**-c)
    assert (fit.low, fit.high) == pytest.approx((fit.doubled, fit.doubled))
    assert fit.gain == pytest.approx((fit.doubled - fit.now,) * 2, abs=1e-9)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    draw, truth, inside = np.random.default_rng(0), 1 - 2 * 1600.0**-0.4, 0
    for _ in range(200):
        error = (1 - power(2.0, 0.4)) * np.exp(draw.normal(0, 0.08, 4))  # one training differs from another
        fit = fit_curve(SIZES, 1 - error, np.repeat(1 - error[:, None], 400, axis=1), seed=1)
        assert fit is not None
        inside += fit.low <= truth <= fit.high
    assert 0.75 <= inside / 200 <= 1.0  # nominally .95: of four points, residuals say little


def test_noise_of_the_test_images_widens_the_interval() -> None:
    metric, draw = power(2.0, 0.4), np.random.default_rng(0)
    narrow, wide = (fit_curve(SIZES, metric, metric[:, None] + draw.normal(0, sd, (4, 400))) for sd in (0.005, 0.03))
    assert narrow is not None and wide is not None
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_what_falls_with_more_images_brings_nothing() -> None:
    metric = np.array([0.8, 0.75, 0.7, 0.65])
    fit = fit_curve(SIZES, metric, np.repeat(metric[:, None], 100, axis=1))
    assert fit is not None
    assert fit.exponent == 0.0
    assert fit.doubled == pytest.approx(fit.now)


def test_a_label_without_objects_has_no_fit() -> None:
    metric = np.array([0.1, np.nan, 0.2, 0.3])
    assert fit_curve(SIZES, metric, np.repeat(metric[:, None], 10, axis=1)) is None


def test_a_perfect_detector_has_a_fit() -> None:
    metric = np.array([0.9, 0.99, 1.0, 1.0])
    fit = fit_curve(SIZES, metric, np.repeat(metric[:, None], 10, axis=1))
    assert fit is not None
    assert 0.99 < fit.doubled <= 1.0


def test_resamples_of_labels_have_the_mean_of_the_interval() -> None:
    box, other = (10.0, 10.0, 60.0, 60.0), (100.0, 100.0, 180.0, 160.0)
    dataset = Make().truth(
        ("cat", "dog", "cow"), [[("cat", box), ("dog", other)], [("cat", box)], [("dog", other)]] * 4
    )
    found = Make().found(("cat", "dog", "cow"), [[("cat", 0.9, box)], [("dog", 0.8, box)], [("dog", 0.7, other)]] * 4)
    values = resampled_by_label(dataset, found, "AP50", Resampling(12, 300))
    assert values.shape == (4, 300)
    assert np.isnan(values[2]).all()
    interval = evaluate(dataset, found, resamples=300).interval
    assert interval is not None
    assert interval.bounds["AP50"] == pytest.approx(tuple(np.percentile(values[3], (2.5, 97.5))))
