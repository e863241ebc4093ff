"""How long a training is by default: enough steps for few images, fewer epochs for many."""

from __future__ import annotations

import math
from collections.abc import Collection

from vocdet.recipes.schema import DetectorTrain, R, Recipe, changed
from vocdet.wording import counted

FEWEST_STEPS = 1000  # of a training by epochs
MANY_IMAGES = 2000  # images; with more, the number of epochs falls with its square root


def with_length(recipe: R, samples: int, given: Collection[str] = ()) -> R:
    """The recipe with a length for this number of samples.

    With few samples an epoch repeats each until the training has `FEWEST_STEPS`; above `MANY_IMAGES` the default
    number of epochs shrinks. A recipe is unchanged if it chooses its own length: by `repeat`, by `max_steps`, by fewer
    epochs than the default, or if `given` has `epochs`. Within a time only `repeat` changes.
    """
    train, default = recipe.train, type(recipe)().train
    fixed = isinstance(train, DetectorTrain) and train.max_steps > 0
    if fixed or recipe.data.repeat or "epochs" in given or train.epochs < default.epochs:
        return recipe
    batch = (train.batch or default.batch) * train.accumulate
    repeat = math.ceil(FEWEST_STEPS / train.epochs * batch / max(1, samples))
    if repeat > 1:
        return changed(recipe, repeat=repeat)
    if train.minutes or train.epochs > default.epochs:
        return recipe
    return changed(recipe, epochs=round(train.epochs * math.sqrt(MANY_IMAGES / max(MANY_IMAGES, samples))))


def length_notes(before: Recipe, after: Recipe, samples: int) -> tuple[str, ...]:
    """What `with_length` changed, for people."""
    many, repeat, epochs = counted(samples, "sample"), after.data.repeat, after.train.epochs
    if repeat != before.data.repeat:
        return (f"{many} are few: an epoch has {repeat} passes; `repeat=1`: one",)
    if epochs != before.train.epochs:
        return (f"{many} are many: {epochs} epochs; `epochs={before.train.epochs}`: more",)
    return ()
