"""Arguments and options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from vocdet.formats.scan import Source
    from vocdet.inference.tiled import TileChoice
    from vocdet.workflows.convert import WriteOptions

_DATASET = typer.Argument(
    help="Dataset: a folder (VOC, labelImg, COCO, YOLO, labelme, CVAT, VIA, CSV) or a COCO file.",
    show_default="this folder",
)

Data = Annotated[Path, _DATASET]
SomeData = Annotated[Path | None, _DATASET]  # None if it is not given
Seed = Annotated[int, typer.Option(min=0, help="Seed of the random numbers.")]
Formats = Annotated[
    list[str] | None,
    typer.Option("--from", help="Format of all datasets, or of each in their order. Repeatable.", show_default="auto"),
]
Runs = Annotated[Path, typer.Option(help="Folder of the runs.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")]
DEFAULT_RUNS = Path("runs")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How a dataset is read."""

    format: Annotated[
        Literal["auto", "voc", "coco", "yolo", "yolo-seg", "labelme", "csv", "via", "cvat"],
        typer.Option("--from", help="Format of the dataset; auto detects it by the content of the files."),
    ] = "auto"
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            help="Label list, one per line, in the order of their numbers. Default: a list in the folder, such as "
            "classes.txt or labels.txt, if it has all labels; else all labels, sorted.",
        ),
    ] = None
    coordinates: Annotated[
        Literal["auto", "zero", "one"],
        typer.Option(help="Coordinates of the XMLs: zero (labelImg), one (VOC devkit, 1-based), auto (detect)."),
    ] = "auto"
    crowds: Annotated[
        Literal["ignore", "objects"],
        typer.Option(help="Crowds (iscrowd 1): regions to ignore, or objects like any other."),
    ] = "ignore"
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="Leave out what has an error, and list it, instead of refusing the dataset."),
    ] = False

    def source(self, path: Path) -> Source:
        """The dataset at a path, read in this way."""
        from vocdet.formats.scan import Source

        return Source(path, self.format, self.labels, self.coordinates, self.crowds, self.skip_bad)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """How a new dataset is written."""

    images: Annotated[
        Literal["copy", "link", "none"],
        typer.Option("--images", help="Copy the images, hard-link them (same disk, no space), or do not move them."),
    ] = "copy"
    strict: Annotated[bool, typer.Option("--strict", help="Refuse if the format cannot hold everything.")] = False

    def write_options(self, coordinates: Literal["zero", "one"] | None = None) -> WriteOptions:
        """The same for the library."""
        from vocdet.workflows.convert import WriteOptions

        return WriteOptions(self.images, self.strict, coordinates)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOptions:
    """Where the runs are, and what runs the detector of one."""

    runs: Runs = DEFAULT_RUNS
    device: Device = "auto"
    backend: Annotated[
        Literal["auto", "torch", "onnx", "openvino"],
        typer.Option(
            help="Library that runs the detector; auto: the fastest that has an export in the run, else torch."
        ),
    ] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectOptions(RunnerOptions):
    """How a detector is applied."""

    score: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Score from which a detection is shown.", show_default="each label's own"),
    ] = None
    batch: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 8
    tile: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Detect on tiles of N pixels, for small objects in large images; 0: on whole images.",
            show_default="as trained",
        ),
    ] = None
    overlap: Annotated[float, typer.Option(min=0, max=0.8, help="Overlap of two tiles, as a share.")] = 0.2
    whole: Annotated[
        bool, typer.Option("--whole/--no-whole", help="With --tile, also detect once on the whole image.")
    ] = True

    def tiles(self) -> TileChoice:
        """The tiles for the library."""
        from vocdet.inference.tiled import TileChoice

        return TileChoice(self.tile, self.overlap, self.whole)
