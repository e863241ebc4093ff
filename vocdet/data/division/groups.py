"""Groups of images that stay together: by folder, by name, or by given pairs."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import numpy as np

from vocdet.data.dataset import Dataset
from vocdet.data.splits import Rows
from vocdet.errors import SplitError

Groups = list[list[int]]  # rows, ascending in each group; groups are ordered by their first row


def by_folder(dataset: Dataset) -> Groups:
    """The images of each folder, including folders with a single image."""
    groups: dict[str, list[int]] = defaultdict(list)
    for row, file in enumerate(dataset.images.files):
        groups[PurePosixPath(file).parent.as_posix()].append(row)
    return list(groups.values())


def by_pattern(dataset: Dataset, pattern: str) -> Groups:
    """The images in whose stem a regular expression captures the same text, matching from the start.

    The text is that of the expression's groups; without groups, of the whole match. Images without a match are in no
    group. An invalid expression is a `SplitError`, and so is one without any match.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        hint = r"write one such as '(.*)_\d+', which keeps film_1 and film_2 together; a * alone means nothing"
        raise SplitError(f"'{pattern}' is not a regular expression: {error}", hint=hint) from error
    groups: dict[tuple[str | None, ...], list[int]] = defaultdict(list)
    for row, stem in enumerate(dataset.images.stems):
        match = expression.match(stem)
        if match is not None:
            groups[match.groups() or (match[0],)].append(row)
    if not groups:
        example = f"such as {dataset.images.stems[0]!r}" if len(dataset) else "as there are none"
        hint = "it must match from the start of the file name, without folder and suffix; other values: folder, similar"
        raise SplitError(f"'{pattern}' matches no image, {example}", hint=hint)
    return list(groups.values())


# Roboflow's names of augmented copies, and what others append to the name of an image that is there, too.
_ROBOFLOW = re.compile(r"(.+)\.rf\.[0-9A-Za-z]{12,}")
_AUGMENTED = re.compile(
    r"(.+?)[_-](?:(?:h|v)?flip(?:ped)?|rot(?:ated?)?[_-]?\d*|aug(?:mented)?[_-]?\d*|mirror(?:ed)?)", re.IGNORECASE
)
_SPLIT_FOLDERS = frozenset(("train", "valid", "val", "validation", "test", "images", "jpegimages"))


def by_original(dataset: Dataset) -> Groups:
    """Augmented copies of one image by their names, with the image itself if it is there.

    Roboflow names them `x_jpg.rf.<hash>`, whatever split they are in. Names such as `x_aug1` and `x_flip` count only
    beside an image `x` in the same folder.
    """
    paths = [PurePosixPath(stem) for stem in dataset.images.stems]
    names = [("/".join(part for part in path.parts[:-1] if part.lower() not in _SPLIT_FOLDERS), path.name)
             for path in paths]  # fmt: skip
    known = set(names)
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, (folder, name) in enumerate(names):
        if found := _ROBOFLOW.fullmatch(name):
            original = found[1]
        else:
            found = _AUGMENTED.fullmatch(name)
            original = found[1] if found and (folder, found[1]) in known else name
        groups[folder, original].append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


def merged(count: int, *groupings: Sequence[Sequence[int]]) -> Groups:
    """Groups of two or more of `count` rows, after merging those that share a row."""
    root = np.arange(count)
    for grouping in groupings:
        join(root, [(group[0], row) for group in grouping for row in group[1:]])
    return groups_of(root)


def join(root: Rows, pairs: Iterable[Sequence[int]]) -> None:
    """Merge the groups of both rows of each pair, in place.

    `root` is the first row in the group of every row; initially the row itself.
    """
    changed = False
    for one, other in pairs:
        a, b = _root_of(root, one), _root_of(root, other)
        root[max(a, b)] = min(a, b)
        changed |= a != b
    while changed and (root[root] != root).any():
        root[:] = root[root]


def groups_of(root: Rows) -> Groups:
    """The groups of two or more rows that point to the same first one."""
    order = np.argsort(root, kind="stable")
    firsts = np.flatnonzero(np.diff(root[order], prepend=-1))
    return [group.tolist() for group in np.split(order, firsts[1:]) if len(group) > 1]


def _root_of(root: Rows, row: int) -> int:
    while root[row] != row:
        row = int(root[row])
    return row
