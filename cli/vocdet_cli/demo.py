"""`vocdet demo`: an end-to-end demo on generated data."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from vocdet_cli import render
from vocdet_cli.option_groups import grouped
from vocdet_cli.options import Seed
from vocdet_cli.safe import escape

app = typer.Typer()

BACKBONE_SHARE = 0.35  # of the minutes, for the classifier; the detector needs longer


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitOptions:
    """The generated dataset."""

    images: Annotated[
        int, typer.Option(min=10, max=100_000, help="Images to train on; a fifth as many to test on.")
    ] = 640
    labels: Annotated[int, typer.Option(min=2, max=10, help="Number of digits to distinguish, from 0.")] = 10
    seed: Seed = 0


@app.command()
@grouped
def demo(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="New folder for the dataset and the runs.")] = Path("vocdet-demo"),
    *,
    digits: DigitOptions,
    minutes: Annotated[float, typer.Option(min=0.1, help="Total minutes of training.")] = 4.5,
    net: Annotated[str, typer.Option(help="Network, as for train-ssd.")] = "mb3-small",
    size: Annotated[int, typer.Option(help="Side of the detector's input, in pixels.")] = 192,
) -> None:
    """Run an end-to-end demo: handwritten digits on photographs, from annotations to an evaluated detector.

    The data is generated from files of scikit-learn; nothing is downloaded. Every command is printed before it runs.
    """
    from vocdet.fetching.download import offline
    from vocdet.workflows.demo_dataset import compose

    started = time.monotonic()
    with render.progress("generating") as progress:
        count, seed = digits.images, digits.seed
        datasets = compose(
            folder, images=count, test_images=max(1, count // 5), labels=digits.labels, seed=seed, progress=progress
        )
    render.out.print(
        f"generated {datasets.images[0]} images with {datasets.objects[0]} handwritten digits to train on in "
        f"{escape(str(datasets.train))}, and {datasets.images[1]} with other scans and backgrounds to test on in "
        f"{escape(str(datasets.test))}",
        soft_wrap=True,
    )
    runs, picture = folder / "runs", folder / "detections.jpg"
    first, second = f"{minutes * BACKBONE_SHARE:.2f}", f"{minutes * (1 - BACKBONE_SHARE):.2f}"
    with_net = ["--net", net, "--no-flip", "--seed", str(seed), "--runs", str(runs)]
    for command in (
        ["check", str(datasets.train)],
        ["split", str(datasets.train), "--trainval", "1", "--train", "0.9", "--seed", str(seed)],
        ["train-backbone", str(datasets.train), "--minutes", first, "--size", "96", *with_net],
        ["train-ssd", str(datasets.train), "--minutes", second, "--size", str(size), "--mosaic", "0.25", *with_net],
        ["eval", "--data", str(datasets.test), "--split", "test", "--runs", str(runs), "--picture", str(picture)],
    ):
        with offline():
            _run(context, command)
    elapsed = time.monotonic() - started
    render.done(
        f"the demo took {elapsed / 60:.1f} minutes; its detections are in {picture}",
        then="run the same commands on your dataset",
    )


def _run(context: typer.Context, command: list[str]) -> None:
    """Print a command and run it in this process, so that torch is loaded once."""
    render.out.print(f"\n[bold cyan]$ vocdet {escape(shlex.join(command))}[/]", soft_wrap=True)
    root: Any = context.find_root().command
    code = root.main(command, prog_name="vocdet", standalone_mode=False)
    if code:  # an error or an interruption
        raise typer.Exit(code)
