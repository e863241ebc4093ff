"""Where the files of a YOLO dataset are, and which label file belongs to which image."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vocdet.data.findings import Notes
from vocdet.data.image_files import IMAGE_SUFFIXES
from vocdet.errors import AnnotationError, DatasetError
from vocdet.files import first_bytes
from vocdet.formats.images.folders import files_of, link_hint, listing, spread, walk
from vocdet.formats.images.lookup import ImageIndex, images_among, split_suffix, stem_of
from vocdet.formats.shared.label_lists import list_rank
from vocdet.formats.yolo import pairs
from vocdet.formats.yolo import settings as yolo_settings
from vocdet.formats.yolo.rows import looks_like_rows
from vocdet.formats.yolo.settings import YAML_SUFFIXES, Settings
from vocdet.formats.yolo.splits import find_splits
from vocdet.wording import counted, listed

_MOST_YAML = 20  # files that are inspected for a data.yaml
_MOST_TEXTS = 50  # files of a folder that are inspected for rows
_NAMES_KEY = re.compile(rb"^names[ \t]*:", re.MULTILINE)
_LAYOUTS = "a YOLO folder has images/ and labels/, or each .txt beside its image, and a data.yaml or classes.txt"


@dataclass(slots=True)
class Layout:
    """The files of a dataset, by paths relative to its root with forward slashes."""

    root: Path
    images: list[str]  # sorted
    label_of: dict[str, str]  # image -> label file; an image without one is not in it
    names: tuple[str, ...]  # labels by number; empty if no file names them
    names_source: str  # the file that names them
    splits: dict[str, list[str]]  # train, val, test: images
    keypoints: tuple[int, int] | None  # of a pose, and how many values each has
    left_out: list[str] = field(default_factory=list)  # images without a readable label file
    splits_by_folder: bool = False  # no file lists the splits


def find_layout(path: Path, notes: Notes) -> Layout:
    """Find images, label files and names below a folder, or in the folder of a data.yaml; problems go to `notes`.

    Raises if there is no folder, no image or no label file, or if the folder holds several datasets.
    """
    root = path.parent if path.suffix.lower() in YAML_SUFFIXES and path.is_file() else path
    if not root.is_dir():
        problem = "is a file, not a folder" if root.exists() else "no such folder"
        raise DatasetError(problem, place=root, hint="use the folder of the annotated images")
    files, findings = walk(root)
    notes.findings += findings
    images = images_among(files)
    names_files = sorted((file for file in files if yolo_settings.is_names_file(root, file)), key=list_rank)
    settings = _settings(root, files, path.name if root != path else "", notes)
    texts = {split_suffix(file)[0]: file for file in files if file[-4:].lower() == ".txt" and file not in names_files}
    index = ImageIndex(root, tuple(images))
    splits, lists = find_splits(index, settings, texts.values(), notes)
    for source in lists:
        texts.pop(split_suffix(source)[0], None)
    unreadable = pairs.irregular_labels(root, images, texts, notes)
    label_of = pairs.labels_of(root, [image for image in images if image not in unreadable], texts)
    ambiguous = pairs.one_image_a_label(root, images, label_of, notes)
    pairs.note_hashes(root, label_of, notes)
    pairs.note_orphans(root, texts, label_of, notes)
    if not label_of or not images:
        _raise_nothing(root, images, texts, link_hint(findings, ""))
    names, names_source = _names(root, settings, names_files, files, notes)
    keypoints = settings.keypoints if settings else None
    left_out = {*ambiguous, *unreadable}
    kept = [image for image in images if image not in left_out]
    by_folder = bool(splits) and not lists and not (settings and settings.splits)
    return Layout(root, kept, label_of, names, names_source, splits, keypoints, sorted(left_out), by_folder)


def looks_like(folder: Path) -> str:
    """Why a folder, or a data.yaml, looks like a YOLO dataset; "" where it does not. Few files are inspected."""
    if folder.is_file():
        return "names labels" if _names_labels(folder) else ""
    inner, files = listing(folder)
    for name in files:
        if name.lower() == "obj.data" or _names_labels(folder / name):
            return f"there is a {name}"
    found = next(filter(None, (_rows_beside(folder, place) for place in ["", *inner])), "")
    if found:
        return f"{found} is beside its image and holds fractions of it"
    below = {place: [f"{place}/{name}" for name in listing(folder, place)[0]] for place in inner}
    places = [place for place in inner if place.lower() in pairs.LABEL_FOLDERS]
    places += [deeper for place in places for deeper in below[place]]
    places += [
        deeper for more in below.values() for deeper in more if deeper.rpartition("/")[2].lower() in pairs.LABEL_FOLDERS
    ]
    found = next(filter(None, (_rows_in(folder, place) for place in ["", *places])), "")
    return f"{found} holds fractions of an image" if found else ""


def annotated(root: Path, files: Sequence[str]) -> list[str]:
    """The stems of the images whose label file holds rows, or is empty."""
    images = images_among(files)
    texts = {split_suffix(file)[0]: file for file in files if split_suffix(file)[1] == ".txt"}
    try:
        label_of = pairs.labels_of(root, images, texts)
    except DatasetError:  # several label files of one image
        return []
    begins = ((image, first_bytes(root / text)) for image, text in label_of.items())
    return [stem_of(image) for image, begin in begins if not begin.strip() or looks_like_rows(begin)]


def _names_labels(path: Path) -> bool:
    if path.suffix.lower() not in YAML_SUFFIXES:
        return False
    return bool(_NAMES_KEY.search(first_bytes(path, 1 << 14)))


def _rows_in(root: Path, folder: str) -> str:
    return _first_rows(root, files_of(root, (".txt",), folder))


def _rows_beside(root: Path, folder: str) -> str:
    texts = files_of(root, (".txt",), folder)
    stems = {split_suffix(file)[0] for file in files_of(root, tuple(IMAGE_SUFFIXES), folder)} if texts else set[str]()
    return _first_rows(root, [file for file in texts if split_suffix(file)[0] in stems])


def _first_rows(root: Path, texts: Sequence[str]) -> str:
    """The first of these files that holds rows; some of many are inspected, because the first may be empty."""
    some = spread(texts, _MOST_TEXTS)
    return next((file for file in some if looks_like_rows(first_bytes(root / file))), "")


def _raise_nothing(root: Path, images: Sequence[str], texts: dict[str, str], hint: str) -> None:
    problem, usual = "no images and no label files found", _LAYOUTS
    rows = [text for text in texts.values() if looks_like_rows(first_bytes(root / text))]
    if images and rows:
        problem = f"no label file has the name of an image: {listed(sorted(rows), most=3)}"
        usual = "name each label file like its image, and put it beside it, or into labels/ beside images/"
    elif images:
        problem = f"no label files found beside {counted(len(images), 'image')}"
    elif texts:
        problem = f"no images found for {counted(len(texts), 'label file')}"
        usual = "use the folder that holds both images and labels"
    raise AnnotationError(problem, place=root, hint=hint or usual)


def _settings(root: Path, files: Iterable[str], given: str, notes: Notes) -> Settings | None:
    """The content of the data.yaml or else obj.data: the file `given`, or the highest one."""
    found: list[Settings] = []
    sources = [file for file in files if split_suffix(file)[1] in YAML_SUFFIXES]
    sources.sort(key=lambda file: (file.count("/"), not file.lower().endswith(("data.yaml", "data.yml")), file))
    for source in [given] if given else sources[:_MOST_YAML]:
        if found and source.count("/") > found[0].source.count("/"):
            break
        settings = yolo_settings.read_yaml(root, source, notes)
        if settings is not None:
            found.append(settings)
    folders = {settings.source.rpartition("/")[0] for settings in found}
    if len(folders) > 1:
        names = ", ".join(sorted(folders))
        raise DatasetError(
            f"holds several datasets: {names}", place=root, hint=f"use one of them, such as {root / min(folders)}"
        )
    if len(found) > 1:
        others = ", ".join(settings.source for settings in found[1:])
        problem = f"is used, and {others} beside it is not"
        hint = "use the path of the file instead of the folder"
        notes.add("yolo.yaml.several", "warning", problem, root / found[0].source, hint)
    if found:
        return found[0]
    data_files = [file for file in files if split_suffix(file)[1] == ".data"]
    return yolo_settings.read_data_file(root, min(data_files, key=_depth), notes) if data_files else None


def _depth(file: str) -> tuple[int, str]:
    return file.count("/"), file


def _names(
    root: Path, settings: Settings | None, names_files: Sequence[str], files: Sequence[str], notes: Notes
) -> tuple[tuple[str, ...], str]:
    """The labels by number, and their file: the data.yaml, else the file it names, else any other list.

    Lists that differ are an error, unless one only extends another, as labelImg's lists do.
    """
    found: list[tuple[tuple[str, ...], str]] = []
    if settings is not None and settings.names:
        found.append((settings.names, settings.source))
    named = settings.names_file.replace("\\", "/").rpartition("/")[2] if settings is not None else ""
    pointed = [file for file in files if named and file.rpartition("/")[2] == named]
    for source in dict.fromkeys([*pointed[:1], *names_files]):
        names = yolo_settings.read_names(root, source, notes)
        if names:
            found.append((names, source))
    if not found:
        hint = 'add a classes.txt with one label on each line, or use `labels="classes.txt"`'
        notes.add("yolo.names.none", "warning", "no file names the labels: their numbers are their names", root, hint)
        return (), ""
    longest = max(found, key=lambda pair: len(pair[0]))
    for names, source in found:
        if names != longest[0][: len(names)]:
            at = next(i for i, (one, other) in enumerate(zip(names, longest[0], strict=False)) if one != other)
            problem = f"its label {at} is {names[at]!r}, that of {longest[1]} is {longest[0][at]!r}"
            hint = _differ_hint(found[0][1], source if source != found[0][1] else longest[1])
            notes.add("yolo.names.differ", "error", problem, root / source, hint, line=0)
            return found[0]
    if len(longest[0]) > len(found[0][0]):
        problem = f"has {counted(len(found[0][0]), 'label')}, {longest[1]} has {len(longest[0])}: all are used"
        hint = f"add the labels that only {longest[1]} has"
        notes.add("yolo.names.shorter", "warning", problem, root / found[0][1], hint)
    return longest


def _differ_hint(used: str, other: str) -> str:
    """What to do about two label lists that number labels differently."""
    folders = [file.rpartition("/")[0] for file in (used, other)]
    one, two = (f"{folder}/" if folder else "" for folder in folders)
    if one.startswith(two) or two.startswith(one):
        return (
            f"{used} is used: compare some boxes with their images to see which list the numbers refer to, then make "
            "the other the same"
        )
    return (
        f"each list numbers the labels of its own folder: read {one} and {two} as two datasets, and join them with "
        f"`vocdet.merge({folders}, target)`"
    )
