"""A VOC or labelImg folder as a `Dataset`."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from vocdet.boxes import Boxes
from vocdet.data import image_files
from vocdet.data.checks import Finding, Severity, raise_errors
from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.errors import ImageError, Place
from vocdet.formats import coordinates as conventions
from vocdet.formats.coordinates import Asked, Coordinates
from vocdet.formats.labels import nearest, read_labels
from vocdet.formats.voc_layout import Layout, find_layout
from vocdet.formats.voc_xml import Annotation, read_annotation

Progress = Callable[[int, int], None]  # how many of how many are done


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """A dataset as far as it can be read, and all that was odd about its files."""

    dataset: Dataset  # what could be read; boxes as written, also those outside their image
    findings: tuple[Finding, ...]
    coordinates: Coordinates
    reason: str  # why these coordinates
    left_out: Mapping[str, str]  # stem that is no part of the dataset -> why; "": a finding of its own says it


def read(
    root: Path, *, labels: Path | None = None, coordinates: Asked = "auto", progress: Progress | None = None
) -> Scan:
    """Read a folder whose files are all in order; else raise every error that was found, together."""
    found = scan(root, labels=labels, coordinates=coordinates, progress=progress)
    raise_errors(found.findings)
    return found


def scan(
    root: Path, *, labels: Path | None = None, coordinates: Asked = "auto", progress: Progress | None = None
) -> Scan:
    """Read what can be read of a folder, in the order of its file names.

    An image without an XML is not annotated: a finding, and no part of the dataset. An XML without objects is
    an image that is known to show none of the labels. Labels are those of the list file, else all that occur,
    sorted. Only a folder without annotations, or a list file that cannot be read, raises.
    """
    listed = read_labels(labels) if labels is not None else None
    layout = find_layout(root)
    rows = _Rows()
    with image_files.quiet_decoder():
        for done, source in enumerate(layout.annotations, 1):
            _read_one(layout, source, rows)
            if progress is not None:
                progress(done, len(layout.annotations))
    findings = [*layout.findings, *rows.findings, *_unannotated(layout, rows)]
    left_out = dict.fromkeys(layout.images, "whose image has no annotation") | dict.fromkeys(rows.claimed, "")
    known = listed if listed is not None else tuple(sorted(rows.label_ids))
    widths, heights = np.array(rows.widths, np.int32), np.array(rows.heights, np.int32)
    images = Images(tuple(rows.stems), tuple(rows.files), widths, heights, tuple(rows.sources))
    boxes = np.array(rows.box, np.float64).reshape(-1, 4)
    sizes = np.stack([widths, heights], axis=1)[np.array(rows.image, np.int64)]  # (M, 2)
    chosen, reason = conventions.decide(coordinates, boxes, sizes, rows.databases)
    objects = _objects(rows, known, conventions.to_pixels(boxes, chosen), layout.root, findings)
    return Scan(Dataset(layout.root, known, images, objects), tuple(findings), chosen, reason, left_out)


@dataclass(slots=True)
class _Rows:
    """The columns of a dataset while its files are being read."""

    stems: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    databases: list[str] = field(default_factory=list)
    widths: array[int] = field(default_factory=lambda: array("i"))
    heights: array[int] = field(default_factory=lambda: array("i"))
    label_ids: dict[str, int] = field(default_factory=dict)  # in the order they occur
    image: array[int] = field(default_factory=lambda: array("i"))  # from here on, an entry an object
    label: array[int] = field(default_factory=lambda: array("i"))  # as in label_ids
    box: array[float] = field(default_factory=lambda: array("d"))  # four an object, as written
    flags: array[int] = field(default_factory=lambda: array("b"))  # difficult, truncated, occluded
    line: array[int] = field(default_factory=lambda: array("i"))
    findings: list[Finding] = field(default_factory=list)
    source_of: dict[str, str] = field(default_factory=dict)  # stem -> annotation
    claimed: set[str] = field(default_factory=set)  # stems of images that have an annotation, readable or not

    def note(self, code: str, severity: Severity, problem: str, place: Path, hint: str) -> None:
        self.findings.append(Finding(code, severity, problem, Place(place), hint))


def _read_one(layout: Layout, source: str, rows: _Rows) -> None:
    path = layout.root / source
    stem = PurePosixPath(source).stem
    rows.claimed.add(stem)
    annotation = read_annotation(path)
    rows.findings += annotation.findings
    if not annotation.readable:
        return
    if stem in rows.source_of:
        problem = f"the stem {stem!r} is that of {rows.source_of[stem]} too"
        rows.note("voc.stem.repeated", "error", problem, path, "rename one XML and its image")
        return
    rows.source_of[stem] = source
    file = _image_of(layout, stem, annotation, path, rows)
    size = _size_of(layout.root / file, annotation, path, rows) if file else None
    if not file or size is None:
        return
    for item in annotation.objects:
        rows.image.append(len(rows.stems))
        rows.label.append(rows.label_ids.setdefault(item.label, len(rows.label_ids)))
        rows.box.extend(item.box)
        rows.flags.extend((item.difficult, item.truncated, item.occluded))
        rows.line.append(item.line)
    rows.stems.append(stem)
    rows.files.append(file)
    rows.sources.append(source)
    rows.widths.append(size[0])
    rows.heights.append(size[1])
    rows.databases.append(annotation.database)


def _image_of(layout: Layout, stem: str, annotation: Annotation, path: Path, rows: _Rows) -> str:
    """The image of an annotation, by the stem of its file and, if that fails, by the last part of its <filename>."""
    filename = annotation.filename
    if re.match(r"[/\\]|[A-Za-z]:", filename) or ".." in re.split(r"[/\\]", filename):
        code = "path.traversal" if ".." in filename else "path.absolute"
        hint = "only its last part is used, and only inside the dataset"
        rows.note(code, "warning", f"<filename> is {filename[:80]!r}, not a file name", path, hint)
    named = re.split(r"[/\\]", filename)[-1]
    named_stem = named if named in layout.images else PurePosixPath(named).stem
    found = layout.images_of(stem)
    if not found and named_stem:
        found = layout.images_of(named_stem)
        rows.claimed.add(named_stem)
    if not found:
        hint = "put the image back, or delete the XML"
        other = layout.others.get(stem)
        problem = f"its image is missing: there is no image with the stem {stem!r}"
        if other:
            problem, hint = f"its image {other} is of a kind that is not read", "convert it to JPEG or PNG"
        rows.note("image.missing", "error", problem, path, hint)
        return ""
    rows.claimed.update(PurePosixPath(file).stem for file in found)
    if len(found) == 1:
        return found[0]
    beside = [file for file in found if (layout.root / file).parent == path.parent] or found
    exact = [file for file in beside if PurePosixPath(file).name == named]
    chosen = (exact or beside)[0]
    if not exact:
        problem = f"{len(found)} images have the stem {stem!r}: {chosen} is taken"
        others = ", ".join(file for file in found if file != chosen)
        rows.note("image.ambiguous", "warning", problem, path, f"delete the others: {others}")
    return chosen


def _size_of(image: Path, annotation: Annotation, path: Path, rows: _Rows) -> tuple[int, int] | None:
    """Width and height of an image as it will be decoded; None where nothing tells."""
    said = annotation.size
    try:
        header = image_files.read_header(image)
    except ImageError as error:
        rows.note("image.corrupt", "error", error.problem, image, error.hint)
        return said
    size = header.width, header.height
    if said is None or said == size:
        return size
    if said == size[::-1] and image_files.read_orientation(image) >= 5:
        return said  # a phone's picture, annotated the way EXIF says it is to be shown
    problem = f"<size> is {said[0]}×{said[1]}, its image is {size[0]}×{size[1]}: the image's is used"
    rows.note("voc.size.differs", "warning", problem, path, "check that the boxes fit; open and save it in labelImg")
    return size


def _unannotated(layout: Layout, rows: _Rows) -> list[Finding]:
    hint = "annotate it; if there is nothing in it to find, save it in labelImg without boxes"
    return [
        Finding("image.unannotated", "warning", "has no annotation: it is not used", Place(layout.root / file), hint)
        for stem, files in layout.images.items()
        if stem not in rows.claimed
        for file in files
    ]


def _objects(rows: _Rows, known: Sequence[str], boxes: Boxes, root: Path, findings: list[Finding]) -> Objects:
    """The object table; objects whose label is not known become findings."""
    index = {label: i for i, label in enumerate(known)}
    names = tuple(rows.label_ids)
    new_ids = np.array([index.get(name, -1) for name in names], np.int32)
    label = new_ids[np.array(rows.label, np.int64)]  # (M,)
    hints = {name: _label_hint(name, known) for name in names if name not in index}
    for row in np.flatnonzero(label < 0):
        name = names[rows.label[row]]
        place = Place(root / rows.sources[rows.image[row]], rows.line[row])
        problem = f"the label {name!r} is not in the label list"
        findings.append(Finding("label.unknown", "error", problem, place, hints[name]))
    flags = np.array(rows.flags, np.bool_).reshape(-1, 3)
    objects = Objects(
        image=np.array(rows.image, np.int32),
        label=label,
        box=boxes,
        difficult=flags[:, 0],
        truncated=flags[:, 1],
        occluded=flags[:, 2],
        crowd=np.zeros(len(label), np.bool_),
        line=np.array(rows.line, np.int32),
    )
    return objects.take(label >= 0)


def _label_hint(name: str, known: Sequence[str]) -> str:
    close = nearest(name, known)
    return f"did you mean {close!r}?" if close else "add it to the list, or correct the annotation"
