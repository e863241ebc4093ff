from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocdet.formats.images.folders import listing, merged, walk
from vocdet.formats.images.lookup import (
    ImageIndex,
    find_images,
    safe_relative,
    split_suffix,
    splits_by_folder,
    unique_stems,
)


def touch(root: Path, *files: str) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a.jpg", "a.jpg"),
        ("train/a.jpg", "train/a.jpg"),
        ("train\\day 1\\a.jpg", "train/day 1/a.jpg"),
        ("./a.jpg", "a.jpg"),
        (".\\.\\train//a.jpg", "train/a.jpg"),
        ("..a..jpg", "..a..jpg"),
        ("größe 図.jpg", "größe 図.jpg"),
    ],
)
def test_a_name_that_stays_inside_is_relative_with_forward_slashes(text: str, path: str) -> None:
    name = safe_relative(text)
    assert (name.path, name.last, name.code) == (path, path.rpartition("/")[2], "")


@pytest.mark.parametrize(
    ("text", "code", "last"),
    [
        ("/etc/passwd", "path.absolute", "passwd"),
        ("C:\\pictures\\a.jpg", "path.absolute", "a.jpg"),
        ("c:a.jpg", "path.absolute", "a.jpg"),
        (".\\c:\\a.jpg", "path.absolute", "a.jpg"),
        ("\\\\server\\share\\a.jpg", "path.absolute", "a.jpg"),
        ("//server/share/a.jpg", "path.absolute", "a.jpg"),
        ("\\\\?\\C:\\a.jpg", "path.absolute", "a.jpg"),
        ("/", "path.absolute", ""),
        ("../a.jpg", "path.traversal", "a.jpg"),
        ("train\\..\\..\\a.jpg", "path.traversal", "a.jpg"),
        ("/tmp/../a.jpg", "path.traversal", "a.jpg"),
        ("..", "path.traversal", ""),
        ("a/..", "path.traversal", ""),
        ("a.jpg\0.txt", "path.name", ""),
        ("two\nlines.jpg", "path.name", ""),
        ("\udcff.jpg", "path.name", ""),
        ("", "path.empty", ""),
        ("   ", "path.empty", ""),
        ("./", "path.empty", ""),
    ],
)
def test_a_name_that_may_not_be_followed_says_why(text: str, code: str, last: str) -> None:
    name = safe_relative(text)
    assert (name.path, name.code, name.last) == ("", code, last)


@given(st.text(st.sampled_from("a.:/\\~ \n\0C"), max_size=12))
def test_no_name_leads_out_of_the_folder(text: str) -> None:
    name = safe_relative(text)
    for path in (name.path, name.last):
        joined = os.path.normpath(f"/data/set/{path}")
        assert joined == "/data/set" or joined.startswith("/data/set/")
    assert (name.path == "") == (name.code != "")


def test_images_are_found_by_path_and_by_stem(tmp_path: Path) -> None:
    touch(tmp_path, "images/train/a.jpg", "images/val/b.v2.PNG", "a.jpg", "labels/a.txt", "c")
    index = find_images(tmp_path)
    assert index.files == ("a.jpg", "images/train/a.jpg", "images/val/b.v2.PNG")
    assert index.exact("images/train/a.jpg") == "images/train/a.jpg"
    assert index.exact("train/a.jpg") is None
    assert index.by_stem("a") == ["a.jpg", "images/train/a.jpg"]
    assert index.by_stem("b.v2") == ["images/val/b.v2.PNG"]
    assert index.by_stem("b") == []
    assert index.ending_in("train/a.jpg") == ["images/train/a.jpg"]
    assert index.ending_in("rain/a.jpg") == []
    assert index.ending_in("a.jpg") == ["a.jpg", "images/train/a.jpg"]


def test_names_that_only_look_different_are_the_same_unless_one_is_exact(tmp_path: Path) -> None:
    files = ("A.JPG", unicodedata.normalize("NFD", "é.jpg"), "b.jpg", "B.jpg", "B.JPG")
    index = ImageIndex(tmp_path, files)
    assert index.exact("a.jpg") == "A.JPG"
    assert index.exact("é.jpg") == files[1]
    assert index.exact("B.jpg") == "B.jpg"
    assert index.exact("b.Jpg") is None  # three look like it
    assert index.by_stem("é") == [files[1]]
    assert index.by_stem("B") == ["B.jpg", "B.JPG"]
    assert index.ending_in("b.jpg") == ["b.jpg"]


def test_only_the_named_folders_are_searched(tmp_path: Path) -> None:
    touch(tmp_path, "one/a.jpg", "one/deep/b.jpg", "two/c.jpg")
    assert find_images(tmp_path, ["one"]).files == ("one/a.jpg", "one/deep/b.jpg")
    assert find_images(tmp_path, ["one", "one/deep/"]).files == ("one/a.jpg", "one/deep/b.jpg")


def test_files_of_file_managers_are_skipped(tmp_path: Path) -> None:
    touch(tmp_path, "._a.jpg", ".thumbnails/a.jpg", "__MACOSX/._a.jpg", "a.jpg")
    (tmp_path / "b.jpg").mkdir()
    os.mkfifo(tmp_path / "c.jpg")  # to open this one would wait for ever
    index = find_images(tmp_path)
    assert (index.files, index.findings) == (("a.jpg",), ())


@pytest.mark.parametrize("name", ["set/a.jpg", "set/deep"])
def test_a_link_that_leads_out_is_followed_and_counted(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "set/a.jpg", "set/deep/b.jpg")
    inside, outside = tmp_path / name, tmp_path / "outside"
    inside.rename(outside)
    inside.symlink_to(outside)
    index = find_images(tmp_path / "set")
    assert [(finding.code, finding.severity, finding.place.path) for finding in index.findings] == [
        ("path.linked", "warning", inside)
    ]
    assert index.files == ("a.jpg", "deep/b.jpg")


def test_a_named_folder_that_is_not_in_the_dataset_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "outside/a.jpg", "set/b.jpg")
    (tmp_path / "set" / "images").symlink_to(tmp_path / "outside")
    index = find_images(tmp_path / "set", ["images"])
    assert index.files == ("images/a.jpg",)
    assert [finding.code for finding in index.findings] == ["path.linked"]
    for folder in ("../outside", str(tmp_path / "outside"), "images/../../outside"):
        index = find_images(tmp_path / "set", [folder])
        assert index.files == ()
        assert [finding.code for finding in index.findings] == ["path.outside"]


def test_links_inside_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "data/a.jpg")
    (tmp_path / "images").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "up").symlink_to(tmp_path)  # a circle
    (tmp_path / "data" / "b.jpg").symlink_to("a.jpg")
    (tmp_path / "data" / "gone.jpg").symlink_to("nothing.jpg")
    index = find_images(tmp_path)
    assert index.files == ("data/a.jpg", "data/b.jpg", "images/a.jpg", "images/b.jpg")
    assert [(finding.code, finding.count, finding.problem.split(": ")[1]) for finding in index.findings] == [
        ("path.link", 4, "data/gone.jpg, data/up, images/gone.jpg and 1 more")
    ]


def test_links_behind_links_are_followed_once_and_never_round(tmp_path: Path) -> None:
    touch(tmp_path, "store/a.jpg", "more/b.jpg", "set/c.jpg")
    (tmp_path / "set" / "images").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "more").symlink_to(tmp_path / "more")
    (tmp_path / "more" / "back").symlink_to(tmp_path / "store")
    (tmp_path / "more" / "home").symlink_to(tmp_path / "set")
    (tmp_path / "more" / "all").symlink_to(tmp_path)
    files, findings = walk(tmp_path / "set")
    assert files == ["c.jpg", "images/a.jpg", "images/more/b.jpg"]
    assert {finding.code: finding.count for finding in findings} == {"path.linked": 2, "path.link": 3}


def test_folders_that_link_to_one_another_end(tmp_path: Path) -> None:
    for i in range(8):
        touch(tmp_path, f"{i}/a.jpg")
        for j in range(8):
            (tmp_path / str(i) / f"to{j}").symlink_to(tmp_path / str(j))
    files, _ = walk(tmp_path / "0")
    assert len(files) <= 8 * 8


@pytest.mark.parametrize("target", ["pipe", "/dev/zero", "/dev/null"])
def test_a_link_to_something_else_than_a_file_is_not_opened(tmp_path: Path, target: str) -> None:
    touch(tmp_path, "set/b.jpg")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "set" / "a.jpg").symlink_to(tmp_path / target)
    files, (finding,) = walk(tmp_path / "set")
    assert (files, finding.code, finding.severity) == (["b.jpg"], "path.link", "warning")
    assert finding.problem == "has a link that leads to no file or folder, or in a circle, passed over: a.jpg"


def test_links_in_several_folders_are_one_remark(tmp_path: Path) -> None:
    touch(tmp_path, "store/a.jpg", "store/b.jpg", "set/one/x", "set/two/x")
    for folder, name in (("one", "a"), ("one", "b"), ("two", "a")):
        (tmp_path / "set" / folder / f"{name}.jpg").symlink_to(tmp_path / "store" / f"{name}.jpg")
    found = [finding for folder in ("one", "two") for finding in walk(tmp_path / "set", [folder])[1]]
    (one,) = merged(found)
    assert (one.code, one.count) == ("path.linked", 3)
    assert one.problem == "is a link that leads out of the dataset, one of 3 that are followed"


def test_many_links_to_folders_do_not_multiply(tmp_path: Path) -> None:
    for level in range(12):
        touch(tmp_path, f"{level}/a.jpg")
        for name in ("x", "y", "z"):
            (tmp_path / str(level) / name).symlink_to(tmp_path / str(level + 1))
    files, _ = walk(tmp_path)
    assert len(files) == 12 + 11 * 3  # 3 ** 12 paths lead to the last one


def test_a_name_that_is_not_valid_text_is_refused(tmp_path: Path) -> None:
    for name in (b"gr\xf6\xdfe.jpg", b"two\nlines.jpg"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    index = find_images(tmp_path)
    assert index.files == ()
    assert sorted(finding.problem for finding in index.findings) == [
        r"holds a file whose name is not valid text: 'gr\udcf6\udcdfe.jpg'",
        r"holds a file whose name is not valid text: 'two\nlines.jpg'",
    ]


def test_a_folder_that_may_not_be_read_is_a_finding(tmp_path: Path) -> None:
    index = find_images(tmp_path, ["nowhere"])
    assert [str(finding.as_error()) for finding in index.findings] == [
        f"{tmp_path}/nowhere: cannot be read: no such file or directory (check its permissions)"
    ]


@pytest.mark.parametrize(
    ("file", "parts"),
    [
        ("a/b.v2.JPG", ("a/b.v2", ".jpg")),
        ("a.b/c", ("a.b/c", "")),
        (".hidden", (".hidden", "")),
        ("a/.jpg", ("a/.jpg", "")),
        ("a.", ("a.", "")),
        ("a..png", ("a.", ".png")),
    ],
)
def test_a_suffix_is_what_follows_the_last_dot_of_the_name(file: str, parts: tuple[str, str]) -> None:
    assert split_suffix(file) == parts


def test_stems_that_clash_are_named_by_their_folders() -> None:
    assert unique_stems(["a.jpg", "deep/b.jpg"]) == ["a", "b"]
    assert unique_stems(["val/1.jpg", "train/1.png", "x/2.jpg"]) == ["val/1", "train/1", "2"]
    assert unique_stems(["images/val/1.jpg", "images/train/1.png"]) == ["val/1", "train/1"]
    assert unique_stems(["a.jpg", "a.png", "a_2.jpg"]) == ["a", "a_3", "a_2"]


@given(st.lists(st.text(st.sampled_from("aA_2/."), min_size=1, max_size=6), max_size=12))
def test_no_two_stems_are_the_same(names: list[str]) -> None:
    assert len(set(unique_stems([f"{name}.jpg" for name in names]))) == len(names)


def test_folders_give_the_split_of_an_image() -> None:
    files = ["train/1.jpg", "valid/images/2.jpg", "images/test2017/3.jpg", "images/trained/4.jpg", "train.jpg"]
    assert splits_by_folder(files) == {"train": [files[0]], "val": [files[1]], "test": [files[2]]}


def test_a_listing_has_what_may_be_opened(tmp_path: Path) -> None:
    touch(tmp_path, "set/b", "set/a/x", "set/.hidden", "outside/y")
    (tmp_path / "set" / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "set" / "round").symlink_to(tmp_path)
    assert listing(tmp_path / "set") == (["a", "out"], ["b"])
    assert listing(tmp_path / "set", "a") == ([], ["x"])
    assert listing(tmp_path / "set", "out") == ([], ["y"])
    for folder in ("../outside", "gone", str(tmp_path / "outside")):
        assert listing(tmp_path / "set", folder) == ([], [])
