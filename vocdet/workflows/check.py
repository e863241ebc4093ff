"""Everything that is odd about a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vocdet.data import splits
from vocdet.data.checks import Finding, box_findings, label_findings
from vocdet.data.dataset import Dataset
from vocdet.data.image_checks import identical_images, image_findings
from vocdet.data.mask_checks import mask_findings
from vocdet.errors import Place
from vocdet.formats import image_sets, reading
from vocdet.formats.coordinates import Asked, Coordinates
from vocdet.formats.reading import AskedForm
from vocdet.formats.scan import Progress


@dataclass(frozen=True, slots=True, eq=False)
class CheckReport:
    """All that is odd about a dataset, worst first."""

    dataset: Dataset
    parts: dict[str, NDArray[np.int64]]
    kind: str  # what it was read as, in words
    coordinates: Coordinates
    reason: str  # why these coordinates; "": the format leaves no choice
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
    root: Path,
    *,
    form: AskedForm = "auto",
    labels: Path | None = None,
    coordinates: Asked = "auto",
    progress: Progress | None = None,
) -> CheckReport:
    """Look at every file of a dataset: annotations, images to their last byte, split files. Nothing is changed.

    `progress` counts the images as they are decoded.
    """
    found = reading.scan(root, form=form, labels=labels, coordinates=coordinates)
    dataset = found.dataset
    findings = [*found.findings, *box_findings(dataset), *mask_findings(dataset), *label_findings(dataset)]
    findings += image_findings(dataset, progress)
    parts, odd = image_sets.read_parts(found)
    findings += odd
    findings += image_sets.overlap_findings(dataset, parts)
    findings += image_sets.bare_findings(dataset, parts)
    findings += _copies(dataset, parts)
    ordered = sorted(dict.fromkeys(findings), key=lambda finding: (finding.severity, finding.code))  # error, warning
    return CheckReport(dataset, parts, found.kind, found.coordinates, found.reason, tuple(ordered))


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
