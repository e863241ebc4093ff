"""A dataset of a format that is not read gets its name and the way to one that is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import save_image
from vocdet.errors import DatasetError
from vocdet.formats import registry
from vocdet.formats.scan import Source
from vocdet.workflows.check import check_dataset

KITTI = "Car 0.00 0 -1.57 599.41 156.40 629.75 189.25 2.85 2.63 12.34 0.47 1.49 69.44 -1.56\n"
DOTA = "imagesource:GoogleEarth\ngsd:0.1\n10 10 20 10 20 20 10 20 plane 0\n"
LABELME_WEB = (
    "<annotation><filename>a.jpg</filename><object><name>cup</name><polygon><username>x</username>"
    "<pt><x>1</x><y>2</y></pt><pt><x>9</x><y>2</y></pt><pt><x>9</x><y>9</y></pt></polygon></object></annotation>"
)
LABEL_STUDIO = [{"id": 1, "data": {"image": "a.jpg"}, "annotations": [{"result": [{"from_name": "label"}]}]}]
DATUMARO = {
    "info": {},
    "categories": {"label": {"labels": [{"name": "cup"}]}},
    "items": [{"id": "a", "annotations": [{"id": 0, "type": "bbox", "bbox": [1, 2, 3, 4]}]}],
}
SUPERVISELY = {
    "size": {"height": 80, "width": 100},
    "objects": [{"classTitle": "cup", "points": {"exterior": [[1, 2]]}}],
}
CREATEML = [
    {"image": "a.jpg", "annotations": [{"label": "cup", "coordinates": {"x": 1, "y": 2, "width": 3, "height": 4}}]}
]
VOTT = {"asset": {"name": "a.jpg"}, "regions": [{"tags": ["cup"], "boundingBox": {"left": 1}}]}
DATASETS: dict[str, dict[str, object]] = {
    "VoTT": {"0a1b-asset.json": VOTT, "set.vott": {}},
    "TFRecord": {"train.tfrecord-00000-of-00002": "x"},
    "Supervisely": {"meta.json": {"classes": [], "tags": []}, "ds0/ann/a.jpg.json": SUPERVISELY},
    "Labelbox": {"export.ndjson": {"data_row": {"id": "x"}, "projects": {}}},
    "Ultralytics NDJSON": {"set.ndjson": {"type": "dataset", "task": "detect"}},
    "Label Studio": {"project-1.json": LABEL_STUDIO},
    "Datumaro": {"annotations/default.json": DATUMARO},
    "CreateML": {"_annotations.createml.json": CREATEML},
    "BDD100K": {"det.json": [{"name": "a.jpg", "labels": [{"category": "car", "box2d": {"x1": 1}}]}]},
    "VIA 3": {"via3.json": {"project": {"vid_list": ["1"]}, "metadata": {"1": {"vid": "1", "xy": [2, 1, 2, 3, 4]}}}},
    "Cityscapes": {"gtFine/train/x_gtFine_polygons.json": {"objects": []}},
    "the LabelMe web tool": {"a.xml": LABELME_WEB},
    "SageMaker Ground Truth": {"output.manifest": {"source-ref": "s3://x/a.jpg"}},
    "KITTI": {"label_2/a.txt": KITTI},
    "DOTA": {"labelTxt/a.txt": DOTA},
    "VisDrone": {"annotations/a.txt": "684,8,273,116,0,0,0,0\n"},
    "MOTChallenge": {"gt/gt.txt": "1,1,794,247,71,174,1,1,0.8\n"},
    "Parquet or Arrow files": {"data/train-00000-of-00001.parquet": "PAR1"},
    "masks without annotations": {},
}


def make(root: Path, files: dict[str, object]) -> Path:
    save_image(root / "a.jpg", (100, 80))
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return root


@pytest.mark.parametrize("name", DATASETS)
def test_a_foreign_folder_is_named_with_the_way(tmp_path: Path, name: str) -> None:
    root = make(tmp_path, DATASETS[name])
    if name.startswith("masks"):
        (root / "SegmentationClass").mkdir()
        save_image(root / "SegmentationClass" / "a.png", (100, 80))
    with pytest.raises(DatasetError) as caught:
        check_dataset(Source(root))
    assert caught.value.problem == f"looks like {name}, which is not read"
    assert caught.value.hint


@pytest.mark.parametrize("name", ["train.tfrecord", "set.ndjson", "a.vott", "a.mat"])
def test_a_foreign_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(DatasetError, match="looks like"):
        registry.scan(Source(tmp_path / name))


@pytest.mark.parametrize("name", [name for name in DATASETS if DATASETS[name]])
def test_foreign_files_beside_a_dataset_do_not_matter(tmp_path: Path, name: str, make_voc: Callable[..., Path]) -> None:
    if name == "the LabelMe web tool":  # its XML files are told from VOC's only where there are no others
        return
    root = make_voc({"a": [("cup", (10, 20, 30, 40))]})
    (root / "raw").mkdir()
    for path, content in DATASETS[name].items():
        (root / "raw" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "raw" / path).write_text(content if isinstance(content, str) else json.dumps(content))
    assert registry.readings(root)[0].format == "voc"


@pytest.mark.parametrize("name", ["Label Studio", "Datumaro", "CreateML", "VIA 3", "BDD100K", "Supervisely"])
def test_foreign_json_beside_a_coco_file_does_not_matter(tmp_path: Path, name: str) -> None:
    coco = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 80}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 1, "name": "cup"}],
    }
    root = make(tmp_path, {"coco.json": coco, **{f"raw/{path}": text for path, text in DATASETS[name].items()}})
    assert registry.readings(root)[0].format == "coco"
