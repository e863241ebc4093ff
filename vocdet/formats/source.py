"""Where a dataset is, and how to read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FormatName = Literal["voc", "coco", "yolo", "yolo-seg", "labelme", "csv", "via", "cvat"]
FormatChoice = Literal["auto", "voc", "coco", "yolo", "yolo-seg", "labelme", "csv", "via", "cvat"]

Coordinates = Literal["zero", "one"]
CoordinatesChoice = Literal["auto", "zero", "one"]
Crowds = Literal["ignore", "objects"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a dataset is, and how to read it.

    `labels` is a file that lists the labels in order. `coordinates` says how VOC files count pixels: from `zero` or
    from `one`; `auto` decides by the boxes and the `<database>` of the files. `crowds` says what annotations with
    `iscrowd` are: regions to `ignore`, in training as in evaluation, or `objects` like any other. With
    `skip_bad`, what has an error is left out; otherwise errors are raised.
    """

    path: Path  # a folder, a COCO file, or the YAML file of a YOLO dataset
    format: FormatChoice = "auto"
    labels: Path | None = None
    coordinates: CoordinatesChoice = "auto"
    crowds: Crowds = "ignore"
    skip_bad: bool = False

    def record(self) -> dict[str, str | bool | None]:
        """The source for the record of a run: absolute paths, so that the run can resume from any folder."""
        return {
            "root": str(self.path.absolute()),
            "format": self.format,
            "labels": str(self.labels.absolute()) if self.labels else None,
            "coordinates": self.coordinates,
            "crowds": self.crowds,
            "skip_bad": self.skip_bad,
        }
