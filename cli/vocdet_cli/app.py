"""The `vocdet` command: its subcommands and exit codes."""

from __future__ import annotations

import io
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from vocdet import __version__
from vocdet.errors import OutputError, VocdetError

# The module and the first paragraph of the help of every command: a start imports the module of its command alone.
COMMAND_MODULES = {
    "demo": ("demo", "Run an end-to-end demo: handwritten digits on photographs, from annotations to an evaluated "
             "detector."),
    "train": ("training.train", "Do all of it: check, split, plan, train a classifier and a detector, evaluate."),
    "init": ("project", "Create a project: recipes to edit, a label list, a Slurm script, and a README with the "
             "commands."),
    "recipes": ("project", "List the bundled recipes, or print one with all its values as TOML."),
    "fetch": ("fetch", "Download VOC 2007, VOC 2012 or COCO 2017, verify the checksums, unpack, and count the files."),
    "convert": ("convert", "Write a dataset in another format, and report everything that the format cannot hold."),
    "check": ("check", "Find broken files, wrong boxes, inconsistent labels, duplicates and leaks between splits."),
    "doctor": ("check", ""),
    "split": ("split", "Write ImageSets/Main/{trainval,train,val,test}.txt, reproducible by seed."),
    "stats": ("stats", "Count objects by label and split; show their sizes, shapes and positions, and which labels "
              "share images."),
    "remap": ("reshape", "Write a copy of a dataset whose labels are renamed, merged or dropped."),
    "merge": ("reshape", "Merge datasets: labels are matched by name, train joins train, val joins val, test joins "
              "test."),
    "sample": ("reshape", "Write a sample of a dataset, reproducible by seed."),
    "crops": ("reshape", "Crop every object into TARGET/{train,val,test}/LABEL, as train-backbone sees it."),
    "train-backbone": ("training.commands", "Train a classifier on cropped objects: the backbone that a detector "
                       "starts from."),
    "train-ssd": ("training.commands", "Train an SSD-lite detector on a backbone, with anchors fitted to the "
                  "dataset."),
    "train-maskrcnn": ("training.commands", "Train a Mask R-CNN, mobile or standard, on a dataset with masks; with "
                       "--no-masks a Faster R-CNN on boxes."),
    "eval": ("evaluate", "Average precision, precision, recall and F1 of every label, by the rules of VOC and COCO."),
    "audit": ("audit", "List likely mistakes of the annotations: missing objects, wrong labels, boxes that do not "
              "fit."),
    "learning-curve": ("learning_curve", "Train on 1/8, 1/4, 1/2 and all of the images, and estimate what twice as "
                       "many would bring to each label."),
    "thresholds": ("thresholds", "Choose the score threshold of every label on a split, and store it in the "
                   "checkpoint."),
    "predict": ("predict", "Detect objects in images, videos and streams; draw them, and list them in "
                "detections.json (COCO results)."),
    "frames": ("prelabel", "Take images to annotate out of videos, without those that hardly differ."),
    "progress": ("prelabel", "Count the images whose annotations are machine-made, corrected, or of people."),
    "live": ("predict", "Show a camera, a stream or a video with the detected objects; q or Esc stops."),
    "view": ("view", "Show a dataset in the browser: filter, zoom, note what is wrong; with --run also the detections "
             "and their errors."),
    "serve": ("serve", "Serve a detector: POST an image, get JSON or a drawing."),
    "runs": ("runs", "List runs with their metrics: newest first, or by a metric."),
    "compare": ("runs", "Compare runs: recipe, environment, data, and metrics overall and label by label."),
    "export": ("export", "Write a trained model as a file for other programs, with everything from pixels to boxes "
               "inside."),
    "bench": ("bench", "Compare trained detectors: milliseconds an image, size on disk, parameters, multiply-adds and "
              "average precision."),
}  # fmt: skip


class LazyCommand(TyperCommand):
    """A command whose module is imported when it is invoked; `vocdet --help` lists it without."""

    def __init__(self, name: str, module: str, text: str) -> None:
        super().__init__(name, help=text, hidden=not text)
        self.module = f"vocdet_cli.{module}"

    def load(self) -> Any:
        """The command itself."""
        return typer.main.get_group(import_module(self.module).app).commands[str(self.name)]

    def make_context(self, *arguments: Any, **settings: Any) -> Any:
        """The context of the command itself, which Typer then invokes, explains or completes."""
        return self.load().make_context(*arguments, **settings)


class LazyGroup(TyperGroup):
    """All commands of `vocdet`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {name: LazyCommand(name, *row) for name, row in COMMAND_MODULES.items()}


app = typer.Typer(
    name="vocdet",
    cls=LazyGroup,
    help="Train a small, fast object detector: train does all of it, or check, split, train-backbone, train-ssd, eval.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def vocdet(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """The options without a command."""


def main() -> None:
    """Run the command line. Exit codes: 0 success, 1 error, 2 wrong usage, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # some consoles cannot print ≥
    try:
        app()
    except VocdetError as error:
        _fail(error)
    except OSError as error:  # such as a full disk behind standard output
        from vocdet.wording import reason

        place = Path(error.filename) if isinstance(error.filename, str) else None
        _fail(OutputError(reason(error), place=place))


def _fail(error: VocdetError) -> None:
    from vocdet_cli.training import launch

    launch.failed(error)
    sys.exit(1)
