"""The linear scaling rule: what a rate and a number of steps become where a step has another number of images.

Goyal et al. 2017, section 2.1, and MLPerf's Mask R-CNN: for K times the images the rate is K times as high, and the
steps are a K-th; so every rate lasts for as many images as before. The warm-up is no part of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from vocdet.recipes.schema import DetectorTrain, Train


@dataclass(frozen=True, slots=True)
class Scaled:
    """What a training is run with."""

    lr: float  # the highest
    max_steps: int  # 0: by epochs


def scaled(train: Train) -> Scaled:
    """Rate and steps for the images that a step really has: `batch` times `accumulate`.

    They are what the recipe says where it names no `base_batch`. A batch that is still open is a ValueError.
    """
    if not isinstance(train, DetectorTrain):
        return Scaled(train.lr, 0)
    if not train.base_batch:
        return Scaled(train.lr, train.max_steps)
    if not train.batch:
        raise ValueError("the batch is still open")
    factor = train.batch * train.accumulate / train.base_batch
    return Scaled(train.lr * factor, max(1, round(train.max_steps / factor)) if train.max_steps else 0)
