"""Detections in a file: COCO's results JSON.

An entry of COCO's list is `{"image_id": 1, "category_id": 1, "bbox": [x, y, width, height], "score": 0.9}`, and with a
mask it has `"segmentation": {"size": [height, width], "counts": ...}` too: a compressed RLE, in the image's pixels.
By default, the image id is the row of the image + 1 and the category id is the label + 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.files import writing


def write_coco_results(
    path: Path,
    images: Dataset | Sequence[str],
    detections: Sequence[Detections],
    *,
    image_ids: Sequence[int] | None = None,
) -> None:
    """Write the detections of all images, one entry per line; item i of `detections` belongs to image i.

    For images without a dataset give their file names: the entries then also have a "file_name". `image_ids` are the
    ids of the rows in the COCO file that the results refer to.
    """
    if len(detections) != len(images):
        raise ValueError(f"detections of {len(detections)} images for {len(images)}")
    encoder = msgspec.json.Encoder()
    with writing(path) as file:
        separator = b"[\n"
        for row, one in enumerate(detections):
            image_id = image_ids[row] if image_ids else row + 1
            name = None if isinstance(images, Dataset) else images[row]
            for entry in coco_entries(one, image_id=image_id, file_name=name):
                file.write(separator + encoder.encode(entry))
                separator = b",\n"
        file.write(b"\n]\n" if separator == b",\n" else b"[]\n")


def coco_entries(
    detections: Detections, *, image_id: int, file_name: str | None = None, category_ids: Sequence[int] | None = None
) -> Iterator[dict[str, object]]:
    """The entries of one image's detections, for msgspec to encode; `write_coco_results` explains the arguments."""
    head: dict[str, object] = {"image_id": image_id}
    if file_name is not None:
        head["file_name"] = printable_name(file_name)
    for i, (label, (xmin, ymin, xmax, ymax), score) in enumerate(_written_numbers(detections)):
        entry = head | {"category_id": category_ids[label] if category_ids else label + 1}
        entry |= {"bbox": (xmin, ymin, xmax - xmin, ymax - ymin), "score": score}
        if detections.masks is not None:
            entry["segmentation"] = msgspec.Raw(detections.masks[i] or b"null")
        if detections.ids is not None and detections.ids[i] > 0:
            entry["track_id"] = int(detections.ids[i])
        yield entry


def printable_name(name: str) -> str:
    """A file name as a text that can be encoded: one that is not UTF-8 has surrogates."""
    return name.encode(errors="surrogateescape").decode(errors="replace")


def exact_score(score: np.float32) -> float:
    """A score with the fewest digits that give the same float32."""
    return float(str(score))


def _written_numbers(detections: Detections) -> Iterator[tuple[int, list[float], float]]:
    """Label, box and score of every detection."""
    if not (np.isfinite(detections.boxes).all() and np.isfinite(detections.scores).all()):
        raise ValueError("a score or a box of a detection is not finite")
    for label, box, score in zip(detections.labels.tolist(), detections.boxes.tolist(), detections.scores, strict=True):
        yield label, box, exact_score(score)
