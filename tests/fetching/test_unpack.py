"""Archives that are well, cut, swollen or hostile."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from vocdet.errors import DownloadError, OutputError
from vocdet.fetching.unpack import UnpackedFile, place, unpack

MOST = 10_000
Tree = dict[str, bytes]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "inner" / "folder"
    made.mkdir(parents=True)
    return made


def make_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def tar_of(path: Path, tree: Tree) -> Path:
    return make_tar(path, *((tarfile.TarInfo(name), data) for name, data in tree.items()))


def zip_of(path: Path, tree: Tree) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in tree.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return path


def tree_of(folder: Path) -> Tree:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(archive: Path, folder: Path) -> str:
    """Why an archive is refused, with nothing written anywhere."""
    before = sorted(folder.parents[1].rglob("*"))
    with pytest.raises(DownloadError) as caught:
        unpack(archive, folder, most=MOST)
    assert sorted(folder.parents[1].rglob("*")) == before
    assert str(caught.value).startswith(f"{archive}: ")
    return caught.value.problem


@pytest.mark.parametrize(("make", "suffix"), [(tar_of, "tar"), (zip_of, "zip")])
def test_files_come_out_as_they_went_in(
    tmp_path: Path, folder: Path, make: Callable[[Path, Tree], Path], suffix: str
) -> None:
    tree = {"VOC/a b.txt": b"a", "VOC/größe/b.jpg": b"b" * 3000, "./c": b""}
    progress: list[tuple[int, int]] = []
    archive = make(tmp_path / f"x.{suffix}", tree)
    files = unpack(archive, folder, most=MOST, progress=lambda *at: progress.append(at))
    assert files == (UnpackedFile("VOC/a b.txt", 1), UnpackedFile("VOC/größe/b.jpg", 3000), UnpackedFile("c", 0))
    assert tree_of(folder) == {"VOC/a b.txt": b"a", "VOC/größe/b.jpg": b"b" * 3000, "c": b""}
    assert progress == [(1, 3001), (3001, 3001)]


def test_folders_in_an_archive_are_not_files(tmp_path: Path, folder: Path) -> None:
    top = tarfile.TarInfo("VOC")
    top.type = tarfile.DIRTYPE
    make_tar(tmp_path / "x.tar", (top, b""), (tarfile.TarInfo("VOC/a"), b"a"))
    assert unpack(tmp_path / "x.tar", folder, most=MOST) == (UnpackedFile("VOC/a", 1),)


HOSTILE = [
    ("/etc/x", "an absolute name"),
    ("C:/x", "an absolute name"),
    ("c:x", "an absolute name"),
    ("../x", "leads out"),
    ("a/../../x", "leads out"),
    ("a/..", "leads out"),
    ("a\\..\\..\\x", "not portable"),
    ("a.txt:stream", "not portable"),
    ("a\nb", "not portable"),
    ("a\x1b[2Jb", "not portable"),
]


@pytest.mark.parametrize(("name", "why"), HOSTILE)
@pytest.mark.parametrize(("make", "suffix"), [(tar_of, "tar"), (zip_of, "zip")])
def test_names_that_lead_elsewhere_are_refused_before_anything_is_written(
    tmp_path: Path, folder: Path, make: Callable[[Path, Tree], Path], suffix: str, name: str, why: str
) -> None:
    assert why in refused(make(tmp_path / f"x.{suffix}", {"fine": b"a", name: b"b"}), folder)


def test_a_name_of_dots_is_refused(tmp_path: Path, folder: Path) -> None:
    assert "an empty name" in refused(tar_of(tmp_path / "x.tar", {"./.": b"a"}), folder)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a device"),
    ],
)
def test_a_tar_may_contain_only_files_and_folders(tmp_path: Path, folder: Path, kind: bytes, why: str) -> None:
    info = tarfile.TarInfo("odd")
    info.type, info.linkname = kind, "fine"
    archive = make_tar(tmp_path / "x.tar", (tarfile.TarInfo("fine"), b"a"), (info, b""))
    assert f"'odd', which is {why}" in refused(archive, folder)


@pytest.mark.parametrize(("kind", "why"), [(stat.S_IFLNK, "a link"), (stat.S_IFCHR, "a device")])
def test_a_zip_may_contain_only_files_and_folders(tmp_path: Path, folder: Path, kind: int, why: str) -> None:
    info = zipfile.ZipInfo("odd")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(info, "../../etc/passwd")
    assert f"'odd', which is {why}" in refused(tmp_path / "x.zip", folder)


def test_an_encrypted_zip_is_refused(tmp_path: Path, folder: Path) -> None:
    archive = zip_of(tmp_path / "x.zip", {"a": b"a"})
    data = bytearray(archive.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flags of the central directory
    archive.write_bytes(data)
    assert "'a', which is encrypted" in refused(archive, folder)


def test_a_duplicate_name_is_refused(tmp_path: Path, folder: Path) -> None:
    archive = make_tar(tmp_path / "x.tar", (tarfile.TarInfo("a/b"), b"1"), (tarfile.TarInfo("a//b"), b"2"))
    assert "a duplicate" in refused(archive, folder)


def test_a_file_cannot_also_be_a_folder(tmp_path: Path, folder: Path) -> None:
    archive = tar_of(tmp_path / "x.tar", {"a": b"1", "a/b": b"2"})
    assert "'a' both as a file and as a folder" in refused(archive, folder)


@pytest.mark.parametrize(("make", "suffix"), [(tar_of, "tar"), (zip_of, "zip")])
def test_more_than_is_expected_is_refused(
    tmp_path: Path, folder: Path, make: Callable[[Path, Tree], Path], suffix: str
) -> None:
    archive = make(tmp_path / f"x.{suffix}", {"a": bytes(MOST), "b": b"1"})
    assert "would unpack to 10.0 kB, more than the expected 10.0 kB" in refused(archive, folder)


def test_a_sparse_file_is_refused(tmp_path: Path, folder: Path) -> None:
    info = tarfile.TarInfo("a")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9999"}
    map_of_holes = b"1\n0\n1\n".ljust(512, b"\0") + b"x"
    archive = tmp_path / "x.tar"
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        info.size = len(map_of_holes)
        tar.addfile(info, io.BytesIO(map_of_holes))
    assert "not a regular file" in refused(archive, folder)


@pytest.mark.parametrize(("make", "suffix"), [(tar_of, "tar"), (zip_of, "zip")])
def test_a_truncated_archive_is_an_error(
    tmp_path: Path, folder: Path, make: Callable[[Path, Tree], Path], suffix: str
) -> None:
    archive = make(tmp_path / f"x.{suffix}", {"a": b"1" * 9000})
    archive.write_bytes(archive.read_bytes()[: 4000 if suffix == "tar" else -5])
    assert "cannot be unpacked" in refused(archive, folder)


def test_damage_within_a_zip_is_an_error(tmp_path: Path, folder: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a", b"1" * 100)
    data = (tmp_path / "x.zip").read_bytes()
    (tmp_path / "x.zip").write_bytes(data.replace(b"1" * 100, b"1" * 99 + b"2"))
    with pytest.raises(DownloadError, match="bad crc-32 for file 'a'"):
        unpack(tmp_path / "x.zip", folder, most=MOST)


@pytest.mark.parametrize("suffix", ["tar", "zip"])
@pytest.mark.parametrize("data", [b"", b"<html>sorry</html>" * 100])
def test_another_kind_of_file_is_an_error(tmp_path: Path, folder: Path, suffix: str, data: bytes) -> None:
    (tmp_path / f"x.{suffix}").write_bytes(data)
    assert "cannot be unpacked" in refused(tmp_path / f"x.{suffix}", folder)


def test_an_empty_archive_is_an_error(tmp_path: Path, folder: Path) -> None:
    assert "holds no files" in refused(zip_of(tmp_path / "x.zip", {}), folder)


def write(folder: Path, tree: Tree) -> Path:
    for name, data in tree.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_a_new_folder_appears_at_once(tmp_path: Path) -> None:
    staged = write(tmp_path / "staged", {"VOC/a": b"a", "VOC/deep/b": b"b"})
    inode = (staged / "VOC").stat().st_ino
    target = write(tmp_path / "target", {"mine": b"m"})
    place(staged, target)
    assert tree_of(target) == {"mine": b"m", "VOC/a": b"a", "VOC/deep/b": b"b"}
    assert (target / "VOC").stat().st_ino == inode  # it was renamed, not copied file by file


def test_files_are_added_to_an_existing_folder(tmp_path: Path) -> None:
    staged = write(tmp_path / "staged", {"VOC/a": b"a", "VOC/deep/b": b"b", "VOC/new/c": b"c"})
    target = write(tmp_path / "target", {"VOC/a": b"a", "VOC/deep/mine": b"m"})
    place(staged, target)
    assert tree_of(target) == {"VOC/a": b"a", "VOC/deep/b": b"b", "VOC/deep/mine": b"m", "VOC/new/c": b"c"}


@pytest.mark.parametrize("mine", ["VOC/deep/b", "VOC/deep", "VOC/a/b"])
def test_nothing_is_changed_if_a_different_file_exists(tmp_path: Path, mine: str) -> None:
    staged = write(tmp_path / "staged", {"VOC/a": b"a", "VOC/deep/b": b"b"})
    target = write(tmp_path / "target", {mine: b"m"})
    with pytest.raises(DownloadError, match="from the archive") as caught:
        place(staged, target)
    assert tree_of(target) == {mine: b"m"}
    assert "nothing was changed" in caught.value.hint


def test_added_files_are_removed_if_others_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staged = write(tmp_path / "staged", {"VOC/a": b"a", "VOC/b": b"b", "VOC/ImageSets/train.txt": b"a"})
    target = write(tmp_path / "target", {"VOC/mine": b"m"})
    real = Path.rename

    def full(self: Path, to: Path) -> Path:
        if self.name == "ImageSets":  # it comes last
            raise OSError(28, "No space left on device")
        return real(self, to)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OutputError, match="no space left on device"):
        place(staged, target)
    assert tree_of(target) == {"VOC/mine": b"m"}


def test_nothing_is_placed_through_a_link(tmp_path: Path) -> None:
    staged, target, store = tmp_path / "staged", tmp_path / "target", tmp_path / "store"
    (staged / "JPEGImages").mkdir(parents=True)
    (staged / "JPEGImages" / "a.jpg").write_bytes(b"new")
    target.mkdir()
    store.mkdir()
    (target / "JPEGImages").symlink_to(store)
    with pytest.raises(DownloadError, match="is a link: nothing is written through it"):
        place(staged, target)
    assert list(store.iterdir()) == []
    (store / "a.jpg").write_bytes(b"new")  # all of it is there already
    place(staged, target)
