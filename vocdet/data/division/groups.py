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

Groups = list[list[int]]  # rows, rising in each group; the groups in the order of their first


def by_folder(dataset: Dataset) -> Groups:
    """The images of each folder, including folders with a single image."""
    groups: dict[str, list[int]] = defaultdict(list)
    for row, file in enumerate(dataset.images.files):
        groups[PurePosixPath(file).parent.as_posix()].append(row)
    return list(groups.values())


def by_pattern(dataset: Dataset, pattern: str) -> Groups:
    """The images in whose stem a regular expression, from its start on, catches the same.

    What counts is what the groups of the expression catch; all that it matches, where it has none. Images that it
    does not match are in no group. A `SplitError` says what is wrong with an expression, or that it matches nothing.
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


def merged(count: int, *groupings: Sequence[Sequence[int]]) -> Groups:
    """Groups of two or more of `count` rows, after merging those that share a row."""
    root = np.arange(count)
    for grouping in groupings:
        join(root, [(group[0], row) for group in grouping for row in group[1:]])
    return groups_of(root)


def join(root: Rows, pairs: Iterable[Sequence[int]]) -> None:
    """Put both rows of each pair into one group, in place; every row then points to the first of its group.

    `root` is the first row of the group of every row; every row its own, to begin with.
    """
    changed = False
    for one, other in pairs:
        a, b = _root(root, one), _root(root, other)
        root[max(a, b)] = min(a, b)
        changed |= a != b
    while changed and (root[root] != root).any():
        root[:] = root[root]


def groups_of(root: Rows) -> Groups:
    """The groups of two or more rows that point to the same first one."""
    order = np.argsort(root, kind="stable")
    firsts = np.flatnonzero(np.diff(root[order], prepend=-1))
    return [group.tolist() for group in np.split(order, firsts[1:]) if len(group) > 1]


def _root(root: Rows, row: int) -> int:
    while root[row] != row:
        row = int(root[row])
    return row
