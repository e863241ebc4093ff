"""A training continues: an interrupted one as it was, a finished one with a new schedule.

Both continue from the last weights, their average and the optimizer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import msgspec

from vocdet.data.dataset import Dataset
from vocdet.errors import RunError
from vocdet.recipes.scaling import scaled
from vocdet.recipes.schema import R, changed
from vocdet.runs.resume import LENGTHS, UnfinishedRun, as_adjusted, check_unchanged, open_unfinished
from vocdet.training.state import Record
from vocdet.wording import counted

SCHEDULE = (*LENGTHS, "schedule", "steps", "warm", "lr", "stop_at_ap", "stop_at_mask_ap")  # may change with them


def continued(
    run: Path,
    task: str,
    recipe: R,
    given: Collection[str],
    labels: Sequence[str],
    splits: Mapping[str, Dataset | None],
) -> tuple[UnfinishedRun, R]:
    """A run of a task to continue, and its recipe as it was adjusted to the data and the machine.

    `recipe` is what the run was asked for, `given` are the settings that name the new schedule of a finished run.
    Whatever else differs from what the run started with is a `RunError`.
    """
    unfinished = open_unfinished(run, task)
    recipe = as_adjusted(unfinished, recipe, given)
    unfinished, recipe = _with_new_schedule(unfinished, recipe, given)
    check_unchanged(unfinished, recipe, labels, splits)
    return unfinished, recipe


def _with_new_schedule(unfinished: UnfinishedRun, recipe: R, given: Collection[str]) -> tuple[UnfinishedRun, R]:
    """A finished run at the start of a new schedule, and the recipe that has only the `given` lengths of `LENGTHS`.

    `epochs` and `max_steps` count from the start of the run, `minutes` from now on. Without any, or with fewer epochs
    or steps than the run has, it is a `RunError`. A run that is not finished is returned unchanged.
    """
    before = unfinished.record.progress
    if not before.finished:
        return unfinished, recipe
    lengths = [name for name in LENGTHS if name in given and getattr(recipe.train, name, None)]
    done = before.epoch - 1
    if not lengths:
        hint = f"continue it with a new schedule: `epochs={2 * done}` in all, or `minutes=30` more"
        raise RunError(f"this training is finished, after {counted(done, 'epoch')}", place=unfinished.run, hint=hint)
    others = {name: 0 for name in LENGTHS if name not in lengths and name != "epochs" and hasattr(recipe.train, name)}
    recipe = changed(recipe, **others)
    train = recipe.train
    for name, total, new in (("epochs", done, train.epochs), ("max_steps", before.steps, scaled(train).max_steps)):
        if name in lengths and new <= total:
            problem = f"{name} is {new}, and this finished training already has {total}"
            hint = f"it counts from the start of the run: `{name}={2 * total}`"
            raise RunError(problem, place=unfinished.run, hint=hint)
    progress = msgspec.structs.replace(
        before, finished=False, ended="", grows=False, since_best=0, earlier_epochs=done, earlier_steps=before.steps,
        earlier_seconds=before.elapsed,
    )  # fmt: skip
    record = _with_schedule(unfinished.record, asdict(recipe)["train"])
    return replace(unfinished, record=msgspec.structs.replace(record, progress=progress)), recipe


def _with_schedule(record: Record, train: dict[str, object]) -> Record:
    """The record with the settings of a new schedule, and with the earlier one in its list."""
    old = record.recipe["train"]
    new = {**record.recipe, "train": {**old, **{name: train[name] for name in SCHEDULE if name in train}}}
    earlier = {name: old[name] for name in LENGTHS if old.get(name)}
    begun = record.progress.earlier_epochs
    asked = record.asked
    if asked:
        lengths = {name: train[name] for name in LENGTHS if name in train}
        asked = {**asked, "train": {**asked["train"], **lengths}}
    return msgspec.structs.replace(
        record, recipe=new, asked=asked, about=msgspec.structs.replace(record.about, recipe=new),
        schedules=(*record.schedules, {**earlier, "first_epoch": begun + 1, "last_epoch": record.progress.epoch - 1}),
    )  # fmt: skip
