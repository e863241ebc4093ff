"""One image of a dataset with its annotations, and a dataset as HTML for notebooks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import PIL.Image

from vocdet.data import dataset as columns
from vocdet.data.stats import shown_labels
from vocdet.inference.draw import draw_objects
from vocdet.inputs.images import Image, decode_as, decode_image
from vocdet.plots import notebook
from vocdet.wording import box_text, counted, listed

SHOWN_IMAGES = 6  # of a dataset
SHOWN_LABELS = 5  # in a line
FLAGS = ("difficult", "truncated", "occluded", "crowd")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AnnotatedImage(columns.AnnotatedImage):
    """One image of a dataset with its objects; a notebook shows them.

    >>> image = vocdet.read("shelf")[0]
    >>> image
    <2 objects in img00.jpg, 96x72 pixels: circle, square>
    >>> image.objects.box.shape
    (2, 4)
    >>> image.draw().size  # a PIL image: numpy.asarray gives its pixels (H, W, 3)
    (96, 72)
    """

    labels: tuple[str, ...] = ()  # of the dataset: those that `objects.label` indexes

    @property
    def label_names(self) -> tuple[str, ...]:
        """The label of every object as text."""
        return tuple(self.labels[label] for label in self.objects.label)

    def draw(self) -> PIL.Image.Image:
        """The image in RGB with boxes, masks and labels drawn on it. An `ImageError` if it cannot be decoded."""
        return PIL.Image.fromarray(draw_objects(decode_image(self), self.objects, self.labels))

    def small(self, side: int) -> Image:
        """The same (H, W, 3) with a longer side of at most `side` pixels."""
        scale = min(1.0, side / max(self.width, self.height, 1))
        least = max(1, round(self.height * scale)), max(1, round(self.width * scale))
        if len(self.objects.segmentation.rows):  # masks are drawn at the size that they have
            pixels, objects = decode_image(self), self.objects
        else:
            pixels = decode_as(
                self.path, self.width, self.height, upright=self.upright, levels=self.levels, at_least=least
            )
            ratio = pixels.shape[1] / max(self.width, 1)
            objects = replace(self.objects, box=self.objects.box * ratio)
        return draw_objects(pixels, objects, self.labels, side=side)

    def __repr__(self) -> str:
        some = f": {listed(self.label_names, most=SHOWN_LABELS)}" if len(self.objects) else ""
        return f"<{counted(len(self.objects), 'object')} in {self.path.name}, {self.width}x{self.height} pixels{some}>"

    def _repr_html_(self) -> str:
        objects = self.objects
        rows = [
            (name, box_text(objects.box[i]), ", ".join(flag for flag in FLAGS if getattr(objects, flag)[i]))
            for i, name in enumerate(self.label_names)
        ]
        picture = notebook.gallery([(repr(self)[1:-1], partial(self.small, notebook.LARGE))], side=notebook.LARGE)
        return picture + notebook.table(("label", "xmin ymin xmax ymax", "flags"), rows)


def dataset_html(dataset: columns.Dataset, image: Callable[[int], AnnotatedImage]) -> str:
    """The labels of a dataset with their objects, and some of its images, evenly chosen, with their annotations."""
    count = len(dataset.labels)
    objects = np.bincount(dataset.objects.label, minlength=count)
    images_with = np.bincount(shown_labels(dataset)[:, 1], minlength=count)
    rows = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), SHOWN_IMAGES)).astype(int)).tolist()
    table = zip(dataset.labels, objects.tolist(), images_with.tolist(), strict=True)
    return (
        notebook.heading(repr(dataset)[1:-1])
        + notebook.table(("label", "objects", "images"), table)
        + notebook.gallery((repr(one)[1:-1], partial(one.small, notebook.CELL)) for one in map(image, rows))
    )
