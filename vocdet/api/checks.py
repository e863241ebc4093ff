"""Checking a dataset, and repairing what is unambiguous."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vocdet.api.dataset import Data, Dataset, as_source
from vocdet.formats.scan import CoordinatesChoice, Crowds, FormatChoice, Source
from vocdet.wording import counted
from vocdet.workflows.check import CheckReport, check_dataset
from vocdet.workflows.fix import FixPlan, apply_fixes, plan_fixes


def check(
    dataset: Data,
    *,
    format: FormatChoice = "auto",
    labels: str | Path | None = None,
    coordinates: CoordinatesChoice = "auto",
    crowds: Crowds = "ignore",
    image_sets: Sequence[str | Path] = (),
    images: bool = True,
) -> CheckReport:
    """Look for problems in a dataset: annotations, every image to its last byte, splits. Nothing is changed.

    `report.errors` make data unusable or metrics wrong; `report.warnings` are all other findings. Each has a code, a
    problem, a place and a hint.

    For a dataset in memory, its splits there are checked. For a path, `format`, `labels`, `coordinates` and `crowds`
    are those of `read`, and a file that cannot be read is one of the errors. `image_sets` are split files, or folders
    of them, to check in place of the dataset's own. Without `images` no image is decoded.

    >>> report = vocdet.check("shelf")
    >>> report.errors
    ()
    >>> report
    <check of shelf: 0 errors, ... warnings>
    """
    lists = [Path(path) for path in image_sets]
    if isinstance(dataset, Dataset) and dataset.scan is not None:
        scan = replace(dataset.scan, dataset=dataset)
        source = dataset.source or Source(dataset.root)
        return check_dataset(source, lists=lists, images=images, scanned=scan)
    source = as_source(dataset, format=format, labels=labels, coordinates=coordinates, crowds=crowds)
    return check_dataset(source, lists=lists, images=images)


@dataclass(frozen=True, slots=True, repr=False)
class Repair:
    """What `repair` changes, or would change.

    >>> vocdet.repair("shelf")
    <repair of shelf: 0 files changed>
    """

    plan: FixPlan
    backup: Path | None  # the folder with the original files; None: nothing was changed

    @property
    def diff(self) -> str:
        """All changes as a unified diff."""
        return "\n".join(self.plan.diff())

    def __repr__(self) -> str:
        count = len(self.plan.changes) + len(self.plan.renames)
        done = "changed" if self.backup or not count else "to change"
        return f"<repair of {self.plan.root}: {counted(count, 'file')} {done}>"


def repair(
    source: str | Path,
    *,
    labels: str | Path | None = None,
    coordinates: CoordinatesChoice = "auto",
    dry_run: bool = False,
) -> Repair:
    """Fix what is unambiguous in the files of a VOC dataset: all of it, or nothing; with a backup.

    With `dry_run` nothing is changed; the diff shows what would be.

    >>> repaired = vocdet.repair("shelf", dry_run=True)
    >>> print(repaired.diff)
    <BLANKLINE>
    """
    report = check_dataset(as_source(source, labels=labels, coordinates=coordinates))
    plan = plan_fixes(report)
    return Repair(plan, apply_fixes(plan) if plan and not dry_run else None)
