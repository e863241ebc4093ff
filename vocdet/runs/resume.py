"""Going on with a training that was interrupted: finding it, and seeing that nothing changed meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
from torch import Tensor, nn

from vocdet.data.dataset import Dataset
from vocdet.data.digests import image_digests
from vocdet.errors import CheckpointError, VocdetError, raise_all
from vocdet.files import write_bytes
from vocdet.models.build import build
from vocdet.models.checkpoint import CheckpointInfo
from vocdet.models.weights.transfer import Transfer
from vocdet.recipes.schema import TASKS, Recipe
from vocdet.training.state import STATE, Record, read_record, read_state
from vocdet.wording import counted

M = TypeVar("M", bound=nn.Module)

DATASET = "dataset.json"
FREE = ("cache", "workers", "save_every", "patience")  # what may change, as no weight depends on it
NAMED = 3  # images in a message


@dataclass(frozen=True, slots=True, eq=False)
class Resumed:
    """A training to go on with."""

    run: Path
    record: Record
    tensors: dict[str, Tensor]


def find_unfinished(runs: Path, task: str, run: str = "last") -> Path:
    """The run folder that is meant: a path, a name in `runs`, or `last`, the one of this task that was saved last."""
    if run != "last":
        named = Path(run)
        return named if named.is_dir() or not (runs / run).is_dir() else runs / run
    found = [(state.stat().st_mtime_ns, state.parent) for state in runs.glob(f"{task}-*/{STATE}")]
    if not found:
        hint = "name the run to go on with; a run that ended has nothing to go on with: start from it by --weights"
        raise CheckpointError(f"there is no unfinished {task} training in it", place=runs, hint=hint)
    return max(found)[1]


def was_given(run: Path) -> dict[str, Any]:
    """What an unfinished run was told besides its recipe: where its data is."""
    return read_record(run / STATE).given


def open_run(run: Path, task: str) -> Resumed:
    """The whole state of a run of this task."""
    record, tensors = read_state(run / STATE)
    if record.about.task != task:
        hint = f"go on with it by vocdet train-{record.about.task}"
        raise CheckpointError(f"is a training of {record.about.task}, not {task}", place=run, hint=hint)
    return Resumed(run, record, tensors)


@dataclass(frozen=True, slots=True, eq=False)
class Begun(Generic[M]):
    """A model with the weights that training starts from."""

    model: M
    about: CheckpointInfo  # before any validation
    start: str  # where the weights come from, for people
    transfer: Transfer | None  # tensor by tensor; None: from scratch, or from a state


def go_on(resumed: Resumed, kind: type[M]) -> Begun[M]:
    """The model of a run that goes on, still without the weights of its state."""
    about = resumed.record.about
    model = build(about.model)
    assert isinstance(model, kind)  # open_run asked for this task
    at = resumed.record.progress
    start = f"step {at.steps} of {resumed.run}, in its epoch {at.epoch}"
    return Begun(model, msgspec.structs.replace(about, scores={}, thresholds=None), start, None)


def write_images(run: Path, labels: Sequence[str], splits: Mapping[str, Dataset | None]) -> None:
    """Keep a hash of every image of the parts, with what is annotated in it."""
    images = {name: image_digests(split) for name, split in splits.items() if split is not None}
    content = msgspec.json.encode({"labels": list(labels), "images": images})
    write_bytes(run / DATASET, msgspec.json.format(content, indent=1) + b"\n")


def check_unchanged(
    resumed: Resumed, asked: Recipe, labels: Sequence[str], splits: Mapping[str, Dataset | None]
) -> None:
    """Raise everything in which recipe, labels or images differ from what the run began with."""
    record = resumed.record
    hint = f"undo that, or start a new run from it by --weights {resumed.run}"
    before = asdict(TASKS[record.about.task]()), record.recipe
    differences = [*_in_recipe(*before, asdict(asked)), *_in_labels(record.about.labels, labels)]
    differences += _in_images(resumed.run / DATASET, splits)
    raise_all([CheckpointError(text, place=resumed.run, hint=hint) for text in differences])


def _in_recipe(usual: dict[str, Any], was: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """`usual` has what the settings that an older version did not know are by themselves."""
    for section, values in now.items():
        for name, value in values.items():
            before = was.get(section, {}).get(name, usual[section][name])
            before, plain = (list(one) if isinstance(one, tuple) else one for one in (before, value))
            if name not in FREE and before != plain:
                yield f"{section}.{name} was {before} when it began, and is {plain} now"


def _in_labels(was: Sequence[str], now: Sequence[str]) -> Iterator[str]:
    if tuple(was) == tuple(now):
        return
    gone, new = [x for x in was if x not in now], [x for x in now if x not in was]
    splits = [f"{', '.join(names[:NAMED])} {verb}" for names, verb in ((gone, "gone"), (new, "new")) if names]
    yield "its labels changed: " + ("; ".join(splits) or "they are in another order")


def _in_images(path: Path, splits: Mapping[str, Dataset | None]) -> Iterator[str]:
    try:
        was = msgspec.json.decode(path.read_bytes())["images"]
        known = {name: dict(images) for name, images in was.items()}
    except (OSError, msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise VocdetError(
            f"cannot be read: {error}", place=path, hint="without it nobody can tell whether the images are the same"
        ) from error
    for name in sorted(known.keys() | splits.keys()):
        split = splits.get(name)
        before, now = known.get(name, {}), image_digests(split) if split is not None else {}
        groups = (
            ("is gone", "are gone", [stem for stem in before if stem not in now]),
            ("is new", "are new", [stem for stem in now if stem not in before]),
            ("changed", "changed", [stem for stem in now if stem in before and now[stem] != before[stem]]),
        )
        for one, many, stems in groups:
            if stems:
                some = ", ".join(stems[:NAMED]) + (", …" if len(stems) > NAMED else "")
                yield f"{counted(len(stems), 'image')} of {name} {one if len(stems) == 1 else many}: {some}"
        if not any(stems for _, _, stems in groups) and list(before) != list(now):
            yield f"the images of {name} are in another order"
