"""The journal of a run: tables, events, pictures, and how it ended."""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from vocdet.data.detections import Detections
from vocdet.errors import OutputError, VocdetError
from vocdet.formats.scan import Source
from vocdet.inputs.batches import Batch
from vocdet.runs import journal as module
from vocdet.runs.journal import Journal, Row
from vocdet.runs.pictures import SHEET, batch_sheet, crop_sheet, example_sheet
from vocdet.runs.tensorboard import EventFile
from vocdet.workflows.load import load_dataset

RECIPE = {"model": {"net": "mb1"}, "train": {"epochs": 3, "lr": 0.1}}
DATASET = {"fingerprint": "f" * 64, "root": "data", "labels": ["cat", "dog"], "images": 4, "validation_images": 2}
PIXELS = np.full((60, 80, 3), 200, np.uint8)


def started(run: Path, rows: list[Row] | None = None) -> Journal:
    """The journal of a detector's run."""
    run.mkdir(exist_ok=True)
    journal = Journal(run, rows or [])
    journal.start("[model]\n", RECIPE, task="ssd", dataset=DATASET)
    return journal


def add(journal: Journal, epoch: int, **more: float) -> None:
    row = {"epoch": epoch, "seconds": 10.0 * epoch, "lr": 0.1, "train_box": 1 / epoch, "train_class": 3 / epoch}
    journal.epoch({**row, **more}, {"cat": 0.25 * epoch, "dog": None})


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def events(run: Path) -> EventAccumulator:
    """What TensorBoard shows of a run."""
    shown = EventAccumulator(str(run))
    shown.Reload()
    return shown


def scalars(run: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events(run).Scalars(tag)]


def test_every_epoch_has_a_row_that_spreadsheets_can_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.epoch({"epoch": 1, "train_loss": 0.123456789})
    journal.epoch({"epoch": 2, "train_loss": 1e-9, "val_ap50": 0.5}, best=True)
    assert read(tmp_path / "metrics.csv") == [
        {"epoch": "1", "train_loss": "0.123457", "best": "0", "val_ap50": ""},
        {"epoch": "2", "train_loss": "1e-09", "best": "1", "val_ap50": "0.5"},
    ]
    assert journal.best == 2
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_numbers_that_are_not_finite_leave_an_empty_cell_and_are_not_saved(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.epoch(
        {"epoch": 1, "val_loss": math.inf, "val_ap": math.nan, "lr": 0.5}, {"cat": None, "dog": math.nan, "emu": 0.5}
    )
    assert journal.rows == [{"epoch": 1, "lr": 0.5, "best": 0, "label/emu": 0.5}]
    assert read(tmp_path / "labels.csv") == [{"epoch": "1", "emu": "0.5"}]


def test_labels_of_any_name_have_a_separate_table(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    names = ["epoch", 'a "b", c', "猫\n", "label/x", "train_loss"]
    journal.epoch({"epoch": 3, "train_loss": 1.0}, dict.fromkeys(names, 0.5))
    assert read(tmp_path / "labels.csv") == [
        {"epoch": "3", "epoch (label)": "0.5", 'a "b", c': "0.5", "猫\n": "0.5", "label/x": "0.5", "train_loss": "0.5"}
    ]
    assert read(tmp_path / "metrics.csv") == [{"epoch": "3", "train_loss": "1", "best": "0"}]


def test_json_and_tables_of_any_text_can_be_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.json("x.json", {"net": "mb1", "minutes": None, "labels": ("猫", 'a "b", c')})
    content = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert content == {"net": "mb1", "minutes": None, "labels": ["猫", 'a "b", c']}
    journal.table("confusion.csv", ["label", 'a "b", c'], [["猫\n", 3]])
    with (tmp_path / "confusion.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["label", 'a "b", c'], ["猫\n", "3"]]


def test_a_finished_run_has_all_its_files(tmp_path: Path) -> None:
    with started(tmp_path) as journal:
        for epoch in (1, 2):
            add(journal, epoch, val_ap50=0.4)
    names = {path.name for path in tmp_path.iterdir() if not path.name.startswith("events.")}
    assert names == {"recipe.toml", "environment.json", "run.json", "metrics.csv", "labels.csv", "curves.png"}
    status = json.loads((tmp_path / "run.json").read_text())
    assert (status["state"], status["task"], status["dataset"]) == ("finished", "ssd", DATASET)
    assert status["started"] <= status["ended"]
    assert "torch" in json.loads((tmp_path / "environment.json").read_text())
    assert journal.notes == []


def test_tensorboard_shows_losses_metrics_labels_and_rate_by_epoch(tmp_path: Path) -> None:
    with started(tmp_path) as journal:
        for epoch in (1, 2):
            add(journal, epoch, val_ap50=0.25 * epoch, images_per_second=50)
    assert set(events(tmp_path).Tags()["scalars"]) == {
        "train/loss", "train/box", "train/class", "val/ap50", "run/lr", "run/seconds", "run/images_per_second",
        "labels/cat",
    }  # fmt: skip
    assert scalars(tmp_path, "train/loss") == [(1, 4.0), (2, 2.0)]
    assert scalars(tmp_path, "val/ap50") == [(1, 0.25), (2, 0.5)]
    assert scalars(tmp_path, "labels/cat") == [(1, 0.25), (2, 0.5)]


def test_a_resumed_run_drops_the_epochs_after_its_state(tmp_path: Path) -> None:
    begun = started(tmp_path)
    for epoch in (1, 2, 3):
        add(begun, epoch, val_ap50=0.1 * epoch)
    kept = json.loads(json.dumps(begun.rows[:2]))  # as a state keeps them
    begun.close("interrupted")
    with started(tmp_path, kept) as journal:
        assert [row["epoch"] for row in read(tmp_path / "metrics.csv")] == ["1", "2"]
        assert [row["epoch"] for row in read(tmp_path / "labels.csv")] == ["1", "2"]
        add(journal, 3, val_ap50=0.75)
    assert [row["val_ap50"] for row in read(tmp_path / "metrics.csv")] == ["0.1", "0.2", "0.75"]
    assert scalars(tmp_path, "val/ap50") == [(1, pytest.approx(0.1)), (2, pytest.approx(0.2)), (3, 0.75)]
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert [one["command"] for one in environment["earlier"]] == [environment["command"]]


def test_a_run_resumed_in_its_first_epoch_drops_all_rows(tmp_path: Path) -> None:
    begun = started(tmp_path)
    add(begun, 1, val_ap50=0.5)
    begun.close("interrupted")
    with started(tmp_path) as journal:  # the state was saved before the epoch ended
        assert not list(tmp_path.glob("*.csv"))
        journal.epoch({"epoch": 1, "val_ap50": 0.25})
    assert [path.name for path in tmp_path.glob("*.csv")] == ["metrics.csv"]
    assert scalars(tmp_path, "val/ap50") == [(1, 0.25)]


@pytest.fixture
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at the curves."""
    monkeypatch.setattr(module, "curves", lambda *_, **__: b"")


@pytest.mark.usefixtures("no_curves")
def test_tables_are_the_same_whether_a_run_was_interrupted_or_not(tmp_path: Path) -> None:
    whole, again = started(tmp_path / "whole"), started(tmp_path / "resumed")
    for epoch in (1, 2, 3):
        add(whole, epoch, val_ap50=epoch / 7)
        add(again, epoch, val_ap50=epoch / 7)
        again.close("interrupted")
        again = started(tmp_path / "resumed", json.loads(json.dumps(again.rows)))
    again.close()
    whole.close()
    for name in ("metrics.csv", "labels.csv"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "resumed" / name).read_bytes()


@pytest.mark.usefixtures("no_curves")
@pytest.mark.parametrize(
    ("error", "state", "why"),
    [
        (None, "finished", None),
        (KeyboardInterrupt(), "interrupted", None),
        (GeneratorExit(), "interrupted", None),
        (VocdetError("the loss is not finite"), "failed", "the loss is not finite"),
    ],
)
def test_the_status_records_how_a_run_ended(
    tmp_path: Path, error: BaseException | None, state: str, why: str | None
) -> None:
    journal = started(tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["state"] == "running"
    try:
        with journal:
            add(journal, 1)
            if error:
                raise error
    except BaseException as raised:
        assert raised is error
    status = json.loads((tmp_path / "run.json").read_text())
    assert (status["state"], status.get("why")) == (state, why)


def test_a_stopped_run_stays_interrupted(tmp_path: Path) -> None:
    with started(tmp_path) as journal:
        journal.close("interrupted")
    assert json.loads((tmp_path / "run.json").read_text())["state"] == "interrupted"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A clock that advances only on request."""
    now = [1000.0]
    monkeypatch.setattr("vocdet.runs.journal.time.monotonic", lambda: now[0])

    def pass_(seconds: float) -> None:
        now[0] += seconds

    return pass_


def test_pictures_are_drawn_every_half_minute_and_at_the_end(tmp_path: Path, clock: Callable[[float], None]) -> None:
    journal, made = started(tmp_path), []

    def example() -> np.ndarray[Any, np.dtype[np.uint8]]:
        made.append(len(journal.rows))
        return PIXELS

    for epoch in range(1, 6):
        clock(14)
        journal.epoch({"epoch": epoch, "train_loss": 1.0}, pictures=example)
        assert (tmp_path / "curves.png").exists() == (epoch >= 3)
    journal.epoch({"epoch": 6, "train_loss": 1.0})
    assert made == [3]
    journal.close()
    journal.close()
    assert made == [3, 6]  # the newest there was
    with Image.open(tmp_path / "examples.jpg") as picture:
        assert (picture.format, picture.size) == ("JPEG", (80, 60))
    images = events(tmp_path).Images("examples")
    assert [(image.step, image.width, image.height) for image in images] == [(3, 80, 60), (6, 80, 60)]


@pytest.mark.usefixtures("no_curves")
def test_slow_pictures_are_drawn_less_often(tmp_path: Path, clock: Callable[[float], None]) -> None:
    journal, made = started(tmp_path), []

    def example() -> np.ndarray[Any, np.dtype[np.uint8]]:
        made.append(len(journal.rows))
        clock(2)
        return PIXELS

    for epoch in range(1, 16):
        clock(30)
        journal.epoch({"epoch": epoch}, pictures=example)
    assert made == [1, 8, 15]  # a hundredth of the time: every 200 s
    journal.close()


def test_a_failed_picture_is_a_note_and_the_run_continues(tmp_path: Path) -> None:
    def fail() -> Any:
        raise RuntimeError("no such font")

    with started(tmp_path) as journal:
        journal.epoch({"epoch": 1}, pictures=fail)
    assert journal.notes == ["examples.jpg could not be drawn: no such font"]
    assert json.loads((tmp_path / "run.json").read_text())["state"] == "finished"


def test_a_full_disk_is_one_error_that_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, _: object) -> None:
        raise OutputError("cannot be written: no space left on device", place=path)

    journal = started(tmp_path)
    monkeypatch.setattr(module, "write_text", full)
    with pytest.raises(OutputError, match="no space left") as caught:
        add(journal, 1)
    assert "metrics.csv" in str(caught.value)
    monkeypatch.setattr(module, "write_bytes", full)
    with pytest.raises(OutputError, match=r"cannot be written") as caught:
        journal.close()
    assert "curves.png" in str(caught.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_events_on_a_full_disk_are_an_immediate_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode: opened(Path("/dev/full"), "wb"))
    with pytest.raises(OutputError, match="no space left"):
        EventFile(tmp_path)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        EventFile(tmp_path / "gone")


def batch_of(side: int, boxes: list[list[float]], labels: list[int], count: int = 2) -> Batch:
    images = torch.full((count, 3, side, side), 120, dtype=torch.uint8)
    many = torch.tensor([boxes] * count).reshape(count, -1, 4)
    return Batch(images, many, torch.tensor([labels] * count, dtype=torch.int64))


def test_the_first_batches_are_shown_with_their_boxes(tmp_path: Path) -> None:
    box = [[16.0, 16.0, 48.0, 48.0], [0.0, 0.0, 0.0, 0.0]]
    sheet = batch_sheet([batch_of(64, box, [1, -1])], ["cat", "dog"])
    assert sheet.shape[1] == SHEET
    side = SHEET // 2 - 4  # two samples, and a gap each
    edge = sheet[round(0.5 * side), : SHEET // 2, :].astype(int)  # across the left sample, through its box
    drawn = np.flatnonzero(np.abs(edge - 120).max(1) > 40)
    drawn = drawn[(drawn > 4) & (drawn < SHEET // 2 - 4)]
    assert drawn.min() == pytest.approx(0.25 * side, abs=6)
    assert drawn.max() == pytest.approx(0.75 * side, abs=6)
    journal = started(tmp_path)
    journal.batches([batch_of(64, box, [1, -1], 40)], ["cat", "dog"])
    journal.close()
    with Image.open(tmp_path / "batches.png") as picture:
        assert picture.format == "PNG"
        assert picture.size == (SHEET, 4 * (SHEET // 4))  # 16 of 40
    assert len(events(tmp_path).Images("batches")) == 1


def test_crops_are_shown_under_their_labels() -> None:
    crops = batch_of(32, [[0.0, 0.0, 0.0, 0.0]], [0], 8)
    sheet = batch_sheet([crops], ["cat"])
    assert (sheet[:10] < 100).any()  # letters above the pictures
    assert sheet.shape[0] > SHEET // 8
    assert crop_sheet(crops.images, [0] * 8, [0, 1] * 4, ["cat", "dog"]).shape[1] == SHEET


def test_empty_samples_are_shown_unchanged_and_no_sample_is_an_error() -> None:
    assert batch_sheet([batch_of(64, [], [], 1)], ["cat"]).shape[1] == SHEET
    with pytest.raises(ValueError, match="no sample"):
        batch_sheet([], ["cat"])


def test_examples_show_annotations_beside_detections(make_voc: Callable[..., Path]) -> None:
    root = make_voc({stem: [("cat", (20.0, 20.0, 60.0, 60.0))] for stem in "abc"})
    dataset = load_dataset(Source(root)).dataset
    found = [Detections(sample.objects.box, np.array([0.9], np.float32), np.zeros(1, np.int64)) for sample in dataset]
    at, above = (example_sheet(dataset, found, np.array([t], np.float32)) for t in (0.5, 0.95))
    (root / "JPEGImages" / "b.jpg").unlink()
    two = example_sheet(dataset, found, np.array([0.5], np.float32))
    assert at.shape == above.shape
    assert (at != above).any()  # nothing is drawn below the threshold
    assert two.shape[0] < at.shape[0]  # what is gone is left out


@pytest.fixture
def states() -> Iterator[None]:
    """All global random numbers are untouched."""
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index]
    yield
    assert before[:2] == (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index]
    assert torch.equal(before[2], torch.get_rng_state())


@pytest.mark.usefixtures("states")
def test_a_journal_draws_no_random_numbers(tmp_path: Path) -> None:
    with started(tmp_path) as journal:
        journal.batches([batch_of(64, [[1.0, 1.0, 9.0, 9.0]], [0])], ["cat"])
        journal.epoch({"epoch": 1, "train_loss": 1.0}, {"cat": 0.5}, best=True, pictures=lambda: PIXELS)
