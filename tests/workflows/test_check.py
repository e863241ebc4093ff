from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from vocdet.errors import SplitError
from vocdet.formats.scan import Source
from vocdet.workflows.check import CheckReport, check_dataset

DOG = [("dog", (1.0, 2.0, 30.0, 40.0))]
CAT = [("cat", (1.0, 2.0, 30.0, 40.0))]
MakeVoc = Callable[..., Path]


def many(make_voc: MakeVoc, count: int = 20, **kinds: object) -> Path:
    return make_voc({f"img{i:02}": DOG if i % 2 else CAT for i in range(count)}, **kinds)


def listing(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def counts(report: CheckReport) -> dict[str, int]:
    """How many findings there are of each code."""
    return dict(Counter(finding.code for finding in report.findings))


@pytest.mark.parametrize("lost", ["JPEGImages/img2.jpg", "Annotations/img2.xml"])
def test_one_broken_file_is_one_error(make_voc: MakeVoc, lost: str) -> None:
    root = make_voc({"img1": DOG, "img2": DOG}, splits={"train": ["img1", "img2"], "trainval": ["img1", "img2"]})
    (root / lost).write_bytes(b"")
    report = check_dataset(Source(root))
    assert [finding.place.path for finding in report.findings] == [root / lost]
    assert (len(report.errors), len(report.warnings)) == (1, 0)


def test_a_split_without_objects_is_a_finding(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG, "b": []}, splits={"train": ["a"], "val": ["b"]})
    (finding,) = check_dataset(Source(root)).findings
    assert (finding.severity, finding.problem) == ("warning", "the split val has 1 image and no objects")


def test_everything_is_found_and_nothing_changed(make_voc: MakeVoc) -> None:
    scenes = {f"img{i}": DOG for i in range(8)} | {"img8": [("Dog", (5, 5, 5, 5))], "img9": [("dog", (1, 2, 130, 40))]}
    splits = {"train": ["img0", "img1", "img9"], "val": ["img2", "img3"], "test": ["img2", "nothing"]}
    root = make_voc(scenes, splits=splits)
    images, xmls = root / "JPEGImages", root / "Annotations"
    (images / "img2.jpg").write_bytes((images / "img0.jpg").read_bytes())
    Image.open(images / "img0.jpg").resize((50, 40)).resize((100, 80)).save(images / "img3.jpg", quality=60)
    (images / "img4.jpg").write_bytes((images / "img4.jpg").read_bytes()[:900])
    (xmls / "img5.xml").unlink()
    (images / "img6.jpg").unlink()
    (xmls / "img7.xml").write_text((xmls / "img7.xml").read_text()[:300])
    before = listing(root)
    report = check_dataset(Source(root))
    assert listing(root) == before
    assert [(finding.severity, finding.code) for finding in report.findings] == [
        ("error", "box.out_of_image"),
        ("error", "box.zero_area"),
        ("error", "image.corrupt"),
        ("error", "image.missing"),
        ("error", "imagesets.unknown_stem"),
        ("error", "xml.syntax"),
        ("warning", "image.copy_across_splits"),
        ("warning", "image.similar_across_splits"),
        ("warning", "image.unannotated"),
        ("warning", "imagesets.overlap"),
        ("warning", "label.alike"),
    ]
    assert len(report.errors) == 6
    assert all(finding.hint and finding.problem for finding in report.findings)
    assert [[report.dataset.images.stems[row] for row in group] for group in report.similar] == [
        ["img0", "img2", "img3"]
    ]
    assert (report.format, report.decoded, report.seconds > 0) == ("voc", True, True)


def test_without_images_none_is_decoded(make_voc: MakeVoc) -> None:
    root = many(make_voc)
    path = root / "JPEGImages" / "img00.jpg"
    (root / "JPEGImages" / "img01.jpg").write_bytes(path.read_bytes())
    path.write_bytes(path.read_bytes()[:900])  # its header is whole
    report = check_dataset(Source(root), images=False)
    assert (report.findings, report.similar, report.decoded) == ((), [], False)
    assert counts(check_dataset(Source(root))) == {"image.corrupt": 1}


def test_progress_counts_the_images_while_they_are_decoded_and_compared(make_voc: MakeVoc) -> None:
    seen: list[tuple[int, int]] = []
    check_dataset(Source(many(make_voc, 3)), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 6) for done in (1, 2, 3, 4, 5, 6)]


def test_an_undecodable_split_file_does_not_end_a_check(make_voc: MakeVoc) -> None:
    root = many(make_voc, splits={"train": ["img00"]})
    (root / "ImageSets" / "Main" / "train.txt").write_bytes("img00".encode("utf-16"))
    assert [finding.code for finding in check_dataset(Source(root)).findings] == ["imagesets.unreadable"]


def test_files_without_size_are_one_finding(make_voc: MakeVoc) -> None:
    root = many(make_voc, 3)
    for stem in ("img00", "img02"):
        path = root / "Annotations" / f"{stem}.xml"
        text = path.read_text()
        path.write_text(text[: text.index("<size>")] + text[text.index("</size>") + 7 :])
    (finding,) = check_dataset(Source(root)).findings
    assert (finding.severity, finding.code, finding.count) == ("warning", "voc.size.missing", 2)
    assert finding.problem == "2 files have no <size>: Annotations/img00.xml, Annotations/img02.xml"


def test_stems_that_are_one_file_on_other_systems(make_voc: MakeVoc) -> None:
    root = make_voc({"IMG_1": DOG, "img_1": CAT})
    (finding,) = check_dataset(Source(root)).findings
    assert (finding.code, finding.place.path.name) == ("image.stem_alike", "img_1.jpg")
    assert finding.problem == "the stem 'img_1' differs in case or accents alone from 'IMG_1'"


@pytest.mark.parametrize(
    ("orientation", "stored", "code", "problem"),
    [
        (
            3,
            (100, 80),
            "image.turned",
            "1 image has an EXIF orientation (3): boxes are taken as those of images as shown, with it applied; "
            "nothing in the annotations shows which",
        ),
        (
            6,
            (100, 80),
            "image.orientation",
            "its EXIF orientation (6) is not applied: the image is read as stored",
        ),
        (
            6,
            (80, 100),
            "image.orientation",
            "its EXIF orientation (6) is applied: the image is read as shown, 100×80",
        ),
    ],
)
def test_an_orientation_is_always_reported(
    make_voc: MakeVoc, orientation: int, stored: tuple[int, int], code: str, problem: str
) -> None:
    root = make_voc({"a": DOG})  # annotated as 100×80
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", stored).save(root / "JPEGImages" / "a.jpg", exif=exif)
    (finding,) = check_dataset(Source(root)).findings
    assert (finding.severity, finding.code, finding.problem) == ("warning", code, problem)


def test_an_oriented_image_is_reported_once(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: [dog]\ntrain: images\n")
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (100, 80)).save(tmp_path / "images" / "a.jpg", exif=exif)
    (tmp_path / "labels" / "a.txt").write_text("0 .5 .5 .5 .5\n")
    report = check_dataset(Source(tmp_path))
    assert (report.format, counts(report)) == ("yolo", {"image.turned": 1})


def test_labels_that_a_coco_file_lists_without_objects_are_in_order(tmp_path: Path) -> None:
    Image.new("RGB", (10, 10)).save(tmp_path / "a.jpg")
    image = {"id": 1, "file_name": "a.jpg", "width": 10, "height": 10}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "area": 25, "iscrowd": 0}
    categories = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
    text = json.dumps({"images": [image], "annotations": [box], "categories": categories})
    (tmp_path / "coco.json").write_text(text)
    assert check_dataset(Source(tmp_path / "coco.json")).findings == ()


def test_other_split_files_take_the_place_of_the_datasets_own(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = many(make_voc, splits={"train": ["img00", "nothing"]})
    images = root / "JPEGImages"
    (images / "img03.jpg").write_bytes((images / "img00.jpg").read_bytes())
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "trainval.txt").write_text("img00\nimg01\nfar\n")
    (lists / "test.txt").write_text("img03\nimg01\n")
    report = check_dataset(Source(root), lists=[lists])
    assert counts(report) == {
        "image.copy_across_splits": 1,
        "imagesets.overlap": 1,
        "imagesets.unknown_stem": 1,
    }
    assert report.errors == ()
    assert {name: rows.tolist() for name, rows in report.dataset.splits.items()} == {"trainval": [0, 1], "test": [3, 1]}


def test_other_split_files_that_are_not_there_are_an_error(make_voc: MakeVoc, tmp_path: Path) -> None:
    with pytest.raises(SplitError, match="no such file"):
        check_dataset(Source(many(make_voc)), lists=[tmp_path / "nowhere"])


def test_the_split_files_that_fodas_authors_shipped(shared: Path) -> None:
    # By sort, uniq -d and comm: 25345 and 8448 lines of 25298 and 8429 ids, 4 of them in both.
    foda = shared / "data" / "foda"
    report = check_dataset(Source(foda), lists=[foda / "original_ImageSets_full"], images=False)
    assert report.errors == ()
    said = [(finding.code, finding.place.path.stem, finding.count) for finding in report.findings]
    assert said == [
        ("imagesets.crlf", "trainval", 25345),
        ("imagesets.crlf", "test", 8448),
        ("imagesets.duplicate", "trainval", 25345 - 25298),
        ("imagesets.duplicate", "test", 8448 - 8429),
        ("imagesets.overlap", "test", 4),
        ("imagesets.unknown_stem", "trainval", 23903),
        ("imagesets.unknown_stem", "test", 7966),
    ]


def test_the_boards_have_other_labels_in_voc_than_in_coco(shared: Path) -> None:
    boards = shared / "data" / "microcontrollers"
    assert check_dataset(Source(boards)).dataset.labels == (
        "Arduino_Nano",
        "ESP8266",
        "Heltec_ESP32_Lora",
        "Raspberry_Pi_3",
    )
    coco = check_dataset(Source(boards, format="coco"))
    assert coco.dataset.labels == ("Arduino", "ESP8266", "Heltec", "Raspberry")
    assert (len(coco.dataset), len(coco.dataset.objects), coco.findings) == (149, 178, ())
