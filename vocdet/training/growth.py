"""Growing images: a training begins with smaller ones, and so sees more of them in the same time.

After the progressive resizing of Howard et al. 2018 ("Training ImageNet in 3 hours for USD 25"). The last part of a run
has the size of the input, so that the network ends fitted to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, prod

from torch import nn

from vocdet.models.ssd.model import SsdLite
from vocdet.recipes.schema import Recipe, SsdRecipe

STAGES = ((0.3, 0.6), (0.6, 0.8), (1.0, 1.0))  # up to this share of the run: this share of the side
MULTIPLE = 32  # pixels of a side
SMALLEST = 160  # pixels of a side that is not grown to
FEW_PASSES = 6.0  # over the images: where more fit into the schedule, growth costs precision; docs/tried.md


@dataclass(frozen=True, slots=True)
class Growth:
    """Where images grow to, and in which schedules."""

    size: tuple[int, int]  # (height, width)
    below: float  # epochs of a schedule

    def size_at(self, progress: float) -> tuple[int, int]:
        """The (height, width) of the images at a share of a run."""
        share = next((share for until, share in STAGES if progress < until), 1.0)
        if share == 1.0:
            return self.size
        height, width = (min(side, max(SMALLEST, round(side * share / MULTIPLE) * MULTIPLE)) for side in self.size)
        return height, width

    def work(self, progress: float) -> float:
        """The cost of a run up to a share of its images, as a share of the whole: that of the sum of their areas."""
        return self._area(progress) / self._area(1.0)

    def _area(self, progress: float) -> float:
        """The sum of the areas of all images up to a share of a run, relative to their number."""
        total = begin = 0.0
        for until, _ in STAGES:
            total += max(0.0, min(progress, until) - begin) * prod(self.size_at(begin))
            begin = until
        return total

    def note(self) -> str:
        """What a training says when its images begin to grow."""
        begins = (0.0, *(until for until, _ in STAGES))
        sides = " to ".join(dict.fromkeys(f"{self.size_at(begin)[1]}" for begin in begins))
        return f'few passes over the images: they grow from {sides} pixels, which is faster; `grow="never"`: one size'


def growth_of(recipe: Recipe, model: nn.Module) -> Growth | None:
    """The growth of the images of a training; None if all have their size from the start."""
    if not isinstance(recipe, SsdRecipe) or not isinstance(model, SsdLite):
        return None
    train, size = recipe.train, model.spec.size
    growth = Growth(size, inf if train.grow == "always" else FEW_PASSES / (recipe.data.repeat or 1))
    fixed = train.grow == "never" or train.patience or train.stop_at_ap  # what may end early may never be large
    return None if fixed or model.spec.neck == "none" or growth.size_at(0.0) == size else growth
