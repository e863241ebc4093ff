"""What a training shows while it runs, and how it is stopped."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape

from vocdet.errors import VocdetError
from vocdet_cli import render
from vocdet_cli.startup import load_torch
from vocdet_cli.training import launch
from vocdet_cli.training.options import Told, show_recipe
from vocdet_cli.training.resume import Asked, asked_for

if TYPE_CHECKING:
    from rich.progress import Progress

    from vocdet.runs.training_run import Reached
    from vocdet.training.loop import Epoch, Step


Make = Callable[..., Generator[Any, None, None]]


def trained(
    task: str, told: Told, train: Make, show_start: Callable[[Any, Asked], None], *, folder: bool = False
) -> tuple[Asked, Any] | None:
    """Train as the command line asks, and show it: what was asked for, and the last event of the training.

    `train(root, recipe, runs=…, …)` gives the training's events; `show_start` prints the first one. None where the
    recipe was only to be shown.
    """
    asked = asked_for(task, told, folder=folder)
    if told.show_recipe:
        show_recipe(asked.recipe)
        return None
    here = launch.device_here(told.device)
    load_torch()
    from vocdet.training.distributed import join

    with join(here) as group:
        finished = follow(
            lambda stop: train(
                asked.source, asked.recipe.recipe, runs=told.runs, device=here, resume=asked.run, group=group,
                track=told.track, stop=stop,
            ),
            lambda event: show_start(event, asked),
        )  # fmt: skip
    return asked, finished


def follow(make: Callable[[Callable[[], bool]], Generator[Any, None, None]], show_start: Callable[[Any], None]) -> Any:
    """Go through the events of a training and show them; the last event is returned.

    `make(stop)` starts it; `show_start` prints its first event. Ctrl-C ends it after the step. Of several processes
    only the first shows anything.
    """
    from vocdet.runs.training_run import Note
    from vocdet.training.loop import Epoch, Step

    first, stop = launch.is_first(), threading.Event()
    events = make(stop.is_set)
    last: Any = None
    with _bar(first) as bar, closing(events), ExitStack() as started:
        for event in events:
            if isinstance(event, Step):
                _show_step(bar, event)
            elif isinstance(event, Epoch):
                if first:
                    _print_epoch(event)
            elif isinstance(event, Note):
                if first:
                    render.note(event.text)
            elif last is None:
                last = event
                started.enter_context(_stopping(stop, event.run))
                if first:
                    show_start(event)
            else:
                last = event
    return last


def print_end(run: Path, reached: Reached, then: str) -> None:
    """How far it came, what it wrote, and what to do next: to resume, where it was interrupted."""
    from vocdet.wording import counted

    if launch.is_first():
        best = f", the best is of epoch {reached.best_epoch}" if reached.best_epoch else ""
        stopped = "stopped: " if reached.interrupted else ""
        render.done(f"{stopped}{counted(reached.epochs, 'epoch')}{best}; wrote {run}", then=then)
    if reached.interrupted:
        raise typer.Exit(130)


@contextmanager
def _stopping(stop: threading.Event, run: Path) -> Iterator[None]:
    """Inside, the first Ctrl-C sets `stop`, the second interrupts at once; it is told what is kept of the run."""

    def on_signal(_: int, __: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        if launch.is_first():
            render.note("stopping after this step; Ctrl-C again to leave at once")

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except (KeyboardInterrupt, VocdetError):
        kept = [path for path in (run / "best.safetensors", run / "last.safetensors") if path.exists()]
        if kept and launch.is_first():
            render.note(f"what was reached until then is in {kept[0]}")
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _bar(first: bool) -> Iterator[Progress]:
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"))
    hidden = not (first and render.screen().is_terminal)
    with Progress(*columns, console=render.screen(), transient=True, disable=hidden) as bar:
        bar.add_task("preparing", total=1.0, state="")
        yield bar


def _show_step(bar: Progress, step: Step) -> None:
    losses = " ".join(f"{name} {value:.3f}" for name, value in step.losses.items())
    minutes, seconds = divmod(round(step.seconds_left), 60)
    state = f"loss {losses} · {step.images_per_second:.1f} images/s · {minutes}:{seconds:02d} left"
    bar.update(bar.task_ids[0], description=f"epoch {step.epoch}", completed=step.progress, state=state)


def _print_epoch(epoch: Epoch) -> None:
    losses = " ".join(f"{name} {value:.3f}" for name, value in epoch.losses.items())
    metrics = " ".join(f"{name} {value:.3f}" for name, value in epoch.metrics.items())
    best = " [green]best[/]" if epoch.best and epoch.metrics else ""
    minutes, seconds = divmod(round(epoch.seconds), 60)
    found = f"  val {metrics}" if metrics else ""
    text = f"epoch {epoch.epoch:3} {minutes:3}:{seconds:02d}  loss {losses}{escape(found)}{best}"
    render.out.print(text, soft_wrap=True)
