"""A finding: something that is wrong with a dataset, where, and how to fix it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from vocdet.data.dataset import Dataset
from vocdet.data.splits import FOLD, validation_split
from vocdet.errors import AnnotationError, ImageError, Place, SplitError, VocdetError, raise_all
from vocdet.wording import box_text, quoted

Severity = Literal["error", "warning"]

# Decisions about the images of a dataset, reported by every command that uses the pixels or writes the boxes.
DECISIONS = frozenset(("image.depth", "image.rescaled", "image.turned"))


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem of a dataset: an error makes data unusable or a result wrong, a warning does not."""

    code: str  # as in voc.box.inverted: the first word says what kind of thing it is about
    severity: Severity
    problem: str
    place: Place
    hint: str = ""
    count: int = 1  # of the things it speaks of: files, images, lines

    def as_error(self) -> VocdetError:
        """The error to raise where this finding makes a dataset unusable."""
        kinds: dict[str, type[VocdetError]] = {"image": ImageError, "imagesets": SplitError}
        kind = kinds.get(self.code.split(".")[0], AnnotationError)
        return kind(self.problem, place=self.place, hint=self.hint)


_LONGEST = 300  # characters of a problem that takes up another one


def one_per_object(findings: Sequence[Finding]) -> list[Finding]:
    """The findings, with one error for each entry of a list in a file, as in annotations[3], and for each line.

    It has the code and the hint of the first, and the problems of all.
    """
    first: dict[tuple[Path, int, str], int] = {}
    merged: list[Finding] = []
    for finding in findings:
        place = finding.place
        entry = place.inside.partition("]")[0] if "[" in place.inside else ""
        key = place.path, place.line, entry
        if finding.severity == "error" and (place.line or entry):
            at = first.setdefault(key, len(merged))
            if at < len(merged) and finding.problem in merged[at].problem:
                continue
            if at < len(merged) and len(merged[at].problem) < _LONGEST:
                merged[at] = replace(merged[at], problem=f"{merged[at].problem}; {finding.problem}")
                continue
            first[key] = len(merged)  # a file without line ends has all its objects on one line
        merged.append(finding)
    return merged


@dataclass(slots=True)
class Notes:
    """Findings under construction."""

    findings: list[Finding] = field(default_factory=list)

    def add(
        self,
        code: str,
        severity: Severity,
        problem: str,
        path: Path,
        hint: str = "",
        *,
        line: int = 0,
        inside: str = "",
    ) -> None:
        """Add one problem and its place."""
        self.findings.append(Finding(code, severity, problem, Place(path, line, inside), hint))


def raise_errors(findings: Sequence[Finding]) -> None:
    """Raise the findings that are errors, together; return when there are none."""
    raise_all([finding.as_error() for finding in findings if finding.severity == "error"])


def raise_split_errors(findings: Sequence[Finding], split: str) -> None:
    """Raise the findings that make a fold unusable: they are only warnings until that fold is chosen."""
    names = {split, validation_split(split)} if FOLD.fullmatch(split) else set()
    raise_all([
        finding.as_error()
        for finding in findings
        if finding.code in ("imagesets.unknown_stem", "imagesets.unreadable") and finding.place.path.stem in names
    ])  # fmt: skip


def object_text(dataset: Dataset, row: int | np.intp) -> str:
    """An object in words: its label and its box, in vocdet's coordinates."""
    return f"the box of {quoted(dataset.labels[dataset.objects.label[row]])} {box_text(dataset.objects.box[row])}"


def object_place(dataset: Dataset, row: int | np.intp) -> Place:
    """Where in the user's files an object is."""
    image = dataset.objects.image[row]
    source = dataset.images.sources[image] or dataset.images.files[image]
    line = int(dataset.objects.line[row])
    if dataset.entries == "regions":  # one file lists many images, each with its own regions
        name = dataset.images.files[image]
        return Place(dataset.root / source, inside=f"{name}: regions[{line - 1}]" if line else name)
    if dataset.entries and not dataset.entries.startswith("<"):
        return Place(dataset.root / source, inside=f"{dataset.entries}[{line - 1}]" if line else "")
    return Place(dataset.root / source, line)


def image_size_text(dataset: Dataset, row: int | np.intp) -> str:
    """The size of the image an object is in, as in 640×480."""
    image = dataset.objects.image[row]
    return f"{dataset.images.widths[image]}×{dataset.images.heights[image]}"
