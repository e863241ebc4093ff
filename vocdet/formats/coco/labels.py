"""The categories of COCO files as labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec import Raw

from vocdet.data.findings import Finding, Notes
from vocdet.errors import Place
from vocdet.formats.coco.layout import CocoFile
from vocdet.formats.coco.objects import CocoContent
from vocdet.formats.coco.values import json_text
from vocdet.formats.shared.builder import DatasetBuilder
from vocdet.formats.shared.values import clean_label


def add_labels(content: CocoContent, builder: DatasetBuilder, extras: dict[str, dict[str, Raw]]) -> None:
    """Add the categories of a file as labels; `extras` gets their further keys."""
    entries = content.entries
    place_of: dict[str, str] = {}  # label -> its first category
    for i, category in enumerate(entries.categories):
        inside = entries.place("categories", i)
        name = clean_label(category.name)
        if not name:
            content.error("coco.category.name", "has no name", "give it a name", inside)
            continue
        if name != category.name:
            problem = f"the name {category.name!r} has extra whitespace"
            content.warning("label.whitespace", problem, "remove it; it is ignored here", inside)
        if category.id in content.labels:
            problem = f"the id {entries.id_text(category.id)} is used twice"
            content.error("coco.category.id", problem, "give it a unique id", inside)
            if content.labels[category.id] != builder.label_ids.get(name):
                content.ambiguous_categories.add(category.id)
            continue
        if name in place_of:
            problem = f"{name!r} is also the name of {place_of[name]}: both are read as one label"
            hint = "delete one of the two, or rename it if it means something else"
            content.warning("coco.category.duplicate_name", problem, hint, inside)
        place_of.setdefault(name, inside)
        content.labels[category.id] = builder.label_id(name)
        if i in entries.category_extras:
            extras.setdefault(name, entries.category_extras[i])
    for id in content.ambiguous_categories:
        del content.labels[id]


def without_root(
    builder: DatasetBuilder, extras: dict[str, dict[str, Raw]], files: Sequence[CocoFile], notes: Notes
) -> tuple[str, ...]:
    """The labels of all files, without one that only stands above all others, as Roboflow's category 0."""
    labels = tuple(builder.label_ids)
    used = {labels[label] for label in set(builder.label)}
    above = [json_text(extras.get(label, {}).get("supercategory")) for label in labels]
    below = Counter(above)
    for i, label in enumerate(labels):
        others = below[label] - (above[i] == label)
        if label not in used and others == len(labels) - 1 > 0 and above[i] in ("", "none", label):
            problem = f"the label {label!r} has no object, and is the supercategory of all others: it is dropped"
            place = Place(files[0].path, inside="categories")
            hint = "delete the category; to keep it, list it among the labels: `labels=FILE`"
            notes.findings.append(Finding("label.root", "warning", problem, place, hint))
            extras.pop(label, None)
            return (*labels[:i], *labels[i + 1 :])
    return labels
