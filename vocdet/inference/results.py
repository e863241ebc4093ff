"""Detections in files: COCO's results JSON, and the text files the VOC devkit evaluates.

An entry of COCO's list is `{"image_id": 1, "category_id": 1, "bbox": [x, y, width, height], "score": 0.9}`, and with a
mask it has `"segmentation": {"size": [height, width], "counts": ...}` too: a compressed RLE, in the image's pixels.
By default, the image id is the row of the image + 1 and the category id is the label + 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np

from vocdet import masks
from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.data.texts import Texts
from vocdet.errors import AnnotationError, OutputError, Place, VocdetError, raise_all
from vocdet.files import writing
from vocdet.formats.coco.ids import whole_number
from vocdet.formats.shared.values import number_text
from vocdet.formats.voc.coordinates import minimum_text
from vocdet.wording import json_reason, reason

_LARGEST = 1e9  # no pixel coordinate and no score is larger
_MOST_ERRORS = 20  # one wrong setting makes every entry wrong
_HINT = 'give a list of {"image_id", "category_id", "bbox": [x, y, width, height], "score"}'


def write_coco_results(
    path: Path,
    images: Dataset | Sequence[str],
    detections: Sequence[Detections],
    *,
    image_ids: Sequence[int] | None = None,
    category_ids: Sequence[int] | None = None,
) -> None:
    """Write the detections of all images, one entry per line; item i of `detections` belongs to image i.

    For images without a dataset give their file names: the entries then also have a "file_name". `image_ids` and
    `category_ids` are the ids of the rows and labels in the COCO file that the results refer to.
    """
    if len(detections) != len(images):
        raise ValueError(f"detections of {len(detections)} images for {len(images)}")
    encoder = msgspec.json.Encoder()
    with writing(path) as file:
        separator = b"[\n"
        for row, one in enumerate(detections):
            image_id = image_ids[row] if image_ids else row + 1
            name = None if isinstance(images, Dataset) else images[row]
            for entry in coco_entries(one, image_id=image_id, file_name=name, category_ids=category_ids):
                file.write(separator + encoder.encode(entry))
                separator = b",\n"
        file.write(b"\n]\n" if separator == b",\n" else b"[]\n")


def coco_entries(
    detections: Detections, *, image_id: int, file_name: str | None = None, category_ids: Sequence[int] | None = None
) -> Iterator[dict[str, object]]:
    """The entries of one image's detections, for msgspec to encode; `write_coco_results` explains the arguments."""
    head: dict[str, object] = {"image_id": image_id}
    if file_name is not None:
        # a name that is not UTF-8 comes as surrogates, which no JSON may hold
        head["file_name"] = file_name.encode(errors="surrogateescape").decode(errors="replace")
    for i, (label, (xmin, ymin, xmax, ymax), score) in enumerate(_numbers(detections)):
        entry = head | {"category_id": category_ids[label] if category_ids else label + 1}
        entry |= {"bbox": (xmin, ymin, xmax - xmin, ymax - ymin), "score": score}
        if detections.masks is not None:
            entry["segmentation"] = msgspec.Raw(detections.masks[i] or b"null")
        yield entry


def read_coco_results(
    path: Path,
    dataset: Dataset,
    *,
    image_ids: Sequence[int] | None = None,
    category_ids: Sequence[int] | None = None,
) -> list[Detections]:
    """The detections of every image of a dataset; equal scores stay in the order of the file.

    `image_ids` and `category_ids` are the ids of the rows and labels; by default they count from 1. The detections
    have masks if an entry has a segmentation, which is an RLE, compressed or not; entries without one get an empty
    text. Ids may be texts, as in "7". An entry with a mask and without a bbox gets the bounding box of its mask.
    An `AnnotationError` for a file that is not a list of results, and for entries with an unknown image or category, a
    box that is not four numbers or has a negative size, a score that is not a number, or a mask that is not an RLE of
    the image's size (several are reported together). A duplicate entry is allowed: it is scored as a false detection.
    """
    rows = {number: row for row, number in enumerate(image_ids or range(1, len(dataset) + 1))}
    labels = {number: label for label, number in enumerate(category_ids or range(1, len(dataset.labels) + 1))}
    entries = _entries(path)
    raise_all(list(islice(_errors(path, entries, rows, labels, dataset), _MOST_ERRORS)))
    good = cast(list[dict[str, Any]], entries)
    row = np.array([rows[_number(entry["image_id"])] for entry in good], np.int64)
    label = np.array([labels[_number(entry["category_id"])] for entry in good], np.int64)
    score = np.array([entry["score"] for entry in good], np.float32)
    box = np.array([entry["bbox"] if "bbox" in entry else _around(entry) for entry in good], np.float64).reshape(-1, 4)
    box[:, 2:] += box[:, :2]
    column = _mask_column(good)
    order = np.lexsort((-score, row))
    cuts = np.cumsum(np.bincount(row, minlength=len(dataset)))[:-1]
    parts = np.split(order, cuts)[: len(dataset)]
    return [Detections(box[some], score[some], label[some], column and column.take(some)) for some in parts]


def _mask_column(entries: Sequence[dict[str, Any]]) -> Texts | None:
    """The compressed RLEs of all entries; None if no entry has a mask."""
    texts = {i: _compressed(entry["segmentation"]) for i, entry in enumerate(entries) if entry.get("segmentation")}
    return Texts.sparse(len(entries), texts) if texts else None


def _compressed(segmentation: dict[str, Any]) -> bytes:
    if isinstance(segmentation["counts"], list):
        height, width = segmentation["size"]
        drawn = masks.pixels(masks.parse(msgspec.json.encode(segmentation)), height, width)
        return masks.rle_json(drawn)
    return msgspec.json.encode({"size": segmentation["size"], "counts": segmentation["counts"]})


def _around(entry: dict[str, Any]) -> tuple[float, float, float, float]:
    """x, y, width and height of the mask's bounding box."""
    bounds = masks.bounds(masks.parse(msgspec.json.encode(entry["segmentation"])))
    xmin, ymin, xmax, ymax = bounds or (0, 0, 0, 0)
    return xmin, ymin, xmax - xmin, ymax - ymin


def write_voc_results(
    folder: Path, dataset: Dataset, detections: Sequence[Detections], *, split: str = "test"
) -> tuple[Path, ...]:
    """Write comp3_det_<split>_<label>.txt for every label, in the format of VOCevaldet.m, and return their paths.

    A line is `stem score xmin ymin xmax ymax`, 1-based and inclusive. `OutputError` for a stem with a space,
    which the devkit would read as two columns, and for a label that cannot be part of a file name.
    """
    if len(detections) != len(dataset):
        raise ValueError(f"detections of {len(detections)} images for a dataset of {len(dataset)}")
    lines: list[list[str]] = [[] for _ in dataset.labels]
    for stem, one in zip(dataset.images.stems, detections, strict=True):
        if len(one) and len(stem.split()) != 1:
            raise OutputError(
                f"the stem {stem!r} contains a space", place=folder, hint="rename the image and its annotation"
            )
        for label, (xmin, ymin, xmax, ymax), score in _numbers(one):
            low = f"{minimum_text(xmin, 'one')} {minimum_text(ymin, 'one')}"
            lines[label].append(f"{stem} {score!r} {low} {number_text(xmax)} {number_text(ymax)}\n")
    for name in dataset.labels:
        if set(name) & set('/\\:*?"<>|\0'):
            raise OutputError(f"the label {name!r} cannot be in a file name", place=folder, hint="rename the label")
    paths = tuple(folder / f"comp3_det_{split}_{name}.txt" for name in dataset.labels)
    for path, text in zip(paths, lines, strict=True):
        with writing(path) as file:
            file.write("".join(text).encode())
    return paths


def _numbers(detections: Detections) -> Iterator[tuple[int, list[float], float]]:
    """Label, box and score of every detection; scores have the fewest digits that give the same float32."""
    if not (np.isfinite(detections.boxes).all() and np.isfinite(detections.scores).all()):
        raise ValueError("a score or a box of a detection is not finite")
    for label, box, score in zip(detections.labels.tolist(), detections.boxes.tolist(), detections.scores, strict=True):
        yield label, box, float(str(score))


def _entries(path: Path) -> list[object]:
    """The list in a file; its items are not checked."""
    try:
        data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        problem = f"no detections can be read: {reason(error)}"
        raise AnnotationError(problem, place=path, hint="check its name and its permissions") from error
    try:
        content = msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:  # msgspec.DecodeError is a ValueError
        content = _lenient(path, data, error)
    if not isinstance(content, list):
        raise AnnotationError("is not a list of detections", place=path, hint=_HINT)
    return content


def _lenient(path: Path, data: bytes, error: Exception) -> object:
    """The content of a file that is JSON except for NaN and Infinity, which Python writes: errors name their place."""
    try:
        return json.loads(data)
    except json.JSONDecodeError as worse:
        place = Place(path, line=worse.lineno)
        raise AnnotationError(f"is not JSON: {worse.msg.lower()}", place=place, hint=_HINT) from error
    except (ValueError, RecursionError) as worse:
        raise AnnotationError(f"is not JSON: {json_reason(worse)}", place=path, hint=_HINT) from worse


def _errors(
    path: Path, entries: list[object], rows: dict[int, int], labels: dict[int, int], dataset: Dataset
) -> Iterator[VocdetError]:
    for i, entry in enumerate(entries):
        inside, problem = _fault(entry, rows, labels, dataset)
        if problem:
            yield AnnotationError(problem, place=Place(path, inside=f"[{i}]{inside}"), hint="correct or delete it")


def _fault(entry: object, rows: dict[int, int], labels: dict[int, int], dataset: Dataset) -> tuple[str, str]:
    """The place inside an entry, and the problem there; "" if there is none."""
    if not isinstance(entry, dict):
        return "", f"is {_short(entry)}, not an object"
    mask = entry.get("segmentation")
    for name in ("image_id", "category_id", *(() if mask else ("bbox",)), "score"):
        if name not in entry:
            return "", f"has no {name}"
    for name, known in (("image_id", rows), ("category_id", labels)):
        number = whole_number(entry[name])
        if number is None:
            return f".{name}", f"is {_short(entry[name])}, not a whole number"
        if number not in known:
            return f".{name}", f"is {_short(entry[name])}, which the dataset does not have"
    row = rows[_number(entry["image_id"])]
    file = dataset.images.files[row]
    if problem := _number_fault(entry["score"]):
        return ".score", problem
    if "bbox" in entry:
        inside, problem = _box_fault(entry["bbox"])
        if problem:
            return f".bbox{inside}", problem
    if mask and (problem := _mask_fault(mask, int(dataset.images.heights[row]), int(dataset.images.widths[row]))):
        return ".segmentation", problem
    if _name(entry.get("file_name", file)) != _name(file):
        return ".file_name", f"is {_short(entry['file_name'])}, but this image of the dataset is {file!r}"
    return "", ""


def _number(value: object) -> int:
    number = whole_number(value)
    assert number is not None  # _fault checks it
    return number


def _box_fault(box: object) -> tuple[str, str]:
    if not isinstance(box, list) or len(box) != 4:
        return "", f"is {_short(box)}, not four numbers"
    for i, value in enumerate(box):
        if problem := _number_fault(value):
            return f"[{i}]", problem
    return ("", f"is {_short(box)}, with a negative width or height") if box[2] < 0 or box[3] < 0 else ("", "")


def _mask_fault(segmentation: object, height: int, width: int) -> str:
    if not isinstance(segmentation, dict):
        return f"is {_short(segmentation)}, not an RLE"
    try:
        mask = masks.parse(msgspec.json.encode(segmentation))
    except (masks.MaskError, msgspec.MsgspecError, UnicodeEncodeError) as error:
        return str(error)
    if not isinstance(mask, masks.Rle) or (mask.height, mask.width) != (height, width):
        return f"is {segmentation['size'][1]}×{segmentation['size'][0]}, but its image is {width}×{height}"
    return "" if height * width <= masks.MOST_PIXELS else f"has {width}×{height} pixels, which are too many"


def _number_fault(value: object) -> str:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return f"is {_short(value)}, not a number"
    if value != value or abs(value) == float("inf"):
        return f"is {_short(value)}, not a finite number"
    return "" if abs(value) <= _LARGEST else f"is {_short(value)}, which is too large"


def _name(file: object) -> str:
    """The file name of a path from any system."""
    return str(file).replace("\\", "/").rsplit("/", 1)[-1]


def _short(value: object) -> str:
    """A value from a file, shortened."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list) and (len(value) > 4 or any(isinstance(part, list | dict) for part in value)):
        return f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
