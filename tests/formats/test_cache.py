from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.strategies import PORTABLE, plain, scans
from vocdet.errors import VocdetError
from vocdet.formats import cache, registry, scan_file
from vocdet.formats.cache import read
from vocdet.formats.scan import Scan, Source

BOXES = {"a": [("dog", (1, 2, 30, 40))], "b": [("cat", (5, 6, 50, 60)), ("dog", (0, 0, 9, 9))]}
PARTS = {"train": ["a"], "val": ["b"]}
MakeVoc = Callable[..., Path]


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an empty cache that takes files however new they are."""
    monkeypatch.setenv("VOCDET_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(cache, "_SETTLED", -60_000_000_000)
    return tmp_path / "kept"


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths that were read without the cache."""
    paths: list[Path] = []
    whole = registry.read

    def counted(source: Source, **asked: Any) -> Scan:
        paths.append(source.path)
        return whole(source, **asked)

    monkeypatch.setattr(registry, "read", counted)
    return paths


@pytest.fixture
def root(make_voc: MakeVoc) -> Path:
    """A dataset of two images whose files are some days old."""
    root = make_voc(BOXES, splits=PARTS)
    for path in root.rglob("*"):
        os.utime(path, (1.6e9, 1.6e9))
    return root


def boxes(found: Scan) -> list[Any]:
    return [(scene.stem, scene.objects.box.tolist()) for scene in found.dataset]


def only(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_a_second_reading_is_from_the_cache_and_the_same(root: Path, fresh: list[Path]) -> None:
    first, second = read(Source(root)), read(Source(root))
    assert fresh == [root]
    assert second.dataset.root == root
    assert second.dataset.fingerprint() == first.dataset.fingerprint()
    assert (second.findings, second.reason, second.kind) == (first.findings, first.reason, first.kind)
    assert second.dataset.images.sources == ("Annotations/a.xml", "Annotations/b.xml")
    assert boxes(second) == [("a", [[1, 2, 30, 40]]), ("b", [[5, 6, 50, 60], [0, 0, 9, 9]])]


def test_warnings_are_cached_and_errors_raised_again(root: Path, fresh: list[Path]) -> None:
    Image.new("RGB", (9, 9)).save(root / "JPEGImages" / "c.jpg")
    assert [finding.code for finding in read(Source(root)).findings] == ["image.unannotated"]
    assert read(Source(root)).findings == registry.scan(Source(root)).findings
    assert len(fresh) == 1
    (root / "Annotations" / "c.xml").write_text("<annotation>")
    for _ in range(2):
        with pytest.raises(VocdetError):
            read(Source(root))
    assert len(fresh) == 3


def test_progress_is_at_its_end_at_once(root: Path) -> None:
    steps: list[tuple[int, int]] = []
    read(Source(root))
    read(Source(root), progress=lambda done, of: steps.append((done, of)))
    assert steps == [(2, 2)]


def same_size(root: Path) -> None:
    path = root / "Annotations" / "a.xml"
    path.write_text(path.read_text().replace(">30<", ">31<"))


def another_image(root: Path) -> None:
    Image.new("RGB", (100, 80)).save(root / "JPEGImages" / "a.jpg")


def fewer(root: Path) -> None:
    for path in [*root.rglob("b.*")]:
        path.unlink()


CHANGES: dict[str, Callable[[Path], Any]] = {
    "an XML of the same size": same_size,
    "an image": another_image,
    "an image that is added": lambda root: shutil.copy(root / "JPEGImages" / "a.jpg", root / "JPEGImages" / "c.jpg"),
    "an XML and its image removed": fewer,
    "an XML and its image renamed": lambda root: [path.rename(path.with_stem("c")) for path in [*root.rglob("b.*")]],
    "an image of another kind": lambda root: (root / "JPEGImages" / "a.jpg").rename(root / "JPEGImages" / "a.jpeg"),
    "a split file": lambda root: (root / "ImageSets" / "Main" / "train.txt").write_text("b\n"),
    "a split file that is added": lambda root: (root / "ImageSets" / "Main" / "test.txt").write_text(""),
    "a split file that is gone": lambda root: (root / "ImageSets" / "Main" / "val.txt").unlink(),
    "all split files gone": lambda root: shutil.rmtree(root / "ImageSets"),
    "a folder that is added": lambda root: (root / "SegmentationObject").mkdir(),
    "a link that is added": lambda root: (root / "more").symlink_to("Annotations"),
    "a file that takes the place of another": lambda root: shutil.copy2(
        shutil.copy2(root / "Annotations" / "a.xml", root.parent / "copy"), root / "Annotations" / "a.xml"
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_any_change_gives_a_fresh_reading(name: str, root: Path, fresh: list[Path]) -> None:
    read(Source(root))
    CHANGES[name](root)
    with suppress(VocdetError):  # some of these changes break the dataset
        assert boxes(read(Source(root))) == boxes(registry.scan(Source(root)))
    assert len(fresh) == 2


def test_a_change_that_keeps_size_and_time_of_writing_gives_a_fresh_reading(root: Path, fresh: list[Path]) -> None:
    read(Source(root))
    path = root / "Annotations" / "a.xml"
    before, text = path.stat(), path.read_text()
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # the clock of the file system has ticked
        path.write_text(text.replace(">30<", ">31<"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert boxes(read(Source(root)))[0] == ("a", [[1, 2, 31, 40]])
    assert len(fresh) == 2


def test_hidden_files_of_version_control_change_nothing(root: Path, fresh: list[Path]) -> None:
    (root / ".git").mkdir()
    read(Source(root))
    (root / ".git" / "HEAD").write_text("ref")
    read(Source(root))
    assert len(fresh) == 1


def test_other_arguments_give_another_reading(root: Path, fresh: list[Path], tmp_path: Path, kept: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("dog\ncat\n")
    for _ in range(2):
        assert boxes(read(Source(root)))[0] == ("a", [[1, 2, 30, 40]])
        assert boxes(read(Source(root, coordinates="one")))[0] == ("a", [[0, 1, 30, 40]])
        assert read(Source(root, labels=labels)).dataset.labels == ("dog", "cat")
        assert read(Source(root, format="voc")).dataset.labels == ("cat", "dog")
    assert len(fresh) == 4
    assert len(list(kept.iterdir())) == 4


def test_a_changed_label_list_gives_a_fresh_reading(root: Path, fresh: list[Path], tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("dog\ncat\n")
    read(Source(root, labels=labels))
    labels.write_text("cat\ndog\n")
    assert read(Source(root, labels=labels)).dataset.labels == ("cat", "dog")
    labels.unlink()
    with pytest.raises(VocdetError, match="the label list cannot be read"):
        read(Source(root, labels=labels))
    assert len(fresh) == 3


def test_another_version_reads_again(root: Path, fresh: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read(Source(root))
    for name, value in (("__version__", "99"), ("_own_code", lambda: "another hash")):
        monkeypatch.setattr(cache, name, value)
        read(Source(root))
        read(Source(root))
    assert len(fresh) == 3


def test_a_path_is_shown_as_it_was_given(root: Path, fresh: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    for path in (root, Path("set"), root, Path("set")):
        assert read(Source(path)).dataset.root == path
    assert len(fresh) == 2
    monkeypatch.chdir(root)
    assert read(Source(Path())).dataset.root == Path()


def test_a_folder_of_the_same_name_elsewhere_is_another(
    make_voc: MakeVoc, tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "xy":
        make_voc({name: BOXES["a"]}, root=tmp_path / name / "set")
        monkeypatch.chdir(tmp_path / name)
        assert read(Source(Path("set"))).dataset.images.stems == (name,)
    assert len(list(kept.iterdir())) == 2


def test_a_coco_file_and_its_images_are_kept(tmp_path: Path, fresh: list[Path]) -> None:
    (tmp_path / "set" / "annotations").mkdir(parents=True)
    (tmp_path / "set" / "images").mkdir()
    Image.new("RGB", (60, 40)).save(tmp_path / "set" / "images" / "a.jpg")
    image = {"id": 1, "file_name": "a.jpg", "width": 60, "height": 40}
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 20], "area": 600, "iscrowd": 0}
    path = tmp_path / "set" / "annotations" / "instances.json"
    whole = {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "dog"}]}
    path.write_text(json.dumps(whole))
    for place in (path, path.parent.parent) * 2:
        assert boxes(read(Source(place))) == [("a", [[1, 2, 31, 22]])]
    assert len(fresh) == 2
    annotation["bbox"] = [1, 2, 29, 20]
    path.write_text(json.dumps(whole))
    for place in (path, path.parent.parent):
        assert boxes(read(Source(place))) == [("a", [[1, 2, 30, 22]])]
    assert len(fresh) == 4


def test_a_coco_file_in_the_current_folder_is_kept(
    tmp_path: Path, fresh: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "set" / "annotations").mkdir(parents=True)
    Image.new("RGB", (60, 40)).save(tmp_path / "set" / "a.jpg")
    whole = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [], "categories": [{"id": 1, "name": "dog"}]}
    (tmp_path / "set" / "annotations" / "instances.json").write_text(json.dumps(whole))
    monkeypatch.chdir(tmp_path / "set" / "annotations")
    for _ in range(2):
        assert read(Source(Path("instances.json"))).dataset.images.files == ("a.jpg",)
    assert len(fresh) == 1


def test_what_was_just_written_is_not_kept(
    root: Path, fresh: list[Path], kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_SETTLED", 2_000_000_000)
    read(Source(root))
    assert not kept.exists()
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 3_000_000_000)
    read(Source(root))
    read(Source(root))
    assert len(fresh) == 2


def test_what_changes_while_it_is_read_is_not_kept(root: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = registry.read

    def slowly(source: Source, **asked: Any) -> Scan:
        found = whole(source, **asked)
        same_size(root)
        return found

    monkeypatch.setattr(registry, "read", slowly)
    assert boxes(read(Source(root)))[0] == ("a", [[1, 2, 30, 40]])
    assert not kept.exists()


def test_what_links_lead_to_counts(root: Path, fresh: list[Path], tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / ".real").mkdir()
    for name in ("Annotations", "JPEGImages"):
        (root / name).rename(root / ".real" / name)
        (root / name).symlink_to(f".real/{name}")
    (root / "out").symlink_to(outside)
    read(Source(root, format="voc"))
    (outside / "new").write_text("")
    read(Source(root, format="voc"))
    assert len(fresh) == 2
    path = root / ".real" / "Annotations" / "a.xml"
    path.write_text(path.read_text().replace(">30<", ">31<"))
    assert boxes(read(Source(root, format="voc")))[0] == ("a", [[1, 2, 31, 40]])
    assert len(fresh) == 3


def test_links_that_lead_round_or_nowhere_are_no_trap(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = [registry.read(Source(root))]
    monkeypatch.setattr(registry, "read", lambda path, **asked: readings.pop())
    for name, target in (
        ("up", ".."),
        ("round", "."),
        ("itself", "itself"),
        ("nowhere", "gone"),
        ("a", "b"),
        ("b", "a"),
    ):
        (root / name).symlink_to(target)
    (root / "ImageSets" / "again").symlink_to("../round/ImageSets")
    assert boxes(read(Source(root))) == boxes(read(Source(root)))  # the first reading is the only one there is


def test_a_link_to_a_file_changes_with_the_file(root: Path, fresh: list[Path]) -> None:
    (root / ".real").mkdir()
    path = (root / "Annotations" / "a.xml").rename(root / ".real" / "a.xml")
    (root / "Annotations" / "a.xml").symlink_to("../.real/a.xml")
    read(Source(root))
    path.write_text(path.read_text().replace(">30<", ">31<"))
    assert boxes(read(Source(root)))[0] == ("a", [[1, 2, 31, 40]])
    assert len(fresh) == 2


def test_names_count_where_files_are_otherwise_identical(
    make_voc: MakeVoc, fresh: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_voc(BOXES, layout="flat")
    monkeypatch.setattr(cache, "_facts", lambda paths, _: np.zeros((5, len(paths)), np.int64))
    read(Source(root))
    for path in [*root.glob("b.*")]:
        path.rename(path.with_stem("c"))
    assert read(Source(root)).dataset.images.stems == ("a", "c")
    assert len(fresh) == 2


@pytest.mark.parametrize("file", [".hidden/a.jpg", "../a.jpg", "../none/a.jpg"])
def test_a_scan_of_uncovered_files_is_not_cached(
    root: Path, kept: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / ".hidden").mkdir()
    found = registry.read(Source(root))
    images = replace(found.dataset.images, files=(file, "JPEGImages/b.jpg"))
    made = replace(found, dataset=replace(found.dataset, images=images))
    monkeypatch.setattr(registry, "read", lambda path, **asked: made)
    assert read(Source(root)) is made
    assert not kept.exists()


def test_images_may_be_missing_on_request(root: Path, fresh: list[Path]) -> None:
    shutil.copytree(root / "JPEGImages", root.parent / "images")
    shutil.rmtree(root / "JPEGImages")
    for _ in range(2):
        assert read(Source(root), without_images=True).dataset.images.stems == ("a", "b")
    assert len(fresh) == 1
    shutil.copytree(root.parent / "images", root / "JPEGImages")
    read(Source(root), without_images=True)
    assert len(fresh) == 2


def test_a_folder_that_holds_mostly_other_things_is_not_searched(
    root: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_MANY", 20)
    (root / "src").mkdir()
    for i in range(20):
        (root / "src" / f"{i}.py").write_text("")
    read(Source(root))
    assert not kept.exists()
    for i in range(20):
        shutil.copy(root / "JPEGImages" / "a.jpg", root / "JPEGImages" / f"more{i}.jpg")
    read(Source(root))
    assert len(list(kept.iterdir())) == 1


def test_a_deleted_cache_is_made_again(root: Path, fresh: list[Path], kept: Path) -> None:
    for _ in range(2):
        read(Source(root))
        shutil.rmtree(kept)
    assert len(fresh) == 2


def test_a_damaged_file_is_read_past_and_replaced(root: Path, fresh: list[Path], kept: Path) -> None:
    read(Source(root))
    path = only(kept)
    whole = path.read_bytes()
    read(Source(root))
    assert len(fresh) == 1
    for damaged in (b"", whole[:-1], whole[:100], b"\x80\x04K\x01.", whole[:64] + bytes(64) + whole[128:]):
        path.write_bytes(damaged)
        assert boxes(read(Source(root)))[0] == ("a", [[1, 2, 30, 40]])
        assert scan_file.load(path).dataset.root == root
    assert len(fresh) == 6


@pytest.mark.parametrize("split", range(40))
def test_a_flipped_byte_never_changes_what_is_read(root: Path, kept: Path, split: int) -> None:
    first = read(Source(root))
    path = only(kept)
    flipped = bytearray(path.read_bytes())
    flipped[len(flipped) * split // 40] ^= 0x55
    path.write_bytes(flipped)
    assert read(Source(root)).dataset.fingerprint() == first.dataset.fingerprint()


@pytest.mark.parametrize("value", ["0", "off", "OFF"])
def test_it_can_be_switched_off(
    root: Path, fresh: list[Path], tmp_path: Path, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOCDET_CACHE", value)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    before = sorted(tmp_path.rglob("*"))
    read(Source(root))
    read(Source(root))
    assert len(fresh) == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.location() == tmp_path / "kept"
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("VOCDET_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache.location() == Path("/home/me/.cache/vocdet")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/me")
    assert cache.location() == Path("/var/me/vocdet")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the XDG specification says to ignore
    assert cache.location() == Path("/home/me/.cache/vocdet")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)  # a user of whom the system knows nothing, as in a container
    assert cache.location() is None


def in_the_way(folder: Path) -> Path:
    folder.write_text("a file")
    return folder


def not_writable(folder: Path) -> Path:
    folder.mkdir(mode=0o500)
    return folder if os.getuid() else Path("/proc/vocdet")  # where not even root may


@pytest.mark.parametrize("make", [in_the_way, not_writable, lambda folder: folder / ("x" * 300)])
def test_a_cache_that_cannot_be_written_is_done_without(
    root: Path, fresh: list[Path], tmp_path: Path, make: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOCDET_CACHE", str(make(tmp_path / "blocked")))
    for _ in range(2):
        assert boxes(read(Source(root)))[0] == ("a", [[1, 2, 30, 40]])
    assert len(fresh) == 2


def test_nothing_is_written_into_the_dataset(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOCDET_CACHE", str(root / "cache"))
    before = sorted(root.rglob("*"))
    read(Source(root))
    assert sorted(root.rglob("*")) == before


def test_a_file_of_another_user_is_not_used(root: Path, fresh: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read(Source(root))
    somebody = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: somebody)
    read(Source(root))
    assert len(fresh) == 2


def test_only_its_owner_may_read_it(root: Path, kept: Path) -> None:
    read(Source(root))
    assert (kept.stat().st_mode & 0o777, only(kept).stat().st_mode & 0o777) == (0o700, 0o600)


def test_a_pipe_in_its_place_does_not_stop_anything(root: Path, fresh: list[Path], kept: Path) -> None:
    read(Source(root))
    path = only(kept)
    path.unlink()
    os.mkfifo(path)
    read(Source(root))
    read(Source(root))
    assert len(fresh) == 2


def test_useless_files_are_evicted_when_a_scan_is_saved(
    make_voc: MakeVoc, tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep(name: str) -> Path:
        before = set(kept.iterdir()) if kept.exists() else set()
        read(Source(make_voc({name: BOXES["a"]}, root=tmp_path / name)))
        (path,) = set(kept.iterdir()) - before
        return path

    old, gone, stays, used = (keep(name) for name in ("old", "gone", "stays", "used"))
    foreign, torn = kept / "mine.txt", kept / f".{stays.name}.abc"
    for path in (foreign, torn):
        path.write_text("")
    day = time.time() - 86400
    for path, when in ((old, day - 90 * 86400), (stays, day), (used, day - 60), (torn, day), (foreign, 0)):
        os.utime(path, (when, when))
    shutil.rmtree(tmp_path / "gone")
    last = keep("last")
    assert {*kept.iterdir()} == {stays, used, last, foreign}
    assert not gone.exists()
    assert not old.exists()
    read(Source(tmp_path / "used"))  # so that `stays` is the one not used for longest
    monkeypatch.setattr(cache, "LARGEST_CACHE", 3 * last.stat().st_size + 200)
    newest = keep("newest")
    assert {*kept.iterdir()} == {used, last, newest, foreign}


READER = """
import sys; from pathlib import Path; from vocdet.formats import cache
from vocdet.formats.scan import Source
cache._SETTLED = -60_000_000_000
for _ in range(30):
    for path in map(Path, sys.argv[1:]):
        assert len(cache.read(Source(path)).dataset) == 2
        (path / "note.txt").write_text("")  # so that both go on saving
"""


def test_two_processes_may_share_it(root: Path, kept: Path) -> None:
    running = [subprocess.Popen([sys.executable, "-c", READER, root]) for _ in range(2)]
    assert [process.wait(300) for process in running] == [0, 0]
    assert len(scan_file.load(only(kept)).dataset) == 2


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_a_scan_from_the_cache_is_the_scan_that_was_read(module_tmp_path: Path, data: st.DataObject) -> None:
    scan = data.draw(scans(PORTABLE, root=module_tmp_path))
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setenv("VOCDET_CACHE", folder)
        patch.setattr(registry, "read", lambda *_, **__: scan)
        assert plain(read(Source(module_tmp_path))) == plain(scan)
        patch.setattr(registry, "read", lambda *_, **__: pytest.fail("it was not in the cache"))
        assert plain(read(Source(module_tmp_path))) == plain(scan)


@pytest.mark.parametrize("name", ["raccoon", "fruits_nuts", "bccd"])
def test_real_datasets_come_back_as_they_were(shared: Path, fresh: list[Path], name: str) -> None:
    first, second = read(Source(shared / "data" / name)), read(Source(shared / "data" / name))
    assert len(fresh) == 1
    assert second.dataset.fingerprint() == first.dataset.fingerprint()
    assert (second.findings, second.left_out, second.kind) == (first.findings, first.left_out, first.kind)
    assert second.dataset.splits.keys() == first.dataset.splits.keys()
