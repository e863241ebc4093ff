"""COCO results of any tool: what is read, and what is refused with its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.scores import coco_score
from tests.inference.test_mask_results import HEIGHT, WIDTH, images, mask
from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.detections import Detections
from vocdet.errors import AnnotationError, ManyErrors, VocdetError
from vocdet.inference.coco_results import Names, read_coco_results
from vocdet.inference.results import write_coco_results

__all__ = ["images"]
GOOD = {"image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40], "score": 0.5}
NAMES = Names({1: 0, 2: 1}, {1: 0, 2: 1})


def dataset(stems: tuple[str, ...] = ("a", "b"), labels: tuple[str, ...] = ("cat", "dog")) -> Dataset:
    size = np.full(len(stems), 100, np.int32)
    table = Images(stems, tuple(f"JPEGImages/{stem}.jpg" for stem in stems), size, size, ("",) * len(stems))
    none, off = np.zeros(0, np.int32), np.zeros(0, np.bool_)
    return Dataset(Path("/nowhere"), labels, table, Objects(none, none, np.zeros((0, 4)), off, off, off, off, none))


def read(path: Path, content: object, *, names: Names = NAMES, of: Dataset | None = None) -> list[Detections]:
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return read_coco_results(path, of or dataset(), names)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "r.json"


def test_the_best_score_comes_first_and_equal_ones_keep_their_order(path: Path) -> None:
    entries = [{**GOOD, "score": score, "bbox": [n, 0, 1, 1]} for n, score in enumerate([0.5, 0.9, 0.5, 0.1, 0.5])]
    assert read(path, entries)[0].boxes[:, 0].tolist() == [1, 0, 2, 4, 3]


def test_images_in_any_order_and_a_byte_order_mark_are_read(path: Path) -> None:
    data = b"\xef\xbb\xbf" + json.dumps([{**GOOD, "image_id": 2}, GOOD, GOOD]).encode()
    assert [len(one) for one in read(path, data)] == [2, 1]


def test_an_empty_list_has_no_detections(path: Path) -> None:
    assert [len(one) for one in read(path, [])] == [0, 0]


def test_ids_are_those_of_the_names(path: Path) -> None:
    entries = [{**GOOD, "image_id": 0, "category_id": 90}, {**GOOD, "image_id": "b", "category_id": "dog"}]
    first, second = read(path, entries, names=Names({0: 0, "b": 1}, {90: 1, "dog": 1}))
    assert (first.labels.tolist(), second.labels.tolist()) == ([1], [1])


def test_ids_may_be_texts_or_decimals(path: Path) -> None:
    first, second = read(path, [{**GOOD, "image_id": "2", "category_id": "1"}, {**GOOD, "image_id": 2.0}])
    assert (len(first), second.labels.tolist()) == (0, [0, 0])


def test_results_of_other_images_are_refused(path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"'b\.jpg', but this image of the dataset is 'JPEGImages/a\.jpg'"):
        read(path, [{**GOOD, "file_name": "b.jpg"}])
    assert len(read(path, [{**GOOD, "file_name": "C:\\photos\\a.jpg"}])[0]) == 1


def test_a_list_of_another_dataset_is_one_error(path: Path) -> None:
    with pytest.raises(AnnotationError) as caught:
        read(path, [{**GOOD, "image_id": number} for number in (7, 8, 9, 10)])
    assert caught.value.problem == "is of another dataset: no image has the id 7, 8, 9 and 1 more"


coordinate = st.floats(0, 2000, width=32).map(lambda value: round(value * 64) / 64)
row = st.tuples(st.integers(0, 1), st.floats(0, 1, width=32), st.tuples(*[coordinate] * 4))


@settings(deadline=None, max_examples=40)
@given(rows=st.lists(st.lists(row, max_size=5), min_size=2, max_size=2))
def test_reading_gives_back_what_was_written(
    module_tmp_path: Path, rows: list[list[tuple[int, float, tuple[float, float, float, float]]]]
) -> None:
    path = module_tmp_path / "r.json"
    written = []
    for image in rows:
        tidy = sorted(image, key=lambda one: -one[1])
        boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for _, _, (a, b, c, d) in tidy]
        scores, labels = np.array([one[1] for one in tidy], np.float32), np.array([one[0] for one in tidy], np.int64)
        written.append(Detections(np.array(boxes), scores, labels))
    write_coco_results(path, dataset(), written)
    for before, after in zip(written, read_coco_results(path, dataset(), NAMES), strict=True):
        for name in ("boxes", "scores", "labels"):
            assert np.array_equal(getattr(before, name), getattr(after, name))


@pytest.mark.parametrize(
    ("change", "place", "problem"),
    [
        ({"score": float("nan")}, "[1].score", "is nan, not a finite number"),
        ({"score": float("-inf")}, "[1].score", "is -inf, not a finite number"),
        ({"score": "0.9"}, "[1].score", "is '0.9', not a number"),
        ({"score": True}, "[1].score", "is True, not a number"),
        ({"score": 1e39}, "[1].score", "is 1e+39, which is too large"),
        ({"image_id": 3}, "[1].image_id", "is 3, which the dataset does not have"),
        ({"image_id": "one"}, "[1].image_id", "is 'one', which the dataset does not have"),
        ({"category_id": 9}, "[1].category_id", "is 9, which the dataset does not have"),
        ({"category_id": 1.5}, "[1].category_id", "is 1.5, not an id"),
        ({"category_id": [1]}, "[1].category_id", "is [1], not an id"),
        ({"bbox": [1, 2, 3]}, "[1].bbox", "is [1, 2, 3], not four numbers"),
        ({"bbox": [1] * 100}, "[1].bbox", "is a list of 100, not four numbers"),
        ({"bbox": {"x": 1}}, "[1].bbox", "is an object, not four numbers"),
        ({"bbox": [1, 2, None, 4]}, "[1].bbox[2]", "is None, not a number"),
        ({"bbox": [1, float("inf"), 3, 4]}, "[1].bbox[1]", "is inf, not a finite number"),
        ({"bbox": [1e300, 2, 3, 4]}, "[1].bbox[0]", "is 1e+300, which is too large"),
        ({"bbox": [1, 2, -3, 4]}, "[1].bbox", "is [1, 2, -3, 4], with a negative width or height"),
    ],
)
def test_a_bad_entry_is_named(path: Path, change: dict[str, object], place: str, problem: str) -> None:
    with pytest.raises(AnnotationError) as caught:
        read(path, [GOOD, {**GOOD, **change}])
    assert str(caught.value.place) == f"{path}: {place}"
    assert caught.value.problem == problem


@pytest.mark.parametrize("name", ["image_id", "category_id", "bbox", "score"])
def test_a_missing_key_is_named(path: Path, name: str) -> None:
    with pytest.raises(AnnotationError, match=rf"\[1\]: has no {name}"):
        read(path, [GOOD, {key: value for key, value in GOOD.items() if key != name}])


def test_several_bad_entries_are_reported_together(path: Path) -> None:
    with pytest.raises(ManyErrors) as caught:
        read(path, [{**GOOD, "image_id": 9}, GOOD, 3])
    assert [str(error.place) for error in caught.value.errors] == [f"{path}: [0].image_id", f"{path}: [2]"]
    with pytest.raises(ManyErrors) as caught:
        read(path, [GOOD, *[{**GOOD, "image_id": 9}] * 500])
    assert len(caught.value.errors) == 20


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not JSON: expecting value"),
        (b"[{]", "is not JSON: expecting property name"),
        (b"\xff\xfe\xfa", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[1" + b"0" * 5000 + b"]", "is not JSON"),
        (b'{"annotations": []}', "is not a list of detections"),
        (b"3", "is not a list of detections"),
    ],
)
def test_a_file_without_a_list_is_refused(path: Path, content: bytes, problem: str) -> None:
    with pytest.raises(AnnotationError) as caught:
        read(path, content)
    assert problem in caught.value.problem
    assert caught.value.hint.startswith('give a list of {"image_id"')


def test_the_line_of_invalid_json_is_reported(path: Path) -> None:
    with pytest.raises(AnnotationError, match=rf"{path.name}:3: is not JSON"):
        read(path, b"[\n3,\n]x\n")


MASKED = {"image_id": 1, "category_id": 1, "bbox": [10, 5, 8, 20], "score": 0.5}
COUNTS = [10 * HEIGHT + 5, *[20, 10] * 7, 20, 22 * HEIGHT + 5]  # the runs of `mask()`
ReadMasks = Callable[[Sequence[dict[str, Any]]], list[Detections]]


@pytest.fixture
def read_masks(path: Path, images: Dataset) -> ReadMasks:
    names = Names({1: 0, 2: 1}, {i: i - 1 for i in range(1, 1 + len(images.labels))})
    return lambda entries: read(path, list(entries), names=names, of=images)


def test_masks_come_back_with_their_detections(read_masks: ReadMasks) -> None:
    given = [mask([i, 0, 4, 4]) for i in range(3)]
    first, second = read_masks(
        [MASKED | {"segmentation": one, "score": 0.1 * i} for i, one in enumerate([*given, None])]
    )
    assert first.masks is not None
    assert [json.loads(first.masks[i] or b"null") for i in range(4)] == [None, *given[::-1]]
    assert second.masks is not None
    assert len(second.masks) == 0


def test_without_any_mask_there_are_none(read_masks: ReadMasks) -> None:
    assert read_masks([MASKED, MASKED | {"segmentation": None}])[0].masks is None


def test_lengths_of_runs_are_compressed(read_masks: ReadMasks) -> None:
    read = read_masks([MASKED | {"segmentation": {"size": [HEIGHT, WIDTH], "counts": COUNTS}}])[0].masks
    assert read is not None
    assert json.loads(read[0]) == mask()


def test_without_a_box_it_is_the_one_around_the_mask(read_masks: ReadMasks) -> None:
    bare = {name: value for name, value in MASKED.items() if name != "bbox"}
    empty = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}
    found = read_masks([bare | {"segmentation": mask()}, bare | {"segmentation": empty}])[0]
    assert found.boxes.tolist() == [[10, 5, 18, 25], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("segmentation", "problem"),
    [
        ([[1, 1, 9, 1, 9, 9]], "is a list of 1, not an RLE"),
        ("abc", "is 'abc', not an RLE"),
        (mask() | {"size": [HEIGHT, WIDTH + 1]}, "has runs of 1200 pixels for a size of 30×41"),
        ({"size": [9, 9], "counts": [81]}, "is 9×9, but its image is 40×30"),
        ({"size": [HEIGHT, WIDTH], "counts": [1, -2]}, "has a run of negative length"),
        (mask() | {"counts": "Å"}, "has counts that are not run lengths"),
        (mask() | {"size": [HEIGHT]}, "is neither a list of polygons nor an RLE"),
        ({"counts": "0"}, "is neither a list of polygons nor an RLE"),
    ],
)
def test_an_invalid_mask_is_named(path: Path, read_masks: ReadMasks, segmentation: object, problem: str) -> None:
    with pytest.raises(AnnotationError) as caught:
        read_masks([MASKED | {"segmentation": mask()}, MASKED | {"segmentation": segmentation}])
    assert str(caught.value.place) == f"{path}: [1].segmentation"
    assert caught.value.problem.startswith(problem)


def test_known_bad_cases(shared: Path) -> None:
    cases = json.loads((shared / "badcases/manifest.json").read_text("utf-8"))["cases"]
    results = [case for case in cases if case["kind"] == "results"]
    assert results
    for case in results:
        folder = shared / "badcases" / case["path"]
        truth, names = truth_of(json.loads((folder / "gt.json").read_text("utf-8")))
        if "error" in case["expect"]["acceptable"]:
            with pytest.raises(VocdetError, match=case["entry"]):
                read_coco_results(folder / case["entry"], truth, names)
        else:
            score = coco_score(truth, read_coco_results(folder / case["entry"], truth, names))
            assert score.summary["AP"] == pytest.approx(case["expect"]["AP"], abs=1e-6), case["id"]


def truth_of(content: dict[str, list[dict[str, object]]]) -> tuple[Dataset, Names]:
    """A ground truth whose ids count from 1."""
    rows = content["annotations"]
    box = np.array([entry["bbox"] for entry in rows], np.float64)
    box[:, 2:] += box[:, :2]
    off = np.zeros(len(rows), np.bool_)
    image, label = (
        np.array([entry[name] for entry in rows]).astype(np.int32) - 1 for name in ("image_id", "category_id")
    )
    objects = Objects(image, label, box, off, off, off, off, np.zeros(len(rows), np.int32))
    stems = tuple(Path(str(entry["file_name"])).stem for entry in content["images"])
    empty = dataset(stems, tuple(str(entry["name"]) for entry in content["categories"]))
    ids = Names({i + 1: i for i in range(len(stems))}, {i + 1: i for i in range(len(empty.labels))})
    return Dataset(empty.root, empty.labels, empty.images, objects), ids
