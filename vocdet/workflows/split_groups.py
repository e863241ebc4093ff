"""Which images a split keeps together, and what it says of them."""

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

WORDS = ("folder", "similar", "identical")  # what --group-by takes; all else is a regular expression


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Groups of images that go to the same part."""

    groups: Groups  # of two or more; no image is in two of them
    kinds: tuple[str, ...]  # what they are, in words
    notes: tuple[str, ...] = ()  # what else there is to say

    def notes_after(self, moved: int) -> list[str]:
        """What to say of a split of which they have moved so many images."""
        kinds = [f"{kind}: each is in one part" for kind in self.kinds]
        if kinds and moved:
            kinds[-1] += f", so that {counted(moved, 'image')} went to another part than was asked for"
        return [*kinds, *self.notes]

    def notes_of_old(self, before: Mapping[str, NDArray[np.int64]]) -> list[str]:
        """What to say where images already are in parts."""
        split = {int(row): name for name, rows in before.items() for row in rows}
        apart = sum(len({split[row] for row in group if row in split}) > 1 for group in self.groups)
        if not apart:
            return list(self.notes)
        groups = f"{counted(apart, 'group')} of images that belong together {'is' if apart == 1 else 'are'}"
        return [*self.notes, f"{groups} in several parts, and stay so: only a split without --append can mend that"]


def kept_together(
    dataset: Dataset, group_by: Sequence[str] | None, most: int, progress: Progress | None = None
) -> Kept:
    """What belongs together by each of `group_by`: a word of `WORDS`, or a regular expression on the stem.

    Images that are the same byte for byte always do. Without `group_by` near-identical ones do, too, unless there is
    a group of more than `most` images: all frames of a film, which could not be divided at all.
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
                notes.append(f"{counted(alone, 'image')} that '{how}' does not match: each is on its own")
    return Kept(merged(len(dataset), *groupings), (*kinds, *_alike(near, copies)), tuple(notes))


def _too_alike(largest: int, count: int) -> str:
    return (
        f"{largest} of {count} images are near-identical, one to the next: they are divided all the same, and figures "
        "on val and test will be too good; --group-by similar keeps them together"
    )


def _alike(near: Groups, copies: Groups) -> list[str]:
    """Groups of identical images and of near-identical ones in words; a group is one of the two."""
    known = {tuple(group) for group in copies}
    more = [group for group in near if tuple(group) not in known]
    joined = {row for group in more for row in group}
    same = [group for group in copies if group[0] not in joined]
    words = f"{counted(len(more), 'group')} of near-identical images ({len(joined)} images)"
    return [*([f"{counted(len(same), 'group')} of identical images"] if same else []), *([words] if more else [])]


def _sizes(groups: Groups, noun: str, more: str = "") -> str:
    least, most = min(map(len, groups)), max(map(len, groups))
    size = counted(least, "image") if least == most else f"{least} to {most} images"
    return f"{counted(len(groups), noun)}{more}, of {size}"
