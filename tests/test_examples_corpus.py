"""The corpus of the benchmarks: what it says it holds, and the same each time."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask

EXAMPLES = Path(__file__).parents[1] / "examples"
IMAGES, OBJECTS = 30, 300


@pytest.fixture(scope="module")
def maker() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
        return importlib.import_module("make_corpus")


@pytest.fixture(scope="module")
def corpus(maker: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target: Path = tmp_path_factory.mktemp("made") / "corpus"
    maker.make_corpus(target, images=IMAGES, objects=OBJECTS)
    return target


def test_every_image_has_an_annotation_a_picture_and_an_entry(corpus: Path) -> None:
    coco = _coco(corpus)
    stems = {Path(image["file_name"]).stem for image in coco["images"]}
    assert len(stems) == len(coco["images"]) == IMAGES
    assert {path.stem for path in (corpus / "voc/Annotations").iterdir()} == stems
    assert {path.stem for path in (corpus / "voc/JPEGImages").iterdir()} == stems
    assert {path.stem for path in (corpus / "coco/images").iterdir()} == stems
    assert len(coco["annotations"]) == sum(len(root.findall("object")) for root in _trees(corpus)) == OBJECTS


def test_both_formats_hold_the_same_labels_and_boxes(corpus: Path) -> None:
    coco = _coco(corpus)
    names = {category["id"]: category["name"] for category in coco["categories"]}
    files = {image["id"]: image["file_name"] for image in coco["images"]}
    of_coco = Counter(
        (files[entry["image_id"]], names[entry["category_id"]], x, y, x + width, y + height)
        for entry in coco["annotations"]
        for x, y, width, height in [entry["bbox"]]
    )
    of_voc = Counter(
        (root.findtext("filename"), thing.findtext("name"), *_box(thing))
        for root in _trees(corpus)
        for thing in root.findall("object")
    )
    assert of_voc == of_coco


def test_boxes_are_inside_their_images_and_some_start_at_0(corpus: Path) -> None:
    starts = set()
    for root in _trees(corpus):
        width, height = (int(root.findtext(f"size/{side}", "")) for side in ("width", "height"))
        for thing in root.findall("object"):
            xmin, ymin, xmax, ymax = _box(thing)
            assert 0 <= xmin < xmax <= width
            assert 0 <= ymin < ymax <= height
            starts.add(min(xmin, ymin))
    assert 0 in starts


def test_images_have_the_stated_sizes(corpus: Path) -> None:
    for image in _coco(corpus)["images"]:
        for folder in ("voc/JPEGImages", "coco/images"):
            with Image.open(corpus / folder / image["file_name"]) as picture:
                assert (picture.format, picture.size) == ("JPEG", (image["width"], image["height"]))


def test_all_three_kinds_of_xml_are_there_with_all_that_is_theirs(corpus: Path) -> None:
    texts = [path.read_text() for path in sorted((corpus / "voc/Annotations").iterdir())]
    kinds = {
        "labelImg": [text for text in texts if "<database>Unknown</database>" in text],
        "VOC2012": [text for text in texts if "<annotation>PASCAL VOC" in text],
        "Roboflow": [text for text in texts if "<database>roboflow.com</database>" in text],
    }
    assert {kind: len(found) for kind, found in kinds.items()} == {"labelImg": 10, "VOC2012": 10, "Roboflow": 10}
    together = {kind: "".join(found) for kind, found in kinds.items()}
    assert "\t<path>/home/" in together["labelImg"]
    for said in ("<pose>Left</pose>", "<pose>Rear</pose>", "<part>", "<name>head</name>", "<difficult>1</difficult>",
                 "<occluded>1</occluded>", "\n\t<object>", "\n    <object>"):  # fmt: skip
        assert said in together["VOC2012"], said
    for said in ("<folder></folder>", "</xmin>\n\t\t\t<xmax>", "<polygon>\n\t\t\t<x1>", "<occluded>1</occluded>"):
        assert said in together["Roboflow"], said


def test_masks_are_polygons_and_rle_that_fill_their_boxes(corpus: Path) -> None:
    coco = _coco(corpus)
    sizes = {image["id"]: (image["height"], image["width"]) for image in coco["images"]}
    kinds = Counter[tuple[str, int]]()
    for entry in coco["annotations"]:
        segmentation = entry["segmentation"]
        if isinstance(segmentation, list):
            kinds[f"{len(segmentation)} polygons", entry["iscrowd"]] += 1
            points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in segmentation])
            low, high = points.min(axis=0), points.max(axis=0)
            assert [*low, *(high - low)] == entry["bbox"]
            continue
        kinds[type(segmentation["counts"]).__name__, entry["iscrowd"]] += 1
        size = sizes[entry["image_id"]]
        packed = segmentation if isinstance(segmentation["counts"], str) else mask.frPyObjects(segmentation, *size)
        assert mask.area(packed) == entry["area"]
        assert mask.toBbox(packed).tolist() == entry["bbox"]
    assert kinds == {("1 polygons", 0): 264, ("2 polygons", 0): 30, ("list", 1): 3, ("str", 1): 3}


def test_the_area_of_a_polygon_is_that_of_its_pixels(corpus: Path) -> None:
    coco = _coco(corpus)
    sizes = {image["id"]: (image["height"], image["width"]) for image in coco["images"]}
    large = [entry for entry in coco["annotations"] if not entry["iscrowd"] and entry["area"] > 20_000]
    assert large
    for entry in large:
        rle = mask.merge(mask.frPyObjects(entry["segmentation"], *sizes[entry["image_id"]]))
        assert mask.area(rle) == pytest.approx(entry["area"], rel=0.02)


def test_labels_have_counts_in_proportion_to_one_over_their_rank(maker: Any) -> None:
    counts = maker.zipf(11, 3)  # 11 / (1 + 1/2 + 1/3) is 6
    assert counts.tolist() == [6, 3, 2]
    assert maker.zipf(120_000, 80).sum() == 120_000
    assert len(maker.LABELS) == len(set(maker.LABELS)) == 80


def test_the_list_of_labels_names_those_that_occur(corpus: Path) -> None:
    occurring = {thing.findtext("name") for root in _trees(corpus) for thing in root.findall("object")}
    assert (corpus / "labels.txt").read_text().splitlines() == sorted(str(name) for name in occurring)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(maker: Any, corpus: Path, tmp_path: Path) -> None:
    for name, seed in (("again", 0), ("other", 1)):
        maker.make_corpus(tmp_path / name, images=IMAGES, objects=OBJECTS, seed=seed)
    assert _bytes(tmp_path / "again") == _bytes(corpus)
    assert _digest(tmp_path / "other") != _digest(corpus)


def test_annotations_are_the_same_on_every_machine(corpus: Path) -> None:
    assert _digest(corpus) == "041332d7ac74f73db8c3595f484eee7411b6a95b4309fe2b0d6ca939f214af9c"


def test_a_folder_that_is_there_is_left_alone(maker: Any, tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    with pytest.raises(FileExistsError, match="exists already"):
        maker.make_corpus(tmp_path / "corpus", images=3, objects=3)
    assert [path.name for path in tmp_path.rglob("*")] == ["corpus"]


def _coco(corpus: Path) -> Any:
    return json.loads((corpus / "coco/annotations/instances.json").read_bytes())


def _trees(corpus: Path) -> list[ElementTree.Element]:
    return [ElementTree.parse(path).getroot() for path in sorted((corpus / "voc/Annotations").iterdir())]


def _box(thing: ElementTree.Element) -> list[int]:
    return [int(thing.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax")]


def _bytes(corpus: Path) -> dict[str, bytes]:
    return {str(path.relative_to(corpus)): path.read_bytes() for path in corpus.rglob("*") if path.is_file()}


def _digest(corpus: Path) -> str:
    """Of the annotations alone: pictures depend on the JPEG library."""
    digest = hashlib.sha256()
    for name, content in sorted(_bytes(corpus).items()):
        if not name.endswith(".jpg"):
            digest.update(name.encode() + b"\0" + content + b"\0")
    return digest.hexdigest()
