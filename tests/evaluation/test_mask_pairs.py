"""Figures of masks, against pycocotools itself, and what becomes of objects without one."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.evaluation.scores import coco_score
from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.evaluation.coco_score import NAMES
from vocdet.evaluation.mask_pairs import mask_pairs
from vocdet.evaluation.matching import stack
from vocdet.evaluation.report import evaluate

if TYPE_CHECKING:
    from tests.evaluation.conftest import Make

LABELS = ("cat", "dog")
HEIGHT, WIDTH = 120, 150
Numbers = np.random.Generator


class DifficultEval(COCOeval):  # type: ignore[misc]  # no types in pycocotools
    """pycocotools drops an object's own `ignore` flag; this keeps it."""

    def _prepare(self) -> None:
        super()._prepare()
        for objects in self._gts.values():
            for entry in objects:
                entry["ignore"] = entry["iscrowd"] or entry["difficult"]


def rle(mask: NDArray[np.bool_], *, compressed: bool = True) -> dict[str, Any]:
    """As COCO's files have it: the text form, or the lengths themselves."""
    encoded = coco_masks.encode(np.asfortranarray(mask, np.uint8))
    if compressed:
        return {"size": list(mask.shape), "counts": encoded["counts"].decode()}
    flat = np.concatenate([[0], mask.T.reshape(-1), [2]])
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(ends, prepend=0).tolist()
    return {"size": list(mask.shape), "counts": counts if flat[1] == 0 else [0, *counts]}


def filled(xmin: int, ymin: int, xmax: int, ymax: int) -> NDArray[np.bool_]:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[ymin:ymax, xmin:xmax] = True
    return mask


def text(segmentation: object) -> bytes:
    return json.dumps(segmentation).encode()


def blob(numbers: Numbers) -> tuple[NDArray[np.bool_], list[list[float]]]:
    """A mask of one or two quadrangles, and these."""
    polygons = []
    for _ in range(numbers.integers(1, 3)):
        middle = numbers.uniform((20, 20), (WIDTH - 20, HEIGHT - 20))
        radius = numbers.uniform(4, 50)
        angles = np.sort(numbers.uniform(0, 2 * np.pi, 4))
        points = middle + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        polygons.append(points.reshape(-1).tolist())
    drawn = coco_masks.decode(coco_masks.merge(coco_masks.frPyObjects(polygons, HEIGHT, WIDTH)))
    return drawn.astype(np.bool_), polygons


def box_of(mask: NDArray[np.bool_]) -> list[float]:
    """x, y, width, height."""
    box: list[float] = coco_masks.toBbox(coco_masks.encode(np.asfortranarray(mask, np.uint8))).tolist()
    return box


def sample(numbers: Numbers, image: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Objects and results of an image in COCO's words: polygons and both kinds of RLE, crowds, difficult ones."""
    objects, results = [], []
    for _ in range(numbers.integers(0, 6)):
        mask, polygons = blob(numbers)
        kind = numbers.choice(["polygon", "rle", "counts", "crowd", "difficult"])
        segmentation = polygons if kind in ("polygon", "difficult") else rle(mask, compressed=kind == "rle")
        label = int(numbers.integers(1, 3))
        objects.append({
            "image_id": image, "category_id": label, "segmentation": segmentation, "bbox": box_of(mask),
            "area": float(mask.sum() * numbers.uniform(0.8, 1.2)), "iscrowd": int(kind == "crowd"),
            "difficult": int(kind == "difficult"),
        })  # fmt: skip
        for _ in range(numbers.integers(0, 4)):
            near = np.roll(mask, numbers.integers(-4, 5, 2), (0, 1)) & (numbers.random(mask.shape) < 0.97)
            results.append({"image_id": image, "category_id": label, "segmentation": rle(near), "bbox": box_of(near)})
    for _ in range(numbers.integers(0, 3)):
        mask = blob(numbers)[0]
        results.append({"image_id": image, "category_id": 1, "segmentation": rle(mask), "bbox": box_of(mask)})
    for entry in results:
        entry["score"] = float(numbers.choice([0.125, 0.25, 0.5, 0.75]))
    return objects, results


def pycocotools(images: int, objects: list[dict[str, Any]], results: list[dict[str, Any]]) -> list[float]:
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": i, "width": WIDTH, "height": HEIGHT} for i in range(images)],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(LABELS)],
        "annotations": [entry | {"id": i + 1} for i, entry in enumerate(objects)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        # with boxes it would take their areas for those of the masks
        without_images = [{name: value for name, value in entry.items() if name != "bbox"} for entry in results]
        judge = DifficultEval(coco, coco.loadRes(without_images), "segm")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return list(judge.stats)


def corners(box: Sequence[float]) -> tuple[float, float, float, float]:
    return box[0], box[1], box[0] + box[2], box[1] + box[3]


def ours(
    make: Make, images: int, objects: list[dict[str, Any]], results: list[dict[str, Any]]
) -> tuple[Dataset, list[Detections]]:
    def of(entries: list[dict[str, Any]], image: int) -> list[dict[str, Any]]:
        return [entry for entry in entries if entry["image_id"] == image]

    def flag(entry: dict[str, Any]) -> str:
        return "crowd" if entry["iscrowd"] else "difficult" if entry["difficult"] else ""

    rows = range(images)
    truth = make.truth(
        LABELS,
        [[(LABELS[e["category_id"] - 1], corners(e["bbox"]), flag(e)) for e in of(objects, i)] for i in rows],
        masks=[[text(e["segmentation"]) for e in of(objects, i)] for i in rows],
        sizes=[(WIDTH, HEIGHT)] * images,
    )
    found = make.found(
        LABELS,
        [[(LABELS[e["category_id"] - 1], e["score"], corners(e["bbox"])) for e in of(results, i)] for i in rows],
        masks=[[text(e["segmentation"]) for e in of(results, i)] for i in rows],
    )
    return truth, found


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of pycocotools' decode, with NumPy 2
@pytest.mark.parametrize("seed", range(12))
def test_equals_pycocotools(make: Make, seed: int) -> None:
    numbers = np.random.default_rng(seed)
    samples = [sample(numbers, image) for image in range(6)]
    objects, results = ([entry for one in samples for entry in one[part]] for part in (0, 1))
    truth, found = ours(make, 6, objects, results)
    summary = coco_score(truth, found, areas=np.array([e["area"] for e in objects]), masks=True).summary
    expected = pycocotools(6, objects, results)
    assert [-1 if summary[name] is None else summary[name] for name in NAMES] == pytest.approx(expected, abs=1e-12)
    assert 0 < expected[0] < 1


def square(make: Make, masks: list[bytes], found: list[tuple[float, bytes]]) -> tuple[Dataset, list[Detections]]:
    """One image: cats with these masks, all in the same box, and detections (score, mask) of that box."""
    box = (20.0, 20.0, 60.0, 60.0)
    truth = make.truth(("cat",), [[("cat", box)] * len(masks)], masks=[masks], sizes=[(WIDTH, HEIGHT)])
    scored = [("cat", score, box) for score, _ in found]
    return truth, make.found(("cat",), [scored], masks=[[mask for _, mask in found]])


SQUARE = text(rle(filled(20, 20, 60, 60)))
BAD = {
    "two points": b"[[1, 1, 9, 9]]",
    "counts that do not add up": text({"size": [HEIGHT, WIDTH], "counts": [3, 4]}),
    "another size": text(rle(np.ones((9, 9), np.bool_))),
    "no JSON": b"[[",
}


@pytest.mark.parametrize("mask", [b"", *BAD.values()], ids=["none", *BAD])
def test_an_object_without_a_mask_is_neither_missed_nor_false(make: Make, mask: bytes) -> None:
    truth, found = square(make, [SQUARE, mask], [(0.9, SQUARE), (0.8, SQUARE)])
    report = evaluate(truth, found)
    assert report.masks is not None
    assert (report.overall.objects, report.masks.overall.objects) == (2, 1)
    assert [report.masks.overall.ap, report.masks.overall.ap_voc07] == pytest.approx([1, 1])
    assert (report.masks.without, report.masks.unreadable) == (1, int(bool(mask)))


def test_a_detection_that_is_on_no_such_object_is_still_false(make: Make) -> None:
    truth, found = square(make, [SQUARE, b""], [(0.9, text(rle(filled(100, 80, 140, 110)))), (0.8, SQUARE)])
    report = evaluate(truth, found)
    assert report.masks is not None
    assert report.masks.overall.ap == pytest.approx(1)  # by its box it is on the object without a mask
    moved = Detections(
        np.array([[100, 80, 140, 110], [20, 20, 60, 60]]), found[0].scores, found[0].labels, found[0].masks
    )
    report = evaluate(truth, [moved])
    assert report.masks is not None
    assert report.masks.overall.ap == pytest.approx(0.5)


@pytest.mark.parametrize("mask", [b"", b"nonsense", text(rle(np.zeros((HEIGHT, WIDTH), np.bool_)))])
def test_a_detection_without_a_mask_is_false(make: Make, mask: bytes) -> None:
    report = evaluate(*square(make, [SQUARE], [(0.9, mask), (0.8, SQUARE)]))
    assert report.masks is not None
    assert report.masks.overall.ap == pytest.approx(0.5)
    assert report.overall.ap == pytest.approx(1)


def test_half_a_mask_is_found_at_half_an_overlap(make: Make) -> None:
    half = text(rle(filled(20, 20, 60, 46)))  # .65 of it
    report = evaluate(*square(make, [SQUARE], [(0.9, half)]))
    assert report.masks is not None
    assert report.masks.coco["AP"] == pytest.approx(0.4)  # at IoU .5, .55, .6 and .65
    assert [report.masks.coco["AP50"], report.masks.coco["AP75"]] == pytest.approx([1, 0])
    assert report.overall.ap == pytest.approx(1)  # the boxes are the same


def test_masks_that_fill_their_boxes_score_as_the_boxes_do(make: Make) -> None:
    numbers = np.random.default_rng(7)

    def some(count: int) -> list[tuple[int, ...]]:
        low = numbers.integers(0, 80, (count, 2))
        return [
            tuple(row) for row in np.concatenate([low, low + numbers.integers(15, 40, (count, 2))], axis=1).tolist()
        ]

    images = [some(6) for _ in range(5)]
    near = [[tuple(np.array(box) + numbers.integers(-3, 4, 4)) for box in image * 2] for image in images]
    near = [[tuple(np.clip(box, 0, 120).tolist()) for box in image] for image in near]
    names = [[LABELS[i % 2] for i in range(12)] for _ in images]
    truth = make.truth(
        LABELS,
        [[(n, box) for n, box in zip(name, image, strict=False)] for name, image in zip(names, images, strict=True)],
        masks=[[text(rle(filled(*box))) for box in image] for image in images],
        sizes=[(WIDTH, HEIGHT)] * 5,
    )
    found = make.found(
        LABELS,
        [
            [(n, float(numbers.random()), box) for n, box in zip(name, image, strict=True)]
            for name, image in zip(names, near, strict=True)
        ],
        masks=[[text(rle(filled(*box))) for box in image] for image in near],
    )
    report = evaluate(truth, found)
    assert report.masks is not None
    assert report.masks.coco == pytest.approx(report.coco)
    for row, other in zip((*report.labels, report.overall), (*report.masks.labels, report.masks.overall), strict=True):
        for name in ("objects", "ap_voc07", "ap_voc", "ap", "ap50"):
            assert getattr(other, name) == pytest.approx(getattr(row, name))
    assert 0.2 < (report.masks.overall.ap or 0) < 0.9


@pytest.mark.parametrize(("foot", "without"), [(500, 0), (1e5, 0), (1e8, 1)])  # the last is too long to draw
def test_polygons_that_reach_far_out_are_cut_at_the_image(make: Make, foot: float, without: int) -> None:
    far = text([[20, 20, 60, 20, 60, foot, 20, foot]])
    report = evaluate(*square(make, [far], [(0.9, text(rle(filled(20, 20, 60, HEIGHT))))]))
    assert report.masks is not None
    assert (report.masks.without, report.masks.unreadable) == (without, without)
    assert report.masks.overall.ap == (None if without else pytest.approx(1))


def test_sizes_are_what_the_source_says_else_those_of_masks(make: Make) -> None:
    truth, found = square(make, [text(rle(filled(20, 20, 25, 60)))], [(0.9, SQUARE)])
    assert evaluate(truth, found).coco["APs"] is not None  # 200 pixels in a box of 1,600
    annotated = replace(truth, objects=replace(truth.objects, area=np.array([1600.0])))
    assert evaluate(annotated, found).coco["APs"] is None


def test_there_are_no_figures_of_masks_where_either_side_has_none(make: Make) -> None:
    truth, found = square(make, [b""], [(0.9, SQUARE)])
    assert evaluate(truth, found).masks is None
    assert "masks" not in evaluate(truth, found).as_dict()
    boxes = [Detections(found[0].boxes, found[0].scores, found[0].labels)]
    truth, _ = square(make, [SQUARE], [])
    assert evaluate(truth, boxes).masks is None
    with pytest.raises(ValueError, match="the detections have no masks"):
        mask_pairs(truth, stack(boxes, 1), floor=0.5)
    with pytest.raises(ValueError, match="detections of 1 of 2 images have masks"):
        stack([*boxes, *found], 1)


def test_the_report_is_plain_json(make: Make) -> None:
    report = evaluate(*square(make, [SQUARE, b""], [(0.9, SQUARE)]))
    read = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert read["masks"].keys() == {"labels", "overall", "coco", "without", "unreadable"}
    (row,) = read["masks"]["labels"]
    assert row.pop("label") == "cat"
    assert row == pytest.approx({"objects": 1, "ap_voc07": 1, "ap_voc": 1, "ap": 1, "ap50": 1})
