from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vocdet.errors import AnnotationError, SplitError
from vocdet.workflows.check import check_dataset
from vocdet.workflows.prepare import load_dataset

DOG = [("dog", (1.0, 2.0, 30.0, 40.0))]
CAT = [("cat", (1.0, 2.0, 30.0, 40.0))]
MakeVoc = Callable[..., Path]


def many(make_voc: MakeVoc, count: int = 20, **kinds: object) -> Path:
    return make_voc({f"img{i:02}": DOG if i % 2 else CAT for i in range(count)}, **kinds)


def listing(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_dataset_is_loaded_with_its_parts_and_its_boxes_cut(make_voc: MakeVoc) -> None:
    scenes = {"a": [("dog", (-5, 2, 30, 40))], "b": [("dog", (3, 3, 3, 3))], "c": DOG}
    loaded = load_dataset(make_voc(scenes, parts={"train": ["c", "a"], "val": ["b"], "test": []}))
    assert loaded.dataset.objects.box.tolist() == [[0, 2, 30, 40], [1, 2, 30, 40]]
    assert {name: rows.tolist() for name, rows in loaded.parts.items()} == {"train": [2, 0], "val": [1], "test": []}
    assert [finding.code for finding in loaded.warnings] == ["box.clipped", "box.left_out"]
    assert loaded.coordinates == "zero"


def test_trainval_is_train_and_val_where_it_has_no_file(make_voc: MakeVoc) -> None:
    parts = {"train": ["c"], "val": ["a"]}
    root = make_voc({"a": DOG, "b": DOG, "c": DOG}, parts=parts)
    assert load_dataset(root, part="trainval").rows("trainval").tolist() == [0, 2]
    make_voc({}, root=root, parts={"trainval": ["a", "b"]})
    assert load_dataset(root, part="trainval").rows("trainval").tolist() == [0, 1]


def test_parts_that_are_missing_or_empty_tell_the_cure(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG})
    assert load_dataset(root).parts == {}
    with pytest.raises(SplitError, match=r"ImageSets/Main: there is no train\.txt \(run vocdet split\)"):
        load_dataset(root, part="train")
    make_voc({}, root=root, parts={"train": ["a"], "val": []})
    assert load_dataset(root, part="train").warnings == ()
    with pytest.raises(SplitError, match="val has no images"):
        load_dataset(root, part="val")


def test_a_part_that_names_a_missing_stem_is_an_error(make_voc: MakeVoc) -> None:
    root = make_voc({"img1": DOG}, parts={"train": ["img1", "Img1"]})
    with pytest.raises(
        SplitError, match=r"train\.txt:2: names 'Img1', which is not in the dataset \(did you mean 'img1'\?\)"
    ):
        load_dataset(root)


def test_a_part_that_names_an_image_without_annotation_says_so(make_voc: MakeVoc) -> None:
    root = make_voc({"img1": DOG, "img2": DOG}, parts={"train": ["img1", "img2"]})
    (root / "Annotations" / "img2.xml").unlink()
    with pytest.raises(SplitError, match=r"train\.txt:2: names 'img2', whose image has no annotation \(delete"):
        load_dataset(root)


@pytest.mark.parametrize("lost", ["JPEGImages/img2.jpg", "Annotations/img2.xml"])
def test_one_broken_file_is_one_error_of_a_check(make_voc: MakeVoc, lost: str) -> None:
    root = make_voc({"img1": DOG, "img2": DOG}, parts={"train": ["img1", "img2"], "trainval": ["img1", "img2"]})
    (root / lost).write_bytes(b"")
    report = check_dataset(root)
    assert [finding.place.path for finding in report.findings] == [root / lost]
    assert report.errors == 1


def test_a_part_that_is_not_there_is_named_with_those_that_are(make_voc: MakeVoc) -> None:
    root = make_voc({"img1": DOG}, parts={"trainval": ["img1"], "val": []})
    with pytest.raises(SplitError, match=r"there is no train\.txt \(run vocdet split --force\)"):
        load_dataset(root, part="train")
    with pytest.raises(SplitError, match=r"there is no test\.txt \(run .*, or take another part: trainval\)"):
        load_dataset(root, part="test")
    with pytest.raises(SplitError, match=r"val has no images \(run .*, or take another part: trainval\)"):
        load_dataset(root, part="val")


def test_a_check_tells_of_a_part_without_objects(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG, "b": []}, parts={"train": ["a"], "val": ["b"]})
    (finding,) = check_dataset(root).findings
    assert (finding.severity, finding.problem) == ("warning", "there is no object in the 1 image of val")


def test_a_dataset_without_objects_cannot_be_trained_on(make_voc: MakeVoc) -> None:
    with pytest.raises(AnnotationError, match="no objects in any annotation"):
        load_dataset(make_voc({"a": [], "b": []}))


def test_a_check_finds_everything_and_changes_nothing(make_voc: MakeVoc) -> None:
    scenes = {f"img{i}": DOG for i in range(8)} | {"img8": [("Dog", (5, 5, 5, 5))], "img9": [("dog", (1, 2, 130, 40))]}
    parts = {"train": ["img0", "img1", "img9"], "val": ["img2", "img3"], "test": ["img2", "nothing"]}
    root = make_voc(scenes, parts=parts)
    images, xmls = root / "JPEGImages", root / "Annotations"
    (images / "img2.jpg").write_bytes((images / "img0.jpg").read_bytes())
    (images / "img4.jpg").write_bytes((images / "img4.jpg").read_bytes()[:900])
    (xmls / "img5.xml").unlink()
    (images / "img6.jpg").unlink()
    (xmls / "img7.xml").write_text((xmls / "img7.xml").read_text()[:300])
    before = listing(root)
    report = check_dataset(root)
    assert listing(root) == before
    assert [(finding.severity, finding.code) for finding in report.findings] == [
        ("error", "image.corrupt"),
        ("error", "image.missing"),
        ("error", "imagesets.unknown_stem"),
        ("error", "box.out_of_image"),
        ("error", "box.zero_area"),
        ("error", "xml.syntax"),
        ("warning", "image.copy_across_parts"),
        ("warning", "image.unannotated"),
        ("warning", "imagesets.overlap"),
        ("warning", "label.alike"),
    ]
    assert report.errors == 6
    assert all(finding.hint and finding.problem for finding in report.findings)


def test_a_split_file_that_is_no_text_does_not_end_a_check(make_voc: MakeVoc) -> None:
    root = many(make_voc, parts={"train": ["img00"]})
    (root / "ImageSets" / "Main" / "train.txt").write_bytes("img00".encode("utf-16"))
    assert [finding.code for finding in check_dataset(root).findings] == ["imagesets.unreadable"]


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("bccd", {"box.zero_area"}),
        ("ecustfd", {"box.two_labels"}),
        ("foda", set()),
        ("microcontrollers", set()),
        ("raccoon", {"image.copy"}),
    ],
)
def test_real_sets_are_as_good_as_they_are(shared: Path, name: str, codes: set[str]) -> None:
    assert {finding.code for finding in check_dataset(shared / "data" / name).findings} == codes
