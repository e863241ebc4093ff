"""COCO's figures, against pycocotools itself and against what it gave for files of others."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.evaluation.scores import coco_score
from tests.strategies import examples
from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.evaluation.coco_score import NAMES, CocoScore

if TYPE_CHECKING:
    from tests.evaluation.conftest import Box, Make, ReadCase


class DifficultEval(COCOeval):  # type: ignore[misc]  # no types in pycocotools
    """pycocotools drops an object's own `ignore` flag; this keeps it."""

    def _prepare(self) -> None:
        super()._prepare()
        for objects in self._gts.values():
            for entry in objects:
                entry["ignore"] = entry["iscrowd"] or entry["difficult"]


def coco_of(truth: Dataset, entries: list[dict[str, Any]]) -> COCO:
    coco = COCO()
    images = [{"id": row + 1} for row in range(len(truth))]
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(truth.labels)]
    coco.dataset = {"images": images, "categories": categories, "annotations": entries}
    coco.createIndex()
    return coco


def entry(number: int, image: int, label: int, box: Sequence[float], **more: object) -> dict[str, Any]:
    x, y, width, height = float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])
    place = {"id": number, "image_id": image + 1, "category_id": label + 1, "bbox": [x, y, width, height]}
    return place | {"area": width * height, "iscrowd": 0} | more


def pycocotools(truth: Dataset, found: Sequence[Detections]) -> COCOeval:
    columns = truth.objects
    objects = [
        entry(i + 1, int(columns.image[i]), int(columns.label[i]), columns.box[i],
              iscrowd=int(columns.crowd[i]), difficult=int(columns.difficult[i]))
        for i in range(len(columns))
    ]  # fmt: skip
    rows = [(image, i) for image, one in enumerate(found) for i in range(len(one))]
    results = [
        entry(number, image, int(found[image].labels[i]), found[image].boxes[i], score=float(found[image].scores[i]))
        for number, (image, i) in enumerate(rows, 1)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        judge = DifficultEval(coco_of(truth, objects), coco_of(truth, results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge


def assert_same(score: CocoScore, judge: COCOeval) -> None:
    summary = [-1 if score.summary[name] is None else score.summary[name] for name in NAMES]
    assert summary == pytest.approx(list(judge.stats), abs=1e-12)
    precision = judge.eval["precision"][:, :, :, 0, 2]  # (T, R, L) for all areas, 100 detections
    absent = precision[0, 0] == -1
    assert np.where(absent, np.nan, precision.mean(axis=(0, 1))) == pytest.approx(score.ap, abs=1e-12, nan_ok=True)
    assert np.where(absent, np.nan, precision[0].mean(axis=0)) == pytest.approx(score.ap50, abs=1e-12, nan_ok=True)


LABELS = ("cat", "dog", "owl")
eighths = st.integers(0, 6).map(lambda n: 8.0 * n)  # so that sides of exactly 32 and 96 and IoUs of exactly .5 occur
sides = st.sampled_from([0.0, 8.0, 16.0, 24.0, 32.0, 40.0, 96.0, 104.0])
boxes = st.builds(lambda x, y, w, h: (x, y, x + w, y + h), eighths, eighths, sides, sides)
shifts = st.tuples(*[st.sampled_from([0.0, 0.0, 0.0, 4.0, 8.0])] * 4)
labels = st.sampled_from(LABELS[:2] + ("cat",))
flags = st.sampled_from(["", "", "", "difficult", "crowd"])
scores = st.sampled_from([0.1, 0.25, 0.5, 0.75])  # few, so that many are equal


@st.composite
def samples(draw: st.DrawFn) -> tuple[list[tuple[str, Box, str]], list[tuple[str, float, Box]]]:
    objects = draw(st.lists(st.tuples(labels, boxes, flags), max_size=6))
    found = draw(st.lists(st.tuples(labels, scores, boxes), max_size=3))
    for _ in range(draw(st.integers(0, 6)) if objects else 0):  # most detections are near an object
        label, (xmin, ymin, xmax, ymax), _ = draw(st.sampled_from(objects))
        a, b, c, d = draw(shifts)
        found.append((label, draw(scores), (xmin + a, ymin + b, xmax + max(a, c), ymax + max(b, d))))
    return objects, draw(st.permutations(found))


@settings(deadline=None, max_examples=examples(150))
@given(images=st.lists(samples(), max_size=4))
def test_equals_pycocotools(
    make: Make, images: list[tuple[list[tuple[str, Box, str]], list[tuple[str, float, Box]]]]
) -> None:
    truth = make.truth(LABELS, [image[0] for image in images])
    found = make.found(LABELS, [image[1] for image in images])
    if images:
        assert_same(coco_score(truth, found), pycocotools(truth, found))
    else:
        assert set(coco_score(truth, found).summary.values()) == {None}


def test_equals_pycocotools_beyond_a_hundred_detections_an_image(make: Make) -> None:
    numbers = np.random.default_rng(1)
    low = numbers.uniform(0, 300, (3, 40, 2))
    place = np.concatenate([low, low + numbers.uniform(25, 130, (3, 40, 2))], axis=2)
    moved = np.repeat(place, 4, axis=1) + numbers.normal(0, 3, (3, 160, 4))
    truth = make.truth(["cat"], [[("cat", tuple(box)) for box in image] for image in place])
    found = make.found(["cat"], [[("cat", numbers.random(), tuple(box)) for box in image] for image in moved])
    score = coco_score(truth, found)
    assert_same(score, pycocotools(truth, found))
    assert score.summary["AR10"] != score.summary["AR100"]


def test_of_equal_overlaps_the_last_object_is_taken(make: Make) -> None:
    truth = make.truth(["cat"], [[("cat", (0, 1, 10, 11)), ("cat", (0, 3, 10, 13))]])
    found = make.found(["cat"], [[("cat", 0.9, (0, 2, 10, 12)), ("cat", 0.8, (0, 0, 10, 10))]])
    score = coco_score(truth, found)
    assert_same(score, pycocotools(truth, found))
    assert score.summary["AP75"] == pytest.approx(1)  # the second detection finds the first object free


def test_pairs_made_in_several_pieces_are_the_same(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = make.truth(["cat"], [[("cat", (0, 0, 10, 10)), ("cat", (20, 0, 30, 10))]] * 5)
    found = make.found(["cat"], [[("cat", 0.5, (0, 0, 10, 9)), ("cat", 0.9, (20, 0, 30, 8))]] * 5)
    whole = coco_score(truth, found).summary
    monkeypatch.setattr("vocdet.evaluation.matching._BLOCK", 3)
    assert coco_score(truth, found).summary == whole


def test_difficult_objects_are_ignored_and_not_removed(make: Make) -> None:
    truth = make.truth(["cat"], [[("cat", (0, 0, 10, 10)), ("cat", (50, 0, 60, 10), "difficult")]])
    found = make.found(["cat"], [[("cat", 0.9, (50, 0, 60, 10)), ("cat", 0.8, (0, 0, 10, 10))]])
    assert coco_score(truth, found).summary["AP"] == pytest.approx(1)
    nothing_difficult = make.truth(["cat"], [[("cat", (0, 0, 10, 10))]])
    assert coco_score(nothing_difficult, found).summary["AP"] == pytest.approx(0.5)


def test_areas_of_masks_decide_what_is_small(make: Make) -> None:
    truth = make.truth(["cat"], [[("cat", (0, 0, 40, 40))]])
    found = make.found(["cat"], [[("cat", 0.9, (0, 0, 40, 40))]])
    assert coco_score(truth, found).summary["APs"] is None
    assert coco_score(truth, found, areas=np.array([900.0])).summary["APs"] == pytest.approx(1)


@pytest.mark.parametrize(
    "name",
    [
        "f01_coco_val2014_fake100_bbox",
        "f02_coco_val2014_fake100_segm",
        "f04_review_sampled_coco_bboxarea",
        "f07_fce_segm",
        "f08_fce_ignore_bbox",
        "f09_torchmetrics_inputs",
    ],
)
def test_figures_of_known_files(shared: Path, read_case: ReadCase, name: str) -> None:
    case = read_case(shared / "data/fixtures/parity" / name)
    score = coco_score(case.truth, case.found, areas=case.areas, masks=name.endswith("segm"))
    summary = {name: -1 if value is None else value for name, value in score.summary.items()}
    assert summary == pytest.approx(case.expected["pycocotools_2_0_11"], abs=1e-12)
    for label, expected in case.expected.get("per_class_pycocotools", {}).items():
        row = case.truth.labels.index(label)
        if expected["AP"] is None:
            assert np.isnan(score.ap[row])
        else:
            assert score.ap[row] == pytest.approx(expected["AP"], abs=1e-12)
            assert score.ap50[row] == pytest.approx(expected["AP50"], abs=1e-12)


@pytest.mark.parametrize(
    ("kind", "published"),
    [
        ("bbox", [0.5046, 0.6970, 0.5730, 0.5856, 0.5194, 0.5014, 0.3868, 0.5937, 0.5954, 0.6398, 0.5664, 0.5643]),
        ("segm", [0.3195, 0.5623, 0.2989, 0.3874, 0.3102, 0.3269, 0.2682, 0.4154, 0.4168, 0.4694, 0.3768, 0.3815]),
    ],
)
def test_figures_of_cocos_own_fake_results(
    shared: Path, read_case: ReadCase, kind: str, published: list[float]
) -> None:
    names = {"gt": "instances_val2014_100.json", "dt": f"instances_val2014_fake{kind}100_results.json"}
    case = read_case(shared / "data/fixtures/coco_val2014_100", **names)
    summary = coco_score(case.truth, case.found, areas=case.areas, masks=kind == "segm").summary
    assert [summary[name] for name in NAMES] == pytest.approx(published, abs=5e-5)
