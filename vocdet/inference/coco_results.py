"""COCO's results JSON as detections: a list of image_id, category_id, bbox and score, of any tool.

A list as tools write it is decoded at once into typed entries, and checked as columns. Any other one is read entry by
entry, so that each problem has its place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vocdet import masks
from vocdet.boxes import Boxes
from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.data.mask_runs import Runs, measured_runs, runs_of
from vocdet.data.texts import Texts
from vocdet.errors import AnnotationError, Place, VocdetError, raise_all
from vocdet.files import read_limited
from vocdet.formats.coco.ids import Id, as_id, whole_number
from vocdet.wording import json_reason, listed, reason

LARGEST_FILE = 8 << 30  # bytes
MOST_INVALID = 20  # one wrong setting makes every entry wrong
_LARGEST = 1e9  # no pixel coordinate and no score is larger
_HINT = 'give a list of {"image_id", "category_id", "bbox": [x, y, width, height], "score"}'
_UNKNOWN = (float("nan"),) * 4
_ABSENT, _NULL = msgspec.Raw(b""), msgspec.Raw(b"null")


@dataclass(frozen=True, slots=True)
class Names:
    """What the ids of results mean in a dataset."""

    images: Mapping[Id, int]  # id -> row
    labels: Mapping[Id, int]  # category id, or a label itself


class _Entry(msgspec.Struct, gc=False):
    image_id: int | str
    category_id: int | str
    score: float
    bbox: tuple[float, float, float, float] | None = None
    segmentation: msgspec.Raw = _ABSENT
    file_name: str = ""


def read_coco_results(path: Path, dataset: Dataset, names: Names) -> list[Detections]:
    """The detections of every image of a dataset; equal scores stay in the order of the file.

    The detections have masks if an entry has a segmentation, which is an RLE, compressed or not; entries without one
    get an empty text. Ids may be texts, as in "7". An entry with a mask and without a bbox gets the bounding box of its
    mask. An `AnnotationError` for a file that is not a list of results, and for entries with an unknown image or
    category, a box that is not four numbers or has a negative size, a score that is not a number, or a mask that is not
    an RLE of the image's size. The same entry twice is allowed: the second is a false detection.
    """
    try:
        data = read_limited(path, LARGEST_FILE).removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        problem = f"no detections can be read: {reason(error)}"
        raise AnnotationError(problem, place=path, hint="check its name and its permissions") from error
    return _read_typed(data, dataset, names) or _read_each(path, data, dataset, names)


def results_of_images(
    images: int,
    row: NDArray[np.int64],
    label: NDArray[np.int64],
    score: NDArray[np.float64],
    box: Boxes,
    masks: Texts | None = None,
) -> list[Detections]:
    """Columns as the detections of each image, best score first, the first of equals first."""
    order = np.lexsort((-score, row))
    cuts = np.cumsum(np.bincount(row, minlength=images))[:-1]
    box, label = box.reshape(-1, 4)[order], label[order]
    scores = score[order].astype(np.float32)
    ordered = masks.take(order) if masks is not None else None
    bounds = zip([0, *cuts.tolist()], [*cuts.tolist(), len(order)], strict=True)
    return [
        Detections(box[a:b], scores[a:b], label[a:b], ordered and ordered.take(np.arange(a, b))) for a, b in bounds
    ][:images]


def _read_typed(data: bytes, dataset: Dataset, names: Names) -> list[Detections] | None:
    """The detections in a list without any problem; None for any other."""
    try:
        entries = msgspec.json.decode(data, type=list[_Entry])
        row = np.array([names.images[entry.image_id] for entry in entries], np.int64)
        label = np.array([names.labels[entry.category_id] for entry in entries], np.int64)
        numbers = np.fromiter(chain.from_iterable(e.bbox or _UNKNOWN for e in entries), np.float64, 4 * len(entries))
    except (ValueError, RecursionError, KeyError, TypeError):  # msgspec.DecodeError is a ValueError
        return None
    score = np.fromiter(map(attrgetter("score"), entries), np.float64, len(entries))
    box = numbers.reshape(-1, 4)
    texts = list(map(attrgetter("segmentation"), entries))
    if _NULL in texts:
        texts = [_ABSENT if text == _NULL else text for text in texts]
    column = Texts.of(texts) if texts.count(_ABSENT) < len(texts) else None
    if column is not None:
        runs = _valid_runs(column, row, dataset)
        if runs is None:
            return None
        without = np.flatnonzero(np.isnan(box[column.rows, 0]))
        box[column.rows[without]] = runs.boxes(without)
    if not ((np.abs(box) <= _LARGEST).all() and (box[:, 2:] >= 0).all() and (np.abs(score) <= _LARGEST).all()):
        return None
    files = dataset.images.files
    if any(
        entry.file_name and _base(entry.file_name) != _base(files[at]) for entry, at in zip(entries, row, strict=True)
    ):
        return None
    box[:, 2:] += box[:, :2]
    return results_of_images(len(dataset), row, label, score, box, column)


def _valid_runs(column: Texts, row: NDArray[np.int64], dataset: Dataset) -> Runs | None:
    """The masks, if all are compressed RLEs of the sizes of their images."""
    runs = runs_of(column)
    if runs is None:
        return None
    image = row[column.rows]
    sizes = np.stack([dataset.images.heights[image], dataset.images.widths[image]], axis=1)
    return runs if bool((runs.sizes == sizes).all() and measured_runs(runs).valid.all()) else None


def _read_each(path: Path, data: bytes, dataset: Dataset, names: Names) -> list[Detections]:
    entries = _result_entries(path, data)
    rows = [names.images.get(_id(entry.get("image_id"), names.images)) for entry in entries if isinstance(entry, dict)]
    if rows and not any(row is not None for row in rows):
        found = listed(dict.fromkeys(_short(e.get("image_id")) for e in entries if isinstance(e, dict)), most=3)
        hint = "use the detections of this dataset; ids refer to its COCO file, else they count its images from 1"
        raise AnnotationError(f"is of another dataset: no image has the id {found}", place=path, hint=hint)
    raise_all(list(islice(_errors(path, entries, names, dataset), MOST_INVALID)))
    good: list[dict[str, Any]] = entries  # type: ignore[assignment] # all are checked
    row = np.array([names.images[_id(entry["image_id"], names.images)] for entry in good], np.int64)
    label = np.array([names.labels[_id(entry["category_id"], names.labels)] for entry in good], np.int64)
    score = np.array([entry["score"] for entry in good], np.float64)
    box = np.array([entry["bbox"] if "bbox" in entry else _box_of(entry) for entry in good], np.float64).reshape(-1, 4)
    box[:, 2:] += box[:, :2]
    texts = {i: _compressed(entry["segmentation"]) for i, entry in enumerate(good) if entry.get("segmentation")}
    return results_of_images(len(dataset), row, label, score, box, Texts.sparse(len(good), texts) if texts else None)


def _id(value: object, known: Mapping[Id, int]) -> Id:
    """The known id that a JSON value is, or spells, as "7" and 7.0; else the value's own."""
    identity = as_id(value)
    if identity is None or identity in known:
        return "" if identity is None else identity
    number = whole_number(value)
    return next((one for one in (number, str(number)) if one is not None and one in known), identity)


def _compressed(segmentation: dict[str, Any]) -> bytes:
    if isinstance(segmentation["counts"], list):
        height, width = segmentation["size"]
        drawn = masks.pixels(masks.parse(msgspec.json.encode(segmentation)), height, width)
        return masks.rle_json(drawn)
    return msgspec.json.encode({"size": segmentation["size"], "counts": segmentation["counts"]})


def _box_of(entry: dict[str, Any]) -> tuple[float, float, float, float]:
    """x, y, width and height of the mask's bounding box."""
    bounds = masks.bounds(masks.parse(msgspec.json.encode(entry["segmentation"])))
    xmin, ymin, xmax, ymax = bounds or (0, 0, 0, 0)
    return xmin, ymin, xmax - xmin, ymax - ymin


def _result_entries(path: Path, data: bytes) -> list[object]:
    """The list in a file; its items are not checked."""
    try:
        content = msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:
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


def _errors(path: Path, entries: Sequence[object], names: Names, dataset: Dataset) -> Iterator[VocdetError]:
    for i, entry in enumerate(entries):
        inside, problem = _fault(entry, names, dataset)
        if problem:
            yield AnnotationError(problem, place=Place(path, inside=f"[{i}]{inside}"), hint="correct or delete it")


def _fault(entry: object, names: Names, dataset: Dataset) -> tuple[str, str]:
    """The place inside an entry, and the problem there; "" if there is none."""
    if not isinstance(entry, dict):
        return "", f"is {_short(entry)}, not an object"
    mask = entry.get("segmentation")
    for name in ("image_id", "category_id", *(() if mask else ("bbox",)), "score"):
        if name not in entry:
            return "", f"has no {name}"
    for name, known in (("image_id", names.images), ("category_id", names.labels)):
        if as_id(entry[name]) is None:
            return f".{name}", f"is {_short(entry[name])}, not an id"
        if _id(entry[name], known) not in known:
            return f".{name}", f"is {_short(entry[name])}, which the dataset does not have"
    row = names.images[_id(entry["image_id"], names.images)]
    file = dataset.images.files[row]
    if problem := _number_fault(entry["score"]):
        return ".score", problem
    if "bbox" in entry:
        inside, problem = _box_fault(entry["bbox"])
        if problem:
            return f".bbox{inside}", problem
    if mask and (problem := _mask_fault(mask, int(dataset.images.heights[row]), int(dataset.images.widths[row]))):
        return ".segmentation", problem
    if _base(entry.get("file_name", file)) != _base(file):
        return ".file_name", f"is {_short(entry['file_name'])}, but this image of the dataset is {file!r}"
    return "", ""


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


def _base(file: object) -> str:
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
