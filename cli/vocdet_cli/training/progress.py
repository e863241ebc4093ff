"""Show a training while it runs, and stop it on Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

import typer

from vocdet.errors import VocdetError
from vocdet.outputs import BEST, LAST
from vocdet_cli import render
from vocdet_cli.left_out import count_left_out
from vocdet_cli.safe import escape
from vocdet_cli.startup import load_torch
from vocdet_cli.training import launch
from vocdet_cli.training.options import TrainingOptions, show_recipe
from vocdet_cli.training.resume import Request, resolve_request

if TYPE_CHECKING:
    from rich.progress import Progress

    from vocdet.fetching.weights_files import Downloads
    from vocdet.runs.setup import RunOptions
    from vocdet.training.loop import Epoch, Step
    from vocdet.workflows.train_backbone import BackboneResult
    from vocdet.workflows.train_detector import DetectorResult


class PrintStart(Protocol):
    """Print the start of a training."""

    def __call__(self, event: Any, request: Request, *, show_weights: bool) -> None: ...


def follow(
    task: str, options: TrainingOptions, print_start: PrintStart, *, folder: bool = False
) -> tuple[Request, Any] | None:
    """Run the training of a task and show it: the resolved request, and the result of the training.

    None if the options only print the recipe.
    """
    request = resolve_request(task, options, folder=folder)
    if options.show_recipe:
        show_recipe(request.recipe)
        return None
    device = launch.device_here(options.device)
    load_torch()
    from vocdet.runs.setup import RunOptions
    from vocdet.training.distributed import join

    stop = threading.Event()
    with join(device) as group, training_bar(launch.is_first()) as bar:
        run_options = RunOptions(
            runs=options.runs, device=device, resume=request.run, given=request.given, group=group,
            track=options.track, stop=stop.is_set, downloads=shown_downloads(bar),
        )  # fmt: skip
        result = show_events(
            _events(request, run_options),
            stop,
            lambda event: print_start(event, request, show_weights=options.show_weights),
            bar,
        )
    return request, result


def _events(request: Request, options: RunOptions) -> Generator[Any, None, None]:
    recipe = request.recipe.recipe
    if request.task == "backbone":
        from vocdet.workflows.train_backbone import backbone_events

        return backbone_events(request.source, recipe, options, folder=request.folder)
    from vocdet.workflows.train_detector import training_events

    return training_events(request.source, recipe, options)


def shown_downloads(bar: Progress) -> Downloads:
    """Downloads that the first process shows; the others find the files that it wrote."""
    from vocdet.fetching.download import size_text
    from vocdet.fetching.weights_files import SILENT, Downloads

    def show(name: str, done: int, total: int) -> None:
        of = f" of {size_text(total)}" if total else ""
        bar.update(
            bar.task_ids[0], description=f"downloading {name}", completed=done / (total or done or 1),
            state=f"{size_text(done)}{of}",
        )  # fmt: skip

    return Downloads(render.note, show) if launch.is_first() else SILENT


def show_events(
    events: Generator[Any, None, None], stop: threading.Event, print_start: Callable[[Any], None], bar: Progress
) -> Any:
    """Show the events of a training; the last one is returned.

    `print_start` prints the first event. Ctrl-C sets `stop`. Of several processes only the first shows anything.
    """
    from vocdet.runs.training_run import Note
    from vocdet.training.loop import Epoch, Step

    first, last = launch.is_first(), None
    with closing(events), ExitStack() as running:
        for event in events:
            if isinstance(event, Step):
                _show_step(bar, event)
            elif isinstance(event, Epoch):
                if first:
                    _print_epoch(event)
            elif isinstance(event, Note):
                if first:
                    render.note(event.text)
            else:
                if last is None:
                    running.enter_context(_stopping(stop, event.run))
                    if first:
                        print_start(event)
                last = event
    return last


def print_end(result: BackboneResult | DetectorResult, then: str, resume: str) -> None:
    """Print how far a training came, where it was saved, and the next command: `resume` if it was interrupted."""
    from vocdet.wording import counted

    summary = result.summary
    if launch.is_first():
        then = resume if summary.interrupted else then
        verb = "Stopped after" if summary.interrupted else "Trained"
        count_left_out(result.left_out)
        for text in summary.remarks():
            render.note(text)
        if result.weights_warning:
            render.warning(result.weights_warning)
        best = f" (best: {summary.best_epoch})" if summary.best_epoch else ""
        render.done(f"{verb} {counted(summary.epochs, 'epoch')}{best}. Saved to {result.run}", then=then)
    if summary.interrupted:
        raise typer.Exit(130)


@contextmanager
def _stopping(stop: threading.Event, run: Path) -> Iterator[None]:
    """In the block, the first Ctrl-C sets `stop`, and the second interrupts at once and names the saved checkpoint."""

    def on_signal(_: int, __: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        if launch.is_first():
            render.note("stopping after this step; press Ctrl-C again to exit at once")

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except (KeyboardInterrupt, VocdetError):
        saved = [path for path in (run / BEST, run / LAST) if path.exists()]
        if saved and launch.is_first():
            render.note(f"the weights so far are in {saved[0]}")
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def training_bar(first: bool) -> Iterator[Progress]:
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
    validation = f"  val {metrics}" if metrics else ""
    text = f"epoch {epoch.epoch:3} {minutes:3}:{seconds:02d}  loss {losses}{escape(validation)}{best}"
    render.out.print(text, soft_wrap=True)
