"""Frames of several videos: none takes the name of another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vocdet.errors import ArgumentError
from vocdet.inference.output import writing_video
from vocdet.workflows.film_frames import frames


def film(path: Path) -> Path:
    with writing_video(path, 10) as write:
        write(np.zeros((48, 64, 3), np.uint8))
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
