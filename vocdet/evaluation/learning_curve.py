"""How a metric grows with the number of images: a power law of its error, and what twice the images would bring.

The error, 1 - AP50, of a detector that was trained on n images is taken for b * n ** -c with c >= 0, as measured for
many tasks (Hestness et al. 2017, arXiv:1712.00409), fitted by least squares of its logarithm. The interval is of
resamples: each draws test images with replacement, the same ones for all sizes, and the residuals of the fit, which
stand for what one training differs from another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.evaluation.bootstrap import CONFIDENCE

LOWEST = 1e-3  # error: a logarithm needs one

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CurveFit:
    """The fit of one label, or of all of them."""

    exponent: float  # c; 0: more images bring nothing
    now: float  # metric that the fit gives for all images
    doubled: float  # and for twice as many
    low: float  # bounds of `doubled`
    high: float
    gain: tuple[float, float]  # bounds of `doubled - now`


def fit_power_law(sizes: Values, metric: Values) -> tuple[Values, Values]:
    """The logarithm of b, and c, of each column of metrics (P, ...) at sizes (P,), with at least two sizes."""
    x = np.log(sizes)
    y = np.log(np.maximum(1 - metric, LOWEST))
    centered = x - x.mean()
    slope = np.tensordot(centered, y, axes=(0, 0)) / (centered**2).sum()
    exponent = np.maximum(-slope, 0.0)
    return np.asarray(y.mean(axis=0) + exponent * x.mean()), np.asarray(exponent)


def metric_at(size: float | Values, log_b: Values, exponent: Values) -> Values:
    """The metric that a power law gives for a number of images, or for several (P,)."""
    return np.asarray(1 - np.exp(log_b - exponent * np.log(size)))


def fit_curve(sizes: Sequence[int], metric: Values, draws: Values, *, seed: int = 0) -> CurveFit | None:
    """The fit of metrics (P,) at the numbers of images (P,), with an interval from their resamples (P, R).

    None where a metric is not known, as for a label without objects.
    """
    numbers = np.array(sizes, np.float64)
    if np.isnan(metric).any() or len(numbers) < 2:
        return None
    last = float(numbers.max())
    log_b, exponent = fit_power_law(numbers, metric)
    residual = np.log(np.maximum(1 - metric, LOWEST)) - np.log(1 - metric_at(numbers, log_b, exponent))
    free = max(len(numbers) - 2, 1)
    residual = residual * np.sqrt(len(numbers) / free)
    known = draws[:, ~np.isnan(draws).any(axis=0)]
    noise = np.random.default_rng(seed).choice(residual, known.shape)
    noisy = 1 - np.maximum(1 - known, LOWEST) * np.exp(noise)
    log_bs, exponents = fit_power_law(numbers, noisy)
    doubled = metric_at(2 * last, log_bs, exponents)
    gains = doubled - metric_at(last, log_bs, exponents)
    low, high = _middle(doubled)
    now, twice = (float(metric_at(size, log_b, exponent)) for size in (last, 2 * last))
    return CurveFit(float(exponent), now, twice, low, high, _middle(gains))


def _middle(values: Values) -> tuple[float, float]:
    low, high = np.percentile(values, (50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE))).tolist()
    return low, high
