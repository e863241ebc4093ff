"""An evaluation as one HTML file, which needs neither a server nor a network."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from vocdet.errors import DependencyError, ImageError
from vocdet.evaluation.confusion import Confusion
from vocdet.evaluation.curves import LabelCurve
from vocdet.evaluation.errors import ERROR_NAMES, KIND_NAMES
from vocdet.evaluation.matching import IGNORED, TRUE
from vocdet.evaluation.report import EvalReport, Metrics
from vocdet.inputs.images import decode_image
from vocdet.plots.html_page import html_page
from vocdet.resources import bundled_text
from vocdet.wording import bounds_text, counted

MOST_IMAGES = 120
MOST_DETECTIONS = 60  # of an image
LOWEST = 0.05  # score of a detection that is drawn
MOST_POINTS = 40_000  # of all curves together
SIDE = 480  # pixels of the longer side of an image
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


@dataclass(frozen=True, slots=True)
class PageFacts:
    """What a page says of the run beside its metrics."""

    title: str
    facts: Mapping[str, str] = field(default_factory=dict)
    recipe: Mapping[str, str] = field(default_factory=dict)
    commands: Sequence[str] = ()
    training: Mapping[str, Sequence[float | None]] = field(default_factory=dict)  # columns by epoch, with "epoch"
    images: int = MOST_IMAGES  # in its gallery


def report_html(report: EvalReport, about: PageFacts) -> str:
    """The page of an evaluation; images that cannot be read are left out.

    `DependencyError` without Plotly, whose bundle is written into the page.
    """
    from markupsafe import Markup

    sections = [("labels", "Labels"), ("thresholds", "Thresholds"), ("errors", "Errors"), ("confusion", "Confusion"),
                ("images", "Images"), *([("training", "Training")] if about.training else []),
                ("facts", "How to repeat it")]  # fmt: skip
    overall = report.overall
    sizes = (counted(report.images, "image"), counted(overall.objects, "object"), counted(len(report.labels), "label"))
    interval = report.interval
    share = f"{interval.share:.0%} of {interval.resamples} resamples of the images" if interval else ""
    return html_page(
        "report/page.html",
        title=about.title,
        subtitle=", ".join(sizes),
        sections=sections,
        tiles=_tiles(report),
        tiles_note=f"The ranges hold {share}." if share else "",
        facts=about.facts.items(),
        recipe=list(about.recipe.items()),
        commands=about.commands,
        training=about.training,
        script=Markup(bundled_text("report/page.js")),  # of vocdet
        plotly=Markup(_plotly()),
        data=Markup(_script_json(_page_data(report, about))),  # escaped for a script
    )


@cache
def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        hint = "install it: pip install plotly"
        raise DependencyError("the page needs the package plotly", hint=hint) from error
    text: str = get_plotlyjs()
    return text.replace("</script", "<\\/script")


def _script_json(content: object) -> str:
    """JSON that no text in it can end the script element of."""
    text = msgspec.json.encode(content).decode()
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return text


def _tiles(report: EvalReport) -> list[tuple[str, str, str]]:
    names = {"AP50": "ap50", "AP": "ap", "precision": "precision", "recall": "recall", "F1": "f1"}
    bounds = report.interval.overall if report.interval else {}
    tiles = []
    for name, key in names.items():
        value: float | None = getattr(report.overall, key)
        known = bounds.get(key)
        tiles.append((name, "–" if value is None else f"{value:.3f}", bounds_text(known) if known else ""))
    overall: Metrics = report.overall
    counts = (("missed", overall.missed), ("wrong", overall.wrong), ("false", overall.false))
    ranges = [bounds_text(known, 0) if (known := bounds.get(name)) else "" for name, _ in counts]
    return [*tiles, *((name, str(count), within) for (name, count), within in zip(counts, ranges, strict=True))]


def _page_data(report: EvalReport, about: PageFacts) -> dict[str, Any]:
    errors, confusion = report.errors, report.confusion
    counts = errors.counts()
    most = max(2, MOST_POINTS // max(1, len(report.labels)))
    known = report.interval
    intervals = known.labels if known else ({},) * len(report.labels)
    of_recall = known.recall if known else (None,) * len(report.recall_groups)
    return {
        "labels": [asdict(row) | {"interval": bounds} for row, bounds in zip(report.labels, intervals, strict=True)],
        "curves": [_curve(curve, row.threshold, most) for curve, row in zip(report.curves, report.labels, strict=True)],
        "errors": [
            {
                "name": ERROR_NAMES[name],
                "count": counts[name],
                "ap50": cost,
                "interval": known.errors[name] if known else {},
            }
            for name, cost in errors.costs.items()
        ],
        "groups": [
            asdict(group) | {"recall": group.recall, "interval": bounds}
            for group, bounds in zip(report.recall_groups, of_recall, strict=True)
        ],
        "calibration": {
            "bins": [asdict(one) for one in report.calibration.bins],
            "error": report.calibration.error,
            "interval": known.calibration if known else None,
        },
        "confusion": {"labels": [*confusion.labels, "background"], "matrix": confusion.matrix.tolist()},
        "images": _images(report, about),
        "training": about.training,
    }


def _curve(curve: LabelCurve, threshold: float, most: int) -> dict[str, Any]:
    """A curve with at most `most` points; all of them where it has no more."""
    rows = np.unique(np.linspace(0, len(curve.scores) - 1, min(len(curve.scores), most)).astype(np.int64))
    return {
        "label": curve.label,
        "objects": curve.objects,
        "threshold": threshold,
        "scores": [float(str(score)) for score in curve.scores[rows]],
        "correct": curve.correct[rows].tolist(),
        "false": curve.false[rows].tolist(),
    }


def _images(report: EvalReport, about: PageFacts) -> list[dict[str, Any]]:
    """The images with the most errors at the thresholds, most first."""
    evidence = report.evidence
    assert evidence is not None  # the data of a page come from one
    dataset, table, confusion, kind = evidence.dataset, evidence.detections, evidence.confusion, evidence.errors.kind
    objects = dataset.objects
    wanted = ~(objects.difficult | objects.crowd)
    lost, false = wanted & ~confusion.correct, _false(confusion, table.label, objects.label)
    count = np.bincount(objects.image[lost], minlength=len(dataset))
    count = count + np.bincount(table.image[false], minlength=len(dataset))
    outcome = evidence.match.outcome
    right = np.flatnonzero(outcome == TRUE)  # an object is detected at thresholds up to the score of its detection
    scores = {
        i: float(str(score)) for i, score in zip(evidence.match.object[right].tolist(), table.score[right], strict=True)
    }
    images: list[dict[str, Any]] = []
    for row in np.argsort(-count, kind="stable")[: 4 * about.images].tolist():  # some cannot be read
        if len(images) == about.images or not count[row]:
            break
        try:
            pixels = decode_image(dataset[row])
        except ImageError:
            continue
        height, width = pixels.shape[:2]
        mine = np.flatnonzero(wanted & (objects.image == row)).tolist()
        found = np.flatnonzero((table.image == row) & (outcome != IGNORED) & (table.score >= LOWEST))
        found = found[np.argsort(-table.score[found], kind="stable")][:MOST_DETECTIONS]
        cells = {_cell(objects.label[i], table.label, confusion.object_pair[i], len(dataset.labels)) for i in mine}
        cells |= {f"{len(dataset.labels)},{table.label[i]}" for i in found if confusion.detection_pair[i] == -1}
        images.append({
            "name": dataset.images.files[row], "uri": picture_uri(pixels), "width": width, "height": height,
            "cells": sorted(cells),
            "objects": [
                {"box": objects.box[i].tolist(), "label": int(objects.label[i]), "score": scores.get(i)} for i in mine
            ],
            "detections": [
                {
                    "box": [round(side, 1) for side in table.box[i].tolist()], "label": int(table.label[i]),
                    "score": float(str(table.score[i])), "kind": KIND_NAMES[kind[i]],
                    "correct": bool(outcome[i] == TRUE),
                }
                for i in found.tolist()
            ],
        })  # fmt: skip
    return images


def _false(confusion: Confusion, label: NDArray[np.int64], of_object: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(D,) detections at the thresholds without an object of their label."""
    pair = confusion.detection_pair
    false = np.asarray(pair == -1)
    has = np.flatnonzero(pair >= 0)
    false[has] = label[has] != of_object[pair[has]]
    return false


def _cell(label: int, of_detection: NDArray[np.int64], pair: int, background: int) -> str:
    return f"{label},{of_detection[pair] if pair >= 0 else background}"


def picture_uri(pixels: NDArray[np.uint8], side: int = SIDE) -> str:
    """An image (H, W, 3) RGB as a small JPEG in a data URI; its longer side has `side` pixels at most."""
    scale = min(1.0, side / max(pixels.shape[:2]))
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if scale < 1 else pixels
    _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 78])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"
