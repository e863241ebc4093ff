"""A folder of labelme's JSON files as a `Dataset`."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field, replace

import numpy as np

from vocdet.data import image_files
from vocdet.data.findings import Notes
from vocdet.data.image_files import IMAGE_SUFFIXES
from vocdet.data.rotated import note_rotated
from vocdet.data.source_terms import LABELME
from vocdet.formats.images.lookup import (
    BY_FOLDER,
    ImageIndex,
    ImageSize,
    image_size,
    safe_relative,
    split_suffix,
    splits_by_folder,
    stem_of,
)
from vocdet.formats.labelme.file import LabelmeFile, read_file
from vocdet.formats.labelme.layout import find_layout
from vocdet.formats.labelme.shapes import read_items
from vocdet.formats.scan import Progress, Scan, Source, uncollected
from vocdet.formats.shared.builder import DatasetBuilder
from vocdet.formats.shared.label_lists import own_labels
from vocdet.formats.shared.settled import settled
from vocdet.formats.shared.values import read_labels
from vocdet.wording import counted


def scan(source: Source, *, without_images: bool = False, progress: Progress | None = None) -> Scan:
    """Read what is readable of a folder, in the order of its JSON files.

    An image without a JSON file is left out, with a finding. Shapes with the same label and group_id are one object;
    shapes without area are left out, with a finding. Labels are those of the label list, else all that occur, sorted.
    With `without_images` all images may be missing, and sizes are those in the files. Raises only if there are no
    labelme files or images, or if the label list cannot be read.
    """
    label_list = read_labels(source.labels) if source.labels is not None else None
    layout = find_layout(source.path, without_images=without_images)
    annotations = layout.annotations
    builder, notes = DatasetBuilder(layout.images.root), Notes([*layout.findings])
    reading = _Reading(layout.images, builder, notes, without_images=without_images)
    unreadable = {split_suffix(path)[0]: path for path in layout.unreadable}
    stems = {image: split_suffix(image)[0] for image in layout.images.files} if unreadable else {}
    reading.claimed |= {image: unreadable[stem] for image, stem in stems.items() if stem in unreadable}
    with uncollected(), image_files.quiet_decoder():
        for done, annotation in enumerate(annotations, 1):
            _read_one(reading, annotation)
            if progress is not None:
                progress(done, len(annotations))
        _note_embedded(reading)
        note_rotated(reading.rotated, source.path, reading.notes)
        labels, label_source = label_list or (), ""
        if label_list is None:
            labels, label_source = own_labels(layout.images.root, reading.builder.label_ids, reading.notes)
        dataset = reading.builder.build(labels, reading.notes.findings, entries="shapes")
    unannotated = _unannotated(reading)
    row_of = {file: row for row, file in enumerate(dataset.images.files)}
    left_out = unannotated | {stem_of(file): "" for file in reading.claimed if file not in row_of}
    splits = {
        split: np.array([row_of[file] for file in files], np.int64)
        for split, files in splits_by_folder(dataset.images.files).items()
    }
    folders = sorted({annotation.rpartition("/")[0] for annotation in annotations})
    where = "beside the images" if folders == [""] else "in " + ", ".join(folders[:3])
    kind = f"a labelme folder, {counted(len(annotations), 'JSON file')} {where}"
    kind += BY_FOLDER if splits else ""
    dataset = replace(dataset, splits=splits)
    scan = Scan(dataset, tuple(reading.notes.findings), left_out=left_out, format="labelme", kind=kind,
                label_source=label_source)  # fmt: skip
    return settled(scan, reading.builder.facts)


@dataclass(slots=True)
class _Reading:
    """A labelme folder while its files are read."""

    index: ImageIndex
    builder: DatasetBuilder
    notes: Notes
    claimed: dict[str, str] = field(default_factory=dict)  # image -> the first labelme file that refers to it
    without_images: bool = False
    rotated: int = 0  # boxes
    embedded: int = 0  # images in JSON files


def _read_one(reading: _Reading, source: str) -> None:
    index, builder, notes = reading.index, reading.builder, reading.notes
    path = index.root / source
    file = read_file(path, notes)
    if file is None:
        beside = [
            image for image in index.by_stem(stem_of(source)) if split_suffix(image)[0] == split_suffix(source)[0]
        ]
        reading.claimed |= {image: source for image in beside if image not in reading.claimed}
        return
    image = _labelme_image(reading, source, file)
    if not image:
        return
    reading.embedded += image.startswith(f"{source}/")
    if image in reading.claimed:
        problem = f"its image {image} is also that of {reading.claimed[image]}"
        notes.add("labelme.image.repeated", "error", problem, path, "delete one of the two, or correct its imagePath")
        return
    reading.claimed[image] = source
    size = _shown_size(index, image, file, notes)
    if size is None:
        return
    row = builder.add_image(image, source, size, extra=file.extra)
    for item in read_items(file, size[:2], notes):
        builder.segmentations.add(len(builder.image), item.segmentation)
        builder.extras.add(len(builder.image), item.extra)
        reading.rotated += item.rotated
        label = builder.label_id(item.label)
        builder.add_objects([row], [label], item.box, [item.index + 1], flags=[item.flags])


def _note_embedded(reading: _Reading) -> None:
    if reading.embedded:
        problem = f"{counted(reading.embedded, 'image')} only inside of JSON files: they are read from there"
        hint = '`vocdet.convert(dataset, folder, to="labelme")` writes them as files'
        reading.notes.add("image.embedded", "warning", problem, reading.index.root, hint)


def _unannotated(reading: _Reading) -> dict[str, str]:
    """Why images without a labelme file are not in the dataset, by stem; each is a finding."""
    hint = "annotate it; if there is nothing to annotate, save it in labelme without shapes"
    images = [file for file in reading.index.files if file not in reading.claimed]
    for file in images:
        path = reading.index.root / file
        reading.notes.add("image.unannotated", "warning", "has no annotation: it is not used", path, hint)
    return dict.fromkeys(map(stem_of, images), "whose image has no annotation")


def _labelme_image(reading: _Reading, source: str, file: LabelmeFile) -> str:
    """The image of a file: at its imagePath, else the one with the stem of the file, else one with that name, else the
    one in the file, at a path below that of the file.
    """
    index, notes = reading.index, reading.notes
    name = safe_relative(file.image)
    folder = source.rpartition("/")[0]
    if name.code in ("path.absolute", "path.name"):
        problem = f"imagePath is {file.image[:80]!r}, not a path from this file"
        notes.add(name.code, "warning", problem, file.path, "only its last part is used, and only inside the dataset")
    if not index.files and reading.without_images:
        suffix = split_suffix(name.last)[1]
        return split_suffix(source)[0] + (name.last[-len(suffix) :] if suffix in IMAGE_SUFFIXES else ".jpg")
    exact = _at_image_path(index, folder, file, notes) if name.code in ("", "path.traversal") else None
    own_path = split_suffix(source)[0]
    same = [image for image in index.by_stem(stem_of(source)) if split_suffix(image)[0] == own_path]
    if exact is not None:
        if same and exact not in same:
            problem = f"imagePath is {file.image[:80]!r}, but {same[0]} is beside the file: {exact} is used"
            notes.add("labelme.image.differs", "warning", problem, file.path, "correct imagePath if it is wrong")
        return exact
    by_name = index.ending_in(name.last) if name.last else []
    found = next((some for some in (same, by_name, index.by_stem(stem_of(source))) if some), [])
    if not found and file.embedded:
        return f"{source}/{stem_of(source)}{file.embedded}"
    if not found:
        what = file.image[:80] or stem_of(source)
        problem = f"its image is missing: {what!r} is not in the dataset"
        notes.add("image.missing", "error", problem, file.path, "restore the image, or delete the file")
    elif len(found) > 1:
        problem = f"it may belong to {len(found)} images: {found[0]} is used"
        hint = f"delete the others, or correct imagePath: {', '.join(found[1:4])}"
        notes.add("image.ambiguous", "warning", problem, file.path, hint)
    return found[0] if found else ""


def _at_image_path(index: ImageIndex, folder: str, file: LabelmeFile, notes: Notes) -> str | None:
    """The image at an imagePath, relative to the folder of its file; the path may not leave the dataset."""
    path = posixpath.normpath(posixpath.join(folder, file.image.replace("\\", "/")))
    if path.split("/")[0] == "..":
        problem = f"imagePath is {file.image[:80]!r}, outside the dataset"
        hint = "only its last part is used, and only inside the dataset"
        notes.add("path.traversal", "warning", problem, file.path, hint)
        return None
    return index.exact(path)


def _shown_size(index: ImageIndex, image: str, file: LabelmeFile, notes: Notes) -> tuple[int, int] | ImageSize | None:
    """Width and height of an image as labelme shows it, with its EXIF orientation; None if they are unknown."""
    if index.files or file.embedded:
        path = f"{index.root}/{image}"
        size = image_size(path, file.size, notes.findings, terms=LABELME, source=file.path)
        return file.size if size is None else size
    if file.size is None:
        hint = "add the images"
        notes.add("labelme.size", "error", "has no image, and states no size", file.path, hint)
    return file.size
