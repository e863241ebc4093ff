"""What `predict` leaves in its folder: a dataset to correct, and every file that a user has touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vocdet.data.detections import Detections
from vocdet.data.levels import Levels
from vocdet.errors import ManyErrors, OutputError, VocdetError
from vocdet.formats import registry
from vocdet.formats.scan import Source
from vocdet.inference.output import writing_video
from vocdet.outputs import MARKER, read_marker
from vocdet.workflows.check import check_dataset
from vocdet.workflows.detector import DetectorOptions
from vocdet.workflows.live import live
from vocdet.workflows.predict import predict
from vocdet.workflows.split import split_dataset


class FindsTheMiddle:
    labels = ("big",)
    levels: Levels | None = None
    thresholds = np.array([0.5], np.float32)

    def __init__(self, shift: float = 0.0) -> None:
        self.shift = shift

    def detect(self, images: Sequence[NDArray[np.uint8]], *, score: float = 0.0) -> list[Detections]:
        box = np.array([[10 + self.shift, 10, 40, 30]])
        return [Detections(box, np.array([0.9], np.float32), np.array([0])) for _ in images]


def picture(path: Path, level: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(level).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def files(folder: Path) -> list[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if not name.endswith(MARKER))


def kept(out: Path) -> tuple[str, ...]:
    marker = read_marker(out)
    assert marker is not None
    return marker.kept


def test_a_frame_never_takes_the_label_file_of_an_image(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "Clip_1.png")
    with writing_video(tmp_path / "in" / "clip.avi", 10) as write:
        for _ in range(3):
            write(np.zeros((48, 64, 3), np.uint8))
    list(predict(FindsTheMiddle(), [str(tmp_path / "in")], out=tmp_path / "out", also=["yolo"]))
    names = sorted(path.name for path in (tmp_path / "out" / "labels").iterdir())
    assert names == ["Clip_1.txt", "clip_0.txt", "clip_1_frame.txt", "clip_2.txt"]


def test_all_results_of_a_video_that_cannot_be_read_any_more_stay(tmp_path: Path) -> None:
    clip = tmp_path / "in" / "clip.avi"
    picture(tmp_path / "in" / "a.png")
    with writing_video(clip, 10) as write:
        write(np.zeros((48, 64, 3), np.uint8))
    list(predict(FindsTheMiddle(), [str(tmp_path / "in")], out=tmp_path / "out", also=["yolo"]))
    clip.write_bytes(b"broken")
    with pytest.raises(VocdetError, match="contains no frame"):
        list(predict(FindsTheMiddle(), [str(tmp_path / "in")], out=tmp_path / "out", also=["yolo"]))
    assert {"clip.mp4", "labels/clip_0.txt", "labels/a.txt"} <= set(files(tmp_path / "out"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for i, name in enumerate(("a.jpg", "b.png", "deep/a.jpg")):
        picture(tmp_path / "photos" / name, i)
    return tmp_path / "photos"


def test_a_voc_result_is_a_dataset_of_the_images_themselves(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    list(predict(FindsTheMiddle(), [str(photos)], out=out, also=["voc"]))
    assert files(out) == [
        "Annotations/a.xml", "Annotations/b.xml", "Annotations/deep_a.xml",
        "JPEGImages/a.jpg", "JPEGImages/b.png", "JPEGImages/deep_a.jpg",
        "detections.json", "drawings/a.jpg", "drawings/b.jpg", "drawings/deep_a.jpg", "labels.txt",
    ]  # fmt: skip
    assert (out / "JPEGImages" / "deep_a.jpg").read_bytes() == (photos / "deep" / "a.jpg").read_bytes()
    report = check_dataset(Source(out))
    assert report.errors == ()
    assert report.dataset.images.files == ("JPEGImages/a.jpg", "JPEGImages/b.png", "JPEGImages/deep_a.jpg")
    assert report.dataset.objects.box.tolist() == [[10, 10, 40, 30]] * 3


def test_an_image_that_is_a_link_is_in_the_result_as_a_file(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").symlink_to(photos / "a.jpg")
    list(predict(FindsTheMiddle(), [str(tmp_path / "in")], out=tmp_path / "found", also=["voc"]))
    placed = tmp_path / "found" / "JPEGImages" / "a.jpg"
    assert not placed.is_symlink()
    assert placed.read_bytes() == (photos / "a.jpg").read_bytes()


def test_the_result_inside_a_dataset_is_not_a_part_of_it(photos: Path) -> None:
    for name in ("a", "b"):
        (photos / f"{name}.txt").write_text("0 .5 .5 .2 .2\n")
    (photos / "classes.txt").write_text("big\n")
    before = registry.scan(Source(photos)).dataset.images.files
    for voc in (False, True):
        list(
            predict(FindsTheMiddle(), [str(photos / "a.jpg")], out=photos / f"found{voc}", also=["voc"] if voc else [])
        )
    assert registry.scan(Source(photos)).dataset.images.files == before
    assert [source.source.name for source in predict(FindsTheMiddle(), [str(photos)], out=photos / "third")] == [
        "a.jpg",
        "b.png",
        "deep/a.jpg",
    ]


def test_corrected_annotations_stay(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    list(predict(FindsTheMiddle(), [str(photos)], out=out, also=["voc"]))
    corrected, added = out / "Annotations" / "a.xml", out / "Annotations" / "mine.xml"
    corrected.write_text(corrected.read_text().replace("big", "small"))
    added.write_text("<annotation/>")
    by_hand = [corrected.read_bytes(), added.read_bytes()]
    list(predict(FindsTheMiddle(shift=5), [str(photos)], out=out, also=["voc"]))
    assert [corrected.read_bytes(), added.read_bytes()] == by_hand
    assert "<xmin>15</xmin>" in (out / "Annotations" / "b.xml").read_text()
    assert kept(out) == ("Annotations/a.xml",)
    list(predict(FindsTheMiddle(shift=5), [str(photos)], out=out, also=["voc"], force=True))
    assert "<xmin>15</xmin>" in corrected.read_text()
    assert added.read_bytes() == by_hand[1]
    assert kept(out) == ()


def test_an_annotation_that_vocdet_did_not_write_stays(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    list(predict(FindsTheMiddle(), [str(photos / "b.png")], out=out, also=["voc"]))
    mine = out / "Annotations" / "a.xml"
    mine.write_text("<annotation/>")
    list(predict(FindsTheMiddle(), [str(photos / "a.jpg")], out=out, also=["voc"]))
    assert mine.read_text() == "<annotation/>"
    assert kept(out) == ("Annotations/a.xml",)


def test_a_lost_marker_means_that_all_files_are_the_users(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    list(predict(FindsTheMiddle(), [str(photos)], out=out, also=["voc"]))
    (out / MARKER).unlink()
    before = {name: (out / name).read_bytes() for name in files(out) if name.endswith(".xml")}
    list(predict(FindsTheMiddle(shift=5), [str(photos)], out=out, also=["voc"]))
    assert {name: (out / name).read_bytes() for name in before} == before
    assert set(kept(out)) >= before.keys()


def test_results_of_earlier_images_go_but_corrected_ones(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    list(predict(FindsTheMiddle(), [str(photos)], out=out, also=["voc"]))
    corrected = out / "Annotations" / "b.xml"
    corrected.write_text(corrected.read_text().replace("big", "small"))
    other = picture(tmp_path / "other" / "c.jpg", 7)
    list(predict(FindsTheMiddle(), [str(other)], out=out, also=["voc"]))
    assert files(out) == [
        "Annotations/b.xml", "Annotations/c.xml", "JPEGImages/b.png", "JPEGImages/c.jpg",
        "detections.json", "drawings/c.jpg", "labels.txt",
    ]  # fmt: skip
    assert kept(out) == ("Annotations/b.xml",)
    assert check_dataset(Source(out)).errors == ()
    assert sorted(path.name for path in photos.rglob("*.*")) == ["a.jpg", "a.jpg", "b.png"]


def test_another_image_of_the_same_name_does_not_get_the_corrected_annotation(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    list(predict(FindsTheMiddle(), [str(photos / "a.jpg")], out=out, also=["voc"]))
    (out / "JPEGImages" / "a.jpg").unlink()
    mine = picture(out / "JPEGImages" / "a.jpg", 5).read_bytes()
    other = picture(tmp_path / "other" / "a.jpg", 9)
    before = (out / "Annotations" / "a.xml").read_bytes()
    list(predict(FindsTheMiddle(shift=5), [str(other)], out=out, also=["voc"]))
    assert (out / "JPEGImages" / "a.jpg").read_bytes() == mine
    assert (out / "Annotations" / "a.xml").read_bytes() == before
    assert "JPEGImages/a.jpg" in kept(out)


def test_an_interrupted_result_deletes_nothing(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    list(predict(FindsTheMiddle(), [str(photos)], out=out, also=["voc"]))
    before = files(out)
    seen = predict(
        FindsTheMiddle(),
        [str(photos / "a.jpg"), str(photos / "b.png")],
        out=out,
        also=["voc"],
        options=DetectorOptions(batch=1),
    )
    next(seen)
    seen.close()
    assert files(out) == before
    list(predict(FindsTheMiddle(), [str(photos / "a.jpg")], out=out, also=["voc"]))
    assert [name for name in files(out) if name.endswith(".xml")] == ["Annotations/a.xml"]


def test_an_image_that_breaks_later_keeps_its_annotation(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    list(predict(FindsTheMiddle(), [str(photos)], out=out, also=["voc"]))
    (photos / "b.png").write_bytes(b"broken")
    with pytest.raises(VocdetError):
        list(predict(FindsTheMiddle(), [str(photos)], out=out, also=["voc"]))
    assert (out / "Annotations" / "b.xml").exists()


@pytest.mark.parametrize("name", ["detections.json", "labels.txt"])
def test_a_changed_list_is_not_replaced(photos: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "found"
    list(predict(FindsTheMiddle(), [str(photos)], out=out))
    (out / name).write_text("[]")
    with pytest.raises(OutputError, match="was changed since vocdet wrote it") as caught:
        next(predict(FindsTheMiddle(), [str(photos)], out=out))
    assert "`force=True`" in caught.value.hint
    assert (out / name).read_text() == "[]"
    assert len(list(predict(FindsTheMiddle(), [str(photos)], out=out, force=True))) == 3


def test_a_picture_of_the_user_among_the_drawings_stays(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    list(predict(FindsTheMiddle(), [str(photos / "b.png")], out=out))
    mine = picture(out / "a.jpg", 3).read_bytes()
    list(predict(FindsTheMiddle(), [str(photos)], out=out))
    assert (out / "a.jpg").read_bytes() == mine
    assert kept(out) == ("a.jpg",)


@pytest.mark.parametrize("name", ["Annotations", "JPEGImages", "drawings"])
def test_nothing_is_written_through_a_link_in_the_folder(photos: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "found"
    list(predict(FindsTheMiddle(), [str(photos)], out=out, also=["voc"]))
    (out / name).rename(tmp_path / "store")
    (out / name).symlink_to(tmp_path / "store")
    before = {path: path.read_bytes() for path in (tmp_path / "store").iterdir()}
    with pytest.raises(OutputError, match="is a link: nothing is written there"):
        list(predict(FindsTheMiddle(shift=5), [str(photos)], out=out, also=["voc"]))
    assert {path: path.read_bytes() for path in (tmp_path / "store").iterdir()} == before


def test_a_link_in_the_folder_is_replaced_and_not_what_it_points_to(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    list(predict(FindsTheMiddle(), [str(photos)], out=out, also=["voc"]))
    stored = tmp_path / "store.xml"
    (out / "Annotations" / "a.xml").rename(stored)
    (out / "Annotations" / "a.xml").symlink_to(stored)
    before = stored.read_bytes()
    list(predict(FindsTheMiddle(shift=5), [str(photos)], out=out, also=["voc"]))
    assert stored.read_bytes() == before
    assert "<xmin>15</xmin>" in (out / "Annotations" / "a.xml").read_text()


@pytest.mark.parametrize("voc", [False, True])
def test_a_picture_that_cannot_be_written_does_not_end_the_others(photos: Path, tmp_path: Path, voc: bool) -> None:
    out = tmp_path / "found"
    blocked = out / "drawings" / "a.jpg" if voc else out / "a.jpg"
    list(predict(FindsTheMiddle(), [str(photos / "b.png")], out=out, also=["voc"] if voc else []))
    (blocked / "full").mkdir(parents=True)
    list(predict(FindsTheMiddle(), [str(photos)], out=out, also=["voc"] if voc else []))
    assert (blocked / "full").is_dir()
    assert [name for name in kept(out) if name.endswith("a.jpg")] == [blocked.relative_to(out).as_posix()]
    with pytest.raises(OutputError):
        list(predict(FindsTheMiddle(), [str(photos)], out=out, also=["voc"] if voc else [], force=True))
    assert (out / "drawings" / "b.jpg" if voc else out / "b.jpg").is_file()
    assert (out / "drawings" / "deep_a.jpg" if voc else out / "deep_a.jpg").is_file()


def test_long_names_are_shortened(tmp_path: Path) -> None:
    folder = "x" * 120
    for name in ("1", "2"):
        picture(tmp_path / "in" / folder / folder / f"{name}.png")
    list(predict(FindsTheMiddle(), [str(tmp_path / "in")], out=tmp_path / "found", also=["voc"]))
    assert len(list((tmp_path / "found" / "Annotations").iterdir())) == 2
    assert check_dataset(Source(tmp_path / "found")).errors == ()


def test_a_folder_of_everything_gives_what_can_be_read(tmp_path: Path) -> None:
    root = tmp_path / "in"
    picture(root / "good.png")
    (root / "self.jpg").symlink_to("self.jpg")
    (root / "gone.jpg").symlink_to("nowhere.jpg")
    (root / "round").symlink_to(root)
    (root / "up").symlink_to(tmp_path)
    os.mkfifo(root / "pipe.jpg")
    (root / "device.png").symlink_to("/dev/zero")
    (root / "broken.jpg").write_bytes(b"broken")
    (root / "folder.jpg").mkdir()
    with pytest.raises(VocdetError, match="is not an image"):
        list(predict(FindsTheMiddle(), [str(root)], out=tmp_path / "found"))
    assert files(tmp_path / "found") == ["detections.json", "good.jpg", "labels.txt"]


@pytest.mark.parametrize("name", ["pipe.jpg", "self.jpg", "gone.jpg", "x" * 300])
def test_a_named_source_that_is_no_file_is_an_error(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(VocdetError, match=r"is neither a file nor a folder|is a link to nothing|does not exist"):
        next(predict(FindsTheMiddle(), [str(tmp_path / name)], out=tmp_path / "found"))
    assert not (tmp_path / "found").exists()


def test_a_corrected_result_can_be_split_and_moved(photos: Path, tmp_path: Path) -> None:
    list(predict(FindsTheMiddle(), [str(photos)], out=tmp_path / "found", also=["voc"]))
    shutil.move(tmp_path / "found", tmp_path / "mine")
    report = split_dataset(Source(tmp_path / "mine"))
    assert report is not None
    before = files(tmp_path / "mine")
    list(predict(FindsTheMiddle(), [str(photos)], out=tmp_path / "mine", also=["voc"]))
    assert files(tmp_path / "mine") == before


def test_live_never_replaces_a_video_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.workflows.test_predict import film

    monkeypatch.setattr("vocdet.workflows.live.no_screen", lambda: "there is no screen")
    source, save = film(tmp_path / "clip.mp4"), film(tmp_path / "mine.mp4")
    before = save.read_bytes()
    with pytest.raises(OutputError, match="exists, and vocdet did not write it") as caught:
        next(live(FindsTheMiddle(), str(source), save=save))
    assert "`force=True`" in caught.value.hint
    assert save.read_bytes() == before
    for _ in range(2):  # the second time it is its own
        assert len(list(live(FindsTheMiddle(), str(source), save=tmp_path / "new.mp4"))) == 5
    assert len(list(live(FindsTheMiddle(), str(source), save=save, force=True))) == 5


def test_several_failures_are_raised_together(photos: Path, tmp_path: Path) -> None:
    for name in ("c.jpg", "d.jpg"):
        (photos / name).write_bytes(b"broken")
    with pytest.raises(ManyErrors):
        list(predict(FindsTheMiddle(), [str(photos)], out=tmp_path / "found"))
