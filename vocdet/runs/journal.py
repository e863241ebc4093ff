"""What a run keeps beside its checkpoints, to be read by people, spreadsheets, TensorBoard and `vocdet runs`."""

from __future__ import annotations

import csv
import io
import math
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType

import cv2
import msgspec

from vocdet.errors import OutputError, VocdetError
from vocdet.files import unwritable, write_bytes, write_text
from vocdet.inference.output import QUALITY
from vocdet.inputs.batches import Batch
from vocdet.inputs.images import Image
from vocdet.machine import started_at
from vocdet.plots.training import curves
from vocdet.runs.environment import environment
from vocdet.runs.pictures import batch_sheet
from vocdet.runs.tensorboard import EventFile
from vocdet.runs.tracking import Ending, Patient, Service, open_tracker

RECIPE, ENVIRONMENT, STATUS = "recipe.toml", "environment.json", "run.json"
METRICS, LABELS, CURVES = "metrics.csv", "labels.csv", "curves.png"
BATCHES, EXAMPLES = "batches.png", "examples.jpg"
SENT = (RECIPE, ENVIRONMENT, METRICS, LABELS, CURVES, BATCHES, EXAMPLES, "best.safetensors")  # to a tracking service
OF_LABEL = "label/"  # what the name of a label's figure begins with in a row
REST = 30.0  # seconds between two pictures of the same kind, at least, and
SHARE = 0.01  # of the time goes into them, at most

Row = dict[str, float | int]


class Journal:
    """The journal of one run, written by one process alone.

    Tables and JSON files can be written at any time; from `start` to `close` everything else is kept, too. `rows` are
    the epochs so far, plain numbers to be kept with the state of the training: a journal that is given them goes on
    from there, and what files say of later epochs goes. What went wrong without being worth an end is in `notes`.
    """

    def __init__(self, run: Path, rows: Sequence[Row] = (), *, track: Service | None = None) -> None:
        """A tracking service that is not installed is a `VocdetError`."""
        self.run = run
        self.rows = list(rows)
        self.notes: list[str] = []
        self._tracker = Patient(open_tracker(track, run), track, self.notes.append) if track else None
        self._events: EventFile | None = None
        self._status: dict[str, object] = {}
        self._figure_of_labels = "AP50"
        self._due: dict[str, float] = {}  # when a picture is drawn next
        self._newest: Callable[[], Image] | None = None  # example pictures that are not drawn yet

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Close: interrupted where the block was left before its end, failed where an error left it."""
        if kind is None:
            self.close("finished")
        elif issubclass(kind, Exception):
            with suppress(VocdetError):  # the first error is the one to tell
                self.close("failed", why=str(error))
        else:  # KeyboardInterrupt, or a generator that nobody asks any more
            with suppress(VocdetError):
                self.close("interrupted")

    def start(
        self,
        recipe_text: str,
        recipe: Mapping[str, object],
        *,
        task: str,
        dataset: Mapping[str, object],
        figure_of_labels: str = "AP50",
    ) -> None:
        """Write recipe, environment and what the run is; begin the events, and the tracking where there is any.

        `recipe` is the same as `recipe_text`, in sections. `dataset` says what is learned from: `fingerprint`, `root`,
        `labels`, and the numbers of `images` and `validated_on`. `figure_of_labels` is what epochs tell of labels.
        """
        here, again = environment(), (self.run / STATUS).exists()
        self._figure_of_labels = figure_of_labels
        write_text(self.run / RECIPE, recipe_text)
        self.json(ENVIRONMENT, here | ({"earlier": earlier} if (earlier := self._earlier()) else {}))
        self._status = {
            "state": "running", "task": task, "dataset": dict(dataset), "figure_of_labels": figure_of_labels,
            "started": here["date"], "host": socket.gethostname(), "pid": os.getpid(),
            "started_at": started_at(os.getpid()),
        }  # fmt: skip
        self.json(STATUS, self._status)
        if again:
            self._forget(METRICS, LABELS)
            self._write_rows()
        done = int(self.rows[-1]["epoch"]) if self.rows else 0
        self._events = EventFile(self.run, forget_from=done + 1 if again else None)
        self._due = dict.fromkeys((CURVES, EXAMPLES), time.monotonic() + REST)
        if self._tracker:
            self._tracker.start(recipe, here)

    def batches(self, some: Sequence[Batch], labels: Sequence[str]) -> None:
        """Show the first batches as the training sees them."""
        self._show(BATCHES, lambda: batch_sheet(some, labels))

    def epoch(
        self,
        row: Mapping[str, float | int],
        per_label: Mapping[str, float | None] | None = None,
        *,
        best: bool = False,
        pictures: Callable[[], Image] | None = None,
    ) -> None:
        """Add an epoch: `epoch`, `seconds`, `lr`, `train_*` losses, `val_*` figures, and a figure of every label.

        `pictures()` makes an example picture; it is called now, or later, or never. Numbers that are not finite are
        left out: no spreadsheet knows them.
        """
        figures = {**row, "best": int(best), **{f"{OF_LABEL}{name}": v for name, v in (per_label or {}).items()}}
        self.rows.append({name: v for name, v in figures.items() if v is not None and math.isfinite(v)})
        self._newest = pictures or self._newest
        self._write_rows()
        if self._events:
            step, told = int(row["epoch"]), _told(self.rows[-1])
            self._events.scalars(step, told)
            if self._tracker:
                self._tracker.log(step, told)
            if self._is_due(CURVES):
                self._draw_curves()
            if self._newest and self._is_due(EXAMPLES):
                self._draw_examples()

    @property
    def best(self) -> int:
        """The best epoch so far; 0: none."""
        return max((int(row["epoch"]) for row in self.rows if row.get("best")), default=0)

    def json(self, name: str, content: object) -> None:
        """Write a JSON file for people and programs."""
        write_bytes(self.run / name, msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Write a CSV file."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([f"{value:.6g}" if isinstance(value, float) else value for value in row] for row in rows)
        write_text(self.run / name, text.getvalue())

    def close(self, ending: Ending = "finished", *, why: str = "") -> None:
        """Draw what is not drawn yet, say how the run ended, and end events and tracking. Again, it does nothing."""
        if self._events is None:
            return
        try:
            if self.rows:
                self._draw_curves()
            if self._newest:
                self._draw_examples()
        finally:
            self._events.close()
            self._events = None
        told = {"ended": datetime.now().astimezone().isoformat(timespec="seconds")} | ({"why": why} if why else {})
        self.json(STATUS, self._status | {"state": ending} | told)
        if self._tracker:
            self._tracker.finish([self.run / name for name in SENT], ending)

    def _forget(self, *names: str) -> None:
        for path in (self.run / name for name in names):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise unwritable(path, error) from error

    def _write_rows(self) -> None:
        if self.rows:
            metrics = [{name: v for name, v in row.items() if not name.startswith(OF_LABEL)} for row in self.rows]
            self._write_table(METRICS, metrics)
        if labels := _label_rows(self.rows):
            self._write_table(LABELS, labels)

    def _write_table(self, name: str, rows: Sequence[Row]) -> None:
        columns = list(dict.fromkeys(name for row in rows for name in row))
        self.table(name, columns, [[row.get(column, "") for column in columns] for row in rows])

    def _earlier(self) -> list[object]:
        """The environments in which the run was begun, and gone on with."""
        try:
            was = msgspec.json.decode((self.run / ENVIRONMENT).read_bytes(), type=dict[str, object])
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return []
        before = was.pop("earlier", [])
        return [*(before if isinstance(before, list) else []), was]

    def _is_due(self, name: str) -> bool:
        return time.monotonic() >= self._due[name]

    def _draw_curves(self) -> None:
        with self._drawing(CURVES):
            drawn = curves(
                self.rows, labels=_label_rows(self.rows), title=self.run.name, best=self.best,
                figure_of_labels=self._figure_of_labels,
            )  # fmt: skip
            write_bytes(self.run / CURVES, drawn)

    def _draw_examples(self) -> None:
        make, self._newest = self._newest, None
        if make:
            self._show(EXAMPLES, make)

    def _show(self, name: str, make: Callable[[], Image]) -> None:
        """A picture as a file, and among the events."""
        with self._drawing(name):
            picture = make()
            write_bytes(self.run / name, _encoded(name, picture))
            if self._events:
                data = _encoded(EXAMPLES, picture)  # a JPEG, whatever the file is: events are read as a whole
                step = int(self.rows[-1]["epoch"]) if self.rows else 0
                self._events.image(step, name.partition(".")[0], data, (picture.shape[1], picture.shape[0]))

    @contextmanager
    def _drawing(self, name: str) -> Iterator[None]:
        """Whatever is wrong with a picture is a note, and no reason to end a training; a full disk is."""
        start = time.monotonic()
        try:
            yield
        except OutputError:
            raise
        except Exception as error:
            self.notes.append(f"{name} could not be drawn: {error}")
        end = time.monotonic()
        self._due[name] = end + max(REST, (end - start) / SHARE)


def _label_rows(rows: Sequence[Row]) -> list[Row]:
    """Epoch and figure of every label, of the epochs that tell them."""
    found: list[Row] = []
    for row in rows:
        labels = {_column(name): value for name, value in row.items() if name.startswith(OF_LABEL)}
        if labels:
            found.append({"epoch": row["epoch"], **labels})
    return found


def _column(name: str) -> str:
    """A label's column, which is not that of the epochs even if the label is called so."""
    label = name[len(OF_LABEL) :]
    return "epoch (label)" if label == "epoch" else label


def _told(row: Row) -> dict[str, float]:
    """An epoch's figures by the names under which TensorBoard groups them."""
    told: dict[str, float] = {}
    for name, value in row.items():
        if name.startswith(("train_", "val_")):
            told[name.replace("_", "/", 1)] = float(value)
        elif name.startswith(OF_LABEL):
            told[f"labels/{name[len(OF_LABEL) :]}"] = float(value)
        elif name not in ("epoch", "best"):
            told[f"run/{name}"] = float(value)
    parts = [value for name, value in told.items() if name.startswith("train/")]
    return {"train/loss": sum(parts), **told} if len(parts) > 1 and "train/loss" not in told else told


def _encoded(name: str, picture: Image) -> bytes:
    options = () if name.endswith(".png") else (cv2.IMWRITE_JPEG_QUALITY, QUALITY)
    done, data = cv2.imencode(Path(name).suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise ValueError(f"a picture of {picture.shape[1]}x{picture.shape[0]} pixels")
    return data.tobytes()
