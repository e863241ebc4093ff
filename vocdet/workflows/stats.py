"""Statistics of a dataset, and a picture of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vocdet.data.splits import separate
from vocdet.data.stats import Stats, stats
from vocdet.data.usable import NOTHING, LeftOut, all_errors, usable
from vocdet.errors import ArgumentError, DatasetError
from vocdet.files import write_bytes
from vocdet.formats import registry
from vocdet.formats.scan import Progress, Source, other_readings
from vocdet.outputs import check_output, mark_file
from vocdet.plots.dataset import PLOT_FORMATS, picture
from vocdet.wording import listed
from vocdet.workflows.load import clean_scan


@dataclass(frozen=True, slots=True, eq=False)
class StatsReport:
    """The statistics of a dataset, with what they leave out."""

    root: Path
    kind: str  # the format, in words
    statistics: Stats
    left_out: int  # objects outside their images, in no statistic
    errors: int  # findings of the reader
    refused: bool  # whether other commands refuse the dataset, because of what `check` calls errors
    picture: Path | None
    notes: tuple[str, ...] = ()  # about the reading, for people
    skipped: LeftOut = NOTHING  # left out on request, because of errors


def dataset_stats(source: Source, *, drawn: Path | None = None, progress: Progress | None = None) -> StatsReport:
    """Count the objects of a dataset, and draw the statistics to the file `drawn`: .png, .svg or .pdf.

    Boxes are clipped to their images, as in training. Invalid files are left out and counted.
    """
    format = drawn.suffix.lower().lstrip(".") if drawn is not None else ""
    if drawn is not None and format not in PLOT_FORMATS:
        hint = f"use the suffix {listed((f'.{name}' for name in PLOT_FORMATS), conjunction='or')}"
        raise ArgumentError("is not the name of a picture", place=drawn, hint=hint)
    if drawn is not None:
        check_output(drawn)
    scan, skipped = registry.scan(source, progress=progress), NOTHING
    if source.skip_bad:
        clean = clean_scan(scan, skip_bad=True, progress=progress)
        scan, skipped = clean.scan, clean.left_out
    dataset, _ = usable(scan.dataset)
    if not len(dataset.objects):
        hint = "annotate some images first" if not scan.findings else "run `vocdet.check(dataset)` to see why"
        raise DatasetError("the annotations contain no objects", place=source.path, hint=hint)
    statistics = stats(dataset, separate(dataset.splits))
    if drawn is not None:
        write_bytes(drawn, picture(statistics, source.path.resolve().name, format=format))
        mark_file(drawn)
    return StatsReport(
        root=source.path,
        kind=scan.kind,
        statistics=statistics,
        left_out=len(scan.dataset.objects) - len(dataset.objects),
        errors=sum(finding.severity == "error" for finding in scan.findings),
        refused=bool(all_errors(scan.dataset, scan.findings)),
        picture=drawn,
        notes=other_readings(scan),
        skipped=skipped,
    )
