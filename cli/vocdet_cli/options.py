"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Data = Annotated[
    Path,
    typer.Argument(
        help="Dataset: a VOC, labelImg, COCO, YOLO or labelme folder, or a COCO file.", show_default="this folder"
    ),
]
SomeData = Annotated[  # None where it was not given
    Path | None,
    typer.Argument(
        metavar="DATA",
        help="Dataset: a VOC, labelImg, COCO, YOLO or labelme folder, or a COCO file.",
        show_default="this folder",
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]
Labels = Annotated[
    Path | None,
    typer.Option("--labels", help="Label list, one a line, in the order to number them; else all that occur, sorted."),
]
Coordinates = Annotated[
    Literal["auto", "zero", "one"],
    typer.Option(help="What the numbers in the XMLs are: zero (labelImg), one (VOC devkit: 1-based), auto (look)."),
]
Format = Annotated[
    Literal["auto", "voc", "coco", "yolo", "labelme"],
    typer.Option("--from", help="Format of the source; auto looks, and says what it saw."),
]
ImageFiles = Annotated[
    Literal["copy", "link", "none"],
    typer.Option("--images", help="Copy the images, hard-link them (no room taken), or leave them where they are."),
]
Runs = Annotated[Path, typer.Option(help="Folder of the runs.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")]
