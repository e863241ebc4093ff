"""Rename, merge and drop labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset, Objects


@dataclass(frozen=True, slots=True, eq=False)
class Relabeled:
    """A dataset with its new labels, and the effect on its objects."""

    dataset: Dataset  # all images, including those that lose all their objects
    renamed: int  # objects whose label has a new name
    dropped: int  # objects removed with their labels
    emptied: NDArray[np.int64]  # rows of the images that lose all their objects
    doubles: int  # objects that become equal to another one because only their labels differed


def relabel(dataset: Dataset, becomes: Mapping[str, str]) -> Relabeled:
    """Rename labels, all at the same time, so that two can be swapped; "" drops a label.

    Labels that `becomes` does not name are unchanged. Merged labels take the position of the first of them.
    An unknown label is a `ValueError`, and so is dropping all labels.
    """
    unknown = becomes.keys() - set(dataset.labels)
    if unknown:
        raise ValueError(f"no such labels: {sorted(unknown)}")
    names = [becomes.get(label, label) for label in dataset.labels]
    labels = tuple(dict.fromkeys(name for name in names if name))
    if not labels:
        raise ValueError("no label is left")
    index = {label: i for i, label in enumerate(labels)} | {"": -1}
    new_ids = np.array([index[name] for name in names], np.int32)  # (L,) -1: dropped
    changed = np.array([name not in ("", old) for name, old in zip(names, dataset.labels, strict=True)], np.bool_)
    objects = dataset.objects
    label = new_ids[objects.label]  # (M,)
    kept = label >= 0
    new = replace(objects.take(kept), label=label[kept])
    before, after = (np.bincount(o.image, minlength=len(dataset)) for o in (objects, new))
    return Relabeled(
        dataset=replace(dataset, labels=labels, objects=new),
        renamed=int(changed[objects.label].sum()),
        dropped=int((~kept).sum()),
        emptied=np.flatnonzero((before > 0) & (after == 0)),
        doubles=_new_doubles(new, objects.label[kept], np.bincount(new_ids[new_ids >= 0]) > 1),
    )


def with_labels(dataset: Dataset, labels: Sequence[str]) -> Dataset:
    """The dataset with the label ids of `labels`, followed by the other labels of its objects, sorted.

    The name of every object's label is unchanged.
    """
    used = {dataset.labels[label] for label in np.unique(dataset.objects.label)}
    numbered = (*labels, *sorted(used - set(labels)))
    index = {label: i for i, label in enumerate(numbered)}
    new_ids = np.array([index.get(label, -1) for label in dataset.labels], np.int32)  # -1: of no object
    objects = dataset.objects
    return replace(dataset, labels=numbered, objects=replace(objects, label=new_ids[objects.label]))


def _new_doubles(objects: Objects, before: NDArray[np.int32], several: NDArray[np.bool_]) -> int:
    """Objects that equal another in label, image and box now, but not with the labels `before` (M,).

    Only objects of merged labels (`several`) can.
    """
    rows = several[objects.label]
    image, label, box = objects.image[rows], objects.label[rows], objects.box[rows]
    return _doubles(image, label, box) - _doubles(image, before[rows], box)


def _doubles(image: NDArray[np.int32], label: NDArray[np.int32], box: NDArray[np.float64]) -> int:
    """Objects with the image, label and box of an earlier one."""
    keys = np.column_stack([image, label, box])  # (M, 6)
    keys = keys[np.lexsort(keys.T)]
    return int((keys[1:] == keys[:-1]).all(axis=1).sum())
