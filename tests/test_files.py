from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from vocdet import files
from vocdet.errors import OutputError


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def full(_: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_appears_with_its_folders(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a" / "b" / "c.txt", "häh\n")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == "häh\n".encode()
    assert names(tmp_path / "a" / "b") == ["c.txt"]


def test_a_file_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a.txt", "")
    (tmp_path / "plain.txt").touch()
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_text(tmp_path / "a.txt", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="no space left on device") as caught:
        files.write_text(tmp_path / "a.txt", "new")
    assert caught.value.place is not None
    assert caught.value.place.path == tmp_path / "a.txt"
    assert caught.value.hint == "choose another folder, or free some space"
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), files.writing(tmp_path / "a.txt") as file:
        file.write(b"half")
        _ = 1 / 0
    assert names(tmp_path) == []


def test_a_folder_under_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        files.write_text(tmp_path / "a" / "b" / "c.txt", "")
    with pytest.raises(OutputError, match="cannot be written"):
        files.make_folder(tmp_path / "a" / "b")
