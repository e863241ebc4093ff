"""From a folder to a dataset that can be trained on: load, split, check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vocdet.data import splits
from vocdet.data.checks import Finding, box_findings, counted, label_findings, raise_errors, usable
from vocdet.data.dataset import Dataset
from vocdet.data.image_checks import identical_images, image_findings
from vocdet.errors import AnnotationError, Place, SplitError
from vocdet.formats import image_sets, voc_tree
from vocdet.formats.coordinates import Asked, Coordinates

Progress = Callable[[int, int], None]  # how many of how many are done


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A dataset to train and evaluate with, and its parts."""

    dataset: Dataset  # boxes clipped to their images, none under a pixel
    parts: dict[str, NDArray[np.int64]]  # trainval, train, val, test as far as there are: rows of the image table
    coordinates: Coordinates
    reason: str  # why these coordinates
    warnings: tuple[Finding, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)  # as of the `Scan` it was made from

    def rows(self, part: str) -> NDArray[np.int64]:
        """The images of a part: at least one. Without a trainval.txt, `trainval` is train and val together."""
        folder = self.dataset.root / image_sets.FOLDER
        rows = self.parts.get(part)
        if rows is None and part == "trainval" and {"train", "val"} <= self.parts.keys():
            rows = np.unique(np.concatenate([self.parts["train"], self.parts["val"]]))
        if rows is None:
            hint = f"run vocdet split --force{self._or_another(part)}" if self.parts else "run vocdet split"
            raise SplitError(f"there is no {part}.txt", place=folder, hint=hint)
        if not len(rows):
            hint = f"run vocdet split --force with other shares{self._or_another(part)}"
            raise SplitError(f"{part} has no images", place=folder, hint=hint)
        return rows

    def _or_another(self, part: str) -> str:
        others = ", ".join(name for name, rows in self.parts.items() if name != part and len(rows))
        return f", or take another part: {others}" if others and part != "train" else ""


def load_dataset(
    root: Path,
    *,
    labels: Path | None = None,
    coordinates: Asked = "auto",
    part: str | None = None,
    progress: Progress | None = None,
) -> Loaded:
    """Read a dataset with its parts; the errors in its files are raised together.

    With `part`, that part must be there and have images; `rows` asks the same of any part later.
    """
    loaded = _read_usable(root, labels, coordinates, progress)
    parts, findings = {}, list(loaded.warnings)
    for name in image_sets.part_names(loaded.dataset):
        parts[name], odd = image_sets.part_rows(loaded.dataset, name, loaded.left_out)
        findings += [finding for finding in odd if finding.code != "imagesets.empty"]  # `rows` refuses those
    raise_errors(findings)
    loaded = replace(loaded, parts=parts, warnings=tuple(findings))
    if part is not None:
        loaded.rows(part)
    return loaded


def _read_usable(root: Path, labels: Path | None, coordinates: Asked, progress: Progress | None) -> Loaded:
    found = voc_tree.read(root, labels=labels, coordinates=coordinates, progress=progress)
    if not len(found.dataset.objects):
        hint = "annotate some images in labelImg first"
        raise AnnotationError("no objects in any annotation", place=found.dataset.root, hint=hint)
    dataset, changes = usable(found.dataset)
    warnings = (*found.findings, *changes)
    return Loaded(dataset, {}, found.coordinates, found.reason, warnings, found.left_out)


@dataclass(frozen=True, slots=True, eq=False)
class SplitReport:
    """The parts that were written, and of what."""

    dataset: Dataset
    parts: dict[str, NDArray[np.int64]]  # trainval, train, val, test
    files: tuple[Path, ...]
    notes: tuple[str, ...]  # what the user should know of this split
    warnings: tuple[Finding, ...]

    def objects(self) -> NDArray[np.int64]:
        """(4, L) objects of every label in each part."""
        counts = splits.label_counts(self.dataset)[:, : len(self.dataset.labels)]
        return np.stack([counts[rows].sum(axis=0) for rows in self.parts.values()]).astype(np.int64)


def split_dataset(
    root: Path,
    *,
    trainval: float = 0.9,
    train: float = 0.9,
    seed: int = 0,
    per_label: bool = False,
    force: bool = False,
    labels: Path | None = None,
    coordinates: Asked = "auto",
    progress: Progress | None = None,
) -> SplitReport:
    """Write ImageSets/Main/{trainval,train,val,test}.txt: all of them, or none.

    Images that are the same byte for byte go to the same part. `per_label` adds VOC's `<label>_<part>.txt`.
    """
    loaded = _read_usable(root, labels, coordinates, progress)
    dataset = loaded.dataset
    copies = identical_images(dataset)
    made = splits.split(dataset, trainval=trainval, train=train, seed=seed, together=copies)
    texts = image_sets.part_texts(dataset, made.parts)
    if per_label:
        texts |= image_sets.label_texts(dataset, made.parts)
    old = image_sets.label_files(dataset)
    folders = image_sets.part_folders(dataset)
    files = image_sets.write_parts(dataset.root, texts, force=force)
    stale = sorted(set(old) - set(files))
    notes = _split_notes(made, dataset, copies, trainval, train)
    if folders:
        notes.append(f"ImageSets, and no longer the folders {', '.join(folders)}, now says which part an image is in")
    if stale:
        notes.append(f"of an earlier split: {counted(len(stale), 'file')} such as {stale[0].name}: delete them")
    return SplitReport(dataset, made.parts, files, tuple(notes), loaded.warnings)


def _split_notes(
    made: splits.Split, dataset: Dataset, copies: list[list[int]], trainval: float, train: float
) -> list[str]:
    notes = []
    if trainval == 1:
        notes.append("test is empty, as all images were asked for in trainval: figures can only come from val")
    if train == 1:
        notes.append("val is empty, as all of trainval was asked for in train: training cannot pick its best epoch")
    if copies:
        moved = (
            f", so that {counted(made.moved, 'image')} went to another part than was asked for" if made.moved else ""
        )
        groups = f"{counted(len(copies), 'group')} of identical images"
        notes.append(f"{groups}: each is in one part{moved}")
    counts = splits.label_counts(dataset)[:, : len(dataset.labels)]
    for name in splits.NAMES:
        rows = made.parts[name]
        without = [dataset.labels[i] for i in np.flatnonzero(counts[rows].sum(axis=0) == 0)] if len(rows) else []
        if without:
            shown = ", ".join(without[:5]) + (f" and {len(without) - 5} more" if len(without) > 5 else "")
            notes.append(f"{name} has no object of {shown}: annotate more of them")
    return notes


@dataclass(frozen=True, slots=True, eq=False)
class CheckReport:
    """All that is odd about a dataset, worst first."""

    dataset: Dataset
    parts: dict[str, NDArray[np.int64]]
    coordinates: Coordinates
    reason: str
    findings: tuple[Finding, ...]  # errors first, those of one code together

    @property
    def divided(self) -> bool:
        """Whether there are split files, which another split must be told to replace."""
        return image_sets.divided(self.dataset.root)

    @property
    def trainable(self) -> bool:
        """Whether there is an object to learn in the part `train`."""
        return bool(np.isin(self.dataset.objects.image, self.parts.get("train", ())).any())

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.severity == "error" for finding in self.findings)


def check_dataset(
    root: Path, *, labels: Path | None = None, coordinates: Asked = "auto", progress: Progress | None = None
) -> CheckReport:
    """Look at every file of a dataset: annotations, images to their last byte, split files. Nothing is changed.

    `progress` counts the images as they are decoded.
    """
    found = voc_tree.scan(root, labels=labels, coordinates=coordinates)
    dataset = found.dataset
    findings = [*found.findings, *box_findings(dataset), *label_findings(dataset)]
    findings += image_findings(dataset, progress)
    parts = {}
    for name in image_sets.part_names(dataset):
        try:
            parts[name], odd = image_sets.part_rows(dataset, name, found.left_out)
        except SplitError as error:
            place = error.place or Place(dataset.root)
            odd = (Finding("imagesets.unreadable", "error", error.problem, place, error.hint),)
        findings += odd
    findings += image_sets.overlap_findings(dataset, parts)
    findings += image_sets.bare_findings(dataset, parts)
    findings += _copies(dataset, parts)
    ordered = sorted(dict.fromkeys(findings), key=lambda finding: (finding.severity, finding.code))  # error, warning
    return CheckReport(dataset, parts, found.coordinates, found.reason, tuple(ordered))


def _copies(dataset: Dataset, parts: dict[str, NDArray[np.int64]]) -> list[Finding]:
    part_of = {int(row): name for name in splits.NAMES for row in parts.get(name, ())}
    findings = []
    for first, *others in identical_images(dataset):
        for row in others:
            place = Place(dataset.root / dataset.images.files[row])
            names = part_of.get(first, ""), part_of.get(row, "")
            same = f"is byte for byte the same as {dataset.images.files[first]}"
            if names[0] != names[1] and all(names):
                problem = f"{same}, yet one is in {names[1]} and the other in {names[0]}"
                hint = "run vocdet split --force, which keeps copies together, or delete one"
                findings.append(Finding("image.copy_across_parts", "warning", problem, place, hint))
            else:
                hint = "delete one with its XML: copies teach nothing new"
                findings.append(Finding("image.copy", "warning", same, place, hint))
    return findings
