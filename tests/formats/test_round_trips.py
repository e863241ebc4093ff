"""What is read, written and read again is the same: VOC, COCO, and each by way of the other."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as pycoco

from tests.conftest import save_image
from tests.strategies import datasets, few
from vocdet.data.dataset import Dataset
from vocdet.data.losses import Loss
from vocdet.data.mask_areas import mask_areas
from vocdet.formats import registry
from vocdet.formats.coco import read as coco_json
from vocdet.formats.coco import write as coco_write
from vocdet.formats.scan import Coordinates, CoordinatesChoice, Scan, Source
from vocdet.formats.voc import image_sets
from vocdet.formats.voc import read as voc_tree
from vocdet.formats.voc import write as voc_write
from vocdet.workflows.convert import WrittenFormat, convert

Splits = Mapping[str, NDArray[np.int64]]
Write = Callable[..., list[Loss]]


# Writing and reading.


def written(write: Write, folder: Path, dataset: Dataset, splits: Splits) -> list[Loss]:
    folder.mkdir()
    dataset = replace(dataset, splits=splits)
    targets = {coco_write.write: coco_write, voc_write.write: voc_write}[write].image_targets(dataset)
    return write(folder, dataset, targets, mask_areas(dataset.objects.segmentation).area)


def read(folder: Path) -> tuple[Scan, Splits]:
    found = (coco_json if (folder / "annotations").is_dir() else voc_tree).scan(Source(folder), without_images=True)
    assert [finding for finding in found.findings if finding.code not in ("voc.tag.unknown", "imagesets.empty")] == []
    splits, findings = image_sets.read_splits(found)
    assert [finding for finding in findings if finding.severity == "error"] == []
    return found, splits


def content(dataset: Dataset, splits: Splits | None = None) -> dict[str, Any]:
    """All that a dataset says, whatever the order of its images."""
    objects, images = dataset.objects, dataset.images
    measured = mask_areas(objects.segmentation).area
    usual = np.where(np.isnan(measured), (objects.box[:, 2:] - objects.box[:, :2]).prod(axis=1), measured)
    found: dict[str, Any] = {"labels": dataset.labels, "extra": decoded(dataset.extra)}
    found["images"] = {
        stem: ((int(images.widths[i]), int(images.heights[i])), images.files[i].rpartition(".")[2], decoded(images.extra[i]),
               [one(dataset, usual, row) for row in np.flatnonzero(objects.image == i).tolist()])
        for i, stem in enumerate(images.stems)
    }  # fmt: skip
    if splits is not None:
        found["splits"] = {
            name: sorted(images.stems[row] for row in rows) for name, rows in splits.items() if len(rows)
        }
    return found


def one(dataset: Dataset, usual: NDArray[np.float64], row: int) -> list[Any]:
    """What is said of an object. An area that is what its mask or its box has is as good as none."""
    objects = dataset.objects
    area = float(objects.area[row])
    said = not math.isnan(area) and abs(area - usual[row]) > 1e-6 * max(1, usual[row])
    flags = [bool(column[row]) for column in (objects.difficult, objects.truncated, objects.occluded, objects.crowd)]
    return [dataset.labels[objects.label[row]], objects.box[row].tolist(), flags, dataset.poses[objects.pose[row]],
            area if said else None, decoded(objects.segmentation[row]), decoded(objects.extra[row])]  # fmt: skip


def decoded(text: bytes) -> Any:
    return json.loads(text) if text else None


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@few
@given(datasets(splits="apart"))
def test_coco_gives_back_every_column(dataset: Dataset) -> None:
    with scratch() as folder:
        assert written(coco_write.write, folder / "coco", dataset, dataset.splits) == []
        assert_same(folder / "coco", dataset)


@few
@given(datasets(splits="any"))
def test_voc_gives_back_every_column(dataset: Dataset) -> None:
    if not len(dataset):
        return
    with scratch() as folder:
        assert written(voc_write.write, folder / "voc", dataset, dataset.splits) == []
        assert_same(folder / "voc", dataset)
        found, splits = read(folder / "voc")
        assert stems_of(found.dataset, splits) == stems_of(dataset, dataset.splits)


@few
@given(st.data())
def test_voc_by_way_of_coco_gives_back_every_column_and_then_every_byte(data: st.DataObject) -> None:
    dataset = data.draw(datasets(splits="apart"))
    if not len(dataset):
        return
    with scratch() as folder:
        written(voc_write.write, folder / "voc1", dataset, dataset.splits)
        there_and_back(folder)


def stems_of(dataset: Dataset, splits: Splits) -> dict[str, list[str]]:
    return {name: [dataset.images.stems[row] for row in rows] for name, rows in splits.items()}


def assert_same(folder: Path, dataset: Dataset) -> None:
    found, splits = read(folder)
    assert content(found.dataset, splits) == content(dataset, dataset.splits)


def there_and_back(folder: Path) -> None:
    """From the VOC folder voc1 to coco1, voc2, coco2 and voc3: all say the same, and the second trip changes nothing.

    On the first one keys of JSON may change places.
    """
    first, first_parts = read(folder / "voc1")
    for i in (1, 2):
        found, splits = read(folder / f"voc{i}")
        assert content(found.dataset, splits) == content(first.dataset, first_parts)
        assert found.coordinates == first.coordinates
        assert written(coco_write.write, folder / f"coco{i}", found.dataset, splits) == []
        found, splits = read(folder / f"coco{i}")
        assert content(found.dataset, splits) == content(first.dataset, first_parts)
        assert written(voc_write.write, folder / f"voc{i + 1}", found.dataset, splits) == []
    assert files(folder / "voc2") == files(folder / "voc3")
    assert files(folder / "coco1") == files(folder / "coco2")


# What others write, by hand.

DEVKIT = "<source><database>The VOC2007 Database</database><annotation>PASCAL VOC2007</annotation></source>"


def xml(*objects: str, top: str = "", size: tuple[int, int] = (100, 80), attributes: str = "") -> str:
    """An annotation of some tags and objects."""
    inner = "".join(f"<object>{one}</object>" for one in objects)
    sides = f"<width>{size[0]}</width><height>{size[1]}</height><depth>3</depth>"
    return f"<annotation{attributes}>{top}<filename>a.jpg</filename><size>{sides}</size>{inner}</annotation>"


def named(name: str, *sides: float | str, inside: str = "") -> str:
    """The inside of an object."""
    return f"<name>{name}</name><bndbox>{tags(('xmin', 'ymin', 'xmax', 'ymax'), sides)}</bndbox>{inside}"


def tags(names: Iterable[str], values: Iterable[object]) -> str:
    return "".join(f"<{name}>{value}</{name}>" for name, value in zip(names, values, strict=True))


def polygon(*numbers: object) -> str:
    return f"<polygon>{tags((f'{axis}{i + 1}' for i in range(len(numbers) // 2) for axis in 'xy'), numbers)}</polygon>"


DOG = named("dog", 11, 21, 50, 60)


def voc(folder: Path, annotations: Mapping[str, str], **more: object) -> Path:
    """A VOC folder of these XMLs, by stem, and of split files by `train` and the like."""
    for stem, text in annotations.items():
        put(folder / "Annotations" / f"{stem}.xml", text)
    for name, stems in more.items():
        put(folder / "ImageSets" / "Main" / f"{name}.txt", "".join(f"{stem}\n" for stem in stems))  # type: ignore[attr-defined]
    return folder


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def split_files(folder: Path) -> dict[str, list[str]]:
    return {path.stem: path.read_text().splitlines() for path in (folder / "ImageSets" / "Main").iterdir()}


def annotations_in(folder: Path) -> list[dict[str, Any]]:
    """All annotations of a COCO folder."""
    paths = sorted((folder / "annotations").iterdir())
    return [one for path in paths for one in json.loads(path.read_bytes())["annotations"]]


@pytest.mark.parametrize(
    ("top", "bbox", "corners"),
    [
        (DEVKIT, [10, 20, 40, 40], [10, 20, 50, 60]),  # 1-based and inclusive: 40 columns, from the 11th to the 50th
        ("<source><database>Unknown</database></source>", [11, 21, 39, 39], [11, 21, 50, 60]),
        ("<coordinates>one</coordinates>", [10, 20, 40, 40], [10, 20, 50, 60]),
        (f"{DEVKIT}<coordinates>zero</coordinates>", [11, 21, 39, 39], [11, 21, 50, 60]),
    ],
)
def test_the_pair_that_others_get_wrong(tmp_path: Path, top: str, bbox: list[int], corners: list[int]) -> None:
    voc(tmp_path / "voc1", {"a": xml(DOG, top=top)})
    assert read(tmp_path / "voc1")[0].dataset.objects.box.tolist() == [corners]
    there_and_back(tmp_path)
    (one,) = annotations_in(tmp_path / "coco1")
    assert (one["bbox"], one["area"]) == (bbox, bbox[2] * bbox[3])
    text = (tmp_path / "voc2" / "Annotations" / "a.xml").read_text()
    assert "<xmin>11</xmin><ymin>21</ymin><xmax>50</xmax><ymax>60</ymax>" in "".join(text.split())


@pytest.mark.parametrize(("asked", "corners"), [("zero", [10, 20, 50, 60]), ("one", [11, 21, 50, 60])])
def test_either_convention_can_be_written_and_is_read_again(
    tmp_path: Path, asked: Coordinates, corners: list[int]
) -> None:
    dataset = read(voc(tmp_path / "voc", {"a": xml(DOG, top=DEVKIT)}))[0].dataset
    targets, areas = voc_write.image_targets(dataset), mask_areas(dataset.objects.segmentation).area
    (tmp_path / "again").mkdir()
    assert voc_write.write(tmp_path / "again", dataset, targets, areas, coordinates=asked) == []
    text = (tmp_path / "again" / "Annotations" / "a.xml").read_text()
    sides = [int(text.partition(f"<{tag}>")[2].partition("<")[0]) for tag in ("xmin", "ymin", "xmax", "ymax")]
    assert sides == corners
    found, _ = read(tmp_path / "again")
    assert (found.coordinates, found.dataset.objects.box.tolist()) == (asked, [[10, 20, 50, 60]])


@pytest.mark.parametrize(
    ("top", "asked", "marked"),
    [("", "auto", False), (DEVKIT, "auto", False), ("", "one", True), (DEVKIT, "zero", True), (DEVKIT, "one", False)],
)
def test_files_say_their_convention_where_nothing_else_does(
    tmp_path: Path, top: str, asked: CoordinatesChoice, marked: bool
) -> None:
    found = voc_tree.scan(
        Source(voc(tmp_path / "voc", {"a": xml(DOG, top=top)}), coordinates=asked), without_images=True
    )
    written(voc_write.write, tmp_path / "voc1", found.dataset, {})
    assert ("<coordinates>" in (tmp_path / "voc1" / "Annotations" / "a.xml").read_text()) is marked
    again, _ = read(tmp_path / "voc1")
    assert (again.coordinates, again.dataset.objects.box.tolist()) == (
        found.coordinates, found.dataset.objects.box.tolist(),
    )  # fmt: skip
    there_and_back(tmp_path)


HEAD = f"<part>{named('head &amp; neck', '12.5', 22, '20.1', 30)}</part>"
PAIRS = (("color", "red &lt;dark&gt;"), ("größe", " 犬 "), ("none", ""))
ATTRIBUTE = "<attribute><name>{}</name><value>{}</value></attribute>"
ATTRIBUTES = f"<attributes>{''.join(ATTRIBUTE.format(*pair) for pair in PAIRS)}</attributes>"
KEPT_TAGS = (
    "<pose>Frontal</pose>", "<truncated>1</truncated>", "<difficult>1</difficult>", "<occluded>1</occluded>",
    "<crowd>1</crowd>", "<area>777.5</area>", "<robndbox><cx>1</cx></robndbox>", "<id>7</id>", HEAD, ATTRIBUTES,
)  # fmt: skip
KEPT_OF_IMAGE = (
    "<folder>VOC 2007 &amp; more</folder>", r"<path>C:\a\b.jpg</path>", "<segmented>1</segmented>",
    "<owner><name>?</name></owner>", '<shot light="dim">by <b>night</b></shot>',
    '<coco>{"license":3,"camera":{"a:b":[1.50]}}</coco>',
)  # fmt: skip


@pytest.mark.parametrize(("source", "convention"), [(DEVKIT, "one"), (DEVKIT.replace("VOC", "voc"), "zero")])
def test_all_that_voc_files_say_survives(tmp_path: Path, source: str, convention: str) -> None:
    outlines = polygon("11.50", "2e1", "-3", 60, "50.125", "1e-7") + polygon(1, 2, 3, 4, 5, "6.5")
    name = "a &amp; b &lt;c&gt; &quot;犬&quot;"
    first = named(name, "11.5", "21.25", 50, "60.0625", inside="".join(KEPT_TAGS) + outlines)
    rle = '<segmentation>{"size":[80,100],"counts":[8000]}</segmentation>'
    text = xml(first, named("dog", 1, 2, 3, 4, inside=rle), DOG, top="".join((*KEPT_OF_IMAGE, source)),
               attributes=' verified="yes" größe="ä &amp; ö"')  # fmt: skip
    voc(tmp_path / "voc1", {"a": text})
    assert read(tmp_path / "voc1")[0].coordinates == convention
    there_and_back(tmp_path)
    text = (tmp_path / "voc3" / "Annotations" / "a.xml").read_text()
    for piece in (*KEPT_TAGS, *KEPT_OF_IMAGE, rle, '<annotation verified="yes" größe="ä &amp; ö">'):
        assert text.count(piece) == 1, piece
    assert '<name>a &amp; b &lt;c&gt; "犬"</name>' in text
    assert "".join(text.split()).count("<xmin>11.5</xmin><ymin>21.25</ymin><xmax>50</xmax><ymax>60.0625</ymax>") == 1
    assert (text.count("<polygon>"), text.count("<area>"), text.count("<coco>")) == (2, 1, 1)


def test_unstated_areas_are_not_added(tmp_path: Path) -> None:
    rle = '<segmentation>{"size":[80,100],"counts":[0,7,7993]}</segmentation>'
    objects = (
        DOG, named("dog", "0.1", "0.2", "33.3", "44.4"), named("dog", "1000.01", "2000.02", "1000.03", "2000.05"),
        named("dog", 1, 1, 9, 9, inside=polygon("0.3", "0.7", "9.1", "0.7", "9.1", "5.05")),
        named("dog", 1, 1, 9, 9, inside=rle),
    )  # fmt: skip
    voc(tmp_path / "voc1", {"a": xml(*objects)})
    there_and_back(tmp_path)
    assert "<area>" not in (tmp_path / "voc3" / "Annotations" / "a.xml").read_text()
    areas = [one["area"] for one in annotations_in(tmp_path / "coco1")]
    assert areas == pytest.approx([39 * 39, 33.2 * 44.2, 0.02 * 0.03, 8.8 * 4.35 / 2, 7])


def test_an_area_of_0_is_kept(tmp_path: Path) -> None:
    voc(tmp_path / "voc1", {"a": xml(named("dog", 0, 0, 1, 2, inside="<area>0</area>"))})
    there_and_back(tmp_path)
    assert "<area>0</area>" in (tmp_path / "voc3" / "Annotations" / "a.xml").read_text()
    assert [one["area"] for one in annotations_in(tmp_path / "coco1")] == [0]


def test_numbers_of_a_polygon_stay_the_texts_they_are(tmp_path: Path) -> None:
    inside = polygon("1.50", "-0", 3, "40.000", 5, "0.10")
    voc(tmp_path / "voc1", {"a": xml(named("dog", 1, 2, 3, 4, inside=inside))})
    there_and_back(tmp_path)
    assert b"[[1.50,-0,3,40.000,5,0.10]]" in (tmp_path / "coco1" / "annotations" / "instances.json").read_bytes()


PARTS = {"train": ["a"], "val": ["sub/x"], "trainval": ["a", "sub/x"], "test": ["z"]}


def test_folders_in_annotations_splits_and_label_order_survive(tmp_path: Path) -> None:
    stems = {"a": xml(DOG), "sub/x": xml(named("cat", 1, 2, 3, 4)), "sub/y": xml(), "z": xml()}
    root = voc(tmp_path / "voc1", stems, **PARTS)
    put(root / "labels.txt", "zebra\ndog\ncat\n")
    there_and_back(tmp_path)
    assert split_files(tmp_path / "voc3") == PARTS
    assert (tmp_path / "voc3" / "labels.txt").read_text() == "zebra\ndog\ncat\n"
    assert (tmp_path / "voc3" / "Annotations" / "sub" / "x.xml").is_file()
    assert sorted(path.stem for path in (tmp_path / "coco1" / "annotations").iterdir()) == [
        "instances_rest", "instances_test", "instances_train", "instances_val",
    ]  # fmt: skip


def test_what_coco_says_of_the_whole_survives(tmp_path: Path) -> None:
    root = voc(tmp_path / "voc1", {"a": xml(DOG), "b": xml(named("ant", 1, 2, 3, 4))}, test=["b"])
    of_labels = {"dog": {"supercategory": "animal", "id": 99}, "none": {"name": "x"}}
    put(root / "dataset.json", json.dumps({"licenses": [{"id": 1}], "info": {"year": 2026}, "mine": None,
                                           "categories": of_labels, "images": [5]}))  # fmt: skip
    there_and_back(tmp_path)
    found = json.loads((tmp_path / "coco2" / "annotations" / "instances_test.json").read_bytes())
    assert (found["info"], found["licenses"], found["mine"]) == ({"year": 2026}, [{"id": 1}], None)
    assert found["categories"] == [{"id": 1, "name": "ant"}, {"id": 2, "name": "dog", "supercategory": "animal"}]
    assert [one["id"] for one in found["images"]] == [1]
    assert json.loads((tmp_path / "voc3" / "dataset.json").read_bytes())["licenses"] == [{"id": 1}]


@pytest.mark.parametrize(
    "splits", [{"train": ["a", "b"]}, {"trainval": ["a", "b"]}, {"test": ["a"]}, {"trainval": ["a"], "test": ["b"]}]
)
def test_a_single_split_survives(tmp_path: Path, splits: dict[str, list[str]]) -> None:
    voc(tmp_path / "voc1", {"a": xml(DOG), "b": xml(DOG)}, **splits)
    there_and_back(tmp_path)
    assert split_files(tmp_path / "voc3") == splits


# VOC's masks.

Numbers = NDArray[np.uint8]


def put_png(path: Path, values: Numbers) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(values)
    picture.putpalette([channel for value in range(256) for channel in (value, 255 - value, value // 2)])
    picture.save(path)


def numbers_in(path: Path) -> Numbers:
    with Image.open(path) as picture:
        assert picture.mode == "P"
        return np.asarray(picture)


@pytest.fixture
def masked(tmp_path: Path) -> tuple[Path, Numbers, Numbers]:
    """A VOC folder with SegmentationObject and SegmentationClass, and the numbers in their pictures."""
    objects = np.zeros((20, 30), np.uint8)
    objects[2:9, 3:12], objects[5:9, 10:14], objects[12:18, 5:25] = 1, 3, 2
    objects[9, 3:14] = objects[12:18, 4] = objects[11, 5:25] = 255
    of_object = np.zeros(256, np.uint8)
    of_object[[1, 2, 3, 255]] = 2, 1, 2, 255  # cat is 1 and dog 2
    sides = ("dog", 3, 2, 12, 9), ("cat", 5, 12, 25, 18), ("dog", 10, 5, 14, 9), ("dog", 1, 1, 2, 2)
    first = xml(*(named(*one) for one in sides), size=(30, 20), top="<segmented>1</segmented>")
    root = voc(tmp_path / "voc1", {"a": first, "b": xml(DOG), "c": xml(size=(30, 20))})
    put_png(root / "SegmentationObject" / "a.png", objects)
    put_png(root / "SegmentationClass" / "a.png", of_object[objects])
    put_png(root / "SegmentationObject" / "c.png", np.zeros((20, 30), np.uint8))
    return tmp_path, objects, of_object[objects]


def test_masks_of_voc_survive_to_the_pixel(masked: tuple[Path, Numbers, Numbers]) -> None:
    folder, objects, classes = masked
    there_and_back(folder)
    for trip in ("voc2", "voc3"):
        assert np.array_equal(numbers_in(folder / trip / "SegmentationObject" / "a.png"), objects)
        assert np.array_equal(numbers_in(folder / trip / "SegmentationClass" / "a.png"), classes)
        assert not numbers_in(folder / trip / "SegmentationObject" / "c.png").any()
        assert not (folder / trip / "SegmentationObject" / "b.png").exists()
    found = annotations_in(folder / "coco1")
    for i, one in enumerate(found[:3], 1):
        rle = one["segmentation"] | {"counts": one["segmentation"]["counts"].encode()}
        rows, columns = np.nonzero(objects == i)
        assert one["area"] == pycoco.area(rle) == len(rows)
        around = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert pycoco.toBbox(rle).tolist() == around
    assert "segmentation" not in found[3]


def test_a_polygon_beside_the_pixels_of_a_mask_is_kept(masked: tuple[Path, Numbers, Numbers]) -> None:
    folder, objects, _ = masked
    path = folder / "voc1" / "Annotations" / "a.xml"
    outline = polygon(3, 2, 12, 2, 12, 9)
    path.write_text(path.read_text().replace("</bndbox>", f"</bndbox>{outline}", 1))
    there_and_back(folder)
    assert np.array_equal(numbers_in(folder / "voc3" / "SegmentationObject" / "a.png"), objects)
    assert (folder / "voc3" / "Annotations" / "a.xml").read_text().count(outline) == 1


# From COCO and back.

FROM_COCO: dict[str, Any] = {
    "info": {"description": "a <b> & c", "year": 2017},
    "licenses": [{"id": 1, "name": "x"}],
    "type": "instances",
    "images": [
        {"id": 7, "file_name": "b.png", "width": 64, "height": 48, "license": 1, "coco_url": "http://x/?a=1&b=2"},
        {"id": 3, "file_name": "sub/ä.jpg", "width": 640, "height": 480},
    ],
    "annotations": [
        {"id": 0, "image_id": 3, "category_id": 90, "bbox": [0.1, 0.2, 0.3, 10.7], "area": 2.5, "iscrowd": 0,
         "segmentation": [[1.5, 2.25, 30, 4e-3, 5, 6], [-1, 2, 3, 4, 5, 600.0]], "keypoints": [1, 2, 2], "num_keypoints": 1},
        {"id": 2**40, "image_id": 7, "category_id": 1, "bbox": [5, 6, 7, 8], "area": 72, "iscrowd": 1,
         "segmentation": {"size": [48, 64], "counts": [1000, 72, 2000]}, "score": 0.25},
        {"id": 5, "image_id": 7, "category_id": 90, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0,
         "attributes": {"occluded": False, "rotation": 0.0, "t": "x"}},
    ],
    "categories": [
        {"id": 90, "name": "tooth brush", "supercategory": "indoor"},
        {"id": 1, "name": "person", "keypoints": ["nose"], "skeleton": [[1, 1]]},
    ],
}  # fmt: skip


def by_name(coco: Mapping[str, Any]) -> dict[str, Any]:
    """What a COCO file says, whatever its ids and its order."""
    images = {one["id"]: one["file_name"] for one in coco["images"]}
    labels = {one["id"]: one["name"] for one in coco["categories"]}
    found: dict[str, Any] = {
        key: value for key, value in coco.items() if key not in ("images", "annotations", "categories")
    }
    for key, name in (("images", "file_name"), ("categories", "name")):
        found[key] = {one[name]: {key: value for key, value in one.items() if key != "id"} for one in coco[key]}
    ids = {"id", "image_id", "category_id"}
    named = (
        {"image": images[one["image_id"]], "label": labels[one["category_id"]]}
        | {key: value for key, value in one.items() if key not in ids}
        for one in coco["annotations"]
    )
    return found | {"annotations": sorted(named, key=lambda one: (one["image"], one["bbox"]))}


def test_coco_by_way_of_voc_says_the_same(tmp_path: Path) -> None:
    put(tmp_path / "coco0" / "annotations" / "instances.json", json.dumps(FROM_COCO))
    found, splits = read(tmp_path / "coco0")
    assert written(voc_write.write, tmp_path / "voc1", found.dataset, splits) == []
    assert content(read(tmp_path / "voc1")[0].dataset) == content(found.dataset)
    there_and_back(tmp_path)
    back = json.loads((tmp_path / "coco2" / "annotations" / "instances.json").read_bytes())
    assert by_name(back) == by_name(FROM_COCO)
    assert [one["name"] for one in back["categories"]] == ["tooth brush", "person"]


def test_whole_folders_come_back_with_their_images(tmp_path: Path) -> None:
    root = voc(tmp_path / "voc1", {"a": xml(DOG), "sub/x": xml(named("cat", 1, 2, 3, 4))}, train=["a"], test=["sub/x"])
    for i, name in enumerate(("a.jpg", "sub/x.jpg")):
        (root / "JPEGImages" / name).parent.mkdir(parents=True, exist_ok=True)
        save_image(root / "JPEGImages" / name, (100, 80), seed=i)
    trips: list[tuple[str, str, WrittenFormat]] = [
        ("voc1", "coco1", "coco"), ("coco1", "voc2", "voc"), ("voc2", "coco2", "coco"), ("coco2", "voc3", "voc"),
    ]  # fmt: skip
    for source, target, to in trips:
        assert convert(Source(tmp_path / source), tmp_path / target, to=to).written.losses == ()
    assert files(tmp_path / "voc2") == files(tmp_path / "voc3")
    assert files(tmp_path / "coco1") == files(tmp_path / "coco2")
    for name in ("JPEGImages/a.jpg", "JPEGImages/sub/x.jpg"):
        assert (tmp_path / "voc3" / name).read_bytes() == (root / name).read_bytes()


def boxes_and_splits(dataset: Dataset) -> Any:
    stems = dataset.images.stems
    return (
        {one.stem: [(dataset.labels[label], box) for label, box in zip(one.objects.label, one.objects.box.tolist(), strict=True)] for one in dataset},
        {name: sorted(stems[row] for row in rows) for name, rows in dataset.splits.items() if name != "trainval"},
    )  # fmt: skip


@pytest.mark.parametrize("to", ["yolo", "yolo-seg", "labelme", "csv"])
def test_labels_boxes_and_splits_survive_in_every_format(tmp_path: Path, to: WrittenFormat) -> None:
    cat = xml(named("cat", 1, 2, 3, 4), named("dog", "5.5", 6, "70.25", 80))
    root = voc(tmp_path / "voc1", {"a": xml(DOG), "b": cat, "none": xml()}, train=["a", "none"], val=["b"])
    for i, name in enumerate(("a", "b", "none")):
        (root / "JPEGImages").mkdir(exist_ok=True)
        save_image(root / "JPEGImages" / f"{name}.jpg", (100, 80), seed=i)
    expected = boxes_and_splits(registry.read(Source(root)).dataset)
    convert(Source(root), tmp_path / "there", to=to)
    assert boxes_and_splits(registry.read(Source(tmp_path / "there")).dataset) == expected
    convert(Source(tmp_path / "there"), tmp_path / "back", to="voc")
    assert boxes_and_splits(registry.read(Source(tmp_path / "back")).dataset) == expected
