from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.formats.coco.test_read import IMAGE, changed, coco_set, codes, only
from vocdet.formats.coco.read import scan
from vocdet.formats.scan import Scan, Source


def read(root: Path, names: Sequence[str], images: Sequence[str]) -> Scan:
    entries = [{**IMAGE, "id": i, "file_name": name} for i, name in enumerate(names)]
    content = changed(images=entries, annotations=[])
    return scan(Source(coco_set(root, files={"result.json": content}, images=images)))


@pytest.mark.parametrize(
    ("names", "images"),
    [
        (["train2017/a.jpg", "train2017/b.jpg"], ["images/a.jpg", "images/b.jpg"]),
        (["images\\1/a.jpg", "images\\1/b.jpg"], ["images/a.jpg", "images/b.jpg"]),
        (["..\\photos\\a.jpg", "D:\\photos\\b.jpg"], ["images/a.jpg", "images/b.jpg"]),
        (["a.png", "b.PNG"], ["a.jpg", "b.jpg"]),
        (["a", "b"], ["a.jpg", "b.jpg"]),
        (["1f3870be-a.jpg", "00000001-b.jpg"], ["a.jpg", "b.jpg"]),
        (["images/1f3870be-a.jpg", "images/2a3870be-b.jpg"], ["a.jpg", "b.jpg"]),
        (["a.jpg", "b.jpg"], ["1f3870be-a.jpg", "00000001-b.jpg"]),
        (["a_jpg.rf.1f3870be274f6c49b3e31a0c6728957f.jpg", "b_png.rf.0Zx.jpg"], ["a.jpg", "b.png"]),
        (["a.jpg", "b.jpg"], ["a_jpg.rf.1f3870be274f6c49.jpg", "b_jpg.rf.2f3870be274f6c49.jpg"]),
        (["data/train/a.jpg", "data/val/a.jpg"], ["images/train/a.jpg", "images/val/a.jpg"]),
        (["my%20a.jpg", "http://host/b.jpg?raw=1"], ["my a.jpg", "b.jpg"]),
        (["550e8400-e29b-41d4-a716-446655440000_a.jpg", "b.jpg"], ["a.jpg", "b.jpg"]),
    ],
)
def test_images_are_found_by_the_only_part_of_the_name_that_fits(
    tmp_path: Path, names: list[str], images: list[str]
) -> None:
    found = read(tmp_path, names, images)
    assert found.dataset.images.files == tuple(images)
    assert {severity for severity, _, _ in codes(found)} <= {"warning"}
    if not any("\\" in name for name in names):
        counts = [finding.count for finding in found.findings if finding.code == "coco.image.elsewhere"]
        assert counts == [sum(name not in images for name in names)]


def test_one_finding_counts_the_images_found_elsewhere(tmp_path: Path) -> None:
    finding = only(read(tmp_path, ["x/a.jpg", "x/b.jpg", "c.jpg"], ["images/a.jpg", "images/b.jpg", "images/c.jpg"]))
    assert (finding.code, finding.count, finding.place.inside) == ("coco.image.elsewhere", 2, "images[0].file_name")
    assert finding.problem == ("2 images found by a part of the name, which no other has: 'x/a.jpg' is images/a.jpg")


@pytest.mark.parametrize(
    ("names", "images"),
    [
        (["x/a.jpg", "y/a.jpg"], ["images/a.jpg"]),  # two entries, one image
        (["x/a.jpg"], ["one/a.jpg", "two/a.jpg"]),  # one entry, two images
        (["a.png"], ["a.jpg", "a.bmp"]),
        (["20210304_101010.jpg"], ["20210305_101010.jpg"]),  # dates are no hashes
        (["a.jpg", "x/a.jpg"], ["a.jpg"]),  # it has an entry
    ],
)
def test_what_is_not_unique_is_missing(tmp_path: Path, names: list[str], images: list[str]) -> None:
    found = read(tmp_path, names, [*images, "other.jpg"])
    assert ("error", "image.missing", f"images[{len(names) - 1}]") in codes(found)


def test_a_name_that_fits_two_images_names_both(tmp_path: Path) -> None:
    finding = only(read(tmp_path, ["a.jpg", "b.jpg", "c.jpg"], ["one/a.jpg", "two/a.jpg", "b.jpg", "c.jpg"]))
    assert (finding.code, finding.problem) == ("image.missing", "'a.jpg' fits several images: one/a.jpg, two/a.jpg")
