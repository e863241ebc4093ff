"""What an image alone does not show, decided by all images of a dataset: how they lie, and which were resized."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from vocdet.boxes import Boxes
from vocdet.data.axis_maps import rescale
from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding
from vocdet.data.levels import FULL
from vocdet.errors import Place
from vocdet.formats.images.facts import (
    MISMATCH,
    ImageFacts,
    Size,
    is_uniform,
    reaches_beyond,
    size_finding,
    sizes_text,
    with_levels,
)
from vocdet.formats.scan import Scan
from vocdet.wording import counted, listed

_RESCALE = 'if the image was resized, scale its boxes: `vocdet.convert(dataset, folder, to="voc", rescale=True)`'


def settled(scan: Scan, facts: Mapping[int, ImageFacts]) -> Scan:
    """A scan of which the orientation and the size of every image is decided, and the levels of deep images.

    `facts` are those of unusual images, by row. An orientation that neither a mark nor the stated size shows is that
    of most other images of the dataset, by default the one in which images are shown; formats that refer to images as
    they are shown leave no choice.
    """
    if not facts:
        return scan
    first = np.searchsorted(scan.dataset.objects.image, np.arange(len(scan.dataset) + 1))
    boxes = {row: scan.dataset.objects.box[first[row] : first[row + 1]] for row in facts}
    dataset, findings = _oriented(scan.dataset, facts, boxes)
    scales, mismatches = _mismatches(dataset, facts, boxes)
    dataset = with_levels(dataset, [row for row, one in facts.items() if one.header.deep])
    if dataset.levels not in (None, FULL):
        findings.append(_depth_finding(dataset, facts))
    return replace(scan, dataset=dataset, findings=(*scan.findings, *findings, *mismatches),
                   scales=scales)  # fmt: skip


def rescaled(scan: Scan) -> Scan:
    """A scan with the boxes and masks of resized images scaled to their sizes, where the sizes say how."""
    if not scan.scales:
        return scan
    findings = [one for one in scan.findings if (one.code, one.hint) != (MISMATCH, _RESCALE)]
    factors = {f"{x:.4g}" if f"{x:.4g}" == f"{y:.4g}" else f"{x:.4g} × {y:.4g}" for x, y in scan.scales.values()}
    problem = (
        f"the boxes of {counted(len(scan.scales), 'resized image')} are scaled by {listed(sorted(factors), most=3)}"
    )
    place = Place(scan.dataset.root / scan.dataset.images.files[min(scan.scales)])
    hint = "check some of them: images that were cropped or padded need another correction"
    findings.append(Finding("image.rescaled", "warning", problem, place, hint, len(scan.scales)))
    return replace(scan, dataset=rescale(scan.dataset, scan.scales), findings=tuple(findings), scales={})


def _oriented(
    dataset: Dataset, facts: Mapping[int, ImageFacts], boxes: Mapping[int, Boxes]
) -> tuple[Dataset, list[Finding]]:
    """The dataset with the orientation of its images, and a finding of what no annotation showed."""
    rotated = {row: one for row, one in facts.items() if one.header.orientation != 1}
    if not rotated:
        return dataset, []
    answers = {row: one.applies_exif(None if one.shown else boxes[row]) for row, one in rotated.items()}
    votes = Counter(answer for answer in answers.values() if answer is not None)
    most = votes[True] >= votes[False]
    exif, upright = np.ones(len(dataset), np.uint8), np.zeros(len(dataset), np.bool_)
    widths, heights = dataset.images.widths.copy(), dataset.images.heights.copy()
    undecided = list[int]()
    for row, one in rotated.items():
        answer = answers[row]
        if answer is None:
            answer = most or bool(one.shown)
            if one.shown != "always":
                undecided.append(row)
        exif[row], upright[row] = one.header.orientation, answer
        turned = answer and one.header.orientation >= 5
        widths[row], heights[row] = one.stored[::-1] if turned else one.stored
    images = replace(dataset.images, widths=widths, heights=heights, exif=exif, upright=upright)
    dataset = replace(dataset, images=images)
    return dataset, _orientation_findings(dataset, undecided, rotated, votes)


def _orientation_findings(
    dataset: Dataset, rows: Sequence[int], facts: Mapping[int, ImageFacts], votes: Counter[bool]
) -> list[Finding]:
    """One finding for all images of which no annotation shows the orientation."""
    if not rows:
        return []
    first = facts[rows[0]]
    upright = bool(dataset.images.upright[rows[0]])
    orientations = sorted({facts[row].header.orientation for row in rows})
    have = "have an" if len(rows) > 1 else "has an"
    problem = f"{counted(len(rows), 'image')} {have} EXIF orientation ({listed(map(str, orientations))})"
    problem += (
        f": boxes are taken as those of images as {'shown, with it applied' if upright else 'stored, without it'}"
    )
    if first.shown:
        problem += ", as most tools for this format show them"
    elif votes:
        problem += f", as in {counted(votes[upright], 'image')} whose size shows it"
    else:
        problem += "; nothing in the annotations shows which"
    path = dataset.root / dataset.images.files[rows[0]]
    hint = "check their boxes; if they do not fit, save the images without EXIF"
    return [Finding("image.turned", "warning", problem, Place(path), hint, len(rows))]


def _mismatches(
    dataset: Dataset, facts: Mapping[int, ImageFacts], boxes: Mapping[int, Boxes]
) -> tuple[dict[int, tuple[float, float]], list[Finding]]:
    """The factors that correct the boxes of resized images, by row, and the findings of all wrong sizes."""
    images = dataset.images
    sizes = {row: (int(images.widths[row]), int(images.heights[row])) for row in facts}
    wrong = {row: one for row, one in facts.items() if one.stated is not None and one.stated != sizes[row]}
    # sides that were swapped: the numbers, if the boxes fit the image, else the image
    swapped = [row for row, one in wrong.items() if one.stated == sizes[row][::-1]]
    rotated = any(reaches_beyond(boxes[row], sizes[row]) for row in swapped)
    bad, findings = list[int](), list[Finding]()
    for row, one in wrong.items():
        stated, size = one.stated or (0, 0), sizes[row]
        close = max(abs(a - b) for a, b in zip(stated, size, strict=True)) <= 1
        misstated = reaches_beyond(boxes[row], stated) and not reaches_beyond(boxes[row], size)
        if not len(boxes[row]) or close or misstated or (row in swapped and not rotated):
            findings.append(size_finding(stated, size, one.place, one.terms))
        else:
            bad.append(row)
    scales = {row: _factors(facts[row].stated or (1, 1), sizes[row]) for row in bad if row not in swapped}
    uneven = [row for row in scales if not is_uniform(facts[row].stated or (1, 1), sizes[row])]
    if not _is_stretched([facts[row].stated or (1, 1) for row in uneven], [sizes[row] for row in uneven]):
        scales = {row: factors for row, factors in scales.items() if row not in uneven}
    for row in bad:
        one = facts[row]
        problem = f"{sizes_text(one.stated, sizes[row], one.terms)}: its boxes are not in pixels of the image"
        hint = "restore the image that was annotated, or annotate this one"
        hint = _RESCALE if row in scales else hint
        place = Place(dataset.root / images.files[row])
        findings.append(Finding(MISMATCH, "error", problem, place, hint))
    return scales, findings


def _factors(stated: Size, size: Size) -> tuple[float, float]:
    return size[0] / stated[0], size[1] / stated[1]


def _is_stretched(stated: Sequence[Size], sizes: Sequence[Size]) -> bool:
    """Whether all images were stretched in the same way: by the same factor along each axis, or to the same size."""
    if len(set(sizes)) == 1:
        return True
    for axis in range(2):
        ranges = [((b[axis] - 1) / a[axis], (b[axis] + 1) / a[axis]) for a, b in zip(stated, sizes, strict=True)]
        if max((low for low, _ in ranges), default=0) > min((high for _, high in ranges), default=0):
            return False
    return True


def _depth_finding(dataset: Dataset, facts: Mapping[int, ImageFacts]) -> Finding:
    rows = [row for row, one in facts.items() if one.header.deep]
    have = "have" if len(rows) > 1 else "has"
    problem = f"{counted(len(rows), 'image')} {have} more than 8 bits a sample and do not fill that range"
    problem += f": the values {dataset.levels} are read as black to white"
    hint = "the checkpoint stores this range for predictions; other tools may show such images black or gray"
    place = Place(dataset.root / dataset.images.files[rows[0]])
    return Finding("image.depth", "warning", problem, place, hint, len(rows))
