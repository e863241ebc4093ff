"""The next round of annotation: images out of videos, annotations to correct, and how far the correction is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vocdet.api.detector import Detector, load
from vocdet.api.run import Run
from vocdet.workflows import film_frames
from vocdet.workflows import prelabel as workflow
from vocdet.workflows.detector import DetectorOptions
from vocdet.workflows.prelabel import LabelingProgress, PrelabelReport

Paths = str | Path | Sequence[str | Path]


def frames(videos: Paths, *, out: str | Path = "frames", every: float = 1.0) -> list[Path]:
    """Write a frame in every `every` seconds of videos as JPEGs into `out`: the images that were written.

    A frame that hardly differs from the last one written is left out, and an existing file is never replaced.

    >>> vocdet.frames("missing.mp4")
    Traceback (most recent call last):
    vocdet.errors.ArgumentError: missing.mp4: does not exist ...
    """
    return [one.path for one in film_frames.frames(_texts(videos), out=Path(out), every=every) if one.written]


def prelabel(
    detector: Detector | Run | str | Path,
    images: Paths,
    *,
    out: str | Path = "to_annotate",
    score: float | None = None,
    batch: int = 8,
    device: str = "auto",
) -> PrelabelReport:
    """Write the detections in images as annotations to correct: XML for labelImg, or labelme's JSON for masks.

    Each object has its score and the model inside. Files of people get only what is new, at their end; files that
    vocdet wrote are replaced unless they were corrected since. The report has three lists of what the model has beside
    people's work, lacks, and draws otherwise, and the images in the order in which labeling them teaches most; `out`
    has them as files.

    >>> report = vocdet.prelabel(run, "photo.jpg", out="to_annotate")
    >>> dict(report.states), [path.name for path in report.order]
    ({'without': 1}, ['photo.jpg'])
    """
    name = str(detector.source if isinstance(detector, Detector) else getattr(detector, "path", detector))
    model = (detector if isinstance(detector, Detector) else load(detector, device)).model
    report = PrelabelReport(Path(out))
    options = DetectorOptions(score=score, batch=batch)
    for event in workflow.prelabel(model, _texts(images), out=Path(out), options=options, name=name):
        if isinstance(event, PrelabelReport):
            report = event
    return report


def progress(images: Paths) -> LabelingProgress:
    """Count the images whose annotations are machine-made, corrected, or of people, and those without any.

    >>> vocdet.progress("photo.jpg").states
    Counter({'without': 1})
    """
    return workflow.progress(_texts(images))


def _texts(paths: Paths) -> list[str]:
    return [str(one) for one in ([paths] if isinstance(paths, str | Path) else paths)]
