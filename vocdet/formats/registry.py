"""The annotation formats: one entry for each, and the only place that lists them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from vocdet.data.crowds import crowds_as_objects
from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding, one_per_object
from vocdet.data.image_files import OTHER_SUFFIXES
from vocdet.data.labels import is_background
from vocdet.data.losses import Loss
from vocdet.data.usable import all_errors, refuse
from vocdet.errors import ArgumentError, DatasetError, Place
from vocdet.formats.foreign import Foreign, find_foreign
from vocdet.formats.images.entries import listed_once
from vocdet.formats.images.folders import merged, suffixes_below, walk
from vocdet.formats.images.lookup import BY_FOLDER, images_among, split_suffix, stem_of
from vocdet.formats.scan import Coordinates, FormatName, Progress, Scan, Source
from vocdet.wording import counted, did_you_mean, listed, reason


class LayoutModule(Protocol):
    """`layout.py` of a format."""

    def looks_like(self, path: Path) -> str:
        """Why a folder, or a file that stands for a dataset, looks like one of this format; "" where it does not.

        Few files are inspected. Broken files count, so that their reader can say what is wrong with them.
        """

    def annotated(self, root: Path, files: Sequence[str]) -> list[str]:
        """The stems of the images that the files of this format annotate, judged by their content.

        `files` are all files below `root`. Used where several formats match: stray files of one annotate nothing.
        """


class ReadModule(Protocol):
    """`read.py` of a format."""

    def scan(self, source: Source, *, without_images: bool, progress: Progress | None) -> Scan:
        """Read what is readable; every problem becomes a finding."""


class WriteModule(Protocol):
    """`write.py` of a format."""

    def image_targets(self, dataset: Dataset) -> tuple[str, ...]:
        """The path of every image from the folder of the new dataset."""

    def write(
        self,
        folder: Path,
        dataset: Dataset,
        targets: Sequence[str],
        areas: NDArray[np.float64],
        *,
        coordinates: Coordinates | None,
    ) -> list[Loss]:
        """Write the annotations of a dataset, and return what the format cannot hold.

        `areas` are those of the masks (M,), NaN for objects without a valid mask. `coordinates` is for formats that
        have a choice.
        """


@dataclass(frozen=True, slots=True)
class Format:
    """One annotation format. Its modules are imported when they are used."""

    title: str  # in messages
    package: str  # with the modules layout and read, and write where the format can be written
    files: tuple[str, ...]  # suffixes of annotation files: a folder without any of these is not of this format
    suffixes: tuple[str, ...] = ()  # of files that stand for a whole dataset
    writable: bool = True
    file_per_image: bool = True  # annotations of an image are in a file with its stem
    write: str = "write"  # the module that writes it
    own_labels: bool = True  # its files list the labels, often more than the dataset has objects of
    repairable: bool = False  # single files can be fixed in place
    stored: bool = False  # its files say whether boxes are of images with their EXIF orientation applied

    @property
    def layout(self) -> LayoutModule:
        """Recognizes the format."""
        return cast("LayoutModule", import_module(f"{self.package}.layout"))

    @property
    def reader(self) -> ReadModule:
        """Reads the format."""
        return cast("ReadModule", import_module(f"{self.package}.read"))

    @property
    def writer(self) -> WriteModule:
        """Writes the format, which must be writable."""
        return cast("WriteModule", import_module(f"{self.package}.{self.write}"))


# Of readings with as many images the first is preferred.
FORMATS: Mapping[FormatName, Format] = MappingProxyType(
    {
        "voc": Format("VOC", "vocdet.formats.voc", (".xml",), own_labels=False, repairable=True, stored=True),
        "coco": Format("COCO", "vocdet.formats.coco", (".json",), (".json",), file_per_image=False, stored=True),
        "yolo": Format("YOLO", "vocdet.formats.yolo", (".txt", ".yaml", ".yml", ".data"), (".yaml", ".yml")),
        "yolo-seg": Format("YOLO", "vocdet.formats.yolo", (), write="write_segments"),  # read as yolo
        "labelme": Format("labelme", "vocdet.formats.labelme", (".json",), own_labels=False),
        "csv": Format("CSV", "vocdet.formats.csv", (".csv",), (".csv",), file_per_image=False, own_labels=False),
        "via": Format(
            "VIA", "vocdet.formats.via", (".json", ".csv"), (".json", ".csv"), writable=False, own_labels=False
        ),
        "cvat": Format("CVAT", "vocdet.formats.cvat", (".xml",), writable=False),
    }
)
_DEFAULT: FormatName = "voc"  # its reader says what is missing in a folder of no known format


def read(
    source: Source,
    *,
    without_images: bool = False,
    without_split_files: bool = False,
    progress: Progress | None = None,
) -> Scan:
    """Like `scan`, but errors among the findings are raised together, unless they are to be left out."""
    result = scan(source, without_images=without_images, without_split_files=without_split_files, progress=progress)
    if not source.skip_bad and any(finding.severity == "error" for finding in result.findings):
        refuse(result.dataset, all_errors(result.dataset, result.findings))
    return result


def scan(
    source: Source,
    *,
    without_images: bool = False,
    without_split_files: bool = False,
    progress: Progress | None = None,
) -> Scan:
    """Read what is readable of a folder or a file that stands for a dataset; every problem in it becomes a finding.

    With `without_images` all images may be missing. Splits are those of ImageSets; without it, or with
    `without_split_files`, those of the format itself. A `DatasetError` if the source is not a dataset of the format,
    or of any known format.
    """
    with listed_once():
        best, *others = readings(source.path) if source.format == "auto" else [Reading(source.format)]
        result = find_format(best.format).reader.scan(source, without_images=without_images, progress=progress)
        pictures = _other_pictures(source.path)
    result = replace(result, findings=tuple(one_per_object(result.findings)))
    result = _without_background(_with_others(result, best, others))
    result = replace(result, findings=(*result.findings, *pictures))
    if source.crowds == "objects":
        result = replace(result, dataset=crowds_as_objects(result.dataset))
    if without_split_files:
        return result
    from vocdet.formats.voc import image_sets

    splits, findings = image_sets.read_splits(result)
    findings = merged((*result.findings, *findings))
    by_folder = bool(splits) and not result.dataset.splits and not image_sets.has_split_files(result.dataset.root)
    kind = result.kind + (BY_FOLDER if by_folder else "")
    return replace(result, dataset=replace(result.dataset, splits=splits), findings=findings, kind=kind)


def find_format(name: str, *, writable: bool = False) -> Format:
    """The format of this name; an `ArgumentError` if it is unknown, or cannot be written but should be."""
    names = [known for known, format in FORMATS.items() if format.writable or not writable]
    if name not in names:
        verb = "write" if writable else "read"
        hint = did_you_mean(name, names) or f"use one of {listed(names)}"
        raise ArgumentError(f"cannot {verb} the format {name!r}", hint=hint)
    return FORMATS[name]


def has_no_annotations(path: Path) -> bool:
    """Whether a folder has images and no file that a format reads, but for texts such as a README."""
    files = walk(path)[0] if path.is_dir() else []
    suffixes = {suffix for format in FORMATS.values() for suffix in format.files} - {".txt"}
    if not images_among(files) or any(file.lower().endswith(tuple(suffixes)) for file in files):
        return False
    return not any(_looks_like(path, name) for name in FORMATS)


@dataclass(frozen=True, slots=True)
class Reading:
    """A format that a dataset can be read as."""

    format: FormatName
    images: frozenset[str] = frozenset()  # stems of those that it annotates; unknown where no other format matches


def readings(path: Path) -> list[Reading]:
    """The formats that a dataset can be read as, the one with the most annotated images first.

    Where several match, those that annotate no image are left out: a stray XML file does not make a VOC dataset. A
    folder that looks like none is `voc`, whose reader says what is missing.
    """
    if path.is_file():
        return [Reading(_format_of_file(path))]
    found = set(suffixes_below(path)) if path.is_dir() else set[str]()
    names = [name for name, format in FORMATS.items() if found.intersection(format.files) and _looks_like(path, name)]
    foreign = find_foreign(path, names) if path.is_dir() and len(names) < 2 else None
    if foreign is not None and not any(_annotates(path, name) for name in names if name != "voc"):
        raise _is_foreign(path, foreign)
    if len(names) < 2:
        return [Reading(name) for name in names or [_DEFAULT]]
    files = walk(path)[0]
    present = {stem_of(file) for file in images_among(files)}
    usable: dict[FormatName, list[str]] = {}
    for name in names:
        stems = FORMATS[name].layout.annotated(path, files)
        usable[name] = [stem for stem in stems if stem in present] if present else stems
    # VOC folders are known by the suffix of their files alone, all others by what is in these.
    ranked = sorted(names, key=lambda name: (-len(usable[name]), name == "voc" and not usable[name]))
    return [Reading(name, frozenset(usable[name])) for name in ranked if usable[name] or name == ranked[0]]


def _with_others(result: Scan, best: Reading, others: Sequence[Reading]) -> Scan:
    """A scan that names its other readings, without the images that have an annotation in one of these alone."""
    missed: dict[str, Reading] = {}
    for other in others:
        missed |= dict.fromkeys(sorted(other.images - best.images - missed.keys()), other)
    result = replace(result, others=tuple(other.format for other in others))
    if not missed:
        return result
    images, root = result.dataset.images, result.dataset.root
    rows = [row for row, file in enumerate(images.files) if not images.sources[row] and stem_of(file) in missed]
    left_out = {images.stems[row]: f"which only {missed[stem_of(images.files[row])].format} annotates" for row in rows}
    paths = {root / images.files[row] for row in rows}
    findings = [one for one in result.findings if one.code != "image.unannotated" or one.place.path not in paths]
    used = dict.fromkeys(missed.values())
    findings += [_mixed(root, best, other, [stem for stem in missed if missed[stem] is other]) for other in used]
    dataset = result.dataset.subset(np.setdiff1d(np.arange(len(images.files)), rows))
    left = np.setdiff1d(np.arange(len(images)), rows).tolist()
    scales = {new: result.scales[old] for new, old in enumerate(left) if old in result.scales}
    return replace(
        result,
        dataset=dataset,
        findings=tuple(findings),
        left_out={**result.left_out, **left_out},
        scales=scales,
    )


def _other_pictures(path: Path) -> list[Finding]:
    """A finding for pictures in formats that are not decoded."""
    if not path.is_dir() or not OTHER_SUFFIXES.intersection(suffixes_below(path)):
        return []
    files = [file for file in walk(path)[0] if split_suffix(file)[1] in OTHER_SUFFIXES]
    if not files:
        return []
    are = "are" if len(files) > 1 else "is"
    problem = f"{counted(len(files), 'picture')} in formats that vocdet does not read {are} left out: "
    problem += listed(files, most=3)
    hint = "convert them to JPEG or PNG"
    return [Finding("image.format", "warning", problem, Place(path), hint, len(files))]


def _without_background(result: Scan) -> Scan:
    """A scan without labels such as `BACKGROUND` that no object has."""
    dataset = result.dataset
    counts = np.bincount(dataset.objects.label, minlength=len(dataset.labels))
    dropped = [i for i, label in enumerate(dataset.labels) if is_background(label) and not counts[i]]
    if not dropped:
        return result
    names = listed(repr(dataset.labels[i]) for i in dropped)
    place = dataset.root / result.label_source
    problem = f"the label {names} has no object: it is dropped, because everything outside the boxes is background"
    note = Finding("label.background", "warning", problem, Place(place), "delete it from the list")
    left = [i for i in range(len(dataset.labels)) if i not in dropped]
    new = np.cumsum(~np.isin(np.arange(len(dataset.labels)), dropped), dtype=np.int32) - 1
    objects = replace(dataset.objects, label=new[dataset.objects.label])
    dataset = replace(dataset, labels=tuple(dataset.labels[i] for i in left), objects=objects)
    return replace(result, dataset=dataset, findings=(*result.findings, note))


def _mixed(root: Path, best: Reading, other: Reading, stems: Sequence[str]) -> Finding:
    names, title = listed(stems, most=3), FORMATS[other.format].title
    problem = f"{counted(len(stems), 'image')} annotated only in {title} files, which are not read: {names}"
    hint = (
        f"open these in the tool that annotated them, and save them as {FORMATS[best.format].title} like the others; "
        f'`format="{other.format}"` reads only the {title} files'
    )
    return Finding("image.other_format", "warning", problem, Place(root), hint)


def _looks_like(path: Path, format: FormatName) -> str:
    try:
        return FORMATS[format].layout.looks_like(path)
    except OSError as error:
        problem = f"cannot be read: {reason(error)}"
        raise DatasetError(problem, place=Path(error.filename or path), hint="check its permissions") from error


def _annotates(path: Path, format: FormatName) -> bool:
    return bool(FORMATS[format].layout.annotated(path, walk(path)[0]))


def _is_foreign(path: Path, foreign: Foreign) -> DatasetError:
    return DatasetError(f"looks like {foreign.name}, which is not read", place=path, hint=foreign.way)


def _format_of_file(path: Path) -> FormatName:
    """The format of a file by its suffix; where several formats have that, by its content."""
    suffix = path.suffix.lower()
    names = [name for name, format in FORMATS.items() if suffix in format.suffixes]
    if not names:
        foreign = find_foreign(path)
        if foreign is not None:
            raise _is_foreign(path, foreign)
        problem = "is a file, not a dataset"
        raise DatasetError(
            problem, place=path, hint="use the folder, a COCO file, a CSV file, or the data.yaml of a YOLO dataset"
        )
    # the reader of the first says why, where it cannot be read
    return names[0] if len(names) == 1 else next((name for name in names if _looks_like(path, name)), names[0])
