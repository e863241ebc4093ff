"""A VOC or labelImg folder as a `Dataset`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from vocdet.data import image_files
from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding, Notes, Severity, raise_errors
from vocdet.data.rotated import note_rotated
from vocdet.data.source_terms import VOC
from vocdet.errors import Place
from vocdet.file_names import folded
from vocdet.formats.images.lookup import ImageSize, image_size, split_suffix
from vocdet.formats.scan import Coordinates, CoordinatesChoice, Progress, Scan, Source, uncollected
from vocdet.formats.shared.builder import MOST_POSES, DatasetBuilder, TextColumn
from vocdet.formats.shared.extras import coordinates_of
from vocdet.formats.shared.label_lists import own_labels
from vocdet.formats.shared.settled import settled
from vocdet.formats.shared.values import read_labels
from vocdet.formats.voc import coordinates as conventions
from vocdet.formats.voc import masks as voc_masks
from vocdet.formats.voc import preserved
from vocdet.formats.voc.annotation import Annotation, parse_annotation, read_annotation, read_file, without_objects
from vocdet.formats.voc.layout import Layout, find_layout
from vocdet.formats.voc.objects import NO_RARE_FIELDS, ObjectColumns, RareFields, RawObject, columns_of
from vocdet.formats.voc.preserved import AS_DEFAULT
from vocdet.formats.voc.usual import UsualFile, UsualObjects, usual_objects
from vocdet.wording import counted, listed, quoted

_BATCH = 64  # files, whose texts fit into the cache of a processor

_PLAIN = re.compile(r"[^/\\:]*")  # a <filename> without folders


def read(
    root: Path, *, labels: Path | None = None, coordinates: CoordinatesChoice = "auto", progress: Progress | None = None
) -> Scan:
    """Read a folder without errors; otherwise raise all of them together."""
    found = scan(Source(root, labels=labels, coordinates=coordinates), progress=progress)
    raise_errors(found.findings)
    return found


def scan(source: Source, *, without_images: bool = False, progress: Progress | None = None) -> Scan:
    """Read what is readable of a folder, in the order of its file names.

    An image without an XML is a finding, and not in the dataset. An XML without objects is an image without objects.
    Labels are those of the label list, else all that occur, sorted. With `without_images` the images may be missing;
    the annotations then state their sizes. DatasetError for a folder without annotations or an unreadable label list.
    """
    label_list = read_labels(source.labels) if source.labels is not None else None
    layout = find_layout(source.path, without_images=without_images)
    reading = _Reading(layout, DatasetBuilder(layout.root), Notes(), without_images=without_images)
    with image_files.quiet_decoder(), uncollected():
        sources = list(layout.annotations)
        for first in range(0, len(sources), _BATCH):
            batch = _read_batch(layout.root, sources[first : first + _BATCH])
            for done, (file, annotation) in enumerate(batch.annotations.items(), first + 1):
                _read_one(reading, file, annotation, batch)
                if progress is not None:
                    progress(done, len(sources))
            _add_pending(reading, batch)
        dataset, reason = _dataset(reading, label_list, source.coordinates)
    annotated = set(layout.annotations.values())
    unannotated = {
        file: stem
        for stem, files in layout.images.items()
        for file in files
        if stem not in annotated and file not in reading.used and file not in reading.seen
    }
    findings = [
        *layout.findings,
        *reading.notes.findings,
        *_unannotated(layout, unannotated),
        *_unknown_tags(reading),
    ]
    left_out = dict.fromkeys(unannotated.values(), "whose image has no annotation") | dict.fromkeys(
        annotated.difference(dataset.images.stems), ""
    )
    folders = dict.fromkeys(file.partition("/")[0] for file in layout.annotations if "/" in file)
    where = f"in {', '.join(folders)}" if folders else "beside the images"
    kind = f"a VOC folder, {counted(len(layout.annotations), 'XML file')} {where}"
    scan = Scan(dataset, tuple(findings), coordinates_of(dataset), reason, left_out, "voc", kind,
                reading.label_source)  # fmt: skip
    return settled(scan, reading.builder.facts)


@dataclass(slots=True)
class _Reading:
    """A VOC folder while its files are read."""

    layout: Layout
    builder: DatasetBuilder
    notes: Notes
    without_images: bool = False  # whether all may be missing
    databases: list[str] = field(default_factory=list)  # texts of <source> by image
    stated: Counter[str] = field(default_factory=Counter)  # files by their <coordinates>
    label_source: str = ""
    polygons: TextColumn = field(default_factory=TextColumn)  # x1,y1,x2,y2,... with ],[ between polygons, by object
    rare: dict[int, RareFields] = field(default_factory=dict)  # by object
    masks: dict[int, bytes] = field(default_factory=dict)  # RLE of the pixels in SegmentationObject, by object
    dropped_poses: int = 0
    rotated: int = 0  # objects
    unknown: Counter[str] = field(default_factory=Counter)  # files by their unknown tags
    source_of: dict[str, str] = field(default_factory=dict)  # stem -> annotation
    used: dict[str, str] = field(default_factory=dict)  # image -> annotation
    seen: set[str] = field(default_factory=set)  # images that an annotation may mean

    def note(self, code: str, severity: Severity, problem: str, path: Path | str, hint: str) -> None:
        self.notes.add(code, severity, problem, Path(path), hint)


@dataclass(slots=True)
class _Batch:
    """Files that are read at once, because the objects of those of the usual form are converted together."""

    objects: UsualObjects
    annotations: dict[str, Annotation] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)  # of the usual form: the number in `objects`
    pending: list[tuple[int, int]] = field(default_factory=list)  # image rows and files whose objects are not yet added


def _read_batch(root: Path, sources: Sequence[str]) -> _Batch:
    found = {source: read_file(f"{root}/{source}") for source in sources}
    usual = {source: file for source, file in found.items() if isinstance(file, UsualFile)}
    numbers = {source: number for number, source in enumerate(usual)}
    batch = _Batch(usual_objects(list(usual.values())))
    for source, file in found.items():
        if not isinstance(file, UsualFile):
            batch.annotations[source] = file
        elif numbers[source] in batch.objects.unusual:
            batch.annotations[source] = parse_annotation(f"{root}/{source}")
        else:
            batch.annotations[source], batch.files[source] = without_objects(file), numbers[source]
    return batch


def _read_one(reading: _Reading, source: str, annotation: Annotation, batch: _Batch) -> None:
    layout, builder = reading.layout, reading.builder
    path = f"{layout.root}/{source}"
    stem = layout.annotations[source]
    reading.notes.findings += annotation.findings
    if not annotation.readable:
        return
    file = "" if stem in reading.source_of else _image_of(reading, stem, annotation, path)
    if stem in reading.source_of or reading.used.get(file, source) != source:
        _note_second(reading, reading.source_of.get(stem) or reading.used[file], path)
        return
    reading.source_of[stem] = source
    size = _size_of(reading, file, annotation, path) if file else None
    if not file or size is None:
        return
    header, number = annotation.header, batch.files.get(source, -1)
    count = batch.objects.count(number)
    if stem in layout.masks:
        _add_pending(reading, batch)
        _read_masks(reading, stem, annotation, count or len(annotation.objects), size[:2])
    rares = [item.rare for item in annotation.objects if item.rare is not None]
    masked = header.masks or any(rare.polygons or rare.segmentation for rare in rares)
    if header.segmented == ("1" if masked or number in batch.objects.outlined else "0"):
        header.segmented = AS_DEFAULT
    if header.path == file.rpartition("/")[2]:
        header.path = AS_DEFAULT
    row = builder.add_image(file, source, size, stem=stem, extra=preserved.image_json(header))
    if count:
        batch.pending.append((row, number))
    elif annotation.objects:
        _add_pending(reading, batch)
        objects = [_clipped_object(item, size) for item in annotation.objects] if rares else annotation.objects
        _add_objects(reading, [row] * len(objects), columns_of(objects))
    reading.databases.append(annotation.database)
    if annotation.coordinates:
        reading.stated[annotation.coordinates] += 1
    if annotation.unknown:
        reading.unknown.update(annotation.unknown)


def _clipped_object(item: RawObject, size: tuple[int, int] | ImageSize) -> RawObject:
    """An object whose upright box, if it is that around a rotated one, ends at the border of the image."""
    if item.rare is None or not item.rare.corners:
        return item
    limits = [float(size[0]), float(size[1])] * 2
    xmin, ymin, xmax, ymax = (min(max(value, 0.0), limit) for value, limit in zip(item.box, limits, strict=True))
    return item._replace(box=(xmin, ymin, xmax, ymax)) if xmin < xmax and ymin < ymax else item


def _add_pending(reading: _Reading, batch: _Batch) -> None:
    """Add the objects of files of the usual form."""
    if batch.pending:
        objects, files = batch.objects, [file for _, file in batch.pending]
        images = [image for image, file in batch.pending for _ in range(objects.count(file))]
        batch.pending = []
        _add_objects(reading, images, objects.of_files(files))


def _add_objects(reading: _Reading, images: Sequence[int], objects: ObjectColumns) -> None:
    """Add objects of these images, given by their rows."""
    builder = reading.builder
    for i, rare in objects.rare.items():
        row = len(builder.image) + i
        if rare.polygons:
            reading.polygons.add(row, "],[".join(rare.polygons).encode())
            rare.polygons = ()
        reading.rotated += bool(rare.corners)
        if rare != NO_RARE_FIELDS:
            reading.rare[row] = rare
    ids, pose_ids, poses = builder.label_ids, builder.pose_ids, objects.poses
    if len(pose_ids) + len(poses) > MOST_POSES:  # a number for every object is not a pose
        reading.dropped_poses += sum(pose not in pose_ids for pose in poses)
        poses = [pose if pose in pose_ids else "" for pose in poses]
    builder.add_objects(
        images,
        [ids.setdefault(label, len(ids)) for label in objects.labels],
        objects.boxes,
        objects.lines,
        flags=objects.flags,
        pose=[pose_ids.setdefault(pose, len(pose_ids)) for pose in poses],
    )


def _note_second(reading: _Reading, first: str, path: str) -> None:
    """Note a second annotation of an image; it is only a warning if it says the same as the first."""
    other, annotation = read_annotation(f"{reading.layout.root}/{first}"), read_annotation(path)
    contents = [[item._replace(line=0) for item in each.objects] for each in (other, annotation)]
    if repr(contents[0]) == repr(contents[1]) and other.size == annotation.size and not annotation.findings:
        problem = f"annotates the same image as {first}, with the same objects: it is not used"
        reading.note("voc.stem.repeated", "warning", problem, path, "delete one of the two XMLs")
        return
    problem = f"annotates the same image as {first}, with other objects"
    hint = "delete the outdated XML; if it belongs to another image, give it the name of that image, and in <filename>"
    reading.note("voc.stem.repeated", "error", problem, path, hint)


def _image_of(reading: _Reading, stem: str, annotation: Annotation, path: str) -> str:
    """The image of an annotation, by the stem of its file, else by the last component of its <filename>."""
    layout, filename = reading.layout, annotation.filename
    source = path[len(f"{layout.root}/") :]
    found = layout.images.get(stem, [])
    plain = _PLAIN.fullmatch(filename) is not None
    if len(found) == 1 and plain:
        file = found[0]
        reading.used[file] = source
        if filename and filename != file.rpartition("/")[2]:
            _check_filename(reading, filename, file, path)
        return file
    leads_out = not plain and (re.match(r"[/\\]|[A-Za-z]:", filename) or ".." in re.split(r"[/\\]", filename))
    if leads_out:
        code = "path.traversal" if ".." in filename else "path.absolute"
        hint = "only its last component is used, inside the dataset"
        reading.note(code, "warning", f"<filename> is {quoted(filename)}, not a file name", path, hint)
    named = re.split(r"[/\\]", filename)[-1]
    other = layout.others.get(stem, "")
    unread = other if PurePosixPath(other).suffix.lower() in image_files.OTHER_SUFFIXES else ""
    if not layout.images and reading.without_images and not unread:
        suffix = PurePosixPath(named).suffix
        return stem + (suffix if suffix.lower() in image_files.IMAGE_SUFFIXES else ".jpg")
    named_stem = named if named in layout.images else PurePosixPath(named).stem
    found = layout.images_of(stem)
    if not found and named_stem:
        found = layout.images_of(named_stem)
        for file in found:  # its own annotation comes first, wherever its file is
            own = layout.annotation_of(file)
            if own:
                reading.used.setdefault(file, own)
    elif len(found) == 1 and named and not leads_out:
        _check_filename(reading, named, found[0], path)
    if not found:
        return _note_missing(reading, stem, path)
    chosen = found[0] if len(found) == 1 else _chosen_image(reading, found, annotation, named, path)
    reading.seen.update(found)
    if chosen:
        reading.used.setdefault(chosen, source)
    return chosen


def _chosen_image(reading: _Reading, found: Sequence[str], annotation: Annotation, named: str, path: str) -> str:
    """One of several images with the stem of an annotation; "", with an error, if they are in different folders."""
    beside = [file for file in found if (reading.layout.root / file).parent == Path(path).parent] or found
    exact = [file for file in beside if PurePosixPath(file).name == named]
    if len({file.rpartition("/")[0] for file in exact or beside}) > 1:
        folder = re.split(r"[/\\]", annotation.header.path or "")[-2:-1] or [""]
        folders = {folder[0], re.split(r"[/\\]", annotation.header.folder or "")[-1]} - {""}
        fitting = [file for file in exact or beside if PurePosixPath(file).parent.name in folders]
        if len(fitting) != 1:
            problem = f"{len(found)} images in different folders fit its name: {listed(found, most=3)}"
            hint = "put the XML beside its image, or into folders of the same names as those of the images"
            reading.note("image.ambiguous", "error", problem, path, hint)
            return ""
        return fitting[0]
    chosen = (exact or beside)[0]
    if not exact:
        problem = f"{len(found)} images have the stem {PurePosixPath(chosen).stem!r}: {chosen} is used"
        others = listed((file for file in found if file != chosen), most=3)
        hint = f"name the image in <filename>, or move those of other images away: {others}"
        reading.note("image.ambiguous", "warning", problem, path, hint)
    return chosen


def _note_missing(reading: _Reading, stem: str, path: str) -> str:
    hint = "put the image back, or delete the XML"
    other = reading.layout.others.get(stem)
    problem = f"its image is missing: there is no image with the stem {quoted(stem)}"
    if other:
        problem, hint = f"its image {other} has an unsupported format", "convert it to JPEG or PNG"
    reading.note("image.missing", "error", problem, path, hint)
    return ""


def _check_filename(reading: _Reading, filename: str, file: str, path: str) -> None:
    """Warn if a <filename> is that of another image than the one of the stem, or has another suffix."""
    name = file.rpartition("/")[2]
    stem, suffix = split_suffix(filename)
    if folded(filename) == folded(name) or not suffix or suffix[1:].isdigit():
        return
    same_stem = folded(stem) == folded(split_suffix(name)[0])
    if suffix not in image_files.IMAGE_SUFFIXES and not same_stem:
        return  # no name of a file, such as 1.5 or that of a folder
    other = [one for one in reading.layout.images.get(stem, ()) if one != file]
    problem = f"<filename> is {quoted(filename)}, but the XML has the name of {name}, which is used"
    hint = "correct <filename>"
    if other and not same_stem:
        problem += f"; {other[0]} exists, too"
        hint = "check in labelImg that the boxes fit, then correct <filename>, or the names of the XMLs"
    reading.note("voc.filename", "warning", problem, path, hint)


def _size_of(reading: _Reading, file: str, annotation: Annotation, path: str) -> tuple[int, int] | ImageSize | None:
    """The size that the boxes of an annotation refer to; None if nothing states it."""
    if reading.layout.images:
        image, findings = f"{reading.layout.root}/{file}", reading.notes.findings
        size = image_size(image, annotation.size, findings, terms=VOC, source=path, mark=annotation.exif)
        return annotation.size if size is None else size
    if annotation.size is None:
        problem = "has no <size> and no image"
        reading.note("voc.size.missing", "error", problem, path, "put the images beside it")
    return annotation.size


def _read_masks(reading: _Reading, stem: str, annotation: Annotation, count: int, size: tuple[int, int]) -> None:
    """Read the masks of an image's objects, of which there are `count`, from SegmentationObject."""
    path = reading.layout.root / reading.layout.masks[stem]
    found = voc_masks.read_masks(path, count, size, reading.notes.findings)
    skipped = any(finding.severity == "error" for finding in annotation.findings)
    if found is None or skipped:  # with an object left out, the numbers of the others are unknown
        return
    annotation.header.masks = True
    annotation.header.void = found.void
    for i, mask in enumerate(found.objects):
        if mask:
            reading.masks[len(reading.builder.image) + i] = mask


def _dataset(reading: _Reading, label_list: tuple[str, ...] | None, choice: CoordinatesChoice) -> tuple[Dataset, str]:
    """The dataset, and the reason for its coordinates."""
    builder, root = reading.builder, reading.layout.root
    known = label_list
    if known is None:
        known, reading.label_source = own_labels(root, builder.label_ids, reading.notes)
    boxes = builder.boxes()
    marks: list[Coordinates] = ["zero", "one"]
    mark = next((mark for mark in marks if 2 * reading.stated[mark] > len(builder.files)), None)
    if choice == "auto" and mark is not None:
        chosen, reason = mark, "stated by <coordinates> in the files"
    else:
        chosen, reason = conventions.decide(choice, boxes, builder.sizes(), reading.databases)
    note_rotated(reading.rotated, root, reading.notes)
    if reading.dropped_poses:
        problem = f"has {reading.dropped_poses} objects with distinct poses beyond the first {len(builder.pose_ids)}"
        hint = "rename the tag if it numbers the objects"
        reading.note("voc.pose", "warning", f"{problem}: these poses are lost", root, hint)
    preserved.add_object_columns(builder, reading.polygons, reading.rare, reading.masks, chosen)
    extra = preserved.dataset_json(root, chosen, reading.notes.findings)
    box = conventions.to_pixels(boxes, chosen)
    return builder.build(known, reading.notes.findings, box=box, extra=extra), reason


def _unannotated(layout: Layout, files: Iterable[str]) -> list[Finding]:
    problem = "has no annotation: it is not used"
    hint = "annotate it; if it shows no object, save it in labelImg without boxes"
    return [Finding("image.unannotated", "warning", problem, Place(layout.root / file), hint) for file in files]


def _unknown_tags(reading: _Reading) -> list[Finding]:
    findings = []
    for tag, count in sorted(reading.unknown.items()):
        problem = f"<{tag[:40]}> is unknown, in {counted(count, 'file')}: it is preserved, but not interpreted"
        hint = "check its spelling if vocdet should interpret it"
        findings.append(Finding("voc.tag.unknown", "warning", problem, Place(reading.layout.root), hint))
    return findings
