"""Suspicions about annotations as one HTML file, each with a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.errors import ImageError
from vocdet.evaluation.audit import Suspicion
from vocdet.inputs.images import Image, decode_image
from vocdet.plots.html_page import html_page
from vocdet.plots.report_page import picture_uri
from vocdet.wording import counted

MARGIN = 1.0  # of the larger side of what is shown, around it
LEAST = 120  # pixels of a side


def audit_html(dataset: Dataset, suspicions: Sequence[Suspicion], texts: Sequence[str], title: str) -> str:
    """The page; item i of `texts` describes suspicion i. Images that cannot be read are left out."""
    return html_page(
        "report/audit.html", title=f"Likely mistakes in {title}", subtitle=counted(len(suspicions), "suspicion"),
        items=[{"text": text} | _picture(dataset, one) for text, one in zip(texts, suspicions, strict=True)],
    )  # fmt: skip


def surroundings(dataset: Dataset, one: Suspicion) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The corners (x, y) of the section of an image to show for a suspicion."""
    row = one.image
    boxes = np.array([one.box, *dataset.objects.box[[one.object] if one.object >= 0 else []]])
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    side = max(LEAST, float((high - low).max()) * (1 + 2 * MARGIN))
    size = np.array([dataset.images.widths[row], dataset.images.heights[row]])
    first = np.clip((low + high - side) / 2, 0, np.maximum(size - side, 0)).astype(np.int64)
    return first, np.minimum(first + int(side), size).astype(np.int64)


def section(dataset: Dataset, one: Suspicion) -> Image:
    """The pixels of that section; an `ImageError` if the image cannot be read."""
    first, last = surroundings(dataset, one)
    return np.ascontiguousarray(decode_image(dataset[one.image])[first[1] : last[1], first[0] : last[0]])


def _picture(dataset: Dataset, one: Suspicion) -> dict[str, Any]:
    """The surroundings of a suspicion: a data URI, its size, and the boxes in it as x, y, width, height."""
    first, last = surroundings(dataset, one)
    old = dataset.objects.box[one.object] if one.object >= 0 else None
    try:
        uri = picture_uri(section(dataset, one))
    except ImageError:
        uri = ""
    return {
        "uri": uri, "width": int(last[0] - first[0]), "height": int(last[1] - first[1]),
        "proposed": _placed(np.array(one.box), first), "old": None if old is None else _placed(old, first),
    }  # fmt: skip


def _placed(box: Any, first: Any) -> list[float]:
    return [round(float(value), 1) for value in (*(box[:2] - first), *(box[2:] - box[:2]))]
