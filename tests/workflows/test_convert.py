from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from PIL import Image

from vocdet import files
from vocdet.data.findings import Finding
from vocdet.errors import AnnotationError, ArgumentError, DatasetError, ImageError, ManyErrors, OutputError, VocdetError
from vocdet.formats import registry
from vocdet.formats.scan import FormatChoice, Source
from vocdet.workflows.check import check_dataset
from vocdet.workflows.convert import ConvertReport, WriteOptions, WrittenFormat, convert, summary

MakeVoc = Callable[..., Path]
Box = tuple[float, float, float, float]
Content = dict[str, list[tuple[str, Box]]]

SIZE = 100, 80
TARGETS: tuple[WrittenFormat, ...] = ("voc", "coco", "yolo")
CONTENT: Content = {
    "a": [("dog", (1, 2, 30, 40)), ("cat", (40, 2, 70, 42))],
    "b": [],
    "c": [("dog", (0, 0, 100, 80))],
}
ROWS = {"a": "1 0.155 0.2625 0.29 0.475\n0 0.55 0.275 0.3 0.5\n", "b": "", "c": "1 0.5 0.5 1 1\n"}  # cat is 0, dog 1


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls the plug in a test: wait for no disk."""
    monkeypatch.setattr(files, "_flush", lambda _: None)


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(noise).resize(SIZE).save(path)


def pictures(folder: Path) -> None:
    for seed, stem in enumerate(CONTENT):
        picture(folder / f"{stem}.png", seed)


def coco_text(**more: object) -> str:
    annotations = [
        {"id": i, "image_id": ord(stem), "category_id": {"dog": 7, "cat": 3}[label],
         "bbox": [xmin, ymin, xmax - xmin, ymax - ymin]}
        for i, (stem, label, (xmin, ymin, xmax, ymax)) in enumerate(
            ((stem, label, box) for stem, objects in CONTENT.items() for label, box in objects), 1)
    ]  # fmt: skip
    images = [{"id": ord(stem), "file_name": f"{stem}.png", "width": 100, "height": 80} for stem in CONTENT]
    categories = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories, **more})


def a_voc_folder(root: Path, make_voc: MakeVoc) -> Path:
    return make_voc(CONTENT, root=root, suffix=".png")


def a_labelimg_folder(root: Path, make_voc: MakeVoc) -> Path:
    return make_voc(CONTENT, root=root, suffix=".png", layout="flat")


def a_coco_folder(root: Path, make_voc: MakeVoc) -> Path:
    pictures(root / "images")
    (root / "annotations").mkdir()
    (root / "annotations" / "instances.json").write_text(coco_text())
    return root


def a_coco_file(root: Path, make_voc: MakeVoc) -> Path:
    return a_coco_folder(root, make_voc) / "annotations" / "instances.json"


def a_yolo_folder(root: Path, make_voc: MakeVoc) -> Path:
    pictures(root / "images")
    (root / "labels").mkdir()
    for stem, rows in ROWS.items():
        (root / "labels" / f"{stem}.txt").write_text(rows)
    (root / "data.yaml").write_text("names: [cat, dog]\n")
    return root


def a_data_yaml(root: Path, make_voc: MakeVoc) -> Path:
    return a_yolo_folder(root, make_voc) / "data.yaml"


def a_labelme_folder(root: Path, make_voc: MakeVoc) -> Path:
    pictures(root)
    for stem, objects in CONTENT.items():
        shapes = [{"label": label, "points": [box[:2], box[2:]], "shape_type": "rectangle"} for label, box in objects]
        text = {"shapes": shapes, "imagePath": f"{stem}.png", "imageWidth": 100, "imageHeight": 80, "imageData": None}
        (root / f"{stem}.json").write_text(json.dumps(text))
    return root


SOURCES = (a_voc_folder, a_labelimg_folder, a_coco_folder, a_coco_file, a_yolo_folder, a_data_yaml, a_labelme_folder)
Make = Callable[[Path, MakeVoc], Path]


def voc_content(folder: Path) -> tuple[Content, dict[str, Path]]:
    found: Content = {}
    images = {}
    for path in sorted((folder / "Annotations").rglob("*.xml")):
        root = ET.parse(path).getroot()
        stem = path.relative_to(folder / "Annotations").with_suffix("").as_posix()
        found[stem] = []
        for item in root.iter("object"):
            sides = (item.findtext(f"bndbox/{side}", "") for side in ("xmin", "ymin", "xmax", "ymax"))
            xmin, ymin, xmax, ymax = map(float, sides)
            found[stem].append((item.findtext("name", ""), (xmin, ymin, xmax, ymax)))
        assert (root.findtext("size/width"), root.findtext("size/height")) == ("100", "80")
        images[stem] = (folder / "JPEGImages" / stem).with_name(root.findtext("filename", ""))
    return found, images


def coco_content(folder: Path) -> tuple[Content, dict[str, Path]]:
    found: Content = {}
    images = {}
    for path in sorted((folder / "annotations").glob("*.json")):
        whole = json.loads(path.read_text())
        names = {one["id"]: one["name"] for one in whole["categories"]}
        stems = {one["id"]: one["file_name"].rpartition(".")[0] for one in whole["images"]}
        for one in whole["images"]:
            assert (one["width"], one["height"]) == SIZE
            images[stems[one["id"]]] = folder / "images" / one["file_name"]
            found[stems[one["id"]]] = []
        for one in whole["annotations"]:
            x, y, width, height = one["bbox"]
            found[stems[one["image_id"]]].append((names[one["category_id"]], (x, y, x + width, y + height)))
        assert [one["id"] for one in whole["annotations"]] == list(range(1, len(whole["annotations"]) + 1))
    return found, images


def yolo_content(folder: Path) -> tuple[Content, dict[str, Path]]:
    names = dict(re.findall(r'^  (\d+): "(.*)"$', (folder / "data.yaml").read_text(), re.MULTILINE))
    found: Content = {}
    images = {}
    for path in sorted((folder / "labels").rglob("*.txt")):
        rows = [line.split() for line in path.read_text().splitlines()]
        shares = [(names[row[0]], *map(float, row[1:])) for row in rows]
        found[path.stem] = [
            (label, (100 * (x - w / 2), 80 * (y - h / 2), 100 * (x + w / 2), 80 * (y + h / 2)))
            for label, x, y, w, h in shares
        ]
        beside = folder / "images" / path.relative_to(folder / "labels")
        (images[path.stem],) = beside.parent.glob(f"{path.stem}.*")
    return found, images


READERS: dict[WrittenFormat, Callable[[Path], tuple[Content, dict[str, Path]]]] = {
    "voc": voc_content, "coco": coco_content, "yolo": yolo_content,
}  # fmt: skip


def rounded(content: Content) -> Content:
    return {stem: [(label, tuple(round(side, 6) for side in box)) for label, box in objects]  # type: ignore[misc]
            for stem, objects in content.items()}  # fmt: skip


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def codes(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.code for finding in findings]


def losses(report: ConvertReport) -> dict[str, int]:
    return {loss.what: loss.count for loss in report.written.losses}


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("make", SOURCES, ids=lambda make: make.__name__)
def test_every_format_becomes_every_other(tmp_path: Path, make_voc: MakeVoc, make: Make, to: WrittenFormat) -> None:
    source = make(tmp_path / "set", make_voc)
    before = tree(tmp_path / "set")
    report = convert(Source(source), tmp_path / "out", to=to)
    found, images = READERS[to](tmp_path / "out")
    assert rounded(found) == CONTENT
    originals = {Path(name).stem: data for name, data in before.items() if name.endswith(".png")}
    assert {stem: path.read_bytes() for stem, path in images.items()} == originals
    assert report.written.images == 3
    assert summary(report.dataset) == "3 images, 3 objects, 2 labels"
    assert tree(tmp_path / "set") == before
    assert names(tmp_path) == ["out", "set"]


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (a_voc_folder, "a VOC folder, 3 XML files in Annotations"),
        (a_labelimg_folder, "a VOC folder, 3 XML files beside the images"),
        (a_coco_folder, "COCO, annotations/instances.json"),
        (a_coco_file, "COCO, annotations/instances.json"),
        (a_yolo_folder, "a YOLO folder, 3 label files in labels"),
        (a_data_yaml, "a YOLO folder, 3 label files in labels"),
        (a_labelme_folder, "a labelme folder, 3 JSON files beside the images"),
    ],
)
def test_the_format_of_the_source_is_reported(tmp_path: Path, make_voc: MakeVoc, make: Make, kind: str) -> None:
    report = convert(Source(make(tmp_path / "set", make_voc)), tmp_path / "out", to="coco")
    assert report.scan.kind == kind
    assert report.others == ()


def test_xml_files_take_precedence_over_a_coco_file(tmp_path: Path, make_voc: MakeVoc) -> None:
    source = a_voc_folder(tmp_path / "set", make_voc)
    (source / "instances.json").write_text(coco_text(info={"of": "coco"}))
    report = convert(Source(source), tmp_path / "one", to="coco")
    assert (report.scan.format, report.others) == ("voc", ("coco",))
    report = convert(Source(source, format="coco"), tmp_path / "two", to="coco")
    assert (report.scan.format, report.others) == ("coco", ())
    assert json.loads((tmp_path / "two" / "annotations" / "instances.json").read_text())["info"] == {"of": "coco"}


@pytest.mark.parametrize("format", ["voc", "yolo", "labelme"])
def test_a_requested_format_that_does_not_match_is_an_error(
    tmp_path: Path, make_voc: MakeVoc, format: FormatChoice
) -> None:
    with pytest.raises(VocdetError, match=r"no (annotations|label files|labelme files) found"):
        convert(Source(a_coco_folder(tmp_path / "set", make_voc), format=format), tmp_path / "out", to="voc")
    assert names(tmp_path) == ["set"]


PARTS = {"train": ["c", "a"], "val": ["b"], "trainval": ["a", "b", "c"]}


def test_splits_are_preserved(tmp_path: Path, make_voc: MakeVoc) -> None:
    source = make_voc({**CONTENT, "d": []}, splits=PARTS | {"test": ["d"]})
    for to in TARGETS:
        convert(Source(source), tmp_path / to, to=to)
    lists = {path.stem: path.read_text().split() for path in (tmp_path / "voc" / "ImageSets" / "Main").iterdir()}
    assert lists == PARTS | {"test": ["d"]}
    in_files = {
        path.stem: [image["file_name"] for image in json.loads(path.read_text())["images"]]
        for path in (tmp_path / "coco" / "annotations").iterdir()
    }
    assert in_files == {"instances_train": ["a.jpg", "c.jpg"], "instances_val": ["b.jpg"], "instances_test": ["d.jpg"]}
    in_folders = {path.name: names(path) for path in (tmp_path / "yolo" / "labels").iterdir()}
    assert in_folders == {"train": ["a.txt", "c.txt"], "val": ["b.txt"], "test": ["d.txt"]}
    for format in ("coco", "yolo"):
        convert(Source(tmp_path / format), tmp_path / f"from_{format}", to="voc")
        back = tmp_path / f"from_{format}" / "ImageSets" / "Main"
        found = {path.stem: sorted(path.read_text().split()) for path in back.iterdir()}
        assert found.pop("trainval", ["a", "b", "c"]) == ["a", "b", "c"]
        assert found == {"train": ["a", "c"], "val": ["b"], "test": ["d"]}


def test_folds_that_a_format_cannot_hold_are_a_loss(tmp_path: Path, make_voc: MakeVoc) -> None:
    folds = {"fold1_train": ["c", "a"], "fold1_val": ["b"]}
    source = make_voc(CONTENT, splits=PARTS | folds)
    for to in ("coco", "yolo"):
        (loss,) = convert(Source(source), tmp_path / to, to=to).written.losses
        assert (loss.what, loss.count, loss.why) == ("splits", 2, "fold1_train, fold1_val")
    assert convert(Source(source), tmp_path / "voc", to="voc").written.losses == ()
    again = registry.read(Source(tmp_path / "voc")).dataset
    assert {name: [again.images.stems[row] for row in again.splits[name]] for name in folds} == folds


def test_one_image_without_objects_or_splits_is_a_dataset(tmp_path: Path, make_voc: MakeVoc) -> None:
    source = make_voc({"a": []})
    for to in TARGETS:
        report = convert(Source(source), tmp_path / to, to=to)
        assert summary(report.dataset) == "1 image, 0 objects, 0 labels"
        again = convert(Source(tmp_path / to), tmp_path / f"{to}_again", to="voc")
        assert again.dataset.images.stems == ("a",)
        assert len(again.dataset.objects) == 0


def test_linked_images_take_no_space(tmp_path: Path, make_voc: MakeVoc) -> None:
    source = a_voc_folder(tmp_path / "set", make_voc)
    report = convert(Source(source), tmp_path / "out", to="voc", options=WriteOptions(images="link"))
    assert (report.written.images, report.written.copied) == (3, 0)
    for stem in CONTENT:
        name = f"JPEGImages/{stem}.png"
        assert (tmp_path / "out" / name).samefile(source / name)
    assert not (tmp_path / "out" / "Annotations" / "a.xml").samefile(source / "Annotations" / "a.xml")


def test_images_are_copied_if_the_disk_has_no_links(
    tmp_path: Path, make_voc: MakeVoc, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    report = convert(
        Source(a_voc_folder(tmp_path / "set", make_voc)),
        tmp_path / "out",
        to="voc",
        options=WriteOptions(images="link"),
    )
    assert (report.written.images, report.written.copied) == (3, 3)
    assert len(names(tmp_path / "out" / "JPEGImages")) == 3


def test_what_a_link_inside_the_dataset_points_to_is_copied_or_linked(tmp_path: Path, make_voc: MakeVoc) -> None:
    source = a_voc_folder(tmp_path / "set", make_voc)
    (source / "store").mkdir()
    (source / "JPEGImages" / "a.png").rename(source / "store" / "1.bin")
    (source / "JPEGImages" / "a.png").symlink_to("../store/1.bin")
    convert(Source(source), tmp_path / "copy", to="voc")
    convert(Source(source), tmp_path / "link", to="voc", options=WriteOptions(images="link"))
    copied, linked = (tmp_path / name / "JPEGImages" / "a.png" for name in ("copy", "link"))
    assert not copied.is_symlink()
    assert not linked.is_symlink()
    assert copied.read_bytes() == (source / "store" / "1.bin").read_bytes()
    assert linked.samefile(source / "store" / "1.bin")


@pytest.mark.parametrize("to", TARGETS)
def test_images_are_not_moved_on_request(tmp_path: Path, make_voc: MakeVoc, to: WrittenFormat) -> None:
    source = a_voc_folder(tmp_path / "set", make_voc)
    report = convert(Source(source), tmp_path / "out", to=to, options=WriteOptions(images="none"))
    assert report.written.images == 0
    assert not list((tmp_path / "out").rglob("*.png"))
    whole = convert(Source(source), tmp_path / "whole", to=to)
    without = {name: data for name, data in tree(tmp_path / "whole").items() if not name.endswith(".png")}
    assert tree(tmp_path / "out") == without
    for row, name in enumerate(report.written.targets):  # where they would be read from
        path = tmp_path / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / report.dataset.images.files[row], path)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert whole.written.targets == report.written.targets


@pytest.mark.parametrize("make", [a_voc_folder, a_coco_folder, a_coco_file, a_labelme_folder])
@pytest.mark.parametrize("to", TARGETS)
def test_without_images_their_sizes_come_from_the_annotations(
    tmp_path: Path, make_voc: MakeVoc, make: Make, to: WrittenFormat
) -> None:
    source = make(tmp_path / "set", make_voc)
    for path in (tmp_path / "set").rglob("*.png"):
        path.unlink()
    with pytest.raises(AnnotationError, match="no images found"):
        convert(Source(source), tmp_path / "out", to=to)
    report = convert(Source(source), tmp_path / "out", to=to, options=WriteOptions(images="none"))
    assert summary(report.dataset) == "3 images, 3 objects, 2 labels"
    pictures(tmp_path)
    for stem in CONTENT:
        name = next(name for name in report.written.targets if name.endswith(f"{stem}.png"))
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{stem}.png").rename(tmp_path / "out" / name)
    assert rounded(READERS[to](tmp_path / "out")[0]) == CONTENT


def test_relative_boxes_need_the_size_of_their_image(tmp_path: Path, make_voc: MakeVoc) -> None:
    source = a_yolo_folder(tmp_path / "set", make_voc)
    shutil.rmtree(source / "images")
    with pytest.raises(AnnotationError, match="no images found for 3 label files"):
        convert(Source(source), tmp_path / "out", to="voc", options=WriteOptions(images="none"))


def rich_coco(root: Path) -> Path:
    """A dataset with something of everything that a format may not hold."""
    for name in ("a.png", "b.png"):
        picture(root / "images" / name)
    plain: dict[str, Any] = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 10]}
    annotations: list[dict[str, Any]] = [
        plain | {"segmentation": [[1, 2, 11, 2, 11, 12]], "area": 50},
        plain | {"segmentation": {"size": [80, 100], "counts": [7999, 1]}, "iscrowd": 1, "area": 1},
        plain | {"difficult": 1, "truncated": 1, "occluded": 1, "pose": "Left", "bbox": [5, 5, 9, 9]},
        plain | {"truncated": 1, "attributes": {"color": "red"}, "parts": [], "bbox": [6, 5, 9, 9]},
        plain | {"area": 99, "score": 0.5, "bbox": [7, 5, 9, 9]},
        plain | {"bbox": [95, 5, 5.5, 9]},
        plain | {"bbox": [100, 5, 0.5, 9]},
    ]
    whole = {
        "info": {"year": 2024},
        "images": [{"id": 1, "file_name": "a.png", "license": 3}, {"id": 2, "file_name": "b.png"}],
        "annotations": [{"id": i, **one} for i, one in enumerate(annotations)],
        "categories": [{"id": 1, "name": "dog", "supercategory": "animal"}],
    }
    (root / "annotations").mkdir()
    (root / "annotations" / "instances.json").write_text(json.dumps(whole))
    return root


LOST_IN_YOLO = {
    "boxes clipped to their images": 1,
    "boxes without area in their images": 1,
    "masks": 2,
    "crowds": 1,
    "difficult objects": 1,
    "truncated objects": 2,
    "occluded objects": 1,
    "poses": 1,
    "areas": 3,
    "attributes of objects": 1,
    "parts of objects": 1,
    "score of objects": 1,
    "extras of images": 1,
    "extras of the dataset": 1,
}


def test_losses_are_counted(tmp_path: Path) -> None:
    source = rich_coco(tmp_path / "set")
    assert losses(convert(Source(source), tmp_path / "voc", to="voc")) == {}
    assert losses(convert(Source(source), tmp_path / "coco", to="coco")) == {}
    assert losses(convert(Source(source), tmp_path / "yolo", to="yolo")) == LOST_IN_YOLO
    assert len(yolo_content(tmp_path / "yolo")[0]["a"]) == 6


def test_an_image_in_two_splits_is_a_loss_if_the_format_allows_one(tmp_path: Path, make_voc: MakeVoc) -> None:
    source = make_voc(CONTENT, splits={"train": ["a", "b"], "val": ["b"]})
    assert losses(convert(Source(source), tmp_path / "voc", to="voc")) == {}
    assert losses(convert(Source(source), tmp_path / "coco", to="coco")) == {
        "images in several splits: written to the first": 1
    }
    assert losses(convert(Source(source), tmp_path / "yolo", to="yolo")) == {"further splits of images": 1}
    held = json.loads((tmp_path / "coco" / "annotations" / "instances_rest.json").read_text())
    assert [image["file_name"] for image in held["images"]] == ["c.jpg"]


def test_strict_refuses_losses_and_writes_nothing(tmp_path: Path) -> None:
    source = rich_coco(tmp_path / "set")
    with pytest.raises(OutputError) as caught:
        convert(Source(source), tmp_path / "new" / "out", to="yolo", options=WriteOptions(strict=True))
    listed = caught.value.problem.removeprefix("yolo cannot hold everything: ").split("; ")
    assert sorted(listed) == sorted(f"{number} × {what}" for what, number in LOST_IN_YOLO.items())
    assert caught.value.hint == "leave out `strict=True`"
    assert names(tmp_path) == ["set"]
    convert(Source(source), tmp_path / "out", to="voc", options=WriteOptions(strict=True))
    assert names(tmp_path) == ["out", "set"]


def broken(tmp_path: Path, make_voc: MakeVoc) -> Path:
    """A folder in which all but g have an error each."""
    source = make_voc(dict.fromkeys("abcdefg", CONTENT["a"]), splits={"train": list("abcdefg"), "val": ["x"]})
    xmls, images = source / "Annotations", source / "JPEGImages"
    (xmls / "a.xml").write_text("<annotation>")
    edit(xmls / "b.xml", "<xmax>30</xmax>", "<xmax>wide</xmax>")
    (images / "c.jpg").write_text("<html>")
    edit(xmls / "d.xml", "<xmax>70</xmax>", "<xmax>40</xmax>")
    (images / "e.jpg").unlink()
    mask = '<segmentation>{"size":[8,8],"counts":[60,4]}</segmentation>'
    edit(xmls / "f.xml", "<name>dog</name>", f"<name>dog</name>{mask}")
    return source


def line_of(path: Path, text: str) -> int:
    return 1 + next(i for i, line in enumerate(path.read_text().splitlines()) if text in line)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


BAD = [
    "xml.syntax", "voc.box.bad_number", "image.corrupt", "image.missing", "imagesets.unknown_stem", "box.zero_area",
    "mask.size",
]  # fmt: skip


def test_all_errors_are_raised_together_and_nothing_is_written(tmp_path: Path, make_voc: MakeVoc) -> None:
    source = broken(tmp_path, make_voc)
    with pytest.raises(ManyErrors) as caught:
        convert(Source(source), tmp_path / "out", to="coco")
    places = [str(error.place) for error in caught.value.errors]
    assert places == [
        f"{source}/Annotations/a.xml:1",
        f"{source}/Annotations/b.xml:{line_of(source / 'Annotations' / 'b.xml', 'wide')}",
        f"{source}/JPEGImages/c.jpg",
        f"{source}/Annotations/e.xml",
        f"{source}/ImageSets/Main/val.txt:1",
        f"{source}/Annotations/d.xml:{line_of(source / 'Annotations' / 'd.xml', '<name>cat') - 1}",
        f"{source}/Annotations/f.xml:{line_of(source / 'Annotations' / 'f.xml', '<object>')}",
    ]
    assert caught.value.remedy == "`skip_bad=True` leaves out 3 images, 2 objects and 1 mask and uses the rest"
    assert names(tmp_path) == ["set"]


@pytest.mark.parametrize("to", TARGETS)
def test_errors_can_be_left_out_and_are_listed(tmp_path: Path, make_voc: MakeVoc, to: WrittenFormat) -> None:
    source = broken(tmp_path, make_voc)
    report = convert(Source(source, skip_bad=True), tmp_path / "out", to=to)
    assert codes(report.left_out.errors) == BAD
    assert (report.left_out.images, report.left_out.objects, report.left_out.masks) == (3, 2, 1)
    assert report.warnings == ()
    found, images = READERS[to](tmp_path / "out")
    dog, cat = CONTENT["a"]
    assert rounded(found) == {"b": [cat], "d": [dog], "f": [dog, cat], "g": [dog, cat]}
    assert all(path.read_bytes() == (source / "JPEGImages" / path.name).read_bytes() for path in images.values())
    assert report.dataset.splits["train"].tolist() == [0, 1, 2, 3]
    assert not len(report.dataset.objects.segmentation.rows)
    assert check_dataset(Source(tmp_path / "out")).errors == ()
    again = convert(Source(tmp_path / "out", skip_bad=True), tmp_path / "again", to="voc")
    assert not again.left_out


def test_a_mask_that_is_left_out_takes_no_area_with_it(tmp_path: Path) -> None:
    source = rich_coco(tmp_path / "set")
    path = source / "annotations" / "instances.json"
    whole = json.loads(path.read_text())
    del whole["annotations"][0]["area"]
    whole["annotations"][0]["segmentation"] = [[1, 2, 3]]
    path.write_text(json.dumps(whole))
    report = convert(Source(source, skip_bad=True), tmp_path / "out", to="coco")
    assert codes(report.left_out.errors) == ["mask.polygon.odd"]
    written = json.loads((tmp_path / "out" / "annotations" / "instances.json").read_text())["annotations"]
    assert "segmentation" not in written[0]
    assert [one["area"] for one in written] == [100, 1, 81, 81, 99, 49.5, 4.5]


def test_a_dataset_of_errors_alone_is_an_error(tmp_path: Path, make_voc: MakeVoc) -> None:
    source = make_voc({"a": [], "b": []})
    for path in (source / "JPEGImages").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DatasetError, match="has no readable annotations"):
        convert(Source(source, skip_bad=True), tmp_path / "out", to="coco")
    assert names(tmp_path) == ["set"]


def test_invalid_boxes_are_errors_as_in_the_check(tmp_path: Path, make_voc: MakeVoc) -> None:
    boxes = [("dog", (5.0, 5.0, 5.0, 9.0)), ("dog", (90.0, 5.0, 190.0, 9.0)), ("dog", (101.0, 1.0, 109.0, 9.0)),
             ("dog", (1.0, 1.0, 9.0, 9.0))]  # fmt: skip
    source = make_voc({"a": boxes})
    with pytest.raises(ManyErrors) as caught:
        convert(Source(source), tmp_path / "out", to="coco")
    assert len(caught.value.errors) == 3
    report = convert(Source(source, skip_bad=True), tmp_path / "out", to="coco")
    assert (report.left_out.objects, report.left_out.clipped) == (2, 1)
    assert coco_content(tmp_path / "out")[0] == {"a": [("dog", (90.0, 5.0, 100.0, 9.0)), boxes[3]]}


def a_file(path: Path) -> None:
    path.write_text("mine")


def a_folder_with_a_file(path: Path) -> None:
    path.mkdir()
    (path / "mine").write_text("mine")


def a_link_to_a_folder(path: Path) -> None:
    (path.parent / "empty").mkdir()
    path.symlink_to("empty")


@pytest.mark.parametrize("make", [a_file, a_folder_with_a_file, a_link_to_a_folder])
def test_an_existing_target_is_refused_before_reading(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "out")
    before = tree(tmp_path), names(tmp_path)
    with pytest.raises(OutputError, match=r"out: exists already"):
        convert(Source(tmp_path / "no source"), tmp_path / "out", to="coco")
    assert (tree(tmp_path), names(tmp_path)) == before


def test_an_empty_target_is_used(tmp_path: Path, make_voc: MakeVoc) -> None:
    (tmp_path / "out").mkdir()
    convert(Source(make_voc(CONTENT)), tmp_path / "out", to="coco")
    assert names(tmp_path / "out") == ["annotations", "images"]


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("make", SOURCES, ids=lambda make: make.__name__)
def test_a_target_inside_the_source_is_refused(
    tmp_path: Path, make_voc: MakeVoc, make: Make, to: WrittenFormat
) -> None:
    source = make(tmp_path / "set", make_voc)
    before = tree(tmp_path)
    (tmp_path / "link").symlink_to("set")
    for target in (tmp_path / "set" / "out", tmp_path / "link" / "out", tmp_path / "set" / "new" / ".." / "out"):
        with pytest.raises(OutputError, match=r"is inside .* and would be read as part of it"):
            convert(Source(source), target, to=to)
    (tmp_path / "link").unlink()
    assert tree(tmp_path) == before


def test_the_source_cannot_be_the_target(tmp_path: Path, make_voc: MakeVoc) -> None:
    source = make_voc(CONTENT)
    before = tree(tmp_path)
    with pytest.raises(OutputError, match="set: exists already"):
        convert(Source(source), source, to="coco")
    assert tree(tmp_path) == before


def test_a_target_behind_circular_links_is_an_error(tmp_path: Path, make_voc: MakeVoc) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OutputError, match="cannot be written"):
        convert(Source(make_voc(CONTENT)), tmp_path / "loop" / "out", to="coco")


class Failing:
    """A function that fails from its n-th call on, as all do that write to a disk that is full."""

    def __init__(self, function: Callable[..., Any], good: int, code: int) -> None:
        self.function, self.left, self.code = function, good, code

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise OSError(self.code, os.strerror(self.code), str(arguments[0]), None, str(arguments[-1]))
        return self.function(*arguments, **named)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("good", [0, 1, 2])
def test_a_full_disk_leaves_nothing(
    tmp_path: Path, make_voc: MakeVoc, monkeypatch: pytest.MonkeyPatch, good: int, code: int
) -> None:
    source = make_voc(CONTENT, splits={"train": ["a"]})
    before = tree(tmp_path)
    for name, owner in (("write", os), ("copyfile", shutil)):
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, Failing(getattr(owner, name), good, code))
            with pytest.raises(OutputError, match="cannot be written") as caught:
                convert(Source(source), tmp_path / "new" / "out", to="voc")
        assert caught.value.hint == "choose another folder, or free some space"
        assert caught.value.place is not None
        assert caught.value.place.path.is_relative_to(tmp_path / "new" / "out")  # not the hidden folder beside it
        assert tree(tmp_path) == before
        assert names(tmp_path) == ["set"]
    convert(Source(source), tmp_path / "new" / "out", to="voc")
    assert names(tmp_path / "new") == ["out"]


@pytest.mark.parametrize("to", TARGETS)
def test_a_disk_that_is_really_full_leaves_nothing(tmp_path: Path, make_voc: MakeVoc, to: WrittenFormat) -> None:
    source = make_voc({f"{i:03}": CONTENT["a"] for i in range(60)})
    (tmp_path / "small").mkdir()
    mount = shutil.which("mount")
    size = "120k" if to == "coco" else "400k"
    command = [str(mount), "-t", "tmpfs", "-o", f"size={size}", "none", str(tmp_path / "small")]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a disk of a given size can only be made by those who may mount one")
    try:
        with pytest.raises(OutputError, match="no space left on device"):
            convert(Source(source), tmp_path / "small" / "out", to=to)
        assert names(tmp_path / "small") == []
    finally:
        subprocess.run(["umount", str(tmp_path / "small")], check=True)


def test_a_folder_that_may_not_be_written_is_an_error(
    tmp_path: Path, make_voc: MakeVoc, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_voc(CONTENT)

    def refuse(self: Path, *_: object, **__: object) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match="out: cannot be written: permission denied") as caught:
        convert(Source(source), tmp_path / "new" / "out", to="coco")
    assert caught.value.hint == "choose a writable folder"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_permissions_are_respected(tmp_path: Path, make_voc: MakeVoc) -> None:
    source = make_voc(CONTENT)
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="cannot be written: permission denied"):
        convert(Source(source), tmp_path / "locked" / "out", to="coco")
    (source / "JPEGImages" / "a.jpg").chmod(0)
    with pytest.raises(ImageError, match="may not be read"):
        convert(Source(source), tmp_path / "out", to="coco")
    assert names(tmp_path) == ["locked", "set"]


def test_an_image_deleted_meanwhile_is_an_error_of_the_source(tmp_path: Path, make_voc: MakeVoc) -> None:
    source = make_voc(CONTENT)

    def progress(done: int, _: int) -> None:
        if (tmp_path / "set" / "JPEGImages" / "c.jpg").exists() and next(calls) == 6:  # all is read and decoded
            (tmp_path / "set" / "JPEGImages" / "c.jpg").unlink()

    for images in ("copy", "link"):
        calls = count(1)
        with pytest.raises(ImageError) as caught:
            convert(Source(source), tmp_path / "out", to="coco", options=WriteOptions(images=images), progress=progress)
        assert str(caught.value) == (
            f"{source}/JPEGImages/c.jpg: cannot be copied: no such file or directory "
            "(check that it exists, and its permissions)"
        )
        assert names(tmp_path) == ["set"]
        shutil.copyfile(source / "JPEGImages" / "a.jpg", source / "JPEGImages" / "c.jpg")


def test_progress_counts_files_read_then_images_decoded_and_written(tmp_path: Path, make_voc: MakeVoc) -> None:
    calls: list[tuple[int, int]] = []
    convert(Source(make_voc(CONTENT)), tmp_path / "out", to="coco", progress=lambda *call: calls.append(call))
    assert calls == [(1, 3), (2, 3), (3, 3)] * 3  # read, decoded, written


@pytest.mark.parametrize("at", [1, 4, 6])
def test_an_interrupt_leaves_nothing(tmp_path: Path, make_voc: MakeVoc, at: int) -> None:
    source, calls = make_voc(CONTENT), count(1)

    def progress(done: int, total: int) -> None:
        if next(calls) == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(Source(source), tmp_path / "new" / "out", to="voc", progress=progress)
    assert names(tmp_path) == ["set"]


@pytest.mark.parametrize("stems", [("Img", "img"), ("caf\u00e9", "cafe\u0301")])
def test_names_that_some_disks_cannot_distinguish_are_refused(
    tmp_path: Path, make_voc: MakeVoc, stems: tuple[str, str]
) -> None:
    first, second = sorted(stems)
    source = make_voc({first: [], second: []})
    if len(names(source / "Annotations")) == 1:
        pytest.skip("this is such a disk")
    for to in TARGETS:
        with pytest.raises(OutputError) as caught:
            convert(Source(source), tmp_path / "out", to=to)
        assert f"which on some disks is the name of JPEGImages/{first}.jpg" in str(caught.value)
        assert str(caught.value).startswith(f"{source}/JPEGImages/{second}.jpg: would be named ")
    assert names(tmp_path) == ["set"]


def test_images_that_differ_only_in_their_suffixes_need_coco(tmp_path: Path) -> None:
    source = a_coco_folder(tmp_path / "set", make_voc=lambda: Path())
    picture(source / "images" / "A.jpg")
    path = source / "annotations" / "instances.json"
    whole = json.loads(path.read_text())
    whole["images"].append({"id": 9, "file_name": "A.jpg"})
    path.write_text(json.dumps(whole))
    convert(Source(source), tmp_path / "coco", to="coco")
    assert names(tmp_path / "coco" / "images") == ["A.jpg", "a.png", "b.png", "c.png"]
    for to in ("voc", "yolo"):
        with pytest.raises(
            OutputError, match=r"A\.jpg: would be named .*, which on some disks is the name of images/a"
        ):
            convert(Source(source), tmp_path / to, to=to)


def test_requested_coordinates_are_written(tmp_path: Path, make_voc: MakeVoc) -> None:
    source = make_voc({"a": [("dog", (11.0, 21.0, 50.0, 60.0))]})
    convert(Source(source, coordinates="one"), tmp_path / "coco", to="coco")
    assert coco_content(tmp_path / "coco")[0] == {"a": [("dog", (10, 20, 50, 60))]}
    assert '"bbox":[10,20,40,40]' in (tmp_path / "coco" / "annotations" / "instances.json").read_text()
    convert(Source(tmp_path / "coco"), tmp_path / "same", to="voc")
    assert voc_content(tmp_path / "same")[0] == {"a": [("dog", (11, 21, 50, 60))]}
    convert(Source(tmp_path / "coco"), tmp_path / "zero", to="voc", options=WriteOptions(coordinates="zero"))
    assert voc_content(tmp_path / "zero")[0] == {"a": [("dog", (10, 20, 50, 60))]}
    for folder in ("same", "zero"):
        report = convert(Source(tmp_path / folder), tmp_path / f"{folder}_coco", to="coco")
        assert report.dataset.objects.box.tolist() == [[10, 20, 50, 60]]


def test_coordinates_that_cannot_be_written_are_named_by_their_argument(tmp_path: Path, make_voc: MakeVoc) -> None:
    source, one = Source(make_voc({"a": [("dog", (11.0, 21.0, 11.5, 60.0))]})), WriteOptions(coordinates="one")
    with pytest.raises(ArgumentError, match="`write_coordinates='one'` is for VOC files: yolo has no choice"):
        convert(source, tmp_path / "out", to="yolo", options=one)
    with pytest.raises(OutputError, match='use `write_coordinates="zero"`'):
        convert(source, tmp_path / "out", to="voc", options=one)


def test_a_label_list_determines_the_order(tmp_path: Path, make_voc: MakeVoc) -> None:
    (tmp_path / "labels.txt").write_text("zebra\ndog\ncat\n")
    convert(Source(make_voc(CONTENT), labels=tmp_path / "labels.txt"), tmp_path / "out", to="coco")
    whole = json.loads((tmp_path / "out" / "annotations" / "instances.json").read_text())
    assert whole["categories"] == [{"id": 1, "name": "zebra"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "cat"}]


# Converts in a child of its own for every line it is told, in which images take their time.
_CHILDREN = """
import os, signal, sys, time
from pathlib import Path
from vocdet.formats.scan import Source
from vocdet.workflows.convert import convert

def killed(name):
    def now(*_):
        os.kill(os.getpid(), signal.SIGKILL)
    return now

for line in sys.stdin:
    source, target, to, how = line.split()
    child = os.fork()
    if not child:
        rename = Path.rename
        if how == "before":
            Path.rename = killed("rename")
        elif how == "after":
            Path.rename = lambda *paths: (rename(*paths), killed("rename")())
        convert(Source(Path(source)), Path(target), to=to, progress=lambda *_: time.sleep(0.001))
        os._exit(0)
    print(child, flush=True)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""


@pytest.fixture
def children() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", _CHILDREN], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}) as process:  # fmt: skip
        yield process


def started(process: subprocess.Popen[str], *words: object) -> int:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(" ".join(map(str, words)) + "\n")
    process.stdin.flush()
    return int(process.stdout.readline())


def ended(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "gone\n"


def written_so_far(folder: Path) -> int:
    """How many files there are in the hidden folder; more than any number when it has taken its name."""
    if (folder / "out").exists():
        return sys.maxsize
    return sum(len(found) for hidden in folder.glob(".out.*") for *_, found in os.walk(hidden))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is nothing to fork and kill")
@pytest.mark.parametrize("to", ["voc", "coco"])
def test_a_conversion_that_is_killed_leaves_all_or_nothing(
    tmp_path: Path, make_voc: MakeVoc, children: subprocess.Popen[str], to: WrittenFormat
) -> None:
    stems = [f"{i:03}" for i in range(48)]
    source = make_voc(dict.fromkeys(stems, CONTENT["a"]), splits={"train": stems[:32], "val": stems[32:]})
    convert(Source(source), tmp_path / "whole", to=to)
    whole = tree(tmp_path / "whole")
    (tmp_path / "here").mkdir()
    moments: list[int | str] = ["before", "after", *range(0, len(whole) + 1, len(whole) // 3), sys.maxsize]
    ends = []
    for moment in moments:
        how = moment if isinstance(moment, str) else "outside"
        child = started(children, source, tmp_path / "here" / "out", to, how)
        if isinstance(moment, int):
            while written_so_far(tmp_path / "here") < moment:
                time.sleep(0)
            with suppress(ProcessLookupError):  # it was done
                os.kill(child, signal.SIGKILL)
        ended(children)
        there = (tmp_path / "here" / "out").exists()
        ends.append(there)
        if there:
            assert tree(tmp_path / "here" / "out") == whole
            assert names(tmp_path / "here") == ["out"]
            shutil.rmtree(tmp_path / "here" / "out")
        convert(Source(source), tmp_path / "here" / "out", to=to)
        assert tree(tmp_path / "here" / "out") == whole
        assert names(tmp_path / "here") == ["out"]
        shutil.rmtree(tmp_path / "here" / "out")
    assert ends[:2] == [False, True]
