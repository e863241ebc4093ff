"""Apply a detector to files, cameras and streams, and write the results."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vocdet.api.detector import Detector, load
from vocdet.api.run import Run
from vocdet.inference.tiled import TileChoice
from vocdet.inference.tracking import VideoOptions, parse_line
from vocdet.inputs.images import decode
from vocdet.plots import notebook
from vocdet.wording import counted
from vocdet.workflows import predict as workflow
from vocdet.workflows.detector import DetectorOptions
from vocdet.workflows.prediction_folder import Also


@dataclass(frozen=True, slots=True, repr=False)
class PredictResult:
    """What `predict` processed, and where the results are; a notebook shows some of the drawn images."""

    out: Path
    images: int
    frames: int  # of videos, cameras and streams
    objects: int  # in all of them
    drawings: tuple[Path, ...] = ()  # of the first images: those that a notebook shows

    def __repr__(self) -> str:
        frames = f", {counted(self.frames, 'frame')}" if self.frames else ""
        sizes = f"{counted(self.objects, 'object')} in {counted(self.images, 'image')}{frames}"
        return f"<prediction in {self.out}: {sizes}>"

    def _repr_html_(self) -> str:
        pictures = [(path.name, partial(decode, path)) for path in self.drawings]
        return notebook.heading(repr(self)[1:-1]) + notebook.gallery(pictures)


def predict(
    detector: Detector | Run | str | Path,
    sources: str | Path | Sequence[str | Path],
    *,
    out: str | Path = "found",
    score: float | None = None,
    batch: int = 8,
    frames: int = 0,
    also: Collection[Also] = (),
    tile: int | None = None,
    overlap: float = 0.2,
    whole: bool = True,
    track: bool = False,
    count: str = "",
    force: bool = False,
    device: str = "auto",
) -> PredictResult:
    """Draw the detections in images, videos, cameras and streams into `out`, and list them in `out/detections.json`.

    `sources` are paths of images, videos and folders, patterns such as `photos/*.jpg`, camera numbers and URLs. The
    list has COCO results: box, score, label + 1 as category and the RLE of a mask. `also` adds "csv" (detections.csv),
    "yolo" (labels/*.txt with scores) and "voc" (a VOC dataset of the images, for labelImg). Detections below `score`
    are left out, by default those below the threshold of their label. `frames` limits those of each video, camera or
    stream. `tile` detects on tiles of this many pixels that overlap by this share, for small objects in large images,
    and with `whole` once more on the whole image; by default as the detector was trained, 0: on whole images. Decoding,
    detection and writing overlap, and memory does not grow with the number of images.

    `track` gives the objects of videos ids (extra `track`), and `count="x1,y1,x2,y2"` counts those that cross this
    line, in pixels or fractions of the frame, in `out/crossings.csv`.

    Files that cannot be decoded or written are skipped, and raised together at the end. `out` must be new, empty or an
    earlier result, which is replaced but for the files that a user changed or added; `force` replaces them, too.

    >>> vocdet.predict(run, "photo.jpg", out="found", also=["csv"])
    <prediction in found: ... in 1 image>
    """
    options = DetectorOptions(device, tiles=TileChoice(tile, overlap, whole), score=score, batch=batch)
    videos = VideoOptions(track, parse_line(count) if count else None, frames)
    model = (detector if isinstance(detector, Detector) else load(detector, device)).model
    names = [str(one) for one in ([sources] if isinstance(sources, str | Path) else sources)]
    images = shown = objects = 0
    drawings: list[Path] = []
    for one in workflow.predict(model, names, out=Path(out), options=options, videos=videos, also=also, force=force):
        image = one.source.kind == "image"
        images, shown, objects = images + image, shown + (not image), objects + len(one.detections)
        drawings += [one.drawing] if image and len(drawings) < notebook.MOST_PICTURES else []
    return PredictResult(Path(out), images, shown, objects, tuple(drawings))
