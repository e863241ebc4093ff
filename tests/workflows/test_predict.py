"""A detector at work on files and on a camera: what it writes, and that nothing it was given is harmed."""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vocdet.data.detections import Detections
from vocdet.data.levels import Levels
from vocdet.errors import ArgumentError, ImageError, ManyErrors, OutputError, VocdetError
from vocdet.inference.frames import Frame, MediaSource, Video, open_video
from vocdet.inference.output import writing_video
from vocdet.inference.tracking import Line, VideoOptions
from vocdet.inputs.images import decode
from vocdet.outputs import MARKER
from vocdet.workflows import live as watching
from vocdet.workflows import predict as workflow
from vocdet.workflows.detector import DetectorOptions
from vocdet.workflows.live import live
from vocdet.workflows.predict import choose_run, predict

RUN = Path("no/run/is/read")


class FindsTheMiddle:
    """A detector that finds a "big" thing in the middle of every picture, and a "faint" one it is not sure of."""

    labels = ("big", "faint")
    thresholds = np.array([0.5, 0.5], np.float32)
    levels: Levels | None = None

    def __init__(self) -> None:
        self.batches: list[int] = []

    def detect(self, images: Sequence[NDArray[np.uint8]], *, score: float = 0.0) -> list[Detections]:
        self.batches.append(len(images))
        return [self.middle(*image.shape[:2]) for image in images]

    def middle(self, height: int, width: int) -> Detections:
        box = np.array([width / 4, height / 4, 3 * width / 4, 3 * height / 4])
        return Detections(np.stack([box, box]), np.array([0.9, 0.2], np.float32), np.array([0, 1]))


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48), (90, 90, 90)).save(path)
    return path


def film(path: Path, frames: int = 5, size: tuple[int, int] = (64, 48)) -> Path:
    path.parent.mkdir(exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 12.5, size)
    for _ in range(frames):
        writer.write(np.full((size[1], size[0], 3), 90, np.uint8))
    writer.release()
    return path


def frames_in(path: Path) -> tuple[int, float]:
    """How many frames a video really holds, and how many it plays a second."""
    with open_video(MediaSource("video", str(path), path.name)) as video:
        return sum(1 for _ in video.frames), video.fps


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != MARKER)


def test_every_picture_is_drawn_and_listed(tmp_path: Path) -> None:
    pictures = [picture(tmp_path / "in" / name) for name in ("a.png", "b.JPG")]
    before = [path.read_bytes() for path in pictures]
    out = tmp_path / "out"
    seen = list(predict(FindsTheMiddle(), [str(tmp_path / "in")], out=out))
    assert [(one.source.name, one.done, one.total) for one in seen] == [("a.png", 1, 2), ("b.JPG", 2, 2)]
    assert names(out) == ["a.jpg", "b.jpg", "detections.json", "labels.txt"]
    assert (out / "labels.txt").read_text() == "big\nfaint\n"
    assert json.loads((out / "detections.json").read_text()) == [
        {"image_id": 1, "file_name": "a.png", "category_id": 1, "bbox": [16, 12, 32, 24], "score": 0.9},
        {"image_id": 2, "file_name": "b.JPG", "category_id": 1, "bbox": [16, 12, 32, 24], "score": 0.9},
    ]
    drawn = np.asarray(Image.open(out / "a.jpg"), np.int64)
    assert drawn.shape == (48, 64, 3)
    assert abs(drawn[20:28, 16] - 90).max() > 60  # the left side of the box
    assert abs(drawn[40:] - 90).max() < 20  # below it
    assert [path.read_bytes() for path in pictures] == before


def test_a_form_that_is_not_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="also has 'cvs'"):
        next(predict(FindsTheMiddle(), [str(picture(tmp_path / "a.png"))], out=tmp_path / "out", also=["cvs"]))  # type: ignore[list-item]


def test_pictures_are_drawn_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    Image.new("RGB", (64, 48), (90, 90, 90)).save(tmp_path / "a.jpg", exif=exif)
    (seen,) = predict(FindsTheMiddle(), [str(tmp_path / "a.jpg")], out=tmp_path / "out")
    assert decode(seen.drawing).shape == (64, 48, 3)
    assert seen.detections.boxes[0].tolist() == [12, 16, 36, 48]


def test_a_run_is_chosen_by_its_place_or_by_its_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "ssd-mb3-small-1"
    run.mkdir()
    (run / "best.safetensors").touch()
    monkeypatch.setattr(workflow, "_newest", lambda runs: runs / "newest")
    assert choose_run([str(run), "a.png"]) == (run, ["a.png"])
    assert choose_run(["some.safetensors", "a.png"]) == (Path("some.safetensors"), ["a.png"])
    assert choose_run(["a.png"], runs=tmp_path) == (tmp_path / "newest", ["a.png"])
    assert choose_run([], runs=tmp_path) == (tmp_path / "newest", [])


def test_a_score_takes_the_place_of_the_detectors_thresholds(tmp_path: Path) -> None:
    source = [str(picture(tmp_path / "a.png"))]
    counts = [
        len(
            next(
                predict(FindsTheMiddle(), source, out=tmp_path / str(score), options=DetectorOptions(score=score))
            ).detections
        )
        for score in (None, 0.1, 0.95)
    ]
    assert counts == [1, 2, 0]


def test_pictures_go_to_the_detector_in_batches(tmp_path: Path) -> None:
    for i in range(7):
        picture(tmp_path / "in" / f"{i}.png")
    detector = FindsTheMiddle()
    list(predict(detector, [str(tmp_path / "in")], out=tmp_path / "out", options=DetectorOptions(batch=3)))
    assert detector.batches == [3, 3, 1]


def test_names_that_clash_get_a_number(tmp_path: Path) -> None:
    given = [picture(tmp_path / name) for name in ("a.png", "a.bmp", "x/A.png", "in/deep/a.png", "in/deep_a.png")]
    sources = [str(path) for path in given[:3]] + [str(tmp_path / "in")]
    list(predict(FindsTheMiddle(), sources, out=tmp_path / "out"))
    pictures = [name for name in names(tmp_path / "out") if name.endswith(".jpg")]
    assert pictures == ["A_3.jpg", "a.jpg", "a_2.jpg", "deep_a.jpg", "deep_a_2.jpg"]


def test_a_file_given_twice_counts_once(tmp_path: Path) -> None:
    path = str(picture(tmp_path / "a.png"))
    assert len(list(predict(FindsTheMiddle(), [path, path], out=tmp_path / "out"))) == 1


def test_a_video_becomes_a_video(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.mp4")
    out = tmp_path / "out"
    seen = list(predict(FindsTheMiddle(), [str(path)], out=out, options=DetectorOptions(batch=2)))
    assert [(one.number, one.done, one.total) for one in seen] == [(i, i + 1, 5) for i in range(5)]
    assert names(out) == ["clip.mp4", "detections.json", "labels.txt"]
    assert frames_in(out / "clip.mp4") == (5, 12.5)
    entries = json.loads((out / "detections.json").read_text())
    assert [entry["file_name"] for entry in entries] == [f"clip.mp4#{i}" for i in range(5)]


def test_undecodable_files_are_reported_after_the_others(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "b.png")
    for name in ("a.png", "c.mp4"):
        (tmp_path / "in" / name).write_bytes(b"broken")
    with pytest.raises(ManyErrors) as caught:
        list(predict(FindsTheMiddle(), [str(tmp_path / "in")], out=tmp_path / "out"))
    assert all(isinstance(error, ImageError) for error in caught.value.errors)
    assert [error.place.path.name for error in caught.value.errors if error.place] == ["a.png", "c.mp4"]
    assert names(tmp_path / "out") == ["b.jpg", "detections.json", "labels.txt"]


def test_a_picture_too_large_to_draw_does_not_keep_the_others_from_being_drawn(tmp_path: Path) -> None:
    Image.new("L", (66000, 1)).save(tmp_path / "a.png")
    sources = [str(tmp_path / "a.png"), str(picture(tmp_path / "b.png"))]
    with pytest.raises(ImageError, match="has more than 65500 pixels on a side"):
        list(predict(FindsTheMiddle(), sources, out=tmp_path / "out"))
    assert names(tmp_path / "out") == ["b.jpg", "detections.json", "labels.txt"]


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text here")
def test_the_readable_part_of_an_invalid_name_is_listed(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"gr\xfcn.png")
    picture(path)
    assert len(list(predict(FindsTheMiddle(), [str(path)], out=tmp_path / "out"))) == 1
    (entry,) = json.loads((tmp_path / "out" / "detections.json").read_text(encoding="utf-8"))
    assert entry["file_name"] == "gr\ufffdn.png"


def test_where_nothing_could_be_done_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"broken")
    with pytest.raises(ImageError):
        list(predict(FindsTheMiddle(), [str(tmp_path / "a.png")], out=tmp_path / "out"))
    assert names(tmp_path) == ["a.png"]


def test_a_disk_that_fills_up_leaves_a_folder_that_can_be_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        picture(tmp_path / "in" / f"{i}.png")
    out, sources = tmp_path / "out", [str(tmp_path / "in")]

    def full(_: int) -> None:
        if (out / "0.jpg").exists():
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="no space left on device"):
            list(predict(FindsTheMiddle(), sources, out=out, options=DetectorOptions(batch=1)))
    assert names(out) == ["0.jpg", "detections.json"]
    assert len(list(predict(FindsTheMiddle(), sources, out=out))) == 3


def test_stopping_leaves_a_whole_video_and_a_list_that_matches_it(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.mp4", frames=9)
    seen = predict(FindsTheMiddle(), [str(path)], out=tmp_path / "out", options=DetectorOptions(batch=2))
    for _ in range(4):
        next(seen)
    with pytest.raises(KeyboardInterrupt):
        seen.throw(KeyboardInterrupt)
    written, fps = frames_in(tmp_path / "out" / "clip.mp4")
    assert (written >= 4, fps) == (True, 12.5)
    assert len(json.loads((tmp_path / "out" / "detections.json").read_text())) == written
    assert names(tmp_path / "out") == ["clip.mp4", "detections.json", "labels.txt"]


def test_results_never_go_over_other_files(tmp_path: Path) -> None:
    path = picture(tmp_path / "photos" / "a.jpg")
    before = path.read_bytes()
    with pytest.raises(OutputError, match="contains other files"):
        next(predict(FindsTheMiddle(), [str(path)], out=path.parent))
    with pytest.raises(OutputError, match="is a file, not a folder"):
        next(predict(FindsTheMiddle(), [str(path)], out=path))
    assert names(path.parent) == ["a.jpg"]
    assert path.read_bytes() == before


def test_earlier_results_are_replaced_but_not_looked_at(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    out = tmp_path / "in" / "out"
    for _ in range(2):
        assert len(list(predict(FindsTheMiddle(), [str(tmp_path / "in")], out=out))) == 1
    with pytest.raises(VocdetError, match="is in the output folder"):
        next(predict(FindsTheMiddle(), [str(out)], out=out))


def test_a_stream_ends_after_the_requested_frames(
    tmp_path: Path, serving: Callable[[Any], AbstractContextManager[str]]
) -> None:
    film(tmp_path / "web" / "clip.mp4", frames=5)
    with serving(tmp_path / "web") as address:
        seen = list(
            predict(FindsTheMiddle(), [f"{address}/clip.mp4"], out=tmp_path / "out", videos=VideoOptions(frames=3))
        )
    assert [(one.source.kind, one.number, one.total) for one in seen] == [("camera", i, 3) for i in range(3)]
    (drawn,) = (tmp_path / "out").glob("*.mp4")
    assert frames_in(drawn) == (3, 12.5)


def test_tables_and_label_files_are_written_on_request(tmp_path: Path) -> None:
    sources = [str(picture(tmp_path / "a.png")), str(film(tmp_path / "clip.mp4", frames=2))]
    out = tmp_path / "out"
    list(predict(FindsTheMiddle(), sources, out=out, also=["csv", "yolo"]))
    assert (out / "detections.csv").read_text().splitlines() == [
        "filename,width,height,class,xmin,ymin,xmax,ymax,score,id",
        "a.png,64,48,big,16.0,12.0,48.0,36.0,0.9,",
        "clip.mp4#0,64,48,big,16.0,12.0,48.0,36.0,0.9,",
        "clip.mp4#1,64,48,big,16.0,12.0,48.0,36.0,0.9,",
    ]
    assert names(out / "labels") == ["a.txt", "clip_0.txt", "clip_1.txt"]
    assert (out / "labels" / "a.txt").read_text() == "0 0.500000 0.500000 0.500000 0.500000 0.900000\n"
    list(predict(FindsTheMiddle(), sources[:1], out=out))
    assert names(out) == ["a.jpg", "detections.json", "labels.txt"]  # what is left of the earlier result is deleted


class Moves(FindsTheMiddle):
    """Sees one big thing that moves to the right by 3 pixels a frame."""

    def detect(self, images: Sequence[NDArray[np.uint8]], *, score: float = 0.0) -> list[Detections]:
        starts = [3 * (sum(self.batches) + i) for i in range(len(images))]
        self.batches.append(len(images))
        return [Detections(np.array([[x, 10, x + 12, 30]]), np.array([0.9], np.float32), np.array([0])) for x in starts]


def test_followed_objects_have_ids_and_crossings_are_listed(tmp_path: Path) -> None:
    pytest.importorskip("trackers", reason="the extra track is not installed")
    clip = film(tmp_path / "clip.mp4", frames=16)
    out, tracking = tmp_path / "out", VideoOptions(line=Line(0.5, 1, 0.5, 0))
    list(predict(Moves(), [str(clip)], out=out, also=["csv"], videos=tracking))
    assert (out / "crossings.csv").read_text().splitlines() == [
        "video,frame,seconds,id,label,direction", "clip.mp4,10,0.80,1,big,forward",
    ]  # fmt: skip
    entries = json.loads((out / "detections.json").read_text())
    assert [entry.get("track_id") for entry in entries][2:] == [1] * 14
    assert (out / "detections.csv").read_text().splitlines()[-1].endswith(",0.9,1")
    list(predict(Moves(), [str(clip)], out=out))
    assert names(out) == ["clip.mp4", "detections.json", "labels.txt"]


def test_what_is_left_of_an_incomplete_video_is_predicted_and_reported(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.avi", tmp_path / "cut.avi"
    with writing_video(whole, 12.5) as write:
        for _ in range(20):
            write(np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8))
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    done: list[int] = []
    with pytest.raises(ImageError, match=r"ends after \d+ of the 20 frames"):
        done.extend(one.number for one in predict(FindsTheMiddle(), [str(cut)], out=tmp_path / "out"))
    assert 5 < len(done) < 15
    assert frames_in(tmp_path / "out" / "cut.mp4")[0] == len(done)
    assert len(list(predict(FindsTheMiddle(), [str(cut)], out=tmp_path / "out", videos=VideoOptions(frames=3)))) == 3


@pytest.fixture
def no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "no_screen", lambda: "there is no screen")


@pytest.mark.usefixtures("no_screen")
def test_live_without_a_screen_writes_only(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.mp4")
    shown = list(live(FindsTheMiddle(), str(path), save=tmp_path / "out.mp4"))
    assert [one.number for one in shown] == [0, 1, 2, 3, 4]
    assert all(len(one.detections) == 1 and one.fps > 0 for one in shown)
    assert frames_in(tmp_path / "out.mp4") == (5, 12.5)


@pytest.mark.usefixtures("no_screen")
def test_live_without_screen_and_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(VocdetError, match="there is no screen") as caught:
        next(live(FindsTheMiddle(), str(film(tmp_path / "clip.mp4"))))
    assert '`save="out.mp4"`' in caught.value.hint


@pytest.mark.usefixtures("no_screen")
def test_live_ends_after_the_requested_frames(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.mp4")
    assert len(list(live(FindsTheMiddle(), str(path), save=tmp_path / "out.avi", videos=VideoOptions(frames=3)))) == 3
    assert frames_in(tmp_path / "out.avi")[0] == 3


@pytest.mark.usefixtures("no_screen")
def test_live_refuses_to_save_over_what_it_plays(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.mp4")
    with pytest.raises(OutputError, match="is the video itself"):
        next(live(FindsTheMiddle(), str(path), save=path))
    with pytest.raises(OutputError, match=r"'\.txt' file as video"):
        next(live(FindsTheMiddle(), str(path), save=tmp_path / "out.txt"))


@pytest.mark.usefixtures("no_screen")
def test_live_that_writes_nothing_leaves_the_file_that_of_the_user(tmp_path: Path) -> None:
    mine = film(tmp_path / "mine.mp4")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    for force in (True, False):
        with pytest.raises(VocdetError, match="contains no frame" if force else "vocdet did not write it"):
            next(live(FindsTheMiddle(), str(tmp_path / "broken.mp4"), save=mine, force=force))


def test_live_takes_no_pictures_and_no_folders(tmp_path: Path) -> None:
    with pytest.raises(VocdetError, match="is not a video"):
        next(live(FindsTheMiddle(), str(picture(tmp_path / "a.png"))))
    with pytest.raises(VocdetError, match="is a folder, not a camera"):
        next(live(FindsTheMiddle(), str(tmp_path)))


class Desktop:
    """Stands in for OpenCV's windows: the user presses q at the third picture."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, ...]] = []
        self.closed = False

    def open(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(watching, "no_screen", lambda: "")
        monkeypatch.setattr("vocdet.inference.output.no_screen", lambda: "")
        monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
        monkeypatch.setattr(cv2, "imshow", lambda _, pixels: self.shown.append(pixels.shape))
        monkeypatch.setattr(cv2, "waitKey", lambda _: ord("q") if len(self.shown) == 3 else -1)
        monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0)
        monkeypatch.setattr(cv2, "destroyAllWindows", lambda: setattr(self, "closed", True))


def test_live_shows_a_window_until_q_and_saves_what_it_showed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desktop = Desktop()
    desktop.open(monkeypatch)
    path = film(tmp_path / "clip.mp4")
    list(live(FindsTheMiddle(), str(path), save=tmp_path / "out.mp4"))
    assert desktop.shown == [(48, 64, 3)] * 3
    assert desktop.closed
    assert frames_in(tmp_path / "out.mp4") == (3, 12.5)


def test_live_is_never_behind_a_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detecting, all_read, seen = threading.Event(), threading.Event(), threading.Event()

    @contextmanager
    def open_camera(source: MediaSource) -> Iterator[Video]:
        def frames() -> Iterator[Frame]:
            for number in range(30):
                yield Frame(np.full((48, 64, 3), number, np.uint8), source, number)
                assert detecting.wait(10)
            all_read.set()
            assert seen.wait(10)

        yield Video(source, 25.0, 0, frames())

    class Slow(FindsTheMiddle):
        def detect(self, images: Sequence[NDArray[np.uint8]], *, score: float = 0.0) -> list[Detections]:
            detecting.set()
            assert all_read.wait(10)  # while the first frame is detected
            return super().detect(images)

    monkeypatch.setattr("vocdet.inference.camera.open_video", open_camera)
    monkeypatch.setattr(watching, "no_screen", lambda: "there is no screen")
    shown = live(Slow(), "rtsp://cam/live", save=tmp_path / "out.mp4")
    first, second = next(shown), next(shown)
    seen.set()
    shown.close()
    assert (first.number, second.number, second.dropped) == (0, 29, 28)
