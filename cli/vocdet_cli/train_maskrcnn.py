"""`vocdet train-maskrcnn`."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import typer

from vocdet.recipes.schema import MaskRcnnRecipe
from vocdet_cli.following import print_end, trained
from vocdet_cli.recipe_options import Told, training_options
from vocdet_cli.resuming import ResumingCommand
from vocdet_cli.starting import after_detector, print_detector_start

app = typer.Typer()


@app.command("train-maskrcnn", cls=ResumingCommand)
@training_options(
    MaskRcnnRecipe,
    "net weights size longest part heads masks anchors batch epochs minutes patience best lr optimizer backbone_lr "
    "freeze freeze_norm precision accumulate seed cache workers sampling copy_paste mosaic flip turns reduced_tail",
)
def train_maskrcnn(told: Told) -> None:
    """Train a Mask R-CNN, mobile or standard, on a dataset with masks; --no-masks makes it a Faster R-CNN on boxes.

    Learns from the part train and keeps the best epoch on val. Ctrl-C stops after the step; --resume goes on there.
    """

    def train(*given: Any, **more: Any) -> Generator[Any, None, None]:
        from vocdet.workflows.train_maskrcnn import train_maskrcnn

        return train_maskrcnn(*given, **more)

    done = trained(
        "maskrcnn", told, train, lambda event, asked: print_detector_start(event, asked, show_weights=told.show_weights)
    )
    if done:
        asked, finished = done
        print_end(finished.run, finished.reached, after_detector("train-maskrcnn", finished, asked, told))
