"""The label lists that lie in a dataset, by one rule for all formats.

The labels of a dataset are in the order of the list that the user names, else of a list in its folder, else sorted. A
list that lacks labels of the annotations is not used.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vocdet.data.findings import Notes
from vocdet.errors import VocdetError
from vocdet.formats.images.folders import listing
from vocdet.formats.shared.values import read_labels
from vocdet.wording import listed

# The first is preferred.
LIST_NAMES = ("classes.txt", "labels.txt", "_darknet.labels", "obj.names", "predefined_classes.txt")
_SUFFIX = ".names"  # of any other list


def is_list_name(file: str) -> bool:
    """Whether a path has the name of a label list."""
    name = file.rpartition("/")[2].lower()
    return name in LIST_NAMES or name.endswith(_SUFFIX)


def list_rank(file: str) -> tuple[int, int, str]:
    """The order in which label lists take precedence, smallest first."""
    name = file.rpartition("/")[2].lower()
    return file.count("/"), LIST_NAMES.index(name) if name in LIST_NAMES else len(LIST_NAMES), file


def own_labels(root: Path, occurring: Iterable[str], notes: Notes) -> tuple[tuple[str, ...], str]:
    """The labels that occur in a dataset as its own list orders them, and the name of that list.

    Without a list that has all of them they are sorted, and the name is "".
    """
    labels = tuple(sorted(occurring))
    for name in sorted(filter(is_list_name, listing(root)[1]), key=list_rank):
        try:
            names = read_labels(root / name)
        except VocdetError as error:
            notes.add("label.list", "warning", f"is ignored: {error}", root / name)
            continue
        missing = sorted(set(labels) - set(names))
        if not missing:
            return names, name
        problem = f"is ignored: it lacks the labels {listed(map(repr, missing), most=5)}"
        hint = "add them, correct the annotations, or rename the file if it is not the list of these labels"
        notes.add("label.list", "warning", problem, root / name, hint)
    return labels, ""
