"""Check a dataset: annotations, images, labels, splits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vocdet.data.checks.boxes import box_findings
from vocdet.data.checks.copies import augmented_findings, copy_findings, similar_findings
from vocdet.data.checks.images import image_findings, stem_findings
from vocdet.data.checks.labels import label_findings, label_split_findings
from vocdet.data.checks.masks import mask_findings
from vocdet.data.crowds import crowd_findings
from vocdet.data.dataset import Dataset
from vocdet.data.division import similar
from vocdet.data.division.groups import Groups
from vocdet.data.division.identical import identical_images
from vocdet.data.findings import Finding
from vocdet.data.splits import Splits
from vocdet.data.usable import without_mismatched
from vocdet.formats import registry
from vocdet.formats.scan import Coordinates, FormatName, Progress, Scan, Source
from vocdet.formats.voc import image_sets, split_files
from vocdet.wording import counted


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CheckReport:
    """The problems of a dataset, worst first.

    >>> report = vocdet.check("shelf")
    >>> [finding.code for finding in report.errors]
    []
    """

    dataset: Dataset
    format: FormatName
    kind: str  # the format, in words
    others: tuple[str, ...]  # other formats whose files annotate its images
    label_source: str  # the file in the folder that lists the labels; "" if none is used
    coordinates: Coordinates
    reason: str  # why these coordinates; "" if the format determines them
    findings: tuple[Finding, ...]  # errors first, sorted by code
    similar: Groups  # rows of near-duplicates and identical images; empty if images were not decoded
    decoded: bool  # whether images were decoded
    seconds: float  # duration
    scales: Mapping[int, tuple[float, float]] = field(default_factory=dict)  # image row -> factors that correct boxes

    @property
    def divided(self) -> bool:
        """Whether the dataset has split files."""
        return image_sets.has_split_files(self.dataset.root)

    @property
    def trainable(self) -> bool:
        """Whether the train split has objects."""
        return bool(np.isin(self.dataset.objects.image, self.dataset.splits.get("train", ())).any())

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that make data unusable or a result wrong."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """All other findings."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    def __repr__(self) -> str:
        counts = f"{counted(len(self.errors), 'error')}, {counted(len(self.warnings), 'warning')}"
        return f"<check of {self.dataset.root}: {counts}>"

    def _repr_html_(self) -> str:
        from vocdet.plots import notebook

        rows = [(one.severity, one.code, one.problem, str(one.place), one.hint) for one in self.findings]
        table = notebook.table(("", "code", "problem", "place", "hint"), rows)
        return notebook.heading(repr(self)[1:-1]) + table


def check_dataset(
    source: Source,
    *,
    lists: Sequence[Path] = (),
    images: bool = True,
    scanned: Scan | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Check every file of a dataset: annotations, images to the last byte, split files. Nothing is changed.

    `lists` are split files, or folders of them, to check instead of the dataset's; they may name missing images.
    Without `images` no image is decoded or compared. `progress` counts the images. `scanned` is a dataset in memory
    that was read from the source before.
    """
    started = time.monotonic()
    scan = scanned or registry.scan(source, without_split_files=bool(lists))
    dataset, findings = _with_lists(scan.dataset, lists, in_memory=scanned is not None)
    splits = dataset.splits
    left_out = source.skip_bad and scanned is not None  # what has an error is not in the dataset
    findings += [one for one in scan.findings if one.severity == "warning" or not left_out]
    findings += column_findings(dataset, findings)
    format = registry.find_format(scan.format)
    findings += label_findings(dataset, listed=not format.own_labels or source.labels is not None)
    if format.repairable:
        from vocdet.formats.voc import repair  # loads lxml and the patterns of VOC files

        findings += repair.size_findings(dataset.root, dataset.images.sources)
    groups: Groups = []
    if images:
        groups, of_images = _image_findings(dataset, splits, progress)
        findings += of_images
    ordered = tuple(sorted(dict.fromkeys(_once(findings)), key=lambda finding: (finding.severity, finding.code)))
    seconds = time.monotonic() - started
    return CheckReport(dataset, scan.format, scan.kind, scan.others, scan.label_source, scan.coordinates,
                       scan.reason, ordered, groups, images, seconds, scan.scales)  # fmt: skip


def column_findings(dataset: Dataset, known: Sequence[Finding]) -> list[Finding]:
    """The findings that need no file: of boxes, masks, crowds and names; `known` are those of reading the dataset."""
    boxes = box_findings(without_mismatched(dataset, known))
    return [*boxes, *mask_findings(dataset), *crowd_findings(dataset), *stem_findings(dataset)]


def _with_lists(dataset: Dataset, lists: Sequence[Path], *, in_memory: bool) -> tuple[Dataset, list[Finding]]:
    """The dataset with the splits to check, and further findings about them."""
    if lists:
        other = split_files.read_outside_splits(dataset, lists)
        findings = [*other.findings, *image_sets.objectless_findings(dataset, other.splits, other.paths)]
        return replace(dataset, splits=other.splits), findings
    names = [*augmented_findings(dataset, dataset.splits), *label_split_findings(dataset)]
    shared = image_sets.overlap_findings(dataset, dataset.splits)
    without_objects = image_sets.objectless_findings(dataset, dataset.splits)
    own = [] if in_memory else split_files.own_findings(dataset)
    return dataset, [*shared, *without_objects, *names, *own]


def _image_findings(dataset: Dataset, splits: Splits, progress: Progress | None) -> tuple[Groups, list[Finding]]:
    """Groups of near-duplicates, and the findings of images; `progress` counts each image twice."""
    count = len(dataset)

    def decoded(done: int, _: int) -> None:
        if progress is not None:
            progress(done, 2 * count)

    def compared(done: int, _: int) -> None:
        decoded(count + done, count)

    findings = image_findings(dataset, decoded)
    identical = identical_images(dataset)
    near = similar.find_similar(dataset, compared)
    findings += copy_findings(dataset, identical, splits)
    findings += similar_findings(dataset, near, identical, splits)
    return near.groups, findings


def _once(findings: Sequence[Finding]) -> list[Finding]:
    """Findings without those on orientations of which the reader's finding already speaks."""
    turned = sum(finding.count for finding in findings if finding.code == "image.turned")
    oriented = [finding for finding in findings if finding.code == "image.orientation"]
    return [finding for finding in findings if finding.code != "image.orientation" or len(oriented) > turned]
