"""Datasets in memory: read, divided, checked, written, and what they show of themselves."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest

import vocdet
from vocdet.formats.scan import Source
from vocdet.workflows.split import SplitFiles, SplitOptions, split_dataset


def sizes(dataset: vocdet.Dataset) -> dict[str, int]:
    return {name: len(rows) for name, rows in dataset.splits.items()}


@pytest.mark.parametrize("kind", [str, Path])
def test_a_dataset_is_read_with_its_splits(kind: type, shelf: Path) -> None:
    dataset = vocdet.read(kind(shelf))
    assert isinstance(dataset, vocdet.Dataset)
    assert (dataset.labels, len(dataset), len(dataset.objects)) == (("circle", "square"), 12, 24)
    assert sizes(dataset) == {"train": 8, "val": 2, "test": 2}
    assert repr(dataset) == (
        f"<dataset {shelf}: 12 images, 24 objects, 2 labels (circle, square); train 8, val 2, test 2>"
    )


def test_all_errors_in_the_files_are_raised_together(shelf: Path) -> None:
    for stem in ("img00", "img01"):
        (shelf / "Annotations" / f"{stem}.xml").write_text("<annotation>")
    with pytest.raises(vocdet.ManyErrors) as caught:
        vocdet.read(shelf)
    assert len(caught.value.errors) >= 2


def test_a_label_file_orders_the_labels(shelf: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("square\ncircle\n")
    assert vocdet.read(shelf, labels=str(tmp_path / "labels.txt")).labels == ("square", "circle")


def test_split_is_the_split_of_the_command_and_writes_nothing(shelf: Path) -> None:
    before = {path: path.read_bytes() for path in shelf.rglob("*") if path.is_file()}
    dataset = vocdet.read(shelf)
    divided = vocdet.split(dataset, trainval=0.8, train=0.75, seed=3)
    assert {path: path.read_bytes() for path in shelf.rglob("*") if path.is_file()} == before
    assert sizes(dataset) == {"train": 8, "val": 2, "test": 2}  # unchanged
    assert sizes(divided) == {"trainval": 10, "train": 8, "val": 2, "test": 2}
    written = vocdet.write_splits(divided, force=True)
    stems = {path.stem: path.read_text().split() for path in written}
    report = split_dataset(
        Source(shelf), options=SplitOptions(trainval=0.8, train=0.75, seed=3), files=SplitFiles(force=True)
    )
    assert {path.stem: path.read_text().split() for path in report.files} == stems
    assert sizes(vocdet.read(shelf)) == sizes(divided)


def test_splits_are_not_overwritten_without_force(shelf: Path) -> None:
    dataset = vocdet.split(shelf)
    with pytest.raises(vocdet.SplitError):
        vocdet.write_splits(dataset)


def test_a_dataset_without_splits_has_none_to_write(shelf: Path) -> None:
    with pytest.raises(vocdet.SplitError, match="has no splits"):
        vocdet.write_splits(replace(vocdet.read(shelf), splits={}))


def test_folds_are_splits(shelf: Path) -> None:
    dataset = vocdet.split(shelf, kfold=2)
    for k in (1, 2):
        train, val = (dataset.splits[f"fold{k}_{name}"] for name in ("train", "val"))
        assert sorted([*train, *val]) == sorted(dataset.splits["trainval"])
    names = {path.name for path in vocdet.write_splits(dataset, force=True)}
    assert {"fold1_train.txt", "fold1_val.txt", "fold2_train.txt", "fold2_val.txt"} <= names


def test_a_subset_keeps_its_part_of_the_splits(shelf: Path) -> None:
    dataset = vocdet.read(shelf)
    rows = dataset.splits["val"]
    smaller = dataset.subset([0, *rows])
    assert isinstance(smaller, vocdet.Dataset)
    assert sizes(smaller) == {"train": 1, "val": 2, "test": 0}
    assert [smaller.images.stems[row] for row in smaller.splits["val"]] == [dataset.images.stems[row] for row in rows]
    assert vocdet.statistics(smaller).objects.tolist() == [3, 3]


def test_a_dataset_is_read_only(shelf: Path) -> None:
    dataset = vocdet.read(shelf)
    with pytest.raises(FrozenInstanceError):
        dataset.labels = ()  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        dataset.objects.box[0] = 0


@pytest.mark.parametrize("format", ["voc", "coco", "yolo"])
def test_what_is_written_is_read_back(format: str, shelf: Path, tmp_path: Path) -> None:
    dataset = vocdet.split(vocdet.read(shelf), seed=1)
    written = vocdet.write(dataset, str(tmp_path / "new"), format=format)  # type: ignore[arg-type]
    again = vocdet.read(tmp_path / "new")
    for other in (written, again):
        assert sorted(other.images.stems) == sorted(dataset.images.stems)
        for name in ("train", "val", "test"):
            stems = {other.images.stems[row] for row in other.splits[name]}
            assert stems == {dataset.images.stems[row] for row in dataset.splits[name]}
        assert np.allclose(np.sort(other.objects.box, axis=0), np.sort(dataset.objects.box, axis=0))


def test_images_can_stay_where_they_are(shelf: Path, tmp_path: Path) -> None:
    written = vocdet.write(vocdet.read(shelf), tmp_path / "new", format="coco", images="none")
    assert written[0].path == shelf / "JPEGImages" / "img00.jpg"
    assert not list((tmp_path / "new").rglob("*.jpg"))


def test_an_existing_folder_is_not_written_to(shelf: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine.txt").write_text("mine")
    with pytest.raises(vocdet.OutputError):
        vocdet.write(shelf, tmp_path / "new", format="coco")
    with pytest.raises(vocdet.OutputError, match="inside"):
        vocdet.write(shelf, shelf / "new", format="coco")


def test_check_lists_the_errors_of_a_path(shelf: Path) -> None:
    (shelf / "Annotations" / "img00.xml").write_text("<annotation>")
    report = vocdet.check(str(shelf))
    assert [finding.severity for finding in report.errors] == ["error"] * len(report.errors)
    assert report.errors[0].place.path == shelf / "Annotations" / "img00.xml"
    assert repr(report).startswith(f"<check of {shelf}: {len(report.errors)} error")
    assert {*report.errors, *report.warnings} == set(report.findings)


def test_check_of_a_dataset_in_memory_looks_at_its_own_splits(shelf: Path) -> None:
    dataset = vocdet.read(shelf)
    assert vocdet.check(dataset).findings == vocdet.check(shelf).findings
    shared = replace(dataset, splits={"train": np.arange(12), "test": np.arange(2)})
    codes = {finding.code for finding in vocdet.check(shared).findings}
    assert "imagesets.overlap" in codes
    assert "imagesets.overlap" not in {finding.code for finding in vocdet.check(dataset).findings}


def test_repair_changes_files_and_keeps_a_backup(shelf: Path) -> None:
    path = shelf / "Annotations" / "img00.xml"
    before = path.read_text()
    path.write_text(before.replace("<name>circle</name>", "<name>circle </name>"))
    planned = vocdet.repair(shelf, dry_run=True)
    assert "-\t\t<name>circle </name>" in planned.diff
    assert (planned.backup, repr(planned)) == (None, f"<repair of {shelf}: 1 file to change>")
    done = vocdet.repair(shelf)
    assert path.read_text() == before
    assert done.backup is not None
    assert (done.backup / "Annotations" / "img00.xml").is_file()
    assert repr(vocdet.repair(shelf)) == f"<repair of {shelf}: 0 files changed>"


def test_functions_on_files_refuse_a_dataset_in_memory(shelf: Path, tmp_path: Path) -> None:
    dataset = vocdet.read(shelf)
    with pytest.raises(vocdet.ArgumentError, match="takes the path of a dataset, not a Dataset"):
        vocdet.sample(dataset, tmp_path / "few", 3)  # type: ignore[arg-type]


def test_labels_are_renamed_by_a_mapping(shelf: Path, tmp_path: Path) -> None:
    vocdet.remap(shelf, tmp_path / "new", rename={"circle": "ball"}, drop=["square"])
    assert vocdet.read(tmp_path / "new").labels == ("ball",)


def test_fetch_reports_what_is_incomplete(tmp_path: Path) -> None:
    with pytest.raises(vocdet.ArgumentError, match="no dataset 'imagenet'"):
        vocdet.fetch("imagenet", tmp_path)


@pytest.mark.parametrize(
    ("format", "hint"),
    [("cocoo", "did you mean 'coco'"), ("cvat", "use one of voc, coco, yolo"), ("x", "use one of")],
)
def test_a_format_that_cannot_be_written_is_an_error(shelf: Path, tmp_path: Path, format: str, hint: str) -> None:
    with pytest.raises(vocdet.ArgumentError, match=f"cannot write the format '{format}'") as caught:
        vocdet.write(vocdet.read(shelf), tmp_path / "new", format=format)  # type: ignore[arg-type]
    assert hint in caught.value.hint
    assert not (tmp_path / "new").exists()
