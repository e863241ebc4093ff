"""A whole training by a plan: its facts, its execution, its interruption, and what cannot be planned."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vocdet.errors import AnnotationError, OutputError, RunError, SplitError, VocdetError
from vocdet.evaluation.bootstrap import Interval
from vocdet.formats.scan import Source
from vocdet.recipes.load import load_recipe
from vocdet.recipes.plan import Plan, PlannedCommand, PlanRequest
from vocdet.runs.setup import RunOptions
from vocdet.training.loop import Step
from vocdet.workflows import train as workflow
from vocdet.workflows import training_facts
from vocdet.workflows.eval_options import EvalResult
from vocdet.workflows.load import load_dataset
from vocdet.workflows.split import SplitReport
from vocdet.workflows.train import Session, prepare, reliability, unfinished_session
from vocdet.workflows.train_backbone import BackboneResult
from vocdet.workflows.train_detector import DetectorResult, DetectorStart

pytestmark = pytest.mark.usefixtures("no_curves")

MakeVoc = Callable[..., Path]
CAT, DOG = ("cat", (5.0, 5.0, 40.0, 50.0)), ("dog", (50.0, 10.0, 90.0, 70.0))
TINY: dict[str, Any] = {"net": "mb1-0.25", "size": 64, "batch": 4, "epochs": 1, "mosaic": 0.0, "weights": "none"}


@pytest.fixture
def root(make_voc: MakeVoc) -> Path:
    """Twelve images without splits."""
    return make_voc({f"img{i:02}": [CAT, DOG] for i in range(12)})


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def options(runs: Path, **more: Any) -> RunOptions:
    return RunOptions(runs=runs, device="cpu", **more)


def planned(root: Path, runs: Path, **request: Any) -> Plan:
    usual: dict[str, Any] = {"values": TINY, "minutes": 1.0}
    wanted = PlanRequest(**(usual | request))
    return prepare(Source(root), wanted, options(runs)).plan


def carry_out(session: Session, runs: Path, **more: Any) -> list[Any]:
    """The last event of every remaining command."""
    results = []
    for command in session.remaining:
        events = list(session.events(session.resolved(command), options(runs, **more)))
        results += events[-1:]
        if events and getattr(getattr(events[-1], "summary", None), "interrupted", False):
            break
    return results


def test_a_folder_without_splits_becomes_an_evaluated_detector(root: Path, runs: Path, quick_facts: None) -> None:
    session = Session.start(planned(root, runs, classifier=0.01), Source(root), runs)
    assert session.path == runs / "train-1.json"
    split, classifier, detector, evaluation = carry_out(session, runs)
    assert isinstance(split, SplitReport)
    assert (root / "ImageSets" / "Main" / "test.txt").is_file()
    assert isinstance(classifier, BackboneResult)
    assert isinstance(detector, DetectorResult)
    assert isinstance(evaluation, EvalResult)
    assert evaluation.split == "test"
    assert evaluation.report.interval is not None
    assert (detector.run / "metrics-test.json").is_file()
    assert session.remaining == ()
    recipe = load_recipe("ssd", str(detector.run)).recipe
    assert (recipe.data.split, recipe.model.weights) == ("trainval", str(classifier.run))
    text = (detector.run / "recipe.toml").read_text()
    assert "# a schedule of fixed length needs no val, so 1 image more to train on; split to train on\n" in text
    assert "# the classifier has trained the backbone on these objects; " in text


def test_planning_writes_nothing(root: Path, runs: Path, quick_facts: None) -> None:
    before = sorted(root.rglob("*"))
    planned(root, runs)
    assert sorted(root.rglob("*")) == before
    assert not runs.exists()


def test_an_interrupted_training_continues_in_the_same_run(root: Path, runs: Path, quick_facts: None) -> None:
    session = Session.start(planned(root, runs, values=TINY | {"epochs": 2, "batch": 2}), Source(root), runs)
    steps: list[Step] = []

    def stop() -> bool:
        steps.append(None)  # type: ignore[arg-type]  # asked once a step
        return len(steps) == 3

    *_, interrupted = carry_out(session, runs, stop=stop)
    assert interrupted.summary.interrupted
    assert unfinished_session(runs, Source(root)) == session.path
    for name in ("last", "train-1", "train-1.json", str(session.path), str(interrupted.run)):
        assert Session.resume(runs, name).path == session.path
    again = Session.resume(runs)
    assert [command.name for command in again.remaining] == ["train-ssd", "eval"]
    detector, evaluation = carry_out(again, runs)
    assert (detector.run, detector.summary.epochs) == (interrupted.run, 2)
    assert "a schedule of fixed length" in (detector.run / "recipe.toml").read_text()
    assert evaluation.report.images == 1
    assert unfinished_session(runs, Source(root)) is None


def test_a_training_that_ended_before_its_record_knew_is_not_repeated(
    root: Path, runs: Path, quick_facts: None
) -> None:
    session = Session.start(planned(root, runs), Source(root), runs)
    before = session.path.read_bytes()
    names = [command.name for command in session.remaining]
    for command in session.remaining[:2]:
        for event in session.events(command, options(runs)):
            if isinstance(event, DetectorStart):
                before = session.path.read_bytes()
    session.path.write_bytes(before)
    again = Session.resume(runs)
    assert [command.name for command in again.remaining] == names[1:]
    (evaluation,) = carry_out(again, runs)
    assert isinstance(evaluation, EvalResult)
    assert [path.name for path in runs.glob("ssd-*")] == ["ssd-mb1-0.25-1"]


def test_splits_that_were_written_before_the_record_knew_are_kept(root: Path, runs: Path, quick_facts: None) -> None:
    session = Session.start(planned(root, runs), Source(root), runs)
    before, (split, *_) = session.path.read_bytes(), session.remaining
    assert len(list(session.events(split, options(runs)))) == 1
    session.path.write_bytes(before)
    texts = {path: path.read_text() for path in (root / "ImageSets" / "Main").iterdir()}
    again = Session.resume(runs)
    assert list(again.events(split, options(runs))) == []
    assert [command.name for command in again.remaining] == ["train-ssd", "eval"]
    assert {path: path.read_text() for path in (root / "ImageSets" / "Main").iterdir()} == texts


def test_a_run_that_vanished_is_trained_again(root: Path, runs: Path, quick_facts: None) -> None:
    session = Session.start(planned(root, runs), Source(root), runs)
    carry_out(session, runs, stop=lambda: True)
    shutil.rmtree(runs / "ssd-mb1-0.25-1")
    assert isinstance(carry_out(Session.resume(runs), runs)[0], DetectorResult)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("last", "", "no unfinished training by a plan"),
        ("train-1", "[1]", "is no record of a training"),
        ("elsewhere", "", "no record of a plan is about this run"),
    ],
)
def test_what_cannot_be_resumed(tmp_path: Path, name: str, content: str, problem: str) -> None:
    if content:
        (tmp_path / "train-1.json").write_text(content)
    with pytest.raises(RunError, match=problem):
        Session.resume(tmp_path, name)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"root"', '"rood"', "is no record of a training: .*root"),
        ('"seed": 0', '"seed": "x"', "its command split has no valid seed"),
        ('"split": "test"', '"spilt": "test"', "its command eval has no valid split"),
    ],
)
def test_a_record_that_was_edited_by_hand_is_an_error_if_something_is_missing(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    commands = PlannedCommand("split", settings={"seed": 0}), PlannedCommand("eval", settings={"split": "test"})
    session = Session.start(Plan(PlanRequest(), (), commands), Source(tmp_path), tmp_path)
    text = session.path.read_text()
    assert Session.resume(tmp_path, "train-1").plan.commands == commands
    assert old in text
    session.path.write_text(new.join(text.rsplit(old, 1)))
    with pytest.raises(RunError, match=problem):
        Session.resume(tmp_path, "train-1")


def test_a_damaged_record_does_not_keep_another_session_from_being_found_by_its_run(tmp_path: Path) -> None:
    session = Session.start(Plan(PlanRequest(), (), ()), Source(tmp_path), tmp_path)
    session._update(runs={"train-ssd": "ssd-mb2-1"})
    for number, content in ((2, ""), (3, "[1]"), (4, session.path.read_text()[:-20])):
        (tmp_path / f"train-{number}.json").write_text(content)
    (tmp_path / "train-0.json").touch()
    assert Session.resume(tmp_path, str(tmp_path / "ssd-mb2-1")).path == session.path
    with pytest.raises(RunError, match="no record of a plan is about this run"):
        Session.resume(tmp_path, "ssd-mb2-2")


@pytest.mark.parametrize("error", [OutputError("cannot be written: no space left on device"), KeyboardInterrupt()])
def test_a_record_that_cannot_be_written_leaves_no_empty_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(workflow, "write_bytes", fail)
    with pytest.raises(type(error)):
        Session.start(Plan(PlanRequest(), (), ()), Source(tmp_path), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_two_sessions_never_get_the_same_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(PlanRequest(), (), ())
    Session.start(plan, Source(tmp_path), tmp_path)
    monkeypatch.setattr(workflow, "_session_number", lambda path: 0)  # as if another process wrote it after the count
    assert Session.start(plan, Source(tmp_path), tmp_path).path.name == "train-2.json"


def test_the_facts_of_a_dataset_are_counted(make_voc: MakeVoc, runs: Path, quick_facts: None) -> None:
    stems = [f"img{i}" for i in range(6)]
    splits = {"train": stems[:3], "val": stems[3:5], "test": stems[5:]}
    root = make_voc({stem: [CAT, CAT, DOG] for stem in stems}, splits=splits, size=(100, 80))
    loaded, divided = training_facts.with_splits(load_dataset(Source(root)), 0)
    facts = training_facts.training_facts(loaded, divided=divided, values={}, options=options(runs))
    assert divided
    assert (facts.images, facts.validation, facts.test, facts.objects, facts.labels) == (5, 2, 1, 15, 2)
    assert (facts.image_side, facts.masks, facts.speed) == (100.0, 0.0, 1000.0)
    assert facts.object_side == pytest.approx((35 * 45) ** 0.5)  # of the cat, twice in every image


def test_the_speed_is_that_of_a_few_steps_and_leaves_no_run(
    root: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_facts, "STEPS", 2)
    monkeypatch.setattr(training_facts, "REFERENCE", 64)
    loaded, divided = training_facts.with_splits(load_dataset(Source(root)), 0)
    assert not divided
    assert training_facts.training_speed(loaded, options(runs)) > 0
    assert not runs.exists()


@pytest.mark.parametrize("images", [1, 2])
def test_too_few_images_to_split_are_an_error(make_voc: MakeVoc, runs: Path, images: int) -> None:
    root = make_voc({f"img{i}": [CAT] for i in range(images)})
    with pytest.raises(SplitError):
        planned(root, runs)


def test_five_images_of_one_label_are_enough(make_voc: MakeVoc, runs: Path, quick_facts: None) -> None:
    root = make_voc({f"img{i}": [CAT] for i in range(5)})
    session = Session.start(planned(root, runs), Source(root), runs)
    *_, evaluation = carry_out(session, runs)
    assert evaluation.report.images == 1


def test_images_without_objects_are_an_error(make_voc: MakeVoc, runs: Path) -> None:
    with pytest.raises(AnnotationError, match="no objects"):
        planned(make_voc({"img0": [], "img1": []}), runs)


def test_a_broken_image_is_an_error_before_anything_is_written(root: Path, runs: Path) -> None:
    path = root / "JPEGImages" / "img03.jpg"
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(VocdetError, match="img03"):
        planned(root, runs)
    assert not runs.exists()


def test_a_folder_that_cannot_be_written_is_an_error_before_the_facts(
    root: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "ImageSets").write_text("a file in the way")
    with pytest.raises(OutputError):
        planned(root, runs)


def test_a_dataset_in_memory_is_not_written_to(root: Path, runs: Path, quick_facts: None) -> None:
    loaded = load_dataset(Source(root))
    prepared = prepare(loaded, PlanRequest(values=TINY, minutes=1.0), options(runs))
    *_, evaluation = carry_out(Session.start(prepared.plan, prepared.loaded, runs), runs)
    assert evaluation.report.images == 1
    assert not (root / "ImageSets").exists()


class Report:
    """The fields of an evaluation's report that matter here."""

    def __init__(self, images: int, bounds: tuple[float, float] | None) -> None:
        self.images = images
        self.interval = Interval(0.95, 1000, 0, {"AP50": bounds})


@pytest.mark.parametrize(
    ("images", "bounds", "text"),
    [
        (72, (0.88, 0.94), "on other images like the 72 images of test, AP50 would be about 0.88 to 0.94"),
        (20, (0.2, 0.9), "about 0.20 to 0.90, and so few say little: annotate more, or evaluate all in turn"),
        (
            7,
            (0.2, 0.9),
            "7 images of test cannot tell the AP50 on other images: annotate more, or evaluate all in turn",
        ),
        (7, None, "test has too little to evaluate"),
    ],
)
def test_the_reliability_of_metrics_is_stated(images: int, bounds: tuple[float, float] | None, text: str) -> None:
    report: Any = Report(images, bounds)
    assert text in reliability(report, "test")
