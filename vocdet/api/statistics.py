"""The statistics of a dataset, with their picture."""

from __future__ import annotations

from dataclasses import dataclass, fields

from vocdet.api.dataset import Data, as_dataset
from vocdet.data.splits import separate
from vocdet.data.stats import Stats, stats
from vocdet.data.usable import usable
from vocdet.plots import notebook
from vocdet.plots.dataset import picture
from vocdet.plots.evaluation import Plot
from vocdet.wording import counted


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Statistics(Stats):
    """The counts of a dataset by label and split, and the sizes and shapes of its objects; a notebook shows them.

    >>> statistics = vocdet.statistics("shelf")
    >>> statistics
    <statistics of 12 images, 24 objects, 2 labels>
    >>> statistics.plot()
    <plot of statistics>
    """

    def plot(self) -> Plot:
        """A picture of all of it, with the bytes `png` and `svg`; `save(folder)` writes both."""
        title = repr(self)[1:-1]
        return Plot("statistics", picture(self, title), picture(self, title, format="svg"))

    def __repr__(self) -> str:
        sizes = (self.images, "image"), (int(self.objects.sum()), "object"), (len(self.labels), "label")
        return f"<statistics of {', '.join(counted(*size) for size in sizes)}>"

    def _repr_html_(self) -> str:
        counts = {"objects": self.objects, "images": self.images_with}
        counts |= {f"objects in {name}": objects for name, (_, objects) in self.splits.items()}
        medians = self.pixels[:, 1].round().tolist()
        rows = [
            (
                self.labels[i],
                *(int(column[i]) for column in counts.values()),
                int(medians[i]) if medians[i] == medians[i] else None,
            )
            for i in self.order().tolist()
        ]
        title = repr(self)[1:-1]
        table = notebook.table(("label", *counts, "median size, pixels"), rows)
        return notebook.heading(title) + table + notebook.png(picture(self, title), notebook.LARGE, alt=title)


def statistics(dataset: Data) -> Statistics:
    """Count the objects and images of each label and split, their sizes, shapes and flags.

    Boxes are clipped to their images, as in training.

    >>> statistics = vocdet.statistics("shelf")
    >>> dict(zip(statistics.labels, statistics.objects.tolist()))
    {'circle': 12, 'square': 12}
    """
    whole = as_dataset(dataset)
    counts = stats(usable(whole)[0], separate(whole.splits))
    return Statistics(**{each.name: getattr(counts, each.name) for each in fields(Stats)})
