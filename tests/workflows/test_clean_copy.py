"""The copy that `--skip-bad` writes is clean: `check` finds no error in it, whatever was wrong with the source."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from vocdet.errors import VocdetError
from vocdet.formats.scan import Source
from vocdet.workflows.check import check_dataset
from vocdet.workflows.convert import WrittenFormat, convert
from vocdet.workflows.load import load_dataset

STEMS = ("a", "b", "c", "d")
TARGETS: tuple[WrittenFormat, ...] = ("voc", "coco", "yolo", "yolo-seg")
Damage = Callable[[Path], None]

XML = """<annotation><filename>{stem}.png</filename><size><width>60</width><height>40</height><depth>3</depth></size>
<object><name>dog</name><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>30</xmax><ymax>35</ymax></bndbox></object>
<object><name>cat</name><bndbox><xmin>20</xmin><ymin>8</ymin><xmax>50</xmax><ymax>30</ymax></bndbox></object>
</annotation>"""


def pictures(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, stem in enumerate(STEMS):
        pixels = np.random.default_rng(i).integers(0, 255, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{stem}.png")


def voc(root: Path) -> Path:
    pictures(root / "JPEGImages")
    (root / "Annotations").mkdir()
    for stem in STEMS:
        (root / "Annotations" / f"{stem}.xml").write_text(XML.format(stem=stem))
    return root


def coco(root: Path) -> Path:
    pictures(root / "images")
    images = [{"id": i, "file_name": f"{stem}.png", "width": 60, "height": 40} for i, stem in enumerate(STEMS)]
    box = [5, 6, 25, 29]
    polygon = [[5, 6, 30, 6, 30, 35, 5, 35]]
    annotations = [
        {"id": 10 * i + k, "image_id": i, "category_id": k, "bbox": box, "segmentation": polygon, "iscrowd": 0}
        for i in range(len(STEMS)) for k in (1, 2)
    ]  # fmt: skip
    categories = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
    (root / "annotations").mkdir()
    text = json.dumps({"images": images, "annotations": annotations, "categories": categories})
    (root / "annotations" / "instances.json").write_text(text)
    return root


def yolo(root: Path) -> Path:
    pictures(root / "images")
    (root / "labels").mkdir()
    for stem in STEMS:
        (root / "labels" / f"{stem}.txt").write_text("0 0.3 0.5 0.4 0.6\n1 0.6 0.5 0.4 0.5\n")
    (root / "classes.txt").write_text("dog\ncat\n")
    return root


def labelme(root: Path) -> Path:
    pictures(root)
    for stem in STEMS:
        shapes = [{"label": name, "points": [[5, 6], [30, 35]], "shape_type": "rectangle"} for name in ("dog", "cat")]
        content = {"shapes": shapes, "imagePath": f"{stem}.png", "imageWidth": 60, "imageHeight": 40}
        (root / f"{stem}.json").write_text(json.dumps(content))
    return root


def in_xml(old: str, new: str) -> Damage:
    def damage(root: Path) -> None:
        path = root / "Annotations" / "a.xml"
        path.write_text(path.read_text().replace(old, new, 1))

    return damage


def in_text(folder: str, text: str) -> Damage:
    def damage(root: Path) -> None:
        (root / folder / "b.txt").write_text(text)

    return damage


def entry(name: str, /, **values: Any) -> Damage:
    """Change the second entry of a list of the COCO file."""

    def damage(root: Path) -> None:
        path = root / "annotations" / "instances.json"
        whole = json.loads(path.read_text())
        whole[name][1].update(values)
        path.write_text(json.dumps(whole))

    return damage


def shape(**values: Any) -> Damage:
    def damage(root: Path) -> None:
        path = root / "b.json"
        whole = json.loads(path.read_text())
        whole["shapes"][0].update(values)
        path.write_text(json.dumps(whole))

    return damage


def cut_off(name: str) -> Damage:
    def damage(root: Path) -> None:
        path = next(root.rglob(name))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return damage


def gone(name: str) -> Damage:
    def damage(root: Path) -> None:
        next(root.rglob(name)).unlink()

    return damage


RLE = {"size": [7, 7], "counts": [40, 9]}
MANY: Mapping[str, tuple[Callable[[Path], Path], list[Damage]]] = {
    "voc": (voc, [
        in_xml("<xmin>5</xmin>", "<xmin>nan</xmin>"), in_xml("<xmin>20</xmin>", "<xmin>90</xmin>"),
        in_xml("<xmax>30</xmax>", "<xmax>5</xmax>"), in_xml("<xmax>50</xmax>", "<xmax>500</xmax>"),
        in_xml("<xmin>5</xmin>", "<xmin></xmin>"), in_xml("<ymin>8</ymin>", ""), in_xml("<name>dog</name>", ""),
        in_xml("<name>cat</name>", "<name>cat</name><part><name>ear</name><bndbox><xmin>x</xmin></bndbox></part>"),
        in_xml("<name>cat</name>", "<name>cat</name><polygon><x1>1</x1><y1>x</y1></polygon>"),
        in_xml("<name>dog</name>", f"<name>dog</name><segmentation>{json.dumps(RLE)}</segmentation>"),
        in_xml("<object>", "<Object>"), in_xml("</annotation>", ""), cut_off("b.png"), gone("c.png"), cut_off("c.xml"),
        gone("d.xml"),
    ]),
    "coco": (coco, [
        entry("images", id=0), entry("categories", id=1), entry("annotations", bbox=[5, 6, 0, 9]),
        entry("annotations", bbox=[5, 6, -3, 9]), entry("annotations", bbox=[50, 30, 90, 90]),
        entry("annotations", bbox=[70, 6, 9, 9], segmentation=[]), entry("annotations", bbox=["x", 6, None, 9]),
        entry("annotations", segmentation=[[1, 2, 3, 4]]), entry("annotations", segmentation=RLE),
        entry("annotations", segmentation="text"), entry("annotations", iscrowd=7), entry("annotations", image_id=99),
        entry("annotations", category_id=99), entry("categories", name=""), entry("images", file_name="../a.png"),
        entry("images", file_name=""), cut_off("b.png"), gone("c.png"),
    ]),
    "yolo": (yolo, [
        in_text("labels", "0 0.5 0.5 0.2\n"), in_text("labels", "7 0.5 0.5 0.2 0.2\n"),
        in_text("labels", "0 nan 0.5 0.2 0.2\n"), in_text("labels", "0 0.5 0.5 0 0.2\n0 0.5 0.5 0.2 0.2\n"),
        in_text("labels", "0 0.5 0.5 4 0.2\n"), in_text("labels", "x y\n0 0.5 0.5 0.2 0.2\n"),
        in_text("labels", "0 0.1 0.1 0.2 0.2 0.3\n"), cut_off("b.png"), gone("c.png"),
    ]),
    "labelme": (labelme, [
        shape(points=[[5, 6]]), shape(points=[[5, 6], [5, 6]]), shape(label=""), shape(label=None),
        shape(points=[[50, 6], [500, 9]]), shape(points="x"), shape(shape_type="polygon"), cut_off("a.json"),
        cut_off("c.png"), gone("d.png"),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("kind", MANY)
@given(data=st.data(), to=st.sampled_from(TARGETS))
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
def test_the_check_of_a_copy_finds_no_error(kind: str, data: st.DataObject, to: WrittenFormat) -> None:
    make, damages = MANY[kind]
    chosen = data.draw(st.lists(st.sampled_from(damages), max_size=4, unique=True))
    with TemporaryDirectory() as folder:
        root, copy = make(Path(folder, "set")), Path(folder, "copy")
        for damage in chosen:
            damage(root)
        try:
            report = convert(Source(root, skip_bad=True), copy, to)
        except VocdetError:
            assert not copy.exists()
            return
        found = check_dataset(Source(copy))
        assert found.errors == ()
        assert len(found.dataset) == len(report.dataset)


def is_refused(use: Callable[[], object]) -> bool:
    try:
        use()
    except VocdetError:
        return True
    return False


@pytest.mark.parametrize("kind", MANY)
def test_check_training_and_convert_call_the_same_an_error(kind: str, tmp_path: Path) -> None:
    make, damages = MANY[kind]
    for i, damage in enumerate(damages):
        root = make(tmp_path / str(i))
        damage(root)
        errors = {finding.code for finding in check_dataset(Source(root)).errors}
        refused = [
            is_refused(partial(convert, Source(root), tmp_path / f"copy{i}", "coco")),
            is_refused(partial(load_dataset, Source(root))),
        ]
        undecoded = errors <= {"image.corrupt"}  # training decodes its images one by one
        assert refused in ([bool(errors)] * 2, [bool(errors), False] if undecoded else None), (i, errors)
