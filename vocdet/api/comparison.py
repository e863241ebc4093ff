"""Runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from vocdet.api.run import Run
from vocdet.formats.scan import Source
from vocdet.plots import notebook
from vocdet.wording import listed
from vocdet.workflows import compare as workflow
from vocdet.workflows.compare_split import SplitTest, compare_on


@dataclass(frozen=True, slots=True, repr=False)
class Comparison(workflow.Comparison):
    """Runs side by side: their metrics, and what else differs; a notebook shows it as tables.

    `tests` say how much higher a metric is, on the same images, with the bounds and the p-value of the difference.

    >>> other = shutil.copytree(run, "runs/other")
    >>> comparison = vocdet.compare([run, other], split="test")
    >>> comparison
    <comparison of ssd-mb1-0.25-1 and other; AP50 +0.000 (+0.000 to +0.000, p 1.000); AP ...>
    >>> [one.metric for one in comparison.tests]
    ['AP50', 'AP']
    """

    tests: tuple[SplitTest, ...] = ()

    def __repr__(self) -> str:
        names = listed((run.folder.name for run in self.runs), most=4, conjunction="and")
        tests = "".join(f"; {one.metric} {_difference(one)}" for one in self.tests)
        return f"<comparison of {names}{tests}>"

    def _repr_html_(self) -> str:
        names = [run.folder.name for run in self.runs]
        tests = [
            (f"{one.metric} on {one.split}", listed(one.before), listed(one.after), one.value, _difference(one))
            for one in self.tests
        ]
        parts = [notebook.table(("", "of", "compared with", "value", "difference"), tests)]
        for split in self.splits:
            parts += [notebook.heading(f"{split.split}, {split.measured}")]
            parts += [notebook.table(("", *names), [(row.name, *row.values) for row in split.overall])]
        differences = [*self.recipe, *self.data, *self.environment]
        rows = [(one.name, *(str(value) for value in one.values)) for one in differences]
        parts += [notebook.heading("what differs"), notebook.table(("", *names), rows)] if rows else []
        return notebook.heading(repr(self)[1:-1]) + "".join(parts) + "".join(map(notebook.note, self.notes))


def _difference(one: SplitTest) -> str:
    if one.difference is None or one.bounds is None or one.p is None:
        return "–"
    low, high = one.bounds
    return f"{one.difference:+.3f} ({low:+.3f} to {high:+.3f}, p {one.p:.3f})"


def compare(
    runs: Sequence[Run | str | Path], *, split: str = "", dataset: str | Path | None = None, device: str = "auto"
) -> Comparison:
    """Compare two or more runs: their metrics, recipes, environments and data.

    With `split`, the first is compared with each other one on the same images: the difference of AP50 and AP with its
    bounds and a p-value; runs that differ only in their seeds count as one. Evaluations that are missing are made, on
    the `dataset` of the first run by default. A `RunError` for a run that does not exist, an `ArgumentError` for fewer
    than two.

    >>> vocdet.compare([run])
    Traceback (most recent call last):
    vocdet.errors.ArgumentError: ... only one run to compare ...
    """
    compared = workflow.compare_runs([Path(run) for run in runs])
    source = None if dataset is None else Source(Path(dataset))
    tests = compare_on(compared.runs, split, source, device=device) if split else ()
    values = {each.name: getattr(compared, each.name) for each in fields(workflow.Comparison)}
    return Comparison(**values, tests=tests)
