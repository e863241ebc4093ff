"""A whole training by a plan: check, split, classifier, detector, evaluation. Each step is the function of its command.

A record of the plan, `runs/train-N.json`, says which commands are done, so that an interrupted training continues.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import msgspec

from vocdet.data.usable import refuse
from vocdet.errors import RunError
from vocdet.evaluation.report import EvalReport
from vocdet.files import check_writable, make_folder, unwritable, write_bytes
from vocdet.formats.scan import Progress, Source
from vocdet.formats.voc.image_sets import FOLDER
from vocdet.recipes.load import load_recipe
from vocdet.recipes.plan import CommandName, Plan, PlannedCommand, PlanRequest, plan_training
from vocdet.recipes.schema import Recipe
from vocdet.runs.folders import run_number
from vocdet.runs.keeping import FEWEST
from vocdet.runs.resume import CHOICES
from vocdet.runs.setup import RunOptions, check_run_folder
from vocdet.runs.training_run import Note
from vocdet.training.loop import Epoch, Step
from vocdet.training.state import FINAL_STATE, STATE
from vocdet.wording import counted, json_reason
from vocdet.workflows.check import CheckReport, check_dataset
from vocdet.workflows.detector import DetectorOptions
from vocdet.workflows.eval_options import EvalOptions, EvalResult
from vocdet.workflows.evaluate import evaluate_run
from vocdet.workflows.load import Loaded, load_dataset
from vocdet.workflows.split import SplitOptions, SplitReport, split_dataset
from vocdet.workflows.train_backbone import BackboneResult, BackboneStart, backbone_events
from vocdet.workflows.train_detector import DetectorResult, DetectorStart, training_events
from vocdet.workflows.training_facts import is_divided, training_facts, with_splits

Event = SplitReport | BackboneStart | DetectorStart | Step | Epoch | Note | BackboneResult | DetectorResult | EvalResult

DETECTORS: tuple[CommandName, ...] = ("train-ssd", "train-maskrcnn")
NAME = "train-{}.json"
_NEEDED = {"split": ("seed", int), "eval": ("split", str)}  # settings that their functions have no default for
FEW_IMAGES = 30  # whose metrics say little


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A plan, how far it was carried out, and all that it needs to continue."""

    plan: Plan
    source: dict[str, Any]  # as `Source.record` has it
    runs: dict[CommandName, str] = {}  # names of the run folders of trainings that have begun
    done: tuple[CommandName, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A dataset that was checked, with its splits, and the plan for it."""

    loaded: Loaded
    report: CheckReport | None  # None for a dataset in memory
    plan: Plan


def prepare(
    source: Source | Loaded,
    request: PlanRequest,
    options: RunOptions | None = None,
    *,
    progress: Progress | None = None,
) -> Prepared:
    """Check a dataset, look at its statistics, measure the machine, and plan the training. Nothing is written.

    Errors in the files of the dataset are raised together, unless `source.skip_bad` leaves out what has them.
    """
    options = options or RunOptions()
    check_run_folder(options)
    loaded, report = load_dataset(source), None
    loaded, divided = with_splits(loaded, request.seed)
    if isinstance(source, Source):
        if not divided:
            check_writable(loaded.dataset.root / FOLDER, inside=True, hint="copy the dataset to a writable folder")
        report = check_dataset(source, progress=progress)
        if not source.skip_bad:
            refuse(report.dataset, [one for one in report.errors if one.code.startswith("image.")])
    facts = training_facts(loaded, divided=divided, values=request.values, options=options)
    return Prepared(loaded, report, plan_training(facts, request))


@dataclass(slots=True)
class Session:
    """The execution of a plan, with its record on disk."""

    path: Path
    record: SessionRecord
    source: Source | Loaded

    @classmethod
    def start(cls, plan: Plan, source: Source | Loaded, runs: Path) -> Session:
        """A new session with the first free number in the folder of the runs; two processes never get the same."""
        record = SessionRecord(plan=plan, source=source.record())
        session = cls(_new_record(runs), record, source)
        try:
            session._write()
        except BaseException:
            session.path.unlink(missing_ok=True)  # an empty file is no record
            raise
        return session

    @classmethod
    def resume(cls, runs: Path, name: str = "last", source: Source | Loaded | None = None) -> Session:
        """An unfinished session: the last one, the one of a run folder, or of a record `train-N.json`."""
        path = _session_folder(runs, name)
        record = _read_record(path)
        return cls(path, record, source or Source.from_record(record.source))

    @property
    def plan(self) -> Plan:
        """The plan that is carried out."""
        return self.record.plan

    @property
    def remaining(self) -> tuple[PlannedCommand, ...]:
        """The commands that are not done."""
        return tuple(one for one in self.plan.commands if one.name not in self.record.done)

    @property
    def detector(self) -> Path | None:
        """The run of the detector, if its training has begun."""
        return next((run for name in DETECTORS if (run := self.run_of(name))), None)

    def run_of(self, command: CommandName) -> Path | None:
        """The run folder of a training that has begun, if it is still there."""
        run = self.path.parent / self.record.runs.get(command, "")
        return run if command in self.record.runs and run.is_dir() else None

    def resolved(self, command: PlannedCommand) -> PlannedCommand:
        """The command with the run of the classifier that its detector starts from."""
        classifier = self.run_of("train-backbone")
        if command.name in DETECTORS and classifier and command.settings.get("weights") == "auto":
            return replace(command, settings={**command.settings, "weights": str(classifier)})
        return command

    def unfinished(self, command: PlannedCommand) -> Path | None:
        """The run of this command to resume."""
        run = self.run_of(command.name)
        return run if run and (run / STATE).is_file() else None

    def recipe(self, command: PlannedCommand) -> Recipe:
        """The recipe of a training."""
        task: Any = command.name.removeprefix("train-")
        if run := self.unfinished(command):
            recipe: Recipe = load_recipe(task, str(run)).recipe
            return recipe
        planned: Recipe = load_recipe(task, command.recipe, values=command.settings).recipe
        return planned

    def events(
        self, command: PlannedCommand, options: RunOptions, *, progress: Progress | None = None
    ) -> Generator[Event, None, None]:
        """Carry out a command, or what is left of it, by the function behind it; see there for its events.

        A dataset that has splits is not split again: one in memory has those of the plan, and those of a folder may
        have been written just before the record could say so.
        """
        if command.name == "split":
            if isinstance(self.source, Source) and not is_divided(load_dataset(self.source)):
                seed = int(str(command.settings["seed"]))
                yield split_dataset(self.source, SplitOptions(seed=seed), progress=progress)
        elif command.name == "eval":
            assert self.detector is not None  # the command before it
            wanted = EvalOptions(str(command.settings["split"]), interval=True)
            runner = DetectorOptions(options.device, "torch")
            yield evaluate_run(self.detector, self.source, wanted, detector=runner, progress=progress)
        elif not self._is_trained(command):
            run = self.unfinished(command)
            given = frozenset[str]() if run else CHOICES.intersection(command.settings)
            options = replace(options, resume=run, given=given, reasons=self.plan.reasons(command.name))
            result = yield from self._training(command, options)
            if result.summary.interrupted:
                return
        self._update(done=(*self.record.done, command.name))

    def _training(self, command: PlannedCommand, options: RunOptions) -> Generator[Event, None, Any]:
        recipe: Any = self.recipe(command)
        train = backbone_events if command.name == "train-backbone" else training_events
        event: Any = None
        for event in train(self.source, recipe, replace(options, runs=self.path.parent)):
            if isinstance(event, BackboneStart | DetectorStart):
                self._update(runs={**self.record.runs, command.name: event.run.name})
            yield event
        return event

    def _is_trained(self, command: PlannedCommand) -> bool:
        """Whether its training finished just before the record could say so."""
        run = self.run_of(command.name)
        return run is not None and (run / FINAL_STATE).is_file() and not (run / STATE).is_file()

    def _update(self, **changes: Any) -> None:
        self.record = msgspec.structs.replace(self.record, **changes)
        self._write()

    def _write(self) -> None:
        write_bytes(self.path, msgspec.json.format(msgspec.json.encode(self.record), indent=1) + b"\n")


def unfinished_session(runs: Path, source: Source) -> Path | None:
    """The newest unfinished record of a dataset."""
    return next((path for path, record in _unfinished(runs) if record.source["root"] == source.record()["root"]), None)


def reliability(report: EvalReport, split: str) -> str:
    """How far the metrics of an evaluation can be trusted, in words; "" if there is nothing to say."""
    bounds = report.interval.bounds.get("AP50") if report.interval else None
    if bounds is None:
        return f"{split} has too little to evaluate: the metrics say nothing about other images"
    images = f"{counted(report.images, 'image')} of {split}"
    text = f"on other images like the {images}, AP50 would be about {bounds[0]:.2f} to {bounds[1]:.2f}"
    if report.images >= FEW_IMAGES:
        return text
    text = (
        f"{text}, and so few say little"
        if report.images >= FEWEST
        else f"{images} cannot tell the AP50 on other images"
    )
    return f"{text}: annotate more, or evaluate all in turn after `vocdet.split(dataset, kfold=5)`"


def _session_folder(runs: Path, name: str) -> Path:
    if name == "last":
        if not (found := next((path for path, _ in _unfinished(runs)), None)):
            raise RunError("no unfinished training by a plan in this folder", place=runs, hint="start a new one")
        return found
    for path in (Path(name), runs / name, runs / f"{name}.json"):
        if path.is_file():
            return path
    folder = Path(name).name
    for path, record in _records(runs):
        if folder in record.runs.values():
            return path
    raise RunError(
        "no record of a plan is about this run", place=Path(name), hint="resume it with the command that began it"
    )


def _records(runs: Path) -> Iterator[tuple[Path, SessionRecord]]:
    """The records of a folder, newest first; what is no record is passed over."""
    for path in sorted(runs.glob(NAME.format("*")), key=_session_number, reverse=True):
        try:
            record = _read_record(path)
        except RunError:
            continue
        yield path, record


def _unfinished(runs: Path) -> Iterator[tuple[Path, SessionRecord]]:
    """The unfinished records of a folder, newest first."""
    return ((path, record) for path, record in _records(runs) if len(record.done) < len(record.plan.commands))


def _new_record(runs: Path) -> Path:
    """A new, empty file for a record."""
    make_folder(runs)
    number = 1 + max((_session_number(path) for path in runs.glob(NAME.format("*"))), default=0)
    while True:
        path = runs / NAME.format(number)
        try:
            path.touch(exist_ok=False)
            return path
        except FileExistsError:
            number += 1
        except OSError as error:
            raise unwritable(path, error) from error


class _Source(TypedDict):
    """The values of `Record.source` that every version writes."""

    root: str
    format: str
    labels: str | None
    coordinates: str


def _read_record(path: Path) -> SessionRecord:
    hint = "start a new training"
    try:
        record = msgspec.json.decode(path.read_bytes(), type=SessionRecord)
        msgspec.convert(record.source, _Source)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RunError(f"is no record of a training: {json_reason(error)}", place=path, hint=hint) from error
    for one in record.plan.commands:
        name, kind = _NEEDED.get(one.name, ("", object))
        if not isinstance(one.settings.get(name), kind):
            problem = f"is no record of a training: its command {one.name} has no valid {name}"
            raise RunError(problem, place=path, hint=hint)
    return record


def _session_number(path: Path) -> int:
    return run_number(path.stem)
