"""The images to train and to validate on, and which objects, images and labels do not count."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.data.splits import validation_split
from vocdet.errors import AnnotationError
from vocdet.wording import counted, listed

NAMED_LABELS = 8  # named in a message


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """A training split and its validation split.

    `val` holds no image that is also trained on: such images would make the metrics look better than they are.
    """

    split: str
    train: Dataset
    val: Dataset
    shared: int  # images of the validation split that are also in the training split

    @classmethod
    def of(cls, dataset: Dataset, split: str) -> TrainingData:
        """The images of a split, and those of `val`, or of the validation split of the same fold."""
        rows = dataset.rows(split)
        val = dataset.splits.get(validation_split(split), np.empty(0, np.int64))
        others = np.setdiff1d(val, rows)
        return cls(split, dataset.subset(rows), dataset.subset(others), len(val) - len(others))

    @property
    def crowds(self) -> int:
        """The number of crowds in the training split."""
        return int(self.train.objects.crowd.sum())

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that have objects in the training split."""
        return tuple(np.array(self.train.labels)[_present_labels(self.train)].tolist())

    def record(self) -> dict[str, object]:
        """What does not count, for the record of a run; what is 0 or empty is left out."""
        facts = {
            "crowds": self.crowds,
            "validation_images_in_train": self.shared,
            "labels_without_objects": [name for name in self.train.labels if name not in self.labels],
        }
        return {name: value for name, value in facts.items() if value}

    def notes(self, *, validates: bool) -> tuple[str, ...]:
        """The same for people, with what to do about it; `validates` says whether `val` has anything to count."""
        notes = (self._crowd_note(), *self._label_notes(), *self._validation_notes(validates=validates))
        return tuple(note for note in notes if note)

    def no_objects(self, place: Path, *, hint: str) -> AnnotationError:
        """The error about a training split without objects to learn; `hint` is for one without any crowds either."""
        if not self.crowds:
            return AnnotationError(f"no objects in the {self.split} split", place=place, hint=hint)
        are = "the only object is a crowd" if self.crowds == 1 else f"all {self.crowds} objects are crowds"
        crowd_hint = 'if they are single objects, as some tools write every brush mask, use `crowds="objects"`'
        return AnnotationError(f"{are} (iscrowd 1) in the {self.split} split", place=place, hint=crowd_hint)

    def _crowd_note(self) -> str:
        crowds, count = self.crowds, len(self.train.objects)
        are = "is a crowd, a region that counts" if crowds == 1 else "are crowds, regions that count"
        problem = f"{crowds} of {counted(count, 'object')} in {self.split} {are} neither as object nor as background"
        return f'{problem}; use `crowds="objects"` if they are single objects' if crowds else ""

    def _label_notes(self) -> list[str]:
        learned, validated = _present_labels(self.train), _present_labels(self.val)
        names, notes = np.array(self.train.labels), []
        if (only := ~learned & validated).any():
            some = listed(names[only].tolist(), most=NAMED_LABELS)
            where = validation_split(self.split)
            problem = f"no objects in {self.split}, but some in {where}: {some}; nothing is learned about them"
            notes.append(f"{problem}, and all are missed in the validation: split again with `vocdet.split(dataset)`")
        if (never := ~learned & ~validated).any():
            some = listed(names[never].tolist(), most=NAMED_LABELS)
            notes.append(f"no objects in {self.split}: {some}; these labels are never detected")
        return notes

    def _validation_notes(self, *, validates: bool) -> list[str]:
        where, left = validation_split(self.split), len(self.val)
        notes = []
        if self.shared:
            some = f"{self.shared} of {counted(self.shared + left, 'image')} of {where}"
            are = "is" if self.shared == 1 else "are"
            notes.append(f"{some} {are} also in {self.split}, and left out of the validation")
        if left and not validates:
            problem = f"no object to validate on in {counted(left, 'image')} of {where}"
            notes.append(f"{problem}: split again with `vocdet.split(dataset)`, or annotate them")
        return notes

    @property
    def is_measurable(self) -> bool:
        """Whether the validation has an object to count; without one, all epochs would be equal."""
        return bool((~(self.val.objects.difficult | self.val.objects.crowd)).any())


def _present_labels(dataset: Dataset) -> NDArray[np.bool_]:
    """(L,) whether a label has an object that is no crowd."""
    learned = dataset.objects.label[~dataset.objects.crowd]
    return np.bincount(learned, minlength=len(dataset.labels)) > 0
