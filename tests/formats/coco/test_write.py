from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as pycoco
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.losses import Loss
from vocdet.data.mask_areas import mask_areas
from vocdet.data.texts import Texts
from vocdet.formats.coco import read as coco_json
from vocdet.formats.coco import write as coco_write
from vocdet.formats.scan import Source

STEMS = ("a", "sub/b", "c d")
SQUARE = b"[[10,20,50,20,50,60,10,60]]"
RLE = b'{"size":[80,100],"counts":[0,12,7988]}'


def dataset(
    boxes: Sequence[Sequence[float]] = ((10, 20, 50, 60), (1, 2, 4, 6), (0.5, 0, 7.25, 9)),
    *,
    image: Sequence[int] = (0, 0, 2),
    label: Sequence[int] = (1, 0, 1),
    crowd: Sequence[int] = (0, 1, 0),
    extra: bytes = b"",
    poses: tuple[str, ...] = ("",),
    stems: tuple[str, ...] = STEMS,
    **columns: Any,
) -> Dataset:
    """Three images, and three objects of two labels."""
    n = len(boxes)
    none = np.zeros(n, np.bool_)
    images = Images(stems, tuple(f"x/{stem}.jpg" for stem in stems), np.full(len(stems), 100), np.full(len(stems), 80),
                    ("",) * len(stems))  # fmt: skip
    objects = Objects(np.array(image), np.array(label), np.array(boxes, np.float64).reshape(-1, 4), none, none, none,
                      np.array(crowd, np.bool_), np.arange(n, dtype=np.int32), **columns)  # fmt: skip
    return Dataset(Path(), ("dog", "ä & <b>"), images, objects, poses, extra)


def write(folder: Path, made: Dataset, splits: Mapping[str, NDArray[np.int64]] | None = None) -> list[Loss]:
    made = replace(made, splits=splits or {})
    return coco_write.write(folder, made, coco_write.image_targets(made), mask_areas(made.objects.segmentation).area)


def written(folder: Path, name: str = "instances") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "annotations" / f"{name}.json").read_bytes())
    return content


def loaded(path: Path) -> COCO:
    """A file as pycocotools loads it; it prints, and reads files in a way that Python warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return COCO(str(path))


def test_a_file_has_the_keys_and_types_of_the_standard(tmp_path: Path) -> None:
    assert write(tmp_path, dataset()) == []
    content = written(tmp_path)
    assert list(content) == ["info", "images", "annotations", "categories"]
    assert content["info"] == {}
    assert content["images"] == [
        {"id": 1, "file_name": "a.jpg", "width": 100, "height": 80},
        {"id": 2, "file_name": "sub/b.jpg", "width": 100, "height": 80},
        {"id": 3, "file_name": "c d.jpg", "width": 100, "height": 80},
    ]
    assert content["annotations"] == [
        {"id": 1, "image_id": 1, "category_id": 2, "bbox": [10, 20, 40, 40], "area": 1600, "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 1},
        {"id": 3, "image_id": 3, "category_id": 2, "bbox": [0.5, 0, 6.75, 9], "area": 60.75, "iscrowd": 0},
    ]
    assert content["categories"] == [{"id": 1, "name": "dog"}, {"id": 2, "name": "ä & <b>"}]


def test_an_entry_is_a_line(tmp_path: Path) -> None:
    write(tmp_path, dataset())
    lines = (tmp_path / "annotations" / "instances.json").read_text().splitlines()
    assert lines[:3] == ['{"info":{},', '"images":[', '{"id":1,"file_name":"a.jpg","width":100,"height":80},']
    assert lines[-1] == '{"id":2,"name":"ä & <b>"}]}'


def test_a_dataset_of_nothing_is_a_file_of_empty_lists(tmp_path: Path) -> None:
    write(tmp_path, dataset([], image=[], label=[], crowd=[], stems=()))
    assert written(tmp_path) == {"info": {}, "images": [], "annotations": [],
                                 "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "ä & <b>"}]}  # fmt: skip


def test_many_objects_are_written_in_pieces(tmp_path: Path) -> None:
    n = 4500
    write(tmp_path, dataset([(i, 0, i + 1.5, 1) for i in range(n)], image=[0] * n, label=[0] * n, crowd=[0] * n))
    annotations = written(tmp_path)["annotations"]
    assert [one["id"] for one in annotations] == list(range(1, n + 1))
    assert [one["bbox"][0] for one in annotations] == list(range(n))


# pycocotools.


def test_pycocotools_counts_all_objects(tmp_path: Path) -> None:
    masks = Texts.of([SQUARE, RLE, b""])
    write(tmp_path, dataset(segmentation=masks))
    coco = loaded(tmp_path / "annotations" / "instances.json")
    assert (len(coco.imgs), len(coco.anns), len(coco.cats)) == (3, 3, 2)
    assert [len(coco.getAnnIds(imgIds=[i])) for i in (1, 2, 3)] == [2, 0, 1]
    assert coco.getAnnIds(areaRng=[0, 1000]) == [2, 3]
    assert coco.getAnnIds(iscrowd=True) == [2]
    assert int(pycoco.area(coco.annToRLE(coco.anns[1]))) == 1600
    assert int(pycoco.area(coco.annToRLE(coco.anns[2]))) == 12


def test_results_are_loaded_and_scored_against_a_file_without_info(tmp_path: Path) -> None:
    made = dataset(crowd=(0, 0, 0))
    write(tmp_path, made)
    coco = loaded(tmp_path / "annotations" / "instances.json")
    results = [
        {key: one[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9} for one in coco.anns.values()
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = coco.loadRes(results)
        score = COCOeval(coco, found, "bbox")
        score.evaluate()
        score.accumulate()
        score.summarize()
    assert score.stats[0] == pytest.approx(1)  # AP
    assert score.stats[8] == pytest.approx(1)  # AR


def test_a_file_with_masks_is_scored(tmp_path: Path) -> None:
    masks = Texts.of([SQUARE, RLE, b"[[0,0,8,0,8,8]]"])
    write(tmp_path, dataset(segmentation=masks))
    coco = loaded(tmp_path / "annotations" / "instances.json")
    results = [{"image_id": one["image_id"], "category_id": one["category_id"], "score": 1.0, "segmentation": coco.annToRLE(one)}
               for one in coco.anns.values()]  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        score = COCOeval(coco, coco.loadRes(results), "segm")
        score.evaluate()
        score.accumulate()
        score.summarize()
    assert score.stats[0] == pytest.approx(1)


# Numbers.


@pytest.mark.parametrize(
    ("box", "bbox"),
    [
        ((0.1, 0.2, 0.3, 0.7), [0.1, 0.2, 0.2, 0.5]),  # not 0.19999999999999998
        ((1.1, 2.2, 3.3, 4.4), [1.1, 2.2, 2.2, 2.2]),
        ((-5, -0.0, 1e6, 33.333333), [-5, 0, 1000005, 33.333333]),
        ((260.17, 376.39, 491.11, 500.08), [260.17, 376.39, 230.94, 123.69]),
        ((3, 4, 3, 4), [3, 4, 0, 0]),
    ],
)
def test_decimals_are_written_as_people_count_them(tmp_path: Path, box: tuple[float, ...], bbox: list[float]) -> None:
    write(tmp_path, dataset([box], image=[0], label=[0], crowd=[0]))
    (one,) = written(tmp_path)["annotations"]
    assert (one["bbox"], "box" in one) == (bbox, False)


sides = st.floats(-1000, 1e5) | st.floats(0, 1e4, width=32) | st.decimals(0, 5000, places=9).map(float)


@settings(max_examples=40, deadline=None)
@given(st.tuples(sides, sides, sides, sides))
def test_corners_are_read_again_as_they_were(module_tmp_path: Path, box: tuple[float, ...]) -> None:
    corners = [min(box[::2]), min(box[1::2]), max(box[::2]), max(box[1::2])]
    folder = module_tmp_path
    write(folder, dataset([corners], image=[0], label=[0], crowd=[0]))
    found = coco_json.scan(Source(folder), without_images=True)
    assert found.findings == ()
    assert found.dataset.objects.box.tolist() == [corners]
    (one,) = written(folder)["annotations"]
    x, y, width, height = one["bbox"]
    assert [x, y, x + width, y + height] == pytest.approx(corners, abs=1e-6)


def test_corners_are_written_only_where_the_width_cannot_say_them(tmp_path: Path) -> None:
    noisy = [0, -3.78, 79, -3.1209999999999996]  # whose height is .659 to people, and ends at −3.121
    write(tmp_path, dataset([noisy, (0.25, 0, 0.75, 1)], image=[0, 0], label=[0, 0], crowd=[0, 0]))
    first, second = written(tmp_path)["annotations"]
    assert (first["bbox"], first["box"], "box" in second) == ([0, -3.78, 79, 0.659], noisy, False)


def test_an_area_is_the_stated_one_else_the_masks_else_the_boxes(tmp_path: Path) -> None:
    masks = Texts.of([b"[[10,20,50,20,50,60]]", RLE, b""])
    write(tmp_path, dataset(segmentation=masks))
    assert [one["area"] for one in written(tmp_path)["annotations"]] == [800, 12, 60.75]
    write(tmp_path / "said", dataset(segmentation=masks, area=np.array([1.5, np.nan, 0])))
    assert [one["area"] for one in written(tmp_path / "said")["annotations"]] == [1.5, 12, 0]


def test_boxes_out_of_all_bounds_are_still_json(tmp_path: Path) -> None:
    write(tmp_path, dataset([(-1e200, 0, 1e200, 1e300)], image=[0], label=[0], crowd=[0]))
    text = (tmp_path / "annotations" / "instances.json").read_text()
    (one,) = json.loads(text, parse_constant=pytest.fail)["annotations"]
    assert one["bbox"] == [-1e200, 0, 2e200, 1e300]
    assert np.isfinite(one["area"])
    assert len(text) < 1000


# What COCO has no keys for.


def test_the_extras_of_an_object_have_their_own_keys(tmp_path: Path) -> None:
    flags = np.array([1, 0, 0], np.bool_)
    made = dataset(poses=("", 'Left "x"'), pose=np.array([1, 0, 0]), extra=b'{"mine":1,"licenses":[{"id":1}]}')
    made = replace(made, objects=replace(made.objects, difficult=flags, truncated=flags, occluded=flags, extra=Texts.of(
        [b'{"score":0.5,"attributes":{"a":"1"}}', b"", b"{ }"])))  # fmt: skip
    write(tmp_path, made)
    content = written(tmp_path)
    assert content["annotations"][0] == {
        "id": 1, "image_id": 1, "category_id": 2, "bbox": [10, 20, 40, 40], "area": 1600, "iscrowd": 0, "difficult": 1,
        "truncated": 1, "occluded": 1, "pose": 'Left "x"', "score": 0.5, "attributes": {"a": "1"},
    }  # fmt: skip
    assert set(content["annotations"][1]) == {"id", "image_id", "category_id", "bbox", "area", "iscrowd"}
    assert list(content) == ["info", "licenses", "mine", "images", "annotations", "categories"]


def test_the_extra_of_a_label_does_not_change_its_id_or_name(tmp_path: Path) -> None:
    extra = b'{"categories":{"dog":{"id":77,"name":"cat","skeleton":[],"supercategory":"x"},"none":{"a":1}}}'
    write(tmp_path, dataset(extra=extra))
    assert written(tmp_path)["categories"][0] == {"id": 1, "name": "dog", "supercategory": "x", "skeleton": []}


@pytest.mark.parametrize("categories", [b"[]", b"5", b"null", b'{"dog":5}', b'[{"id":1,"name":"dog"}]'])
def test_label_extras_of_another_form_are_not_written(tmp_path: Path, categories: bytes) -> None:
    write(tmp_path, dataset(extra=b'{"categories":' + categories + b"}"))
    assert written(tmp_path)["categories"] == [{"id": 1, "name": "dog"}, {"id": 2, "name": "ä & <b>"}]


def test_invalid_masks_are_left_out_and_counted(tmp_path: Path) -> None:
    masks = Texts.of([SQUARE, b"[[1,2,3]]", b'{"size":[80,100],"counts":[1]}'])
    assert write(tmp_path, dataset(segmentation=masks)) == [Loss("invalid masks", 2)]
    assert ["segmentation" in one for one in written(tmp_path)["annotations"]] == [True, False, False]
    assert [one["area"] for one in written(tmp_path)["annotations"]] == [1600, 12, 60.75]


# Splits.


def rows(*indices: int) -> NDArray[np.int64]:
    return np.array(indices, np.int64)


def test_every_split_is_a_file_with_ids_from_one(tmp_path: Path) -> None:
    masks = Texts.of([b"", b"", RLE])
    splits = {"train": rows(2), "val": rows(0)}
    assert write(tmp_path, dataset(segmentation=masks), splits) == []
    assert sorted(path.name for path in (tmp_path / "annotations").iterdir()) == [
        "instances_rest.json", "instances_train.json", "instances_val.json",
    ]  # fmt: skip
    train, val, rest = (written(tmp_path, f"instances_{name}") for name in ("train", "val", "rest"))
    assert [one["file_name"] for one in train["images"]] == ["c d.jpg"]
    assert [(one["id"], one["image_id"], one["area"]) for one in train["annotations"]] == [(1, 1, 12)]
    assert [(one["id"], one["image_id"], one["area"]) for one in val["annotations"]] == [(1, 1, 1600), (2, 1, 12)]
    assert ([one["file_name"] for one in rest["images"]], rest["annotations"]) == (["sub/b.jpg"], [])
    assert train["categories"] == val["categories"] == rest["categories"]
    for name in ("train", "val", "rest"):
        loaded(tmp_path / "annotations" / f"instances_{name}.json")


def test_an_image_in_two_splits_is_written_to_the_first_and_counted(tmp_path: Path) -> None:
    losses = write(tmp_path, dataset(), {"test": rows(0, 1), "train": rows(0, 2)})
    assert [(loss.what, loss.count) for loss in losses] == [("images in several splits: written to the first", 1)]
    assert [one["file_name"] for one in written(tmp_path, "instances_train")["images"]] == ["a.jpg", "c d.jpg"]
    assert [one["file_name"] for one in written(tmp_path, "instances_test")["images"]] == ["sub/b.jpg"]


@pytest.mark.parametrize(
    ("splits", "files", "said", "lost"),
    [
        ({"trainval": rows(0, 1), "train": rows(0), "val": rows(1)}, ["rest", "train", "val"], {"trainval": True}, 0),
        ({"trainval": rows(0), "train": rows(0)}, ["rest", "train"], {"trainval": True}, 0),
        ({"trainval": rows(0, 1, 2), "train": rows(0), "val": rows(1)}, ["rest", "train", "val"], None, 1),
        ({"trainval": rows(0), "train": rows(0, 2), "val": rows(1)}, ["train", "val"], None, 2),
        ({"trainval": rows(0, 1), "test": rows(2)}, ["test", "trainval"], None, 0),
    ],
)
def test_a_trainval_beside_train_and_val_is_stated_but_not_written(
    tmp_path: Path, splits: dict[str, NDArray[np.int64]], files: list[str], said: object, lost: int
) -> None:
    losses = write(tmp_path, dataset(), splits)
    assert sum(loss.count for loss in losses) == lost
    assert sorted(path.stem.removeprefix("instances_") for path in (tmp_path / "annotations").iterdir()) == files
    assert [written(tmp_path, f"instances_{name}").get("voc") for name in files] == [said] * len(files)
    found = coco_json.scan(Source(tmp_path), without_images=True)
    stems = {name: [found.dataset.images.stems[row] for row in split] for name, split in found.dataset.splits.items()}
    expected = {name: [STEMS[row] for row in split] for name, split in splits.items() if name != "trainval" or not lost}
    assert {name: sorted(split) for name, split in stems.items()} == {
        name: sorted(split) for name, split in expected.items()
    }
    assert "voc" not in json.loads(found.dataset.extra or b"{}")


def test_a_voc_key_of_another_tool_is_preserved(tmp_path: Path) -> None:
    splits = {"trainval": rows(0, 1), "train": rows(0), "val": rows(1)}
    write(tmp_path, dataset(extra=b'{"voc":["mine"]}'), splits)
    assert written(tmp_path, "instances_train")["voc"] == ["mine"]


def test_images_keep_their_stems_and_suffixes() -> None:
    made = dataset()
    made = replace(made, images=replace(made.images, files=("x/1.JPG", "2.tar.png", "c")))
    assert coco_write.image_targets(made) == ("images/a.JPG", "images/sub/b.png", "images/c d")
