"""The result of a reader: the readable part of a dataset, and the problems of its files."""

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


@dataclass(slots=True)
class Notes:
    """Findings under construction."""

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
        """Add one problem and its place."""
        self.findings.append(Finding(code, severity, problem, Place(path, line, inside), hint))


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
