"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

_DATASET = typer.Argument(
    help="Dataset: a folder (VOC, labelImg, COCO, YOLO, labelme, CVAT, VIA, CSV) or a COCO file.",
    show_default="this folder",
)

Data = Annotated[Path, _DATASET]
SomeData = Annotated[Path | None, _DATASET]  # None if it is not given
Seed = Annotated[int, typer.Option(min=0, help="Seed of the random numbers.")]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        help="Label list, one per line, in the order of their numbers. Default: a list in the folder, such as "
        "classes.txt or labels.txt, if it has all labels; else all labels, sorted.",
    ),
]
Coordinates = Annotated[
    Literal["auto", "zero", "one"],
    typer.Option(help="Coordinates of the XMLs: zero (labelImg), one (VOC devkit, 1-based), auto (detect)."),
]
Crowds = Annotated[
    Literal["ignore", "objects"], typer.Option(help="Crowds (iscrowd 1): regions to ignore, or objects like any other.")
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out what has an error, and list it, instead of refusing the dataset.")
]
Format = Annotated[
    Literal["auto", "voc", "coco", "yolo", "yolo-seg", "labelme", "csv", "via", "cvat"],
    typer.Option("--from", help="Format of the dataset; auto detects it by the content of the files."),
]
Formats = Annotated[
    list[str] | None,
    typer.Option("--from", help="Format of all datasets, or of each in their order. Repeatable.", show_default="auto"),
]
ImageFiles = Annotated[
    Literal["copy", "link", "none"],
    typer.Option("--images", help="Copy the images, hard-link them (same disk, no space), or do not move them."),
]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse if the format cannot hold everything.")]
Runs = Annotated[Path, typer.Option(help="Folder of the runs.")]
Tile = Annotated[
    int | None,
    typer.Option(
        "--tile",
        min=0,
        help="Detect on tiles of N pixels, for small objects in large images; 0: on whole images.",
        show_default="as trained",
    ),
]
Overlap = Annotated[float, typer.Option(min=0, max=0.8, help="Overlap of two tiles, as a share.")]
Whole = Annotated[bool, typer.Option("--whole/--no-whole", help="With --tile, also detect once on the whole image.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")]
Backend = Annotated[
    Literal["auto", "torch", "onnx", "openvino"],
    typer.Option(help="Library that runs the detector; auto: the fastest that has an export in the run, else torch."),
]
