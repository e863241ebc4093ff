"""Small datasets and detections, written out or read from COCO's own files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco_masks

from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.detections import Detections
from vocdet.data.texts import Texts

Box = tuple[float, float, float, float]  # xmin, ymin, xmax, ymax


class Make:
    """Datasets and detections from lists, one list an image."""

    def truth(
        self,
        labels: Sequence[str],
        images: Sequence[Sequence[tuple[Any, ...]]],
        *,
        masks: Sequence[Sequence[bytes]] | None = None,
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> Dataset:
        """Objects are (label, box) or (label, box, "difficult") or (label, box, "crowd").

        `masks` are their segmentations, `sizes` width and height of the images, which else are 500 both.
        """
        rows = [(row, *thing) for row, image in enumerate(images) for thing in image]
        off = np.zeros(len(rows), np.bool_)
        objects = Objects(
            image=np.array([row[0] for row in rows], np.int32),
            label=np.array([labels.index(row[1]) for row in rows], np.int32),
            box=np.array([row[2] for row in rows], np.float64),
            difficult=np.array(["difficult" in row[3:] for row in rows], np.bool_),
            truncated=off,
            occluded=off,
            crowd=np.array(["crowd" in row[3:] for row in rows], np.bool_),
            line=np.zeros(len(rows), np.int32),
            segmentation=Texts.of([text for image in masks for text in image]) if masks else Texts.empty(len(rows)),
        )
        stems = tuple(f"image{row}" for row in range(len(images)))
        size = np.array(sizes or [(500, 500)] * len(images), np.int32).reshape(-1, 2)
        table = Images(stems, tuple(f"{stem}.jpg" for stem in stems), size[:, 0], size[:, 1], ("",) * len(images))
        return Dataset(Path("/nowhere"), tuple(labels), table, objects)

    def found(
        self,
        labels: Sequence[str],
        images: Sequence[Sequence[tuple[str, float, Box]]],
        *,
        masks: Sequence[Sequence[bytes]] | None = None,
    ) -> list[Detections]:
        """Detections are (label, score, box); `masks` are their RLEs."""
        return [
            Detections(
                np.array([box for _, _, box in image]),
                np.array([score for _, score, _ in image], np.float32),
                np.array([labels.index(label) for label, _, _ in image], np.int64),
                Texts.of(masks[row]) if masks is not None else None,
            )
            for row, image in enumerate(images)
        ]


@dataclass(frozen=True)
class Case:
    """What a pair of COCO files holds; category ids and image ids in rising order are the rows."""

    truth: Dataset
    found: list[Detections]
    areas: NDArray[np.float64]  # (M,) as annotated
    expected: dict[str, Any]  # what expected.json says


class ReadCase:
    """Reads gt.json and dt.json without any of the code under test."""

    def __call__(self, folder: Path, *, gt: str = "gt.json", dt: str = "dt.json") -> Case:
        content = json.loads((folder / gt).read_text("utf-8"))
        results = json.loads((folder / dt).read_text("utf-8"))
        categories = sorted(content["categories"], key=lambda entry: entry["id"])
        names = {entry["id"]: entry["name"] for entry in categories}
        images = sorted(entry["id"] for entry in content["images"])
        sizes = {entry["id"]: (entry.get("width", 500), entry.get("height", 500)) for entry in content["images"]}
        objects: dict[int, list[tuple[Any, ...]]] = {image: [] for image in images}
        areas: dict[int, list[float]] = {image: [] for image in images}
        drawn: dict[int, list[bytes]] = {image: [] for image in images}
        seen: dict[int, list[bytes]] = {image: [] for image in images}
        for entry in content["annotations"]:
            flag = "crowd" if entry.get("iscrowd") else "difficult" if entry.get("difficult") else ""
            objects[entry["image_id"]].append((names[entry["category_id"]], _corners(entry["bbox"]), flag))
            areas[entry["image_id"]].append(entry["area"])
            drawn[entry["image_id"]].append(_segmentation(entry))
        found: dict[int, list[tuple[str, float, Box]]] = {image: [] for image in images}
        for entry in results:
            box = entry["bbox"] if "bbox" in entry else coco_masks.toBbox(entry["segmentation"]).tolist()
            found[entry["image_id"]].append((names[entry["category_id"]], entry["score"], _corners(box)))
            seen[entry["image_id"]].append(_segmentation(entry))
        labels = tuple(names.values())
        expected = folder / "expected.json"
        return Case(
            Make().truth(
                labels,
                [objects[image] for image in images],
                masks=[drawn[image] for image in images],
                sizes=[sizes[image] for image in images],
            ),
            Make().found(labels, [found[image] for image in images], masks=[seen[image] for image in images]),
            np.array([area for image in images for area in areas[image]]),
            json.loads(expected.read_text("utf-8"))["expected"] if expected.exists() else {},
        )


def _segmentation(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry["segmentation"]).encode() if entry.get("segmentation") else b""


def _corners(box: Sequence[float]) -> Box:
    x, y, width, height = box
    return x, y, x + width, y + height


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()


@pytest.fixture(scope="session")
def read_case() -> ReadCase:
    return ReadCase()
