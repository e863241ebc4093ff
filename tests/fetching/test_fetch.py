"""Datasets fetched from a server of our own: small ones, in the form of the real ones."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vocdet.errors import ArgumentError, OutputError
from vocdet.fetching.catalog import COLLECTIONS, Archive, Collection, FileCount, SplitCount, TextCount
from vocdet.fetching.download import Retries
from vocdet.workflows.fetch import FetchOptions, FetchResult, archive_bytes, fetch, partial_downloads

if TYPE_CHECKING:
    from tests.fetching.conftest import Site

TRAINVAL, TEST = ("000005", "000007", "000009"), ("000001", "000002")


def voc_tar(part: str, stems: Sequence[str]) -> bytes:
    """A tar as the VOC devkit's are."""
    files = {f"ImageSets/Main/{part}.txt": "".join(f"{stem}\n" for stem in stems).encode()}
    for stem in stems:
        files |= {f"JPEGImages/{stem}.jpg": b"jpeg of " + stem.encode(), f"Annotations/{stem}.xml": b"<annotation/>"}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"VOCdevkit/VOC2007/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def archive_of(part: str, name: str, data: bytes, *urls: str, contents: tuple[Any, ...]) -> Archive:
    md5 = hashlib.md5(data).hexdigest()
    return Archive(part, name, tuple(f"{url}/{name}" for url in urls), md5, len(data), len(data), contents)


@pytest.fixture
def voc(site: Site) -> Collection:
    """VOC 2007 in small, on the server."""
    archives = []
    for part, stems in (("trainval", TRAINVAL), ("test", TEST)):
        data, name = voc_tar(part, stems), f"VOC{part}.tar"
        site.files[name] = data
        listed = SplitCount(f"images of {part}.txt with their XMLs", len(stems), "VOCdevkit/VOC2007", part)
        archives.append(archive_of(part, name, data, site.url, contents=(listed,)))
    return Collection("voc2007", tuple(archives), ".", "VOCdevkit/VOC2007")


def fetched(
    collection: Collection, folder: Path, *, tries: int = 5, sleep: Any = None, **options: Any
) -> list[FetchResult]:
    callbacks = {name: options.pop(name) for name in ("progress", "note") if name in options}
    retries = Retries(tries=tries, sleep=sleep or (lambda _: None))
    return list(fetch(collection, folder, FetchOptions(retries=retries, **options), **callbacks))


def failures(results: Sequence[FetchResult]) -> list[str]:
    return [f"{result.archive}: {result.text}" for result in results if not result.passed]


def stems_in(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "VOCdevkit" / "VOC2007" / "JPEGImages").glob("*.jpg"))


def test_a_dataset_is_fetched_verified_unpacked_and_counted(site: Site, voc: Collection, tmp_path: Path) -> None:
    results = fetched(voc, tmp_path / "new")
    md5s = [hashlib.md5(site.files[name]).hexdigest() for name in ("VOCtrainval.tar", "VOCtest.tar")]
    assert [(result.passed, result.archive, result.text) for result in results] == [
        (True, "VOCtrainval.tar", f"10.2 kB, md5 {md5s[0]}"),
        (True, "VOCtrainval.tar", "3 images of trainval.txt with their XMLs"),
        (True, "VOCtest.tar", f"10.2 kB, md5 {md5s[1]}"),
        (True, "VOCtest.tar", "2 images of test.txt with their XMLs"),
    ]
    assert stems_in(tmp_path / "new") == sorted(TRAINVAL + TEST)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        ".vocdet-fetch", "VOCdevkit", "VOCtest.tar", "VOCtrainval.tar",
    ]  # fmt: skip
    assert archive_bytes(voc, tmp_path / "new") == sum(map(len, site.files.values()))


def test_a_second_fetch_only_verifies(site: Site, voc: Collection, tmp_path: Path) -> None:
    fetched(voc, tmp_path, keep=False)
    results = fetched(voc, tmp_path)
    assert site.asked() == ["VOCtrainval.tar", "VOCtest.tar"]
    assert [result.text for result in results] == [
        "already there: 7 files",
        "3 images of trainval.txt with their XMLs",
        "already there: 5 files",
        "2 images of test.txt with their XMLs",
    ]


def test_one_part_can_be_fetched_and_the_other_later(site: Site, voc: Collection, tmp_path: Path) -> None:
    fetched(voc, tmp_path, only=["test"])
    assert (site.asked(), stems_in(tmp_path)) == (["VOCtest.tar"], list(TEST))
    assert failures(fetched(voc, tmp_path)) == []
    assert (site.asked(), stems_in(tmp_path)) == (["VOCtest.tar", "VOCtrainval.tar"], sorted(TRAINVAL + TEST))


def test_an_unknown_split_is_an_error(voc: Collection, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"voc2007 has no part 'val' \(its parts: trainval, test\)"):
        fetched(voc, tmp_path / "new", only=["val"])
    assert not (tmp_path / "new").exists()


def test_a_mirror_serves_archives_by_name(site: Site, voc: Collection, tmp_path: Path) -> None:
    site.files = {f"pub/{name}": data for name, data in site.files.items()}
    assert failures(fetched(voc, tmp_path, mirror=f"{site.url}/pub/")) == []
    assert site.asked() == ["pub/VOCtrainval.tar", "pub/VOCtest.tar"]


def test_an_invalid_mirror_is_an_error(voc: Collection, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="'ftp://x' is not an HTTP URL"):
        fetched(voc, tmp_path / "new", mirror="ftp://x")
    assert not (tmp_path / "new").exists()


def test_archives_can_be_deleted_after_unpacking(voc: Collection, tmp_path: Path) -> None:
    fetched(voc, tmp_path)
    notes: list[str] = []
    fetched(voc, tmp_path, keep=False, note=notes.append)
    assert archive_bytes(voc, tmp_path) == 0
    assert notes == [f"deleted {tmp_path / 'VOCtrainval.tar'}", f"deleted {tmp_path / 'VOCtest.tar'}"]
    assert stems_in(tmp_path) == sorted(TRAINVAL + TEST)


def test_a_wrong_checksum_names_both_and_leaves_nothing(site: Site, voc: Collection, tmp_path: Path) -> None:
    right = site.files["VOCtrainval.tar"]
    wrong = right.replace(b"jpeg", b"JPEG")
    site.files["VOCtrainval.tar"] = wrong
    results = fetched(voc, tmp_path)
    sums = hashlib.md5(wrong).hexdigest(), hashlib.md5(right).hexdigest()
    (problem,) = failures(results)
    assert f"md5 {sums[0]}, not {sums[1]}" in problem
    assert results[0].hint.startswith("it was deleted; run the same command again")
    assert stems_in(tmp_path) == list(TEST)  # the other archive is as good as ever
    assert not list(tmp_path.glob("VOCtrainval*"))


def test_an_archive_copied_by_hand_is_used(site: Site, voc: Collection, tmp_path: Path) -> None:
    for name, data in site.files.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / f"{name}.part").write_bytes(data[:100])
    results = fetched(voc, tmp_path)
    assert (site.asked(), failures(results)) == ([], [])
    assert partial_downloads(voc, tmp_path) == []
    assert results[0].text.startswith("found in the folder, 10.2 kB, md5 ")


def test_a_wrong_archive_copied_by_hand_is_not_deleted(site: Site, voc: Collection, tmp_path: Path) -> None:
    (tmp_path / "VOCtrainval.tar").write_bytes(b"half of it")
    (tmp_path / "VOCtest.tar").write_bytes(site.files["VOCtest.tar"][::-1])
    results = fetched(voc, tmp_path)
    assert site.asked() == []
    assert "is not the published archive: 10 bytes, not 10240" in failures(results)[0]
    assert "is not the published archive: md5 " in failures(results)[1]
    assert "rename it to VOCtrainval.tar.part" in results[0].hint
    assert "rename" not in results[1].hint
    assert (tmp_path / "VOCtrainval.tar").read_bytes() == b"half of it"
    assert not (tmp_path / "VOCdevkit").exists()


def test_the_next_host_is_tried_where_one_fails(site: Site, voc: Collection, tmp_path: Path) -> None:
    archives = [replace(one, urls=(f"{site.url}/gone/{one.name}", *one.urls)) for one in voc.archives]
    assert failures(fetched(replace(voc, archives=tuple(archives)), tmp_path)) == []
    assert site.asked() == ["gone/VOCtrainval.tar", "VOCtrainval.tar", "gone/VOCtest.tar", "VOCtest.tar"]


def test_one_missing_archive_does_not_stop_the_other(site: Site, voc: Collection, tmp_path: Path) -> None:
    del site.files["VOCtrainval.tar"]
    results = fetched(voc, tmp_path)
    assert failures(results) == [f"VOCtrainval.tar: {site.url}/VOCtrainval.tar: the server answers 404 Not Found"]
    assert results[0].hint == (
        f"download {site.url}/VOCtrainval.tar by other means to {tmp_path / 'VOCtrainval.tar'} and run the same "
        "command again; or name a mirror with `url=...`"
    )
    assert stems_in(tmp_path) == list(TEST)


def test_an_unavailable_server_fails_all_missing_archives_at_once(site: Site, voc: Collection, tmp_path: Path) -> None:
    for name in site.files:
        site.always_fail(name, status=503)
    results = fetched(voc, tmp_path / "new", tries=2)
    assert site.asked() == ["VOCtrainval.tar"] * 2
    assert failures(results) == [
        f"VOCtrainval.tar: {site.url}/VOCtrainval.tar: the server answers 503 Service Unavailable, 2 times in a row",
        "VOCtest.tar: not tried: the server does not answer",
    ]
    assert f"by other means to {tmp_path / 'new' / 'VOCtest.tar'}" in results[1].hint
    assert not (tmp_path / "new").exists()


def test_an_interrupted_download_resumes(site: Site, voc: Collection, tmp_path: Path) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    site.fail(cut=7000)
    with pytest.raises(KeyboardInterrupt):
        fetched(voc, tmp_path, sleep=interrupt)
    assert partial_downloads(voc, tmp_path) == [tmp_path / "VOCtrainval.tar.part"]
    notes: list[str] = []
    assert failures(fetched(voc, tmp_path, note=notes.append)) == []
    assert site.ranges() == [None, "bytes=7000-", None]
    assert notes[0] == f"downloading {site.url}/VOCtrainval.tar: resuming at 7.0 kB of 10.2 kB"
    assert partial_downloads(voc, tmp_path) == []


def test_an_interrupted_unpacking_leaves_nothing_unpacked(site: Site, voc: Collection, tmp_path: Path) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if what.startswith("unpacking") and done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetched(voc, tmp_path, progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["VOCtrainval.tar"]
    assert failures(fetched(voc, tmp_path)) == []
    assert site.asked() == ["VOCtrainval.tar", "VOCtest.tar"]


def test_files_of_a_killed_run_are_harmless(voc: Collection, tmp_path: Path) -> None:
    left = tmp_path / ".vocdet-fetch" / "unpacking" / "VOCdevkit" / "VOC2007" / "half.jpg"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    assert failures(fetched(voc, tmp_path)) == []
    assert not list(tmp_path.rglob("half.jpg"))


def test_a_missing_file_is_unpacked_again(site: Site, voc: Collection, tmp_path: Path) -> None:
    fetched(voc, tmp_path)
    (tmp_path / "VOCdevkit" / "VOC2007" / "JPEGImages" / "000005.jpg").unlink()
    site.requests.clear()
    notes: list[str] = []
    assert failures(fetched(voc, tmp_path, note=notes.append)) == []
    assert notes == ["VOCtrainval.tar: VOCdevkit/VOC2007/JPEGImages/000005.jpg is missing"]
    assert (site.asked(), stems_in(tmp_path)) == ([], sorted(TRAINVAL + TEST))


def test_a_changed_file_is_reported_and_not_overwritten(site: Site, voc: Collection, tmp_path: Path) -> None:
    fetched(voc, tmp_path)
    changed = tmp_path / "VOCdevkit" / "VOC2007" / "Annotations" / "000005.xml"
    changed.write_bytes(b"mine")
    site.requests.clear()
    results = fetched(voc, tmp_path)
    assert failures(results) == ["VOCtrainval.tar: VOCdevkit/VOC2007/Annotations/000005.xml differs from the archive"]
    assert (changed.read_bytes(), site.asked()) == (b"mine", [])
    changed.unlink()  # as the hint says
    assert failures(fetched(voc, tmp_path)) == []
    assert changed.read_bytes() == b"<annotation/>"


def test_another_file_in_the_way_is_never_overwritten(voc: Collection, tmp_path: Path) -> None:
    mine = tmp_path / "VOCdevkit" / "VOC2007" / "Annotations" / "000005.xml"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    results = fetched(voc, tmp_path)
    assert failures(results) == [f"VOCtrainval.tar: {mine}: differs from the archive"]
    assert mine.read_bytes() == b"mine"
    assert stems_in(tmp_path) == list(TEST)


def test_a_dataset_unpacked_by_another_program_is_recognized_by_its_counts(
    site: Site, voc: Collection, tmp_path: Path
) -> None:
    for name, data in site.files.items():
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar:
                path = tmp_path / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                file = tar.extractfile(member)
                assert file, name
                path.write_bytes(file.read())
    results = fetched(voc, tmp_path)
    assert (site.asked(), failures(results)) == ([], [])
    assert results[0].text == "already there, unpacked by another program"


def test_wrong_counts_are_a_failure(voc: Collection, tmp_path: Path) -> None:
    more = replace(voc.archives[1].contents[0], expected=4952)  # type: ignore[type-var]
    wrong = replace(voc, archives=(replace(voc.archives[1], contents=(more,)),))
    results = fetched(wrong, tmp_path, keep=False)
    assert failures(results) == ["VOCtest.tar: 2 images of test.txt with their XMLs, not 4952"]
    assert archive_bytes(wrong, tmp_path)  # kept all the same, to be looked at


def test_an_archive_that_unpacks_to_too_much_is_refused_despite_its_checksum(site: Site, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("val2017/a.jpg", bytes(10**6))
    site.files["val.zip"] = packed.getvalue()
    archive = archive_of("val", "val.zip", packed.getvalue(), site.url, contents=())
    results = fetched(Collection("coco2017", (archive,), ".", ""), tmp_path, keep=False)
    (problem,) = failures(results)
    assert "would unpack to 1.0 MB" in problem
    assert [path.name for path in tmp_path.iterdir()] == ["val.zip"]  # kept, to be looked at


def test_a_full_disk_is_reported_before_the_download(site: Site, voc: Collection, tmp_path: Path) -> None:
    large = replace(voc.archives[0], size=10**18, unpacked=10**18)
    with pytest.raises(OutputError, match=r"take 2000000000\.0 GB more.* with `keep=False`"):
        fetched(replace(voc, archives=(large,)), tmp_path / "new")
    assert (site.asked(), (tmp_path / "new").exists()) == ([], False)


def test_two_runs_in_one_folder_do_not_mix(voc: Collection, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    first = fetch(voc, tmp_path)
    next(first)
    with pytest.raises(OutputError, match="another fetch is running in this folder"):
        fetched(voc, tmp_path)
    assert failures(list(first)) == []
    assert failures(fetched(voc, tmp_path)) == []


def test_files_and_texts_are_counted(tmp_path: Path) -> None:
    (tmp_path / "val2017").mkdir()
    for name, data in (("1.jpg", b"x"), ("2.jpg", b"x"), ("empty.jpg", b""), ("3.png", b"x")):
        (tmp_path / "val2017" / name).write_bytes(data)
    assert FileCount("", 0, "val2017", ".jpg").count(tmp_path) == 2
    assert FileCount("", 0, "train2017", ".jpg").count(tmp_path) == 0
    entry = b'{"file_name": "1.jpg"},'
    across = b" " * ((1 << 20) - 5) + entry * 3  # the first stands across the end of a block
    (tmp_path / "a.json").write_bytes(across)
    assert TextCount("", 0, "a.json", b'"file_name"').count(tmp_path) == 3
    assert TextCount("", 0, "b.json", b'"file_name"').count(tmp_path) == 0


@pytest.mark.parametrize("collection", [COLLECTIONS["voc2007"], COLLECTIONS["voc2012"]], ids=lambda one: one.name)
def test_checksums_and_addresses_of_voc_are_those_of_torchvision(collection: Collection) -> None:
    found = importlib.util.find_spec("torchvision")
    assert found and found.origin
    text = (Path(found.origin).parent / "datasets" / "voc.py").read_text()  # read, as importing it takes seconds
    for archive in collection.archives:
        after = text[text.index(archive.urls[0].rsplit("/", 1)[-1]) :]
        assert f'"{archive.md5}"' in after[:300]


def test_the_catalog_is_consistent() -> None:
    voc2007, voc2012, coco = (COLLECTIONS[name] for name in ("voc2007", "voc2012", "coco2017"))
    assert sum(archive.contents[0].expected for archive in voc2007.archives) == 9963
    for collection in (voc2007, voc2012, coco):
        for archive in collection.archives:
            assert all(url.endswith(f"/{archive.name}") for url in archive.urls)
            assert len(bytes.fromhex(archive.md5)) == 16
            assert archive.size <= archive.unpacked <= 4 * archive.size
    assert len({archive.md5 for one in (voc2007, voc2012, coco) for archive in one.archives}) == 6
