"""Resuming an interrupted training: find it, and check that its recipe and data are unchanged."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import msgspec
from torch import Tensor

from vocdet.data.dataset import Dataset
from vocdet.data.digests import image_digests
from vocdet.errors import RunError, raise_all
from vocdet.models.build import build
from vocdet.recipes.schema import TASKS, R, Recipe, changed
from vocdet.runs.facts import is_run, read_run
from vocdet.runs.image_record import DATASET
from vocdet.runs.start import InitialModel, M
from vocdet.training.state import FINAL_STATE, STATE, Record, read_record, read_state
from vocdet.wording import counted, json_reason

CHANGEABLE = ("cache", "workers", "save_every", "patience")  # settings that do not affect the weights
LENGTHS = ("epochs", "minutes", "max_steps")  # settings of which one says for how long a finished run continues
CHOICES = frozenset((*LENGTHS, "lr"))  # settings that are adjusted to the number of images, unless the user chose them
MOST_NAMED = 3  # images or labels in a message


@dataclass(frozen=True, slots=True, eq=False)
class UnfinishedRun:
    """An interrupted training with its whole state."""

    run: Path
    record: Record
    tensors: dict[str, Tensor]


def find_unfinished(runs: Path, task: str, run: str = "last", *, finished: bool = False) -> Path:
    """The folder of a run: a path, a name in `runs`, or `last`, the unfinished run of this task saved last.

    With `finished`, the last one may be finished.
    """
    if run != "last":
        named = Path(run)
        return named if named.is_dir() or not (runs / run).is_dir() else runs / run
    names = (STATE, FINAL_STATE) if finished else (STATE,)
    states = [(state.stat().st_mtime_ns, state.parent) for name in names for state in runs.glob(f"{task}-*/{name}")]
    if not states:
        hint = (
            "name the run to resume; a finished one continues with `epochs=200` for all of its epochs, or `minutes=30`"
        )
        raise RunError(f"no unfinished {task} training in this folder", place=runs, hint=hint)
    return max(states)[1]


def dataset_arguments(run: Path) -> dict[str, Any]:
    """The arguments that named the dataset of a run."""
    return read_record(_state_file(run)).given


def _state_file(run: Path) -> Path:
    """The file with the state of a run, finished or not; without one, an error that says what happened."""
    for name in (STATE, FINAL_STATE):
        if (run / name).is_file():
            return run / name
    if not run.is_dir() or not is_run(run):
        problem = "no such run" if not run.exists() else "not a run: the folder has no files of a training"
        raise RunError(problem, place=run, hint="name the folder of a run")
    if read_run(run).state == "finished":
        hint = f'start a new run from its weights: `weights="{run}"`'
        raise RunError("this training is finished, and its state is not in the folder", place=run, hint=hint)
    problem = "this training was interrupted before its first step, so there is nothing to resume"
    raise RunError(problem, place=run, hint="start it again, with the same options")


def refuse_running(run: Path) -> None:
    """Raise a `RunError` if another process of this machine trains the run: both would write its files."""
    facts = read_run(run)
    if facts.state == "running" and facts.pid != os.getpid():
        problem = f"this training is running, as process {facts.pid}"
        raise RunError(problem, place=run, hint="wait for it to end, stop it, or name another run")


def open_unfinished(run: Path, task: str) -> UnfinishedRun:
    """The whole state of a run of this task, which may be finished; see `prolong.continued`."""
    record, tensors = read_state(_state_file(run))
    if record.about.task != task:
        hint = f"it is a run of task {record.about.task}: resume it with the training of that task"
        raise RunError(f"a training of {record.about.task}, not {task}", place=run, hint=hint)
    return UnfinishedRun(run, record, tensors)


def resumed_model(unfinished: UnfinishedRun, model_class: type[M]) -> InitialModel[M]:
    """The model of an unfinished run, without the weights of its state."""
    info = unfinished.record.about
    model = build(info.model)
    assert isinstance(model, model_class)  # open_unfinished checks the task
    at = unfinished.record.progress
    text = f"step {at.steps} of {unfinished.run}, in epoch {at.epoch}"
    if at.earlier_steps and at.steps == at.earlier_steps:
        text = f"{unfinished.run} after epoch {at.earlier_epochs}, with a new schedule"
    unmeasured = msgspec.structs.replace(info, scores={}, thresholds=None, thresholds_from=None, calibration=())
    return InitialModel(model, unmeasured, text, None)


def as_adjusted(unfinished: UnfinishedRun, recipe: R, given: Collection[str] = ()) -> R:
    """The recipe of the run, if it was asked for with `recipe` and then adjusted to the data and the machine.

    Settings that may change, and those `given` for a new schedule, are those of `recipe`.
    """
    record: Record = unfinished.record
    before, own = record.asked, {*CHANGEABLE, *(given if record.progress.finished else ())}
    if not before or any(_recipe_differences(asdict(type(recipe)()), before, asdict(recipe), own)):
        return recipe
    adjusted = msgspec.convert(record.recipe, type(recipe))
    sections = [getattr(recipe, section.name) for section in fields(recipe)]
    kept = {one.name: getattr(section, one.name) for section in sections for one in fields(section) if one.name in own}
    return changed(adjusted, **kept)


def check_unchanged(
    unfinished: UnfinishedRun, recipe: Recipe, labels: Sequence[str], splits: Mapping[str, Dataset | None]
) -> None:
    """Raise every difference of recipe, labels and images from what the run started with."""
    record, run = unfinished.record, unfinished.run
    hint = f'undo the change, or start a new run with `weights="{run}"`'
    defaults = asdict(TASKS[record.about.task]())
    # what may end early may never reach the size that its images grow to
    fixed = {"patience"} if record.progress.grows else set[str]()
    differences = [
        *_recipe_differences(defaults, record.recipe, asdict(recipe), {*CHANGEABLE} - fixed),
        *_label_differences(record.about.labels, labels),
        *_image_differences(run / DATASET, splits),
    ]
    later = f"{hint}; it can be prolonged when it is finished"
    lengths = tuple(f"train.{name} " for name in LENGTHS)
    raise_all([RunError(text, place=run, hint=later if text.startswith(lengths) else hint) for text in differences])


def _recipe_differences(
    defaults: dict[str, Any], before: dict[str, Any], now: dict[str, Any], changeable: Collection[str]
) -> Iterator[str]:
    """Differing settings; those that an older version did not have count as their defaults."""
    for section, values in now.items():
        for name, value in values.items():
            old = before.get(section, {}).get(name, defaults[section][name])
            old, new = (list(one) if isinstance(one, tuple) else one for one in (old, value))
            if name not in changeable and old != new:
                yield f"{section}.{name} was {old} at the start and is {new} now"


def _label_differences(before: Sequence[str], now: Sequence[str]) -> Iterator[str]:
    if tuple(before) == tuple(now):
        return
    removed, added = [x for x in before if x not in now], [x for x in now if x not in before]
    changes = [
        f"{', '.join(names[:MOST_NAMED])} {verb}" for names, verb in ((removed, "removed"), (added, "added")) if names
    ]
    yield "the labels changed: " + ("; ".join(changes) or "their order is different")


def _image_differences(path: Path, splits: Mapping[str, Dataset | None]) -> Iterator[str]:
    try:
        before = {name: dict(images) for name, images in msgspec.json.decode(path.read_bytes())["images"].items()}
    except (OSError, msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        hint = "the images cannot be compared without it; start a new run"
        raise RunError(f"cannot be read: {json_reason(error)}", place=path, hint=hint) from error
    for name in sorted(before.keys() | splits.keys()):
        split = splits.get(name)
        old, new = before.get(name, {}), image_digests(split) if split is not None else {}
        groups = {
            "removed": [stem for stem in old if stem not in new],
            "added": [stem for stem in new if stem not in old],
            "changed": [stem for stem in new if stem in old and new[stem] != old[stem]],
        }
        for change, stems in groups.items():
            if stems:
                some = ", ".join(stems[:MOST_NAMED]) + (", …" if len(stems) > MOST_NAMED else "")
                yield f"{counted(len(stems), 'image')} of {name} {change}: {some}"
        if not any(groups.values()) and list(old) != list(new):
            yield f"the order of the images of {name} changed"
