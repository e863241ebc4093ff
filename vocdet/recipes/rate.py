"""The learning rate by default: lower for few images."""

from __future__ import annotations

from collections.abc import Collection

from vocdet.recipes.schema import R, Recipe, SsdTrain, changed
from vocdet.wording import counted

FEW_IMAGES = 100
SHARE = 0.5  # of the default rate: docs/tried.md


def with_rate(recipe: R, samples: int, given: Collection[str] = ()) -> R:
    """The recipe with half the rate for fewer than `FEW_IMAGES` samples, if an SSD learns by Muon.

    It would learn few images by heart. A recipe is unchanged if it chooses its own rate, or if `given` has `lr`.
    """
    train, default = recipe.train, type(recipe)().train
    by_muon = isinstance(train, SsdTrain) and train.optimizer == "muon"
    if not by_muon or samples >= FEW_IMAGES or "lr" in given or train.lr != default.lr:
        return recipe
    return changed(recipe, lr=train.lr * SHARE)


def rate_notes(before: Recipe, after: Recipe, samples: int) -> tuple[str, ...]:
    """What `with_rate` changed, for people."""
    if before.train.lr == after.train.lr:
        return ()
    lr, usual = after.train.lr, before.train.lr
    return (f"for only {counted(samples, 'sample')} the learning rate is {lr:g}; `lr={usual:g}`: as with many",)
