from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from vocdet import files
from vocdet.errors import AnnotationError, OutputError, Place


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def full(_: object) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_appears_with_its_folders(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a" / "b" / "c.txt", "häh\n")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == "häh\n".encode()
    assert names(tmp_path / "a" / "b") == ["c.txt"]


def test_a_file_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a.txt", "")
    (tmp_path / "plain.txt").touch()
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_file_that_is_replaced_keeps_its_rights(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch(0o640)
    (tmp_path / "a.txt").chmod(0o660)
    (tmp_path / "link.txt").symlink_to("a.txt")
    (tmp_path / "plain.txt").touch()
    for name in ("a.txt", "link.txt"):
        files.write_text(tmp_path / name, "new")
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o660
    assert (tmp_path / "link.txt").lstat().st_mode == (tmp_path / "plain.txt").stat().st_mode


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


def test_a_name_as_long_as_a_disk_allows_can_be_written(tmp_path: Path) -> None:
    name = "犬" * 83 + ".txt"  # 253 bytes
    files.write_text(tmp_path / name, "")
    with files.appearing(tmp_path / name[:-4]) as folder:
        (folder / "a").touch()
    assert sorted(names(tmp_path)) == sorted([name, name[:-4]])


def test_a_folder_appears_with_those_above_it_when_the_block_ends(tmp_path: Path) -> None:
    with files.appearing(tmp_path / "a" / "b") as folder:
        files.write_new(f"{folder}/c/d.txt", b"x" * 100_000, set())
        assert not (tmp_path / "a" / "b").exists()
    assert (tmp_path / "a" / "b" / "c" / "d.txt").read_bytes() == b"x" * 100_000
    assert names(tmp_path / "a") == ["b"]
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "a" / "b").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_end_before_time_leaves_no_folder(tmp_path: Path, kind: type[BaseException]) -> None:
    with pytest.raises(kind), files.appearing(tmp_path / "a" / "b") as folder:
        (folder / "c").touch()
        raise kind
    assert names(tmp_path) == []


def test_an_empty_folder_is_taken_and_stays_where_the_block_fails(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(ZeroDivisionError), files.appearing(tmp_path / "a"):
        _ = 1 / 0
    assert names(tmp_path) == ["a"]
    with files.appearing(tmp_path / "a") as folder:
        (folder / "c").touch()
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["c"]


def a_file(path: Path) -> None:
    path.write_text("mine")


def a_full_folder(path: Path) -> None:
    path.mkdir()
    (path / "mine").touch()


def a_link_to_an_empty_folder(path: Path) -> None:
    (path.parent / "empty").mkdir()
    path.symlink_to("empty")


def a_link_to_nowhere(path: Path) -> None:
    path.symlink_to("nowhere")


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    "make", [a_file, a_full_folder, a_link_to_an_empty_folder, a_link_to_nowhere, a_link_to_itself]
)
def test_what_is_there_already_is_not_touched(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a")
    before = sorted(names(tmp_path))
    with pytest.raises(OutputError) as caught, files.appearing(tmp_path / "a"):
        raise AssertionError
    assert str(caught.value) == f"{tmp_path / 'a'}: exists already (name a new folder, or delete this one)"
    assert sorted(names(tmp_path)) == before


def test_the_folder_one_is_in_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match=r"\.: is the current folder, which cannot be replaced"):
        files.check_new(Path())


def test_a_mount_point_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == tmp_path)
    with pytest.raises(OutputError, match="is a mount point, which cannot be replaced") as caught:
        files.check_new(tmp_path)
    assert caught.value.hint == "name a new folder in it"


def test_an_unreadable_folder_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "a").mkdir()
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(OutputError, match="cannot be written: permission denied"):
        files.check_new(tmp_path / "a")


def test_a_folder_above_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(OutputError, match="b: cannot be written: read-only file system"), files.appearing(
        tmp_path / "a" / "b"
    ):  # fmt: skip
        raise AssertionError
    assert names(tmp_path) == []


def test_a_disk_that_is_full_when_all_is_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_flush", full)
    with pytest.raises(OutputError, match="no space left on device") as caught, files.appearing(tmp_path / "a"):
        pass
    assert caught.value.hint == "choose another folder, or free some space"
    assert names(tmp_path) == []


def test_the_place_of_an_error_is_not_the_hidden_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught, files.appearing(tmp_path / "a") as folder:
        files.write_new(f"{folder}/b.txt", b"", set())
        files.write_new(f"{folder}/b.txt", b"", set())
    assert str(caught.value).startswith(f"{tmp_path}/a/b.txt: cannot be written: file exists")
    elsewhere = AnnotationError("x", place=Place(tmp_path / "c.xml", 3))
    with pytest.raises(AnnotationError) as other, files.appearing(tmp_path / "a"):
        raise elsewhere
    assert str(other.value) == f"{tmp_path}/c.xml:3: x"


def test_unfinished_folders_of_dead_processes_are_deleted(tmp_path: Path) -> None:
    left = tmp_path / ".a.x1_y2z3w.vocdet-unfinished"
    (left / "b").mkdir(parents=True)
    (left / "b" / "c").touch()
    others = [".a.2023.bak", ".a.x1_y2z3w", ".ab.x1_y2z3w.vocdet-unfinished", ".a.vocdet-unfinished.txt"]
    for name in others:
        (tmp_path / name).mkdir()
    with files.appearing(tmp_path / "a"):
        assert not left.exists()
    assert sorted(names(tmp_path)) == sorted([*others, "a"])


def test_a_link_with_such_a_name_is_not_an_unfinished_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "b").touch()
    (tmp_path / ".a.x1_y2z3w.vocdet-unfinished").symlink_to("mine")
    with files.appearing(tmp_path / "a"):
        pass
    assert names(tmp_path / "mine") == ["b"]


def test_what_another_process_is_writing_stays(tmp_path: Path) -> None:
    with files.appearing(tmp_path / "a") as first:
        (first / "b").touch()
        with pytest.raises(OutputError, match="stop"), files.appearing(tmp_path / "a"):
            raise OutputError("stop")
        assert (first / "b").exists()
    assert names(tmp_path / "a") == ["b"]


def test_of_two_that_write_the_same_folder_the_second_fails(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written: directory not empty"), files.appearing(
        tmp_path / "a"
    ) as first:  # fmt: skip
        (first / "slow").touch()
        with files.appearing(tmp_path / "a") as second:
            (second / "quick").touch()
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["quick"]


def test_a_disk_without_locks_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.ENOTSUP, "Not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    left = tmp_path / ".a.x1_y2z3w.vocdet-unfinished"
    left.mkdir()
    with files.appearing(tmp_path / "a") as folder:
        (folder / "b").touch()
    assert sorted(names(tmp_path)) == [left.name, "a"]  # nobody can say whether it is still being written


def test_what_a_killed_process_had_written_of_a_file_is_cleared(tmp_path: Path) -> None:
    left = tmp_path / ".a.bin.x7"
    for path in (left, tmp_path / "a.bin", tmp_path / ".a.bin", tmp_path / ".b.bin.x7"):
        path.write_bytes(b"half")
    files.delete_partial_files(tmp_path / "a.bin")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.bin", ".b.bin.x7", "a.bin"]


def test_a_file_is_read_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 1000)
    assert files.read_limited(path, 1000) == b"x" * 1000
    with pytest.raises(files.FileTooLargeError, match="larger than 0 MB"):
        files.read_limited(path, 999)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux has files of hidden size")
def test_a_file_that_hides_its_size_is_read(tmp_path: Path) -> None:
    assert files.read_limited("/proc/self/status", 1 << 20).startswith(b"Name:")
    with pytest.raises(files.FileTooLargeError):
        files.read_limited("/proc/self/status", 10)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match=r"(?i)is a directory|not a regular file"):
            files.read_limited(path, 1000)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("x" * 300, "choose a shorter name"),
        ("file/a.txt", "choose another folder: a part of the path is a file"),
        ("folder", "choose another name: this is a folder"),
    ],
)
def test_the_hint_for_a_file_that_cannot_be_written_fits_the_reason(tmp_path: Path, name: str, hint: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError) as caught:
        files.write_bytes(tmp_path / name, b"")
    assert caught.value.hint == hint


def test_a_file_that_can_be_written_passes_the_check_and_nothing_is_created(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    for path in ("old", "new", "new/folder/file"):
        files.check_writable(tmp_path / path)
        files.check_writable((tmp_path / path).parent, inside=True)
    assert names(tmp_path) == ["old"]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("folder", "is a directory"),
        ("file/a", "not a directory"),
        ("file/a/b", "not a directory"),
        ("a" * 300, "file name too long"),
    ],
)
def test_a_path_that_no_file_can_have_fails_the_check(tmp_path: Path, path: str, problem: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=f"cannot be written: {problem}") as caught:
        files.check_writable(tmp_path / path)
    assert caught.value.place is not None
    assert caught.value.place.path == tmp_path / path
