"""The linear scaling rule of MLPerf's Mask R-CNN."""

from __future__ import annotations

import pytest

from vocdet.recipes.load import load_recipe
from vocdet.recipes.scaling import Scaled, scaled
from vocdet.recipes.schema import BackboneRecipe, MaskRcnnRecipe, SsdRecipe, changed
from vocdet.training.optim import make_schedule


@pytest.mark.parametrize(
    ("batch", "accumulate", "lr", "steps"),
    [
        (16, 1, 0.02, 90_000),  # MLPerf's reference
        (32, 1, 0.04, 45_000),
        (128, 1, 0.16, 11_250),
        (16, 8, 0.16, 11_250),  # eight batches that make one step are as one of 128
        (4, 1, 0.005, 360_000),
        (48, 1, 0.06, 30_000),
    ],
)
def test_the_rate_scales_linearly_and_the_steps_inversely(batch: int, accumulate: int, lr: float, steps: int) -> None:
    recipe = load_recipe("maskrcnn", "maskrcnn-resnet50-mlperf", values={"batch": batch, "accumulate": accumulate})
    found = scaled(recipe.recipe.train)
    assert found.lr == pytest.approx(lr)
    assert found.max_steps == steps


def test_without_a_base_batch_nothing_is_scaled() -> None:
    assert scaled(changed(BackboneRecipe(), batch=64, lr=0.3).train) == Scaled(0.3, 0)
    assert scaled(changed(MaskRcnnRecipe(), batch=64, lr=0.3).train) == Scaled(0.3, 0)
    assert scaled(changed(SsdRecipe(), batch=64, max_steps=70).train) == Scaled(0.004, 70)
    assert scaled(changed(SsdRecipe(), batch=16, base_batch=8).train) == Scaled(0.008, 0)


def test_a_run_has_at_least_one_step() -> None:
    assert scaled(changed(SsdRecipe(), batch=512, base_batch=1, max_steps=3).train).max_steps == 1


def test_an_open_batch_cannot_be_scaled() -> None:
    with pytest.raises(ValueError, match="still open"):
        scaled(changed(SsdRecipe(), batch=0, base_batch=16).train)


def test_mlperfs_rate_is_divided_by_ten_at_60000_and_at_80000_steps() -> None:
    train = load_recipe("maskrcnn", "maskrcnn-resnet50-mlperf").recipe.train
    schedule = make_schedule(train.schedule, steps=train.steps)
    rates = [train.lr * schedule(step / 90_000, 0.005) for step in (59_999, 60_000, 79_999, 80_000, 89_999)]
    assert rates == pytest.approx([0.02, 0.002, 0.002, 0.0002, 0.0002])
