from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding
from vocdet.errors import AnnotationError, ManyErrors
from vocdet.formats.scan import Scan, Source
from vocdet.formats.voc.read import read, scan

DOG = [("dog", (1.0, 2.0, 30.0, 40.0))]
MakeVoc = Callable[..., Path]


def rows(dataset: Dataset) -> list[tuple[str, str, list[tuple[str, list[float]]]]]:
    """Stem, file and objects of every image."""
    found = []
    for scene in dataset:
        objects = zip(scene.objects.label, scene.objects.box.tolist(), strict=True)
        boxes = [(dataset.labels[label], box) for label, box in objects]
        found.append((scene.stem, scene.path.relative_to(dataset.root).as_posix(), boxes))
    return found


def only(found: Scan) -> Finding:
    assert len(found.findings) == 1, found.findings
    return found.findings[0]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_folder_becomes_a_dataset(make_voc: MakeVoc) -> None:
    cat = ("cat", (0.0, 0.0, 100.0, 80.0))
    found = read(make_voc({"b": [*DOG, cat], "a": [cat], "c": []}))
    assert found.findings == ()
    assert found.dataset.labels == ("cat", "dog")
    assert rows(found.dataset) == [
        ("a", "JPEGImages/a.jpg", [("cat", [0, 0, 100, 80])]),
        ("b", "JPEGImages/b.jpg", [("dog", [1, 2, 30, 40]), ("cat", [0, 0, 100, 80])]),
        ("c", "JPEGImages/c.jpg", []),
    ]
    assert found.dataset.images.widths.tolist() == [100, 100, 100]
    assert found.dataset.images.sources[1] == "Annotations/b.xml"
    assert found.dataset.objects.line.tolist() == [14, 14, 26]
    assert found.coordinates == "zero"


def test_devkit_boxes_are_read_as_one_based(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG})
    edit(root / "Annotations" / "a.xml", "Unknown", "The VOC2007 Database")
    assert read(root).dataset.objects.box.tolist() == [[0, 1, 30, 40]]
    assert read(root, coordinates="zero").dataset.objects.box.tolist() == [[1, 2, 30, 40]]


def test_a_label_list_gives_the_order(make_voc: MakeVoc, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("zebra\ndog\n")
    found = read(make_voc({"a": DOG}), labels=tmp_path / "labels.txt")
    assert found.dataset.labels == ("zebra", "dog")
    assert found.dataset.objects.label.tolist() == [1]


def test_an_unknown_label_is_an_error_with_the_nearest_name(make_voc: MakeVoc, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("zebra\nDog\n")
    root = make_voc({"a": [("dog", (1, 2, 30, 40)), ("zebra", (1, 2, 30, 40))]})
    with pytest.raises(AnnotationError) as caught:
        read(root, labels=tmp_path / "labels.txt")
    assert (
        str(caught.value)
        == f"{root}/Annotations/a.xml:14: the label 'dog' is not in the label list (did you mean 'Dog'?)"
    )
    assert scan(Source(root, labels=tmp_path / "labels.txt")).dataset.objects.label.tolist() == [0]


def test_all_that_is_wrong_is_reported_together(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG, "b": DOG, "c": DOG, "d": DOG})
    edit(root / "Annotations" / "a.xml", "<xmin>1<", "<xmin>one<")
    edit(root / "Annotations" / "b.xml", "<xmin>1<", "<xmin>31<")
    (root / "JPEGImages" / "c.jpg").unlink()
    with pytest.raises(ManyErrors) as caught:
        read(root)
    assert [str(error).removeprefix(f"{root}/Annotations/") for error in caught.value.errors] == [
        "a.xml:20: <xmin> is 'one', not a number (redraw the box in labelImg, or delete its <object>)",
        "b.xml:19: the box 31 2 30 40 ends before it begins (xmin ymin xmax ymax)"
        " (redraw the box in labelImg, or delete its <object>)",
        "c.xml: its image is missing: there is no image with the stem 'c' (put the image back, or delete the XML)",
    ]
    found = scan(Source(root))
    assert [scene.stem for scene in found.dataset] == ["a", "b", "d"]
    assert len(found.dataset.objects) == 1


def test_an_image_without_an_annotation_is_not_part_of_the_dataset(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG, "b": DOG})
    (root / "Annotations" / "b.xml").unlink()
    found = read(root)
    assert len(found.dataset) == 1
    assert (only(found).severity, only(found).code) == ("warning", "image.unannotated")
    assert only(found).place.path == root / "JPEGImages" / "b.jpg"


def test_the_image_is_found_by_filename_where_the_stem_fails(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG})
    (root / "Annotations" / "a.xml").rename(root / "Annotations" / "000001.xml")
    found = read(root)
    assert rows(found.dataset)[0][:2] == ("000001", "JPEGImages/a.jpg")
    assert found.findings == ()


@pytest.mark.parametrize("filename", ["/etc/passwd", "../../outside.jpg", r"C:\photos\outside.jpg"])
def test_a_filename_never_leads_out_of_the_dataset(make_voc: MakeVoc, tmp_path: Path, filename: str) -> None:
    root = make_voc({"a": DOG, "b": DOG})
    Image.new("RGB", (13, 17)).save(tmp_path / "outside.jpg")
    edit(root / "Annotations" / "a.xml", "<filename>a.jpg<", f"<filename>{filename}<")
    found = scan(Source(root))
    assert rows(found.dataset)[0][1] == "JPEGImages/a.jpg"
    assert only(found).code.startswith("path.")
    (root / "JPEGImages" / "a.jpg").unlink()
    assert [finding.code for finding in scan(Source(root)).findings if finding.severity == "error"] == ["image.missing"]


def test_a_stem_may_differ_in_case_or_in_how_its_accents_are_written(make_voc: MakeVoc) -> None:
    root = make_voc({"café": DOG, "IMG_1": DOG})
    (root / "JPEGImages" / "café.jpg").rename(root / "JPEGImages" / unicodedata.normalize("NFD", "café.jpg"))
    (root / "JPEGImages" / "IMG_1.jpg").rename(root / "JPEGImages" / "img_1.JPG")
    assert [Path(file).name for _, file, _ in rows(read(root).dataset)] == [
        "img_1.JPG",
        unicodedata.normalize("NFD", "café.jpg"),
    ]


def test_two_images_of_one_stem_are_distinguished_by_the_filename(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG}, suffix=".png")
    Image.new("RGB", (100, 80)).save(root / "JPEGImages" / "a.jpg")
    assert rows(read(root).dataset)[0][1] == "JPEGImages/a.png"
    assert read(root).findings == ()
    edit(root / "Annotations" / "a.xml", "a.png", "a")
    assert only(read(root)).code == "image.ambiguous"


def test_a_name_in_two_folders_makes_stems_of_paths(make_voc: MakeVoc, tmp_path: Path) -> None:
    for film in ("film1", "film2"):
        make_voc({"a": DOG, f"only{film}": []}, root=tmp_path / "set" / film, layout="flat")
    found = read(tmp_path / "set")
    assert found.findings == ()
    assert [(stem, file) for stem, file, _ in rows(found.dataset)] == [
        ("film1/a", "film1/a.jpg"),
        ("onlyfilm1", "film1/onlyfilm1.jpg"),
        ("film2/a", "film2/a.jpg"),
        ("onlyfilm2", "film2/onlyfilm2.jpg"),
    ]


def test_two_xmls_of_an_image_are_an_error_unless_they_say_the_same(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG, "b": DOG, "c": DOG}, layout="flat")
    for copy, change in (("a (1)", "30"), ("b - Copy", "31"), ("z", "32")):
        text = (root / f"{copy[0].replace('z', 'c')}.xml").read_text()
        (root / f"{copy}.xml").write_text(text.replace("<xmax>30<", f"<xmax>{change}<"))
    found = scan(Source(root))
    assert [row[:2] for row in rows(found.dataset)] == [("a", "a.jpg"), ("b", "b.jpg"), ("c", "c.jpg")]
    assert [row[2] for row in rows(found.dataset)] == [[("dog", [1, 2, 30, 40])]] * 3
    reported = [(one.severity, one.code, one.place.path.name, one.problem) for one in found.findings]
    other = "annotates the same image as {}.xml, with other objects"
    assert reported == [
        ("warning", "voc.stem.repeated", "a (1).xml",
         "annotates the same image as a.xml, with the same objects: it is not used"),
        ("error", "voc.stem.repeated", "b - Copy.xml", other.format("b")),
        ("error", "voc.stem.repeated", "z.xml", other.format("c")),
    ]  # fmt: skip


def test_several_xmls_that_name_one_image_are_not_several_images(make_voc: MakeVoc) -> None:
    root = make_voc({"image": DOG}, layout="flat")
    for number in range(3):
        (root / f"{number}.xml").write_text((root / "image.xml").read_text().replace(">30<", f">3{number + 1}<"))
    (root / "image.xml").unlink()
    found = scan(Source(root))
    assert [row[0] for row in rows(found.dataset)] == ["0"]
    assert [(one.severity, one.place.path.name) for one in found.findings] == [("error", "1.xml"), ("error", "2.xml")]


@pytest.mark.parametrize(
    ("filename", "problem"),
    [
        (
            "b.jpg",
            "<filename> is 'b.jpg', but the XML has the name of a.jpg, which is used; JPEGImages/b.jpg exists, too",
        ),
        ("old.jpg", "<filename> is 'old.jpg', but the XML has the name of a.jpg, which is used"),
        ("a.png", "<filename> is 'a.png', but the XML has the name of a.jpg, which is used"),
        ("a.heic", "<filename> is 'a.heic', but the XML has the name of a.jpg, which is used"),
    ],
)
def test_a_filename_of_another_image_is_reported(make_voc: MakeVoc, filename: str, problem: str) -> None:
    root = make_voc({"a": DOG, "b": DOG})
    edit(root / "Annotations" / "a.xml", "<filename>a.jpg<", f"<filename>{filename}<")
    found = scan(Source(root))
    assert (only(found).severity, only(found).code, only(found).problem) == ("warning", "voc.filename", problem)
    assert rows(found.dataset)[0][1] == "JPEGImages/a.jpg"


@pytest.mark.parametrize("filename", ["", "a", "A.JPG", "frame", "JPEGImages/a.jpg", "1.5"])
def test_a_filename_that_names_no_other_image_is_fine(make_voc: MakeVoc, filename: str) -> None:
    root = make_voc({"a": DOG, "b": DOG})
    edit(root / "Annotations" / "a.xml", "<filename>a.jpg<", f"<filename>{filename}<")
    assert read(root).findings == ()


def test_an_image_of_one_name_in_two_folders_is_chosen_by_the_folder_in_the_xml(make_voc: MakeVoc) -> None:
    root = make_voc({"x": DOG, "y": DOG})
    for name, film in (("x", "film1"), ("y", "film2")):
        (root / "JPEGImages" / film).mkdir()
        (root / "JPEGImages" / f"{name}.jpg").rename(root / "JPEGImages" / film / "1.jpg")
        edit(root / "Annotations" / f"{name}.xml", f"<filename>{name}.jpg<", "<filename>1.jpg<")
        edit(root / "Annotations" / f"{name}.xml", "<folder>JPEGImages<", f"<folder>{film}<")
    assert [row[:2] for row in rows(read(root).dataset)] == [
        ("x", "JPEGImages/film1/1.jpg"),
        ("y", "JPEGImages/film2/1.jpg"),
    ]
    edit(root / "Annotations" / "x.xml", "<folder>film1<", "<folder>JPEGImages<")
    found = scan(Source(root))
    assert next((one.severity, one.code) for one in found.findings) == ("error", "image.ambiguous")


def test_the_images_own_size_counts(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG})
    edit(root / "Annotations" / "a.xml", "<width>100<", "<width>0<")
    found = read(root)
    assert (found.dataset[0].width, found.dataset[0].height) == (100, 80)
    assert only(found).code == "voc.size.bad_number"
    edit(root / "Annotations" / "a.xml", "<width>0<", "<width>640<")
    finding = only(scan(Source(root)))
    assert (finding.severity, finding.problem) == (
        "error",
        "the size is 640×80 in <size>, but the image is 100×80: its boxes are not in pixels of the image",
    )
    edit(root / "Annotations" / "a.xml", "<width>640<", "<width>99<")
    assert only(read(root)).problem == "the size is 99×80 in <size>, but the image is 100×80: the image's size is used"


def test_a_turned_photograph_has_the_size_it_is_shown_at(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG})
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 100)).save(root / "JPEGImages" / "a.jpg", exif=exif)
    found = read(root)  # its <size> is 100×80
    assert found.findings == ()
    assert (found.dataset[0].width, found.dataset[0].height) == (100, 80)
    Image.new("RGB", (80, 100)).save(root / "JPEGImages" / "a.jpg")
    assert only(read(root)).code == "image.size_mismatch"
    assert (read(root).dataset[0].width, read(root).dataset[0].height) == (80, 100)


def test_an_invalid_image_is_an_error_and_keeps_its_objects(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG, "b": DOG})
    (root / "JPEGImages" / "a.jpg").write_text("<html>not found</html>")
    (root / "JPEGImages" / "b.jpg").write_bytes(b"")
    found = scan(Source(root))
    assert [(finding.code, finding.problem) for finding in found.findings] == [
        ("image.corrupt", "is not an image, or is broken from its first bytes"),
        ("image.corrupt", "is empty"),
    ]
    assert (found.dataset[0].width, len(found.dataset.objects)) == (100, 2)


@pytest.mark.parametrize("text", ["", "[]", '{"info":', '{"info":NaN}', "\xff"])
def test_a_dataset_file_that_cannot_be_read_is_a_warning(make_voc: MakeVoc, text: str) -> None:
    root = make_voc({"a": [("dog", (10, 20, 50, 60))]})
    (root / "dataset.json").write_text(text, encoding="latin-1")
    found = scan(Source(root))
    [finding] = found.findings
    assert (finding.severity, finding.code, finding.place.path) == ("warning", "voc.dataset", root / "dataset.json")
    assert finding.problem.startswith("is ignored: ")
    assert found.dataset.extra == b""


def test_progress_counts_the_annotations(make_voc: MakeVoc) -> None:
    seen: list[tuple[int, int]] = []
    read(make_voc({"a": DOG, "b": DOG}), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("name", "images", "objects", "labels"),
    [("bccd", 364, 4888, 3), ("ecustfd", 555, 1155, 20), ("foda", 1860, 1892, 31), ("microcontrollers", 149, 177, 4),
     ("raccoon", 200, 217, 1)],
)  # fmt: skip
def test_real_sets_are_read_whole(shared: Path, name: str, images: int, objects: int, labels: int) -> None:
    found = read(shared / "data" / name)
    assert (len(found.dataset), len(found.dataset.objects), len(found.dataset.labels)) == (images, objects, labels)
    assert found.coordinates == "zero"
    assert found.findings == ()
