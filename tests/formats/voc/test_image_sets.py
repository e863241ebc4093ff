from __future__ import annotations

import errno
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vocdet.data.dataset import Dataset
from vocdet.errors import OutputError, SplitError
from vocdet.formats.voc import image_sets
from vocdet.formats.voc.read import read

DOG = [("dog", (1.0, 2.0, 30.0, 40.0))]
MakeVoc = Callable[..., Path]


@pytest.fixture
def dataset(make_voc: MakeVoc) -> Dataset:
    """Images 000001, 000002, "my photo 1", img.v1.2 and café, in this order of rows: 0, 1, 4, 3, 2."""
    stems = ("000001", "000002", "café", "img.v1.2", "my photo 1")
    return read(make_voc(dict.fromkeys(stems, DOG))).dataset


def write(dataset: Dataset, data: str | bytes, name: str = "train") -> Path:
    path = dataset.root / "ImageSets" / "Main" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize(
    "data",
    [
        "000001\n000002\n",
        "000001\r\n000002",
        "000001\r000002\r",
        "\ufeff000001\n\n  000002\t \n\n",
        "000001  1\n000002 -1\n",
        "000001 0\n000002  1\n",
        "000001.jpg\n000002.xml\n",
        "JPEGImages/000001.jpg\nC:\\set\\000002.JPG\n",
    ],
)
def test_a_split_is_read_in_every_notation(dataset: Dataset, data: str) -> None:
    write(dataset, data)
    rows, findings = image_sets.split_rows(dataset, "train")
    assert rows.tolist() == [0, 1]
    assert findings == ()


def test_stems_may_hold_spaces_dots_and_accents(dataset: Dataset) -> None:
    write(dataset, f"my photo 1\nimg.v1.2\n{unicodedata.normalize('NFD', 'café')}\nmy photo 1  1\n")
    rows, findings = image_sets.split_rows(dataset, "train")
    assert rows.tolist() == [4, 3, 2]
    assert [finding.problem for finding in findings] == ["names 'my photo 1  1' again, after line 1"]


def test_an_unknown_stem_is_an_error_with_its_line_and_the_nearest(dataset: Dataset) -> None:
    path = write(dataset, "000001\n\nmy foto 1\n2\nelephant\n")
    rows, findings = image_sets.split_rows(dataset, "train")
    assert rows.tolist() == [0]
    assert [str(finding.as_error()) for finding in findings] == [
        f"{path}:3: names 'my foto 1', which is not in the dataset (did you mean 'my photo 1'?)",
        f"{path}:4: names '2', which is not in the dataset (did you mean '000002'? The leading zeros differ)",
        f"{path}:5: names 'elephant', which is not in the dataset (delete the line, or run `vocdet.write_splits(vocdet.split(dataset), force=True)`)",
    ]
    assert {type(finding.as_error()) for finding in findings} == {SplitError}


def test_only_the_suffix_of_a_file_is_cut_off(make_voc: MakeVoc) -> None:
    dataset = read(make_voc({"img": DOG, "img.v1.2": DOG})).dataset
    write(dataset, "img.v1\nimg.v1.2.JPG\n")
    rows, findings = image_sets.split_rows(dataset, "train")
    assert [dataset.images.stems[row] for row in rows] == ["img.v1.2"]
    assert [finding.problem for finding in findings] == ["names 'img.v1', which is not in the dataset"]


def test_a_stem_that_a_split_file_cannot_hold(make_voc: MakeVoc) -> None:
    dataset = read(make_voc({"a ": DOG})).dataset
    with pytest.raises(SplitError, match="begins or ends with a space"):
        image_sets.split_texts(dataset, {"train": np.array([0])})


def test_parts_are_not_written_outside_the_dataset(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (dataset.root / "ImageSets").symlink_to(tmp_path / "outside")
    with pytest.raises(SplitError, match="leads out of the dataset"):
        image_sets.write_splits(dataset.root, {"train": ""})
    assert list((tmp_path / "outside").iterdir()) == []


def test_an_empty_split_is_a_warning(dataset: Dataset) -> None:
    write(dataset, "\n")
    rows, findings = image_sets.split_rows(dataset, "train")
    assert len(rows) == 0
    assert [(finding.severity, finding.code) for finding in findings] == [("warning", "imagesets.empty")]


def test_an_undecodable_file_is_an_error(dataset: Dataset) -> None:
    path = write(dataset, "000001\n".encode("utf-16"))
    with pytest.raises(SplitError, match="is not UTF-8 text") as caught:
        image_sets.split_rows(dataset, "train")
    assert caught.value.place is not None
    assert caught.value.place.path == path


def test_a_missing_split_has_a_hint(dataset: Dataset) -> None:
    with pytest.raises(SplitError, match=r"there is no train\.txt \(run `vocdet\.write_splits"):
        image_sets.split_rows(dataset, "train")
    assert image_sets.split_names(dataset) == ()


def test_a_split_file_that_is_a_link_is_read(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "outside.txt").write_text("000001\n")
    write(dataset, "").unlink()
    (dataset.root / "ImageSets" / "Main" / "train.txt").symlink_to(tmp_path / "outside.txt")
    assert image_sets.split_names(dataset) == ("train",)
    image_sets.write_splits(dataset.root, {"train": "img\n"}, force=True)  # in place of the link
    assert (tmp_path / "outside.txt").read_text() == "000001\n"


def test_folders_called_train_and_valid_are_splits(make_voc: MakeVoc, tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        make_voc({f"{split}{i}": DOG for i in range(2)}, root=tmp_path / "set" / split, layout="flat")
    dataset = read(tmp_path / "set").dataset
    assert image_sets.split_names(dataset) == ("train", "val", "test")
    assert [dataset.images.stems[row] for row in image_sets.split_rows(dataset, "val")[0]] == ["valid0", "valid1"]


def test_overlapping_splits_are_found(dataset: Dataset) -> None:
    splits = {"trainval": np.array([0, 1]), "train": np.array([0]), "val": np.array([1, 2]), "test": np.array([1, 3])}
    findings = image_sets.overlap_findings(dataset, splits)
    assert [finding.problem for finding in findings] == [
        "1 image (000002) in val and in test: metrics on test will be too high",
        "trainval is not the union of train and val: they differ in 1 image (café)",
    ]
    whole = {name: splits[name] for name in ("trainval", "test")}
    assert [finding.code for finding in image_sets.overlap_findings(dataset, whole)] == ["imagesets.overlap"]


def test_the_files_that_fodas_authors_shipped_are_read(shared: Path) -> None:
    # By sort -u and comm: 8429 and 25298 different ids, of which 7966 and 23903 are not in this excerpt of the images.
    dataset = read(shared / "data" / "foda").dataset
    for name, distinct, unknown in (("test", 8429, 7966), ("trainval", 25298, 23903)):
        path = shared / "data" / "foda" / "original_ImageSets_full" / f"{name}.txt"
        texts = {entry.text for entry in image_sets.read_split(path)}
        rows, findings = image_sets.resolve(dataset, path)
        assert (len(texts), len(rows)) == (distinct, distinct - unknown)
        assert {finding.code for finding in findings} == {"imagesets.unknown_stem"}


def test_all_splits_are_written_or_none(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    image_sets.write_splits(dataset.root, {"train": "000001\n", "val": "000002\n"})
    folder = dataset.root / image_sets.FOLDER
    calls: list[int] = []

    def full_at_the_second(_: int) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_at_the_second)
    with pytest.raises(OutputError, match=r"val\.txt: cannot be written: no space left on device"):
        image_sets.write_splits(dataset.root, {"train": "000002\n", "val": "000001\n"}, force=True)
    assert sorted(path.name for path in folder.iterdir()) == ["train.txt", "val.txt"]
    assert (folder / "train.txt").read_text() == "000001\n"


def test_existing_files_are_named_and_not_overwritten(dataset: Dataset) -> None:
    image_sets.write_splits(dataset.root, {"train": "000001\n"})
    with pytest.raises(
        SplitError, match=r"ImageSets/Main: train\.txt would be overwritten \(replace them with `force=True`"
    ):
        image_sets.write_splits(dataset.root, {"train": "", "val": ""})
    assert not (dataset.root / image_sets.FOLDER / "val.txt").exists()
    image_sets.write_splits(dataset.root, {"train": ""}, force=True)
    assert (dataset.root / image_sets.FOLDER / "train.txt").read_text() == ""


def test_files_for_each_label_hold_what_the_devkits_hold(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG, "b": [("cat", (1, 2, 30, 40)), *DOG], "c": []})
    path = root / "Annotations" / "b.xml"
    cat, rest = path.read_text().split("</object>", 1)
    path.write_text(cat.replace("<difficult>0", "<difficult>1") + "</object>" + rest)
    dataset = read(root).dataset
    texts = image_sets.label_texts(dataset, {"train": np.array([0, 1]), "val": np.array([2])})
    assert texts == {
        "cat_train": "a -1\nb  0\n",
        "cat_val": "c -1\n",
        "dog_train": "a  1\nb  1\n",
        "dog_val": "c -1\n",
    }


@pytest.mark.parametrize("label", ["a/b", "../../x", "a\\b", "x" * 300, "ж" * 101])
def test_a_label_that_cannot_name_a_file_stops_before_anything_is_written(make_voc: MakeVoc, label: str) -> None:
    dataset = read(make_voc({"a": [(label, (1, 2, 30, 40))]})).dataset
    with pytest.raises(SplitError, match="cannot be in a file name"):
        image_sets.label_texts(dataset, {"train": np.array([0])})
