"""The composed dataset is what it says it is: real scans, tight boxes, and a test part that was never seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vocdet.errors import OutputError
from vocdet.formats.scan import Source
from vocdet.formats.voc import read as voc_tree
from vocdet.outputs import MARKER, is_output_folder
from vocdet.workflows.demo_dataset import PHOTO_SPLIT, DigitDatasets, PictureOptions, compose, draw_picture, sources
from vocdet.workflows.load import load_dataset


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> DigitDatasets:
    return compose(tmp_path_factory.mktemp("demo") / "set", images=12, test_images=4, labels=3, seed=7)


def test_both_folders_are_voc_folders_without_a_finding(composed: DigitDatasets) -> None:
    for split, root in enumerate((composed.train, composed.test)):
        found = voc_tree.read(root)
        assert found.findings == ()
        assert found.coordinates == "zero"
        assert set(found.dataset.labels) <= set(composed.labels) == {"0", "1", "2"}
        assert (len(found.dataset), len(found.dataset.objects)) == (composed.images[split], composed.objects[split])
        assert all(2 <= len(scene.objects) <= 6 for scene in found.dataset)


def test_all_images_of_the_test_folder_are_its_test_split(composed: DigitDatasets) -> None:
    loaded = load_dataset(Source(composed.test), split="test")
    assert len(loaded.dataset.rows("test")) == 4
    assert not (composed.train / "ImageSets").exists()  # that is for `vocdet split`


def test_boxes_lie_tight_around_the_pixels_of_their_masks(composed: DigitDatasets) -> None:
    for scene in voc_tree.read(composed.train).dataset:
        mask = np.asarray(Image.open(composed.train / "SegmentationObject" / f"{scene.stem}.png"))
        assert set(np.unique(mask)) == set(range(len(scene.objects) + 1))
        for k, box in enumerate(scene.objects.box, start=1):
            ys, xs = np.nonzero(mask == k)
            assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


def test_ink_contrasts_with_its_background(composed: DigitDatasets) -> None:
    differences = []
    for scene in voc_tree.read(composed.train).dataset:
        light = np.asarray(Image.open(scene.path).convert("L"), np.float64)
        mask = np.asarray(Image.open(composed.train / "SegmentationObject" / f"{scene.stem}.png"))
        for k, (xmin, ymin, xmax, ymax) in enumerate(scene.objects.box.astype(int), start=1):
            window, ink = light[ymin:ymax, xmin:xmax], mask[ymin:ymax, xmin:xmax] == k
            differences.append(abs(window[ink].mean() - window[~ink].mean()))
    assert np.median(differences) > 80


def test_annotations_are_as_labelimg_writes_them(composed: DigitDatasets) -> None:
    text = (composed.test / "Annotations" / "test_00001.xml").read_text()
    assert text.startswith("<annotation>\n\t<folder>JPEGImages</folder>\n\t<filename>test_00001.jpg</filename>")
    assert "<segmented>1</segmented>" in text


def test_no_scan_and_no_part_of_a_photograph_is_in_both() -> None:
    train, test = sources(10, seed=3)
    for mine, others in zip(train.scans, test.scans, strict=True):
        assert len(mine) > 2 * len(others) > 0
        assert not {scan.tobytes() for scan in mine} & {scan.tobytes() for scan in others}
    assert sum(len(scans) for source in (train, test) for scans in source.scans) == 1797  # as the data set's page says
    for left, right in zip(train.photos, test.photos, strict=True):
        assert left.shape[1] + right.shape[1] == 640
        assert left.shape[1] == 640 * PHOTO_SPLIT


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(tmp_path: Path) -> None:
    made = [
        compose(tmp_path / name, images=2, test_images=1, labels=2, seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    files = [
        {
            path.relative_to(one.train.parent): path.read_bytes()
            for path in one.train.parent.rglob("*")
            if path.is_file() and path.name != MARKER
        }
        for one in made
    ]
    assert files[0] == files[1] != files[2]
    assert len(files[0]) == 3 * 3 + 1


def test_more_images_leave_the_first_ones_as_they_were(tmp_path: Path) -> None:
    few = compose(tmp_path / "few", images=1, test_images=1)
    more = compose(tmp_path / "more", images=2, test_images=1)
    name = "JPEGImages/train_00001.jpg"
    assert (few.train / name).read_bytes() == (more.train / name).read_bytes()


def test_size_number_and_height_of_the_digits_can_be_chosen() -> None:
    source, _ = sources(10, seed=0)
    for i in range(5):
        picture = draw_picture(source, PictureOptions((200, 160), (1, 3), (30, 40)), np.random.default_rng(i))
        assert picture.pixels.shape == (160, 200, 3)
        assert 1 <= len(picture.boxes) <= 3
        heights = [ymax - ymin for _, ymin, _, ymax in picture.boxes]
        assert min(heights) >= 20
        assert max(heights) <= 50


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    compose(tmp_path, images=2, test_images=1, progress=lambda done, of: heard.append((done, of)))
    assert heard == [(1, 3), (2, 3), (3, 3)]


def test_an_existing_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        compose(tmp_path, images=1, test_images=1)
    assert [path.name for path in tmp_path.iterdir()] == ["test"]


def test_an_interrupted_composer_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compose(tmp_path, images=2, test_images=1, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kwargs", "problem"),
    [
        ({"labels": 11}, "11 labels"),
        ({"images": 0}, "0 and 128 images"),
    ],
)
def test_impossible_numbers_are_refused(tmp_path: Path, kwargs: dict[str, int], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        compose(tmp_path, **kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kwargs", "problem"),
    [
        ({"pixels": (10, 20)}, "10 to 20 pixels"),
        ({"pixels": (100, 200)}, "200 pixels needs more room than 320 x 240"),
        ({"digits": (3, 2)}, "3 to 2 digits"),
    ],
)
def test_impossible_pictures_are_refused(kwargs: dict[str, tuple[int, int]], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        PictureOptions(**kwargs)


def test_a_new_demo_folder_is_marked_and_an_old_folder_is_not(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a.txt").touch()
    for name in ("new", "old"):
        compose(tmp_path / name, images=1, test_images=1, labels=1)
    assert is_output_folder(tmp_path / "new")
    assert not is_output_folder(tmp_path / "old")
