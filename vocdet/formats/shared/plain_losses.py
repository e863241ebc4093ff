"""What formats lose that hold little more than a label and a box for each object."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.data.losses import Loss
from vocdet.formats.shared.extras import object_keys

ORDINARY = "they become ordinary objects"
OTHER_BOX = "boxes other than the bounds of their masks"


def plain_losses(dataset: Dataset, areas: NDArray[np.float64] | None = None) -> list[Loss]:
    """What a format that has no more than labels and boxes, or polygons, cannot hold of the objects and images.

    `areas` are those of the masks (M,) that are written, NaN without one.
    """
    objects = dataset.objects
    area = (objects.box[:, 2:] - objects.box[:, :2]).prod(axis=1)
    if areas is not None:
        area = np.where(np.isnan(areas), area, areas)
    other_area = ~np.isnan(objects.area) & (np.abs(objects.area - area) > 1e-6 * np.maximum(area, 1))
    counts = {
        ("crowds", ORDINARY): objects.crowd,
        ("difficult objects", ORDINARY): objects.difficult,
        ("truncated objects", "the flag is not written"): objects.truncated,
        ("occluded objects", "the flag is not written"): objects.occluded,
        ("poses", "such as Left or Frontal"): objects.pose > 0,
        ("areas", "where they differ from those of the boxes or masks"): other_area,
    }
    found = [Loss(what, int(rows.sum()), why) for (what, why), rows in counts.items()]
    found += [Loss(f"{key} of objects", count) for key, count in sorted(object_keys(dataset).items())]
    found.append(Loss("extras of images", len(dataset.images.extra.rows), "such as their license, or the XML header"))
    found.append(Loss("extras of the dataset", int(dataset.extra not in (b"", b"{}")), "such as COCO's info"))
    return [loss for loss in found if loss.count]
