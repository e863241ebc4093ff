"""Frames of several videos: none takes the name of another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vocdet.errors import ArgumentError, ImageError
from vocdet.inference.output import writing_video
from vocdet.workflows.film_frames import frames


def film(path: Path, length: int = 1) -> Path:
    with writing_video(path, 10) as write:
        for i in range(length):
            write(np.random.default_rng(i).integers(0, 256, (96, 128, 3), np.uint8))
    return path


def test_videos_of_one_name_both_have_images(tmp_path: Path) -> None:
    sources = [str(film(tmp_path / folder / "a.avi")) for folder in ("one", "two")]
    found = list(frames([*sources, sources[0]], out=tmp_path / "out"))
    assert [(one.path.name, one.written) for one in found] == [("a_000000.jpg", True), ("a_2_000000.jpg", True)]
    assert not any(one.written for one in frames(sources, out=tmp_path / "out"))


def test_images_of_an_earlier_call_below_the_videos_are_passed_over(tmp_path: Path) -> None:
    film(tmp_path / "a.avi")
    for out in (tmp_path, tmp_path / "frames"):
        for written in (True, False):
            (one,) = frames([str(tmp_path / "*") if out == tmp_path else str(tmp_path)], out=out)
            assert one.written is written
        for image in out.glob("*.jpg"):
            with pytest.raises(ArgumentError, match="is not a video"):
                next(frames([str(image)], out=out))
            image.unlink()


def test_the_longest_name_of_a_video_is_shortened(tmp_path: Path) -> None:
    film(tmp_path / "a.avi").rename(tmp_path / f"{'é' * 125}.avi")
    (one,) = frames([str(tmp_path / f"{'é' * 125}.avi")], out=tmp_path / "out")
    assert one.path.name == f"{'é' * 90}_000000.jpg"
    assert one.path.exists()


def test_a_video_that_is_cut_off_is_an_error_after_its_images(tmp_path: Path) -> None:
    whole = film(tmp_path / "a.avi", 20)
    cut = tmp_path / "b.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ImageError, match=r"b\.avi: ends after \d+ of the 20 frames"):
        list(frames([str(cut), str(whole)], out=tmp_path / "out"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a_000000.jpg",
        "a_000010.jpg",
        "b_000000.jpg",
    ]
