"""Videos are whole however they end, and a window is only asked for where there is a screen."""

from __future__ import annotations

import errno
import itertools
import socket
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from vocdet.errors import MediaError, OutputError
from vocdet.inference.frames import MediaSource, open_video
from vocdet.inference.output import (
    MEASURED,
    check_picture_name,
    check_video_name,
    no_screen,
    window,
    write_picture,
    writing_video,
)
from vocdet.inputs.images import decode


def gray(height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 90, np.uint8)


def played(path: Path) -> tuple[int, float]:
    """How many frames a video holds, and how many it plays a second."""
    with open_video(MediaSource("video", str(path), path.name)) as video:
        return sum(1 for _ in video.frames), video.fps


def test_a_picture_keeps_its_colors(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:] = (200, 100, 20)
    write_picture(tmp_path / "new" / "a.jpg", pixels)
    assert np.abs(decode(tmp_path / "new" / "a.jpg").astype(int) - (200, 100, 20)).max() < 6


def test_a_picture_is_of_the_kind_its_name_says(tmp_path: Path) -> None:
    for name, start in (("a.png", b"\x89PNG"), ("b.JPG", b"\xff\xd8\xff")):
        write_picture(tmp_path / name, gray())
        assert (tmp_path / name).read_bytes().startswith(start)
    with pytest.raises(OutputError, match=r"'\.gif' file as image"):
        check_picture_name(tmp_path / "c.gif")


def test_a_picture_too_large_for_its_format_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="an image of 66000x1 pixels cannot be written"):
        write_picture(tmp_path / "a.jpg", gray(1, 66000))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.mp4", "b.AVI", "c.mkv", "d.mov", "猫.mp4"])
def test_a_video_plays_at_the_rate_it_was_given(tmp_path: Path, name: str) -> None:
    with writing_video(tmp_path / name, 29.97) as write:
        for _ in range(4):
            write(gray())
    assert played(tmp_path / name) == pytest.approx((4, 29.97), abs=0.01)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_without_a_rate_a_video_plays_as_its_frames_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr("vocdet.inference.output.time.monotonic", lambda: next(clock) / 7)  # seven frames a second
    with writing_video(tmp_path / "a.mp4") as write:
        for _ in range(MEASURED + 5):
            write(gray())
    assert played(tmp_path / "a.mp4") == pytest.approx((MEASURED + 5, 7), abs=0.01)


def test_a_video_of_few_frames_is_written_too(tmp_path: Path) -> None:
    with writing_video(tmp_path / "a.mp4") as write:
        write(gray())
    assert played(tmp_path / "a.mp4")[0] == 1


def test_frames_of_odd_and_changing_sizes_are_all_written(tmp_path: Path) -> None:
    with writing_video(tmp_path / "a.mp4", 10) as write:
        for size in ((49, 65), (49, 65), (20, 30), (100, 200)):
            write(gray(*size))
    assert played(tmp_path / "a.mp4")[0] == 4


def test_an_interrupted_video_is_whole(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), writing_video(tmp_path / "a.mp4", 10) as write:
        write(gray())
        write(gray())
        raise KeyboardInterrupt
    assert played(tmp_path / "a.mp4") == (2, 10)


def test_no_frames_leave_no_video_and_an_earlier_one_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"earlier")
    with writing_video(tmp_path / "a.mp4", 10):
        pass
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"earlier"]


def test_a_name_without_a_video_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"'\.gif' file as video") as caught:
        check_video_name(tmp_path / "a.gif")
    assert ".mp4" in caught.value.hint
    (tmp_path / "b.mp4").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        check_video_name(tmp_path / "b.mp4")


def test_an_unwritable_video_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refuses:
        fourcc = cv2.VideoWriter.fourcc

        def __init__(self, *_: object) -> None: ...

        def isOpened(self) -> bool:
            return False

    monkeypatch.setattr(cv2, "VideoWriter", Refuses)
    with (
        pytest.raises(OutputError, match="cannot be written as a video"),
        writing_video(tmp_path / "a.mp4", 10) as write,
    ):
        write(gray())
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="cannot be written: read-only"), writing_video(tmp_path / "a.mp4", 10):
        pass


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv"])
def test_a_truncated_video_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    class Forgets:
        """A writer on a disk that fills up: it says nothing and writes no more."""

        fourcc = cv2.VideoWriter.fourcc

        def __init__(self, *given: Any) -> None:
            self.writer, self.left = Writer(*given), 5

        def isOpened(self) -> bool:
            return True

        def write(self, pixels: NDArray[np.uint8]) -> None:
            self.left -= 1
            if self.left >= 0:
                self.writer.write(pixels)

        def release(self) -> None:
            self.writer.release()

    Writer = cv2.VideoWriter
    monkeypatch.setattr(cv2, "VideoWriter", Forgets)
    with (
        pytest.raises(OutputError, match="could not be written completely"),
        writing_video(tmp_path / name, 10) as write,
    ):
        for _ in range(20):
            write(gray())
    assert list(tmp_path.iterdir()) == []


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="screens are asked for in another way here")


@linux
@pytest.mark.parametrize("display", ["", ":", "nonsense", ":98765"])
def test_there_is_no_screen_where_none_answers(monkeypatch: pytest.MonkeyPatch, display: str) -> None:
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    monkeypatch.setattr(cv2, "currentUIFramework", lambda: "QT5")
    assert no_screen() == "there is no screen"
    with pytest.raises(MediaError, match="there is no screen") as caught, window("x"):
        pass
    assert '`save="out.mp4"`' in caught.value.hint


@linux
def test_there_is_a_screen_where_one_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "currentUIFramework", lambda: "QT5")
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("DISPLAY", f"127.0.0.1:{server.getsockname()[1] - 6000}.0")
        assert no_screen() == ""


@linux
def test_wayland_will_do_for_an_opencv_that_speaks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    monkeypatch.setattr(cv2, "currentUIFramework", lambda: "GTK3")
    assert no_screen() == ""


def test_a_headless_opencv_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "currentUIFramework", lambda: "")
    assert "headless" in no_screen()
