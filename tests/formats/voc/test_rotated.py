from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from vocdet.formats.scan import Source
from vocdet.formats.voc.read import scan
from vocdet.workflows.convert import convert

MakeVoc = Callable[..., Path]
# roLabelImg: 40 wide, 20 high, a quarter of a right angle clockwise about 50, 40.
ROTATED = ("<type>robndbox</type><name>ship</name><robndbox><cx>50</cx><cy>40</cy><w>40</w><h>20</h>"
           f"<angle>{math.pi / 6:.6f}</angle></robndbox>")  # fmt: skip
HALF_WIDTH = 20 * math.cos(math.pi / 6) + 10 * math.sin(math.pi / 6)
HALF_HEIGHT = 20 * math.sin(math.pi / 6) + 10 * math.cos(math.pi / 6)
AROUND = [50 - HALF_WIDTH, 40 - HALF_HEIGHT, 50 + HALF_WIDTH, 40 + HALF_HEIGHT]


def one(make_voc: MakeVoc, inside: str) -> Path:
    root = make_voc({"a": []})
    path = root / "Annotations" / "a.xml"
    path.write_text(path.read_text().replace("</annotation>", f"<object>{inside}</object></annotation>"))
    return root


@pytest.mark.parametrize(
    "inside",
    [
        ROTATED,
        "<name>ship</name><bndbox><xmin>30</xmin><ymin>30</ymin><xmax>70</xmax><ymax>50</ymax></bndbox>"
        "<attributes><attribute><name>rotation</name><value>30.0</value></attribute></attributes>",
    ],
    ids=["roLabelImg", "CVAT"],
)
def test_a_rotated_box_is_read_as_the_upright_box_around_it_and_written_back(
    make_voc: MakeVoc, tmp_path: Path, inside: str
) -> None:
    found = scan(Source(one(make_voc, inside)))
    assert found.dataset.objects.box[0] == pytest.approx(AROUND, abs=1e-4)
    assert [(finding.severity, finding.code) for finding in found.findings] == [("warning", "box.rotated")]
    extra = msgspec.json.decode(found.dataset.objects.extra[0])
    assert extra["angle"] == pytest.approx(30, abs=1e-4)
    assert extra["corners"][:2] == pytest.approx(
        [50 - 20 * math.cos(math.pi / 6) + 5, 40 - 10 - 10 * math.cos(math.pi / 6)], abs=1e-4
    )
    source = found.dataset.root
    for number, to in enumerate(("voc", "coco", "voc", "coco", "voc")):
        convert(Source(source), tmp_path / f"{number}", to=to)  # type: ignore[arg-type]
        source = tmp_path / f"{number}"
        back = scan(Source(source)).dataset if to == "voc" else None
        if back is not None:
            assert back.objects.box[0] == pytest.approx(AROUND, abs=1e-4)
            assert msgspec.json.decode(back.objects.extra[0])["corners"] == extra["corners"]
    text = (source / "Annotations" / "a.xml").read_text()
    assert text.count("<robndbox>") == 1 or "rotation" in text
    assert "<cx>50</cx>" in text


def test_corners_in_a_rotated_box_are_read(make_voc: MakeVoc) -> None:
    names = ("left_top", "right_top", "right_bottom", "left_bottom")
    points = ((20, 10), (60, 20), (55, 40), (15, 30))
    tags = "".join(
        f"<x_{name}>{x}</x_{name}><y_{name}>{y}</y_{name}>" for name, (x, y) in zip(names, points, strict=True)
    )
    dataset = scan(Source(one(make_voc, f"<name>ship</name><robndbox>{tags}</robndbox>"))).dataset
    assert dataset.objects.box.tolist() == [[15, 10, 60, 40]]
    assert msgspec.json.decode(dataset.objects.extra[0])["angle"] == pytest.approx(
        math.degrees(math.atan2(10, 40)), abs=1e-5
    )


@pytest.mark.parametrize("bad", ["<cx>50</cx>", "<cx>x</cx><cy>1</cy><w>1</w><h>1</h><angle>0</angle>", ""])
def test_a_rotated_box_that_is_none_is_an_error(make_voc: MakeVoc, bad: str) -> None:
    found = scan(Source(one(make_voc, f"<name>ship</name><robndbox>{bad}</robndbox>")))
    assert "voc.box.missing" in [finding.code for finding in found.findings if finding.severity == "error"]


def test_a_rotation_of_nothing_turns_nothing(make_voc: MakeVoc) -> None:
    inside = ("<name>ship</name><bndbox><xmin>30</xmin><ymin>30</ymin><xmax>70</xmax><ymax>50</ymax></bndbox>"
              "<attributes><attribute><name>rotation</name><value>360.0</value></attribute></attributes>")  # fmt: skip
    found = scan(Source(one(make_voc, inside)))
    assert found.findings == ()
    assert found.dataset.objects.box.tolist() == [[30, 30, 70, 50]]


def test_the_box_around_a_rotated_one_ends_at_the_border_of_the_image(make_voc: MakeVoc) -> None:
    found = scan(Source(one(make_voc, ROTATED.replace("<cy>40<", "<cy>5<"))))
    assert found.dataset.objects.box[0] == pytest.approx([AROUND[0], 0, AROUND[2], AROUND[3] - 35], abs=1e-4)
    assert msgspec.json.decode(found.dataset.objects.extra[0])["corners"][1] < 0
