"""COCO's own example through all of vocdet's readers: the figures are those that pycocotools gives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from vocdet.evaluation.coco_score import NAMES
from vocdet.evaluation.report import evaluate
from vocdet.formats import registry
from vocdet.formats.scan import Source

if TYPE_CHECKING:
    from tests.evaluation.conftest import ReadCase

SEGM = [0.3195, 0.5623, 0.2989, 0.3874, 0.3102, 0.3269, 0.2682, 0.4154, 0.4168, 0.4694, 0.3768, 0.3815]
BBOX = [0.5046, 0.6970, 0.5730, 0.5856, 0.5194, 0.5014, 0.3868, 0.5937, 0.5954, 0.6398, 0.5664, 0.5643]


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_masks_polygons_crowds_and_areas_are_read_as_coco_means_them(
    shared: Path, read_case: ReadCase, kind: str
) -> None:
    folder = shared / "data/fixtures/coco_val2014_100"
    path = folder / "instances_val2014_100.json"
    read = registry.scan(Source(path), without_images=True).dataset
    ids = {image["file_name"]: image["id"] for image in json.loads(path.read_text("utf-8"))["images"]}
    by_id = sorted(range(len(read)), key=lambda row: ids[Path(read.images.files[row]).name])
    truth = read.subset(by_id)  # equal scores count in the order of the images
    case = read_case(folder, gt=path.name, dt=f"instances_val2014_fake{kind}100_results.json")
    label_of = np.array([truth.labels.index(label) for label in case.truth.labels])
    found = [
        replace(one, labels=label_of[one.labels], masks=one.masks if kind == "segm" else None) for one in case.found
    ]
    report = evaluate(truth, found)
    if kind == "bbox":
        # boxes there overlap by exactly a threshold, so that a thirteenth decimal of x + width decides
        assert [report.coco[name] for name in NAMES] == pytest.approx(BBOX, abs=1e-3)
        assert report.masks is None
    else:
        assert report.masks is not None
        assert [report.masks.coco[name] for name in NAMES] == pytest.approx(SEGM, abs=5e-5)
        assert (report.masks.without, report.masks.unreadable) == (0, 0)
