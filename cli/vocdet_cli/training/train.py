"""`vocdet train`: the whole way from a folder to an evaluated detector, by a plan that it explains."""

from __future__ import annotations

import dataclasses
import shlex
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vocdet.errors import ArgumentError, DeviceError, OutputError, RunError
from vocdet.recipes.plan import Target
from vocdet.recipes.schema import SsdRecipe
from vocdet.recipes.values import toml
from vocdet_cli import evaluate, render, split
from vocdet_cli.hints import as_commands
from vocdet_cli.left_out import show_left_out, skipping
from vocdet_cli.next_steps import same_dataset, same_options
from vocdet_cli.options import DEFAULT_RUNS, Device, Seed
from vocdet_cli.safe import escape
from vocdet_cli.startup import load_torch
from vocdet_cli.training import launch
from vocdet_cli.training.options import LearningOptions, training_options
from vocdet_cli.training.progress import print_end, show_events, shown_downloads, training_bar
from vocdet_cli.training.resume import Request, ResumableCommand, given_words
from vocdet_cli.training.summary import print_backbone_start, print_detector_start

if TYPE_CHECKING:
    from vocdet.formats.scan import Source
    from vocdet.recipes.plan import Plan, PlannedCommand, PlanRequest
    from vocdet.recipes.schema import Recipe
    from vocdet.runs.setup import RunOptions
    from vocdet.workflows.train import Prepared, Session

app = typer.Typer()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions(LearningOptions):
    """The options that name the dataset and the place of the runs, and settings that replace choices of the plan."""

    resume: Annotated[
        str | None,
        typer.Option(
            metavar="[RUN]",
            help="Continue an interrupted training (default: the last one) with its own plan.",
            show_default="a new one",
        ),
    ] = None
    device: Device = "auto"


OPTIONS = "net weights size split batch epochs lr backbone_lr freeze mosaic flip rotate cache workers"
PLANNED = "net size split epochs backbone_lr flip rotate"  # of these, what the plan chooses
OF_RESUME = ("resume", "runs", "device", "dry_run")  # parameters that a training to continue takes


@app.command("train", cls=ResumableCommand)
@training_options(SsdRecipe, OPTIONS, shared=PlanOptions, shown=dict.fromkeys(PLANNED.split(), "as planned"))
def train(
    options: PlanOptions,
    context: typer.Context,
    *,
    minutes: Annotated[float, typer.Option(min=0.1, max=1e6, help="Minutes of training, for all steps together.")] = 30,
    target: Annotated[Target, typer.Option("--for", help="Device that the detector will run on.")] = "phone",
    classifier: Annotated[
        float | None,
        typer.Option(min=0, help="Minutes of these for a classifier first; 0: none.", show_default="as planned"),
    ] = None,
    masks: Annotated[
        bool | None,
        typer.Option("--masks/--no-masks", help="Train a Mask R-CNN, or an SSD-lite.", show_default="as planned"),
    ] = None,
    seed: Seed = 0,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the plan and its commands, or what --resume has left, and train nothing."),
    ] = False,
) -> None:
    """Do all of it: check, split, plan, train a classifier and a detector, evaluate.

    The plan follows from the dataset, the speed of this machine, the minutes and the target. Every choice is shown with
    its reason and its option, and any option replaces it. Ctrl-C stops after the current step; --resume continues
    from there.
    """
    if len(launch.devices(options.device)) > 1:
        hint = "show the commands with --dry-run, and run them one by one on several devices"
        raise DeviceError("this command trains on one device", hint=hint)
    if options.resume is not None:
        _resume(options, options.resume, given_words(context), dry_run=dry_run)
        return
    from vocdet.recipes.load import load_recipe

    task: Literal["ssd", "maskrcnn"] = "maskrcnn" if masks else "ssd"
    own_seed = {"seed": seed} if "seed" in given_words(context) else {}  # replaces one of --set
    values = load_recipe(task, settings=options.settings or (), values={**options.values, **own_seed}).values()
    load_torch()
    from vocdet.recipes.plan import PlanRequest

    request = PlanRequest(target=target, minutes=minutes, classifier=classifier, masks=masks, seed=seed, values=values)
    if session := _planned(options, request, dry_run=dry_run):
        _carry_out(session, options)


def _resume(options: PlanOptions, name: str, given: Mapping[str, str], *, dry_run: bool) -> None:
    """Continue a session, or show what is left of it."""
    if others := [word for parameter, word in given.items() if parameter not in OF_RESUME]:
        hint = "a training continues with its own plan and dataset"
        raise ArgumentError(f"--resume excludes a dataset and settings: {', '.join(others)}", hint=hint)
    load_torch()
    from vocdet.workflows.train import Session

    session = Session.resume(options.runs, name)
    if dry_run:
        _show_remaining(session)
    else:
        _carry_out(session, options)


def _show_remaining(session: Session) -> None:
    """Print the commands that are left; a training that has begun continues in its run."""
    source, runs = _source(session), session.path.parent
    if not session.remaining:
        render.done("nothing is left: every command of the plan is done")
        return
    render.out.print("what is left, in single commands:")
    for planned in session.remaining:
        run = session.unfinished(planned)
        line = render.command(planned.name, "--resume", str(run)) if run else ""
        line = line or _line(session.resolved(planned), source, runs)
        render.out.print(f"  [bold]{escape(line)}[/]", soft_wrap=True)
    render.done("trained nothing", then=render.command("train", "--resume", str(session.path)))


def _planned(options: PlanOptions, request: PlanRequest, *, dry_run: bool) -> Session | None:
    """Check and plan, show both, and start a session, but not for a dry run."""
    from vocdet.fetching.weights_files import Downloads
    from vocdet.runs.setup import RunOptions
    from vocdet.workflows.train import Session, prepare, unfinished_session

    source = options.source(options.data or Path())
    run_options = RunOptions(runs=options.runs, device=options.device, downloads=Downloads(render.note))
    with render.progress("checking, and measuring the speed of this machine") as progress:
        prepared = prepare(source, request, run_options, progress=progress)
    _show_check(prepared, source)
    _show_plan(prepared.plan, source, options.runs)
    if dry_run:
        render.done("planned, and trained nothing", then="the same command without --dry-run")
        return None
    if earlier := unfinished_session(options.runs, source):
        again = render.command("train", "--resume", str(earlier))
        render.note(f"an earlier training of this dataset is unfinished: {again} continues it")
    return Session.start(prepared.plan, source, options.runs)


def _show_check(prepared: Prepared, source: Source) -> None:
    from vocdet.wording import counted

    dataset = prepared.loaded.dataset
    sizes = (len(dataset), "image"), (len(dataset.objects), "object"), (len(dataset.labels), "label")
    render.out.print(f"{escape(str(source.path))}: {', '.join(counted(*size) for size in sizes)}", soft_wrap=True)
    see = render.command("check", *same_dataset(source))
    show_left_out(prepared.loaded.left_out, see)
    render.findings(prepared.report.findings if prepared.report else (), see)


def _show_plan(plan: Plan, source: Source, runs: Path) -> None:
    """Print every choice with its reason and the option that makes it by hand, and the commands."""
    from vocdet.wording import counted

    minutes, target = counted(plan.request.minutes, "minute"), plan.request.target
    render.out.print(f"\nplan for {minutes}, and a detector for a {target}:", soft_wrap=True)
    table = render.table("", "choice", "value", "why", "by hand")
    for column in table.columns:
        column.justify = "left"
    for choice in plan.choices:
        planned = any(command.name == choice.command for command in plan.commands)
        by_hand = shlex.join([choice.command, *_words(choice.settings)]) if planned else ""
        table.add_row(choice.name, escape(choice.value), escape(as_commands(choice.reason)), escape(by_hand))
    render.show(table)
    render.out.print("\nthe same in single commands:")
    for command in plan.commands:
        render.out.print(f"  [bold]{escape(_line(command, source, runs))}[/]", soft_wrap=True)


def _carry_out(session: Session, options: PlanOptions) -> None:
    """Run the remaining commands; if they are interrupted, or a disk is full, say how to continue."""
    try:
        _run_commands(session, options)
    except (KeyboardInterrupt, OutputError):
        render.note(f"continue with {render.command('train', '--resume', str(session.path))}")
        raise
    _show_end(session)


def _run_commands(session: Session, options: PlanOptions) -> None:
    """Run the remaining commands, each under the line that would run it alone."""
    from vocdet.runs.setup import RunOptions
    from vocdet.workflows.train import reliability

    source, runs, stop = _source(session), session.path.parent, threading.Event()
    result: Any
    run_options = RunOptions(runs=runs, device=options.device, stop=stop.is_set)
    for planned in session.remaining:
        command = session.resolved(planned)
        line = _line(command, source, runs)
        render.out.print(f"\n[bold cyan]$ {escape(line)}[/]", soft_wrap=True)
        if command.name.startswith("train-"):
            _train(session, command, run_options, stop)
            continue
        with render.progress("evaluating" if command.name == "eval" else "comparing images") as progress:
            results = list(session.events(command, run_options, progress=progress))
        result = results[0] if results else None
        if result is None:
            render.note("the dataset has its splits")
        elif command.name == "split":
            split.show(result, same_dataset(source))
            render.done(f"Saved {len(result.files)} files to {result.files[0].parent}")
        else:
            evaluate.show(result, result.metrics.parent, source)
            evaluate.show_page(result)
            render.done(f"Saved {result.metrics} and {result.detections}")
            render.note(reliability(result.report, result.split))


def _source(session: Session) -> Source:
    """The dataset of a session that began here: it was given as a path."""
    from vocdet.formats.scan import Source

    assert isinstance(session.source, Source)
    return session.source


def _show_end(session: Session) -> None:
    run, source = session.detector, _source(session)
    if run is None:
        raise RunError("its run is no longer there", place=session.path, hint="start a new training")
    for choice in session.plan.choices:
        if choice.command == "eval":  # a choice against it
            render.note(f"nothing was evaluated: {choice.reason}")
    render.done(
        f"The detector is in {run}; recipe.toml there has its settings and why they were chosen",
        then=render.command("predict", str(run), str(source.path)),
    )


def _train(session: Session, command: PlannedCommand, options: RunOptions, stop: threading.Event) -> None:
    """Show a training as its own command does; if it is interrupted, say how to continue the whole."""
    from vocdet.recipes.load import Resolved

    recipe, task = session.recipe(command), command.name.removeprefix("train-")
    resolved: Resolved[Any] = Resolved(recipe, command.recipe, {})
    request = Request(task, resolved, _source(session), False, session.unfinished(command), planned=True)
    show_start = print_backbone_start if task == "backbone" else print_detector_start
    with training_bar(True) as bar:
        events = session.events(command, dataclasses.replace(options, downloads=shown_downloads(bar)))
        result = show_events(events, stop, lambda event: show_start(event, request, show_weights=False), bar)
    if result is not None:
        print_end(result, "", render.command("train", "--resume", str(session.path)))


def _line(command: PlannedCommand, source: Source, runs: Path) -> str:
    """The command as the user would type it."""
    from vocdet.recipes.load import load_recipe

    where = render.given(runs, "--runs", DEFAULT_RUNS)
    if command.name == "split":
        return render.command("split", *same_dataset(source), *skipping(source.skip_bad), *_words(command.settings))
    if command.name == "eval":
        data = [*render.given(source.path, "--data"), *same_options(source), *skipping(source.skip_bad)]
        return render.command("eval", *data, *_words(command.settings), "--interval", *where)
    task: Any = command.name.removeprefix("train-")
    recipe = load_recipe(task, command.recipe).recipe
    known = {name: value for section in dataclasses.asdict(recipe).values() for name, value in section.items()}
    changed = {name: value for name, value in command.settings.items() if value != known[name]}
    options = {name: value for name, value in changed.items() if name in (*OPTIONS.split(), "minutes", "seed")}
    others = [text for text in _set_texts(recipe, changed) if text.partition(".")[2].partition("=")[0] not in options]
    data = [*same_dataset(source), *skipping(source.skip_bad)]
    rest = [word for text in others for word in ("--set", text)]
    return render.command(command.name, *data, "--recipe", command.recipe, *_words(options), *rest, *where)


def _set_texts(recipe: Recipe, changed: Mapping[str, object]) -> list[str]:
    """Settings as KEY=VALUE for --set."""
    texts = []
    for section in dataclasses.fields(recipe):
        names = [field.name for field in dataclasses.fields(getattr(recipe, section.name))]
        texts += [f"{section.name}.{name}={toml(changed[name])}" for name in names if name in changed]
    return texts


def _words(settings: Mapping[str, object]) -> list[str]:
    """Settings as options: `--size 320 --no-flip`; a seed of 0 is the default."""
    words = []
    for name, value in settings.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        elif (name, value) != ("seed", 0):
            words += [f"--{option}", f"{value:.10g}" if isinstance(value, float) else str(value)]
    return words
