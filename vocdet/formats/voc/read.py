"""A VOC or labelImg folder as a `Dataset`."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from vocdet.data import image_files
from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.findings import Finding, Severity, raise_errors
from vocdet.data.texts import Texts
from vocdet.errors import ImageError, Place, VocdetError
from vocdet.formats.extras import coordinates_of
from vocdet.formats.labels import read_labels
from vocdet.formats.scan import Progress, Scan, uncollected
from vocdet.formats.source import Coordinates, CoordinatesChoice
from vocdet.formats.voc import coordinates as conventions
from vocdet.formats.voc import masks as voc_masks
from vocdet.formats.voc import preserved
from vocdet.formats.voc.annotation import Annotation, read_annotation
from vocdet.formats.voc.layout import Layout, find_layout, leads_inside
from vocdet.formats.voc.objects import CROWD, DIFFICULT, OCCLUDED, TRUNCATED, RawObject
from vocdet.formats.voc.preserved import SAME, Rest
from vocdet.wording import counted, nearest

_MOST_POSES = 2**15 - 1  # different ones; those that come after are not kept, which is said
_PLAIN = re.compile(r"[^/\\:]*")  # a <filename> that is one


def read(
    root: Path, *, labels: Path | None = None, coordinates: CoordinatesChoice = "auto", progress: Progress | None = None
) -> Scan:
    """Read a folder whose files are all in order; else raise every error that was found, together."""
    found = scan(root, labels=labels, coordinates=coordinates, progress=progress)
    raise_errors(found.findings)
    return found


def scan(
    root: Path,
    *,
    labels: Path | None = None,
    coordinates: CoordinatesChoice = "auto",
    without_images: bool = False,
    progress: Progress | None = None,
) -> Scan:
    """Read what can be read of a folder, in the order of its file names.

    An image without an XML is not annotated: a finding, and no part of the dataset. An XML without objects is
    an image that is known to show none of the labels. Labels are those of the list file, else all that occur,
    sorted. Only a folder without annotations, or an unreadable list file, raises. With `without_images` the images
    may all be missing; their sizes are then what the annotations say.
    """
    listed = read_labels(labels) if labels is not None else None
    layout = find_layout(root, without_images=without_images)
    rows = _Rows()
    with image_files.quiet_decoder(), uncollected():
        for done, source in enumerate(layout.annotations, 1):
            _read_one(layout, source, rows)
            if progress is not None:
                progress(done, len(layout.annotations))
        dataset, reason, findings = _dataset(rows, layout, listed, coordinates)
    findings = [*layout.findings, *findings, *_unannotated(layout, rows), *_unknown_tags(layout, rows)]
    left_out = dict.fromkeys(layout.images, "whose image has no annotation") | dict.fromkeys(
        rows.claimed - set(rows.stems), ""
    )
    folders = dict.fromkeys(file.partition("/")[0] for file in layout.annotations if "/" in file)
    where = f"in {', '.join(folders)}" if folders else "beside the images"
    kind = f"a VOC folder, {counted(len(layout.annotations), 'XML file')} {where}"
    return Scan(dataset, tuple(findings), coordinates_of(dataset), reason, left_out, "voc", kind)


@dataclass(slots=True)
class _Rows:
    """The columns of a dataset while its files are being read."""

    stems: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    databases: list[str] = field(default_factory=list)
    marks: Counter[str] = field(default_factory=Counter)  # what the files' own <coordinates> say
    widths: array[int] = field(default_factory=lambda: array("i"))
    heights: array[int] = field(default_factory=lambda: array("i"))
    headers: list[bytes] = field(default_factory=list)
    label_ids: dict[str, int] = field(default_factory=dict)  # in the order they occur
    pose_ids: dict[str, int] = field(default_factory=lambda: {"": 0})
    image: array[int] = field(default_factory=lambda: array("i"))  # from here on, an entry an object
    label: array[int] = field(default_factory=lambda: array("i"))  # as in label_ids
    box: array[float] = field(default_factory=lambda: array("d"))  # four an object, as written
    flags: array[int] = field(default_factory=lambda: array("b"))
    line: array[int] = field(default_factory=lambda: array("i"))
    pose: array[int] = field(default_factory=lambda: array("h"))
    rest: dict[int, Rest] = field(default_factory=dict)  # by object
    masks: dict[int, bytes] = field(default_factory=dict)  # by object: RLE of its pixels in SegmentationObject
    dropped_poses: int = 0
    findings: list[Finding] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)  # tags that are kept without being known: files
    source_of: dict[str, str] = field(default_factory=dict)  # stem -> annotation
    claimed: set[str] = field(default_factory=set)  # stems of images that have an annotation, readable or not

    def note(self, code: str, severity: Severity, problem: str, place: Path, hint: str) -> None:
        self.findings.append(Finding(code, severity, problem, Place(place), hint))


def _read_one(layout: Layout, source: str, rows: _Rows) -> None:
    path = f"{layout.root}/{source}"
    stem = layout.stem_of[source]
    rows.claimed.add(stem)
    annotation = read_annotation(path)
    rows.findings += annotation.findings
    if not annotation.readable:
        return
    if stem in rows.source_of:
        problem = f"the stem {stem!r} is that of {rows.source_of[stem]} too"
        rows.note("voc.stem.repeated", "error", problem, Path(path), "rename one XML and its image")
        return
    rows.source_of[stem] = source
    file = _image_of(layout, stem, annotation, path, rows)
    size = _size_of(layout, file, annotation, path, rows) if file else None
    if not file or size is None:
        return
    if stem in layout.masks:
        _read_masks(layout, stem, annotation, size, rows)
    header = annotation.header
    rests = [item.rest for item in annotation.objects if item.rest is not None]
    masked = header.masks or any(rest.polygons or rest.segmentation for rest in rests)
    if header.segmented == ("1" if masked else "0"):
        header.segmented = SAME
    if header.path == file.rpartition("/")[2]:
        header.path = SAME
    _add_objects(annotation.objects, rows)
    rows.stems.append(stem)
    rows.files.append(file)
    rows.sources.append(source)
    rows.widths.append(size[0])
    rows.heights.append(size[1])
    rows.databases.append(annotation.database)
    rows.marks[annotation.coordinates] += 1
    if annotation.unknown:
        rows.unknown.update(annotation.unknown)
    rows.headers.append(preserved.image_json(header))


def _add_objects(objects: Sequence[RawObject], rows: _Rows) -> None:
    if not objects:
        return
    labels, boxes, flags, lines, poses, rests = zip(*objects, strict=True)
    for i, rest in enumerate(rests, len(rows.image)):
        if rest is not None:
            rows.rest[i] = rest
    ids, pose_ids = rows.label_ids, rows.pose_ids
    rows.image.extend([len(rows.stems)] * len(objects))
    rows.label.extend([ids.setdefault(label, len(ids)) for label in labels])
    rows.box.extend(chain.from_iterable(boxes))
    rows.flags.extend(flags)
    rows.line.extend(lines)
    if len(pose_ids) + len(objects) > _MOST_POSES:  # a number of its own for every object is no pose
        rows.dropped_poses += sum(pose not in pose_ids for pose in poses)
        poses = tuple(pose if pose in pose_ids else "" for pose in poses)
    rows.pose.extend([pose_ids.setdefault(pose, len(pose_ids)) for pose in poses])


def _image_of(layout: Layout, stem: str, annotation: Annotation, path: str, rows: _Rows) -> str:
    """The image of an annotation, by the stem of its file and, if that fails, by the last part of its <filename>."""
    filename = annotation.filename
    found = layout.images.get(stem, [])
    plain = _PLAIN.fullmatch(filename) is not None
    if len(found) == 1 and plain:
        return found[0]
    if not plain and (re.match(r"[/\\]|[A-Za-z]:", filename) or ".." in re.split(r"[/\\]", filename)):
        code = "path.traversal" if ".." in filename else "path.absolute"
        hint = "only its last part is used, and only inside the dataset"
        rows.note(code, "warning", f"<filename> is {filename[:80]!r}, not a file name", Path(path), hint)
    named = re.split(r"[/\\]", filename)[-1]
    if not layout.images:  # bare
        suffix = PurePosixPath(named).suffix
        return stem + (suffix if suffix.lower() in image_files.IMAGE_SUFFIXES else ".jpg")
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
        rows.note("image.missing", "error", problem, Path(path), hint)
        return ""
    rows.claimed.update(PurePosixPath(file).stem for file in found)
    if len(found) == 1:
        return found[0]
    beside = [file for file in found if (layout.root / file).parent == Path(path).parent] or found
    exact = [file for file in beside if PurePosixPath(file).name == named]
    chosen = (exact or beside)[0]
    if not exact:
        problem = f"{len(found)} images have the stem {stem!r}: {chosen} is taken"
        others = ", ".join(file for file in found if file != chosen)
        rows.note("image.ambiguous", "warning", problem, Path(path), f"delete the others: {others}")
    return chosen


def _size_of(layout: Layout, file: str, annotation: Annotation, path: str, rows: _Rows) -> tuple[int, int] | None:
    """Width and height of an image as it will be decoded; None where nothing tells."""
    said = annotation.size
    if not layout.images:  # bare
        if said is None:
            rows.note(
                "voc.size.missing", "error", "has no <size>, and no image", Path(path), "put the images beside it"
            )
        return said
    image = f"{layout.root}/{file}"
    try:
        header = image_files.read_header(image)
    except ImageError as error:
        rows.note("image.corrupt", "error", error.problem, Path(image), error.hint)
        return said
    size = header.width, header.height
    if said is None or said == size:
        return size
    if said == size[::-1] and image_files.read_orientation(Path(image)) >= 5:
        return said  # a phone's picture, annotated the way EXIF says it is to be shown
    problem = f"<size> is {said[0]}×{said[1]}, its image is {size[0]}×{size[1]}: the image's is used"
    hint = "check that the boxes fit; open and save it in labelImg"
    rows.note("voc.size.differs", "warning", problem, Path(path), hint)
    return size


def _read_masks(layout: Layout, stem: str, annotation: Annotation, size: tuple[int, int], rows: _Rows) -> None:
    """The pixels SegmentationObject has for the objects of an image."""
    found = voc_masks.read_masks(layout.root / layout.masks[stem], len(annotation.objects), size, rows.findings)
    if found is None or any(
        finding.severity == "error" for finding in annotation.findings
    ):  # with an object left out, the numbers of the others are not known
        return
    annotation.header.masks = True
    annotation.header.void = found.void
    for i, mask in enumerate(found.objects):
        if mask:
            rows.masks[len(rows.image) + i] = mask


def _dataset(
    rows: _Rows, layout: Layout, listed: tuple[str, ...] | None, asked: CoordinatesChoice
) -> tuple[Dataset, str, list[Finding]]:
    """The tables, why the coordinates are what they are, and all findings."""
    findings = rows.findings
    known = listed if listed is not None else _own_labels(rows, layout.root)
    widths, heights = np.array(rows.widths, np.int32), np.array(rows.heights, np.int32)
    headers = Texts.of(rows.headers)
    images = Images(tuple(rows.stems), tuple(rows.files), widths, heights, tuple(rows.sources), headers)
    boxes = np.array(rows.box, np.float64).reshape(-1, 4)
    sizes = np.stack([widths, heights], axis=1)[np.array(rows.image, np.int64)]  # (M, 2)
    marks: list[Coordinates] = ["zero", "one"]
    mark = next((mark for mark in marks if 2 * rows.marks[mark] > len(rows.stems)), None)
    if asked == "auto" and mark is not None:
        chosen, reason = mark, "as <coordinates> in the files says"
    else:
        chosen, reason = conventions.decide(asked, boxes, sizes, rows.databases)
    label = _labels(rows, known, layout.root, findings)
    masks, extras, areas = preserved.object_columns(rows.rest, rows.masks, len(boxes), chosen)
    if rows.dropped_poses:
        problem = (
            f"has {rows.dropped_poses} objects with a <pose> of its own, after {len(rows.pose_ids)} others: not kept"
        )
        rows.note(
            "voc.pose", "warning", problem, layout.root, "is it a number for every object? call the tag otherwise"
        )
    flags = np.array(rows.flags, np.int8)
    keep = label >= 0
    table = Objects(
        image=np.array(rows.image, np.int32),
        label=np.maximum(label, 0),
        box=conventions.to_pixels(boxes, chosen),
        difficult=flags & DIFFICULT > 0,
        truncated=flags & TRUNCATED > 0,
        occluded=flags & OCCLUDED > 0,
        crowd=flags & CROWD > 0,
        line=np.array(rows.line, np.int32),
        pose=np.array(rows.pose, np.int16),
        area=areas,
        segmentation=masks,
        extra=extras,
    )
    dataset = Dataset(layout.root, known, images, table if keep.all() else table.take(keep),
                      tuple(rows.pose_ids), preserved.dataset_json(layout.root, chosen, findings))  # fmt: skip
    return dataset, reason, findings


def _labels(rows: _Rows, known: Sequence[str], root: Path, findings: list[Finding]) -> NDArray[np.int32]:
    """(M,) the label of every object; −1 where it is not known, which becomes a finding."""
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
    return np.asarray(label, np.int32)


def _own_labels(rows: _Rows, root: Path) -> tuple[str, ...]:
    """The labels of the list in the folder, where it has one and all that occur are in it; else these, sorted."""
    occurring = tuple(sorted(rows.label_ids))
    path = root / preserved.LABEL_LIST
    if not path.is_file() or not leads_inside(path, root):
        return occurring
    try:
        listed = read_labels(path)
    except VocdetError as error:
        rows.note("label.list", "warning", f"is not used as the list of labels: {error}", path, "")
        return occurring
    missing = sorted(set(occurring) - set(listed))
    if missing:
        problem = f"is not used as the list of labels: it lacks {', '.join(map(repr, missing[:5]))}"
        rows.note("label.list", "warning", problem, path, "add them, correct the annotations, or delete the list")
        return occurring
    return listed


def _label_hint(name: str, known: Sequence[str]) -> str:
    close = nearest(name, known)
    return f"did you mean {close!r}?" if close else "add it to the list, or correct the annotation"


def _unannotated(layout: Layout, rows: _Rows) -> list[Finding]:
    hint = "annotate it; if there is nothing in it to find, save it in labelImg without boxes"
    return [
        Finding("image.unannotated", "warning", "has no annotation: it is not used", Place(layout.root / file), hint)
        for stem, files in layout.images.items()
        if stem not in rows.claimed
        for file in files
    ]


def _unknown_tags(layout: Layout, rows: _Rows) -> list[Finding]:
    findings = []
    for tag, count in sorted(rows.unknown.items()):
        problem = f"<{tag[:40]}> is in {counted(count, 'file')}: it is kept, and not read"
        hint = "nothing to do, unless it was to mean something to vocdet"
        findings.append(Finding("voc.tag.unknown", "warning", problem, Place(layout.root), hint))
    return findings
