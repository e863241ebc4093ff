"""`vocdet eval`."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vocdet.errors import ArgumentError
from vocdet.wording import bounds_text
from vocdet_cli import render
from vocdet_cli.backends import chosen_backend
from vocdet_cli.left_out import count_left_out, show_left_out
from vocdet_cli.next_steps import same_dataset
from vocdet_cli.option_groups import Without, grouped
from vocdet_cli.options import DetectOptions, ReadOptions, Seed
from vocdet_cli.safe import escape
from vocdet_cli.startup import load_torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from vocdet.evaluation.bootstrap import Bounds
    from vocdet.evaluation.mask_report import MaskMetrics, MaskReport
    from vocdet.evaluation.report import EvalReport, Metrics
    from vocdet.formats.scan import Source
    from vocdet.workflows.eval_options import EvalOptions, EvalResult

app = typer.Typer()

Minimum = Annotated[float | None, typer.Option(help="End with exit code 1 if it is lower, over all labels.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOptions:
    """The images, and what is computed on them."""

    data: Annotated[Path, typer.Option(help="Dataset folder.", show_default="this folder")] = Path()
    split: Annotated[
        str,
        typer.Option(
            help="Split to evaluate on: test, val, fold1_val, …; all: every image.", show_default="test, or else val"
        ),
    ] = ""
    own_thresholds: Annotated[
        bool,
        typer.Option(
            "--own-thresholds", help="Precision and recall at the checkpoint's thresholds instead of the best."
        ),
    ] = False
    subset: Annotated[
        int | None, typer.Option(min=1, help="Evaluate only N images of the split, chosen at random with --seed.")
    ] = None
    interval: Annotated[
        bool, typer.Option("--interval", help="Confidence intervals of every metric; always on with --subset.")
    ] = False
    seed: Seed = 0
    report: Annotated[
        bool | None,
        typer.Option(
            "--report/--no-report",
            help="Write report-<split>.html, a page to look at.",
            show_default="for a run, into its folder; for detections in files, --report writes into this folder",
        ),
    ] = None
    plots: Annotated[
        bool, typer.Option("--plots", help="Write the plots of the page as PNG and SVG beside it, into plots-<split>.")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Minimums:
    """The metrics that make an evaluation a success."""

    min_ap50: Minimum = None
    min_ap: Minimum = None
    min_precision: Minimum = None
    min_recall: Minimum = None
    min_f1: Minimum = None


@app.command("eval")
@grouped
def evaluate(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN]",
            help="Run folder or checkpoint of a detector; or detections of any tool: COCO results (.json), "
            "comp3_det_test_<label>.txt, a folder of VOC XML or YOLO text with scores.",
            show_default="the newest in ./runs",
        ),
    ] = None,
    *,
    images: ImageOptions,
    picture: Annotated[
        Path | None, typer.Option(help="Write a few images with ground truth and detections to this .jpg or .png.")
    ] = None,
    why: Annotated[bool, typer.Option("--why", help="Why protocols differ here, one difference at a time.")] = False,
    minimums: Minimums,
    read: ReadOptions,
    runner: Annotated[DetectOptions, Without("score batch")],
) -> None:
    """Average precision, precision, recall and F1 of every label, by the rules of VOC and COCO.

    With masks, average precision is that of boxes and of masks; all other metrics refer to boxes. In images without
    objects, false detections are counted: --data may be a folder of images alone that show none.
    """
    from vocdet.workflows.eval_options import EvalOptions

    if images.plots and images.report is False:
        raise ArgumentError("--plots and --no-report exclude each other", hint="the plots are those of the page")
    data, seed = images.data, images.seed
    source = read.source(data)
    typed = (render.command(*sys.argv[1:]),) if sys.argv[1:2] == ["eval"] else ()
    options = EvalOptions(
        images.split, images.own_thresholds, images.subset, images.interval, seed, typed,
        True if images.plots else images.report, images.plots,
    )  # fmt: skip
    done = _of_files(run, source, options, picture, tiled=runner.tile is not None) if run else None
    if done is None:
        done, run = _of_run(run, source, options, runner, picture)
    assert run is not None
    show(done, run, source, seed=seed)
    if why:
        _show_steps(done.report)
    pictured = f", and examples to {picture}" if picture else ""
    then = render.command("predict", str(run), str(data)) if not done.kind else render.command("stats", str(data))
    show_page(done)
    saved = f"Saved {done.metrics} and {done.detections}{pictured}" if not done.kind else f"Evaluated {done.kind}"
    render.done(saved, then=then)
    if failed := done.report.below(**{name.removeprefix("min_"): one for name, one in asdict(minimums).items()}):
        for text in failed:
            render.screen().print(f"[bold red]below the minimum:[/] {text}")
        raise typer.Exit(1)


def _of_files(
    path: Path, source: Source, options: EvalOptions, picture: Path | None, *, tiled: bool
) -> EvalResult | None:
    """The metrics of detections in files; None if the path is not one of them."""
    from vocdet.workflows.evaluate_files import evaluate_files, is_detections

    if not is_detections(path):
        return None
    if picture or options.own_thresholds or tiled:
        raise typer.BadParameter("--picture, --own-thresholds and --tile need a run", param_hint="RUN")
    return evaluate_files(path, source, options)


def _of_run(
    run: Path | None, source: Source, options: EvalOptions, runner: DetectOptions, picture: Path | None
) -> tuple[EvalResult, Path]:
    load_torch()
    from vocdet.runs.folders import newest_detector
    from vocdet.workflows.evaluate import evaluate_run

    run = run or newest_detector(runner.runs)
    detector = chosen_backend(run, runner)
    with render.progress("evaluating") as progress:
        done = evaluate_run(run, source, options, detector=detector, picture=picture, progress=progress)
    return done, run


def show(done: EvalResult, run: Path, source: Source, *, seed: int = 0) -> None:
    """Print the metrics of an evaluation, and what they leave out; `seed` chose the images of a subset."""
    from vocdet.wording import counted

    see = render.command("check", *same_dataset(source))
    show_left_out(done.left_out, see)
    render.findings(done.warnings, see)
    if done.unknown:
        render.warning(f"the detector has no label {', '.join(done.unknown)}: such objects count as missed")
    if done.report.false_alarms.images == done.report.images:
        render.note("no image has an annotated object: each detection at the checkpoint's thresholds counts as false")
    elif not done.report.overall.objects:
        render.warning(f"the {done.split} split has no object to evaluate: none is annotated, or all are difficult")
    if done.trained_on:
        trained, were = counted(done.trained_on, "image"), "was" if done.trained_on == 1 else "were"
        render.warning(f"{trained} {were} trained on: the metrics are higher than on new images")
    if done.outside:
        outside = counted(done.outside, "detection")
        render.note(f"{outside} in images outside of the {done.split} split: not counted")
    _note_masks(done)
    images = counted(done.report.images, "image")
    of = f" of {done.available}, chosen with seed {seed}" if done.report.images < done.available else ""
    render.out.print(f"[bold]{escape(str(run))} on {done.split}: {images}{of}[/]", soft_wrap=True)
    if done.report.false_alarms.images < done.report.images:
        render.show(_precision_table(done.report))
    render.show(_threshold_table(done.report))
    if done.report.overall.objects:
        render.show(_error_table(done.report))
    for line in _summary_lines(done.report):
        render.out.print(line, soft_wrap=True)
    count_left_out(done.left_out)


def show_page(done: EvalResult) -> None:
    """Print where the page of an evaluation is, if it was written."""
    if done.page == Path():
        return
    render.out.print(f"page to look at: [bold]{escape(str(done.page))}[/]", soft_wrap=True)


def _show_steps(report: EvalReport) -> None:
    from vocdet.evaluation.protocols import differences

    steps = report.steps
    table = render.table("average precision over all labels, one difference at a time", "rule", "AP", "change", "")
    table.columns[-1].justify = "left"
    for step, change in zip(steps, differences(steps), strict=True):
        changed = "" if change is None else f"{change:+.4f}".replace("-", "−")
        table.add_row(step.name, "–" if step.value is None else f"{step.value:.4f}", changed, step.why)
    render.show(table)


def _note_masks(done: EvalResult) -> None:
    from vocdet.wording import counted

    if done.boxes_only:
        render.note("no object has a mask annotation: the detector's masks are not evaluated")
    masks = done.report.masks
    if masks and masks.unreadable:
        unreadable = counted(masks.unreadable, "mask")
        render.warning(
            f"{unreadable} invalid or of another size than the image: their objects are left out of mask metrics"
        )
    if masks and masks.without > masks.unreadable:
        without = counted(masks.without - masks.unreadable, "object")
        render.note(f"{without} without a mask: left out of mask metrics")


def _precision_table(report: EvalReport) -> Table:
    title = "average precision: AP50 by the rules of VOC 2007 (11 points), VOC 2010 and COCO; AP by COCO"
    columns = ["objects", "VOC07", "VOC", "AP50", "AP"]
    masks = [*report.masks.labels, report.masks.overall] if report.masks else []
    table = render.table(title, "label", *columns, *(("mask AP50", "mask AP") if masks else ()))
    of_boxes, of_masks = _intervals(report), _intervals(report.masks) if report.masks else []
    for i, (row, name) in enumerate(_rows(report)):
        shares = [_with_bounds(row, one, of_boxes[i]) for one in ("ap_voc07", "ap_voc", "ap50", "ap")]
        shares += [_with_bounds(masks[i], one, of_masks[i]) for one in ("ap50", "ap") if masks]
        table.add_row(name, str(row.objects), *shares)
    return table


def _threshold_table(report: EvalReport) -> Table:
    from vocdet.evaluation.report import LabelMetrics

    columns = ("label", "threshold", "precision", "recall", "F1", "correct", "wrong", "missed", "false")
    at = "at the score threshold, by boxes" if report.masks else "at the score threshold"
    table = render.table(f"{at}: correct, wrong and missed objects; false detections", *columns)
    for (row, name), bounds in zip(_rows(report), _intervals(report), strict=True):
        threshold = render.metric(row.threshold) if isinstance(row, LabelMetrics) else ""
        shown = ("precision", "recall", "f1", "correct", "wrong", "missed", "false")
        table.add_row(name, threshold, *(_with_bounds(row, one, bounds) for one in shown))
    return table


def _error_table(report: EvalReport) -> Table:
    from vocdet.evaluation.errors import ERROR_NAMES

    errors = report.errors
    table = render.table("errors at any score, by the AP50 that curing them would add (TIDE)", "error", "count", "AP50")
    counts = errors.counts()
    known = report.interval.errors if report.interval else {}
    for name, cost in errors.costs.items():
        bounds = known.get(name, {})
        table.add_row(
            ERROR_NAMES[name],
            _above(str(counts[name]), bounds.get("count"), 0),
            _above(f"+{cost:.3f}", bounds.get("ap50")),
        )
    return table


def _intervals(block: EvalReport | MaskReport) -> list[Mapping[str, Bounds]]:
    """The intervals of every label, then of all; empty without any."""
    known = block.interval
    return [*known.labels, known.overall] if known and known.labels else [{}] * (1 + len(block.labels))


def _with_bounds(row: Metrics | MaskMetrics, name: str, bounds: Mapping[str, Bounds]) -> str:
    """A metric or a count, and its interval below."""
    value = getattr(row, name)
    if isinstance(value, int):
        return _above(str(value), bounds.get(name), 0)
    return _above(render.metric(value), bounds.get(name), 2)


def _above(text: str, bounds: Bounds, digits: int = 3) -> str:
    return text if bounds is None else f"{text}\n[dim]{bounds_text(bounds, digits)}[/]"


def _rows(report: EvalReport) -> list[tuple[Metrics, str]]:
    """The metrics and name of every label, then of all."""
    return [*((row, escape(row.label[:40])) for row in report.labels), (report.overall, "[bold]all[/]")]


def _summary_lines(report: EvalReport) -> list[str]:
    """COCO's metrics of boxes and of masks, each with its interval."""
    lines = []
    alarms = report.false_alarms
    if alarms.images:
        of = f"{alarms.detections} in {alarms.alarmed} of {alarms.images} images without objects"
        known = report.interval.false_alarms.get("per_image") if report.interval else None
        within = f" ({bounds_text(known)})" if known else ""
        lines.append(f"false detections: {of}, {alarms.per_image or 0:.3f} per image{within}")
    if alarms.images == report.images:
        return lines
    for name, block in (("COCO", report), ("COCO, masks", report.masks)):
        if block:
            lines.append(
                f"{name}: " + "  ".join(f"{name} {render.metric(value)}" for name, value in block.coco.items())
            )
        if block and block.interval:
            bounds = (f"{name} {bounds_text(value)}" for name, value in block.interval.bounds.items())
            within = f"{block.interval.share:.0%} of {block.interval.resamples} resamples of the images"
            lines.append(f"  {within}: " + "  ".join(bounds))
    return lines
