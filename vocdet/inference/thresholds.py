"""From which score on a detection counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.5  # of labels for which a checkpoint has none


def thresholds_of(labels: Sequence[str], known: Sequence[float] | None) -> NDArray[np.float32]:
    """(L,) a checkpoint's thresholds, or the usual one for every label."""
    return np.array([THRESHOLD] * len(labels) if known is None else known, np.float32)
