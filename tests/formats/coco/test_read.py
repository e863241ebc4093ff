from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.conftest import save_image
from tests.strategies import examples
from vocdet.data.findings import Finding
from vocdet.errors import AnnotationError, VocdetError
from vocdet.formats.coco import read as coco_json
from vocdet.formats.coco.read import scan
from vocdet.formats.scan import Scan, Source

IMAGE = {"id": 1, "file_name": "a.jpg", "width": 100, "height": 80}
OTHER = {"id": 2, "file_name": "b.jpg", "width": 100, "height": 80}
ANNOTATION = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 40, 40], "area": 1600, "iscrowd": 0}
PLAIN: dict[str, Any] = {
    "images": [IMAGE, OTHER],
    "annotations": [ANNOTATION, {**ANNOTATION, "id": 2, "image_id": 2, "category_id": 2, "bbox": [1, 2, 3, 4]}],
    "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
}


def coco_set(
    root: Path,
    content: Mapping[str, Any] | bytes | None = None,
    *,
    files: Mapping[str, Any] | None = None,
    images: Sequence[str] = ("images/a.jpg", "images/b.jpg"),
) -> Path:
    """A folder with annotations/instances.json, or these files, and small images of 100×80."""
    for name, value in (files or {"annotations/instances.json": content or PLAIN}).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    for i, name in enumerate(images):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        save_image(root / name, (100, 80), seed=i)
    return root


def changed(**lists: Any) -> dict[str, Any]:
    """The plain content with other values."""
    return {**copy.deepcopy(PLAIN), **lists}


def objects(found: Scan) -> list[tuple[str, str, list[float]]]:
    """Stem, label and box of every object."""
    dataset = found.dataset
    columns = zip(dataset.objects.image, dataset.objects.label, dataset.objects.box.tolist(), strict=True)
    return [(dataset.images.stems[image], dataset.labels[label], box) for image, label, box in columns]


def only(found: Scan) -> Finding:
    assert len(found.findings) == 1, found.findings
    return found.findings[0]


def codes(found: Scan) -> list[tuple[str, str, str]]:
    return [(finding.severity, finding.code, finding.place.inside) for finding in found.findings]


DOG, CAT = ("a", "dog", [10.0, 20.0, 50.0, 60.0]), ("b", "cat", [1.0, 2.0, 4.0, 6.0])


def test_a_file_becomes_a_dataset(tmp_path: Path) -> None:
    found = scan(Source(coco_set(tmp_path)))
    assert found.findings == ()
    assert (found.format, found.kind, found.coordinates, found.reason) == (
        "coco",
        "COCO, annotations/instances.json",
        "zero",
        "",
    )
    dataset = found.dataset
    assert objects(found) == [DOG, CAT]
    assert dataset.labels == ("dog", "cat")  # in the order of the file
    assert (dataset.root, dataset.images.files) == (tmp_path, ("images/a.jpg", "images/b.jpg"))
    assert dataset.images.sources == ("annotations/instances.json",) * 2
    assert (dataset.images.widths.tolist(), dataset.images.heights.tolist()) == ([100, 100], [80, 80])
    assert (dataset.entries, dataset.objects.line.tolist()) == ("annotations", [1, 2])
    assert np.array_equal(dataset.objects.area, [1600, 1600])
    assert found.dataset.splits == {}


@pytest.mark.parametrize("named", ["", "annotations/instances.json"])
def test_a_folder_and_its_file_are_the_same(tmp_path: Path, named: str) -> None:
    assert objects(scan(Source(coco_set(tmp_path) / named))) == [DOG, CAT]


def test_objects_are_read_in_the_order_of_their_images(tmp_path: Path) -> None:
    content = changed()
    content["annotations"].reverse()
    found = scan(Source(coco_set(tmp_path, content)))
    assert objects(found) == [DOG, CAT]
    assert found.dataset.objects.line.tolist() == [2, 1]


def test_an_image_without_annotations_shows_none_of_the_labels(tmp_path: Path) -> None:
    found = scan(Source(coco_set(tmp_path, changed(annotations=[]))))
    assert (len(found.dataset), len(found.dataset.objects), found.findings) == (2, 0, ())


@pytest.mark.parametrize("ids", [(0, 1, 0, 0), (-5, 2**52, 7, -7), (10**15, 3, 90, 91)])
def test_ids_may_be_any_whole_numbers(tmp_path: Path, ids: tuple[int, int, int, int]) -> None:
    first, second, dog, one = ids
    content = changed(images=[{**IMAGE, "id": first}, {**OTHER, "id": second}])
    content["categories"][0]["id"] = dog
    content["annotations"][0] |= {"id": one, "image_id": first, "category_id": dog}
    content["annotations"][1]["image_id"] = second
    found = scan(Source(coco_set(tmp_path, content)))
    assert (objects(found), found.findings) == ([DOG, CAT], ())


@pytest.mark.parametrize("image", ["x", 2**70, 10**400, "1"])
def test_ids_that_are_no_numbers_are_names(tmp_path: Path, image: object) -> None:
    content = changed(images=[{**IMAGE, "id": image}, OTHER])
    content["annotations"][0]["image_id"] = image
    found = scan(Source(coco_set(tmp_path, content)))
    assert objects(found) == [DOG, CAT]
    assert codes(found) == [
        ("warning", "coco.id.type", "images[0].id"),
        ("warning", "coco.id.type", "annotations[0].image_id"),
    ]


def test_annotations_of_one_id_are_all_kept(tmp_path: Path) -> None:
    content = changed()
    content["annotations"][1]["id"] = 1
    found = scan(Source(coco_set(tmp_path, content)))
    assert objects(found) == [DOG, CAT]
    assert codes(found) == [("warning", "coco.annotation.id", "annotations[1]")]
    assert only(found).problem == "has the id 1 of annotations[0]"


def test_ids_that_were_left_out_are_not_taken_for_the_same(tmp_path: Path) -> None:
    content = changed()
    for one in content["annotations"]:
        one["id"] = None
    found = scan(Source(coco_set(tmp_path, content)))
    assert objects(found) == [DOG, CAT]
    assert [code for _, code, _ in codes(found)] == ["coco.id.type"] * 2


def test_an_id_of_two_images_is_an_error_and_neither_gets_its_annotations(tmp_path: Path) -> None:
    found = scan(Source(coco_set(tmp_path, changed(images=[IMAGE, {**OTHER, "id": 1}]))))
    assert objects(found) == []
    assert codes(found) == [
        ("error", "coco.image.id", "images[0]"),
        ("error", "coco.image.id", "images[1]"),
        ("error", "coco.annotation.unknown_image", "annotations[1]"),
    ]
    assert found.findings[0].problem.startswith("the id 1 is used twice")


def test_an_id_of_two_categories_is_an_error(tmp_path: Path) -> None:
    content = changed(categories=[{"id": 1, "name": "dog"}, {"id": 1, "name": "cat"}])
    found = scan(Source(coco_set(tmp_path, content)))
    assert codes(found)[:2] == [
        ("error", "coco.category.id", "categories[1]"),
        ("error", "coco.annotation.unknown_category", "annotations[0]"),
    ]
    assert found.findings[1].problem == "its category_id is 1, which several categories have"
    assert objects(found) == []


def test_two_categories_of_one_name_are_one_label(tmp_path: Path) -> None:
    content = changed(categories=[5, {"id": 1, "name": "dog"}, {"id": 2, "name": " dog "}])
    found = scan(Source(coco_set(tmp_path, content)))
    assert [(label, box) for _, label, box in objects(found)] == [DOG[1:], ("dog", CAT[2])]
    assert codes(found) == [
        ("error", "coco.type", "categories[0]"), ("warning", "label.whitespace", "categories[2]"),
        ("warning", "coco.category.duplicate_name", "categories[2]"),
    ]  # fmt: skip
    assert found.findings[2].problem == "'dog' is also the name of categories[1]: both are read as one label"


@pytest.mark.parametrize(
    ("key", "code", "problem"),
    [("image_id", "coco.annotation.unknown_image", "its image_id is 99, which no image has"),
     ("category_id", "coco.annotation.unknown_category", "its category_id is 99, which no category has")],
)  # fmt: skip
def test_an_annotation_of_nothing_is_an_error(tmp_path: Path, key: str, code: str, problem: str) -> None:
    content = changed()
    content["annotations"][0][key] = 99
    found = scan(Source(coco_set(tmp_path, content)))
    assert objects(found) == [CAT]
    assert (only(found).code, only(found).problem, only(found).place.inside) == (code, problem, "annotations[0]")
    assert only(found).place.path == tmp_path / "annotations" / "instances.json"


@pytest.mark.parametrize(
    ("bbox", "code", "problem"),
    [
        ([10, 20, -3, 4], "coco.bbox.negative", "has the width -3 and the height 4"),
        ([10, 20, 3, -0.5], "coco.bbox.negative", "has the width 3 and the height -0.5"),
        ([1, 1, 1, 2e9], "coco.bbox.far", "is [1.0, 1.0, 1.0, 2000000000.0], more than 1e+09 pixels from the image"),
        ([-1e299, 1, 1, 1], "coco.bbox.far", "is [-1e+299, 1.0, 1.0, 1.0], more than 1e+09 pixels from the image"),
        (
            [1.5e308, 1, 1.5e308, 1],
            "coco.bbox.far",
            "is [1.5e+308, 1.0, 1.5e+308, 1.0], more than 1e+09 pixels from the image",
        ),
    ],
)
def test_an_invalid_box_is_an_error(tmp_path: Path, bbox: list[float], code: str, problem: str) -> None:
    content = changed()
    content["annotations"][0]["bbox"] = bbox
    found = scan(Source(coco_set(tmp_path, content)))
    assert objects(found) == [CAT]
    assert (only(found).code, only(found).problem, only(found).place.inside) == (code, problem, "annotations[0].bbox")


def test_a_place_counts_entries_that_were_left_out(tmp_path: Path) -> None:
    content = changed(annotations=[5, {"id": 9}, *PLAIN["annotations"], {**ANNOTATION, "id": 8, "bbox": [1, 2, -1, 4]}])
    found = scan(Source(coco_set(tmp_path, content)))
    assert codes(found)[-1] == ("error", "coco.bbox.negative", "annotations[4].bbox")
    assert found.dataset.objects.line.tolist() == [3, 4]  # from 1


def test_corners_beside_a_box_are_used_where_they_are_its_own(tmp_path: Path) -> None:
    content = changed()
    content["annotations"][0] |= {"bbox": [0.1, 0.2, 0.3, 0.4], "box": [0.1, 0.2, 0.4000000001, 0.6]}
    content["annotations"][1] |= {"bbox": [1, 2, 3, 4], "box": [1, 2, 3, 4]}  # somebody else's: x, y, width, height
    found = scan(Source(coco_set(tmp_path, content)))
    assert found.dataset.objects.box.tolist() == [[0.1, 0.2, 0.4000000001, 0.6], [1, 2, 4, 6]]
    assert (only(found).severity, only(found).code, only(found).place.inside) == (
        "warning",
        "coco.box",
        "annotations[1].box",
    )
    assert only(found).problem.startswith("is [1.0, 2.0, 3.0, 4.0], not the corners of bbox [1.0, 2.0, 3.0, 4.0]")


def test_sums_of_decimals_are_those_people_expect(tmp_path: Path) -> None:
    content = changed()
    content["annotations"][0]["bbox"] = [0.1, 0.7, 0.2, 0.1]
    assert scan(Source(coco_set(tmp_path, content))).dataset.objects.box[0].tolist() == [0.1, 0.7, 0.3, 0.8]
    assert 0.1 + 0.2 != 0.3


def test_the_extras_of_an_object(tmp_path: Path) -> None:
    content = changed()
    content["annotations"][0] |= {"iscrowd": 1, "difficult": 1, "truncated": 1, "occluded": 1, "pose": " Left ",
                                  "segmentation": [[1, 2, 3, 4, 5, 6.5]], "score": 0.5, "area": 12.25}  # fmt: skip
    content["annotations"][1] |= {"pose": "Unspecified", "segmentation": [], "area": None}
    dataset = scan(Source(coco_set(tmp_path, content))).dataset
    first = dataset.objects
    for column in (first.crowd, first.difficult, first.truncated, first.occluded):
        assert column.tolist() == [True, False]
    assert [dataset.poses[i] for i in first.pose] == ["Left", ""]
    assert [first.segmentation[0], first.segmentation[1]] == [b"[[1, 2, 3, 4, 5, 6.5]]", b""]
    assert [first.extra[0], first.extra[1]] == [b'{"score":0.5}', b""]
    assert np.array_equal(first.area, [12.25, np.nan], equal_nan=True)


@pytest.mark.parametrize("nothing", [None, [], [[]], {}, []])
def test_a_segmentation_of_nothing_is_none(tmp_path: Path, nothing: object) -> None:
    content = changed()
    content["annotations"][0]["segmentation"] = nothing
    root = coco_set(tmp_path, json.dumps(content, indent=2).encode())
    assert scan(Source(root)).dataset.objects.segmentation[0] == b""


def test_more_poses_than_can_be_numbered_are_an_error(tmp_path: Path) -> None:
    many = [{**ANNOTATION, "id": i, "pose": f"p{i}"} for i in range(1, 32_770)]
    found = scan(Source(coco_set(tmp_path, changed(annotations=many))))
    assert (only(found).severity, only(found).code, only(found).place.inside) == (
        "error",
        "coco.pose",
        "annotations[32767].pose",
    )
    assert [found.dataset.poses[i] for i in found.dataset.objects.pose[[0, 32_766, 32_767]]] == ["p1", "p32767", ""]


def test_the_extras_of_the_dataset_are_preserved(tmp_path: Path) -> None:
    content = changed(info={"year": 1}, licenses=[{"id": 1}], mine=[1])
    content["categories"][0]["supercategory"] = "animal"
    content["images"][0]["license"] = 1
    dataset = scan(Source(coco_set(tmp_path, content))).dataset
    assert json.loads(dataset.extra) == {
        "info": {"year": 1}, "licenses": [{"id": 1}], "mine": [1], "categories": {"dog": {"supercategory": "animal"}},
    }  # fmt: skip
    assert [dataset.images.extra[0], dataset.images.extra[1]] == [b'{"license":1}', b""]


# Images: their names, places and sizes.


def with_name(name: str) -> dict[str, Any]:
    return changed(images=[{**IMAGE, "file_name": name}, OTHER])


@pytest.mark.parametrize(
    ("name", "found", "code"),
    [
        ("images/a.jpg", "images/a.jpg", ""),
        ("./a.jpg", "images/a.jpg", ""),
        ("A.JPG", "images/a.jpg", ""),
        ("images\\a.jpg", "images/a.jpg", "path.backslash"),
        ("/data/set/a.jpg", "images/a.jpg", "path.absolute"),
        ("C:\\photos\\a.jpg", "images/a.jpg", "path.absolute"),
        ("../../a.jpg", "images/a.jpg", "path.traversal"),
        ("images/../a.jpg", "images/a.jpg", "path.traversal"),
    ],
)
def test_a_name_is_followed_only_inside_the_dataset(tmp_path: Path, name: str, found: str, code: str) -> None:
    outside = tmp_path / "a.jpg"
    save_image(outside, (13, 17))
    read = scan(Source(coco_set(tmp_path / "one" / "set", with_name(name))))
    assert read.dataset.images.files == (found, "images/b.jpg")
    assert [one[:2] for one in codes(read)] == ([("warning", code)] if code else [])
    assert len(objects(read)) == 2
    if code:
        assert only(read).place.inside == "images[0]"
        assert repr(name) in only(read).problem


@pytest.mark.parametrize(
    ("name", "code"),
    [("x\ny.jpg", "path.name"), ("a\0.jpg", "path.name"), ("", "path.empty"), ("   ", "path.empty"), ("/", "path.absolute"),
     (".", "path.empty"), ("a/..", "path.traversal"), ("none.jpg", "image.missing"), ("c.jpg ", "image.missing"),
     ("other/c.jpg", "image.missing"), ("c", "image.missing"), ("\u202ea.jpg", "image.missing")],
)  # fmt: skip
def test_a_name_of_no_image_is_an_error_once(tmp_path: Path, name: str, code: str) -> None:
    found = scan(Source(coco_set(tmp_path, with_name(name), images=["images/b.jpg"])))
    assert found.dataset.images.files == ("images/b.jpg",)
    assert (only(found).severity, only(found).code, only(found).place.inside) == ("error", code, "images[0]")
    assert objects(found) == [CAT]


def test_an_undecodable_name_is_an_error(tmp_path: Path) -> None:
    found = scan(Source(coco_set(tmp_path, with_name("\ud800.jpg"))))
    assert ("error", "path.name", "images[0]") in codes(found)
    for finding in found.findings:
        str(finding.as_error()).encode()


@pytest.mark.parametrize(
    ("file", "images"),
    [
        ("annotations/instances_train2017.json", ["images/train2017/a.jpg", "images/train2017/b.jpg", "images/val2017/a.jpg"]),
        ("annotations/instances_train2017.json", ["train2017/a.jpg", "train2017/b.jpg", "val2017/b.jpg"]),
        ("annotations/instances.json", ["images/a.jpg", "images/b.jpg"]),
        ("annotations/instances.json", ["JPEGImages/a.jpg", "JPEGImages/b.jpg"]),
        ("annotations/instances.json", ["annotations/a.jpg", "annotations/b.jpg"]),
        ("a.json", ["a.jpg", "b.jpg"]),
        ("a.json", ["one/a.jpg", "other/b.jpg"]),
    ],
)  # fmt: skip
def test_images_are_found_where_tools_put_them(tmp_path: Path, file: str, images: list[str]) -> None:
    found = scan(Source(coco_set(tmp_path, files={file: PLAIN}, images=images)))
    assert found.dataset.images.files == tuple(images[:2])
    assert (objects(found), found.findings) == ([DOG, CAT], ())


def test_a_name_of_two_images_is_not_guessed(tmp_path: Path) -> None:
    images = ["one/a.jpg", "two/a.jpg", "b.jpg", "c.jpg"]
    content = changed(images=[IMAGE, OTHER, {**OTHER, "id": 3, "file_name": "c.jpg"}])
    found = scan(Source(coco_set(tmp_path, files={"a.json": content}, images=images)))
    assert found.dataset.images.files == ("b.jpg", "c.jpg")
    assert only(found).code == "image.missing"


def test_a_linked_image_is_read(tmp_path: Path) -> None:
    save_image(tmp_path / "a.jpg", (100, 80))
    root = coco_set(tmp_path / "set", images=["images/b.jpg"])
    (root / "images" / "a.jpg").symlink_to(tmp_path / "a.jpg")
    found = scan(Source(root))
    assert objects(found) == [DOG, CAT]
    assert {finding.code for finding in found.findings} == {"path.linked"}


def test_a_missing_image_is_one_error_not_one_for_each_of_its_objects(tmp_path: Path) -> None:
    content = changed(annotations=[{**ANNOTATION, "id": i} for i in range(5)])
    found = scan(Source(coco_set(tmp_path, content, images=["images/b.jpg"])))
    assert only(found).problem == "its image is missing: 'a.jpg'"
    assert len(found.dataset.objects) == 0


def test_a_dataset_without_images_needs_without_images(tmp_path: Path) -> None:
    root = coco_set(tmp_path, images=[])
    with pytest.raises(AnnotationError, match="no images found"):
        scan(Source(root))
    found = scan(Source(root), without_images=True)
    assert found.dataset.images.files == ("a.jpg", "b.jpg")
    assert (objects(found), found.dataset.images.widths.tolist()) == ([DOG, CAT], [100, 100])


@pytest.mark.parametrize("size", [(0, 80), (None, 80), (None, None), (-5, 80), (2**40, 80)])
def test_without_images_an_invalid_size_is_an_error(tmp_path: Path, size: tuple[int | None, int | None]) -> None:
    content = changed(images=[{**IMAGE, "width": size[0], "height": size[1]}, OTHER])
    found = scan(Source(coco_set(tmp_path, content, images=[])), without_images=True)
    assert ("error", "coco.image.size", "images[0]") in codes(found)
    assert objects(found) == [CAT]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        ((101, 80), "101×80"),
        ((0, 80), "0×80"),
        ((None, 80), "nothing×80"),
        ((100, -80), "100×-80"),
        ((80, 100), "80×100"),
    ],
)
def test_a_wrong_size_is_reported_and_replaced_by_the_images_own(
    tmp_path: Path, size: tuple[int | None, int | None], text: str
) -> None:
    found = scan(Source(coco_set(tmp_path, changed(images=[{**IMAGE, "width": size[0], "height": size[1]}, OTHER]))))
    assert (only(found).severity, only(found).code, only(found).place.inside) == (
        "warning",
        "image.size_mismatch",
        "images[0]",
    )
    assert only(found).problem == (
        f"the size is {text} in width and height, but the image is 100×80: the image's size is used"
    )
    assert (found.dataset.images.widths[0], found.dataset.images.heights[0]) == (100, 80)


def test_a_size_of_another_image_is_an_error(tmp_path: Path) -> None:
    found = scan(Source(coco_set(tmp_path, changed(images=[{**IMAGE, "width": 640, "height": 480}, OTHER]))))
    assert (only(found).severity, only(found).code) == ("error", "image.size_mismatch")
    assert only(found).place.path.name == "a.jpg"
    assert only(found).problem == (
        "the size is 640×480 in width and height, but the image is 100×80: its boxes are not in pixels of the image"
    )


def test_an_unstated_size_is_the_images(tmp_path: Path) -> None:
    found = scan(Source(coco_set(tmp_path, changed(images=[{"id": 1, "file_name": "a.jpg"}, OTHER]))))
    assert (found.findings, found.dataset.images.widths.tolist()) == ((), [100, 100])


def test_a_turned_photograph_has_the_size_it_is_shown_at(tmp_path: Path) -> None:
    root = coco_set(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 100)).save(root / "images" / "a.jpg", exif=exif)  # the file says 100×80
    found = scan(Source(root))
    assert found.findings == ()
    assert (found.dataset.images.widths[0], found.dataset.images.heights[0]) == (100, 80)
    Image.new("RGB", (80, 100)).save(root / "images" / "a.jpg")
    assert only(scan(Source(root))).code == "image.size_mismatch"


def test_an_invalid_image_is_an_error_and_keeps_its_objects(tmp_path: Path) -> None:
    root = coco_set(tmp_path)
    (root / "images" / "a.jpg").write_bytes(b"no image")
    found = scan(Source(root))
    assert (only(found).code, only(found).place.path) == ("image.corrupt", root / "images" / "a.jpg")
    assert objects(found) == [DOG, CAT]


def test_an_image_twice_in_one_file_keeps_the_objects_of_both(tmp_path: Path) -> None:
    content = changed(images=[IMAGE, {**IMAGE, "id": 2}])
    found = scan(Source(coco_set(tmp_path, content, images=["images/a.jpg"])))
    assert objects(found) == [DOG, ("a", *CAT[1:])]
    assert only(found).problem == "'a.jpg' is also in an earlier entry: the objects of both are read"
    assert (only(found).severity, only(found).place.inside) == ("error", "images[1]")


# Several files.


def test_the_files_of_a_folder_are_its_splits(tmp_path: Path) -> None:
    one = {**PLAIN, "images": [IMAGE], "annotations": PLAIN["annotations"][:1]}
    other = {**PLAIN, "images": [{**OTHER, "id": 1}], "annotations": [{**PLAIN["annotations"][1], "image_id": 1}]}
    files = {"annotations/instances_val2017.json": other, "annotations/instances_train2017.json": one}
    found = scan(Source(coco_set(tmp_path, files=files, images=["train2017/a.jpg", "val2017/b.jpg"])))
    assert (objects(found), found.findings, found.kind) == ([DOG, CAT], (), "2 COCO files")
    assert {name: rows.tolist() for name, rows in found.dataset.splits.items()} == {"train": [0], "val": [1]}
    assert found.dataset.images.sources == (
        "annotations/instances_train2017.json",
        "annotations/instances_val2017.json",
    )


def test_the_same_name_in_two_folders_is_two_images(tmp_path: Path) -> None:
    files = {f"{split}/_annotations.coco.json": PLAIN for split in ("train", "valid")}
    images = [f"{split}/{stem}.jpg" for split in ("train", "valid") for stem in "ab"]
    found = scan(Source(coco_set(tmp_path, files=files, images=images)))
    assert found.findings == ()
    assert found.dataset.images.files == tuple(images)
    assert found.dataset.images.stems == ("a", "b", "valid/a", "valid/b")
    assert {name: rows.tolist() for name, rows in found.dataset.splits.items()} == {"train": [0, 1], "val": [2, 3]}
    assert len(found.dataset.objects) == 4


def test_labels_of_several_files_are_matched_by_name(tmp_path: Path) -> None:
    other = copy.deepcopy(PLAIN)
    other["categories"] = [{"id": 1, "name": "cat"}, {"id": 2, "name": "ant"}]
    files = {"train/_annotations.coco.json": PLAIN, "valid/_annotations.coco.json": other}
    images = [f"{split}/{stem}.jpg" for split in ("train", "valid") for stem in "ab"]
    found = scan(Source(coco_set(tmp_path, files=files, images=images)))
    assert found.dataset.labels == ("dog", "cat", "ant")
    assert [label for _, label, _ in objects(found)] == ["dog", "cat", "cat", "ant"]


def test_an_image_in_two_files_is_read_in_the_first(tmp_path: Path) -> None:
    files = {"annotations/instances_train.json": PLAIN, "annotations/instances_val.json": PLAIN}
    found = scan(Source(coco_set(tmp_path, files=files)))
    assert objects(found) == [DOG, CAT]
    assert codes(found) == [("error", "coco.image.twice", f"images[{i}]") for i in range(2)]
    assert found.findings[0].place.path == tmp_path / "annotations" / "instances_val.json"
    assert found.findings[0].problem == (
        "'a.jpg' is also in annotations/instances_train.json: its objects are read only from there"
    )
    assert {name: rows.tolist() for name, rows in found.dataset.splits.items()} == {"train": [0, 1], "val": [0, 1]}


@pytest.mark.parametrize(
    ("name", "splits"), [("instances_val.json", {"val": [0, 1]}), ("my_test.json", {}), ("a.json", {})]
)
def test_a_single_file_is_a_split_only_with_a_name_of_coco(
    tmp_path: Path, name: str, splits: dict[str, list[int]]
) -> None:
    root = coco_set(tmp_path, files={f"annotations/{name}": PLAIN})
    assert {split: rows.tolist() for split, rows in scan(Source(root)).dataset.splits.items()} == splits
    assert scan(Source(root / "annotations" / name)).dataset.splits == {}


def test_keypoints_and_captions_beside_instances_are_not_read_twice(tmp_path: Path) -> None:
    names = ("captions_val", "instances_val", "person_keypoints_val")
    found = scan(Source(coco_set(tmp_path, files={f"annotations/{name}.json": PLAIN for name in names})))
    assert objects(found) == [DOG, CAT]
    assert {code for _, code, _ in codes(found)} == {"coco.file.skipped"}


# A list of labels, progress, and files of any kind.


def test_a_label_list_gives_the_order(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\nzebra\ndog\n")
    found = scan(Source(coco_set(tmp_path / "set"), labels=tmp_path / "labels.txt"))
    assert found.dataset.labels == ("cat", "zebra", "dog")
    assert objects(found) == [DOG, CAT]


def test_a_label_that_is_not_in_the_list_is_an_error_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("Dog\ncat\n")
    found = scan(Source(coco_set(tmp_path / "set"), labels=tmp_path / "labels.txt"))
    assert objects(found) == [CAT]
    assert (only(found).severity, only(found).problem) == (
        "error",
        "the label 'dog' is not in the label list",
    )
    assert (only(found).hint, only(found).place.inside) == ("did you mean 'Dog'?", "annotations[0]")


def test_progress_counts_the_images(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    scan(Source(coco_set(tmp_path)), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_listed_names_are_read_without_images(tmp_path: Path) -> None:
    content = changed(images=[IMAGE, {**OTHER, "file_name": "x\\b.jpg"}, {**OTHER, "id": 3, "file_name": "../c.jpg"}])
    root = coco_set(tmp_path, content, images=[])
    assert coco_json.file_names(root / "annotations" / "instances.json") == ["a.jpg", "x/b.jpg"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read all files")
def test_a_file_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    root = coco_set(tmp_path)
    (root / "annotations" / "instances.json").chmod(0)
    with pytest.raises(VocdetError, match="cannot be read: permission denied"):
        scan(Source(root / "annotations" / "instances.json"))


VALUES = [None, True, 0, -1, 1, 2, 0.5, 2**31, 2**63, "", "a.jpg", "dog", "1", "\ud800", [], [1, 2, 3, 4], [[1, 2, 3, 4, 5, 6]], {},
          {"size": [80, 100], "counts": [8000]}, float("nan"), float("inf"), 1e300, 10**400]  # fmt: skip
KEYS = ["id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation", "difficult", "box", "pose", "file_name", "width",
        "height", "name", "voc", "attributes", "parts", "supercategory", "x"]  # fmt: skip


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["images", "annotations", "categories"]), st.integers(0, 1), st.sampled_from(KEYS),
                          st.sampled_from(VALUES)), min_size=1, max_size=4))  # fmt: skip
def test_wrong_values_anywhere_are_found_or_harmless(folder: Path, edits: list[tuple[str, int, str, object]]) -> None:
    content = copy.deepcopy(PLAIN)
    for name, i, key, value in edits:
        content[name][i][key] = value
    (folder / "annotations" / "instances.json").write_text(json.dumps(content))
    found = scan(Source(folder))
    assert np.isfinite(found.dataset.objects.box).all()
    assert len(found.dataset.objects) == 2 or any(finding.severity == "error" for finding in found.findings)
    for finding in found.findings:
        assert finding.place.path.is_relative_to(folder)
        str(finding.as_error()).encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain dataset whose file is written anew again and again."""
    return coco_set(tmp_path_factory.mktemp("coco"))


@settings(max_examples=examples(150), deadline=None)
@given(st.binary(max_size=60), st.integers(0, 10**6), st.booleans())
def test_any_bytes_are_a_dataset_or_an_error(folder: Path, data: bytes, cut: int, whole: bool) -> None:
    text = json.dumps(PLAIN).encode()
    place = cut % len(text)
    file = folder / "annotations" / "instances.json"
    file.write_bytes(data if whole else text[:place] + data + text[place + len(data) // 2 :])
    for path in (file, folder):
        try:
            found = scan(Source(path))
        except VocdetError as error:
            assert str(folder) in str(error)
        else:
            assert found.format == "coco"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (json.dumps(PLAIN).encode()[:-30], "is not JSON: "),
        (json.dumps(PLAIN).encode()[:150], "is not JSON: "),
        (b'{"images": [], "annotations": [], "categories": [\xff]}', "is not UTF-8 text"),
    ],
)
def test_a_file_that_is_cut_off_is_an_error_and_the_others_are_read(tmp_path: Path, data: bytes, problem: str) -> None:
    files = {"annotations/instances_train.json": PLAIN, "annotations/instances_val.json": data}
    found = scan(Source(coco_set(tmp_path, files=files)))
    assert objects(found) == [DOG, CAT]
    (error,) = (finding for finding in found.findings if finding.severity == "error")
    assert (error.code, error.place.path.name) == ("coco.file.broken", "instances_val.json")
    assert error.problem.startswith(problem)


def test_files_that_are_all_cut_off_are_errors(tmp_path: Path) -> None:
    files = {f"annotations/instances_{split}.json": b'{"images": [' for split in ("train", "val")}
    found = scan(Source(coco_set(tmp_path, files=files)))
    assert [finding.code for finding in found.findings] == ["coco.file.broken"] * 2
    assert len(found.dataset) == 0


# Images and categories that annotations do not use.


def test_images_that_no_entry_names_are_counted_in_one_finding(tmp_path: Path) -> None:
    images = ["images/a.jpg", "images/b.jpg", "images/c.jpg", "images/new/d.jpg"]
    found = scan(Source(coco_set(tmp_path, images=images)))
    assert objects(found) == [DOG, CAT]
    finding = only(found)
    assert (finding.severity, finding.code, finding.count) == ("warning", "coco.image.unlisted", 2)
    assert finding.problem == "2 images in no COCO file, and not used: images/c.jpg, images/new/d.jpg"
    assert found.left_out == {"c": "which no COCO file lists", "d": "which no COCO file lists"}


def test_images_of_another_split_are_left_alone(tmp_path: Path) -> None:
    images = ["train2017/a.jpg", "train2017/b.jpg", "val2017/c.jpg"]
    assert scan(Source(coco_set(tmp_path, images=images))).findings == ()


def test_one_of_several_files_has_no_unlisted_images(tmp_path: Path) -> None:
    files = {
        f"annotations/{name}.json": changed(images=[image], annotations=[])
        for name, image in (("x", IMAGE), ("y", OTHER))
    }
    root = coco_set(tmp_path, files=files)
    assert scan(Source(root)).findings == ()
    assert scan(Source(root / "annotations" / "x.json")).findings == ()


def test_a_name_that_also_fits_an_image_elsewhere_is_a_warning(tmp_path: Path) -> None:
    found = scan(Source(coco_set(tmp_path, images=["images/a.jpg", "images/b.jpg", "old/a.jpg"])))
    assert found.dataset.images.files == ("images/a.jpg", "images/b.jpg")
    assert ("warning", "coco.image.ambiguous", "images[0].file_name") in codes(found)
    (finding,) = (one for one in found.findings if one.code == "coco.image.ambiguous")
    assert finding.problem == "1 file name fits several images: 'a.jpg' is images/a.jpg, not old/a.jpg"


@pytest.mark.parametrize("own", ["none", "", "animals", None])
def test_a_category_that_is_only_a_supercategory_is_dropped(tmp_path: Path, own: str | None) -> None:
    root = {"id": 0, "name": "animals"} | ({} if own is None else {"supercategory": own})
    categories = [root, *({**one, "supercategory": "animals"} for one in PLAIN["categories"])]
    found = scan(Source(coco_set(tmp_path, changed(categories=categories))))
    assert found.dataset.labels == ("dog", "cat")
    assert objects(found) == [DOG, CAT]
    assert (only(found).severity, only(found).code) == ("warning", "label.root")
    assert "'animals' has no object" in only(found).problem


def test_a_category_above_others_that_has_objects_or_is_listed_stays(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat", "supercategory": "dog"}]
    found = scan(Source(coco_set(tmp_path / "one", changed(categories=categories))))
    assert (found.dataset.labels, found.findings) == (("dog", "cat"), ())
    unused = changed(
        categories=[{"id": 9, "name": "animals"}, *({**one, "supercategory": "animals"} for one in PLAIN["categories"])]
    )
    (tmp_path / "labels.txt").write_text("animals\ncat\ndog\n")
    found = scan(Source(coco_set(tmp_path / "two", unused), labels=tmp_path / "labels.txt"))
    assert found.dataset.labels == ("animals", "cat", "dog")


@pytest.mark.parametrize(
    ("boxes", "areas", "code"),
    [
        ([[0.1, 0.2, 0.5, 0.5], [0, 0, 1, 1]], [None, None], "coco.bbox.looks_normalized"),
        ([[10, 20, 50, 60], [5, 5, 90, 70]], [1600, 5525], "coco.bbox.looks_like_corners"),
        ([[10, 20, 50, 60], [5, 5, 90, 70]], [3000, 6300], ""),
        ([[0, 0, 1, 1], [1, 1, 1, 1]], [1, 1], ""),
        ([[0, 0, 50, 60], [0, 0, 90, 70]], [3000, 6300], ""),
    ],
)
def test_boxes_that_are_not_x_y_width_and_height_in_pixels_are_an_error(
    tmp_path: Path, boxes: list[list[float]], areas: list[int | None], code: str
) -> None:
    content = changed()
    for one, box, area in zip(content["annotations"], boxes, areas, strict=True):
        one |= {"bbox": box, "area": area}
    found = scan(Source(coco_set(tmp_path, content)))
    assert [(one.severity, one.code, one.count) for one in found.findings] == ([("error", code, 2)] if code else [])
    assert len(found.dataset.objects) == (0 if code else 2)
