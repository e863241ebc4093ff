"""List the likely mistakes of annotations, and correct those that a person accepts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.data.findings import Finding
from vocdet.data.splits import Rows
from vocdet.errors import AnnotationError, ArgumentError, Place
from vocdet.evaluation.audit import Suspicion, find_mistakes
from vocdet.files import check_writable, make_folder, read_limited, write_bytes, write_text
from vocdet.formats import cache
from vocdet.formats.registry import FORMATS
from vocdet.formats.scan import Progress, Source
from vocdet.formats.voc.proposals import Correction, corrected
from vocdet.formats.voc.xml_edit import CannotEdit
from vocdet.inference.draw import draw_boxes
from vocdet.inputs.images import Image
from vocdet.outputs import check_output, mark_file, write_marker
from vocdet.plots import notebook
from vocdet.plots.audit_page import audit_html, section, surroundings
from vocdet.wording import counted, json_reason, listed
from vocdet.workflows.audit_judges import AuditOptions, by_folds, by_runs
from vocdet.workflows.detector import open_detector
from vocdet.workflows.eval_options import EvalOptions
from vocdet.workflows.evaluate import evaluate_detector
from vocdet.workflows.fix import Change, FixPlan
from vocdet.workflows.load import Loaded, load_dataset
from vocdet.workflows.trainings import Train

COLORS = (5, 4)  # of what is annotated, and of what is proposed: red and green, as labels of `draw_boxes`
FILES = RECORD, PAGE, LIST = "audit.json", "index.html", "images.txt"
_LARGEST = 1 << 28  # bytes of a record
_HELD_OUT = "held_out"


class Proposal(msgspec.Struct, frozen=True):
    """The record of a suspicion, with what it would change."""

    number: int  # from 1: of each kind in turn the most confident
    kind: str  # missing, label or box
    confidence: float
    image: str  # relative to the dataset's root
    label: str  # that the detector proposes
    box: tuple[float, float, float, float]  # that the detector proposes
    score: float
    old_label: str = ""  # of the object; "": it is missing
    old_box: tuple[float, float, float, float] | None = None

    def __str__(self) -> str:
        sure = f"{self.confidence:.2f}"
        if self.old_box is None:
            return f"{self.number}. {self.image}: {self.label!r} is missing ({sure})"
        if self.kind == "label":
            return f"{self.number}. {self.image}: {self.old_label!r} looks like {self.label!r} ({sure})"
        return f"{self.number}. {self.image}: the box of {self.old_label!r} does not fit ({sure})"


class _Record(msgspec.Struct):
    dataset: str  # absolute path
    proposals: list[Proposal]


@dataclass(frozen=True, slots=True, repr=False)
class AuditResult:
    """The likely mistakes of a dataset, and the files that list them; a notebook shows the first ones.

    >>> result = vocdet.audit("shelf", runs=[run], out="audit")
    >>> result.images.name
    'images.txt'
    """

    proposals: tuple[Proposal, ...]
    page: Path
    images: Path  # a list of the images with suspicions, in their order
    trained_on: int  # images whose detections come from a detector that was trained on them
    warnings: tuple[Finding, ...]
    pictures: tuple[Callable[[], Image], ...] = ()  # of the first proposals: what is annotated, and what is proposed

    def __repr__(self) -> str:
        kinds = Counter(one.kind for one in self.proposals)
        counts = listed(f"{count} {kind}" for kind, count in kinds.items())
        return (
            f"<audit with {counted(len(self.proposals), 'suspicion')}{f' ({counts})' if counts else ''}: {self.page}>"
        )

    def _repr_html_(self) -> str:
        texts = map(str, self.proposals)
        some = notebook.gallery(zip(texts, self.pictures, strict=False))
        return notebook.heading(repr(self)[1:-1]) + some


def audit(
    source: Source | Loaded,
    options: AuditOptions,
    train: Train,
    *,
    note: Callable[[str], object] = lambda text: None,  # noqa: ARG005
    progress: Progress | None = None,
) -> AuditResult:
    """Find the likely mistakes in the annotations of a dataset; its files are not changed.

    Every image is judged by a detector that was not trained on it: one of `options.runs` (the first that was not; the
    first of all, if each was), or one that `train` trains on the other folds of the dataset. See `find_mistakes` for
    the method. Finished folds are not trained again. Writes a page with pictures, a record, and a list of images.
    An `OutputError` for a file of that name that is not of an audit.
    """
    check_writable(options.out, inside=True)
    for name in FILES:
        check_output(options.out / name, hint="choose another folder")
    loaded = load_dataset(source)
    make_folder(options.out)
    if not any(options.out.iterdir()):
        write_marker(options.out, "predictions")
    if options.runs:
        pairs, trained_on = by_runs(loaded.dataset, options.runs)
    else:
        pairs, trained_on = by_folds(loaded, options, train, note, progress), 0
    dataset = loaded.dataset
    detections: list[Detections] = [Detections(np.empty((0, 4)), np.empty(0, np.float32), np.empty(0, np.int64))] * len(
        dataset
    )
    for run, rows in pairs:
        note(f"detecting in {counted(len(rows), 'image')} with {run}")
        for row, found in zip(rows.tolist(), _detect(run, loaded, rows, options.device, progress), strict=True):
            detections[row] = found
    suspicions = find_mistakes(dataset, detections)[: options.most]
    return _written(loaded, suspicions, options.out, trained_on)


def _detect(run: Path, loaded: Loaded, rows: Rows, device: str, progress: Progress | None) -> list[Detections]:
    """The detections in images, with the labels of the dataset; those of other labels are left out."""
    dataset = loaded.dataset
    some = replace(loaded, dataset=replace(dataset, splits={_HELD_OUT: rows}))
    found = evaluate_detector(open_detector(run, device=device), some, EvalOptions(_HELD_OUT), progress=progress)
    index = {label: i for i, label in enumerate(dataset.labels)}
    ids = np.array([index.get(label, -1) for label in found.ground_truth.labels])
    results = []
    for one in found.detections:
        known = one.take(ids[one.labels] >= 0)
        results.append(Detections(known.boxes, known.scores, ids[known.labels]))
    return results


def _written(loaded: Loaded, suspicions: Sequence[Suspicion], out: Path, trained_on: int) -> AuditResult:
    dataset = loaded.dataset
    proposals = tuple(_proposal(dataset, number, one) for number, one in enumerate(suspicions, 1))
    record = _Record(str(loaded.path.absolute()), list(proposals))
    write_bytes(out / RECORD, msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
    images = dict.fromkeys(str(dataset.root.absolute() / one.image) for one in proposals)
    write_text(out / LIST, "".join(f"{image}\n" for image in images))
    write_text(out / PAGE, audit_html(dataset, suspicions, [str(one) for one in proposals], str(loaded.path)))
    for name in FILES:
        mark_file(out / name)
    pictures = tuple(partial(_drawn, dataset, one) for one in suspicions[: notebook.MOST_PICTURES])
    return AuditResult(proposals, out / PAGE, out / LIST, trained_on, loaded.warnings, pictures)


def _drawn(dataset: Dataset, one: Suspicion) -> Image:
    """A section of an image, with what is annotated and what is proposed."""
    first, _ = surroundings(dataset, one)
    old = [_sides(dataset.objects.box[one.object])] if one.object >= 0 else []
    boxes = np.array([*old, one.box]) - np.tile(first, 2)
    texts = [*(["annotated"] if old else []), f"{dataset.labels[one.label]} {one.score:.0%}"]
    return draw_boxes(section(dataset, one), boxes, COLORS[-len(boxes) :], texts, side=notebook.CELL)


def _proposal(dataset: Dataset, number: int, one: Suspicion) -> Proposal:
    objects, old = dataset.objects, one.object
    return Proposal(
        number, one.kind, one.confidence, dataset.images.files[one.image], dataset.labels[one.label], one.box,
        one.score, dataset.labels[objects.label[old]] if old >= 0 else "",
        _sides(objects.box[old]) if old >= 0 else None,
    )  # fmt: skip


def _sides(box: NDArray[np.float64]) -> tuple[float, float, float, float]:
    xmin, ymin, xmax, ymax = box.tolist()
    return xmin, ymin, xmax, ymax


def read_proposals(out: Path) -> tuple[Proposal, ...]:
    """The proposals of an audit, from its folder."""
    try:
        return tuple(msgspec.json.decode(read_limited(out / RECORD, _LARGEST), type=_Record).proposals)
    except (OSError, ValueError) as error:
        hint = "look for mistakes first: `vocdet.audit(dataset)`"
        raise AnnotationError(f"no audit can be read: {json_reason(error)}", place=out / RECORD, hint=hint) from error


def plan_corrections(source: Source, proposals: Sequence[Proposal]) -> FixPlan:
    """The changes to VOC files that proposals make; see `apply_fixes`. Nothing is changed yet.

    A proposal whose object is not there any more, and a file that cannot be edited reliably, are in `left`.
    `ArgumentError` for other formats than VOC.
    """
    scan = cache.read(source)
    dataset, root = scan.dataset, scan.dataset.root
    if not FORMATS[scan.format].repairable:
        hint = "correct the listed images in their annotation tool"
        raise ArgumentError(f"is {scan.kind}: only VOC files are corrected in place", place=root, hint=hint)
    row_of = {file: row for row, file in enumerate(dataset.images.files)}
    wanted: dict[str, list[Correction]] = defaultdict(list)
    left: list[Finding] = []
    for one in proposals:
        row = row_of.get(one.image, -1)
        file = dataset.images.sources[row] if row >= 0 else ""
        line = _line(dataset, row, one) if row >= 0 else -1
        if not file or line < 0:
            left.append(_left(root / one.image, f"proposal {one.number} is about an annotation that has changed"))
        else:
            box = one.box if one.kind != "label" else None
            wanted[file].append(Correction(line, one.label if one.kind != "box" else "", box))
    changes = []
    for file, corrections in wanted.items():
        try:
            before = read_limited(root / file, _LARGEST)
            after = corrected(before, corrections, scan.coordinates)
        except CannotEdit as error:
            left.append(_left(root / file, f"cannot be edited: {error}"))
            continue
        changes.append(Change(root / file, before, after, counted(len(corrections), "correction")))
    return FixPlan(root, tuple(changes), (), tuple(left))


def _line(dataset: Dataset, row: int, one: Proposal) -> int:
    """The line of the object of a proposal; 0 for a new one. -1: it is not there, or the new one is there already."""
    label, box = (one.label, one.box) if one.old_box is None else (one.old_label, one.old_box)
    objects = dataset.objects
    rows = np.flatnonzero((objects.image == row) & (np.abs(objects.box - box) < 1.5).all(axis=1))
    lines = [int(objects.line[i]) for i in rows.tolist() if dataset.labels[objects.label[i]] == label]
    if one.old_box is None:
        return -1 if lines else 0
    return lines[0] if len(lines) == 1 else -1


def _left(path: Path, problem: str) -> Finding:
    return Finding("audit.left", "warning", problem, Place(path), "correct it in labelImg")


def chosen(proposals: Sequence[Proposal], numbers: Sequence[int]) -> list[Proposal]:
    """The proposals of these numbers; an `ArgumentError` for one that there is not."""
    known = {one.number: one for one in proposals}
    if unknown := sorted(set(numbers) - known.keys()):
        raise ArgumentError(
            f"there is no proposal {listed(unknown, most=5)}", hint=f"they are numbered from 1 to {len(proposals)}"
        )
    return [known[number] for number in dict.fromkeys(numbers)]
