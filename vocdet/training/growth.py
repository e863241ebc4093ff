"""Growing images: a training begins with smaller ones, and so sees more of them in the same time.

After the progressive resizing of Howard et al. 2018 ("Training ImageNet in 3 hours for USD 25"). The last part of a run
has the size of the input, so that the network ends fitted to it.
"""

from __future__ import annotations

from torch import nn

from vocdet.models.ssd.model import SsdLite
from vocdet.recipes.schema import Recipe, SsdRecipe

STAGES = ((0.3, 0.6), (0.6, 0.8), (1.0, 1.0))  # up to this share of the run: this share of the side
MULTIPLE = 32  # pixels of a side
SMALLEST = 160  # pixels of a side that is not grown to


def grown_size(size: tuple[int, int], progress: float) -> tuple[int, int]:
    """The (height, width) of the images at a share of a run that ends with those of `size`."""
    share = next((share for until, share in STAGES if progress < until), 1.0)
    height, width = (min(side, max(SMALLEST, round(side * share / MULTIPLE) * MULTIPLE)) for side in size)
    return height, width


def work(size: tuple[int, int], progress: float) -> float:
    """The cost of a run up to a share of its images, relative to a whole one without growth: the sum of their areas."""
    total, begin = 0.0, 0.0
    for until, _ in STAGES:
        height, width = grown_size(size, begin)
        total += max(0.0, min(progress, until) - begin) * height * width / (size[0] * size[1])
        begin = until
    return total


def final_size(recipe: Recipe, model: nn.Module) -> tuple[int, int] | None:
    """The (height, width) that the images of a training grow to; None if all have their size from the start."""
    if not (isinstance(recipe, SsdRecipe) and isinstance(model, SsdLite) and recipe.train.grow):
        return None
    may_end_early = recipe.train.patience or recipe.train.stop_at_ap
    size = model.spec.size
    return None if may_end_early or model.spec.neck == "none" or grown_size(size, 0.0) == size else size


def growth_notes(size: tuple[int, int] | None) -> tuple[str, ...]:
    """What a training says about images that grow to this (height, width)."""
    if size is None:
        return ()
    sides = " to ".join(dict.fromkeys(f"{grown_size(size, begin)[1]}" for begin in (0.0, *(one for one, _ in STAGES))))
    return (f"images grow from {sides} pixels while it trains, which is faster; `grow=False`: all have their size",)
