"""Annotations to correct: never over the work of people, readable by labelImg, and in a useful order."""

from __future__ import annotations

import csv
import importlib
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from lxml import etree
from numpy.typing import NDArray
from PIL import Image

from vocdet import masks
from vocdet.data.detections import Detections
from vocdet.data.levels import Levels
from vocdet.data.texts import Texts
from vocdet.errors import AnnotationError, ArgumentError, ImageError, OutputError
from vocdet.formats.voc.write import WrittenObject, annotation_text
from vocdet.inference.annotating import simplified, teaching_order, uncertainty
from vocdet.mask_outlines import as_polygon
from vocdet.workflows.film_frames import frames
from vocdet.workflows.prelabel import PrelabelReport, prelabel, progress


class Finds:
    """Finds a "cat" and, a little less surely, a "dog" in every picture; with masks of their boxes on request."""

    labels = ("cat", "dog")
    thresholds = np.array([0.5, 0.5], np.float32)
    levels: Levels | None = None
    boxes = np.array([[10.0, 10, 30, 30], [40.4, 10, 60.2, 30]])

    def __init__(self, shift: float = 0.0, masks: bool = False) -> None:
        self.shift, self.masks = shift, masks

    def detect(self, images: Sequence[NDArray[np.uint8]], *, score: float = 0.0) -> list[Detections]:
        texts = None
        if self.masks:
            pixels = np.zeros((48, 64), np.bool_)
            pixels[10:30, 10:30] = True
            texts = Texts.of([masks.rle_json(pixels)] * 2)
        found = Detections(self.boxes + self.shift, np.array([0.9, 0.8], np.float32), np.array([0, 1]), texts)
        return [found for _ in images]


def picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def run(folder: Path, detector: Finds | None = None) -> PrelabelReport:
    *_, report = prelabel(detector or Finds(), [str(folder / "photos")], out=folder / "todo", name="runs/one")
    assert isinstance(report, PrelabelReport)
    return report


def objects(path: Path) -> list[tuple[str | None, ...]]:
    tags = ("name", "bndbox/xmin", "bndbox/ymin", "bndbox/xmax", "bndbox/ymax", "score")
    return [tuple(one.findtext(tag) for tag in tags) for one in etree.parse(path).iter("object")]


HUMAN = annotation_text("a.png", (64, 48), [WrittenObject("cat", (10, 11, 30, 31))]).replace("<annotation>", "<annotation>\n\t<!-- mine -->")  # fmt: skip


def test_an_image_gets_an_annotation_with_scores_and_the_model(tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "a.png")
    report = run(tmp_path)
    xml = tmp_path / "photos" / "a.xml"
    assert objects(xml) == [("cat", "10", "10", "30", "30", "0.9"), ("dog", "40", "10", "60", "30", "0.8")]
    assert etree.parse(xml).findtext("object/model") == "runs/one"
    assert (report.added, dict(report.states)) == (2, {"without": 1})


def test_images_that_share_an_annotation_file_do_not_replace_each_other(tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "a.jpg")
    picture(tmp_path / "photos" / "a.png", 1)
    with pytest.raises(ImageError, match=r"a\.png: has the annotation file of a\.jpg, a\.xml"):
        run(tmp_path)
    assert etree.parse(tmp_path / "photos" / "a.xml").findtext("filename") == "a.jpg"


def test_machine_made_annotations_are_replaced_until_they_are_corrected(tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "a.png")
    run(tmp_path)
    xml = tmp_path / "photos" / "a.xml"
    assert dict(run(tmp_path, Finds(shift=2)).states) == {"machine-made": 1}
    assert objects(xml)[0] == ("cat", "12", "12", "32", "32", "0.9")
    assert dict(progress([str(tmp_path / "photos")]).states) == {"machine-made": 1}
    corrected = xml.read_text().replace(">12<", ">13<")
    xml.write_text(corrected)
    report = run(tmp_path, Finds(shift=4))
    assert (dict(report.states), xml.read_text()) == ({"corrected": 1}, corrected)
    done = progress([str(tmp_path / "photos")])
    assert (dict(done.states), done.left) == ({"corrected": 1}, ())


def test_a_call_that_is_killed_leaves_machine_made_annotations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vocdet.workflows.prelabel.SAVED", 0.0)
    photos = [str(picture(tmp_path / "photos" / f"{name}.png")) for name in "ab"]
    events = prelabel(Finds(), photos, out=tmp_path / "todo")
    next(events)
    assert progress(photos[:1]).states == {"machine-made": 1}  # what is written by now
    events.close()


def test_the_work_of_people_gets_only_what_is_new(tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "a.png")
    xml = tmp_path / "photos" / "a.xml"
    xml.write_text(HUMAN)
    for _ in range(2):  # the second time nothing is new
        report = run(tmp_path)
    text = xml.read_text()
    begin, end = HUMAN.split("</annotation>")
    assert text.startswith(begin)
    assert text.endswith(f"</annotation>{end}")
    assert [one[0] for one in objects(xml)] == ["cat", "dog"]
    assert (report.added, dict(report.states)) == (0, {"human": 1})


def test_a_file_whose_encoding_lacks_a_letter_gets_its_number(tmp_path: Path) -> None:
    xml = picture(tmp_path / "photos" / "a.png").with_suffix(".xml")
    xml.write_bytes(b'<?xml version="1.0" encoding="iso-8859-1"?>\n' + HUMAN.replace("mine", "für").encode("latin-1"))
    detector = Finds()
    detector.labels = ("cat", "狗")
    run(tmp_path, detector)
    assert [one[0] for one in objects(xml)] == ["cat", "狗"]
    assert "für".encode("latin-1") in xml.read_bytes()


@pytest.mark.parametrize("masked", [False, True])
def test_annotations_of_an_image_of_another_size_are_an_error(tmp_path: Path, masked: bool) -> None:
    image = picture(tmp_path / "photos" / "a.png")
    path = image.with_suffix(".json" if masked else ".xml")
    about = {"shapes": [], "imagePath": "a.png", "imageWidth": 48, "imageHeight": 64}
    path.write_text(json.dumps(about) if masked else annotation_text("a.png", (48, 64), []))
    before = path.read_bytes()
    with pytest.raises(AnnotationError, match="is of 48x64 pixels, but the upright image has 64x48"):
        run(tmp_path, Finds(masks=masked))
    assert path.read_bytes() == before


def test_three_lists_say_how_the_model_and_people_differ(tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "a.png")
    drawn = [WrittenObject("cat", (12, 13, 32, 33)), WrittenObject("bird", (0, 40, 8, 47))]
    (tmp_path / "photos" / "a.xml").write_text(annotation_text("a.png", (64, 48), drawn))
    run(tmp_path)

    def rows(name: str) -> list[list[str]]:
        return list(csv.reader((tmp_path / "todo" / name).read_text().splitlines()))[1:]

    assert rows("new.csv") == [["a.png", "dog", "0.800", "40.4", "10.0", "60.2", "30.0"]]
    assert rows("missed.csv") == [["a.png", "bird", "", "0.0", "40.0", "8.0", "47.0"]]
    assert rows("different.csv") == [["a.png", "cat", "0.900", "10.0", "10.0", "30.0", "30.0", "cat", "12.0", "13.0", "32.0", "33.0"]]  # fmt: skip


def test_a_file_with_numbers_from_one_gets_numbers_from_one(tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "a.png")
    xml = tmp_path / "photos" / "a.xml"
    cat = [WrittenObject("cat", (10, 10, 30, 30))]
    xml.write_text(annotation_text("a.png", (64, 48), cat, coordinates="one", marked=True))
    run(tmp_path)
    assert objects(xml)[1][:5] == ("dog", "41", "11", "60", "30")


def test_a_broken_annotation_is_an_error_and_unchanged(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path / "photos" / name)
    (tmp_path / "photos" / "a.xml").write_text("<annotation><object>")
    with pytest.raises(AnnotationError, match="cannot be read as a VOC annotation"):
        run(tmp_path)
    assert (tmp_path / "photos" / "a.xml").read_text() == "<annotation><object>"
    assert (tmp_path / "photos" / "b.xml").is_file()


def test_images_of_a_voc_folder_have_their_annotations_in_it(tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "JPEGImages" / "a.png")
    run(tmp_path)
    assert (tmp_path / "photos" / "Annotations" / "a.xml").is_file()


def test_outlines_have_few_corners_to_correct() -> None:
    disk = np.asarray(cv2.circle(np.zeros((200, 200)), (100, 100), 80, 1, -1)) > 0
    polygon = as_polygon(masks.parse(masks.rle_json(disk)), 200, 200)
    assert polygon
    fewer = simplified(polygon)
    assert len(polygon) > 300
    assert len(fewer) < 60
    drawn = np.asarray(cv2.fillPoly(np.zeros((200, 200)), [np.array(fewer, np.int32).reshape(-1, 2)], 1)) > 0
    assert (drawn & disk).sum() / (drawn | disk).sum() > 0.95
    assert simplified([1.0, 1.0, 2.0, 1.0, 2.0, 2.0]) == [1.0, 1.0, 2.0, 1.0, 2.0, 2.0]  # as it would vanish


def test_masks_become_polygons_of_labelme(tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "a.png")
    run(tmp_path, Finds(masks=True))
    path = tmp_path / "photos" / "a.json"
    made = json.loads(path.read_text())
    assert [(one["label"], one["shape_type"], one["description"]) for one in made["shapes"]] == [
        ("cat", "polygon", "score 0.9, runs/one"), ("dog", "polygon", "score 0.8, runs/one"),
    ]  # fmt: skip
    assert sorted(made["shapes"][0]["points"]) == [[10, 10], [10, 30], [30, 10], [30, 30]]
    human = {"version": "5.0.1", "shapes": [made["shapes"][0]], "imagePath": "a.png", "imageData": None, "mine": 1}
    path.write_text(json.dumps(human))
    report = run(tmp_path, Finds(masks=True))
    again = json.loads(path.read_text())
    assert (again["mine"], dict(report.states)) == (1, {"corrected": 1})  # vocdet wrote the first
    path.rename(path.with_name("b.json"))
    picture(tmp_path / "photos" / "b.png", 1)
    run(tmp_path, Finds(masks=True))
    again = json.loads(path.with_name("b.json").read_text())
    assert (again["mine"], [one["label"] for one in again["shapes"]]) == (1, ["cat", "dog"])


def test_the_order_is_a_list_and_numbered_links(tmp_path: Path) -> None:
    paths = [picture(tmp_path / "photos" / f"{i}.png", i) for i in range(3)]
    report = run(tmp_path)
    assert sorted(report.order) == paths
    assert (tmp_path / "todo" / "order.txt").read_text().splitlines() == [str(path) for path in report.order]
    names = sorted(path.name for path in (tmp_path / "todo" / "order").glob("*.png"))
    assert names == [f"{i}_{path.name}" for i, path in enumerate(report.order, 1)]
    assert run(tmp_path).order == report.order


def test_unsure_images_come_first_and_copies_last() -> None:
    limits = np.array([0.5], np.float32)
    scores: tuple[list[float], ...] = ([0.5], [0.95], [], [0.95, 0.48])
    found = [Detections(np.zeros((len(s), 4)), np.array(s, np.float32), np.zeros(len(s), np.int64)) for s in scores]
    values = [uncertainty(one, limits) for one in found]
    assert values == pytest.approx([1.0, 0.1, 0.5, 0.96], abs=1e-6)
    described = np.array([[0.0], [0.0], [1.0], [0.0]], np.float32)  # the fourth looks like the first
    assert teaching_order(np.array(values), described) == [0, 2, 1, 3]


def test_other_files_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "a.png")
    picture(tmp_path / "todo" / "b.png")
    with pytest.raises(OutputError, match="contains other files"):
        run(tmp_path)
    (tmp_path / "photos" / "a.mp4").touch()
    with pytest.raises(ArgumentError, match="is not an image"):
        run(tmp_path)


def test_labelimg_reads_every_annotation(tmp_path: Path) -> None:
    reason = "labelImg is not installed: pip install --no-deps labelImg"
    pytest.importorskip("libs.pascal_voc_io", reason=reason, exc_type=ImportError)
    reader = importlib.import_module("libs.pascal_voc_io").PascalVocReader
    for i, name in enumerate(("a.png", "b é.png")):
        picture(tmp_path / "photos" / name, i)
    (tmp_path / "photos" / "a.xml").write_text(HUMAN)
    run(tmp_path)
    for xml in (tmp_path / "photos").glob("*.xml"):
        shapes = reader(str(xml)).get_shapes()
        assert [one[0] for one in shapes] == ["cat", "dog"]
        assert shapes[1][1] == [(40, 10), (60, 10), (60, 30), (40, 30)]


def test_frames_that_hardly_differ_are_left_out(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (192, 144))
    noise = np.random.default_rng(0)
    for i in range(40):  # for two seconds nothing moves, then a small object does
        image = np.full((144, 192, 3), 90, np.uint8) + noise.integers(0, 12, (144, 192, 3), dtype=np.uint8)
        cv2.circle(image, (20 + 4 * max(0, i - 20), 70), 7, (250, 250, 250), -1)
        writer.write(image)
    writer.release()
    found = list(frames([str(tmp_path / "a.avi")], out=tmp_path / "photos", every=0.5))
    assert [one.differs for one in found] == [True, False, False, False, False, True, True, True]
    assert sorted(path.name for path in (tmp_path / "photos").iterdir()) == [
        "a_000000.jpg", "a_000025.jpg", "a_000030.jpg", "a_000035.jpg",
    ]  # fmt: skip
    assert not any(one.written for one in frames([str(tmp_path / "a.avi")], out=tmp_path / "photos", every=0.5))
    with pytest.raises(ArgumentError, match="every is 0"):
        list(frames([str(tmp_path / "a.avi")], out=tmp_path, every=0))
