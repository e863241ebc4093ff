"""An interrupted or killed training resumes as if nothing had happened, or reports why it cannot."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file

import vocdet
from vocdet.errors import ManyErrors, OutputError, RunError, VocdetError
from vocdet.formats.scan import Source
from vocdet.machine import started_at
from vocdet.models.checkpoint import read_info
from vocdet.models.ssd import loss as ssd_loss
from vocdet.recipes.load import load_recipe
from vocdet.recipes.schema import BackboneRecipe, SsdRecipe, changed
from vocdet.runs.facts import read_run
from vocdet.runs.image_record import DATASET
from vocdet.runs.journal import Journal
from vocdet.runs.resume import dataset_arguments, find_unfinished
from vocdet.runs.setup import RunOptions
from vocdet.training.loop import Epoch, Step
from vocdet.training.state import FINAL_STATE, STATE, read_record, read_state, save_state
from vocdet.workflows.train_backbone import backbone_events
from vocdet.workflows.train_detector import DetectorStart, training_events

pytestmark = pytest.mark.usefixtures("no_curves")

MakeVoc = Callable[..., Path]
STEMS = [f"img{i:02}" for i in range(12)]
SPLITS = {"train": STEMS[:8], "val": STEMS[8:11], "test": STEMS[11:]}
SSD = changed(
    SsdRecipe(), net="mb1-0.25", weights="none", size=64, batch=4, epochs=3, mosaic=0.25, save_every=60.0, warm=2, lr=0.003
)  # fmt: skip
BACKBONE = changed(BackboneRecipe(), net="mb3-small-0.5", size=32, batch=8, epochs=3, save_every=60.0, warm=2)


def objects(i: int) -> list[tuple[str, tuple[float, float, float, float]]]:
    cat, dog = ("cat", (5.0, 5.0 + i, 40.0, 50.0)), ("dog", (50.0, 10.0, 90.0, 40.0 + i))
    return [[cat, dog], [dog], [cat]][i % 3]


@pytest.fixture
def root(make_voc: MakeVoc) -> Path:
    return make_voc({stem: objects(i) for i, stem in enumerate(STEMS)}, splits=SPLITS)


def finish(events: Any) -> tuple[Path, list[Epoch]]:
    """The run and its epochs."""
    started, *between, _ = events
    return started.run, [event for event in between if isinstance(event, Epoch)]


def stopped_after(steps: int) -> Callable[[], bool]:
    """A request to stop after this number of steps."""
    requested = 0

    def stop() -> bool:
        nonlocal requested
        requested += 1
        return requested >= steps

    return stop


def same_weights(one: Path, other: Path) -> bool:
    """Whether two checkpoints hold the same, bit for bit."""
    mine, theirs = load_file(one), load_file(other)
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


def metrics(run: Path) -> list[dict[str, str]]:
    """The metrics of a run, without the time they took."""
    with (run / "metrics.csv").open() as file:
        timed = ("seconds", "images_per_second")
        return [{key: value for key, value in row.items() if key not in timed} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(module_tmp_path: Path) -> Callable[[Path, SsdRecipe | BackboneRecipe], Path]:
    """The uninterrupted run of a recipe on the dataset of these tests, trained once."""
    runs: dict[str, Path] = {}

    def run(root: Path, recipe: SsdRecipe | BackboneRecipe) -> Path:
        if repr(recipe) not in runs:
            options = RunOptions(runs=module_tmp_path / str(len(runs)), device="cpu")
            if isinstance(recipe, SsdRecipe):
                runs[repr(recipe)], _ = finish(training_events(Source(root), recipe, options))
            else:
                runs[repr(recipe)], _ = finish(backbone_events(Source(root), recipe, options))
        return runs[repr(recipe)]

    return run


Whole = Callable[[Path, SsdRecipe | BackboneRecipe], Path]


@pytest.mark.parametrize(
    ("batch", "steps", "workers", "neck"),
    [(4, 1, 0, "none"), (4, 5, 2, "none"), (8, 2, 0, "pan")],
)  # 8: trained in two shards; stopped in the first and in the last epoch, and between two
def test_a_stopped_detector_resumes_bit_for_bit(
    root: Path, tmp_path: Path, whole: Whole, batch: int, steps: int, workers: int, neck: str
) -> None:
    uninterrupted = whole(root, changed(SSD, batch=batch, neck=neck))
    requested = changed(SSD, batch=batch, neck=neck, workers=workers)
    run, _ = finish(
        training_events(
            Source(root), requested, RunOptions(runs=tmp_path / "runs", device="cpu", stop=stopped_after(steps))
        )
    )
    assert read_record(run / STATE).progress.steps == steps
    again, _ = finish(
        training_events(Source(root), requested, RunOptions(runs=tmp_path / "runs", device="cpu", resume=run))
    )
    assert again == run
    for name in ("best.safetensors", "last.safetensors"):
        assert same_weights(run / name, uninterrupted / name)
    assert metrics(run) == metrics(uninterrupted)
    assert not (run / STATE).exists()  # there is nothing left to go on with


@pytest.mark.parametrize(("optimizer", "steps"), [("sgd", 1), ("adamw", 5), ("muon", 5)])
def test_a_classifier_with_dropout_resumes_bit_for_bit(
    root: Path, tmp_path: Path, whole: Whole, steps: int, optimizer: str
) -> None:
    requested = changed(BACKBONE, optimizer=optimizer, sampling="balanced")
    uninterrupted = whole(root, requested)
    run, _ = finish(
        backbone_events(
            Source(root), requested, RunOptions(runs=tmp_path / "runs", device="cpu", stop=stopped_after(steps))
        )
    )
    finish(backbone_events(Source(root), requested, RunOptions(runs=tmp_path / "runs", device="cpu", resume=run)))
    for name in ("best.safetensors", "last.safetensors"):
        assert same_weights(run / name, uninterrupted / name)
    assert metrics(run) == metrics(uninterrupted)


HOST = """
    import json, os, random, signal, sys, time
    from pathlib import Path

    from vocdet.formats.scan import Source
    from vocdet.recipes.schema import SsdRecipe, changed
    from vocdet.training.state import FINAL_STATE, STATE, read_record
    from vocdet.runs import journal
    from vocdet.runs.setup import RunOptions
    from vocdet.workflows.train_detector import training_events

    import tensorboard.compat.proto.event_pb2  # here, and not again in every process that is forked

    os.fsync = lambda _: None  # it is the process that is killed here, and not the computer
    journal.curves = lambda *_, **__: b""
    root, recipe = Path(sys.argv[1]), changed(SsdRecipe(), **json.loads(sys.argv[3]))
    random.seed()


    def trained(runs, kills):
        # how many steps were saved at every kill, and the exit status of the last process

        def steps():
            states = list(runs.glob(f"*/{STATE}"))
            return read_record(states[0]).progress.steps if states else 0

        killed = []
        while True:
            before = steps()
            child = os.fork()
            if not child:
                resume = next(runs.glob("*/" + STATE)).parent if before else None
                for event in training_events(Source(root), recipe, RunOptions(runs=runs, device="cpu", resume=resume)):
                    pass
                os._exit(0)
            if len(killed) < kills:
                while steps() == before and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                    time.sleep(0.002)
                time.sleep(random.uniform(0, 0.03))
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if not os.WIFSIGNALED(status):
                return killed, status
            killed.append(steps())


    print(json.dumps([trained(Path(sys.argv[2]) / name, kills) for name, kills in (("whole", 0), ("killed", 3))]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_killed_at_random_moments_ends_with_the_same_weights(root: Path, tmp_path: Path) -> None:
    flat = {
        "net": "mb1-0.25", "weights": "none", "size": 64, "batch": 8, "epochs": 6, "mosaic": 0.25, "save_every": 0.0,
        "patience": 0, "lr": 0.003,
    }  # fmt: skip
    # both in processes of their own: what was computed before in this one may have chosen another way to compute
    command = [sys.executable, "-c", textwrap.dedent(HOST), str(root), str(tmp_path), json.dumps(flat)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr
    found, (kills, status) = json.loads(ended.stdout.splitlines()[-1])
    assert found == [[], 0]
    assert status == 0
    assert len(kills) == 3
    assert kills == sorted(set(kills))  # each time it had come further
    (whole,), (killed,) = (list((tmp_path / name).iterdir()) for name in ("whole", "killed"))
    for name in ("best.safetensors", "last.safetensors"):
        assert same_weights(killed / name, whole / name)
    assert metrics(killed) == metrics(whole)
    names = [{path.name for path in run.iterdir() if "tfevents" not in path.name} for run in (killed, whole)]
    assert names[0] == names[1]  # nothing half-written is left


@pytest.fixture(scope="module")
def interrupted(module_tmp_path: Path) -> Callable[[Path, Path], Path]:
    """A run that was stopped after its third step, trained once and copied for every test."""
    trained: list[Path] = []

    def copy(root: Path, runs: Path) -> Path:
        if not trained:
            options = RunOptions(runs=module_tmp_path / "stopped", device="cpu", stop=stopped_after(3))
            trained.append(finish(training_events(Source(root), SSD, options))[0])
        return Path(shutil.copytree(trained[0], runs / trained[0].name))

    return copy


Interrupted = Callable[[Path, Path], Path]


def refused(root: Path, run: Path, requested: SsdRecipe = SSD) -> list[str]:
    """The errors that prevent a run from resuming."""
    with pytest.raises(VocdetError) as caught:
        next(training_events(Source(root), requested, RunOptions(runs=run.parent, device="cpu", resume=run)))
    error = caught.value
    return [each.problem for each in (error.errors if isinstance(error, ManyErrors) else (error,))]


def test_a_changed_recipe_is_refused_with_the_differences(root: Path, tmp_path: Path, interrupted: Interrupted) -> None:
    run = interrupted(root, tmp_path / "runs")
    before = (run / STATE).read_bytes()
    assert refused(root, run, changed(SSD, lr=0.5, mosaic=0.0)) == [
        "train.lr was 0.003 at the start and is 0.5 now",
        "augment.mosaic was 0.25 at the start and is 0.0 now",
    ]
    assert (run / STATE).read_bytes() == before


def test_settings_that_do_not_affect_the_weights_may_change(
    root: Path, tmp_path: Path, interrupted: Interrupted
) -> None:
    run = interrupted(root, tmp_path / "runs")
    requested = changed(SSD, cache="off", save_every=100.0, patience=7)
    options = RunOptions(runs=run.parent, device="cpu", resume=run)
    assert next(training_events(Source(root), requested, options)).run == run  # type: ignore[union-attr]


def test_a_recipe_that_was_adjusted_to_few_images_resumes_as_it_was_asked_for(root: Path, tmp_path: Path) -> None:
    def options(**more: Any) -> RunOptions:
        return RunOptions(runs=tmp_path / "runs", device="cpu", **more)

    asked = changed(SSD, lr=0.004)
    run, _ = finish(training_events(Source(root), asked, options(stop=stopped_after(3))))
    assert load_recipe("ssd", str(run)).recipe.train.lr == 0.002
    assert refused(root, run, changed(asked, mosaic=0.0)) == [
        "train.lr was 0.002 at the start and is 0.004 now",
        "augment.mosaic was 0.25 at the start and is 0.0 now",
    ]
    resumed = changed(asked, save_every=100.0)
    _, epochs = finish(training_events(Source(root), resumed, options(resume=run)))
    assert [epoch.epoch for epoch in epochs] == [2, 3]
    assert load_recipe("ssd", str(run)).recipe.train.lr == 0.002
    # finished, it continues with a new schedule, and so it does after an interruption of that
    longer = changed(asked, epochs=5)
    stopped = options(resume=run, given=frozenset({"epochs"}), stop=stopped_after(1))
    finish(training_events(Source(root), longer, stopped))
    _, epochs = finish(training_events(Source(root), longer, options(resume=run)))
    assert [epoch.epoch for epoch in epochs] == [4, 5]


@pytest.mark.parametrize(("values", "lr"), [({}, 0.002), ({"lr": 0.004}, 0.004)])
def test_a_rate_that_was_chosen_is_kept_with_few_images(
    root: Path, tmp_path: Path, values: dict[str, Any], lr: float
) -> None:
    run = vocdet.train_detector(
        root, "ssdlite-mb3-small", runs=tmp_path, weights="none", size=64, max_steps=1, device="cpu", **values
    )
    assert load_recipe("ssd", str(run.path)).recipe.train.lr == lr


def test_changed_images_are_refused_by_name(root: Path, tmp_path: Path, interrupted: Interrupted) -> None:
    run = interrupted(root, tmp_path / "runs")
    xml = root / "Annotations" / "img01.xml"
    xml.write_text(xml.read_text().replace("<xmax>90", "<xmax>89"))
    lists = root / "ImageSets" / "Main"
    (lists / "train.txt").write_text("\n".join(STEMS[1:8]) + "\n")
    (lists / "val.txt").write_text("\n".join(STEMS[8:]) + "\n")
    assert refused(root, run) == [
        "1 image of train removed: img00",
        "1 image of train changed: img01",
        "1 image of val added: img11",
    ]


def test_changed_labels_are_refused(root: Path, tmp_path: Path, interrupted: Interrupted) -> None:
    run = interrupted(root, tmp_path / "runs")
    (tmp_path / "labels.txt").write_text("dog\ncat\n")
    with pytest.raises(RunError, match="the labels changed: their order is different"):
        next(
            training_events(
                Source(root, labels=tmp_path / "labels.txt"), SSD, RunOptions(runs=run.parent, device="cpu", resume=run)
            )
        )


def test_a_run_records_its_dataset_arguments(root: Path, tmp_path: Path) -> None:
    options = RunOptions(runs=tmp_path, device="cpu", stop=stopped_after(1))
    run, _ = finish(training_events(Source(root), SSD, options))
    given = dataset_arguments(run)
    assert given == {
        "root": str(root),
        "format": "auto",
        "labels": None,
        "coordinates": "auto",
        "crowds": "ignore",
        "skip_bad": False,
    }


def test_the_unfinished_run_saved_last_is_resumed(root: Path, tmp_path: Path, interrupted: Interrupted) -> None:
    runs = tmp_path / "runs"
    with pytest.raises(RunError, match="no unfinished ssd training in this folder"):
        find_unfinished(runs, "ssd")
    first = interrupted(root, runs)
    second = Path(shutil.copytree(first, runs / "ssd-mb1-0.25-0"))
    os.utime(first / STATE, (0, 0))
    assert find_unfinished(runs, "ssd") == second
    finish(training_events(Source(root), SSD, RunOptions(runs=runs, device="cpu", resume=second)))
    assert find_unfinished(runs, "ssd") == first
    assert find_unfinished(runs, "ssd", first.name) == first
    assert find_unfinished(runs, "ssd", str(second)) == second


def test_a_setting_that_an_older_state_lacks_has_its_default(
    root: Path, tmp_path: Path, interrupted: Interrupted
) -> None:
    run = interrupted(root, tmp_path / "runs")
    record, tensors = read_state(run / STATE)
    older = {**record.recipe, "train": {k: v for k, v in record.recipe["train"].items() if k != "max_steps"}}
    save_state(run / STATE, tensors, msgspec.structs.replace(record, recipe=older))
    assert refused(root, run, changed(SSD, max_steps=9)) == ["train.max_steps was 0 at the start and is 9 now"]
    assert finish(training_events(Source(root), SSD, RunOptions(runs=run.parent, device="cpu", resume=run)))[0] == run


def test_a_finished_run_cannot_be_resumed(root: Path, tmp_path: Path, whole: Whole) -> None:
    finished = whole(root, SSD)
    run = Path(shutil.copytree(finished, tmp_path / finished.name))
    assert refused(root, run) == ["this training is finished, after 3 epochs"]
    (run / FINAL_STATE).unlink()
    assert refused(root, run) == ["this training is finished, and its state is not in the folder"]
    with pytest.raises(RunError, match="no such run"):
        dataset_arguments(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="not a run: the folder has no files of a training"):
        dataset_arguments(root)


def test_a_run_killed_after_its_first_step_resumes_bit_for_bit(root: Path, tmp_path: Path, whole: Whole) -> None:
    uninterrupted = whole(root, SSD)
    events = training_events(Source(root), SSD, RunOptions(runs=tmp_path / "runs", device="cpu"))
    for event in events:
        if isinstance(event, Step):
            break
    events.close()  # as a kill: nothing is saved any more
    run = find_unfinished(tmp_path / "runs", "ssd")
    assert read_record(run / STATE).progress.steps == 1
    finish(training_events(Source(root), SSD, RunOptions(runs=tmp_path / "runs", device="cpu", resume=run)))
    assert same_weights(run / "last.safetensors", uninterrupted / "last.safetensors")
    assert metrics(run) == metrics(uninterrupted)


def test_a_run_killed_before_its_first_step_has_nothing_to_resume(root: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "ssd-mb1-0.25-1"
    run.mkdir(parents=True)
    Journal(run).json("run.json", {"state": "running", "task": "ssd"})  # no end is recorded
    assert refused(root, run) == ["this training was interrupted before its first step, so there is nothing to resume"]


def test_a_finished_run_continues_with_a_new_schedule(root: Path, tmp_path: Path) -> None:
    def options(**more: Any) -> RunOptions:
        return RunOptions(runs=tmp_path / "runs", device="cpu", **more)

    short, longer = changed(SSD, epochs=2), changed(SSD, epochs=5)
    run, _ = finish(training_events(Source(root), short, options()))
    before = load_file(run / FINAL_STATE)
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    started, *between = training_events(Source(root), longer, options(resume=run, given=frozenset({"epochs"})))
    assert isinstance(started, DetectorStart)
    assert started.weights == f"{run} after epoch 2, with a new schedule"
    epochs = [event for event in between if isinstance(event, Epoch)]
    assert [epoch.epoch for epoch in epochs] == [3, 4, 5]
    rows = metrics(run)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4", "5"]
    rates = [float(row["lr"]) for row in rows]
    assert rates[2] > 5 * rates[1]  # the second schedule begins anew,
    assert rates[4] < rates[3] < rates[2]  # and decays
    (earlier,) = json.loads((run / "run.json").read_text())["schedules"]
    assert earlier == {"epochs": 2, "first_epoch": 1, "last_epoch": 2}
    record = read_record(run / FINAL_STATE)
    assert (record.progress.steps, record.progress.earlier_steps, record.recipe["train"]["epochs"]) == (10, 4, 5)
    assert read_info(run / "last.safetensors").recipe["train"]["epochs"] == 5
    # the same with an interruption, from the state before: the optimizer and the average are in it
    assert all(torch.equal(before[name], value) for name, value in load_file(copy / FINAL_STATE).items())
    stopped = options(resume=copy, given=frozenset({"epochs"}), stop=stopped_after(3))
    finish(training_events(Source(root), longer, stopped))
    assert not (copy / FINAL_STATE).exists()
    assert [epoch.epoch for epoch in finish(training_events(Source(root), longer, options(resume=copy)))[1]] == [4, 5]
    assert same_weights(run / "last.safetensors", copy / "last.safetensors")
    assert metrics(copy) == rows


def test_a_finished_classifier_continues_for_some_minutes(root: Path, tmp_path: Path) -> None:
    options = RunOptions(runs=tmp_path / "runs", device="cpu")
    run, _ = finish(backbone_events(Source(root), changed(BACKBONE, epochs=1), options))
    more = changed(BACKBONE, minutes=0.01)
    again = RunOptions(runs=tmp_path / "runs", device="cpu", resume=run, given=frozenset({"minutes"}))
    _, epochs = finish(backbone_events(Source(root), more, again))
    assert epochs[0].epoch == 2
    with (run / "metrics.csv").open() as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    assert seconds[-1] - seconds[0] >= 0.6
    assert read_run(run).minutes == 0.01
    by_epochs = RunOptions(runs=tmp_path / "runs", device="cpu", resume=run, given=frozenset({"epochs"}))
    done = epochs[-1].epoch
    _, last = finish(backbone_events(Source(root), changed(more, epochs=done + 1), by_epochs))
    assert [epoch.epoch for epoch in last] == [done + 1]  # the minutes of the recipe do not count any more


def test_a_finished_run_needs_more_epochs_than_it_has(root: Path, tmp_path: Path) -> None:
    run, _ = finish(training_events(Source(root), changed(SSD, epochs=1), RunOptions(runs=tmp_path, device="cpu")))
    again = RunOptions(runs=tmp_path, device="cpu", resume=run, given=frozenset({"epochs"}))
    with pytest.raises(RunError, match="epochs is 1, and this finished training already has 1") as caught:
        next(training_events(Source(root), changed(SSD, epochs=1), again))
    assert caught.value.hint == "it counts from the start of the run: `epochs=2`"


@pytest.mark.parametrize("name", ["minutes", "max_steps"])
def test_a_length_of_zero_does_not_continue_a_finished_run(root: Path, tmp_path: Path, whole: Whole, name: str) -> None:
    run = Path(shutil.copytree(whole(root, SSD), tmp_path / "ssd-mb1-0.25-1"))
    again = RunOptions(runs=tmp_path, device="cpu", resume=run, given=frozenset({name}))
    with pytest.raises(RunError, match="this training is finished, after 3 epochs"):
        next(training_events(Source(root), changed(SSD, **{name: 0}), again))


@pytest.mark.skipif(sys.platform != "linux", reason="a process is only known for sure by the kernel's count")
def test_a_run_that_another_process_trains_is_not_resumed(root: Path, tmp_path: Path, interrupted: Interrupted) -> None:
    run = interrupted(root, tmp_path / "runs")
    status = json.loads((run / "run.json").read_text())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        running = {**status, "state": "running", "pid": other.pid, "started_at": started_at(other.pid)}
        (run / "run.json").write_text(json.dumps(running))
        assert refused(root, run) == [f"this training is running, as process {other.pid}"]
        other.kill()
    assert finish(training_events(Source(root), SSD, RunOptions(runs=run.parent, device="cpu", resume=run)))[0] == run


def test_patience_cannot_be_added_while_images_grow(root: Path, tmp_path: Path) -> None:
    growing = changed(SSD, neck="pan", neck_channels=8, grow="always", size=224)
    runs = tmp_path / "runs"
    run, _ = finish(training_events(Source(root), growing, RunOptions(runs=runs, device="cpu", stop=stopped_after(2))))
    assert refused(root, run, changed(growing, patience=5)) == ["train.patience was 0 at the start and is 5 now"]


def test_a_run_of_another_task_is_refused(root: Path, tmp_path: Path) -> None:
    run, _ = finish(
        backbone_events(Source(root), BACKBONE, RunOptions(runs=tmp_path / "runs", device="cpu", stop=stopped_after(1)))
    )
    assert refused(root, run) == ["a training of backbone, not ssd"]


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda data: data[:1000], "cannot be read"),
        (lambda data: b"", "cannot be read"),
        (lambda data: data.replace(b'\\"steps\\":3', b'\\"steps\\":x'), "has an invalid description"),
        (lambda data: data.replace(b"vocdet-state", b"vocdet-stale"), "is not the state of a training"),
    ],
)
def test_a_damaged_state_is_an_error(
    root: Path, tmp_path: Path, interrupted: Interrupted, damage: Callable[[bytes], bytes], problem: str
) -> None:
    run = interrupted(root, tmp_path / "runs")
    data = (run / STATE).read_bytes()
    (run / STATE).write_bytes(damage(data))
    assert (run / STATE).read_bytes() != data
    (found,) = refused(root, run)
    assert found.startswith(problem)


def test_without_its_image_digests_a_run_cannot_be_resumed(
    root: Path, tmp_path: Path, interrupted: Interrupted
) -> None:
    run = interrupted(root, tmp_path / "runs")
    (run / DATASET).write_text("{")
    (found,) = refused(root, run)
    assert found.startswith("cannot be read")


def test_a_disk_that_fills_up_leaves_the_previous_state(
    root: Path, tmp_path: Path, whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    uninterrupted = whole(root, SSD)
    requested = changed(SSD, save_every=0.0)
    events = training_events(Source(root), requested, RunOptions(runs=tmp_path / "runs", device="cpu"))
    started = next(events)
    assert isinstance(started, DetectorStart)
    assert isinstance(next(events), Step)
    next(events)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("vocdet.files.os.fsync", full)
        with pytest.raises(OutputError, match="no space left"):
            list(events)
    record, tensors = read_state(started.run / STATE)
    assert record.progress.steps == 2
    assert tensors
    finish(training_events(Source(root), SSD, RunOptions(runs=tmp_path / "runs", device="cpu", resume=started.run)))
    assert same_weights(started.run / "best.safetensors", uninterrupted / "best.safetensors")


def test_a_loss_that_is_not_finite_names_the_files_of_its_batch(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = training_events(Source(root), changed(SSD, mosaic=0.0), RunOptions(runs=tmp_path / "runs", device="cpu"))
    assert [type(next(events)) for _ in range(3)] == [DetectorStart, Step, Step]
    monkeypatch.setattr(ssd_loss, "encode", lambda boxes, anchors: torch.full_like(boxes, torch.inf))
    with pytest.raises(VocdetError, match="the loss is no longer finite: box inf") as caught:
        list(events)
    (run,) = (tmp_path / "runs").iterdir()
    written = json.loads((run / "not-finite.json").read_text())
    assert len(written["files"]) == 4
    assert all(Path(name).is_file() for name in written["files"])
    assert str(run / "not-finite.json") in caught.value.hint
    assert (run / STATE).is_file()  # the last good one


def test_a_first_step_that_is_not_finite_leaves_the_list_that_its_error_names(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssd_loss, "encode", lambda boxes, anchors: torch.full_like(boxes, torch.inf))
    with pytest.raises(VocdetError, match="the loss is no longer finite") as caught:
        list(training_events(Source(root), SSD, RunOptions(runs=tmp_path / "runs", device="cpu")))
    (run,) = (tmp_path / "runs").iterdir()
    assert str(run / "not-finite.json") in caught.value.hint
    assert json.loads((run / "not-finite.json").read_text())["files"]


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_folder_whose_name_is_not_utf_8_cannot_be_recorded(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / os.fsdecode(b"gel\xe9e")
    try:
        shutil.copytree(root, odd)
    except OSError:
        pytest.skip("this file system has no such names")
    problem = "a path that is not UTF-8, which no run can record"
    with pytest.raises(RunError, match=problem):
        finish(training_events(Source(odd), SSD, RunOptions(runs=tmp_path / "runs", device="cpu")))
    with pytest.raises(RunError, match=problem):
        finish(training_events(Source(root), SSD, RunOptions(runs=odd, device="cpu")))
    assert not (tmp_path / "runs").exists()
    monkeypatch.chdir(odd)  # where a command is typed is not recorded
    assert Source(root).record()["root"] == str(root)
