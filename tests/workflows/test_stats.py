from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vocdet.errors import ArgumentError, DatasetError
from vocdet.formats.scan import Source
from vocdet.workflows.stats import dataset_stats

DOG, CAT = ("dog", (0.0, 0.0, 30.0, 40.0)), ("cat", (40.0, 0.0, 70.0, 40.0))
MakeVoc = Callable[..., Path]


def test_statistics_cover_the_folder_and_its_splits(make_voc: MakeVoc) -> None:
    root = make_voc(
        {"a": [DOG, CAT], "b": [DOG], "c": []},
        splits={"trainval": ["a", "c"], "train": ["a"], "val": ["c"], "test": ["b"]},
    )
    report = dataset_stats(Source(root))
    figures = report.statistics
    assert (figures.labels, figures.objects.tolist()) == (("cat", "dog"), [1, 2])
    assert {name: (images, objects.tolist()) for name, (images, objects) in figures.splits.items()} == {
        "train": (1, [1, 1]), "val": (1, [0, 0]), "test": (1, [0, 1]),
    }  # fmt: skip
    assert (report.left_out, report.errors, report.picture) == (0, 0, None)


def test_invalid_files_are_left_out_and_counted(make_voc: MakeVoc) -> None:
    root = make_voc({"a": [DOG, ("cat", (200.0, 10.0, 250.0, 20.0))], "b": [DOG], "c": [DOG]})
    (root / "Annotations" / "b.xml").write_text("<annotation>")
    (root / "JPEGImages" / "c.jpg").unlink()
    report = dataset_stats(Source(root))
    assert report.statistics.objects.tolist() == [0, 1]  # the cat is outside its image of 100 × 80
    assert (report.statistics.images, report.left_out, report.errors) == (1, 1, 2)


def test_boxes_are_clipped_to_their_images(make_voc: MakeVoc) -> None:
    root = make_voc({"a": [("dog", (60.0, 40.0, 140.0, 120.0))]})  # 40 × 40 of it in 100 × 80
    assert dataset_stats(Source(root)).statistics.pixels[0].tolist() == [40, 40, 40]


def test_the_picture_is_written_to_its_file(make_voc: MakeVoc, tmp_path: Path) -> None:
    path = tmp_path / "new" / "figures.PNG"
    report = dataset_stats(Source(make_voc({"a": [DOG]})), drawn=path)
    assert report.picture == path
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["figures.jpg", "figures", ".png"])
def test_an_unknown_picture_format_is_an_error_before_reading(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArgumentError, match="is not the name of a picture") as caught:
        dataset_stats(Source(tmp_path / "nowhere"), drawn=tmp_path / name)
    assert caught.value.hint == "use the suffix .png, .svg or .pdf"


def test_a_dataset_without_objects_is_an_error(make_voc: MakeVoc) -> None:
    with pytest.raises(DatasetError, match="the annotations contain no objects"):
        dataset_stats(Source(make_voc({"a": []})))
