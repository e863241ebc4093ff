"""`vocdet runs` and `vocdet compare`: trainings and their metrics side by side."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vocdet.outputs import BEST
from vocdet.recipes.schema import DETECTORS
from vocdet_cli import render
from vocdet_cli.hints import as_commands
from vocdet_cli.options import Device, Runs
from vocdet_cli.safe import escape
from vocdet_cli.startup import load_torch
from vocdet_cli.tables import Row, both_ends, fitted

if TYPE_CHECKING:
    from rich.table import Table

    from vocdet.runs.facts import RunFacts
    from vocdet.workflows.compare import Comparison, Difference, MetricRow, SplitMetrics
    from vocdet.workflows.compare_split import SplitTest

app = typer.Typer()

METRICS_OF_TASK = {
    "ssd": ("ap50", "ap", "f1"),
    "maskrcnn": ("ap50", "ap", "mask_ap50", "mask_ap", "f1"),
    "backbone": ("accuracy", "mean_label_accuracy", "loss"),
}
TASK_TITLES = {"ssd": "detectors", "maskrcnn": "detectors with masks", "backbone": "classifiers"}
SHORT = {"mean_label_accuracy": "label mean", "validation_images": "validation images", "mask_ap50": "mask ap50",
         "mask_ap": "mask ap"}  # fmt: skip
DIGITS = 8  # of a fingerprint
LONGEST_VALUE = 60  # characters of a value in a table

Json = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(help="Folder of the runs.", show_default="runs")] = Path("runs"),
    sort: Annotated[
        str, typer.Option(help="date, name, epochs, seconds, or a metric: ap50, ap, f1, accuracy, loss, …")
    ] = "date",
    as_json: Json = False,
) -> None:
    """List runs with their metrics: newest first, or by a metric.

    A run is running, finished, interrupted (by Ctrl-C), killed or failed. The first digits of its fingerprint identify
    the training data. Metrics are those of the best epoch on the val split.
    """
    from vocdet.runs.facts import list_runs
    from vocdet.wording import counted

    listed = list_runs(folder, sort=sort)
    if as_json:
        typer.echo(json.dumps([_run_json(run) for run in listed], indent=2))
        return
    known = [run for run in listed if run.task]
    for task in dict.fromkeys(run.task for run in known):
        render.show(_runs_table(task, [run for run in known if run.task == task], sort))
    for run in known:
        for problem in run.problems:
            render.warning(f"{run.folder / problem}")
        if run.why:
            render.note(f"{run.folder.name} failed: {run.why}")
    if others := [run.folder.name for run in listed if not run.task]:
        render.note(f"not runs: {', '.join(others)}")
    render.done(f"{counted(len(known), 'run')} in {folder}", then=_next(known))


@app.command()
def compare(
    names: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders, or names in --runs.")],
    show_all: Annotated[bool, typer.Option("--all", help="Show every label, however many there are.")] = False,
    as_json: Json = False,
    folder: Runs = Path("runs"),
    split: Annotated[
        str, typer.Option(help="Test on the images of this split whether the runs differ, by more than chance.")
    ] = "",
    data: Annotated[
        Path | None, typer.Option(help="Dataset folder for --split.", show_default="that of the first run")
    ] = None,
    device: Device = "auto",
) -> None:
    """Compare runs: recipe, environment, data, and metrics overall and label by label.

    Metrics are those of the best epoch's validation, and of every split evaluated with vocdet eval. The second and
    later runs show the difference to the first. With --split, a paired test over the images says whether they differ;
    runs that differ only in their seeds count as one, and the test is over images and seeds.
    """
    from vocdet.workflows.compare import compare_runs

    comparison = compare_runs(names, runs=folder)
    tests: tuple[SplitTest, ...] = ()
    if split:
        tests = _split_tests(comparison, split, data, device)
        comparison = compare_runs(names, runs=folder)  # with the evaluations that were missing
    if as_json:
        content = _comparison_json(comparison) | (
            {"tests": [dataclasses.asdict(one) for one in tests]} if split else {}
        )
        typer.echo(json.dumps(content, indent=2))
        return
    for title, rows in (
        ("recipe", comparison.recipe),
        ("environment", comparison.environment),
        ("data", comparison.data),
    ):
        if rows:
            render.show(_differences_table(title, comparison.runs, rows))
        else:
            render.out.print(f"[bold]{title}[/]: no known difference")
        render.out.print()
    for known in comparison.splits:
        _print_split(known, comparison.runs, every=show_all)
    for note in comparison.notes:
        render.note(as_commands(note))
    if tests:
        _print_tests(tests)
    best = _best_run(comparison)
    then = _eval(best) if best.task in DETECTORS else _train_on(best)
    render.done(f"Compared {len(comparison.runs)} runs", then=then if _has_checkpoint(best) else "")


def _split_tests(comparison: Comparison, split: str, data: Path | None, device: str) -> tuple[SplitTest, ...]:
    load_torch()
    from vocdet.formats.scan import Source
    from vocdet.workflows.compare_split import compare_on

    source = Source(data) if data else None
    with render.progress("evaluating") as progress:
        return compare_on(comparison.runs, split, source, device=device, progress=progress)


def _print_tests(tests: Sequence[SplitTest]) -> None:
    from vocdet.wording import counted

    first = tests[0]
    title = f"paired test on {first.split}: the same {counted(first.images, 'image')}, drawn 1,000 times"
    table = render.table(title, "", "metric", ", ".join(first.before), "difference", "95 % of them", "p")
    for one in tests:
        bounds = "–" if one.bounds is None else f"{one.bounds[0]:+.3f} to {one.bounds[1]:+.3f}".replace("-", "−")
        difference = "–" if one.difference is None else f"{one.difference:+.3f}".replace("-", "−")
        p = "–" if one.p is None else f"{one.p:.3f}"
        table.add_row(escape(", ".join(one.after)), one.metric, render.metric(one.value), difference, bounds, p)
    render.show(table)
    for one in tests:
        verdict = "is more than chance" if one.sure else "may be chance"
        render.note(f"{one.metric}: the difference of {', '.join(one.after)} {verdict}")


def _runs_table(task: str, group: Sequence[RunFacts], sort: str) -> Table:
    known = {name for run in group for name in run.scores}
    metrics = [name for name in METRICS_OF_TASK.get(task, ()) if name in known]
    metrics += [sort] if sort in known and sort not in metrics else []
    columns = ("net", "size", "epochs", *(SHORT.get(name, name) for name in metrics), "started", "time", "data", "")
    rows: list[Row] = [
        (
            run.folder.name,
            [
                run.net or "–", run.size or "–", _epochs(run), *map(render.metric, map(run.scores.get, metrics)),
                _date(run.started), _time(run.seconds), run.dataset[:DIGITS] or "–", _state(run),
            ],
        )
        for run in group
    ]  # fmt: skip
    table = render.table(f"{TASK_TITLES.get(task, task)} ({task})", "", *columns)
    for name, values in rows:
        table.add_row(escape(name), *map(str, values))
    return table


def _epochs(run: RunFacts) -> str:
    return f"{run.epochs} in {run.minutes:g} min" if run.minutes else f"{run.epochs}/{run.planned or '?'}"


def _state(run: RunFacts) -> str:
    damaged = ", damaged" if run.problems else ""
    return f"{run.state or 'unknown'}{' (resumable)' if run.resumable else ''}{damaged}"


def _date(started: str) -> str:
    return started[:16].replace("T", " ") or "–"


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60}:{minutes % 60:02d} h"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"


def _next(known: Sequence[RunFacts]) -> str:
    """The next command: resume an unfinished run, else compare or evaluate those that have a checkpoint."""
    if not known:
        return render.command("train-ssd")
    for run in known:
        if run.state != "failed" and (words := _resume(run)):
            return render.command(*words)
    usable = [run for run in known if _has_checkpoint(run)]
    for i, run in enumerate(usable):
        for other in usable[i + 1 :]:
            if (other.task, other.dataset) == (run.task, run.dataset):
                return render.command("compare", str(run.folder), str(other.folder))
    detectors = [run for run in usable if run.task in DETECTORS]
    if detectors:
        return _eval(detectors[0])
    return next((_train_on(run) for run in usable if run.task == "backbone"), "")


def _has_checkpoint(run: RunFacts) -> bool:
    """Whether a run has weights to evaluate, or to train on."""
    return (run.folder / BEST).is_file()


def _train_on(run: RunFacts) -> str:
    """The command that trains a detector on a classifier; "" if it has learned from images without boxes."""
    if run.data.get("folder"):
        return ""
    data = [*render.given(Path(str(run.data.get("root", "")))), *_run_arguments(run)]
    return render.command("train-ssd", *data, "--net", run.net, "--weights", str(run.folder))


def _run_arguments(run: RunFacts) -> list[str]:
    """The options with which a run has read its dataset."""
    defaults = {"format": ("--from", "auto"), "label_list": ("--labels", None),
                "coordinates": ("--coordinates", "auto"), "crowds": ("--crowds", "ignore")}  # fmt: skip
    words = [word for name, (option, default) in defaults.items()
             for word in render.given(run.data.get(name) or default, option, default)]  # fmt: skip
    return [*words, *(["--skip-bad"] if run.data.get("skip_bad") else [])]


def _resume(run: RunFacts) -> list[str]:
    """The command that resumes a run; empty if it cannot be resumed."""
    return [f"train-{run.task}", "--resume", str(run.folder)] if run.resumable and run.task in METRICS_OF_TASK else []


def _eval(run: RunFacts) -> str:
    """The command that evaluates a detector on the dataset of its training."""
    root = Path(str(run.data.get("root", "")))
    return render.command("eval", str(run.folder), *render.given(root, "--data", Path()), *_run_arguments(run))


def _differences_table(title: str, group: Sequence[RunFacts], rows: Sequence[Difference]) -> Table:
    table = render.table(f"{title}: differences", "", *_run_names(group))
    for row in rows:
        table.add_row(escape(SHORT.get(row.name, row.name)), *(escape(text) for text in _cells(row)))
    return table


def _cells(row: Difference) -> list[str]:
    """Values for a table; of long lists, the differences to the first."""
    if row.name == "labels" and all(isinstance(value, list) for value in row.values):
        first = row.values[0]
        texts = [f"{len(first)} labels"]
        for labels in row.values[1:]:
            signed = [*(f"+{x}" for x in labels if x not in first), *(f"−{x}" for x in first if x not in labels)]
            texts.append(f"{len(labels)} labels: {' '.join(signed) or 'in a different order'}")
        return [_short(text) for text in texts]
    if row.name in ("fingerprint", "git_commit"):
        return [str(value)[:DIGITS] if value else "–" for value in row.values]
    return [_short(_value_text(value)) for value in row.values]


def _value_text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def _print_split(split: SplitMetrics, group: Sequence[RunFacts], *, every: bool) -> None:
    by = "best epoch of the training" if split.measured == "validation" else "vocdet eval"
    if split.same_images is False:
        render.warning(f"the runs used different images of {split.split}: their metrics are not comparable")
    render.show(_metrics_table(f"on {split.split} ({by})", group, split.overall))
    for name, rows in split.labels.items():
        if name in ("ap50", "accuracy") and rows:
            shown = [row for row in rows if any(value is not None for value in row.values)]
            title = f"{name} of every label on {split.split}"
            render.show(_metrics_table(title, group, _by_change(shown), every=every))
    render.out.print()


def _by_change(rows: Sequence[MetricRow]) -> list[MetricRow]:
    """Rows sorted by their change from the first run to the last, best improvement first."""

    def change(row: MetricRow) -> float:
        first, last = row.values[0], row.values[-1]
        return 0.0 if first is None or last is None else last - first

    return sorted(rows, key=change, reverse=True)


def _metrics_table(title: str, group: Sequence[RunFacts], rows: Sequence[MetricRow], *, every: bool = True) -> Table:
    cells: list[Row] = [
        (
            SHORT.get(row.name, row.name),
            [render.metric(row.values[0]), *(_changed(row.values[0], v) for v in row.values[1:])],
        )
        for row in rows
    ]
    return fitted(title, _run_names(group), both_ends(cells, len(group), every=every))


def _run_names(group: Sequence[RunFacts]) -> list[str]:
    """The names of the runs, or their paths if two names are equal."""
    names = [run.folder.name for run in group]
    return names if len(set(names)) == len(names) else [str(run.folder) for run in group]


def _changed(first: float | None, value: float | None) -> str:
    if value is None or first is None:
        return f"{render.metric(value)}       " if value is not None else "–"
    return f"{value:.3f} {value - first:+.3f}".replace("-", "−")


def _best_run(comparison: Comparison) -> RunFacts:
    """The run with the highest first metric of the last measured split, else the first run."""
    for split in reversed(comparison.splits):
        for row in split.overall:
            values = [(value, -i) for i, value in enumerate(row.values) if value is not None]
            if values and row.name != "loss":
                return comparison.runs[-max(values)[1]]
    return comparison.runs[0]


def _run_json(run: RunFacts) -> dict[str, Any]:
    return dataclasses.asdict(run) | {"folder": str(run.folder), "resume": _resume(run)}


def _comparison_json(comparison: Comparison) -> dict[str, Any]:
    content = {
        field.name: getattr(comparison, field.name) for field in dataclasses.fields(comparison) if field.name != "runs"
    }
    plain = {
        name: [dataclasses.asdict(one) if dataclasses.is_dataclass(one) else one for one in rows]  # type: ignore[arg-type]
        for name, rows in content.items()
    }
    return {"runs": [str(run.folder) for run in comparison.runs], **plain}
