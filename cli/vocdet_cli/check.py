"""`vocdet check`: what is odd about a dataset, what it means, and mending what needs no guess."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from vocdet_cli import render
from vocdet_cli.next_steps import same_dataset, training_command
from vocdet_cli.options import Coordinates, Data, Format, Labels

if TYPE_CHECKING:
    from vocdet.data.findings import Finding
    from vocdet.workflows.check import CheckReport
    from vocdet.workflows.fix import FixPlan

app = typer.Typer()

MOST_PLACES = 5  # of one kind of finding
MOST_LINES = 60  # of a diff


@app.command("doctor", hidden=True)
@app.command()
def check(
    data: Data = Path(),
    format: Format = "auto",
    labels: Labels = None,
    coordinates: Coordinates = "auto",
    imagesets: Annotated[
        list[Path] | None,
        typer.Option(
            help="Split files, or a folder of them, to look at in place of the dataset's own.", metavar="PATH"
        ),
    ] = None,
    no_images: Annotated[bool, typer.Option("--no-images", help="Decode and compare no images: quick.")] = False,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what needs no guess, after showing what that is.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --fix: do not ask.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="End with code 1 for warnings, too.")] = False,
    show_all: Annotated[
        bool, typer.Option("--all", help="Show every finding and every line of a diff, not the first few.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    explain: Annotated[
        str, typer.Option(help="Say what a finding means, such as box.tiny, and look at nothing.", metavar="CODE")
    ] = "",
) -> None:
    """Look for broken files, wrong boxes, odd labels, copies and leaks between parts.

    Nothing is changed without --fix, which keeps every file as it was in .vocdet-backup.
    Ends with code 1 when there are errors: data that cannot be used, or figures that would be wrong.
    """
    if explain:
        _explain(explain)
        return
    if fix and imagesets:
        raise typer.BadParameter("--fix mends the dataset's own split files: copy yours there first")
    from vocdet.formats.source import Source
    from vocdet.workflows.check import check_dataset

    source = Source(data, format, labels, coordinates)

    def look() -> CheckReport:
        with render.progress("looking") as progress:
            return check_dataset(source, lists=imagesets or (), images=not no_images, progress=progress)

    report, same = look(), same_dataset(data, labels, coordinates)
    again = render.command("check", *same, *render.given(format, "--from", "auto"))
    mending = _mend(report, again, yes=yes, show_all=show_all, quiet=as_json) if fix else None
    if mending is not None and mending.backup is not None:
        report = look()
    undone = mending is not None and mending.undone
    if as_json:
        typer.echo(json.dumps(_as_json(report) | (mending.as_json() if mending else {}), indent=2))
    else:
        _print_check(report, None if show_all else MOST_PLACES)
        then = again if imagesets else _after_check(report, same, again, asked=fix)
        render.done(_checked(report), then=f"{again} --fix --yes" if undone else then)
    if report.errors or undone or (strict and report.warnings):
        raise typer.Exit(1)


def _explain(code: str) -> None:
    from vocdet.workflows.explain import explain

    text = explain(code)
    render.out.print(f"[bold]{escape(code)}[/]")
    render.out.print(text, markup=False, soft_wrap=True)


@dataclass(slots=True)
class _Repairing:
    """What was to be mended, and where the files are as they were; no backup: nothing was changed."""

    plan: FixPlan
    backup: Path | None = None

    @property
    def undone(self) -> bool:
        return bool(self.plan) and self.backup is None

    def as_json(self) -> dict[str, Any]:
        return {
            "fix": {
                "backup": str(self.backup) if self.backup else None,
                "files": [{"path": str(change.path), "what": change.what} for change in self.plan.changes],
                "renames": [[str(old), str(new)] for old, new in self.plan.renames],
                "left": [_finding_json(finding) for finding in self.plan.left],
            }
        }


def _mend(report: CheckReport, again: str, *, yes: bool, show_all: bool, quiet: bool) -> _Repairing:
    """Show what can be mended, ask, and do it."""
    from vocdet.workflows.fix import apply_fixes, plan_fixes

    mending = _Repairing(plan_fixes(report))
    if not quiet:
        _print_plan(mending.plan, None if show_all else MOST_LINES)
    if mending.plan and (yes or (not quiet and _agreed(again))):
        mending.backup = apply_fixes(mending.plan)
        if not quiet:
            render.out.print(f"[green]mended; as they were: {escape(str(mending.backup))}[/]\n", soft_wrap=True)
    return mending


def _agreed(again: str) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        render.warning(f"nothing was changed, as nobody can be asked: {again} --fix --yes")
        return False
    return typer.confirm("make these changes?", err=True)


def _print_plan(plan: FixPlan, most: int | None) -> None:
    from vocdet.wording import counted

    lines = list(plan.diff())
    for line in lines[:most]:
        color = {"+": typer.colors.GREEN, "-": typer.colors.RED}.get(line[:1])
        typer.secho(line, fg=color, bold=line[:1] == "#")  # and not by Rich, which makes spaces of tabs
    if most is not None and len(lines) > most:
        render.out.print(f"[dim]and {counted(len(lines) - most, 'line')} more: --all shows them[/]")
    for finding in plan.left:
        _print_group(finding.severity, finding.code, [finding], None)
    if plan:
        files = counted(len(plan.changes), "file") + " to change"
        files += f", {counted(len(plan.renames), 'image')} to rename" if plan.renames else ""
        render.out.print(f"[bold]{files}[/]")
    else:
        render.out.print("there is nothing that --fix can mend")


def _print_check(report: CheckReport, most: int | None) -> None:
    from vocdet.wording import counted

    for (severity, code), group in groupby(report.findings, key=lambda finding: (finding.severity, finding.code)):
        _print_group(severity, code, list(group), most)
    dataset = report.dataset
    render.out.print(f"read as {escape(report.kind)}", soft_wrap=True)
    for other in report.others:
        render.out.print(f"it also looks like {other}: --from {other} looks at that", soft_wrap=True)
    if report.reason:
        render.out.print(f"coordinates are {report.coordinates}-based: {escape(report.reason)}", soft_wrap=True)
    splits = ", ".join(f"{len(rows)} in {name}" for name, rows in report.dataset.splits.items())
    sizes = (len(dataset), "image"), (len(dataset.objects), "object"), (len(dataset.labels), "label")
    holds = ", ".join(counted(*size) for size in sizes)
    render.out.print(f"{holds}; {splits or 'no splits yet'}", soft_wrap=True)
    render.out.print(f"[dim]{_looked(report)}[/]", soft_wrap=True)


def _looked(report: CheckReport) -> str:
    """What was looked at, and how long it took."""
    if not report.decoded:
        return f"no image was decoded, and none compared with others; {report.seconds:.1f} s"
    alike = sum(map(len, report.similar))
    found = f"{alike} of them have a copy or look much like another" if alike else "no two look much alike"
    return f"every image was decoded to its last byte, and compared with all others: {found}; {report.seconds:.1f} s"


def _checked(report: CheckReport) -> str:
    from vocdet.wording import counted

    return f"checked: {counted(len(report.errors), 'error')}, {counted(len(report.warnings), 'warning')}"


def _after_check(report: CheckReport, same: list[str], again: str, *, asked: bool) -> str:
    """What to do next; mending comes first, unless that is what was `asked` for."""
    from vocdet.workflows.fix import can_fix

    if can_fix(report) and not asked:
        return f"{again} --fix, which shows what it can mend"
    if report.errors:
        return f"correct the errors, then {again}"
    if not len(report.dataset.objects):
        return "annotate some images in labelImg: there are no objects yet"
    if report.trainable:
        return render.command(training_command(report.dataset), *same)
    return render.command("split", *same, *(["--force"] if report.divided else []))


def _print_group(severity: str, code: str, group: list[Finding], most: int | None) -> None:
    color = "red" if severity == "error" else "yellow"
    count = sum(finding.count for finding in group)
    render.out.print(f"[bold {color}]{severity}[/] {escape(code)} [dim]×{count}[/]", soft_wrap=True)
    hints = {finding.hint for finding in group}
    for finding in islice(group, most):
        hint = f" [dim]({escape(finding.hint)})[/]" if len(hints) > 1 and finding.hint else ""
        render.out.print(f"  {escape(str(finding.place))}  {escape(finding.problem)}{hint}", soft_wrap=True)
    if most is not None and len(group) > most:
        render.out.print(f"  [dim]and {len(group) - most} more: --all shows them[/]", soft_wrap=True)
    if len(hints) == 1 and group[0].hint:
        render.out.print(f"  [dim]hint:[/] {escape(group[0].hint)}", soft_wrap=True)


def _as_json(report: CheckReport) -> dict[str, Any]:
    files = report.dataset.images.files
    return {
        "images": len(report.dataset),
        "objects": len(report.dataset.objects),
        "labels": list(report.dataset.labels),
        "format": report.format,
        "kind": report.kind,
        "others": list(report.others),
        "coordinates": report.coordinates,
        "reason": report.reason,
        "splits": {name: len(rows) for name, rows in report.dataset.splits.items()},
        "errors": len(report.errors),
        "warnings": len(report.warnings),
        "findings": [_finding_json(finding) for finding in report.findings],
        "similar": [[files[row] for row in group] for group in report.similar],
        "decoded": report.decoded,
        "seconds": round(report.seconds, 3),
    }


def _finding_json(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "severity": finding.severity,
        "path": str(finding.place.path),
        "line": finding.place.line,
        "inside": finding.place.inside,
        "problem": finding.problem,
        "hint": finding.hint,
        "count": finding.count,
    }
