from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.division.similar import find_similar, similar_images
from vocdet.formats.voc.read import read

Change = Callable[[Image.Image], Image.Image]


def photo(seed: int, size: tuple[int, int] = (120, 90)) -> Image.Image:
    """Coarse colored noise with finer noise on it: as much structure as a photograph."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    fine = Image.fromarray(rng.integers(0, 256, (30, 30, 3), np.uint8)).resize(size)
    return Image.blend(coarse, fine, 0.2)


def dataset_of(root: Path, files: Sequence[str]) -> Dataset:
    """A dataset without objects of image files in a folder."""
    widths, heights = np.array([size_of(root / file) for file in files], np.int32).T
    none, flags = np.empty(0, np.int32), np.empty(0, np.bool_)
    stems = tuple(Path(file).stem for file in files)
    images = Images(stems, tuple(files), widths, heights, stems)
    objects = Objects(none, none, np.empty((0, 4)), flags, flags, flags, flags, none)
    return Dataset(root, (), images, objects)


def size_of(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except OSError:
        return 9, 9


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.resize((60, 45)),
        lambda image: image.resize((200, 150)),
        lambda image: image.resize((100, 100)),
        lambda image: image.convert("L"),
        lambda image: ImageEnhance.Brightness(image).enhance(0.8),
        lambda image: ImageEnhance.Brightness(image).enhance(1.07),
        lambda image: ImageEnhance.Contrast(image).enhance(1.1),
        lambda image: image.crop((1, 0, image.width, image.height)),
    ],
    ids=["half", "larger", "stretched", "gray", "darker", "brighter", "contrast", "a column less"],
)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_a_changed_copy_is_near_identical(tmp_path: Path, change: Change, suffix: str) -> None:
    for seed in range(4):
        photo(seed).save(tmp_path / f"{seed}.jpg", quality=90)
        change(photo(seed)).save(tmp_path / f"{seed}copy{suffix}", quality=50)
    files = [f"{seed}.jpg" for seed in range(4)] + [f"{seed}copy{suffix}" for seed in range(4)]
    assert similar_images(dataset_of(tmp_path, files)) == [[0, 4], [1, 5], [2, 6], [3, 7]]


def test_all_copies_are_found_among_many_images(tmp_path: Path) -> None:
    files = []
    for seed in range(150):
        photo(seed, (48, 48)).save(tmp_path / f"{seed}.png")
        files.append(f"{seed}.png")
    for seed in range(0, 150, 3):
        photo(seed, (48, 48)).save(tmp_path / f"{seed}copy.jpg", quality=30)
        files.append(f"{seed}copy.jpg")
    assert similar_images(dataset_of(tmp_path, files)) == [[3 * i, 150 + i] for i in range(50)]


def test_another_thing_before_the_same_background_is_another_image(tmp_path: Path) -> None:
    for name, corner in (("left", (20, 30)), ("right", (90, 60)), ("again", (20, 30))):
        scene = photo(0, (160, 120))
        scene.paste((250, 250, 240), (*corner, corner[0] + 20, corner[1] + 20))
        scene.save(tmp_path / f"{name}.png" if name != "again" else tmp_path / "again.jpg")
    assert similar_images(dataset_of(tmp_path, ["left.png", "right.png", "again.jpg"])) == [[0, 2]]


def test_frames_are_linked_one_to_the_next(tmp_path: Path) -> None:
    film = photo(0, (500, 300))
    for frame in range(12):
        film.crop((3 * frame, 0, 300 + 3 * frame, 300)).save(tmp_path / f"{frame:02}.jpg")
    photo(1, (300, 300)).save(tmp_path / "other.jpg")
    found = find_similar(dataset_of(tmp_path, [*(f"{frame:02}.jpg" for frame in range(12)), "other.jpg"]))
    assert found.groups == [list(range(12))]
    assert found.nearest(0, [11]) == (-1, 0.0)  # the first is not like the last
    assert found.nearest(0, [0, 1, 5, 12])[0] == 1


def test_the_nearest_is_the_most_alike(tmp_path: Path) -> None:
    for name, quality in (("a", 95), ("b", 5), ("c", 90)):
        photo(0).save(tmp_path / f"{name}.jpg", quality=quality)
    photo(1).save(tmp_path / "d.jpg")
    found = find_similar(dataset_of(tmp_path, ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]))
    row, likeness = found.nearest(0, [1, 2, 3])
    assert row == 2
    assert 0.99 < likeness <= 1
    assert found.nearest(3, [0, 1, 2]) == (-1, 0.0)
    assert found.nearest(3, []) == (-1, 0.0)


def test_plain_pictures_belong_together_only_pixel_by_pixel(tmp_path: Path) -> None:
    for name, gray in (("white", 255), ("whiter", 254), ("gray", 128)):
        Image.new("RGB", (60, 60), (gray, gray, gray)).save(tmp_path / f"{name}.png")
    Image.new("RGB", (60, 60), (255, 255, 255)).save(tmp_path / "same.png", compress_level=0)
    Image.new("RGB", (60, 50), (255, 255, 255)).save(tmp_path / "lower.png")
    speck = Image.new("RGB", (60, 60), (255, 255, 255))
    speck.putpixel((30, 30), (250, 250, 250))  # too small to be seen in a picture made small
    speck.save(tmp_path / "speck.png")
    files = ["white.png", "whiter.png", "gray.png", "same.png", "lower.png", "speck.png"]
    assert similar_images(dataset_of(tmp_path, files)) == [[0, 3]]


def test_files_that_cannot_be_decoded_are_in_no_group(tmp_path: Path) -> None:
    photo(0).save(tmp_path / "a.jpg")
    photo(0).save(tmp_path / "b.png")
    whole = (tmp_path / "a.jpg").read_bytes()
    for name in ("cut1.jpg", "cut2.jpg"):  # byte for byte the same
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_bytes(b"no image at all")
    files = ["a.jpg", "cut1.jpg", "cut2.jpg", "empty.jpg", "text.jpg", "b.png"]
    assert similar_images(dataset_of(tmp_path, files)) == [[0, 5]]


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (3, Image.Transpose.ROTATE_180),
        (6, Image.Transpose.ROTATE_90),
        (8, Image.Transpose.ROTATE_270),
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
    ],
)
def test_a_picture_that_exif_turns_is_the_one_that_was_turned(
    tmp_path: Path, orientation: int, turn: Image.Transpose
) -> None:
    photo(0).save(tmp_path / "upright.jpg")
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo(0).transpose(turn).save(tmp_path / "turned.jpg", exif=exif)
    photo(0).transpose(turn).save(tmp_path / "untold.jpg")
    assert similar_images(dataset_of(tmp_path, ["upright.jpg", "turned.jpg", "untold.jpg"])) == [[0, 1]]


def test_sixteen_bits_and_palettes_are_only_other_ways_to_store(tmp_path: Path) -> None:
    gray: NDArray[np.uint8] = np.asarray(photo(0).convert("L"))
    Image.fromarray(gray).save(tmp_path / "eight.png")
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    photo(0).quantize(256).save(tmp_path / "palette.png")
    photo(0).convert("RGBA").save(tmp_path / "alpha.png")
    files = ["eight.png", "sixteen.png", "palette.png", "alpha.png"]
    assert similar_images(dataset_of(tmp_path, files)) == [[0, 1, 2, 3]]


def test_progress_counts_every_image(tmp_path: Path) -> None:
    for seed in range(3):
        photo(seed).save(tmp_path / f"{seed}.png")
    seen: list[tuple[int, int]] = []
    similar_images(dataset_of(tmp_path, ["0.png", "1.png", "2.png"]), lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        # Looked at by eye: copies, one photograph in two sizes, one microscope slide in two focal planes.
        ("raccoon", [{"11", "116"}, {"120", "83"}, {"21", "45"}, {"50", "52", "74"}, {"65", "98"}]),
        ("bccd", [{"00037", "00038"}]),
        ("microcontrollers", []),
    ],
)
def test_what_is_near_identical_in_real_sets(shared: Path, name: str, groups: list[set[str]]) -> None:
    dataset = read(shared / "data" / name).dataset
    found = [{dataset.images.stems[row].split("-")[-1].split("_")[-1] for row in rows}
             for rows in similar_images(dataset)]  # fmt: skip
    assert found == groups


def test_no_group_of_film_frames_shows_two_things(shared: Path) -> None:
    dataset = read(shared / "data" / "foda").dataset
    groups = similar_images(dataset)
    assert len(groups) > 40
    for rows in groups:
        shown = {frozenset(dataset[row].objects.label.tolist()) for row in rows}
        assert len(shown) == 1
        assert np.diff([int(dataset.images.stems[row]) for row in rows]).max() < 300  # of one film
