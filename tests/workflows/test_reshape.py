from __future__ import annotations

import json
import ntpath
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vocdet.data.merging import NamedDataset, Spelling, merge
from vocdet.errors import ArgumentError, DatasetError, ManyErrors, OutputError
from vocdet.formats import registry
from vocdet.formats.scan import Scan, Source
from vocdet.formats.voc import image_sets
from vocdet.workflows.convert import WriteOptions, convert
from vocdet.workflows.label_changes import LabelChanges
from vocdet.workflows.reshape import merge_datasets, remap_dataset, sample_dataset

DOG, CAT, EMU = ("dog", (1.0, 2.0, 30.0, 40.0)), ("cat", (40.0, 2.0, 70.0, 40.0)), ("emu", (5.0, 5.0, 20.0, 20.0))
MakeVoc = Callable[..., Path]
Content = dict[str, list[tuple[str, tuple[float, ...]]]]


def content(scan: Scan) -> Content:
    """Label and box of every object of every stem."""
    dataset = scan.dataset
    return {
        scene.stem: [
            (dataset.labels[label], tuple(box.tolist()))
            for label, box in zip(scene.objects.label, scene.objects.box, strict=True)
        ]
        for scene in dataset
    }


def splits_of(scan: Scan) -> dict[str, list[str]]:
    splits, _ = image_sets.read_splits(scan)
    return {name: [scan.dataset.images.stems[row] for row in rows] for name, rows in splits.items()}


def all_files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_labels_are_swapped_in_a_copy_and_the_source_is_unchanged(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({"a": [DOG, CAT], "b": [EMU], "c": []}, splits={"train": ["b", "a"], "val": ["c"]})
    before = all_files(root)
    report = remap_dataset(Source(root), tmp_path / "new", LabelChanges(rename=["dog=cat", "cat=dog"]))
    found = registry.scan(Source(tmp_path / "new"))
    assert content(found) == {"a": [("cat", DOG[1]), ("dog", CAT[1])], "b": [EMU], "c": []}
    assert {name: sorted(stems) for name, stems in splits_of(found).items()} == {"train": ["a", "b"], "val": ["c"]}
    assert (dict(report.new_names), dict(report.objects)) == (
        {"cat": "dog", "dog": "cat", "emu": "emu"}, {"cat": 1, "dog": 1, "emu": 1},
    )  # fmt: skip
    assert all_files(root) == before
    assert (tmp_path / "new" / "JPEGImages" / "a.jpg").read_bytes() == before["JPEGImages/a.jpg"]


def test_images_that_lose_all_objects_remain_unless_they_are_dropped(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({"a": [DOG], "b": [CAT], "c": []}, splits={"train": ["a", "b"], "test": ["c"]})
    kept = remap_dataset(Source(root), tmp_path / "kept", LabelChanges(drop=["dog"]))
    gone = remap_dataset(Source(root), tmp_path / "gone", LabelChanges(drop=["dog"]), keep_empty=False)
    assert (kept.emptied, gone.emptied, gone.dropped) == (1, 1, 1)
    assert content(registry.scan(Source(tmp_path / "kept"))) == {"a": [], "b": [CAT], "c": []}
    found = registry.scan(Source(tmp_path / "gone"))
    assert content(found) == {"b": [CAT], "c": []}
    assert splits_of(found) == {"train": ["b"], "test": ["c"]}


def test_duplicates_after_a_merge_are_counted(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({"a": [DOG, ("cat", DOG[1])]})
    assert remap_dataset(Source(root), tmp_path / "new", LabelChanges(merge=["dog,cat=pet"])).doubles == 1


def coco_set(folder: Path, images: Path) -> Path:
    """The image a.jpg of a VOC folder, annotated with a dog and a cat in COCO format."""
    whole = {
        "info": {"description": "pets"},
        "images": [{"id": 7, "file_name": "a.jpg", "width": 100, "height": 80}],
        "categories": [
            {"id": 1, "name": "dog", "supercategory": "animal"}, {"id": 2, "name": "cat", "supercategory": "animal"},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 29, 38], "area": 500, "iscrowd": 0,
             "segmentation": [[1, 2, 30, 2, 30, 40]]},
            {"id": 2, "image_id": 7, "category_id": 2, "bbox": [40, 2, 30, 38], "area": 1140, "iscrowd": 0},
        ],
    }  # fmt: skip
    folder.mkdir()
    shutil.copyfile(images / "JPEGImages" / "a.jpg", folder / "a.jpg")
    (folder / "annotations.json").write_text(json.dumps(whole))
    return folder


def test_a_copy_has_the_format_and_the_extras_of_its_source(make_voc: MakeVoc, tmp_path: Path) -> None:
    source = coco_set(tmp_path / "pets", make_voc({"a": []}))
    report = remap_dataset(Source(source), tmp_path / "new", LabelChanges(rename=["dog=wolf"]))
    assert (report.result.written.to, report.result.written.losses) == ("coco", ())
    (path,) = (tmp_path / "new").rglob("*.json")
    whole = json.loads(path.read_bytes())
    assert {one["name"]: one["supercategory"] for one in whole["categories"]} == {"wolf": "animal", "cat": "animal"}
    assert whole["info"]["description"] == "pets"
    assert whole["annotations"][0]["segmentation"] == [[1, 2, 30, 2, 30, 40]]


def test_another_format_can_be_requested_and_its_losses_are_reported(make_voc: MakeVoc, tmp_path: Path) -> None:
    source = coco_set(tmp_path / "pets", make_voc({"a": []}))
    report = remap_dataset(Source(source), tmp_path / "new", LabelChanges(rename=["dog=wolf"]), to="yolo")
    assert registry.scan(Source(tmp_path / "new")).format == "yolo"
    assert "masks" in [loss.what for loss in report.result.written.losses]
    with pytest.raises(OutputError, match="yolo cannot hold everything"):
        changes = LabelChanges(rename=["dog=wolf"])
        remap_dataset(Source(source), tmp_path / "strict", changes, WriteOptions(strict=True), to="yolo")
    assert not (tmp_path / "strict").exists()


def test_no_changes_are_an_error(make_voc: MakeVoc, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="no label changes"):
        remap_dataset(Source(make_voc({"a": [DOG]})), tmp_path / "new", LabelChanges())


def test_errors_in_a_source_are_raised_together_and_nothing_is_written(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({"a": [DOG], "b": [DOG], "c": [DOG]})
    for stem in "ab":
        (root / "JPEGImages" / f"{stem}.jpg").unlink()
    with pytest.raises(ManyErrors):
        remap_dataset(Source(root), tmp_path / "new", LabelChanges(rename=["dog=cat"]))
    assert not (tmp_path / "new").exists()


def test_a_new_dataset_inside_its_source_is_refused(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({"a": [DOG], "b": [DOG]})
    other = make_voc({"c": [DOG]}, root=tmp_path / "other")
    for make in (
        lambda target: remap_dataset(Source(root), target, LabelChanges(rename=["dog=cat"])),
        lambda target: sample_dataset(Source(root), target, 1),
        lambda target: merge_datasets([Source(other), Source(root)], target),
    ):
        with pytest.raises(OutputError, match=r"is inside .*set and would be read as part of it"):
            make(root / "deep" / "new")


def test_a_new_dataset_inside_that_of_a_source_file_is_refused(make_voc: MakeVoc, tmp_path: Path) -> None:
    convert(Source(make_voc({"a": [DOG], "b": [DOG]})), tmp_path / "coco", "coco")
    source = Source(tmp_path / "coco" / "annotations" / "instances.json")
    for make in (
        lambda target: remap_dataset(source, target, LabelChanges(rename=["dog=cat"])),
        lambda target: sample_dataset(source, target, 1),
        lambda target: merge_datasets([source, Source(tmp_path / "set")], target),
    ):
        with pytest.raises(OutputError, match=r"is inside .*coco and would be read as part of it"):
            make(tmp_path / "coco" / "new")


@pytest.mark.parametrize(("other", "joined"), [(["fold1_val"], True), (["fold1_val", "fold2_val"], False), ([], False)])
def test_folds_are_joined_only_if_all_datasets_have_the_same(
    make_voc: MakeVoc, tmp_path: Path, other: list[str], joined: bool
) -> None:
    one = make_voc({"a": [DOG]}, root=tmp_path / "one", splits={"train": ["a"], "fold1_val": ["a"]})
    two = make_voc({"b": [DOG]}, root=tmp_path / "two", splits={"train": ["b"]} | {name: ["b"] for name in other})
    without = make_voc({"c": [DOG]}, root=tmp_path / "three")  # to be added to the folds
    report = merge_datasets([Source(one), Source(two), Source(without)], tmp_path / "new")
    assert report.result.dataset.splits.keys() == {"train", *(["fold1_val"] if joined else [])}
    assert (report.folds == ()) == joined


def test_datasets_on_different_drives_are_refused(
    make_voc: MakeVoc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = [registry.scan(Source(make_voc({stem: [DOG]}, root=tmp_path / stem))) for stem in "ab"]
    monkeypatch.setattr(os.path, "commonpath", ntpath.commonpath)
    monkeypatch.setattr(Path, "resolve", lambda self: f"{self.name}:\\set")
    with pytest.raises(DatasetError, match="is on another drive than the other datasets"):
        merge([NamedDataset(scan.dataset.root.name, scan.dataset) for scan in scans])


def test_datasets_are_merged(make_voc: MakeVoc, tmp_path: Path) -> None:
    one = make_voc({"a": [DOG], "b": [CAT]}, root=tmp_path / "one", splits={"train": ["a"], "val": ["b"]})
    other = make_voc({"b": [EMU], "c": [DOG]}, root=tmp_path / "deep" / "two", suffix=".png", splits={"train": ["c"]})
    report = merge_datasets([Source(one), Source(other)], tmp_path / "new")
    found = registry.scan(Source(tmp_path / "new"))
    assert content(found) == {"a": [DOG], "one_b": [CAT], "two_b": [EMU], "c": [DOG]}
    assert {name: sorted(stems) for name, stems in splits_of(found).items()} == {"train": ["a", "c"], "val": ["one_b"]}
    assert dict(report.renamed) == {"one_b": "b", "two_b": "b"}
    assert [(source.name, source.images, source.objects, source.splits) for source in report.sources] == [
        ("one", 2, 2, ("train", "val")), ("two", 2, 2, ("train",)),
    ]  # fmt: skip
    images = found.dataset.images
    pixels = {
        stem: (tmp_path / "new" / file).read_bytes() for stem, file in zip(images.stems, images.files, strict=True)
    }
    assert pixels["two_b"] == (other / "JPEGImages" / "b.png").read_bytes()


def test_a_clash_is_an_error_with_strict(make_voc: MakeVoc, tmp_path: Path) -> None:
    roots = [make_voc({"a": [DOG]}, root=tmp_path / name) for name in ("one", "two")]
    with pytest.raises(DatasetError, match="another dataset also has the stem 'a'") as caught:
        merge_datasets([Source(path) for path in roots], tmp_path / "new", WriteOptions(strict=True))
    assert str(caught.value.place) == str(tmp_path / "one" / "JPEGImages" / "a.jpg")
    assert not (tmp_path / "new").exists()


def test_identical_images_and_leaks_are_reported(make_voc: MakeVoc, tmp_path: Path) -> None:
    one = make_voc({"a": [DOG], "b": [DOG]}, root=tmp_path / "one", splits={"train": ["a", "b"]})
    two = make_voc({"x": [DOG], "y": [DOG]}, root=tmp_path / "two", splits={"test": ["x"], "train": ["y"]})
    for before, after in (("a", "x"), ("b", "y")):
        shutil.copyfile(one / "JPEGImages" / f"{before}.jpg", two / "JPEGImages" / f"{after}.jpg")
    report = merge_datasets([Source(one), Source(two)], tmp_path / "new")
    assert (report.copies, report.leaks) == ((("a", "x"), ("b", "y")), 1)


def test_labels_that_may_mean_the_same_are_reported(make_voc: MakeVoc, tmp_path: Path) -> None:
    one = make_voc({"a": [DOG]}, root=tmp_path / "one")
    two = make_voc({"b": [("Dog", DOG[1]), ("Dog", CAT[1])]}, root=tmp_path / "two")
    assert merge_datasets([Source(one), Source(two)], tmp_path / "new").spellings == (Spelling(0, "dog", "Dog"),)


def test_merging_several_formats_writes_the_first(make_voc: MakeVoc, tmp_path: Path) -> None:
    voc = make_voc({"a": [EMU]})
    report = merge_datasets([Source(coco_set(tmp_path / "pets", voc)), Source(voc)], tmp_path / "new")
    found = registry.scan(Source(tmp_path / "new"))
    assert (report.result.written.to, found.format, found.dataset.labels) == ("coco", "coco", ("cat", "dog", "emu"))
    assert content(found) == {"pets_a": [DOG, CAT], "set_a": [EMU]}


@pytest.mark.parametrize(
    ("count", "problem"), [(1, "there is only one dataset to merge"), (2, "a dataset is given twice")]
)
def test_merging_needs_two_different_datasets(make_voc: MakeVoc, tmp_path: Path, count: int, problem: str) -> None:
    with pytest.raises(ArgumentError, match=problem):
        merge_datasets([Source(path) for path in [make_voc({"a": [DOG]})] * count], tmp_path / "new")


def test_a_sample_keeps_the_shares_of_labels_and_splits(make_voc: MakeVoc, tmp_path: Path) -> None:
    scenes = {f"{i:02}": [DOG, DOG] if i % 2 else [CAT] for i in range(40)}
    root = make_voc(
        scenes, splits={"train": [f"{i:02}" for i in range(30)], "test": [f"{i:02}" for i in range(30, 40)]}
    )
    report = sample_dataset(Source(root), tmp_path / "new", 8)
    found = registry.scan(Source(tmp_path / "new"))
    assert report.objects().tolist() == [[20, 4], [40, 8]]
    assert np.bincount(found.dataset.objects.label).tolist() == [4, 8]
    assert {name: len(stems) for name, stems in splits_of(found).items()} == {"train": 6, "test": 2}
    assert all(content(found)[stem] == scenes[stem] for stem in content(found))


@pytest.mark.parametrize("count", [0, 3])
def test_a_sample_of_an_impossible_size_is_an_error(make_voc: MakeVoc, tmp_path: Path, count: int) -> None:
    with pytest.raises(ArgumentError, match="is impossible: the dataset has 2 images") as caught:
        sample_dataset(Source(make_voc({"a": [DOG], "b": [CAT]})), tmp_path / "new", count)
    assert caught.value.hint == "choose a number from 1 to 2"


def test_images_are_not_moved_on_request(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({"a": [DOG], "b": [CAT]})
    sample_dataset(Source(root), tmp_path / "new", 1, WriteOptions(images="none"))
    assert [path.suffix for path in (tmp_path / "new").rglob("*.*") if path.suffix != ".txt"] == [".xml"]
