"""What vocdet and Ultralytics write into the folder of a dataset never becomes a part of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from vocdet.formats import registry
from vocdet.formats.image_folder import read_image_folder
from vocdet.formats.scan import Source
from vocdet.outputs import mark_file, write_marker

XML = "<annotation><object><name>x</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
SHAPES = {"shapes": [{"label": "a", "points": [[1, 1], [9, 9]], "shape_type": "rectangle"}], "imagePath": "a0.jpg"}


def picture(path: Path, color: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48), (color, color, color)).save(path)


def add_outputs(root: Path) -> int:
    """Write runs, detections, crops, and a picture beside the images of a dataset; the number of all their images."""
    marked = {"runs/ssd-mb1-1": "run", "found": "predictions", "crops": "crops"}
    for folder in marked:
        picture(root / folder / "train" / "a" / "a0.jpg")
        (root / folder / "train" / "a" / "a0.txt").write_text("0 .5 .5 .2 .2\n")
        (root / folder / "train" / "a" / "a0.json").write_text(json.dumps(SHAPES))
        (root / folder / "Annotations").mkdir()
        (root / folder / "Annotations" / "a0.xml").write_text(XML + "</object></annotation>")
        (root / folder / "instances.json").write_text('{"images": [], "annotations": [], "categories": []}')
        write_marker(root / folder, marked[folder])
    for run in ("predict", "predict2", "train"):
        picture(root / "runs" / "detect" / run / "a0.jpg")
    picture(root / "stats.png")
    mark_file(root / "stats.png")
    return 7


@pytest.mark.parametrize("name", ["yolo", "yolo-flat", "labelme", "coco", "labelimg-flat"])
def test_a_dataset_with_output_inside_reads_as_before(shared: Path, tmp_path: Path, name: str) -> None:
    inputs = shared / "cases" / "runs-and-found-inside-the-folder" / "in"
    root = tmp_path / "set"
    shutil.copytree(inputs / name.removesuffix("-flat" if name == "yolo-flat" else ""), root)
    if name == "yolo-flat":  # each label file beside its image, in no folder
        for path in [*root.glob("*/*/*.*")]:
            path.rename(root / path.name)
        (root / "data.yaml").unlink()
    before = registry.scan(Source(root))
    images = add_outputs(root)
    after = registry.scan(Source(root))
    assert (after.format, after.dataset.fingerprint()) == (before.format, before.dataset.fingerprint())
    assert after.left_out == before.left_out
    added = [finding for finding in after.findings if finding not in before.findings]
    assert {finding.code for finding in added} <= {"path.output"}
    if after.format != "voc":  # whose layout looks nowhere else
        assert [finding.count for finding in added] == [images]


def test_output_is_read_where_it_is_named_itself(tmp_path: Path) -> None:
    picture(tmp_path / "found" / "a.jpg")
    (tmp_path / "found" / "a.txt").write_text("0 .5 .5 .2 .2\n")
    (tmp_path / "found" / "classes.txt").write_text("x\n")
    write_marker(tmp_path / "found", "predictions")
    assert registry.scan(Source(tmp_path / "found")).dataset.images.files == ("a.jpg",)


def test_an_image_folder_has_no_label_for_output(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "cat" / "a.jpg")
    picture(tmp_path / "set" / "cat" / "found" / "a.jpg")
    picture(tmp_path / "set" / "runs" / "ssd-1" / "batches.png")
    write_marker(tmp_path / "set" / "cat" / "found", "predictions")
    write_marker(tmp_path / "set" / "runs" / "ssd-1", "run")
    dataset = read_image_folder(tmp_path / "set")
    assert (dataset.labels, dataset.images.files) == (("cat",), ("cat/a.jpg",))


def test_a_picture_that_replaced_a_written_one_is_an_image(tmp_path: Path) -> None:
    for name in ("a.jpg", "stats.jpg"):
        picture(tmp_path / name)
        (tmp_path / name).with_suffix(".txt").write_text("0 .5 .5 .2 .2\n")
    mark_file(tmp_path / "stats.jpg")
    assert registry.scan(Source(tmp_path)).dataset.images.files == ("a.jpg",)
    picture(tmp_path / "stats.jpg", color=200)
    assert registry.scan(Source(tmp_path)).dataset.images.files == ("a.jpg", "stats.jpg")
