"""Annotations for people to correct: written beside their images, and never over the work of a person.

A file is machine-made as long as it is what vocdet wrote; the marker of its folder has the digests. A file that
somebody else wrote gets what is new in it at its end, and one that was corrected since is left alone.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from vocdet import masks
from vocdet.boxes import Boxes
from vocdet.data.detections import Detections
from vocdet.data.image_files import read_orientation
from vocdet.errors import AnnotationError, ArgumentError, ImageError, OutputError, VocdetError, raise_all
from vocdet.file_names import folded
from vocdet.files import check_writable, is_file, is_folder, write_bytes
from vocdet.formats.images.facts import APPLIED
from vocdet.formats.labelme import prelabels as labelme
from vocdet.formats.voc import prelabels as voc
from vocdet.formats.voc.preserved import Header
from vocdet.formats.voc.write import WrittenObject, annotation_text
from vocdet.inference.annotating import compare, looks, simplified, teaching_order, uncertainty
from vocdet.inference.frames import Frame, MediaSource, batches, find_sources, quiet
from vocdet.inference.result_files import csv_bytes
from vocdet.mask_outlines import as_polygon
from vocdet.outputs import FILES_KIND, OutputFiles, place_copy, read_marker
from vocdet.wording import counted
from vocdet.workflows.detector import DetectorOptions
from vocdet.workflows.predict import read_images
from vocdet.workflows.voc_detections import check_voc_labels, whole_pixels

if TYPE_CHECKING:
    from vocdet.runtimes.predictor import Predictor

State = Literal["machine-made", "corrected", "human", "without"]
DIFFERENCE_LISTS = ("new.csv", "missed.csv", "different.csv")
ORDER, LINKS = "order.txt", "order"
SAVED = 5.0  # seconds between two writings of the markers: a file that none names counts as the work of people
FOLDERS = {"jpegimages": "Annotations", "images": "annotations"}  # of images: those of XML files beside them


@dataclass(frozen=True, slots=True)
class PrelabelStep:
    """An image that was processed."""

    image: Path
    annotation: Path
    added: int  # objects written or added
    state: State  # of the annotation before
    done: int
    total: int


@dataclass(slots=True)
class PrelabelReport:
    """What was written, and how the model and people differ."""

    out: Path
    states: Counter[str] = field(default_factory=Counter)  # images by the state of their annotation before
    added: int = 0  # objects
    new: list[tuple[str, ...]] = field(default_factory=list)  # rows of the lists
    missed: list[tuple[str, ...]] = field(default_factory=list)
    different: list[tuple[str, ...]] = field(default_factory=list)
    order: list[Path] = field(default_factory=list)  # images, the one to label first

    def __repr__(self) -> str:
        lists = f"{len(self.new)} new, {len(self.missed)} missed, {len(self.different)} different"
        return f"<annotations in {self.out}: {counted(self.states.total(), 'image')}, {lists}>"


def prelabel(
    detector: Path | Predictor,
    sources: Sequence[str],
    *,
    out: Path,
    options: DetectorOptions = DetectorOptions(),
    name: str = "detector",
) -> Generator[PrelabelStep | PrelabelReport, None, None]:
    """Write the detections in images as annotations to correct, and yield every image and last a report.

    An image `photos/a.jpg` gets `photos/a.xml`, as labelImg writes it, in `Annotations` if the images are in
    `JPEGImages`; a detector with masks writes labelme's `a.json`. Each object has its score and model inside. A file
    that people wrote gets only detections that overlap none of its objects, at its end; one that vocdet wrote is
    replaced, unless it was corrected since: then it stays. `out` gets three lists of what the model has beside people's
    work (new.csv), lacks (missed.csv) and draws otherwise (different.csv), and the images in the order in which
    labeling them teaches most, as a list (order.txt) and as numbered links (order/). `name` is that of a loaded
    detector.
    """
    items = list(dict.fromkeys(find_sources(sources, skip=out)))
    if other := [item for item in items if item.kind != "image"]:
        hint = "take images out of it first: `vocdet.frames(video)`"
        raise ArgumentError(f"{other[0].name} is not an image", place=other[0].path, hint=hint)
    if is_folder(out) and any(out.iterdir()) and not is_file(out / ORDER):
        raise OutputError("contains other files", place=out, hint="choose a new folder for `out`")
    check_writable(out, inside=True)
    if isinstance(detector, Path):
        name = str(detector)
    detector = options.open(detector)
    check_voc_labels(out, detector.labels)
    work = _Work(detector, name, options.limits(detector), PrelabelReport(out))
    errors: list[VocdetError] = []
    try:
        with quiet(), closing(read_images(items, detector.levels, errors)) as frames:
            for group in batches(frames, options.batch):
                for frame, found in zip(group, detector.detect([one.pixels for one in group]), strict=True):
                    try:
                        yield work.image(frame, found, len(items))
                    except (AnnotationError, ImageError, OutputError) as error:
                        errors.append(error)
    finally:
        work.close()
    yield work.report
    raise_all(errors)


class _Work:
    """The annotations of one call, and what is listed."""

    def __init__(self, detector: Predictor, name: str, limits: NDArray[np.float32], report: PrelabelReport) -> None:
        self.detector, self.model, self.report = detector, name, report
        self.limits = limits
        self.folders: dict[Path, OutputFiles] = {}
        self.annotated: dict[Path, Path] = {}  # annotation: its image
        self.images: list[Path] = []
        self.unsure: list[float] = []
        self.described: list[Any] = []
        self.saved = time.monotonic()

    def image(self, frame: Frame, found: Detections, total: int) -> PrelabelStep:
        path = Path(frame.source.address)
        masked = found.masks is not None
        target = annotation_path(path, ".json" if masked else ".xml")
        if (other := self.annotated.setdefault(target, path)) != path:
            problem = f"has the annotation file of {other.name}, {target.name}"
            raise ImageError(problem, place=path, hint="rename one of the two images")
        files = self.folders.setdefault(target.parent, marked_files(target.parent))
        state = annotation_state(target, files)
        shown = found.above(self.limits)
        size = (frame.pixels.shape[1], frame.pixels.shape[0])
        added = 0
        if state in ("without", "machine-made"):
            rows = list(range(len(shown)))
            data = self._labelme(path, size, shown, rows) if masked else self._voc(path, size, shown, rows)
            files.write(target.name, data)
            added = len(shown)
        else:
            added = self._beside(frame.source, target, size, shown, add=state == "human")
        self.report.states[state] += 1
        self.report.added += added
        self.images.append(path)
        self.unsure.append(uncertainty(found, self.detector.thresholds) if state != "corrected" else 0.0)
        self.described.append(looks(frame.pixels, shown, len(self.detector.labels)))
        if time.monotonic() - self.saved >= SAVED:
            self.save()
        return PrelabelStep(path, target, added, state, len(self.images), total)

    def _beside(self, source: MediaSource, target: Path, size: tuple[int, int], shown: Detections, *, add: bool) -> int:
        """Compare with the annotations of people, and with `add` write what is new at their end."""
        boxes: Boxes
        if target.suffix == ".json":
            corners, names, stated = labelme.read_shapes(target)
            boxes, coordinates = np.array(corners, np.float64).reshape(-1, 4), "zero"
        else:
            objects = voc.read_objects(target)
            boxes, names, coordinates = voc.as_boxes(objects), objects.names, objects.coordinates
            stated = objects.size
        if stated is not None and stated != size:
            problem = f"is of {stated[0]}x{stated[1]} pixels, but the upright image has {size[0]}x{size[1]}"
            raise AnnotationError(problem, place=target, hint="`vocdet.check(dataset)` lists all such files")
        labels = self.detector.labels
        result = compare(shown, labels, boxes, names)
        for row in result.new:
            self.report.new.append(self._row(source, shown, row))
        for k in result.missed:
            self.report.missed.append((source.name, names[k], "", *_box_texts(boxes[k])))
        for row, k in result.other:
            self.report.different.append((*self._row(source, shown, row), names[k], *_box_texts(boxes[k])))
        if not add or not result.new:
            return 0
        if target.suffix == ".json":
            data = labelme.with_added(target, self._shapes(size, shown, result.new))
        else:
            data = voc.with_added(target, self._objects(size, shown, result.new), coordinates)
        write_bytes(target, data)
        return len(result.new)

    def _row(self, source: MediaSource, shown: Detections, row: int) -> tuple[str, ...]:
        label = self.detector.labels[int(shown.labels[row])]
        return (source.name, label, f"{shown.scores[row]:.3f}", *_box_texts(shown.boxes[row]))

    def _objects(self, size: tuple[int, int], shown: Detections, rows: Sequence[int]) -> list[WrittenObject]:
        boxes = whole_pixels(shown.boxes, size).tolist()
        labels = self.detector.labels
        return [
            voc.machine_object(labels[int(shown.labels[i])], boxes[i], float(shown.scores[i]), self.model) for i in rows
        ]

    def _voc(self, path: Path, size: tuple[int, int], shown: Detections, rows: Sequence[int]) -> bytes:
        exif = APPLIED if read_orientation(path) != 1 else ""
        header = Header(folder=path.absolute().parent.name, path=str(path.absolute()))
        objects = self._objects(size, shown, rows)
        return annotation_text(path.name, size, objects, header=header, marked=True, exif=exif).encode()

    def _labelme(self, path: Path, size: tuple[int, int], shown: Detections, rows: Sequence[int]) -> bytes:
        return labelme.file_bytes(path.name, size, self._shapes(size, shown, rows))

    def _shapes(self, size: tuple[int, int], shown: Detections, rows: Sequence[int]) -> list[dict[str, Any]]:
        shapes = []
        for i in rows:
            assert shown.masks is not None
            polygon = as_polygon(masks.parse(shown.masks[i]), size[1], size[0]) if shown.masks[i] else None
            if polygon:
                label = self.detector.labels[int(shown.labels[i])]
                shapes.append(labelme.machine_shape(label, simplified(polygon), float(shown.scores[i]), self.model))
        return shapes

    def save(self) -> None:
        """Write the markers."""
        for folder in self.folders.values():
            if folder.files:
                folder.save()
        self.saved = time.monotonic()

    def close(self) -> None:
        """Write the markers, the lists and the order."""
        self.save()
        if not self.images:
            return
        out, report = self.report.out, self.report
        described = np.array(self.described, np.float32)
        report.order = [self.images[row] for row in teaching_order(np.array(self.unsure), described)]
        head = ("image", "label", "score", "xmin", "ymin", "xmax", "ymax")
        annotated = tuple(f"annotated_{name}" for name in ("label", *head[3:]))
        for name, columns, rows in zip(
            DIFFERENCE_LISTS,
            (head, head, (*head, *annotated)),
            (report.new, report.missed, report.different),
            strict=True,
        ):
            write_bytes(out / name, csv_bytes([columns, *rows]))
        write_bytes(out / ORDER, "".join(f"{path}\n" for path in report.order).encode(errors="replace"))
        self._link(out / LINKS)

    def _link(self, folder: Path) -> None:
        """Numbered second names of the images; those of an earlier call are replaced."""
        files = OutputFiles(folder, "drawings")
        width = len(str(len(self.report.order)))
        for number, path in enumerate(self.report.order, 1):
            name = f"{number:0{width}}_{path.name}"
            with suppress(OutputError):  # a disk without links, and without room for a copy
                place_copy(path, folder / name)
                files.record(name, large=True)
        files.delete_earlier(lambda _: False)
        files.save()


def _box_texts(box: Sequence[float] | Any) -> tuple[str, ...]:
    return tuple(f"{float(value):.1f}" for value in box)


def annotation_path(image: Path, suffix: str) -> Path:
    """The file of an image's annotation: in `Annotations` for images in `JPEGImages`, else beside the image."""
    name = FOLDERS.get(folded(image.parent.name)) if suffix == ".xml" else None
    if name:
        beside = next((image.parent.parent / one for one in (name, name.capitalize(), name.lower())
                       if is_folder(image.parent.parent / one)), None)  # fmt: skip
        if beside or name == "Annotations":
            return (beside or image.parent.parent / name) / f"{image.stem}{suffix}"
    return image.with_suffix(suffix)


def marked_files(folder: Path) -> OutputFiles:
    """The files in a folder of a user that vocdet wrote."""
    marker = read_marker(folder)
    return OutputFiles(folder, marker.kind if marker else FILES_KIND)


def annotation_state(path: Path, files: OutputFiles) -> State:
    """Whose work an annotation is: of the machine, corrected by a person, of a person, or there is none."""
    if not os.path.lexists(path):
        return "without"
    if path.name not in files.earlier and path.name not in files.files:
        return "human"
    machine = files.may_write(path.name)
    files.kept.clear()
    return "machine-made" if machine else "corrected"


@dataclass(frozen=True, slots=True)
class LabelingProgress:
    """How far the annotation of some images is."""

    images: int
    states: Counter[str]  # images by the state of their annotation
    left: tuple[Path, ...]  # images whose annotation is machine-made, or that have none


def progress(sources: Sequence[str]) -> LabelingProgress:
    """Count the images whose annotations are machine-made, corrected, or of people, and those without any.

    A machine-made annotation counts as corrected once it was saved again in labelImg or labelme.
    """
    items = [item for item in find_sources(sources) if item.kind == "image"]
    folders: dict[Path, OutputFiles] = {}
    states, left = Counter[str](), []
    for item in items:
        image, state = Path(item.address), "without"
        for suffix in (".xml", ".json"):
            path = annotation_path(image, suffix)
            files = folders.setdefault(path.parent, marked_files(path.parent))
            state = annotation_state(path, files)
            if state != "without":
                break
        states[state] += 1
        if state in ("without", "machine-made"):
            left.append(image)
    return LabelingProgress(len(items), states, tuple(left))
