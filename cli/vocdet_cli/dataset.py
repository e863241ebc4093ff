"""`vocdet check`: what is odd about a folder of annotated images."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from vocdet_cli import render
from vocdet_cli.options import Coordinates, Data, Form, Labels

if TYPE_CHECKING:
    from vocdet.data.checks import Finding
    from vocdet.data.dataset import Dataset
    from vocdet.workflows.check import CheckReport

app = typer.Typer()

MOST_PLACES = 5  # of one kind of finding


@app.command()
def check(
    data: Data = Path(),
    form: Form = "auto",
    labels: Labels = None,
    coordinates: Coordinates = "auto",
    show_all: Annotated[
        bool, typer.Option("--all", help="Show every finding, not the first few of each kind.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Look for broken files, wrong boxes, odd labels, copies and leaks between parts. Nothing is changed.

    Ends with code 1 when there are errors: data that cannot be used, or figures that would be wrong.
    """
    from vocdet.workflows.check import check_dataset

    with render.progress("decoding") as progress:
        report = check_dataset(data, form=form, labels=labels, coordinates=coordinates, progress=progress)
    if as_json:
        typer.echo(json.dumps(_check_json(report), indent=2))
    else:
        _print_check(report, None if show_all else MOST_PLACES)
        render.done(_checked(report), then=_after_check(report, *_same(data, labels, coordinates)))
    if report.errors:
        raise typer.Exit(1)


def _same(data: Path, labels: Path | None, coordinates: str) -> list[str]:
    """What the next command is told of the dataset, as this one was."""
    more = (*render.given(labels, "--labels", None), *render.given(coordinates, "--coordinates", "auto"))
    return [*render.given(data), *more]


def _training(dataset: Dataset) -> str:
    """The training to begin with: a classifier, unless there is nothing to tell apart."""
    return "train-backbone" if len(dataset.labels) > 1 else "train-ssd"


def _print_check(report: CheckReport, most: int | None) -> None:
    from vocdet.data.checks import counted

    for (severity, code), group in groupby(report.findings, key=lambda finding: (finding.severity, finding.code)):
        _print_group(severity, code, list(group), most)
    dataset = report.dataset
    render.out.print(f"read as {escape(report.kind)}", soft_wrap=True)
    if report.reason:
        render.out.print(f"coordinates are {report.coordinates}-based: {escape(report.reason)}", soft_wrap=True)
    parts = ", ".join(f"{len(rows)} in {name}" for name, rows in report.parts.items())
    sizes = (len(dataset), "image"), (len(dataset.objects), "object"), (len(dataset.labels), "label")
    holds = ", ".join(counted(*size) for size in sizes)
    render.out.print(f"{holds}; {parts or 'no parts yet'}", soft_wrap=True)


def _checked(report: CheckReport) -> str:
    from vocdet.data.checks import counted

    warnings = len(report.findings) - report.errors
    return f"checked: {counted(report.errors, 'error')}, {counted(warnings, 'warning')}"


def _after_check(report: CheckReport, *same: str) -> str:
    if report.errors:
        return f"correct the errors, then {render.command('check', *same)}"
    if not len(report.dataset.objects):
        return "annotate some images in labelImg: there are no objects yet"
    if report.trainable:
        return render.command(_training(report.dataset), *same)
    return render.command("split", *same, *(["--force"] if report.divided else []))


def _print_group(severity: str, code: str, group: list[Finding], most: int | None) -> None:
    color = "red" if severity == "error" else "yellow"
    render.out.print(f"[bold {color}]{severity}[/] {escape(code)} [dim]×{len(group)}[/]", soft_wrap=True)
    hints = {finding.hint for finding in group}
    for finding in group[:most]:
        hint = f" [dim]({escape(finding.hint)})[/]" if len(hints) > 1 and finding.hint else ""
        render.out.print(f"  {escape(str(finding.place))}  {escape(finding.problem)}{hint}", soft_wrap=True)
    if most is not None and len(group) > most:
        render.out.print(f"  [dim]and {len(group) - most} more: --all shows them[/]", soft_wrap=True)
    if len(hints) == 1 and group[0].hint:
        render.out.print(f"  [dim]hint:[/] {escape(group[0].hint)}", soft_wrap=True)


def _check_json(report: CheckReport) -> dict[str, Any]:
    return {
        "images": len(report.dataset),
        "objects": len(report.dataset.objects),
        "labels": list(report.dataset.labels),
        "kind": report.kind,
        "coordinates": report.coordinates,
        "reason": report.reason,
        "parts": {name: len(rows) for name, rows in report.parts.items()},
        "errors": report.errors,
        "warnings": len(report.findings) - report.errors,
        "findings": [
            {
                "code": finding.code,
                "severity": finding.severity,
                "path": str(finding.place.path),
                "line": finding.place.line,
                "inside": finding.place.inside,
                "problem": finding.problem,
                "hint": finding.hint,
            }
            for finding in report.findings
        ],
    }
