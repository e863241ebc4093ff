"""One listing of each folder, by which all formats judge it."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from vocdet.formats import registry
from vocdet.formats.images.entries import entries_of, listed_once
from vocdet.formats.scan import Source


def test_names_are_sorted_by_what_they_are(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.xml", ".hidden", "none", "bell\a.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "folder.d").mkdir()
    (tmp_path / "to_folder").symlink_to("folder.d")
    (tmp_path / "to_nothing.png").symlink_to("gone")
    (tmp_path / "circle").symlink_to("circle")
    found = entries_of(tmp_path)
    assert found.files == ("a.xml", "b.JPG", "none")
    assert found.folders == ("folder.d", "to_folder")
    assert found.others == ("circle", "to_nothing.png")
    assert found.links == {"circle", "to_folder", "to_nothing.png"}
    assert found.invalid == ("bell\a.jpg",)
    assert found.by_suffix == {".xml": ["a.xml"], ".jpg": ["b.JPG"], "": ["none"]}
    assert found.suffixes == {".xml", ".jpg", ".d", ".png"}


def test_a_listing_is_retained_only_inside_the_block(tmp_path: Path) -> None:
    with listed_once():
        assert entries_of(tmp_path).files == ()
        (tmp_path / "a.jpg").touch()
        assert entries_of(tmp_path).files == ()
    assert entries_of(tmp_path).files == ("a.jpg",)


@pytest.mark.parametrize("name", ["yolo", "labelme", "coco", "labelimg-flat"])
def test_each_folder_of_a_dataset_is_listed_once(shared: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    times: Counter[str] = Counter()
    scandir = os.scandir

    def counted(path: str) -> object:
        times[os.fspath(path)] += 1
        return scandir(path)

    monkeypatch.setattr(os, "scandir", counted)
    found = registry.scan(Source(shared / "cases" / "runs-and-found-inside-the-folder" / "in" / name))
    assert len(found.dataset) > 0
    assert set(times.values()) == {1}
