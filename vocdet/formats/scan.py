"""Where a dataset is and how to read it, and the result: its readable part, and the problems of its files."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding
from vocdet.file_names import check_recordable

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
        """The source for the record of a run: absolute paths, so that the run can resume from any folder.

        A `RunError` if a path is not UTF-8, which no record can hold.
        """
        for path in filter(None, (self.path, self.labels)):
            check_recordable(path)
        return {
            "root": str(self.path.absolute()),
            "format": self.format,
            "labels": str(self.labels.absolute()) if self.labels else None,
            "coordinates": self.coordinates,
            "crowds": self.crowds,
            "skip_bad": self.skip_bad,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Source:
        """The source that `record` describes; one of an earlier version lacks the last two values."""
        labels = record["labels"]
        return cls(
            Path(record["root"]), record["format"], Path(labels) if labels else None, record["coordinates"],
            record.get("crowds", "ignore"), bool(record.get("skip_bad")),
        )  # fmt: skip


Progress = Callable[[int, int], None]  # done, total


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """The readable part of a dataset, and the problems of its files."""

    dataset: Dataset  # boxes as written, including those outside their image
    findings: tuple[Finding, ...]
    coordinates: Coordinates = "zero"
    reason: str = ""  # why these coordinates; "": the format leaves no choice
    left_out: Mapping[str, str] = field(default_factory=dict)  # stem -> why it is left out; "": a finding says so
    format: FormatName = "voc"  # the format it was read as
    kind: str = ""  # in words, as in "a VOC folder: 364 XML files in Annotations"
    label_source: str = ""  # the file in the folder that lists the labels; "": they are sorted, or the user lists them
    others: tuple[FormatName, ...] = ()  # other formats whose files annotate images of the folder
    scales: Mapping[int, tuple[float, float]] = field(
        default_factory=dict
    )  # image row -> factors that correct its boxes


def other_readings(scan: Scan) -> tuple[str, ...]:
    """What else the files of a dataset can be read as, for people."""
    return tuple(f'it also matches {other}: `format="{other}"` reads that' for other in scan.others)


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the garbage collector: readers create millions of objects without reference cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
