"""Output folders are recognized, and only those."""

from __future__ import annotations

from pathlib import Path

import pytest

from vocdet.outputs import (
    FILES_KIND,
    MARKER,
    Marker,
    digest_of,
    is_output_folder,
    mark_file,
    read_marker,
    write_marker,
    written_files,
)


def touch(root: Path, *files: str) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()


def test_a_marked_folder_is_output(tmp_path: Path) -> None:
    assert not is_output_folder(tmp_path)
    write_marker(tmp_path, "crops", {"b/c.jpg": "2", "a.jpg": "1"})
    assert is_output_folder(tmp_path)
    assert read_marker(tmp_path) == Marker("crops", {"a.jpg": "1", "b/c.jpg": "2"})


@pytest.mark.parametrize("content", [b"", b"[]", b'{"kind": 3}', b"\xff\xfe", b'{"kind": "run"'])
def test_a_damaged_marker_still_marks(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MARKER).write_bytes(content)
    assert read_marker(tmp_path) is None
    assert is_output_folder(tmp_path)


@pytest.mark.parametrize(
    "files",
    [
        ("run.json", "recipe.toml", "batches.png"),
        ("detections.json", "labels.txt", "a.jpg"),
        ("args.yaml", "results.csv"),
        ("args.yaml", "weights/best.pt"),
        ("opt.yaml", "hyp.yaml"),
    ],
)
def test_runs_and_results_are_recognized_without_a_marker(tmp_path: Path, files: tuple[str, ...]) -> None:
    touch(tmp_path, *files)
    assert is_output_folder(tmp_path)


@pytest.mark.parametrize(
    "files",
    [
        ("labels.txt", "a.jpg"),
        ("args.yaml", "a.jpg"),
        ("run.json", "a.jpg"),
        ("detections.json", "a.jpg"),
        ("weights/a.jpg",),
        ("results.csv", "images/a.jpg"),
    ],
)
def test_other_folders_are_not_output(tmp_path: Path, files: tuple[str, ...]) -> None:
    touch(tmp_path, *files)
    assert not is_output_folder(tmp_path)


def test_ultralytics_predictions_are_recognized_by_their_place(tmp_path: Path) -> None:
    touch(tmp_path, "runs/detect/predict/a.jpg", "runs/detect/predict2/a.jpg", "runs/train/exp1/a.jpg")
    assert is_output_folder(tmp_path / "runs" / "detect")
    assert not is_output_folder(tmp_path / "runs")
    assert not is_output_folder(tmp_path / "runs" / "train")  # may be the images of an experiment
    touch(tmp_path, "runs/train/exp/opt.yaml", "runs/train/exp/hyp.yaml")
    assert is_output_folder(tmp_path / "runs" / "train")
    touch(tmp_path, "runs/detect/mine/a.jpg")
    assert not is_output_folder(tmp_path / "runs" / "detect")


def test_a_written_picture_is_known_as_long_as_it_is_unchanged(tmp_path: Path) -> None:
    picture = tmp_path / "stats.png"
    picture.write_bytes(b"drawn")
    mark_file(picture)
    assert read_marker(tmp_path) == Marker(FILES_KIND, {"stats.png": digest_of(picture)})
    assert not is_output_folder(tmp_path)
    assert written_files(tmp_path, ["a.png", "stats.png"]) == {"stats.png"}
    picture.write_bytes(b"a photo of the same name")
    assert written_files(tmp_path, ["a.png", "stats.png"]) == frozenset()


def test_a_picture_in_an_output_folder_leaves_its_kind(tmp_path: Path) -> None:
    write_marker(tmp_path, "run")
    (tmp_path / "a.png").write_bytes(b"drawn")
    mark_file(tmp_path / "a.png")
    assert (read_marker(tmp_path) or Marker("")).kind == "run"
