"""Lists of detections that grow image by image, so that memory does not: COCO results, CSV, YOLO label files."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Protocol

import msgspec

from vocdet.data.detections import Detections
from vocdet.files import writing
from vocdet.inference.results import coco_entries, exact_score, printable_name

CSV_COLUMNS = ("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax", "score", "id")


class ResultList(Protocol):
    """A list in a file that appears whole, when it is closed, or not at all."""

    def add(self, name: str, size: tuple[int, int], detections: Detections) -> None:
        """Add the detections in the next image, of this (width, height)."""

    def close(self) -> None:
        """Give the file its name."""

    def discard(self) -> None:
        """Write no file."""


class _ListFile:
    """A file that is written row by row, under another name until it is closed."""

    def __init__(self, path: Path) -> None:
        self._stack = ExitStack()
        self.file: IO[bytes] = self._stack.enter_context(writing(path))

    def close(self) -> None:
        self._stack.close()

    def discard(self) -> None:
        with suppress(_DiscardedError), self._stack:
            raise _DiscardedError


class _DiscardedError(Exception):
    """Makes `writing` delete its file."""


class CocoList(_ListFile):
    """COCO results; see `vocdet.inference.results`. The image id is the number of the image, from 1."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._encoder, self._images, self._separator = msgspec.json.Encoder(), 0, b"[\n"

    def add(self, name: str, size: tuple[int, int], detections: Detections) -> None:  # noqa: ARG002
        self._images += 1
        for entry in coco_entries(detections, image_id=self._images, file_name=name):
            self.file.write(self._separator + self._encoder.encode(entry))
            self._separator = b",\n"

    def close(self) -> None:
        self.file.write(b"\n]\n" if self._separator == b",\n" else b"[]\n")
        super().close()


class CsvList(_ListFile):
    """One row per detection, in the columns of TensorFlow's CSV files and a score; pixels as in `Detections`."""

    def __init__(self, path: Path, labels: Sequence[str]) -> None:
        super().__init__(path)
        self._labels = labels
        self._write([CSV_COLUMNS])

    def add(self, name: str, size: tuple[int, int], detections: Detections) -> None:
        boxes = detections.boxes.round(2).tolist()
        ids = [""] * len(boxes) if detections.ids is None else [str(id) if id > 0 else "" for id in detections.ids]
        rows = zip(detections.labels.tolist(), boxes, detections.scores, ids, strict=True)
        name = printable_name(name)
        self._write([(name, *size, self._labels[k], *box, exact_score(score), id) for k, box, score, id in rows])

    def _write(self, rows: Sequence[Sequence[object]]) -> None:
        self.file.write(csv_bytes(rows))


def csv_bytes(rows: Sequence[Sequence[object]]) -> bytes:
    """Rows as the bytes of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode(errors="replace")


def yolo_rows(size: tuple[int, int], detections: Detections) -> bytes:
    """A YOLO label file: class, center, width and height as fractions of the image of this (width, height), score."""
    width, height = size
    lines = []
    boxes = zip(detections.labels.tolist(), detections.boxes.tolist(), detections.scores, strict=True)
    for label, (xmin, ymin, xmax, ymax), score in boxes:
        center = ((xmin + xmax) / 2 / width, (ymin + ymax) / 2 / height)
        values = (*center, (xmax - xmin) / width, (ymax - ymin) / height, exact_score(score))
        lines.append(f"{label} {' '.join(f'{min(max(value, 0.0), 1.0):.6f}' for value in values)}\n")
    return "".join(lines).encode()
