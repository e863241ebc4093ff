"""In what runs differ: how they were trained, where, on what, and what came out, label by label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from vocdet.errors import CheckpointError
from vocdet.runs.facts import RunFacts, find_run, read_run

MATTERS = ("vocdet", "python", "torch", "torchvision", "numpy", "opencv", "platform", "cpu", "cores", "threads",
           "gpus", "cuda", "git_commit", "git_changed")  # fmt: skip
OVERALL = ("ap50", "ap", "ap_voc07", "ap_voc", "precision", "recall", "f1")  # of an evaluation
OF_LABEL = ("ap50", "ap", "f1")
VALIDATION = "val"  # the part that training itself looked at


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same in all runs; None: a run says nothing of it."""

    name: str
    values: tuple[Any, ...]  # of every run


@dataclass(frozen=True, slots=True)
class Figures:
    """A figure of every run, for all or for one label; None: a run has no such figure, or not that label."""

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class SplitFigures:
    """What came out on one part of the data."""

    split: str
    measured: str  # validation: by the training, of its best epoch; eval: by vocdet eval
    same_images: bool | None  # whether all looked at the same; None: that is not known
    overall: tuple[Figures, ...]
    labels: dict[str, tuple[Figures, ...]]  # ap50 and others: of every label


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side; what is the same in all of them is left out, but for figures."""

    runs: tuple[RunFacts, ...]
    recipe: tuple[Difference, ...]
    environment: tuple[Difference, ...]
    data: tuple[Difference, ...]
    splits: tuple[SplitFigures, ...]
    notes: tuple[str, ...]  # what could not be read or compared


class _LabelRow(msgspec.Struct):
    label: str
    ap50: float | None = None
    ap: float | None = None
    f1: float | None = None


class _OfMasks(msgspec.Struct):
    overall: dict[str, float | None] = {}


class _Evaluation(msgspec.Struct):
    """What `vocdet eval` wrote, as far as it matters here."""

    overall: dict[str, float | None]
    labels: list[_LabelRow]
    dataset: str = ""
    images: int = 0
    thresholds_from: str = ""
    masks: _OfMasks | None = None


def compare_runs(names: Sequence[Path], *, runs: Path = Path("runs")) -> Comparison:
    """What differs between two or more runs, given as folders, checkpoints in them, or names in `runs`.

    What there is no run of is a `VocdetError`; the same run twice, or one alone, is a `CheckpointError`.
    """
    folders = [find_run(name, runs) for name in names]
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        problem = "there is only one run to compare" if len(folders) < 2 else "the same run is named twice"
        raise CheckpointError(problem, place=folders[0] if folders else None, hint="name two different runs, or more")
    facts = tuple(read_run(folder) for folder in folders)
    problems = [f"{run.folder / text}" for run in facts for text in run.problems]
    for what in ("recipe", "environment"):
        silent = [run.folder.name for run in facts if not getattr(run, what)]
        problems += [f"nothing is known of the {what} of {', '.join(silent)}"] if silent else []
    splits = [split for split in [_validated(facts), *_evaluated(facts, problems)] if split]
    return Comparison(
        runs=facts,
        recipe=_differences([run.recipe for run in facts]),
        environment=_differences([_some(run.environment, MATTERS) for run in facts]),
        data=(*filter(_is_known, _differences([_data(run) for run in facts])), *_image_differences(facts)),
        splits=tuple(splits),
        notes=tuple(problems),
    )


def _differences(tables: Sequence[Mapping[str, Any]]) -> tuple[Difference, ...]:
    """The keys whose values are not the same in all tables, in the tables' order; an empty table says nothing."""
    known = [table for table in tables if table]
    found = []
    for key in dict.fromkeys(key for table in known for key in table):
        values = [table.get(key) for table in known]
        if any(value != values[0] for value in values):
            found.append(Difference(key, tuple(table.get(key) for table in tables)))
    return tuple(found)


def _is_known(row: Difference) -> bool:
    """Whether two runs say different things; where one says nothing there may be no difference."""
    said = [value for value in row.values if value is not None]
    return any(value != said[0] for value in said)


def _some(table: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: table[key] for key in keys if key in table}


def _data(run: RunFacts) -> dict[str, Any]:
    """What a run learned from."""
    known = {
        "fingerprint": run.dataset or None,
        "root": run.data.get("root"),
        "images": run.data.get("images"),
        "validated_on": run.data.get("validated_on"),
        "labels": list(run.labels) or None,
    }
    return {name: value for name, value in known.items() if value is not None}


def _image_differences(facts: Sequence[RunFacts]) -> list[Difference]:
    """Of every part how many images there are, and how many are others than the first run's."""
    splits = [_images(run.folder / "dataset.json") for run in facts]
    if not all(splits):
        return []
    found = []
    for name in dict.fromkeys(name for known in splits for name in known):
        first, *others = (known.get(name, {}) for known in splits)
        texts = [str(len(first))]
        for images in others:
            counts = {
                "new": len(images.keys() - first.keys()),
                "gone": len(first.keys() - images.keys()),
                "changed": sum(1 for stem in images.keys() & first.keys() if images[stem] != first[stem]),
            }
            some = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
            texts.append(f"{len(images)} ({some})" if some else str(len(images)))
        if len(set(texts)) > 1:
            found.append(Difference(f"images of {name}", tuple(texts)))
    return found


def _images(path: Path) -> dict[str, dict[str, Any]]:
    """The digest of every image of every part of what a run learned from; empty where that was not kept."""
    try:
        found: dict[str, dict[str, Any]] = msgspec.json.decode(path.read_bytes(), type=_Kept).images
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}
    return found


class _Kept(msgspec.Struct):
    images: dict[str, dict[str, Any]]


def _validated(facts: Sequence[RunFacts]) -> SplitFigures | None:
    """What the trainings found on their validation parts."""
    names = dict.fromkeys(name for run in facts for name in run.scores)
    if not names:
        return None
    overall = tuple(Figures(name, tuple(run.scores.get(name) for run in facts)) for name in names)
    what = "accuracy" if all(run.task == "backbone" for run in facts) else "ap50"
    labels = _by_label([run.by_label for run in facts])
    splits = [_images(run.folder / "dataset.json").get(VALIDATION) for run in facts]
    same = all(split == splits[0] for split in splits) if all(split is not None for split in splits) else None
    return SplitFigures(VALIDATION, "validation", same, overall, {what: labels} if labels else {})


def _evaluated(facts: Sequence[RunFacts], problems: list[str]) -> list[SplitFigures]:
    """What `vocdet eval` found on parts that more than one run was evaluated on."""
    found: list[dict[str, _Evaluation]] = []
    for run in facts:
        mine: dict[str, _Evaluation] = {}
        for path in sorted(run.folder.glob("metrics-*.json")):
            try:
                mine[path.stem.partition("-")[2]] = msgspec.json.decode(path.read_bytes(), type=_Evaluation)
            except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
                problems.append(f"{path} cannot be read")
        found.append(mine)
    splits = []
    for name in sorted({name for mine in found for name in mine}):
        reports = [mine.get(name) for mine in found]
        without = [str(run.folder) for run, report in zip(facts, reports, strict=True) if report is None]
        if without:
            problems.append(f"{', '.join(without)} has no metrics-{name}.json: run vocdet eval RUN --split {name}")
        if len(without) < len(facts) - 1:
            splits.append(_part(name, reports))
            if len({report.thresholds_from for report in reports if report}) > 1:
                problems.append(f"precision, recall and F1 on {name} are at thresholds of different origin")
    return splits


def _part(name: str, reports: Sequence[_Evaluation | None]) -> SplitFigures:
    there = [report for report in reports if report]
    overall = (
        Figures(key, tuple(report.overall.get(key) if report else None for report in reports)) for key in OVERALL
    )
    of_masks = [report.masks.overall if report and report.masks else {} for report in reports]
    masks = (Figures(f"mask_{key}", tuple(one.get(key) for one in of_masks)) for key in ("ap50", "ap"))
    labels = {
        key: _by_label(
            [{row.label: getattr(row, key) for row in report.labels} if report else {} for report in reports]
        )
        for key in OF_LABEL
    }
    same = all((r.dataset, r.images) == (there[0].dataset, there[0].images) for r in there)
    return SplitFigures(
        name, "eval", same, tuple(row for row in (*overall, *masks) if any(v is not None for v in row.values)), labels
    )


def _by_label(tables: Sequence[Mapping[str, float | None]]) -> tuple[Figures, ...]:
    """A row for every label of any run, in the order of the first that has it."""
    names = dict.fromkeys(name for table in tables for name in table)
    return tuple(Figures(name, tuple(table.get(name) for table in tables)) for name in names)
