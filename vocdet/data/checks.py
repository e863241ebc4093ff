"""What is odd about a dataset, and what of it can be used."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import Boxes
from vocdet.data.dataset import Dataset
from vocdet.errors import AnnotationError, ImageError, Place, SplitError, VocdetError, raise_all

Severity = Literal["error", "warning"]

LONGEST_LABEL = 100  # characters
SMALLEST_SIDE = 1.0  # pixels; a box narrower or lower than this teaches nothing


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is odd: an error makes data unusable or a result wrong, a warning does not."""

    code: str  # as in voc.box.inverted: the first word says what kind of thing it is about
    severity: Severity
    problem: str
    place: Place
    hint: str = ""

    def as_error(self) -> VocdetError:
        """The error to raise where this finding cannot be lived with."""
        kinds: dict[str, type[VocdetError]] = {"image": ImageError, "imagesets": SplitError}
        kind = kinds.get(self.code.split(".")[0], AnnotationError)
        return kind(self.problem, place=self.place, hint=self.hint)


def raise_errors(findings: Sequence[Finding]) -> None:
    """Raise the findings that are errors, together; return when there are none."""
    raise_all([finding.as_error() for finding in findings if finding.severity == "error"])


def usable(dataset: Dataset) -> tuple[Dataset, tuple[Finding, ...]]:
    """The dataset to train and evaluate with: boxes clipped to their images, those under a pixel left out.

    All images stay, also those left without objects. Every change is a warning.
    """
    objects = dataset.objects
    clipped = clip_to_images(dataset)
    cut = np.flatnonzero((clipped != objects.box).any(axis=1))
    side = (clipped[:, 2:] - clipped[:, :2]).min(axis=1, initial=np.inf)  # (M,)
    keep = side >= SMALLEST_SIDE
    findings = []
    for row in np.union1d(cut, np.flatnonzero(~keep)):
        change = "clipped to" if keep[row] else "left out: less than a pixel wide or high in"
        problem = f"{object_text(dataset, row)} is {change} the image, {image_size_text(dataset, row)}"
        code = "box.clipped" if keep[row] else "box.left_out"
        findings.append(Finding(code, "warning", problem, object_place(dataset, row)))
    if not findings:
        return dataset, ()
    return replace(dataset, objects=replace(objects, box=clipped)).select_objects(keep), tuple(findings)


def box_findings(dataset: Dataset) -> list[Finding]:
    """Boxes without area, outside their image, under a pixel, or drawn twice."""
    objects = dataset.objects
    size = objects.box[:, 2:] - objects.box[:, :2]  # (M, 2)
    beyond = np.abs(clip_to_images(dataset) - objects.box).max(axis=1, initial=0)  # (M,) pixels
    findings = []
    for row in np.flatnonzero((size.min(axis=1, initial=np.inf) < SMALLEST_SIDE) | (beyond > 0)):
        text, place = object_text(dataset, row), object_place(dataset, row)
        if size[row].min() <= 0:
            problem = f"{text} has no area"
            findings.append(Finding("box.zero_area", "error", problem, place, "redraw it, or delete its <object>"))
        elif beyond[row] > 0:
            severity: Severity = "error" if beyond[row] > 1 else "warning"
            problem = f"{text} reaches {beyond[row]:.4g} px beyond its image, {image_size_text(dataset, row)}"
            hint = "redraw it; where many do, the XML may be of another size or another image"
            findings.append(Finding("box.out_of_image", severity, problem, place, hint))
        else:
            problem = f"{text} is less than a pixel wide or high"
            findings.append(Finding("box.tiny", "warning", problem, place, "it is not used: delete its <object>"))
    return findings + _twice_drawn(dataset)


def _twice_drawn(dataset: Dataset) -> list[Finding]:
    objects = dataset.objects
    keys = np.column_stack([objects.image, objects.box])  # (M, 5)
    order = np.lexsort(keys.T)
    same = np.flatnonzero((keys[order][1:] == keys[order][:-1]).all(axis=1))
    findings = []
    for first, second in zip(order[same], order[same + 1], strict=True):
        one, other = (dataset.labels[objects.label[row]] for row in (first, second))
        place, text = object_place(dataset, second), object_text(dataset, second)
        line = f"line {objects.line[first]}"
        if one == other:
            problem, hint = f"{text} is there twice, see {line}", "delete one of the two"
            findings.append(Finding("box.duplicate", "warning", problem, place, hint))
        else:
            problem, hint = f"{text} is also a {one!r}, see {line}", "delete the wrong one"
            findings.append(Finding("box.two_labels", "warning", problem, place, hint))
    return findings


def label_findings(dataset: Dataset) -> list[Finding]:
    """Labels that look like each other, that never occur, or that other tools stumble over."""
    counts = np.bincount(dataset.objects.label, minlength=len(dataset.labels))
    place = Place(dataset.root)
    alike: dict[str, list[int]] = {}
    findings = []
    for i, label in enumerate(dataset.labels):
        alike.setdefault("".join(filter(str.isalnum, unicodedata.normalize("NFKC", label).casefold())), []).append(i)
        if not counts[i]:
            findings.append(Finding("label.unused", "warning", f"no object has the label {label!r}", place))
        if re.search(r"[/\\:*?\"<>|]", label) or label.startswith("."):
            hint = f"rename it if you want {label!r} in file names, as --per-label does"
            problem = f"the label {label!r} cannot be part of a file name everywhere"
            findings.append(Finding("label.path_char", "warning", problem, place, hint))
        if len(label) > LONGEST_LABEL:
            problem = f"the label {label[:40] + '...'!r} has {len(label)} characters"
            findings.append(Finding("label.too_long", "warning", problem, place, "is it a label?"))
        if label.strip("_").casefold() == "background":
            hint = "delete its objects: what no box covers is background by itself"
            findings.append(Finding("label.background", "warning", f"{label!r} is used as a label", place, hint))
    for group in (group for name, group in alike.items() if name and len(group) > 1):
        names = ", ".join(f"{dataset.labels[i]!r} ({counted(counts[i], 'object')})" for i in group)
        hint = "if they mean the same, write them the same"
        findings.append(Finding("label.alike", "warning", f"labels that look alike: {names}", place, hint))
    return findings


def clip_to_images(dataset: Dataset) -> Boxes:
    """(M, 4) the part of every box inside its image; one outside comes back with no area."""
    image = dataset.objects.image
    limits = np.stack([dataset.images.widths[image], dataset.images.heights[image]] * 2, axis=1)  # (M, 4)
    return np.clip(dataset.objects.box, 0, limits.astype(np.float64))


def object_text(dataset: Dataset, row: int | np.intp) -> str:
    """An object in words: its label and its box as vocdet holds it."""
    return f"the box of {dataset.labels[dataset.objects.label[row]]!r} {box_text(dataset.objects.box[row])}"


def object_place(dataset: Dataset, row: int | np.intp) -> Place:
    """Where in the user's files an object is."""
    image = dataset.objects.image[row]
    source = dataset.images.sources[image] or dataset.images.files[image]
    line = int(dataset.objects.line[row])
    if dataset.entries:
        return Place(dataset.root / source, inside=f"{dataset.entries}[{line - 1}]" if line else "")
    return Place(dataset.root / source, line)


def image_size_text(dataset: Dataset, row: int | np.intp) -> str:
    """The size of the image an object is in, as in 640×480."""
    image = dataset.objects.image[row]
    return f"{dataset.images.widths[image]}×{dataset.images.heights[image]}"


def counted(count: int, noun: str, nouns: str = "") -> str:
    """A number of things in words: 1 image, 2 images; `nouns` where an s does not make it several."""
    return f"{count} {noun}" if count == 1 else f"{count} {nouns or f'{noun}s'}"


def box_text(box: NDArray[np.float64] | Sequence[float]) -> str:
    """A box as people write it: xmin ymin xmax ymax, without needless decimals."""
    return " ".join(f"{float(value):.10g}" for value in box)
