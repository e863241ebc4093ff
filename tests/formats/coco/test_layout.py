from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from vocdet.errors import AnnotationError, VocdetError
from vocdet.formats.coco.layout import (
    CocoFile,
    Layout,
    coco_paths,
    find_layout,
    image_prefix,
    looks_like,
    looks_like_coco,
    split_of,
)
from vocdet.formats.images.lookup import ImageIndex

COCO = '{"images": [], "annotations": [], "categories": []}'


def make(root: Path, files: Mapping[str, str | bytes] | list[str]) -> Path:
    """Make these files; those of a list are COCO files."""
    for name, text in (files if isinstance(files, Mapping) else dict.fromkeys(files, COCO)).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


@pytest.mark.parametrize(
    "text",
    [
        COCO,
        '{"info": {}, "licenses": [], "categories": [], "images": []}',
        ' \n{ "annotations" :\n[]}',
        '{"annotations": null}',
        "\ufeff" + COCO,
        '{"info": {}' + " " * 200_000 + ', "images": []}',
        '{"dataset": "mine", "version": 2, "images": [], "annotations": []}',
        COCO.encode("utf-16"),
        COCO.encode("utf-16-be").join([b"\xfe\xff", b""]),
    ],
)
def test_a_coco_file_is_known_by_its_keys(tmp_path: Path, text: str | bytes) -> None:
    make(tmp_path, {"a.json": text})
    assert looks_like_coco(tmp_path / "a.json")
    assert looks_like(tmp_path) == "a.json"


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '[{"images": []}]', '{"version": "5.0", "shapes": [], "imagePath": "a.jpg"}', '"images": []',
     '{"info": {"description": "x"}}', '{"categories": {"dog": {"supercategory": "animal"}}}', "\0\0\0",
     '{"name": "pack", "images": []}', b"\xff\xfe"],
)  # fmt: skip
def test_other_json_is_no_coco_file(tmp_path: Path, text: str | bytes) -> None:
    make(tmp_path, {"a.json": text})
    assert not looks_like_coco(tmp_path / "a.json")
    with pytest.raises(AnnotationError, match="no COCO file found"):
        find_layout(tmp_path)


def test_files_are_found_where_tools_put_them(tmp_path: Path) -> None:
    there = [
        "a.json",
        "annotations/b.json",
        "Annotations/c.json",
        "train/_annotations.coco.json",
        "set/annotations/d.json",
    ]
    make(tmp_path, [*there, ".hidden.json", "deep/er/annotations/e.json", "train/other.json"])
    make(tmp_path, {"notes.json": "{}", "annotations/results.json": "[]"})
    (tmp_path / "folder.json").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in coco_paths(tmp_path)]
    assert found == sorted(there)


def test_links_to_files_are_read(tmp_path: Path) -> None:
    make(tmp_path / "other", ["a.json"])
    make(tmp_path / "set", ["b.json"])
    (tmp_path / "set" / "a.json").symlink_to(tmp_path / "other" / "a.json")
    (tmp_path / "set" / "loop.json").symlink_to(tmp_path / "set" / "loop.json")
    (tmp_path / "set" / "annotations").symlink_to(tmp_path / "other")
    names = [path.relative_to(tmp_path / "set").as_posix() for path in coco_paths(tmp_path / "set")]
    assert names == ["a.json", "annotations/a.json", "b.json"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    assert coco_paths(tmp_path) == []
    with pytest.raises(VocdetError, match="no such file or folder"):
        find_layout(tmp_path / "a.json")


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        VocdetError, match=r"none: no such file or folder \(use a COCO file, or the folder that holds it"
    ):
        find_layout(tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "source", "root"),
    [("a.json", "a.json", ""), ("annotations/a.json", "annotations/a.json", ""), ("Annotation/a.json", "Annotation/a.json", ""),
     ("train/_annotations.coco.json", "_annotations.coco.json", "train")],
)  # fmt: skip
def test_the_root_of_one_file_is_where_its_images_can_be(tmp_path: Path, name: str, source: str, root: str) -> None:
    make(tmp_path, [name])
    assert find_layout(tmp_path / name) == Layout(tmp_path / root, [CocoFile(tmp_path / name, source, "")])


def test_a_file_may_be_named_from_the_folder_it_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, ["annotations/a.json"])
    monkeypatch.chdir(tmp_path)
    assert find_layout(Path("annotations/a.json")).root == Path()
    assert find_layout(Path()).files == [CocoFile(Path("annotations/a.json"), "annotations/a.json", "")]


@pytest.mark.parametrize(
    ("name", "split"),
    [("instances_train2017.json", "train"), ("annotations/instances_val.json", "val"), ("test.json", "test"),
     ("valid/_annotations.coco.json", "val"), ("train/_annotations.coco.json", "train"), ("my-trainval.json", "trainval"),
     ("validation_2.json", "val"), ("TRAIN.json", "train"), ("a.json", ""), ("training.json", ""), ("latest.json", ""),
     ("instances_rest.json", ""), ("train/annotations/instances.json", "train"), ("val2017/annotations/a.json", "val"),
     ("train/annotations/instances_test.json", "test")],
)  # fmt: skip
def test_the_split_is_in_the_name_of_the_file_or_of_a_folder(tmp_path: Path, name: str, split: str) -> None:
    root = tmp_path / "test"  # whose own name says nothing
    make(root, [name])
    assert [file.split for file in find_layout(root).files] == [split]


def test_the_split_of_a_single_file_may_be_in_the_name_of_its_folder(tmp_path: Path) -> None:
    assert split_of(tmp_path / "valid" / "_annotations.coco.json") == "val"
    assert split_of(tmp_path / "valid" / "instances_test.json") == "test"
    assert split_of(tmp_path / "set" / "a.json") == ""


def test_a_file_in_the_current_folder_belongs_to_the_folder_above_annotations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, ["annotations/instances.json"])
    monkeypatch.chdir(tmp_path / "annotations")
    layout = find_layout(Path("instances.json"))
    assert layout.root.samefile(tmp_path)
    assert layout.files == [CocoFile(layout.root / "annotations/instances.json", "annotations/instances.json", "")]


def test_other_files_published_with_coco_are_skipped_with_a_finding(tmp_path: Path) -> None:
    names = ["captions_val2017", "instances_val2017", "person_keypoints_val2017", "image_info_test2017"]
    make(tmp_path, [f"annotations/{name}.json" for name in names])
    layout = find_layout(tmp_path)
    assert [file.path.name for file in layout.files] == ["instances_val2017.json"]
    assert [(finding.code, finding.severity, finding.place.path.name) for finding in layout.findings] == [
        ("coco.file.skipped", "warning", "captions_val2017.json"),
        ("coco.file.skipped", "warning", "image_info_test2017.json"),
        ("coco.file.skipped", "warning", "person_keypoints_val2017.json"),
    ]
    (tmp_path / "annotations" / "instances_val2017.json").unlink()
    assert len(find_layout(tmp_path).files) == 3  # which are then all there is


@pytest.mark.parametrize(
    ("file", "names", "images", "prefix"),
    [
        ("annotations/instances_train2017.json", ["1.jpg"], ["images/train2017/1.jpg", "images/val2017/1.jpg"], "images/train2017/"),
        ("annotations/instances_val2017.json", ["1.jpg"], ["train2017/1.jpg", "val2017/1.jpg"], "val2017/"),
        ("annotations/instances_val.json", ["1.jpg"], ["train/1.jpg", "valid/1.jpg"], "valid/"),
        ("annotations/instances.json", ["a/1.jpg"], ["images/a/1.jpg", "a/2.jpg"], "images/"),
        ("annotations/instances.json", ["images/1.jpg", "1.jpg"], ["images/images/1.jpg", "images/1.jpg"], "images/"),
        ("train/_annotations.coco.json", ["1.jpg", "2.jpg"], ["train/1.jpg", "train/2.jpg", "valid/1.jpg", "valid/2.jpg"], "train/"),
        ("valid/_annotations.coco.json", ["1.jpg", "2.jpg"], ["train/1.jpg", "train/2.jpg", "valid/1.jpg", "valid/2.jpg"], "valid/"),
        ("a.json", ["1.jpg"], ["1.jpg", "old/1.jpg"], ""),
        ("a.json", ["1.jpg"], ["JPEGImages/1.jpg", "old/1.jpg"], "JPEGImages/"),
        ("a.json", ["x/1.jpg"], ["x/1.jpg"], ""),
        ("a.json", [f"{i}.jpg" for i in range(9)], ["1.jpg", *(f"b/{i}.jpg" for i in range(9))], "b/"),
        ("a.json", ["1.jpg"], ["deep/er/still/1.jpg"], "deep/er/still/"),
    ],
)  # fmt: skip
def test_the_images_of_a_file_are_searched_in_one_folder(
    tmp_path: Path, file: str, names: list[str], images: list[str], prefix: str
) -> None:
    one = CocoFile(tmp_path / file, file, split_of(tmp_path / file, tmp_path))
    assert image_prefix(one, names, ImageIndex(tmp_path, tuple(sorted(images)))) == prefix


def test_thousands_of_images_are_found_by_a_few_hundred(tmp_path: Path) -> None:
    names = [f"{i}.jpg" for i in range(5000)]
    one = CocoFile(tmp_path / "a.json", "a.json", "")
    index = ImageIndex(
        tmp_path, tuple(sorted(f"{folder}/{name}" for folder in "xy" for name in names[folder == "y" :]))
    )
    assert image_prefix(one, names, index) == "x/"


def test_a_folder_that_cannot_be_listed_is_passed_over(tmp_path: Path) -> None:
    make(tmp_path, {"a.json": json.dumps({"images": [], "annotations": []}), "locked/_annotations.coco.json": COCO})
    (tmp_path / "locked").chmod(0)
    try:
        assert tmp_path / "a.json" in coco_paths(tmp_path)
    finally:
        (tmp_path / "locked").chmod(0o755)


SPLIT = '{"images": [], "annotations": [], "categories": []}'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("\0" * 100, "is empty"),
        ("[]", "holds a list, not a COCO file"),
        ("{}", "holds no images and no annotations"),
        ('{"info": {"year"', "is not JSON: expecting ':' delimiter in line 1"),
        ("null", "holds no images and no annotations"),
        (b'{"info": "\xff"}', "is not JSON: it is not UTF-8 text"),
    ],
)
@pytest.mark.parametrize("name", ["annotations/instances_val.json", "valid/_annotations.coco.json", "val.json"])
def test_a_split_whose_file_is_broken_is_an_error(tmp_path: Path, name: str, text: str | bytes, problem: str) -> None:
    make(tmp_path, {"annotations/instances_train.json": SPLIT, name: text})
    layout = find_layout(tmp_path)
    assert [file.split for file in layout.files] == ["train"]
    (finding,) = layout.findings
    assert (finding.code, finding.severity, finding.problem) == ("coco.file.broken", "error", problem)
    assert finding.place.path == tmp_path / name


def test_broken_json_of_any_name_is_a_warning(tmp_path: Path) -> None:
    make(tmp_path, {"a.json": SPLIT, "classes.json": '{"a": ', "notes.json": '{"version": 1}', "results.json": "[]"})
    assert [(one.severity, one.place.path.name) for one in find_layout(tmp_path).findings] == [
        ("warning", "classes.json")
    ]


def test_results_of_a_split_are_no_broken_file(tmp_path: Path) -> None:
    make(tmp_path, {"instances_val.json": SPLIT, "val_results.json": '[{"image_id": 1, "score": 0.5}]'})
    assert find_layout(tmp_path).findings == []


def test_a_folder_of_nothing_but_a_broken_coco_file_is_recognized(tmp_path: Path) -> None:
    make(tmp_path, {"annotations/instances_train.json": ""})
    assert looks_like(tmp_path) == "annotations/instances_train.json"
    with pytest.raises(AnnotationError, match=r"instances_train.json: is empty"):
        find_layout(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        '{"categories": [{"id": 0, "name": "dog"}], "info": {"year": 2023}}',  # Label Studio's notes.json
        '{"info": {}, "categories": {"label": {"labels": []}}, "items": [{"annotations": [{"id": 1}]}]}',  # Datumaro
        '{"_via_settings": {}, "_via_img_metadata": {}}',
    ],
)
def test_other_programs_files_with_categories_are_no_coco_files(tmp_path: Path, text: str) -> None:
    make(tmp_path, {"notes.json": text})
    assert looks_like(tmp_path) == ""
