"""Groups of images that a split keeps together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.data.division.groups import Groups, by_folder, by_original, by_pattern, merged
from vocdet.data.division.identical import identical_images
from vocdet.data.division.similar import similar_images
from vocdet.formats.scan import Progress
from vocdet.wording import counted


@dataclass(frozen=True, slots=True, eq=False)
class ImageGroups:
    """Groups of images that stay in one split."""

    groups: Groups  # of two or more images, without overlap
    kinds: tuple[str, ...]  # descriptions of the groups
    notes: tuple[str, ...] = ()  # remarks for the user

    def notes_after(self, moved: int) -> list[str]:
        """Remarks on a new split whose groups moved `moved` images."""
        kinds = [f"{kind}: each is in one split" for kind in self.kinds]
        if kinds and moved:
            kinds[-1] += f", which moved {counted(moved, 'image')} to another split"
        return [*kinds, *self.notes]

    def notes_on_append(self, before: Mapping[str, NDArray[np.int64]]) -> list[str]:
        """Remarks when images are added to the splits `before`."""
        split_of = {int(row): name for name, rows in before.items() for row in rows}
        divided = sum(len({split_of[row] for row in group if row in split_of}) > 1 for group in self.groups)
        if not divided:
            return list(self.notes)
        groups = f"{counted(divided, 'group')} of images {'remains' if divided == 1 else 'remain'} in several splits"
        return [*self.notes, f"{groups}: `vocdet.write_splits(vocdet.split(dataset), force=True)` reunites them"]


def group_images(
    dataset: Dataset, group_by: Sequence[str] | None, most: int, progress: Progress | None = None
) -> ImageGroups:
    """Group images by each of `group_by`: folder, similar, identical, or a regular expression on the stem.

    Identical images always form groups, and so do augmented copies, unless only identical images are requested.
    Without `group_by`, so do near-duplicates, unless a group has more than `most` images, such as all frames of a
    video, which could not be split.
    """
    copies = identical_images(dataset)
    groupings, kinds, notes, near = [copies], [], [], Groups()
    augmented = by_original(dataset) if tuple(group_by or ()) != ("identical",) else Groups()
    if augmented:
        groupings.append(augmented)
        kinds.append(_group_sizes(augmented, "group", " of augmented copies by their names"))
    for grouping in dict.fromkeys(group_by or ("similar",)):
        if grouping == "similar":
            near = similar_images(dataset, progress)
            largest = max(map(len, near), default=0)
            if largest > most and not group_by:
                near = []
                notes.append(_chain_note(largest, len(dataset)))
            groupings.append(near)
        elif grouping == "folder":
            groupings.append(by_folder(dataset))
            kinds.append(_group_sizes(groupings[-1], "folder"))
        elif grouping != "identical":
            groupings.append(by_pattern(dataset, grouping))
            kinds.append(_group_sizes(groupings[-1], "group", f" by '{grouping}'"))
            unmatched = len(dataset) - sum(map(len, groupings[-1]))
            if unmatched:
                notes.append(f"'{grouping}' does not match {counted(unmatched, 'image')}: each is its own group")
    return ImageGroups(merged(len(dataset), *groupings), (*kinds, *_described_groups(near, copies)), tuple(notes))


def _chain_note(largest: int, count: int) -> str:
    return (
        f"{largest} of {count} images form one chain of near-duplicates: they are split anyway, and metrics on val and "
        'test will be too high; `group_by="similar"` keeps them together'
    )


def _described_groups(near: Groups, copies: Groups) -> list[str]:
    """Descriptions of the groups of identical images and of near-duplicates; each group counts once."""
    identical = {tuple(group) for group in copies}
    similar = [group for group in near if tuple(group) not in identical]
    rows = {row for group in similar for row in group}
    same = [group for group in copies if group[0] not in rows]
    descriptions = [f"{counted(len(same), 'group')} of identical images"] if same else []
    if similar:
        descriptions.append(f"{counted(len(similar), 'group')} of near-duplicates ({len(rows)} images)")
    return descriptions


def _group_sizes(groups: Groups, noun: str, more: str = "") -> str:
    least, most = min(map(len, groups)), max(map(len, groups))
    size = counted(least, "image") if least == most else f"{least} to {most} images"
    return f"{counted(len(groups), noun)}{more}, of {size}"
