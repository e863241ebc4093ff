"""Groups of images that a split keeps together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.data.division.groups import Groups, by_folder, by_pattern, merged
from vocdet.data.division.identical import identical_images
from vocdet.data.division.similar import similar_images
from vocdet.formats.scan import Progress
from vocdet.wording import counted

WORDS = ("folder", "similar", "identical")  # any other value of group_by is a regular expression


@dataclass(frozen=True, slots=True, eq=False)
class ImageGroups:
    """Groups of images that stay in one split."""

    groups: Groups  # of two or more images, without overlap
    kinds: tuple[str, ...]  # descriptions of the groups
    notes: tuple[str, ...] = ()  # remarks for the user

    def notes_after(self, moved: int) -> list[str]:
        """Remarks on a split where the groups moved so many images."""
        kinds = [f"{kind}: each is in one split" for kind in self.kinds]
        if kinds and moved:
            kinds[-1] += f", which moved {counted(moved, 'image')} to another split"
        return [*kinds, *self.notes]

    def notes_of_old(self, before: Mapping[str, NDArray[np.int64]]) -> list[str]:
        """Remarks on groups whose images already have splits."""
        split = {int(row): name for name, rows in before.items() for row in rows}
        divided = sum(len({split[row] for row in group if row in split}) > 1 for group in self.groups)
        if not divided:
            return list(self.notes)
        groups = (
            f"{counted(divided, 'group')} of images {'stays' if divided == 1 else 'stay'} divided over several splits"
        )
        return [*self.notes, f"{groups}: `vocdet.write_splits(vocdet.split(dataset), force=True)` reunites them"]


def group_images(
    dataset: Dataset, group_by: Sequence[str] | None, most: int, progress: Progress | None = None
) -> ImageGroups:
    """Group images by each of `group_by`: a word of `WORDS`, or a regular expression on the stem.

    Identical images always form groups. Without `group_by` near-duplicates do, too, unless a group has more than `most`
    images, such as all frames of a video, which could not be split.
    """
    copies = identical_images(dataset)
    groupings, kinds, notes, near = [copies], [], [], Groups()
    for how in dict.fromkeys(group_by or ("similar",)):
        if how == "similar":
            near = similar_images(dataset, progress)
            largest = max(map(len, near), default=0)
            if largest > most and not group_by:
                near = []
                notes.append(_too_alike(largest, len(dataset)))
            groupings.append(near)
        elif how == "folder":
            groupings.append(by_folder(dataset))
            kinds.append(_sizes(groupings[-1], "folder"))
        elif how != "identical":
            groupings.append(by_pattern(dataset, how))
            kinds.append(_sizes(groupings[-1], "group", f" by '{how}'"))
            alone = len(dataset) - sum(map(len, groupings[-1]))
            if alone:
                notes.append(f"{counted(alone, 'image')} that '{how}' does not match: each is a group of one")
    return ImageGroups(merged(len(dataset), *groupings), (*kinds, *_alike(near, copies)), tuple(notes))


def _too_alike(largest: int, count: int) -> str:
    return (
        f"{largest} of {count} images form one chain of near-duplicates: they are split anyway, and metrics on val and "
        'test will be too high; `group_by="similar"` keeps them together'
    )


def _alike(near: Groups, copies: Groups) -> list[str]:
    """Descriptions of the groups of identical images and of near-duplicates; each group counts once."""
    known = {tuple(group) for group in copies}
    more = [group for group in near if tuple(group) not in known]
    joined = {row for group in more for row in group}
    same = [group for group in copies if group[0] not in joined]
    words = f"{counted(len(more), 'group')} of near-duplicates ({len(joined)} images)"
    return [*([f"{counted(len(same), 'group')} of identical images"] if same else []), *([words] if more else [])]


def _sizes(groups: Groups, noun: str, more: str = "") -> str:
    least, most = min(map(len, groups)), max(map(len, groups))
    size = counted(least, "image") if least == most else f"{least} to {most} images"
    return f"{counted(len(groups), noun)}{more}, of {size}"
