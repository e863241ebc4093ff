"""What a reader finds: a dataset as far as it can be read, and all that was odd about its files."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding, Severity
from vocdet.errors import Place
from vocdet.formats.source import Coordinates, FormatName

Progress = Callable[[int, int], None]  # how many of how many are done


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """A dataset as far as it can be read, and all that was odd about its files."""

    dataset: Dataset  # what could be read; boxes as written, also those outside their image
    findings: tuple[Finding, ...]
    coordinates: Coordinates = "zero"
    reason: str = ""  # why these coordinates; "": the format leaves no choice
    left_out: Mapping[str, str] = field(default_factory=dict)  # stem -> why it is not in it; "": a finding says so
    format: FormatName = "voc"  # the format it was read as: voc, coco, yolo or labelme
    kind: str = ""  # in words, as in "a VOC folder: 364 XML files in Annotations"


@dataclass(slots=True)
class Notes:
    """Findings while they are being collected."""

    findings: list[Finding] = field(default_factory=list)

    def add(
        self,
        code: str,
        severity: Severity,
        problem: str,
        path: Path,
        hint: str = "",
        *,
        line: int = 0,
        inside: str = "",
    ) -> None:
        """Note one thing that is odd, and where."""
        self.findings.append(Finding(code, severity, problem, Place(path, line, inside), hint))


@contextmanager
def uncollected() -> Iterator[None]:
    """Inside, Python does not look for garbage: readers make millions of objects, and none of them in circles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
