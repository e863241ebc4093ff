from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from vocdet.errors import SplitError, VocdetError
from vocdet.formats.scan import Source
from vocdet.workflows.split import split_as_coco

DOG = [("dog", (1.0, 2.0, 30.0, 40.0))]
CAT = [("cat", (1.0, 2.0, 30.0, 40.0))]
MakeVoc = Callable[..., Path]


def many(make_voc: MakeVoc, count: int = 20, **kinds: object) -> Path:
    return make_voc({f"img{i:02}": DOG if i % 2 else CAT for i in range(count)}, **kinds)


def write_coco(path: Path, names: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"id": i, "file_name": name, "width": 100, "height": 80} for i, name in enumerate(names, 1)]
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    return path


def test_splits_are_read_from_coco_files(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = many(make_voc)
    names = [f"img{i:02}.jpg" for i in range(20)]
    write_coco(tmp_path / "coco" / "annotations" / "instances_train2017.json", names[:12])
    write_coco(
        tmp_path / "coco" / "annotations" / "instances_val2017.json", [f"val2017/{name}" for name in names[12:16]]
    )
    write_coco(tmp_path / "coco" / "annotations" / "image_info_test2017.json", names[16:])
    report = split_as_coco(Source(root), [tmp_path / "coco"])
    assert {name: rows.tolist() for name, rows in report.splits.items()} == {
        "trainval": list(range(16)), "train": list(range(12)), "val": [12, 13, 14, 15], "test": [],
    }  # fmt: skip
    assert report.notes == (
        "4 images are in no COCO file and in no split: `append=True` adds them to one",
        "test is empty: there is no COCO file for it",
    )
    assert (root / "ImageSets" / "Main" / "val.txt").read_text().split() == ["img12", "img13", "img14", "img15"]


def test_the_split_is_the_name_of_the_file_or_of_its_folder(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = many(make_voc, 6)
    sources = [
        write_coco(tmp_path / "train" / "_annotations.coco.json", ["img00.png", "sub/img01.jpg"]),
        write_coco(tmp_path / "my_valid.json", ["JPEGImages/img02.jpg", "img03.jpg", "elsewhere.jpg"]),
        write_coco(tmp_path / "Test.json", ["img04.jpg"]),
        write_coco(tmp_path / "train-more.json", ["img05.jpg"]),
    ]
    report = split_as_coco(Source(root), sources)
    assert [report.splits[name].tolist() for name in ("train", "val", "test")] == [[0, 1, 5], [2, 3], [4]]
    assert report.notes[0] == "1 image of my_valid.json is not in the dataset, such as 'elsewhere.jpg'"


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"val.json": ["img00.jpg"]}, "there is no COCO file for train"),
        ({"train.json": ["img00.jpg"], "instances.json": ["img01.jpg"]}, "has no split in its name"),
        ({"trainval.json": ["img00.jpg"]}, "holds train and val together"),
        ({"train.json": ["a.jpg", "b.jpg"]}, "none of its 2 images, such as 'a.jpg', is in the dataset"),
        (
            {"train.json": ["img00.jpg", "img01.jpg"], "test.json": ["img01.jpg"]},
            "the COCO files have 1 image (img01) in several splits",
        ),
    ],
)
def test_coco_files_without_valid_splits_are_an_error(
    make_voc: MakeVoc, tmp_path: Path, files: Mapping[str, Sequence[str]], problem: str
) -> None:
    root = many(make_voc)
    sources = [write_coco(tmp_path / "coco" / name, names) for name, names in files.items()]
    with pytest.raises(SplitError) as caught:
        split_as_coco(Source(root), sources)
    assert caught.value.problem == problem
    assert caught.value.hint
    assert not (root / "ImageSets").exists()


@pytest.mark.parametrize("text", ["", "[1, 2", "<annotation/>"])
def test_another_kind_of_file_is_an_error(make_voc: MakeVoc, tmp_path: Path, text: str) -> None:
    path = tmp_path / "train.json"
    path.write_text(text)
    with pytest.raises(VocdetError, match=r"train\.json"):
        split_as_coco(Source(many(make_voc)), [path])


def test_microcontrollers_have_the_splits_of_their_coco_files(shared: Path, tmp_path: Path) -> None:
    import shutil

    root = shutil.copytree(shared / "data" / "microcontrollers", tmp_path / "boards")
    report = split_as_coco(Source(root), [root])
    files = np.array(report.dataset.images.files)
    assert {file.split("/")[0] for file in files[report.splits["train"]]} == {"train"}
    assert {file.split("/")[0] for file in files[report.splits["test"]]} == {"test"}
    assert (len(report.splits["train"]), len(report.splits["test"])) == (142, 7)
