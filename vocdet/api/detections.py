"""The detections in one picture: arrays, drawing, export."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, overload

import msgspec
import numpy as np
import PIL.Image
from numpy.typing import ArrayLike, NDArray

from vocdet import masks
from vocdet.api.pictures import Channels, Picture, as_image
from vocdet.boxes import Boxes
from vocdet.data import detections as columns
from vocdet.data.levels import Levels
from vocdet.errors import DependencyError
from vocdet.files import write_text
from vocdet.inference.draw import draw
from vocdet.inference.results import coco_entries
from vocdet.inputs.images import Image
from vocdet.outputs import check_output, mark_file
from vocdet.plots import notebook
from vocdet.wording import box_text, counted, listed

_SHOWN = 5  # objects in a repr


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Detection:
    """One detected object.

    >>> for detection in detector("photo.jpg", score=0.05):
    ...     assert detection.label_name in detector.labels
    """

    box: NDArray[np.float64]  # (4,) xmin, ymin, xmax, ymax; pixels, 0-based, half-open
    score: float  # in [0, 1]
    label: int  # index into the detector's labels
    label_name: str
    mask: NDArray[np.bool_] | None = None  # (H, W) of the whole picture; None: a detector without masks

    def __repr__(self) -> str:
        return f"<{self.label_name} {self.score:.2f} at {box_text(self.box.round(1))}>"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Detections:
    """The detected objects in one picture, best score first.

    Row i of every array is object i. `len`, iteration (a `Detection` each), indices, slices and masks work as for a
    list: `detections[0]`, `detections[:3]`, `detections[detections.scores > 0.7]`.

    >>> detections = detector("photo.jpg")
    >>> detections.boxes.shape == (len(detections), 4)
    True
    >>> sure = detections.above(0.7)
    >>> all(detection.score >= 0.7 for detection in sure)
    True
    """

    columns: columns.Detections
    names: tuple[str, ...]  # all labels of the detector
    size: tuple[int, int]  # width and height of the picture after EXIF orientation, pixels
    picture: Picture  # the input itself, not a copy
    channels: Channels = "rgb"
    levels: Levels | None = None  # of the detector, for pictures with more than 8 bits a sample

    @property
    def boxes(self) -> Boxes:
        """(N, 4) float64 xmin, ymin, xmax, ymax in pixels after EXIF orientation, 0-based, half-open."""
        return self.columns.boxes

    @property
    def scores(self) -> NDArray[np.float32]:
        """(N,) in [0, 1], descending."""
        return self.columns.scores

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) indices into `names`, from 0; there is no background."""
        return self.columns.labels

    @property
    def label_names(self) -> tuple[str, ...]:
        """The label of every object as text."""
        return tuple(self.names[label] for label in self.labels)

    @property
    def masks(self) -> NDArray[np.bool_] | None:
        """(N, H, W) the pixels of every object in the whole picture; None for a detector without masks.

        They are decoded at every access: store them in a variable.
        """
        texts, (width, height) = self.columns.masks, self.size
        if texts is None:
            return None
        decoded = np.zeros((len(self), height, width), np.bool_)
        for row, text in texts.items():
            decoded[row] = masks.pixels(masks.parse(text), height, width)
        return decoded

    @property
    def path(self) -> Path | None:
        """The file of the picture; None for one in memory."""
        return Path(self.picture) if isinstance(self.picture, str | Path) else None

    def __len__(self) -> int:
        return len(self.columns)

    def __iter__(self) -> Iterator[Detection]:
        return (self[row] for row in range(len(self)))

    @overload
    def __getitem__(self, rows: int | np.integer[Any]) -> Detection: ...
    @overload
    def __getitem__(self, rows: slice | ArrayLike) -> Detections: ...
    def __getitem__(self, rows: Any) -> Detection | Detections:
        if not isinstance(rows, int | np.integer):
            chosen = np.arange(len(self))[rows]
            return replace(self, columns=self.columns.take(chosen))
        if not -len(self) <= rows < len(self):
            raise IndexError(f"detection {rows} of {len(self)}")
        row, label = rows % len(self), int(self.labels[rows])
        decoded = self[[int(row)]].masks
        mask = None if decoded is None else decoded[0]
        return Detection(self.boxes[row], float(self.scores[row]), label, self.names[label], mask)

    def above(self, score: float) -> Detections:
        """The detections with at least this score."""
        return replace(self, columns=self.columns.above(float(score)))

    def draw(self) -> PIL.Image.Image:
        """The picture in RGB with boxes, masks, labels and scores drawn on it; a file is read again.

        `numpy.asarray` makes an array (H, W, 3) of it.
        """
        return PIL.Image.fromarray(self._drawn())

    def _drawn(self, side: int = 0) -> Image:
        image = as_image(self.picture, channels=self.channels, levels=self.levels)
        return draw(image, self.columns, self.names, side=side)

    def to_voc(self, path: str | Path, *, force: bool = False) -> None:
        """Write a VOC annotation, as labelImg reads it: boxes in whole pixels, best first.

        VOC annotations have no masks and no scores: `to_coco` has both. Raises an `OutputError` if the file cannot be
        written, and, without `force`, if it exists and vocdet did not write it, or it was corrected since.
        """
        from vocdet.workflows.voc_detections import check_voc_labels, detections_text  # a third of the time to load

        target = Path(path)
        check_output(target, "choose another name, or replace it with `force=True`", force=force)
        check_voc_labels(target, self.names)
        file = self.path or target.with_suffix(".jpg")
        write_text(target, detections_text(file, self.size, self.columns, self.names))
        mark_file(target)

    def to_coco(self, *, image_id: int = 1, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """The objects as entries of COCO's results JSON: image_id, category_id, bbox, score; masks as RLE.

        `category_ids` are the ids of `names`; by default, label k is category k + 1.
        """
        file_name = self.path.name if self.path else None
        entries = coco_entries(self.columns, image_id=image_id, file_name=file_name, category_ids=category_ids)
        plain: list[dict[str, Any]] = msgspec.json.decode(msgspec.json.encode(list(entries)))
        return plain

    def to_supervision(self) -> Any:
        """The objects as `supervision.Detections`, with their names as `data["class_name"]`.

        Raises a `DependencyError` if supervision is not installed.
        """
        try:
            supervision = import_module("supervision")
        except ImportError as error:
            raise DependencyError("supervision is not installed", hint="run pip install supervision") from error
        return supervision.Detections(
            xyxy=self.boxes.astype(np.float32),
            mask=self.masks,
            confidence=self.scores.copy(),
            class_id=self.labels.astype(int),
            data={"class_name": np.array(self.label_names, dtype=str)},
        )

    def __repr__(self) -> str:
        where = f" in {self.path.name}" if self.path else ""
        objects = [f"{name} {score:.2f}" for name, score in zip(self.label_names, self.scores, strict=True)]
        some = f": {listed(objects, most=_SHOWN)}" if objects else ""
        return f"<{counted(len(self), 'detection')}{where}, {self.size[0]}x{self.size[1]} pixels{some}>"

    def _repr_html_(self) -> str:
        picture = notebook.gallery([(repr(self)[1:-1], lambda: self._drawn(notebook.LARGE))], side=notebook.LARGE)
        boxes = map(box_text, self.boxes.round(1))
        rows = zip(self.label_names, self.scores.tolist(), boxes, strict=True)
        return picture + notebook.table(("label", "score", "xmin ymin xmax ymax"), rows)
