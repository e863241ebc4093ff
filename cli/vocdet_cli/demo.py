"""`vocdet demo`: the whole way on data made on the spot."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from vocdet_cli import render
from vocdet_cli.options import Seed

app = typer.Typer()

BACKBONE_SHARE = 0.35  # of the minutes, for the classifier: it soon knows the labels, boxes take longer


@app.command()
def demo(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="New folder for the dataset and the runs.")] = Path("vocdet-demo"),
    images: Annotated[
        int, typer.Option(min=10, max=100_000, help="Images to train with; a fifth as many to test.")
    ] = 640,
    labels: Annotated[int, typer.Option(min=2, max=10, help="Digits to tell apart, from 0.")] = 10,
    minutes: Annotated[float, typer.Option(min=0.1, help="Minutes of training in all.")] = 4.5,
    net: Annotated[str, typer.Option(help="Network, as train-ssd takes it.")] = "mb3-small",
    size: Annotated[int, typer.Option(help="Side of the detector's input, pixels.")] = 192,
    seed: Seed = 0,
) -> None:
    """See the whole way once: handwritten digits on photographs, from annotations to an evaluated detector.

    The data comes out of scikit-learn's own files, nothing is downloaded. Every command is printed before it runs.
    """
    from vocdet.workflows.demo_dataset import compose

    started = time.monotonic()
    with render.progress("composing") as progress:
        made = compose(
            folder, images=images, test_images=max(1, images // 5), labels=labels, seed=seed, progress=progress
        )
    render.out.print(
        f"composed {made.images[0]} images with {made.objects[0]} handwritten digits to train with in "
        f"{escape(str(made.train))}, and {made.images[1]} with other scans on other backgrounds to test with in "
        f"{escape(str(made.test))}",
        soft_wrap=True,
    )
    runs, picture = folder / "runs", folder / "detections.jpg"
    first, second = f"{minutes * BACKBONE_SHARE:.2f}", f"{minutes * (1 - BACKBONE_SHARE):.2f}"
    with_net = ["--net", net, "--no-flip", "--seed", str(seed), "--runs", str(runs)]
    for command in (
        ["check", str(made.train)],
        ["split", str(made.train), "--trainval", "1", "--train", "0.9", "--seed", str(seed)],
        ["train-backbone", str(made.train), "--minutes", first, "--size", "96", *with_net],
        ["train-ssd", str(made.train), "--minutes", second, "--size", str(size), "--mosaic", "0.25", *with_net],
        ["eval", "--data", str(made.test), "--split", "test", "--runs", str(runs), "--picture", str(picture)],
    ):
        _run(context, command)
    elapsed = time.monotonic() - started
    render.done(f"the whole way took {elapsed / 60:.1f} minutes; look at {picture}", then="the same on your own folder")


def _run(context: typer.Context, command: list[str]) -> None:
    """Print a command of vocdet and run it, in this process: torch is loaded once."""
    render.out.print(f"\n[bold cyan]$ vocdet {escape(shlex.join(command))}[/]", soft_wrap=True)
    root: Any = context.find_root().command
    code = root.main(command, prog_name="vocdet", standalone_mode=False)
    if code:  # an error, or interrupted: what follows would work on half of it
        raise typer.Exit(code)
