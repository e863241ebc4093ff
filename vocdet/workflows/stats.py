"""What is in a dataset: figures, and a picture of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vocdet.data.splits import separate
from vocdet.data.stats import Stats, stats
from vocdet.data.usable import usable
from vocdet.errors import AnnotationError, OutputError
from vocdet.files import write_bytes
from vocdet.formats import registry
from vocdet.formats.scan import Progress
from vocdet.formats.source import Source
from vocdet.formats.voc import image_sets
from vocdet.plots.dataset import FORMATS, picture


@dataclass(frozen=True, slots=True, eq=False)
class StatsReport:
    """The figures of a dataset, and how sound they are."""

    root: Path
    kind: str  # what was read, in words
    figures: Stats
    left_out: int  # objects without a pixel in their image, which are in no figure
    errors: int  # findings of the reader
    picture: Path | None


def dataset_stats(
    source: Source,
    *,
    drawn: Path | None = None,
    progress: Progress | None = None,
) -> StatsReport:
    """Count what can be read of a dataset, and draw the figures into the file `drawn`: .png, .svg or .pdf.

    Boxes are clipped to their images first, as they are for training. Files that are wrong are left out and counted.
    """
    format = drawn.suffix.lower().lstrip(".") if drawn is not None else ""
    if drawn is not None and format not in FORMATS:
        hint = f"end its name in {', '.join(f'.{name}' for name in FORMATS)}"
        raise OutputError("is no name of a picture that can be drawn", place=drawn, hint=hint)
    found = registry.scan(source, progress=progress)
    splits, odd = image_sets.read_splits(found)
    findings = [*found.findings, *odd]
    dataset, _ = usable(found.dataset)
    if not len(dataset.objects):
        hint = "annotate some images first" if not findings else "run vocdet check to see why"
        raise AnnotationError("no objects in any annotation", place=source.path, hint=hint)
    figures = stats(dataset, separate(splits))
    if drawn is not None:
        write_bytes(drawn, picture(figures, source.path.resolve().name, format=format))
    return StatsReport(
        root=source.path,
        kind=found.kind,
        figures=figures,
        left_out=len(found.dataset.objects) - len(dataset.objects),
        errors=sum(finding.severity == "error" for finding in findings),
        picture=drawn,
    )
