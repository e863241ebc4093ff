"""Duplicate and near-duplicate images, above all across splits, where they inflate the metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vocdet.data.dataset import Dataset
from vocdet.data.division.groups import Groups, by_original
from vocdet.data.division.similar import Similar
from vocdet.data.findings import Finding
from vocdet.data.splits import FOLD, SPLIT_AGAIN, Splits
from vocdet.errors import Place
from vocdet.wording import listed

_MOST_NAMES = 5  # of the images of a group that are named
_GROUPED = "`vocdet.split(dataset, group_by=['similar'])`"
_KEEP_SIMILAR = "`vocdet.write_splits(vocdet.split(dataset, group_by=['similar']), force=True)`"


def copy_findings(dataset: Dataset, identical: Groups, splits: Splits) -> list[Finding]:
    """A finding for every image that is identical to an earlier one; it says whether they are in different splits."""
    splits_of = _splits_of(splits)
    files = dataset.images.files
    findings = []
    for group in identical:
        for i, row in enumerate(group[1:], 1):
            mine = splits_of.get(row, ())
            others = [other for other in group[:i] if mine and splits_of.get(other, mine) != mine]
            apart = {one: found for one in others if (found := _apart([one, row], splits_of))}
            place, other = Place(dataset.root / files[row]), next(iter(apart), group[0])
            same = f"is identical to {files[other]}"
            if apart:
                members = apart[other]
                places = [_splits([name for name in splits_of[one] if name in members]) for one in (other, row)]
                problem = f"{same}, yet one is in {places[0]} and the other in {places[1]}"
                hint = f"delete one, or split again, which keeps copies together: {SPLIT_AGAIN}"
                findings.append(Finding("image.copy_across_splits", "warning", problem, place, hint))
            else:
                hint = "delete one with its annotation and its lines in split files: copies add nothing to training"
                findings.append(Finding("image.copy", "warning", same, place, hint))
    return findings


def similar_findings(dataset: Dataset, similar: Similar, identical: Groups, splits: Splits) -> list[Finding]:
    """A finding for every group of near-identical images, and whether it crosses splits. Exact copies are excluded."""
    splits_of = _splits_of(splits)
    first_of = {row: group[0] for group in identical for row in group}
    findings = []
    for group in similar.groups:
        if len({first_of.get(row, row) for row in group}) < 2:
            continue
        names = [dataset.images.stems[row] for row in group[:_MOST_NAMES]]
        which = f"{', '.join(names)}{', ...' if len(group) > _MOST_NAMES else ''}"
        place = Place(dataset.root / dataset.images.files[group[0]])
        across = _across(dataset, similar, group, splits_of)
        if across:
            problem = f"{len(group)} near-identical images ({which}): {across}"
            hint = f"split again to keep them together: {_KEEP_SIMILAR}"
            code = "image.similar_across_splits"
        else:
            problem = f"{len(group)} near-identical images ({which})"
            hint = f"they add little to training; to keep them together: {_GROUPED}"
            code = "image.similar"
        findings.append(Finding(code, "warning", problem, place, hint, len(group)))
    return findings


def augmented_findings(dataset: Dataset, splits: Splits) -> list[Finding]:
    """A finding for every group of augmented copies of one image, by their names, that crosses splits."""
    splits_of = _splits_of(splits)
    if not splits_of:
        return []
    findings = []
    for group in by_original(dataset):
        members = _apart(group, splits_of)
        if members:
            counts = (f"{len(members[name])} in {name}" for name in sorted(members, key=_order))
            where = listed(counts, conjunction="and")
            problem = f"{dataset.images.stems[group[0]]} is one of {len(group)} augmented copies of one image: {where}"
            hint = f"split again, which keeps them together, or metrics will be too high: {SPLIT_AGAIN}"
            place = Place(dataset.root / dataset.images.files[group[0]])
            findings.append(Finding("image.augmented_across_splits", "warning", problem, place, hint, len(group)))
    return findings


def _across(dataset: Dataset, similar: Similar, group: list[int], splits_of: Mapping[int, tuple[str, ...]]) -> str:
    """How a group is divided between splits, with its two most similar images; "" if it is in one split."""
    members = _apart(group, splits_of)
    if not members:
        return ""
    counts = " and ".join(f"{len(members[name])} in {name}" for name in sorted(members, key=_order))
    smallest = min(members, key=lambda name: len(members[name]))
    others = [row for name, rows in members.items() if name != smallest for row in rows]
    for row in members[smallest]:
        nearest, _ = similar.nearest(row, [other for other in others if other not in members[smallest]])
        if nearest >= 0:
            stems, there = dataset.images.stems, _splits([name for name in splits_of[nearest] if name in members])
            return f"{counts}, such as {stems[nearest]} in {there} and {stems[row]} in {smallest}"
    return counts


def _apart(group: Sequence[int], splits_of: Mapping[int, tuple[str, ...]]) -> dict[str, list[int]]:
    """The images of a group in each of the splits that it is divided between; none if it is in one.

    Folds divide the same images again and again: only train and val of the same fold are compared, and only if no other
    splits divide the group.
    """
    members: dict[str, list[int]] = {}
    for row in group:
        for name in splits_of.get(row, ()):
            members.setdefault(name, []).append(row)
    folds = dict.fromkeys(f"{fold[1]}_" for name in members if (fold := FOLD.fullmatch(name)))
    usual = {name: rows for name, rows in members.items() if not FOLD.fullmatch(name)}
    of_folds = ({name: rows for name, rows in members.items() if name.startswith(fold)} for fold in folds)
    return next((found for found in (usual, *of_folds) if len(found) > 1), {})


def _splits_of(splits: Splits) -> dict[int, tuple[str, ...]]:
    """The splits of every image, of those splits that should not overlap; trainval only without train and val."""
    whole = "trainval" in splits and not {"train", "val"} & splits.keys()
    names: dict[int, tuple[str, ...]] = {}
    for name, rows in splits.items():
        if name != "trainval" or whole:
            for row in rows.tolist():
                names[row] = (*names.get(row, ()), name)
    return names


def _splits(names: Sequence[str]) -> str:
    return " and ".join(names)


def _order(name: str) -> tuple[int, str]:
    """Training splits come before those for evaluation."""
    known = ("trainval", "train", "val", "test")
    return known.index(name) if name in known else len(known), name
