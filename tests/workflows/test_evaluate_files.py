"""Detections in files are evaluated as other tools do, without a model and without images."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vocdet.formats.scan import Source
from vocdet.workflows.eval_options import EvalOptions
from vocdet.workflows.evaluate_files import evaluate_files, is_detections

MakeVoc = Callable[..., Path]
EVERY = EvalOptions(split="")
# the figures that pycocotools prints for COCO's own example
BOXES = [0.5046, 0.6970, 0.5730, 0.5856, 0.5194, 0.5014, 0.3868, 0.5937, 0.5954, 0.6398, 0.5664, 0.5643]
MASKS = [0.3195, 0.5623, 0.2989, 0.3874, 0.3102, 0.3269, 0.2682, 0.4154, 0.4168, 0.4694, 0.3768, 0.3815]


@pytest.mark.parametrize(("kind", "expected"), [("bbox", BOXES), ("segm", MASKS)])
def test_cocos_example(shared: Path, kind: str, expected: list[float]) -> None:
    folder = shared / "data/fixtures/coco_val2014_100"
    results = folder / f"instances_val2014_fake{kind}100_results.json"
    report = evaluate_files(results, Source(folder / "instances_val2014_100.json"), EVERY).report
    coco = report.masks.coco if kind == "segm" and report.masks else report.coco
    assert [round(value or 0, 4) for value in coco.values()] == expected


def coco(folder: Path, ids: tuple[Any, ...], **first: object) -> Path:
    """A COCO file of two images and two labels, with an object in each; its first annotation has these keys, too."""
    table = [{"id": number, "file_name": f"{i}.jpg", "width": 100, "height": 100} for i, number in enumerate(ids)]
    objects: list[dict[str, object]] = [
        {"id": i, "image_id": number, "category_id": ids[i], "bbox": [10, 10, 50, 50], "area": 2500, "iscrowd": 0}
        for i, number in enumerate(ids)
    ]
    objects[0] |= first
    objects[0] = {key: value for key, value in objects[0].items() if value is not None}
    names = [{"id": number, "name": f"label{i}"} for i, number in enumerate(ids)]
    path = folder / "truth.json"
    path.write_text(json.dumps({"images": table, "annotations": objects, "categories": names}))
    return path


def results(folder: Path, ids: tuple[Any, ...]) -> Path:
    path = folder / "results.json"
    entries = [{"image_id": one, "category_id": one, "bbox": [10, 10, 50, 50], "score": 0.9} for one in ids]
    path.write_text(json.dumps(entries))
    return path


@pytest.mark.parametrize("ids", [(1, 2), (0, 1), (900, 3), ("a", "b"), ("7", "8"), (-5, 2**60)])
def test_every_object_is_found_whatever_its_ids(tmp_path: Path, ids: tuple[Any, ...]) -> None:
    report = evaluate_files(results(tmp_path, ids), Source(coco(tmp_path, ids)), EVERY).report
    assert report.overall.ap == pytest.approx(1)
    assert report.overall.correct == 2


@pytest.mark.parametrize("change", [{"id": 1}, {"area": None}, {"iscrowd": None}])
def test_annotations_may_lack_what_scoring_does_not_need(tmp_path: Path, change: dict[str, Any]) -> None:
    source = Source(coco(tmp_path, (1, 2), **change), skip_bad=True)
    report = evaluate_files(results(tmp_path, (1, 2)), source, EVERY).report
    assert report.overall.ap == pytest.approx(1)


def test_an_empty_list_finds_nothing(tmp_path: Path) -> None:
    report = evaluate_files(results(tmp_path, ()), Source(coco(tmp_path, (1, 2))), EVERY).report
    assert (report.overall.ap, report.overall.missed) == (0, 2)


def test_of_several_coco_files_the_ids_of_the_split_count(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    for split, name in (("train", "x"), ("val", "y")):
        path = coco(tmp_path, (1, 2))
        content = path.read_text().replace('.jpg"', f'{name}.jpg"')
        (tmp_path / f"annotations/instances_{split}.json").write_text(content)
        path.unlink()
    path = results(tmp_path, (1, 2)).rename(tmp_path.parent / "results-of-val.json")
    done = evaluate_files(path, Source(tmp_path), EvalOptions(split="val"))
    assert done.report.images == 2
    assert done.report.overall.ap == pytest.approx(1)


@pytest.fixture
def root(make_voc: MakeVoc) -> Path:
    scenes = {name: [("cat", (5, 5, 40, 50))] for name in ("1", "x2", "x3")}
    return make_voc(scenes, splits={"train": ["1"], "test": ["x2", "x3"]})


def test_without_a_coco_file_ids_are_stems_or_positions_in_the_split(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    for ids in ((1, 2), ("x2", "x3"), ("x2.png", 2)):
        entries = [{"image_id": one, "category_id": 1, "bbox": [5, 5, 35, 45], "score": 0.9} for one in ids]
        if isinstance(ids[0], str) and ids[0].endswith(".png"):
            entries[0]["image_id"] = Path(json.loads(json.dumps(ids[0]))).stem
        path.write_text(json.dumps(entries))
        assert evaluate_files(path, Source(root)).report.overall.ap == pytest.approx(1), ids


def test_detections_of_other_splits_are_counted_apart(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "comp3_det_test_cat.txt"
    path.write_text("x2 0.9 5 5 40 50\nx3 0.9 5 5 40 50\n1 0.9 5 5 40 50\n")
    done = evaluate_files(path, Source(root))
    assert (done.report.overall.correct, done.outside, done.kind) == (2, 1, "text files of the VOC devkit")


def test_a_run_or_an_export_is_no_file_of_detections(tmp_path: Path) -> None:
    for name in ("onnx/export.json", "onnx/labels.txt", "onnx/model.onnx"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert not is_detections(tmp_path / "onnx")
    assert not is_detections(tmp_path / "onnx" / "model.onnx")
    (tmp_path / "best.safetensors").touch()
    assert not is_detections(tmp_path)
    assert not is_detections(tmp_path / "best.safetensors")
    assert not is_detections(tmp_path / "missing")
    assert is_detections(results(tmp_path, ()))


def test_neither_torch_nor_opencv_is_imported() -> None:
    script = "import sys, vocdet.workflows.evaluate_files; print({'torch', 'cv2'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
