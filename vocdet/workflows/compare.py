"""The differences between runs: recipe, environment, data and metrics, label by label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from vocdet.errors import ArgumentError
from vocdet.runs.facts import RunFacts, find_run, read_run
from vocdet.runs.image_record import VALIDATION, recorded_images

COMPARED = ("vocdet", "python", "torch", "torchvision", "numpy", "opencv", "platform", "cpu", "cores", "threads",
           "gpus", "cuda", "git_commit", "git_changed")  # fmt: skip
OVERALL_METRICS = ("ap50", "ap", "ap_voc07", "ap_voc", "precision", "recall", "f1")  # of an evaluation
LABEL_METRICS = ("ap50", "ap", "f1")


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that differs between runs; None: unknown for a run."""

    name: str
    values: tuple[Any, ...]  # of every run


@dataclass(frozen=True, slots=True)
class MetricRow:
    """A metric of every run, overall or for one label; None: a run does not have it."""

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class SplitMetrics:
    """The metrics on one split."""

    split: str
    measured: str  # validation: during training, in the best epoch; eval: in an evaluation
    same_images: bool | None  # whether all runs used the same images; None: unknown
    overall: tuple[MetricRow, ...]
    labels: dict[str, tuple[MetricRow, ...]]  # by metric: the values of every label


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side; apart from metrics, only their differences."""

    runs: tuple[RunFacts, ...]
    recipe: tuple[Difference, ...]
    environment: tuple[Difference, ...]
    data: tuple[Difference, ...]
    splits: tuple[SplitMetrics, ...]
    notes: tuple[str, ...]  # files that cannot be read or compared


class _LabelRow(msgspec.Struct):
    label: str
    ap50: float | None = None
    ap: float | None = None
    f1: float | None = None


class _MaskMetrics(msgspec.Struct):
    overall: dict[str, float | None] = {}


class _Evaluation(msgspec.Struct):
    """The fields of an evaluation's report that are needed here."""

    overall: dict[str, float | None]
    labels: list[_LabelRow]
    dataset: str = ""
    images: int = 0
    thresholds_from: str = ""
    masks: _MaskMetrics | None = None


def compare_runs(names: Sequence[Path], *, runs: Path = Path("runs")) -> Comparison:
    """The differences between two or more runs, given as folders, checkpoints in them, or names in `runs`.

    A run that does not exist is a `RunError`; a single run, or the same run twice, is an `ArgumentError`.
    """
    folders = [find_run(name, runs) for name in names]
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        problem = "only one run to compare" if len(folders) < 2 else "the same run is named twice"
        raise ArgumentError(problem, place=folders[0] if folders else None, hint="name at least two different runs")
    facts = tuple(read_run(folder) for folder in folders)
    problems = [f"{run.folder / text}" for run in facts for text in run.problems]
    for what in ("recipe", "environment"):
        unknown = [run.folder.name for run in facts if not getattr(run, what)]
        problems += [f"the {what} of {', '.join(unknown)} is unknown"] if unknown else []
    splits = [split for split in [_validated(facts), *_evaluated(facts, problems)] if split]
    return Comparison(
        runs=facts,
        recipe=_differences([run.recipe for run in facts]),
        environment=_differences([_subset_of(run.environment, COMPARED) for run in facts]),
        data=(*filter(_is_known, _differences([_run_data(run) for run in facts])), *_changed_images(facts)),
        splits=tuple(splits),
        notes=tuple(problems),
    )


def _differences(tables: Sequence[Mapping[str, Any]]) -> tuple[Difference, ...]:
    """The keys whose values differ between tables, in the order of the tables; empty tables are ignored."""
    known = [table for table in tables if table]
    differences = []
    for key in dict.fromkeys(key for table in known for key in table):
        values = [table.get(key) for table in known]
        if any(value != values[0] for value in values):
            differences.append(Difference(key, tuple(table.get(key) for table in tables)))
    return tuple(differences)


def _is_known(row: Difference) -> bool:
    """Whether two known values differ; unknown values may be equal."""
    known = [value for value in row.values if value is not None]
    return any(value != known[0] for value in known)


def _subset_of(table: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: table[key] for key in keys if key in table}


def _run_data(run: RunFacts) -> dict[str, Any]:
    """The training data of a run."""
    known = {
        "fingerprint": run.dataset or None,
        "root": run.data.get("root"),
        "images": run.data.get("images"),
        "validation_images": run.data.get("validation_images"),
        "labels": list(run.labels) or None,
    }
    return {name: value for name, value in known.items() if value is not None}


def _changed_images(facts: Sequence[RunFacts]) -> list[Difference]:
    """The number of images of every split, and how many differ from the first run's."""
    splits = [recorded_images(run.folder) for run in facts]
    if not all(splits):
        return []
    differences = []
    for name in dict.fromkeys(name for known in splits for name in known):
        first, *others = (known.get(name, {}) for known in splits)
        texts = [str(len(first))]
        for images in others:
            counts = {
                "added": len(images.keys() - first.keys()),
                "removed": len(first.keys() - images.keys()),
                "changed": sum(1 for stem in images.keys() & first.keys() if images[stem] != first[stem]),
            }
            some = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
            texts.append(f"{len(images)} ({some})" if some else str(len(images)))
        if len(set(texts)) > 1:
            differences.append(Difference(f"images of {name}", tuple(texts)))
    return differences


def _validated(facts: Sequence[RunFacts]) -> SplitMetrics | None:
    """The metrics of the validations during training."""
    names = dict.fromkeys(name for run in facts for name in run.scores)
    if not names:
        return None
    overall = tuple(MetricRow(name, tuple(run.scores.get(name) for run in facts)) for name in names)
    what = "accuracy" if all(run.task == "backbone" for run in facts) else "ap50"
    labels = _metrics_of_labels([run.by_label for run in facts])
    splits = [recorded_images(run.folder).get(VALIDATION) for run in facts]
    same = all(split == splits[0] for split in splits) if all(split is not None for split in splits) else None
    return SplitMetrics(VALIDATION, "validation", same, overall, {what: labels} if labels else {})


def _evaluated(facts: Sequence[RunFacts], problems: list[str]) -> list[SplitMetrics]:
    """The metrics of evaluations, on splits that more than one run was evaluated on."""
    evaluations: list[dict[str, _Evaluation]] = []
    for run in facts:
        mine: dict[str, _Evaluation] = {}
        for path in sorted(run.folder.glob("metrics-*.json")):
            try:
                mine[path.stem.partition("-")[2]] = msgspec.json.decode(path.read_bytes(), type=_Evaluation)
            except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
                problems.append(f"{path} cannot be read")
        evaluations.append(mine)
    splits = []
    for name in sorted({name for mine in evaluations for name in mine}):
        reports = [mine.get(name) for mine in evaluations]
        without = [str(run.folder) for run, report in zip(facts, reports, strict=True) if report is None]
        if without:
            problems.append(
                f'{", ".join(without)} has no metrics-{name}.json: run `vocdet.evaluate(dataset, run, split="{name}")`'
            )
        if len(without) < len(facts) - 1:
            splits.append(_split_metrics(name, reports))
            if len({report.thresholds_from for report in reports if report}) > 1:
                problems.append(f"precision, recall and F1 on {name} use thresholds of different origins")
    return splits


def _split_metrics(name: str, reports: Sequence[_Evaluation | None]) -> SplitMetrics:
    known = [report for report in reports if report]
    overall = (
        MetricRow(key, tuple(report.overall.get(key) if report else None for report in reports))
        for key in OVERALL_METRICS
    )
    mask_metrics = [report.masks.overall if report and report.masks else {} for report in reports]
    masks = (MetricRow(f"mask_{key}", tuple(one.get(key) for one in mask_metrics)) for key in ("ap50", "ap"))
    labels = {
        key: _metrics_of_labels(
            [{row.label: getattr(row, key) for row in report.labels} if report else {} for report in reports]
        )
        for key in LABEL_METRICS
    }
    same = all((r.dataset, r.images) == (known[0].dataset, known[0].images) for r in known)
    return SplitMetrics(
        name, "eval", same, tuple(row for row in (*overall, *masks) if any(v is not None for v in row.values)), labels
    )


def _metrics_of_labels(tables: Sequence[Mapping[str, float | None]]) -> tuple[MetricRow, ...]:
    """A row for every label of any run, in the order of the first run that has it."""
    names = dict.fromkeys(name for table in tables for name in table)
    return tuple(MetricRow(name, tuple(table.get(name) for table in tables)) for name in names)
