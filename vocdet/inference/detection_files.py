"""Detections of any tool in files: COCO results, text files of the devkit, folders of VOC XML or YOLO text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from lxml import etree

from vocdet import masks
from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.errors import AnnotationError, Place, VocdetError, raise_all
from vocdet.files import read_limited
from vocdet.formats.scan import Coordinates
from vocdet.formats.shared.values import NUMBER, clean_label
from vocdet.formats.shared.xml import XmlError, drop_namespaces, parse_xml
from vocdet.inference.coco_results import MOST_INVALID, Names, read_coco_results, results_of_images
from vocdet.wording import counted, did_you_mean, listed, quoted, reason

LARGEST_FILE = 1 << 30  # bytes
Kind = Literal["coco", "devkit", "voc", "yolo"]
FORMAT_TITLES: dict[Kind, str] = {
    "coco": "COCO results",
    "devkit": "text files of the VOC devkit",
    "voc": "VOC XML with scores",
    "yolo": "YOLO text with scores",
}
_HINT = "use COCO results (.json), comp3_det_test_<label>.txt, or a folder of VOC XML or YOLO text with scores"
_WIDEST = 2.0  # widths of an image, for a box that reaches beyond it; more are pixels
_CORRECT = "correct or delete it"
_CLASS = re.compile("[0-9]{1,9}")  # a number of a label

Row = tuple[int, int, float, tuple[float, float, float, float]]  # image, label, score, box
Result = Row | VocdetError


@dataclass(frozen=True, slots=True, eq=False)
class DetectionFiles:
    """The detections in files."""

    kind: Kind
    detections: list[Detections]  # of every image of the dataset
    outside: int  # detections in images that were not to be read


def read_detections(
    path: Path, dataset: Dataset, names: Names, rows: Sequence[int], *, coordinates: Coordinates = "zero"
) -> DetectionFiles:
    """The detections in the images `rows` of a dataset, best score first; equal scores in the order of the file.

    `names` are the ids of COCO results. The numbers of VOC XML and of the devkit's text files mean what `coordinates`
    says. An `AnnotationError` for what is no detection of an image and a label of the dataset; up to 20 are reported
    together. The same detection twice is allowed: the second one is false.
    """
    kind = kind_of(path)
    if kind == "coco":
        every = read_coco_results(path, dataset, names)
    else:
        shift = 1.0 if coordinates == "one" else 0.0
        results = list({"devkit": _devkit, "voc": _voc, "yolo": _yolo}[kind](path, dataset, shift))
        raise_all(list(islice((one for one in results if isinstance(one, VocdetError)), MOST_INVALID)))
        good = [one for one in results if not isinstance(one, VocdetError)]
        image, label, score, box = (list(column) for column in zip(*good, strict=True)) if good else ([], [], [], [])
        every = results_of_images(
            len(dataset), np.array(image, np.int64), np.array(label, np.int64), np.array(score), np.array(box)
        )
    chosen = [every[row] for row in rows]
    return DetectionFiles(kind, chosen, sum(map(len, every)) - sum(map(len, chosen)))


def kind_of(path: Path) -> Kind:
    """What a file or folder of detections is; an `AnnotationError` for anything else."""
    if path.is_file() and path.suffix.lower() == ".json":
        return "coco"
    if path.is_file() and path.suffix.lower() == ".txt" and "_det_" in path.name:
        return "devkit"
    if path.is_dir():
        names = [one.name for one in _files_in(path)]
        for kind, found in (
            ("devkit", any("_det_" in name and name.endswith(".txt") for name in names)),
            ("voc", any(name.endswith(".xml") for name in names)),
            ("yolo", any(name.endswith(".txt") for name in names)),
        ):
            if found:
                return kind  # type: ignore[return-value] # mypy widens the texts of a tuple
    problem = "holds no detections" if path.exists() else "no such file or folder"
    raise AnnotationError(problem, place=path, hint=_HINT)


def _files_in(folder: Path) -> list[Path]:
    """The files of a folder and of its `labels` or `Annotations`, where tools write them, sorted."""
    folders = [folder, folder / "labels", folder / "Annotations"]
    return sorted(path for one in folders if one.is_dir() for path in one.iterdir() if path.is_file())


def _devkit(path: Path, dataset: Dataset, shift: float) -> Iterator[Result]:
    """Lines of `stem score xmin ymin xmax ymax` in comp3_det_<split>_<label>.txt, a file for each label."""
    files = [path] if path.is_file() else [one for one in _files_in(path) if "_det_" in one.name]
    index = _image_index(dataset)
    for file in files:
        labels = [name for name in dataset.labels if file.stem.endswith(f"_{name}")]
        if not labels:
            hint = f"it has to end in a label of the dataset: {listed(dataset.labels, most=8)}"
            yield AnnotationError("no label of the dataset is in the name of the file", place=file, hint=hint)
            continue
        label = dataset.labels.index(max(labels, key=len))
        for number, line in _text_lines(file):
            place, words = Place(file, line=number), line.split()
            if len(words) != 6:
                problem = f"has {counted(len(words), 'column')}, not stem, score, xmin, ymin, xmax and ymax"
                yield AnnotationError(problem, place=place, hint=_CORRECT)
            elif (row := index.get(words[0])) is None:
                yield _unknown_image(words[0], place)
            else:
                yield _row(row, label, words[1:], place, shift)


def _yolo(path: Path, dataset: Dataset, _shift: float) -> Iterator[Result]:
    """Lines of `class cx cy width height score`, in fractions of the image, in a file for each image."""
    index = _image_index(dataset)
    for file in (one for one in _files_in(path) if one.suffix == ".txt"):
        row = index.get(file.stem)
        lines = list(_text_lines(file))
        if row is None:
            if any(len(line.split()) > 4 for _, line in lines):  # not classes.txt or a readme
                yield _unknown_image(file.stem, Place(file))
            continue
        size = float(dataset.images.widths[row]), float(dataset.images.heights[row])
        for number, line in lines:
            place, words = Place(file, line=number), line.split()
            if len(words) != 6:
                missing = "a box without a score" if len(words) == 5 else f"{counted(len(words), 'column')}"
                problem = f"is {missing}, not class, cx, cy, width, height and score"
                yield AnnotationError(problem, place=place, hint="have the tool save the confidence: save_conf=True")
            elif not _CLASS.fullmatch(words[0]) or int(words[0]) >= len(dataset.labels):
                problem = (
                    f"has the class {quoted(words[0])}, but the dataset has {counted(len(dataset.labels), 'label')}"
                )
                yield AnnotationError(problem, place=place, hint=f"they are {listed(dataset.labels, most=8)}")
            else:
                numbers = _numbers_in(words[1:])
                if isinstance(numbers, str):
                    yield AnnotationError(numbers, place=place, hint=_CORRECT)
                    continue
                cx, cy, wide, high, score = numbers
                if max(cx, cy, wide, high) > _WIDEST:
                    problem = f"has the box {' '.join(words[1:5])}, not in fractions of the image"
                    yield AnnotationError(problem, place=place, hint="divide it by the width and height of the image")
                    continue
                box = [
                    (cx - wide / 2) * size[0],
                    (cy - high / 2) * size[1],
                    (cx + wide / 2) * size[0],
                    (cy + high / 2) * size[1],
                ]
                yield _checked(row, int(words[0]), score, box, place)


def _voc(path: Path, dataset: Dataset, shift: float) -> Iterator[Result]:
    """<object> with <name>, <bndbox> and <score> or <confidence>, in a file for each image."""
    index, labels = _image_index(dataset), {name: i for i, name in enumerate(dataset.labels)}
    for file in (one for one in _files_in(path) if one.suffix == ".xml"):
        try:
            root = parse_xml(_detection_bytes(file))
        except XmlError as error:
            yield AnnotationError(error.problem, place=Place(file, line=error.line), hint=error.hint)
            continue
        drop_namespaces(root)
        row = index.get(file.stem)
        for item in root.iter("object"):
            place = Place(file, line=item.sourceline or 0)
            name = clean_label(item.findtext("name") or "")
            if row is None:
                yield _unknown_image(file.stem, place)
                break
            if name not in labels:
                hint = did_you_mean(name, labels) or f"its labels are {listed(labels, most=8)}"
                yield AnnotationError(f"the dataset has no label {quoted(name)}", place=place, hint=hint)
                continue
            yield _row(row, labels[name], [_score_text(item), *_box_texts(item)], place, shift)


def _score_text(item: etree._Element) -> str:
    return next((text for tag in ("score", "confidence") if (text := item.findtext(tag))), "")


def _box_texts(item: etree._Element) -> list[str]:
    return [item.findtext(f"bndbox/{side}") or "" for side in ("xmin", "ymin", "xmax", "ymax")]


def _row(row: int, label: int, words: Sequence[str], place: Place, shift: float) -> Result:
    """A detection from the texts of its score and corners."""
    numbers = _numbers_in(words, ("score", "xmin", "ymin", "xmax", "ymax"))
    if isinstance(numbers, str):
        return AnnotationError(numbers, place=place, hint=_CORRECT)
    score, xmin, ymin, xmax, ymax = numbers
    return _checked(row, label, score, [xmin - shift, ymin - shift, xmax, ymax], place)


def _checked(row: int, label: int, score: float, box: Sequence[float], place: Place) -> Result:
    xmin, ymin, xmax, ymax = box
    if xmax < xmin or ymax < ymin:
        text = f"{xmin:g} {ymin:g} {xmax:g} {ymax:g}"
        return AnnotationError(f"has the box {text}, with a negative width or height", place=place, hint=_CORRECT)
    return row, label, score, (xmin, ymin, xmax, ymax)


def _numbers_in(
    words: Sequence[str], names: Sequence[str] = ("cx", "cy", "width", "height", "score")
) -> list[float] | str:
    """The numbers in texts, or what is wrong with the first bad one."""
    numbers = []
    for name, word in zip(names, words, strict=True):
        text = word.strip()
        if not text:
            return f"has no {name}"
        if not NUMBER.fullmatch(text) or abs(float(text)) > masks.FURTHEST:
            return f"has the {name} {quoted(text)}, not a number"
        numbers.append(float(text))
    return numbers


def _image_index(dataset: Dataset) -> Mapping[str, int]:
    """The row of every image, by its stem and by the name of its file without a suffix."""
    index = {file.rpartition("/")[2].rpartition(".")[0]: row for row, file in enumerate(dataset.images.files)}
    return index | dataset.row_of()


def _unknown_image(stem: str, place: Place) -> VocdetError:
    hint = "use the detections of this dataset, or leave the image out"
    return AnnotationError(f"is of the image {quoted(stem)}, which the dataset does not have", place=place, hint=hint)


def _text_lines(file: Path) -> Iterator[tuple[int, str]]:
    """The number and text of the lines that are not blank."""
    try:
        text = _detection_bytes(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnnotationError("is not UTF-8 text", place=file, hint="save it as UTF-8") from error
    yield from ((number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip())


def _detection_bytes(file: Path) -> bytes:
    try:
        return read_limited(file, LARGEST_FILE)
    except OSError as error:
        problem = f"no detections can be read: {reason(error)}"
        raise AnnotationError(problem, place=file, hint="check its name and its permissions") from error
