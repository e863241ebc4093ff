"""The linear scaling rule for the learning rate and the number of steps.

Goyal et al. 2017, section 2.1, and MLPerf's Mask R-CNN: with K times the images per step the rate is K times as high,
and the number of steps a K-th, so that every rate covers the same number of images. The warm-up is not scaled.
"""

from __future__ import annotations

from dataclasses import dataclass

from vocdet.recipes.schema import DetectorTrain, Train


@dataclass(frozen=True, slots=True)
class Scaled:
    """Rate and steps for the real number of images per step."""

    lr: float  # the peak
    max_steps: int  # 0: by epochs


def scaled(train: Train) -> Scaled:
    """Rate and steps for `batch` times `accumulate` images per step; unscaled if the recipe has no `base_batch`.

    A batch that is still open is a ValueError.
    """
    if not isinstance(train, DetectorTrain):
        return Scaled(train.lr, 0)
    if not train.base_batch:
        return Scaled(train.lr, train.max_steps)
    if not train.batch:
        raise ValueError("the batch is still open")
    factor = train.batch * train.accumulate / train.base_batch
    return Scaled(train.lr * factor, max(1, round(train.max_steps / factor)) if train.max_steps else 0)
