"""Detections in files: COCO's results and the devkit's text files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.detections import Detections
from vocdet.errors import AnnotationError, ManyErrors, OutputError, VocdetError
from vocdet.evaluation.coco_score import coco_score
from vocdet.inference.results import read_coco_results, write_coco_results, write_voc_results

GOOD = {"image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40], "score": 0.5}


def dataset(stems: tuple[str, ...] = ("a", "b"), labels: tuple[str, ...] = ("cat", "dog")) -> Dataset:
    size = np.full(len(stems), 100, np.int32)
    images = Images(stems, tuple(f"JPEGImages/{stem}.jpg" for stem in stems), size, size, ("",) * len(stems))
    none, off = np.zeros(0, np.int32), np.zeros(0, np.bool_)
    return Dataset(Path("/nowhere"), labels, images, Objects(none, none, np.zeros((0, 4)), off, off, off, off, none))


def found(*rows: tuple[int, float, tuple[float, float, float, float]]) -> Detections:
    """Detections of (label, score, box)."""
    return Detections(
        np.array([box for _, _, box in rows]),
        np.array([score for _, score, _ in rows], np.float32),
        np.array([label for label, _, _ in rows], np.int64),
    )


def test_an_entry_a_line_with_ids_from_1(tmp_path: Path) -> None:
    path = tmp_path / "out" / "results.json"
    write_coco_results(path, dataset(), [found(), found((1, 0.9, (10, 20, 40, 60)), (0, 0.25, (0, 0, 1.5, 2)))])
    assert path.read_text() == (
        '[\n{"image_id":2,"category_id":2,"bbox":[10.0,20.0,30.0,40.0],"score":0.9},\n'
        '{"image_id":2,"category_id":1,"bbox":[0.0,0.0,1.5,2.0],"score":0.25}\n]\n'
    )


def test_no_detections_are_an_empty_list(tmp_path: Path) -> None:
    write_coco_results(tmp_path / "r.json", dataset(), [found(), found()])
    assert json.loads((tmp_path / "r.json").read_text()) == []
    assert [len(one) for one in read_coco_results(tmp_path / "r.json", dataset())] == [0, 0]


def test_images_that_are_no_dataset_carry_their_names(tmp_path: Path) -> None:
    write_coco_results(tmp_path / "r.json", ["снимок 1.png", "b.png"], [found((0, 0.5, (0, 0, 1, 1))), found()])
    (entry,) = json.loads((tmp_path / "r.json").read_text("utf-8"))
    assert entry == {"image_id": 1, "file_name": "снимок 1.png", "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}


def test_results_of_other_images_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_coco_results(path, ["b.jpg"], [found((0, 0.5, (0, 0, 1, 1)))])
    with pytest.raises(AnnotationError, match=r"'b\.jpg', but this image of the dataset is 'JPEGImages/a\.jpg'"):
        read_coco_results(path, dataset())
    path.write_text(json.dumps([{**GOOD, "file_name": "C:\\photos\\a.jpg"}]))
    assert len(read_coco_results(path, dataset())[0]) == 1


def test_ids_of_another_coco_file(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    rows = [found((1, 0.5, (0, 0, 1, 1))), found((0, 0.5, (0, 0, 1, 1)))]
    write_coco_results(path, dataset(), rows, image_ids=[700, 0], category_ids=[90, 3])
    entries = json.loads(path.read_text())
    assert [(entry["image_id"], entry["category_id"]) for entry in entries] == [(700, 3), (0, 90)]
    read = read_coco_results(path, dataset(), image_ids=[700, 0], category_ids=[90, 3])
    assert [one.labels.tolist() for one in read] == [[1], [0]]


def test_the_best_score_comes_first_and_equal_ones_keep_their_order(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    entries = [{**GOOD, "score": score, "bbox": [n, 0, 1, 1]} for n, score in enumerate([0.5, 0.9, 0.5, 0.1, 0.5])]
    path.write_text(json.dumps(entries))
    assert read_coco_results(path, dataset())[0].boxes[:, 0].tolist() == [1, 0, 2, 4, 3]


def test_ids_in_any_order_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps([{**GOOD, "image_id": 2}, GOOD, GOOD]).encode())
    assert [len(one) for one in read_coco_results(path, dataset())] == [2, 1]


coordinate = st.floats(0, 2000, width=32).map(lambda value: round(value * 64) / 64)
single = st.floats(0, 1, width=32)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(
        st.lists(st.tuples(st.integers(0, 1), single, st.tuples(*[coordinate] * 4)), max_size=5), min_size=2, max_size=2
    )
)
def test_reading_gives_back_what_was_written(
    module_tmp_path: Path,
    rows: list[list[tuple[int, float, tuple[float, float, float, float]]]],
) -> None:
    path = module_tmp_path / "r.json"
    tidy = [
        sorted(
            ((label, score, (min(a, c), min(b, d), max(a, c), max(b, d))) for label, score, (a, b, c, d) in image),
            key=lambda row: -row[1],
        )
        for image in rows
    ]
    written = [found(*image) for image in tidy]
    write_coco_results(path, dataset(), written)
    for before, after in zip(written, read_coco_results(path, dataset()), strict=True):
        assert np.array_equal(before.boxes, after.boxes)
        assert np.array_equal(before.scores, after.scores)
        assert np.array_equal(before.labels, after.labels)


@pytest.mark.parametrize(
    ("change", "place", "problem"),
    [
        ({"score": float("nan")}, "[1].score", "is nan, not a finite number"),
        ({"score": float("-inf")}, "[1].score", "is -inf, not a finite number"),
        ({"score": "0.9"}, "[1].score", "is '0.9', not a number"),
        ({"score": True}, "[1].score", "is True, not a number"),
        ({"score": 1e39}, "[1].score", "is 1e+39, which is too large"),
        ({"image_id": 3}, "[1].image_id", "is 3, which the dataset does not have"),
        ({"image_id": 0}, "[1].image_id", "is 0, which the dataset does not have"),
        ({"image_id": "one"}, "[1].image_id", "is 'one', not a whole number"),
        ({"image_id": "3"}, "[1].image_id", "is '3', which the dataset does not have"),
        ({"category_id": 9}, "[1].category_id", "is 9, which the dataset does not have"),
        ({"category_id": 1.5}, "[1].category_id", "is 1.5, not a whole number"),
        ({"category_id": [1]}, "[1].category_id", "is [1], not a whole number"),
        ({"bbox": [1, 2, 3]}, "[1].bbox", "is [1, 2, 3], not four numbers"),
        ({"bbox": [1] * 100}, "[1].bbox", "is a list of 100, not four numbers"),
        ({"bbox": {"x": 1}}, "[1].bbox", "is an object, not four numbers"),
        ({"bbox": [1, 2, None, 4]}, "[1].bbox[2]", "is None, not a number"),
        ({"bbox": [1, float("inf"), 3, 4]}, "[1].bbox[1]", "is inf, not a finite number"),
        ({"bbox": [1e300, 2, 3, 4]}, "[1].bbox[0]", "is 1e+300, which is too large"),
        ({"bbox": [1, 2, -3, 4]}, "[1].bbox", "is [1, 2, -3, 4], with a negative width or height"),
    ],
)
def test_a_bad_entry_is_named(tmp_path: Path, change: dict[str, object], place: str, problem: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps([GOOD, {**GOOD, **change}]))
    with pytest.raises(AnnotationError) as caught:
        read_coco_results(path, dataset())
    assert str(caught.value.place) == f"{path}: {place}"
    assert caught.value.problem == problem


def test_ids_may_be_texts_or_decimals(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps([{**GOOD, "image_id": "2", "category_id": "1"}, {**GOOD, "image_id": 2.0}]))
    first, second = read_coco_results(path, dataset())
    assert (len(first), len(second)) == (0, 2)
    assert second.labels.tolist() == [0, 0]


@pytest.mark.parametrize("name", ["image_id", "category_id", "bbox", "score"])
def test_a_missing_key_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps([{key: value for key, value in GOOD.items() if key != name}]))
    with pytest.raises(AnnotationError, match=rf"\[0\]: has no {name}"):
        read_coco_results(path, dataset())


def test_several_bad_entries_are_reported_together(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps([{**GOOD, "image_id": 9}, GOOD, 3]))
    with pytest.raises(ManyErrors) as caught:
        read_coco_results(path, dataset())
    assert [str(error.place) for error in caught.value.errors] == [f"{path}: [0].image_id", f"{path}: [2]"]
    path.write_text(json.dumps([{**GOOD, "image_id": 9}] * 500))
    with pytest.raises(ManyErrors) as caught:
        read_coco_results(path, dataset())
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
def test_a_file_without_a_list_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content)
    with pytest.raises(AnnotationError) as caught:
        read_coco_results(path, dataset())
    assert problem in caught.value.problem
    assert caught.value.hint.startswith('give a list of {"image_id"')


def test_the_line_of_invalid_json_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("[\n3,\n]x\n")
    with pytest.raises(AnnotationError, match=rf"{path.name}:3: is not JSON"):
        read_coco_results(path, dataset())


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="no detections can be read: no such file"):
        read_coco_results(tmp_path / "none.json", dataset())


def test_numbers_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not finite"):
        write_coco_results(tmp_path / "r.json", dataset(), [found((0, float("nan"), (0, 0, 1, 1))), found()])
    assert list(tmp_path.iterdir()) == []


def test_detections_of_another_number_of_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="detections of 1 images for 2"):
        write_coco_results(tmp_path / "r.json", dataset(), [found()])
    with pytest.raises(ValueError, match="detections of 1 images for a dataset of 2"):
        write_voc_results(tmp_path, dataset(), [found()])


def test_the_devkits_files_are_1_based_and_inclusive(tmp_path: Path) -> None:
    first = found((0, 0.9, (0, 19, 40, 60)), (1, 0.5, (0.5, 0, 1.25, 2)), (0, 0.125, (1, 1, 2, 2)))
    paths = write_voc_results(tmp_path, dataset(labels=("cat", "dog", "owl")), [first, found((0, 1, (0, 0, 9, 9)))])
    assert [path.name for path in paths] == [f"comp3_det_test_{label}.txt" for label in ("cat", "dog", "owl")]
    assert paths[0].read_text() == "a 0.9 1 20 40 60\na 0.125 2 2 2 2\nb 1.0 1 1 9 9\n"
    assert paths[1].read_text() == "a 0.5 1.5 1 1.25 2\n"
    assert paths[2].read_text() == ""


def test_what_the_devkit_cannot_read_is_refused(tmp_path: Path) -> None:
    one = [found((0, 0.9, (0, 0, 4, 4)))]
    with pytest.raises(OutputError, match="the stem 'my cat' contains a space"):
        write_voc_results(tmp_path, dataset(("my cat",)), one)
    with pytest.raises(OutputError, match=r"the label '\.\./cat' cannot be in a file name"):
        write_voc_results(tmp_path, dataset(("a",), ("../cat",)), one)
    assert list(tmp_path.iterdir()) == []


def test_known_bad_cases(shared: Path) -> None:
    cases = json.loads((shared / "badcases/manifest.json").read_text("utf-8"))["cases"]
    results = [case for case in cases if case["kind"] == "results"]
    assert results
    for case in results:
        folder = shared / "badcases" / case["path"]
        truth = truth_of(json.loads((folder / "gt.json").read_text("utf-8")))
        if "error" in case["expect"]["acceptable"]:
            with pytest.raises(VocdetError, match=case["entry"]):
                read_coco_results(folder / case["entry"], truth)
        else:
            score = coco_score(truth, read_coco_results(folder / case["entry"], truth))
            assert score.summary["AP"] == pytest.approx(case["expect"]["AP"], abs=1e-6), case["id"]


def truth_of(content: dict[str, list[dict[str, object]]]) -> Dataset:
    """A ground truth whose ids count from 1."""
    rows = content["annotations"]
    box = np.array([entry["bbox"] for entry in rows], np.float64)
    box[:, 2:] += box[:, :2]
    off = np.zeros(len(rows), np.bool_)
    image, label = (
        np.array([entry[name] for entry in rows]).astype(np.int32) - 1 for name in ("image_id", "category_id")
    )
    objects = Objects(image, label, box, off, off, off, off, np.zeros(len(rows), np.int32))
    empty = dataset(
        tuple(Path(str(entry["file_name"])).stem for entry in content["images"]),
        tuple(str(entry["name"]) for entry in content["categories"]),
    )
    return Dataset(empty.root, empty.labels, empty.images, objects)
