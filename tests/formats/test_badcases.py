"""Every VOC, COCO and ImageSets case of a collection of odd and hostile files gets a verdict a good tool may give."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from vocdet.data.dataset import AnnotatedImage, Dataset
from vocdet.errors import VocdetError
from vocdet.formats.scan import Source
from vocdet.formats.voc import image_sets
from vocdet.workflows.check import check_dataset

FOLDER = Path(os.environ.get("VOCDET_SHARED", Path(__file__).parents[3] / "shared")) / "badcases"
MANIFEST = FOLDER / "manifest.json"
CASES = json.loads(MANIFEST.read_text(encoding="utf-8"))["cases"] if MANIFEST.is_file() else []
CASES = [case for case in CASES if case["kind"] in ("voc", "imagesets", "coco")]


def content(dataset: Dataset) -> list[dict[str, Any]]:
    return [
        {
            "stem": sample.stem,
            "file": sample.stem + sample.path.suffix,
            "size": [sample.width, sample.height],
            "objects": [described(dataset, sample, i) for i in range(len(sample.objects))],
        }
        for sample in dataset
    ]


def described(dataset: Dataset, sample: AnnotatedImage, i: int) -> dict[str, Any]:
    objects, label = sample.objects, dataset.labels[sample.objects.label[i]]
    xmin, ymin, xmax, ymax = objects.box[i].tolist()
    if not dataset.entries:
        flags = {"difficult": int(objects.difficult[i]), "truncated": int(objects.truncated[i])}
        return {"label": label, "box": [xmin, ymin, xmax, ymax], **flags}
    return {"label": label, "bbox": [xmin, ymin, xmax - xmin, ymax - ymin], "iscrowd": int(objects.crowd[i])}


@pytest.mark.skipif(not CASES, reason=f"no collection of bad files at {FOLDER}: set VOCDET_SHARED")
def test_the_collection_is_there() -> None:
    assert len(CASES) == 64


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_bad_dataset_gets_an_acceptable_verdict(case: dict[str, Any]) -> None:
    expected, started = case["expect"], time.process_time()
    try:
        report = check_dataset(Source(FOLDER / case["path"]))
    except VocdetError as error:
        assert "error" in expected["acceptable"], error
        return
    assert time.process_time() - started < case["limits"]["max_seconds"]
    # The cases all use one picture, so that copies are no news here.
    findings = [finding for finding in report.findings if not finding.code.startswith("image.copy")]
    severities = {finding.severity for finding in findings}
    verdict = "error" if "error" in severities else "warn" if severities else "accept"
    assert verdict in expected["acceptable"], findings
    if "images" in expected and verdict != "error":
        for image in expected["images"]:
            for one in image["objects"]:
                one.pop("n_polygons", None)  # 0, of a segmentation that is []: there is none
        assert content(report.dataset) == expected["images"]
    for name, stems in expected.get("splits", {}).items():
        rows, _ = image_sets.split_rows(report.dataset, name)
        assert [report.dataset.images.stems[row] for row in rows] == stems


@pytest.fixture(scope="session")
def opened() -> list[str]:
    """The files Python opens from now on: an audit hook stays for good, so there is one."""
    names: list[str] = []

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            names.append(str(arguments[0]))

    sys.addaudithook(note)
    return names


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_nothing_outside_the_case_is_opened(case: dict[str, Any], opened: list[str]) -> None:
    folder = (FOLDER / case["path"]).resolve()
    with contextlib.suppress(VocdetError):
        check_dataset(Source(folder))  # once, so that modules are loaded
        opened.clear()
        check_dataset(Source(folder))
        assert opened
    assert all(Path(name).resolve().is_relative_to(folder) for name in opened)
    opened.clear()
