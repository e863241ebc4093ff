from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vocdet.errors import AnnotationError, ManyErrors, SplitError
from vocdet.formats.scan import Source
from vocdet.workflows.check import check_dataset
from vocdet.workflows.load import load_dataset
from vocdet.workflows.training_data import TrainingData

DOG = [("dog", (1.0, 2.0, 30.0, 40.0))]
MakeVoc = Callable[..., Path]


def test_a_dataset_is_loaded_with_splits_and_clipped_boxes(make_voc: MakeVoc) -> None:
    scenes = {"a": [("dog", (-0.5, 2, 30, 40))], "b": [("dog", (3, 3, 3.5, 9))], "c": DOG}
    loaded = load_dataset(Source(make_voc(scenes, splits={"train": ["c", "a"], "val": ["b"], "test": []})))
    assert loaded.dataset.objects.box.tolist() == [[0, 2, 30, 40], [1, 2, 30, 40]]
    assert {name: rows.tolist() for name, rows in loaded.dataset.splits.items()} == {
        "train": [2, 0],
        "val": [1],
        "test": [],
    }
    assert [finding.code for finding in loaded.warnings] == ["box.clipped", "box.left_out"]
    assert loaded.scan.coordinates == "zero"


def test_trainval_is_train_and_val_where_it_has_no_file(make_voc: MakeVoc) -> None:
    splits = {"train": ["c"], "val": ["a"]}
    root = make_voc({"a": DOG, "b": DOG, "c": DOG}, splits=splits)
    assert load_dataset(Source(root), split="trainval").dataset.rows("trainval").tolist() == [0, 2]
    make_voc({}, root=root, splits={"trainval": ["a", "b"]})
    assert load_dataset(Source(root), split="trainval").dataset.rows("trainval").tolist() == [0, 1]


def test_parts_that_are_missing_or_empty_tell_the_cure(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG})
    assert load_dataset(Source(root)).dataset.splits == {}
    with pytest.raises(SplitError, match=r"set: no split 'train' \(create splits: `vocdet.split\(dataset\)`\)"):
        load_dataset(Source(root), split="train")
    make_voc({}, root=root, splits={"train": ["a"], "val": []})
    assert load_dataset(Source(root), split="train").warnings == ()
    with pytest.raises(SplitError, match="split 'val' has no images"):
        load_dataset(Source(root), split="val")


def test_a_split_with_a_missing_stem_is_an_error(make_voc: MakeVoc) -> None:
    root = make_voc({"img1": DOG}, splits={"train": ["img1", "Img1"]})
    with pytest.raises(
        SplitError, match=r"train\.txt:2: names 'Img1', which is not in the dataset \(did you mean 'img1'\?\)"
    ):
        load_dataset(Source(root))


def test_a_split_with_an_unannotated_image_is_reported(make_voc: MakeVoc) -> None:
    root = make_voc({"img1": DOG, "img2": DOG}, splits={"train": ["img1", "img2"]})
    (root / "Annotations" / "img2.xml").unlink()
    with pytest.raises(SplitError, match=r"train\.txt:2: names 'img2', whose image has no annotation \(delete"):
        load_dataset(Source(root))


def test_a_missing_split_is_named_with_the_existing_ones(make_voc: MakeVoc) -> None:
    root = make_voc({"img1": DOG}, splits={"trainval": ["img1"], "val": []})
    with pytest.raises(SplitError, match=r"no split 'train' \(split again: `.*force=True\)`\)"):
        load_dataset(Source(root), split="train")
    with pytest.raises(SplitError, match=r"no split 'test' \(split again: .*, or use another split: trainval\)"):
        load_dataset(Source(root), split="test")
    with pytest.raises(
        SplitError, match=r"split 'val' has no images \(split again .*, or use another split: trainval\)"
    ):
        load_dataset(Source(root), split="val")


def test_a_dataset_without_objects_cannot_be_trained_on(make_voc: MakeVoc) -> None:
    with pytest.raises(AnnotationError, match="no objects in any annotation"):
        load_dataset(Source(make_voc({"a": [], "b": []})))


def test_folds_are_splits_and_each_validates_on_its_own(make_voc: MakeVoc) -> None:
    splits = {"train": ["a"], "val": ["b"], "fold1_train": ["b", "c"], "fold1_val": ["a"]}
    dataset = load_dataset(Source(make_voc(dict.fromkeys("abc", DOG), splits=splits)), split="fold1_train").dataset
    fold = TrainingData.of(dataset, "fold1_train")
    assert (fold.train.images.stems, fold.val.images.stems) == (("b", "c"), ("a",))
    usual = TrainingData.of(dataset, "train")
    assert (usual.train.images.stems, usual.val.images.stems) == (("a",), ("b",))


def test_a_misspelled_split_has_a_nearest_match(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG}, splits={"train": ["a"], "fold1_train": ["a"]})
    with pytest.raises(SplitError, match=r"no split 'fold1_tran' \(did you mean 'fold1_train'\?\)"):
        load_dataset(Source(root), split="fold1_tran")


def test_a_fold_with_an_unknown_stem_does_not_stop_other_splits(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG}, splits={"train": ["a"], "fold1_train": ["a", "gone"]})
    assert load_dataset(Source(root), split="train").dataset.rows("fold1_train").tolist() == [0]


@pytest.mark.parametrize("split", ["fold1_train", "fold1_val"])
def test_a_fold_with_an_unknown_stem_cannot_be_used(make_voc: MakeVoc, split: str) -> None:
    folds = {"fold1_train": ["a"], "fold1_val": ["b"], "fold2_train": ["b"], "fold2_val": ["a"]}
    root = make_voc({"a": DOG, "b": DOG}, splits={"train": ["a"], **folds})
    file = root / "ImageSets" / "Main" / f"{split}.txt"
    file.write_text("a\ngone\nlost\n")
    (found,) = [one for one in load_dataset(Source(root), split="fold2_train").warnings if one.place.path == file]
    assert (found.code, found.severity, found.count, found.place.line) == ("imagesets.unknown_stem", "warning", 2, 2)
    assert found.problem == "names 'gone', which is not in the dataset and 1 more such line"
    with pytest.raises(SplitError, match=rf"{split}\.txt:2: names 'gone', which is not in the dataset"):
        load_dataset(Source(root), split="fold1_train")


def test_a_fold_that_is_not_text_cannot_be_used(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG, "b": DOG}, splits={"train": ["a"], "fold1_train": ["a"], "fold1_val": ["b"]})
    (root / "ImageSets" / "Main" / "fold1_val.txt").write_bytes(b"\xff\xfe")
    assert [one.code for one in load_dataset(Source(root), split="train").warnings] == ["imagesets.unreadable"]
    for split in ("fold1_train", "fold1_val"):
        with pytest.raises(SplitError, match=r"fold1_val\.txt: is not UTF-8 text"):
            load_dataset(Source(root), split=split)


def test_what_the_check_calls_an_error_stops_a_training(make_voc: MakeVoc) -> None:
    scenes = {"a": [("dog", (-5, 2, 30, 40)), *DOG], "b": [("dog", (3, 3, 3, 3))], "c": DOG}
    root = make_voc(scenes, splits={"train": ["c", "a"], "val": ["b"]})
    with pytest.raises(ManyErrors) as caught:
        load_dataset(Source(root))
    places = [str(error.place) for error in caught.value.errors]
    assert places == [str(finding.place) for finding in check_dataset(Source(root)).errors]
    assert caught.value.remedy == "`skip_bad=True` leaves out 1 object, clips 1 box and uses the rest"


def test_on_request_what_has_an_error_is_left_out(make_voc: MakeVoc) -> None:
    scenes = {"a": [("dog", (-5, 2, 30, 40)), *DOG], "b": [("dog", (3, 3, 3, 3))], "c": DOG, "d": DOG, "e": DOG}
    root = make_voc(scenes, splits={"train": ["c", "a", "d"], "val": ["b", "e"]})
    image = root / "JPEGImages" / "d.jpg"
    image.write_bytes(image.read_bytes()[:-200])
    (root / "JPEGImages" / "e.jpg").unlink()
    loaded = load_dataset(Source(root, skip_bad=True), split="train")
    assert loaded.dataset.images.stems == ("a", "b", "c")
    assert loaded.dataset.objects.box.tolist() == [[0, 2, 30, 40], [1, 2, 30, 40], [1, 2, 30, 40]]
    assert {name: rows.tolist() for name, rows in loaded.dataset.splits.items()} == {"train": [2, 0], "val": [1]}
    assert str(loaded.left_out) == "2 images and 1 object"
    codes = {error.code for error in loaded.left_out.errors}
    assert codes == {"image.corrupt", "image.missing", "box.out_of_image", "box.zero_area"}
    assert loaded.record()["skip_bad"] is True


def test_a_dataset_of_errors_alone_names_no_remedy(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG})
    (root / "Annotations" / "a.xml").write_text("<annotation>")
    with pytest.raises(AnnotationError) as caught:
        load_dataset(Source(root))
    assert caught.value.remedy == ""
