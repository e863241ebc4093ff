"""The journal of a run: tables, pictures and events for people, spreadsheets, TensorBoard and the list of runs."""

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
from vocdet.outputs import BEST
from vocdet.plots.training import curves
from vocdet.runs.environment import environment
from vocdet.runs.pictures import batch_sheet
from vocdet.runs.tensorboard import EventFile
from vocdet.runs.tracking import Ending, SafeTracker, Service, open_tracker

RECIPE, ENVIRONMENT, STATUS = "recipe.toml", "environment.json", "run.json"
METRICS, LABELS, CURVES = "metrics.csv", "labels.csv", "curves.png"
BATCHES, EXAMPLES = "batches.png", "examples.jpg"
UPLOADED = (RECIPE, ENVIRONMENT, METRICS, LABELS, CURVES, BATCHES, EXAMPLES, BEST)  # when a run ends
LABEL_PREFIX = "label/"  # prefix of a label's metric in a row
PICTURE_INTERVAL = 30.0  # minimum seconds between two pictures of the same kind
PICTURE_SHARE = 0.01  # maximum fraction of the time spent on them

Row = dict[str, float | int]


class Journal:
    """The journal of one run, written by a single process.

    Tables and JSON files can be written at any time, everything else between `start` and `close`. `rows` are the epochs
    so far, as plain numbers that are saved with the state of the training: a journal created with them continues after
    them, and deletes later epochs from its files. `notes` collects problems that do not stop a training.
    """

    def __init__(self, run: Path, rows: Sequence[Row] = (), *, track: Service | None = None) -> None:
        """A tracking service that is not installed is a `DependencyError`."""
        self.run = run
        self.rows = list(rows)
        self.notes: list[str] = []
        self._tracker = SafeTracker(open_tracker(track, run), track, self.notes.append) if track else None
        self._events: EventFile | None = None
        self._status: dict[str, object] = {}
        self._label_metric = "AP50"
        self._due: dict[str, float] = {}  # time of the next picture
        self._newest: Callable[[], Image] | None = None  # the newest examples, not drawn yet

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Close the journal as finished, as failed after an error, or as interrupted."""
        if kind is None:
            self.close("finished")
        elif issubclass(kind, Exception):
            with suppress(VocdetError):  # the first error counts
                self.close("failed", why=str(error))
        else:  # KeyboardInterrupt, or a closed generator
            with suppress(VocdetError):
                self.close("interrupted")

    def start(
        self,
        recipe_text: str,
        recipe: Mapping[str, object],
        *,
        task: str,
        dataset: Mapping[str, object],
        label_metric: str = "AP50",
        schedules: Sequence[Mapping[str, object]] = (),
    ) -> None:
        """Write the recipe, the environment and the status, and start the events and the tracking.

        `recipe` is `recipe_text` in sections. `dataset` has the `fingerprint`, `root` and `labels`, and the numbers of
        `images` and `validation_images`. `label_metric` names the metric of single labels. `schedules` are the
        finished ones of a run that continues with another.
        """
        current, resumed = environment(), (self.run / STATUS).exists()
        self._label_metric = label_metric
        write_text(self.run / RECIPE, recipe_text)
        self.json(ENVIRONMENT, current | ({"earlier": earlier} if (earlier := self._earlier()) else {}))
        self._status = {
            "state": "running", "task": task, "dataset": dict(dataset), "label_metric": label_metric,
            "started": current["date"], "host": socket.gethostname(), "pid": os.getpid(),
            "started_at": started_at(os.getpid()), **({"schedules": list(schedules)} if schedules else {}),
        }  # fmt: skip
        self.json(STATUS, self._status)
        if resumed:
            self._delete(METRICS, LABELS)
            self._write_rows()
        last = int(self.rows[-1]["epoch"]) if self.rows else 0
        self._events = EventFile(self.run, hide_from=last + 1 if resumed else None)
        self._due = dict.fromkeys((CURVES, EXAMPLES), time.monotonic() + PICTURE_INTERVAL)
        if self._tracker:
            self._tracker.start(recipe, current)

    def batches(self, first: Sequence[Batch], labels: Sequence[str]) -> None:
        """Draw the first training batches."""
        self._draw(BATCHES, lambda: batch_sheet(first, labels))

    def epoch(
        self,
        row: Mapping[str, float | int],
        per_label: Mapping[str, float | None] | None = None,
        *,
        best: bool = False,
        pictures: Callable[[], Image] | None = None,
    ) -> None:
        """Add an epoch: `epoch`, `seconds`, `lr`, `train_*` losses, `val_*` metrics, and a metric of every label.

        `pictures()` draws the examples; it is called now, later or never. Numbers that are not finite are left
        out, as spreadsheets cannot read them.
        """
        values = {**row, "best": int(best), **{f"{LABEL_PREFIX}{name}": v for name, v in (per_label or {}).items()}}
        self.rows.append({name: v for name, v in values.items() if v is not None and math.isfinite(v)})
        self._newest = pictures or self._newest
        self._write_rows()
        if self._events:
            step, scalars = int(row["epoch"]), _tagged(self.rows[-1])
            self._events.scalars(step, scalars)
            if self._tracker:
                self._tracker.log(step, scalars)
            if self._is_due(CURVES):
                self._draw_curves()
            if self._newest and self._is_due(EXAMPLES):
                self._draw_examples()

    def end(self, summary: Mapping[str, object], *, best: int) -> None:
        """Add the summary of a training to its status, and mark the epoch whose weights are kept; 0: none."""
        self._status["summary"] = dict(summary)
        marked = [row | {"best": int(row["epoch"] == best)} if row["epoch"] >= best > 0 else row for row in self.rows]
        if marked != self.rows:
            self.rows = marked
            self._write_rows()

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
        """Draw the last pictures, record how the run ended, and close events and tracking. Idempotent."""
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
        end = {"ended": datetime.now().astimezone().isoformat(timespec="seconds")} | ({"why": why} if why else {})
        self.json(STATUS, self._status | {"state": ending} | end)
        if self._tracker:
            self._tracker.finish([self.run / name for name in UPLOADED], ending)

    def _delete(self, *names: str) -> None:
        for path in (self.run / name for name in names):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise unwritable(path, error) from error

    def _write_rows(self) -> None:
        if self.rows:
            metrics = [{name: v for name, v in row.items() if not name.startswith(LABEL_PREFIX)} for row in self.rows]
            self._write_table(METRICS, metrics)
        if labels := _label_rows(self.rows):
            self._write_table(LABELS, labels)

    def _write_table(self, name: str, rows: Sequence[Row]) -> None:
        columns = list(dict.fromkeys(name for row in rows for name in row))
        self.table(name, columns, [[row.get(column, "") for column in columns] for row in rows])

    def _earlier(self) -> list[object]:
        """The environments in which the run started and was resumed before."""
        try:
            last = msgspec.json.decode((self.run / ENVIRONMENT).read_bytes(), type=dict[str, object])
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return []
        before = last.pop("earlier", [])
        return [*(before if isinstance(before, list) else []), last]

    def _is_due(self, name: str) -> bool:
        return time.monotonic() >= self._due[name]

    def _draw_curves(self) -> None:
        with self._drawing(CURVES):
            drawn = curves(
                self.rows, labels=_label_rows(self.rows), title=self.run.name, best=self.best,
                label_metric=self._label_metric,
            )  # fmt: skip
            write_bytes(self.run / CURVES, drawn)

    def _draw_examples(self) -> None:
        make, self._newest = self._newest, None
        if make:
            self._draw(EXAMPLES, make)

    def _draw(self, name: str, make: Callable[[], Image]) -> None:
        """Write a picture to a file and to the events."""
        with self._drawing(name):
            picture = make()
            write_bytes(self.run / name, _encoded_picture(name, picture))
            if self._events:
                data = _encoded_picture(EXAMPLES, picture)  # always a JPEG: TensorBoard reads whole event files
                step = int(self.rows[-1]["epoch"]) if self.rows else 0
                self._events.image(step, name.partition(".")[0], data, (picture.shape[1], picture.shape[0]))

    @contextmanager
    def _drawing(self, name: str) -> Iterator[None]:
        """A failed picture is a note and does not end the training, unless the disk is full."""
        start = time.monotonic()
        try:
            yield
        except OutputError:
            raise
        except Exception as error:
            self.notes.append(f"{name} could not be drawn: {error}")
        end = time.monotonic()
        self._due[name] = end + max(PICTURE_INTERVAL, (end - start) / PICTURE_SHARE)


def _label_rows(rows: Sequence[Row]) -> list[Row]:
    """The epochs with a metric of every label."""
    label_rows: list[Row] = []
    for row in rows:
        labels = {_label_column(name): value for name, value in row.items() if name.startswith(LABEL_PREFIX)}
        if labels:
            label_rows.append({"epoch": row["epoch"], **labels})
    return label_rows


def _label_column(name: str) -> str:
    """A label's column; a label called epoch does not replace the column of the epochs."""
    label = name[len(LABEL_PREFIX) :]
    return "epoch (label)" if label == "epoch" else label


def _tagged(row: Row) -> dict[str, float]:
    """The values of an epoch by tag, grouped as TensorBoard shows them."""
    tagged: dict[str, float] = {}
    for name, value in row.items():
        if name.startswith(("train_", "val_")):
            tagged[name.replace("_", "/", 1)] = float(value)
        elif name.startswith(LABEL_PREFIX):
            tagged[f"labels/{name[len(LABEL_PREFIX) :]}"] = float(value)
        elif name not in ("epoch", "best"):
            tagged[f"run/{name}"] = float(value)
    losses = [value for name, value in tagged.items() if name.startswith("train/")]
    return {"train/loss": sum(losses), **tagged} if len(losses) > 1 and "train/loss" not in tagged else tagged


def _encoded_picture(name: str, picture: Image) -> bytes:
    options = () if name.endswith(".png") else (cv2.IMWRITE_JPEG_QUALITY, QUALITY)
    encoded, data = cv2.imencode(Path(name).suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    if not encoded:
        raise ValueError(f"cannot encode a picture of {picture.shape[1]}x{picture.shape[0]} pixels")
    return data.tobytes()
