from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vocdet.errors import AnnotationError, VocdetError
from vocdet.formats.voc.layout import find_layout

DOG = [("dog", (1, 2, 30, 40))]
MakeVoc = Callable[..., Path]


def test_the_voc_devkits_folders(make_voc: MakeVoc) -> None:
    layout = find_layout(make_voc({"a": DOG, "b": DOG}))
    assert list(layout.annotations) == ["Annotations/a.xml", "Annotations/b.xml"]
    assert layout.images == {"a": ["JPEGImages/a.jpg"], "b": ["JPEGImages/b.jpg"]}


def test_labelimgs_flat_folder(make_voc: MakeVoc) -> None:
    layout = find_layout(make_voc({"a": DOG}, layout="flat"))
    assert (list(layout.annotations), layout.images) == (["a.xml"], {"a": ["a.jpg"]})


def test_folders_in_small_letters(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG})
    (root / "Annotations").rename(root / "annotations")
    (root / "JPEGImages").rename(root / "images")
    layout = find_layout(root)
    assert (list(layout.annotations), layout.images) == (["annotations/a.xml"], {"a": ["images/a.jpg"]})


def test_a_devkit_with_one_year_in_it(make_voc: MakeVoc, tmp_path: Path) -> None:
    make_voc({"a": DOG}, root=tmp_path / "VOCdevkit" / "VOC2007")
    assert find_layout(tmp_path / "VOCdevkit").root == tmp_path / "VOCdevkit" / "VOC2007"


def test_a_devkit_with_two_years_asks_which(make_voc: MakeVoc, tmp_path: Path) -> None:
    for year in ("VOC2007", "VOC2012"):
        make_voc({"a": DOG}, root=tmp_path / "VOCdevkit" / year)
    with pytest.raises(VocdetError, match="holds several datasets: VOC2007, VOC2012") as caught:
        find_layout(tmp_path / "VOCdevkit")
    assert caught.value.hint == f"name one of these folders instead, such as {tmp_path}/VOCdevkit/VOC2007"


def test_roboflows_folders_of_splits(make_voc: MakeVoc, tmp_path: Path) -> None:
    for split in ("train", "valid"):
        make_voc({f"{split}1": DOG}, root=tmp_path / "set" / split, layout="flat")
    layout = find_layout(tmp_path / "set")
    assert list(layout.annotations) == ["train/train1.xml", "valid/valid1.xml"]
    assert layout.images["valid1"] == ["valid/valid1.jpg"]


def test_images_of_any_suffix_and_case(make_voc: MakeVoc) -> None:
    root = make_voc({}, layout="flat")
    for name in ("a.JPG", "b.jpeg", "c.PNG", "d.bmp", "e.webp", "f.tif", "g.Tiff", "h.txt", "i.v2.jpg"):
        (root / name).touch()
    (root / "a.XML").touch()
    layout = find_layout(root)
    assert list(layout.annotations) == ["a.XML"]
    assert sorted(layout.images) == ["a", "b", "c", "d", "e", "f", "g", "i.v2"]


def test_files_of_file_managers_are_ignored(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG}, layout="flat")
    for name in ("._a.xml", "._a.jpg", ".DS_Store"):
        (root / name).touch()
    (root / "b.xml").mkdir()
    os.mkfifo(root / "c.xml")  # to open this one would wait for ever
    layout = find_layout(root)
    assert (list(layout.annotations), layout.images, layout.findings) == (["a.xml"], {"a": ["a.jpg"]}, [])


@pytest.mark.parametrize("name", ["JPEGImages/a.jpg", "Annotations/a.xml", "JPEGImages", "Annotations"])
def test_a_link_that_leads_out_is_followed(make_voc: MakeVoc, tmp_path: Path, name: str) -> None:
    root = make_voc({"a": DOG, "b": DOG})
    inside, outside = root / name, tmp_path / "outside"
    inside.rename(outside)
    inside.symlink_to(outside)
    layout = find_layout(root)
    assert [(finding.code, finding.place.path) for finding in layout.findings] == [("path.linked", inside)]
    assert list(layout.annotations) == ["Annotations/a.xml", "Annotations/b.xml"]
    assert sorted(layout.images) == ["a", "b"]


def test_a_link_within_the_dataset_is_followed(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG})
    (root / "JPEGImages" / "b.jpg").symlink_to(root / "JPEGImages" / "a.jpg")
    assert "b" in find_layout(root).images


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda root: root.mkdir(), "no annotations found"),
        (lambda root: (root / "Annotations").mkdir(parents=True), "no annotations found"),
        (lambda root: root.touch(), "is a file, not a folder"),
        (lambda root: None, "no such folder"),
    ],
)
def test_a_folder_without_a_dataset_says_so(tmp_path: Path, make: Callable[[Path], object], problem: str) -> None:
    make(tmp_path / "set")
    with pytest.raises(VocdetError) as caught:
        find_layout(tmp_path / "set")
    assert caught.value.problem == problem
    assert caught.value.place is not None
    assert caught.value.place.path == tmp_path / "set"
    assert caught.value.hint


def test_images_in_a_folder_below_the_annotations(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG}, layout="flat")
    (root / "images").mkdir()
    (root / "a.jpg").rename(root / "images" / "a.jpg")
    assert find_layout(root).images == {"a": ["images/a.jpg"]}


def test_a_file_with_an_undecodable_name(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG}, layout="flat")
    for name in (b"gr\xf6\xdfe.jpg", b"two\nlines.jpg", "at 3.04\u202fPM.jpg".encode()):
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).touch()
    layout = find_layout(root)
    assert [finding.problem for finding in layout.findings] == [
        r"holds a file whose name is not valid text: 'gr\udcf6\udcdfe.jpg'",
        r"holds a file whose name is not valid text: 'two\nlines.jpg'",
    ]
    assert layout.images == {"a": ["a.jpg"], "at 3.04\u202fPM": ["at 3.04\u202fPM.jpg"]}


def test_a_devkit_that_is_a_link_to_elsewhere_is_followed(make_voc: MakeVoc, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "VOC2007").symlink_to(make_voc({"a": DOG}, root=tmp_path / "outside"))
    assert list(find_layout(tmp_path / "set").annotations) == ["Annotations/a.xml"]


def test_a_folder_that_may_not_be_read(make_voc: MakeVoc, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_voc({"a": DOG})

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(VocdetError, match="cannot be read: permission denied"):
        find_layout(root)


def test_the_annotations_alone_are_not_enough(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG, "b": DOG})
    with pytest.raises(AnnotationError, match="no images found for 2 annotations"):
        find_layout(root / "Annotations")


def test_images_without_any_annotation_are_counted(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG, "b": DOG}, layout="flat")
    for path in root.glob("*.xml"):
        path.unlink()
    with pytest.raises(AnnotationError, match="no annotations found beside 2 images"):
        find_layout(root)


def stems(root: Path) -> dict[str, tuple[str, list[str]]]:
    layout = find_layout(root)
    return {stem: (file, layout.images_of(stem)) for file, stem in layout.annotations.items()}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ("mon/cam0/1 tue/cam0/1", {"mon/cam0/1": "mon/cam0/1", "tue/cam0/1": "tue/cam0/1"}),
        ("images/train/a images/test/b", {"a": "images/train/a", "b": "images/test/b"}),
        ("images/train/a images/test/a", {"train/a": "images/train/a", "test/a": "images/test/a"}),
        ("train/annotations/a>train/images/a val/annotations/a>val/images/a",
         {"train/a": "train/images/a", "val/a": "val/images/a"}),
        ("Annotations/a>photos/a Annotations/b>photos/2024/b", {"a": "photos/a", "b": "photos/2024/b"}),
        ("labels/a>images/a labels/b>images/b", {"a": "images/a", "b": "images/b"}),
        ("annotations/a>images/train/a annotations/b>images/val/b", {"a": "images/train/a", "b": "images/val/b"}),
        ("a>pictures/a b>pictures/b", {"a": "pictures/a", "b": "pictures/b"}),
        ("Annotations/a>a b>b", {"a": "a", "b": "b"}),
        ("Annotations/a>JPEGImages/a JPEGImages/b>JPEGImages/b", {"a": "JPEGImages/a", "b": "JPEGImages/b"}),
        ("a>a more/b>more/b", {"a": "a", "b": "more/b"}),
    ],
)  # fmt: skip
def test_annotations_find_their_images(tmp_path: Path, files: str, expected: dict[str, str]) -> None:
    for pair in files.split():
        xml, _, image = pair.partition(">")
        for path in (tmp_path / f"{xml}.xml", tmp_path / f"{image or xml}.jpg"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("<annotation/>")
    (tmp_path / "annotations").mkdir(exist_ok=True)  # as TensorFlow's tutorial has it
    (tmp_path / "annotations" / "train.csv").write_text("filename,xmin")
    assert {stem: images for stem, (_, images) in stems(tmp_path).items()} == {
        stem: [f"{file}.jpg"] for stem, file in expected.items()
    }


def test_a_stray_xml_in_another_folder_is_passed_over(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG}, root=None, layout="flat")
    (root / "film").mkdir()
    for name in ("a.xml", "a.jpg"):
        (root / name).rename(root / "film" / name)
    (root / "calibration").mkdir()
    (root / "calibration" / "camera.xml").write_text('<?xml version="1.0"?><opencv_storage/>')
    layout = find_layout(root)
    assert list(layout.annotations) == ["film/a.xml"]
    assert [one.problem for one in layout.findings] == [
        "calibration/camera.xml begins with <opencv_storage>, not with <annotation>: not read"
    ]
