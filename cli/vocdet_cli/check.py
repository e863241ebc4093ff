"""`vocdet check`: find problems in a dataset, explain them, and fix what is unambiguous."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vocdet_cli import render
from vocdet_cli.hints import as_commands
from vocdet_cli.next_steps import same_dataset, training_command
from vocdet_cli.option_groups import Without, grouped
from vocdet_cli.options import Data, ReadOptions
from vocdet_cli.safe import escape

if TYPE_CHECKING:
    from vocdet.data.findings import Finding
    from vocdet.workflows.check import CheckReport
    from vocdet.workflows.fix import FixPlan

app = typer.Typer()

PLACES_SHOWN = 5  # of one kind of finding
MOST_DIFF_LINES = 60  # of a diff


@dataclass(frozen=True, slots=True, kw_only=True)
class FixOptions:
    """Whether findings are fixed."""

    fix: Annotated[bool, typer.Option("--fix", help="Fix what is unambiguous, after showing the changes.")] = False
    yes: Annotated[bool, typer.Option("--yes", help="With --fix: skip the confirmation.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """How the findings are reported."""

    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 1 for warnings as well.")] = False
    show_all: Annotated[bool, typer.Option("--all", help="Show every finding and every line of the diff.")] = False
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False


@app.command("doctor", hidden=True)
@app.command()
@grouped
def check(
    data: Data = Path(),
    imagesets: Annotated[
        list[Path] | None,
        typer.Option(help="Check these split files, or a folder of them, instead of the dataset's.", metavar="PATH"),
    ] = None,
    no_images: Annotated[bool, typer.Option("--no-images", help="Skip decoding and comparing images (fast).")] = False,
    *,
    fixing: FixOptions,
    shown: ReportOptions,
    explain: Annotated[
        str, typer.Option(help="Explain a finding, such as box.tiny, and check nothing.", metavar="CODE")
    ] = "",
    read: Annotated[ReadOptions, Without("skip_bad")],
) -> None:
    """Find broken files, wrong boxes, inconsistent labels, duplicates and leaks between splits.

    Nothing is changed without --fix, which saves the original files in .vocdet-backup.
    Exits with code 1 if there are errors: unusable data, or data that would falsify metrics.
    """
    if explain:
        _explain(explain)
        return
    if fixing.fix and imagesets:
        raise typer.BadParameter("--fix works on the dataset's split files: copy yours there first")
    from vocdet.workflows.check import check_dataset

    source = read.source(data)

    def run_check() -> CheckReport:
        with render.progress("checking") as progress:
            return check_dataset(source, lists=imagesets or (), images=not no_images, progress=progress)

    report, same = run_check(), same_dataset(source)
    again = render.command("check", *same)
    repair = _repair(report, again, fixing, shown) if fixing.fix else None
    if repair is not None and repair.backup is not None:
        report = run_check()
    undone = repair is not None and repair.undone
    if shown.as_json:
        typer.echo(json.dumps(_report_json(report) | (repair.as_json() if repair else {}), indent=2))
    else:
        _print_check(report, None if shown.show_all else PLACES_SHOWN)
        then = again if imagesets else _after_check(report, same, again, requested=fixing.fix)
        render.done(_check_summary(report), then=f"{again} --fix --yes" if undone else then)
    if report.errors or undone or (shown.strict and report.warnings):
        raise typer.Exit(1)


def _explain(code: str) -> None:
    from vocdet.workflows.explain import explain

    text = explain(code)
    render.out.print(f"[bold]{escape(code)}[/]")
    render.out.print(text, markup=False, soft_wrap=True)


@dataclass(slots=True)
class _Repair:
    """The plan of a repair, and its backup folder; without a backup nothing was changed."""

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


def _repair(report: CheckReport, again: str, fixing: FixOptions, shown: ReportOptions) -> _Repair:
    """Show the changes, ask for confirmation, and apply them."""
    from vocdet.workflows.fix import apply_fixes, plan_fixes

    repair, quiet = _Repair(plan_fixes(report)), shown.as_json
    if not quiet:
        print_plan(repair.plan, None if shown.show_all else MOST_DIFF_LINES)
    if repair.plan and (fixing.yes or (not quiet and _confirmed(again))):
        repair.backup = apply_fixes(repair.plan)
        if not quiet:
            render.out.print(
                f"[green]fixed; the original files are in {escape(str(repair.backup))}[/]\n", soft_wrap=True
            )
    return repair


def _confirmed(again: str) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        render.warning(f"nothing was changed without confirmation: {again} --fix --yes")
        return False
    return typer.confirm("make these changes?", err=True)


def print_plan(plan: FixPlan, most: int | None) -> None:
    """Print the changes to files as a diff, and what is left to a person."""
    from vocdet.wording import counted

    lines = list(plan.diff())
    for line in lines[:most]:
        color = {"+": typer.colors.GREEN, "-": typer.colors.RED}.get(line[:1])
        typer.secho(line, fg=color, bold=line[:1] == "#")  # Rich would replace tabs
    if most is not None and len(lines) > most:
        render.out.print(f"[dim]and {counted(len(lines) - most, 'line')} more: show them with --all[/]")
    for finding in plan.left:
        _print_group(finding.severity, finding.code, [finding], None)
    if plan:
        files = counted(len(plan.changes), "file") + " to change"
        files += f", {counted(len(plan.renames), 'image')} to rename" if plan.renames else ""
        render.out.print(f"[bold]{files}[/]")
    else:
        render.out.print("there is nothing to fix")


def _print_check(report: CheckReport, most: int | None) -> None:
    from vocdet.workflows.convert import summary

    for (severity, code), group in groupby(report.findings, key=lambda finding: (finding.severity, finding.code)):
        _print_group(severity, code, list(group), most)
    render.out.print(f"read as {escape(report.kind)}", soft_wrap=True)
    for other in report.others:
        render.out.print(f"it also matches {other}: check that with --from {other}", soft_wrap=True)
    if report.label_source:
        render.out.print(f"labels are in the order of {escape(report.label_source)}", soft_wrap=True)
    if report.reason:
        render.out.print(f"coordinates are {report.coordinates}-based: {escape(report.reason)}", soft_wrap=True)
    splits = ", ".join(f"{len(rows)} in {name}" for name, rows in report.dataset.splits.items())
    render.out.print(f"{summary(report.dataset)}; {splits or 'no splits yet'}", soft_wrap=True)
    render.out.print(f"[dim]{_coverage(report)}[/]", soft_wrap=True)


def _coverage(report: CheckReport) -> str:
    """What was checked, and how long it took."""
    if not report.decoded:
        return f"images were neither decoded nor compared; {report.seconds:.1f} s"
    alike = sum(map(len, report.similar))
    similar = f"{alike} have a near-duplicate" if alike else "no near-duplicates"
    return f"every image was decoded and compared with all others: {similar}; {report.seconds:.1f} s"


def _check_summary(report: CheckReport) -> str:
    from vocdet.wording import counted

    return f"checked: {counted(len(report.errors), 'error')}, {counted(len(report.warnings), 'warning')}"


def _after_check(report: CheckReport, same: list[str], again: str, *, requested: bool) -> str:
    """The next step; a repair comes first, unless it was requested."""
    from vocdet.formats.registry import find_format

    if not requested and find_format(report.format).repairable:
        from vocdet.workflows.fix import can_fix  # loads lxml and the patterns of VOC files

        if can_fix(report):
            return f"{again} --fix"
    if report.errors:
        return f"correct the errors, then {again}"
    if not len(report.dataset.objects):
        return "annotate some images in labelImg: the dataset has no objects"
    if report.dataset.objects.crowd.all():
        return f"{again} --crowds objects"
    if report.trainable:
        return render.command(training_command(report.dataset), *same)
    return render.command("split", *same, *_redivide(report))


def _redivide(report: CheckReport) -> list[str]:
    """The options that divide a dataset that has split files, without moving its test images."""
    splits = report.dataset.splits.keys()
    if not report.divided or ("trainval" in splits and not {"train", "val"} & splits):
        return []
    return ["--keep-test", "--force"] if "test" in splits else ["--force"]


def _print_group(severity: str, code: str, group: list[Finding], most: int | None) -> None:
    color = "red" if severity == "error" else "yellow"
    count = sum(finding.count for finding in group)
    render.out.print(f"[bold {color}]{severity}[/] {escape(code)} [dim]×{count}[/]", soft_wrap=True)
    shown = list(islice(group, most))
    times = Counter(finding.hint for finding in shown)
    shared = [hint for hint, count in times.items() if hint and (count > 1 or len(times) == 1)]
    for finding in shown:
        hint = f" [dim]({escape(as_commands(finding.hint))})[/]" if finding.hint and finding.hint not in shared else ""
        render.out.print(
            f"  {escape(str(finding.place))}  {escape(as_commands(finding.problem))}{hint}", soft_wrap=True
        )
    if len(group) > len(shown):
        render.out.print(f"  [dim]and {len(group) - len(shown)} more: show them with --all[/]", soft_wrap=True)
    for hint in shared:
        others = "" if len(times) == 1 else ", for the others"
        render.out.print(f"  [dim]hint{others}:[/] {escape(as_commands(hint))}", soft_wrap=True)


def _report_json(report: CheckReport) -> dict[str, Any]:
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
        "hint": as_commands(finding.hint),
        "count": finding.count,
    }
