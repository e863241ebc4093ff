"""Pictures come from files, folders, videos and cameras, or with a clear word from nowhere."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from vocdet.errors import ArgumentError, ImageError, ManyErrors, VocdetError
from vocdet.inference.frames import FPS, MediaSource, batches, find_sources, open_video, quiet, skipped_files
from vocdet.inputs.images import decode
from vocdet.outputs import write_marker


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), (250, 0, 0)).save(path)
    return path


def film(path: Path, *, frames: int = 5, fps: float = 10.0) -> Path:
    """A video of gray frames, each lighter than the one before."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (64, 48))
    for i in range(frames):
        writer.write(np.full((48, 64, 3), 40 * i, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize("name", ["A.JPG", "b.JpEg", "c.png", "d.BMP", "e.webp", "f.tif", "猫 Ж é.png"])
def test_any_suffix_in_any_case_and_any_name_is_found_and_read(tmp_path: Path, name: str) -> None:
    picture(tmp_path / name)
    (found,) = find_sources([str(tmp_path)])
    assert found.name == name
    assert decode(Path(found.address)).shape == (30, 40, 3)


def test_a_folder_is_walked_in_the_order_people_sort_in(tmp_path: Path) -> None:
    for name in ("10.png", "2.png", "deep/1.png", "clip.MP4", "note.txt", ".hidden.png", ".cache/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_sources([str(tmp_path)])
    assert [source.name for source in found] == ["2.png", "10.png", "clip.MP4", "deep/1.png"]
    assert [source.kind for source in found] == ["image", "image", "video", "image"]


def test_the_masks_of_a_voc_folder_are_no_photographs(tmp_path: Path) -> None:
    for name in ("JPEGImages/a.jpg", "SegmentationObject/a.png", "SegmentationClass/a.png", "out/a.jpg"):
        picture(tmp_path / name)
    assert [source.name for source in find_sources([str(tmp_path)], skip=tmp_path / "out")] == ["JPEGImages/a.jpg"]


def test_a_folder_that_links_to_itself_ends(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    try:
        (tmp_path / "loop").symlink_to(tmp_path)
    except OSError:
        pytest.skip("no links on this disk")
    assert [source.name for source in find_sources([str(tmp_path)])] == ["a.png"]


def test_numbers_and_addresses_are_cameras_unless_there_is_such_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("1").touch()
    camera, file, stream = find_sources(["0", "1", "rtsp://me:secret@cam.local/live"])
    assert camera == MediaSource("camera", "0", "camera0")
    assert (file.kind, file.path) == ("image", Path("1"))
    assert (stream.kind, stream.path, stream.name) == ("camera", None, "cam_local_live")


def test_all_missing_files_are_reported_together(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManyErrors) as caught:
        find_sources([str(tmp_path / "a.png"), str(tmp_path / "empty")])
    assert [error.problem for error in caught.value.errors] == ["does not exist", "contains no image and no video"]


def test_a_video_gives_its_frames_in_order(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    (source,) = find_sources([str(path)])
    with open_video(source) as video:
        assert (video.fps, video.count) == (10.0, 5)
        frames = list(video.frames)
    assert [frame.number for frame in frames] == [0, 1, 2, 3, 4]
    levels = [float(frame.pixels.mean()) for frame in frames]
    assert levels == pytest.approx([0, 40, 80, 120, 160], abs=4)


def test_a_broken_video_is_an_image_error(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"no video")
    with pytest.raises(ImageError, match="contains no frame"), open_video(MediaSource("video", str(path), "a.mp4")):
        pass


class NoCamera:
    """A `cv2.VideoCapture` of a camera that is not plugged in."""

    def __init__(self, address: int | str, *_: object) -> None:
        self.address = address

    def isOpened(self) -> bool:
        return False

    def release(self) -> None:
        pass


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("0", "camera 0 does not exist"),
        ("http://10.0.0.1/x", "'http://10.0.0.1/x' delivers no image"),
        ("rtsp://me:secret@10.0.0.1/x@y", "'rtsp://10.0.0.1/x@y' delivers no image"),
    ],
)
def test_a_missing_camera_is_an_error(monkeypatch: pytest.MonkeyPatch, address: str, problem: str) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", NoCamera)
    with pytest.raises(VocdetError, match=problem) as caught, open_video(MediaSource("camera", address, "x")):
        pass
    assert caught.value.hint


def test_a_camera_without_a_frame_rate_gets_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Camera(NoCamera):
        def isOpened(self) -> bool:
            return True

        def read(self) -> tuple[bool, np.ndarray]:
            return True, np.zeros((4, 4, 3), np.uint8)

        def get(self, what: int) -> float:
            return float("nan")

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    with open_video(MediaSource("camera", "0", "camera0")) as video:
        assert (video.fps, video.count) == (FPS, 0)
        assert next(video.frames).number == 0
        assert next(video.frames).number == 1


def test_opencv_speaks_again_after_it_was_quiet() -> None:
    before = cv2.utils.logging.getLogLevel()
    with quiet():
        assert cv2.utils.logging.getLogLevel() == cv2.utils.logging.LOG_LEVEL_SILENT
    assert cv2.utils.logging.getLogLevel() == before


def test_batches_hold_every_frame_once(tmp_path: Path) -> None:
    with open_video(MediaSource("video", str(film(tmp_path / "a.mp4")), "a.mp4")) as video:
        sizes = [[frame.number for frame in batch] for batch in batches(video.frames, 2)]
    assert sizes == [[0, 1], [2, 3], [4]]


def test_linked_folders_are_searched_once_and_never_upwards(tmp_path: Path) -> None:
    picture(tmp_path / "disk" / "a.png")
    picture(tmp_path / "in" / "b.png")
    picture(tmp_path / "c.png")
    for name, target in (("one", "disk"), ("two", "disk"), ("up", "."), ("self", "in")):
        (tmp_path / "in" / name).symlink_to(tmp_path / target)
    (tmp_path / "disk" / "back").symlink_to(tmp_path / "in")
    assert [source.name for source in find_sources([str(tmp_path / "in")])] == ["b.png", "one/a.png"]


def test_what_is_passed_over_is_named_with_the_reason(tmp_path: Path) -> None:
    for name in ("a.png", "b.psd", "noext", "c.txt", "c.xml", ".hidden", "found/a.jpg"):
        picture(tmp_path / "in" / name) if name.endswith((".png", ".jpg")) else (tmp_path / "in" / name).touch()
    write_marker(tmp_path / "in" / "found", "predictions")
    os.mkfifo(tmp_path / "in" / "pipe.jpg")
    (tmp_path / "in" / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "in" / "up").symlink_to(tmp_path)
    passed = {path.name: why for path, why in skipped_files([str(tmp_path / "in"), str(tmp_path / "x.png")])}
    assert passed == {
        "b.psd": ".psd files are not read",
        "noext": "the name has no suffix",
        "found": "output of vocdet or Ultralytics",
        "gone.jpg": "a link to nothing, or to itself",
        "pipe.jpg": "neither a file nor a folder",
        "up": "a link that leads back",
    }
    assert [source.name for source in find_sources([str(tmp_path / "in")])] == ["a.png"]


def test_a_folder_without_images_names_what_it_has(tmp_path: Path) -> None:
    for name in ("a.psd", "b.psd", "notes.txt"):
        (tmp_path / name).touch()
    with pytest.raises(VocdetError) as caught:
        find_sources([str(tmp_path)])
    assert "it has a.psd (.psd files are not read), b.psd (.psd files are not read); supported files: " in str(
        caught.value.hint
    )


def test_a_pattern_names_files_in_natural_order_but_no_others(tmp_path: Path) -> None:
    for name in ("10.png", "2.png", "deep/1.png", "a.txt", "out/9.png", ".3.png", "[x].png"):
        picture(tmp_path / name) if name.endswith("png") else (tmp_path / name).touch()
    found = [source.name for source in find_sources([str(tmp_path / "*")])]
    assert found == ["2.png", "10.png", "[x].png"]
    deep = find_sources([str(tmp_path / "**" / "*.png")], skip=tmp_path / "out")
    assert [source.name for source in deep] == ["2.png", "10.png", "[x].png", "1.png"]
    assert [source.name for source in find_sources([str(tmp_path / "[x].png")])] == ["[x].png"]  # a file of this name
    with pytest.raises(ArgumentError, match="no image and no video matches"):
        find_sources([str(tmp_path / "*.bmp")])


def test_a_list_of_files_under_the_name_of_a_video_is_not_opened(tmp_path: Path) -> None:
    film(tmp_path / "secret.mp4")
    (tmp_path / "clip.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    with quiet():
        assert cv2.VideoCapture(str(tmp_path / "clip.mp4")).isOpened()  # FFmpeg would follow it
    with (
        pytest.raises(ImageError, match="contains no frame"),
        open_video(MediaSource("video", str(tmp_path / "clip.mp4"), "clip.mp4")),
    ):
        pass


@pytest.mark.parametrize("name", ["a.mp4#t=1054.jpg", "%02d.mp4", "concat:b|c.avi", "a [b] 100%.mp4"])
def test_names_that_tools_take_for_instructions_are_names(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    picture(tmp_path / name / "a.png")
    clip = film(tmp_path / "clip.avi" if name.endswith("avi") else tmp_path / "clip.mp4")
    clip.rename(tmp_path / name / name.replace("jpg", "mp4"))
    image, video = sorted(find_sources([str(tmp_path)]), key=lambda source: source.kind)
    assert decode(Path(image.address)).shape == (30, 40, 3)
    with open_video(video) as opened:
        assert sum(1 for _ in opened.frames) == 5
