from __future__ import annotations

import json
import os
import pickle
import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import examples, plain, scans
from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.findings import Finding
from vocdet.data.texts import Texts
from vocdet.errors import DatasetError, OutputError, Place
from vocdet.formats import scan_file
from vocdet.formats.scan import Scan
from vocdet.formats.scan_file import load, read_header, save


def make_scan(count: int = 3, per_image: int = 2, *, poses: tuple[str, ...] = ("",), **columns: Any) -> Scan:
    """Images of `per_image` objects each; all that is not given says nothing."""
    stems = tuple(f"im_{i}" for i in range(count))
    n = count * per_image
    flags = {name: np.zeros(n, np.bool_) for name in ("difficult", "truncated", "occluded", "crowd")}
    given: dict[str, Any] = {
        "image": np.repeat(np.arange(count), per_image),
        "label": np.arange(n) % 2,
        "box": np.tile([1.0, 2.0, 30.0, 40.0], (n, 1)),
        "line": np.full(n, 7),
        **flags,
        **columns,
    }
    files = tuple(f"images/{stem}.jpg" for stem in stems)
    images = Images(stems, files, np.full(count, 100), np.full(count, 80), ("instances.json",) * count)
    return Scan(Dataset(Path("set"), ("cat", "dog"), images, Objects(**given), poses, b"{}", "annotations"), ())


@given(scan=scans())
@settings(max_examples=examples(60), deadline=None)
def test_what_is_loaded_is_what_was_saved(tmp_path_factory: pytest.TempPathFactory, scan: Scan) -> None:
    path = tmp_path_factory.getbasetemp() / "a.safetensors"
    save(path, scan)
    assert plain(load(path)) == plain(scan)


def test_a_name_may_hold_what_separates_names(tmp_path: Path) -> None:
    scan = make_scan(2)
    images = Images(("a\0b", "\1"), ("\2\0", "c"), np.ones(2, np.int32), np.ones(2, np.int32), ("", ""))
    dataset = Dataset(Path("set"), ("cat", "dog"), images, scan.dataset.objects)
    save(tmp_path / "a", Scan(dataset, ()))
    found = load(tmp_path / "a").dataset.images
    assert (found.stems, found.files, found.sources) == (("a\0b", "\1"), ("\2\0", "c"), ("", ""))


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 32768])
def test_there_may_be_many_poses(tmp_path: Path, count: int) -> None:
    poses = tuple(str(i) for i in range(count))
    scan = make_scan(count, 1, poses=poses, pose=np.arange(count, dtype=np.int16))
    save(tmp_path / "a", scan)
    assert load(tmp_path / "a").dataset.objects.pose.tolist() == list(range(count))


@pytest.mark.parametrize("top", [0, 1, 255, 256, 65535, 65536, 2**31 - 1])
@pytest.mark.parametrize("bottom", [0, -1, -(2**31)])
def test_whole_numbers_stay_what_they_are(tmp_path: Path, top: int, bottom: int) -> None:
    save(tmp_path / "a", make_scan(1, 2, line=np.array([bottom, top], np.int32)))
    line = load(tmp_path / "a").dataset.objects.line
    assert line.dtype == np.int32
    assert line.tolist() == [bottom, top]


@pytest.mark.parametrize("value", [0.0, -0.0, 0.1, 0.5, -1.0, 32767.0, 32768.0, 16777217.0, 1e300, 5e-324])
def test_coordinates_stay_what_they_are(tmp_path: Path, value: float) -> None:
    save(tmp_path / "a", make_scan(1, 1, box=np.array([[1, 2, 3, value]])))
    assert load(tmp_path / "a").dataset.objects.box.tobytes() == np.array([[1, 2, 3, value]]).tobytes()


def test_the_header_holds_what_was_saved(tmp_path: Path) -> None:
    save(tmp_path / "a", make_scan(), about={"key": "né"})
    with (tmp_path / "a").open("rb") as file:
        assert read_header(file).about == {"key": "né"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with every kind of column."""
    path = tmp_path_factory.mktemp("columns") / "whole"
    texts = Texts.of([b"[[1,2,3,4,5,6]]", b"", b"", b"{}", b"", b""])
    pose = np.array([0, 1, 0, 1, 0, 1], np.int16)
    columns: dict[str, Any] = {
        "difficult": [True] * 6,
        "area": [1.5] * 6,
        "pose": pose,
        "segmentation": texts,
        "extra": texts,
    }
    dataset = make_scan(poses=("", "left"), **columns).dataset
    finding = Finding("voc.box.tiny", "warning", "is tiny", Place(Path("a.xml"), 3), "redraw it")
    splits = {"train": np.array([0, 2]), "val": np.array([1])}
    dataset = replace(dataset, splits=splits)
    save(
        path, Scan(dataset, (finding,), "one", "as asked", {"x": "why"}, "voc", "a VOC folder", "labels.txt", ("coco",))
    )
    return path


@given(data=st.data())
@settings(max_examples=examples(150), deadline=None)
def test_a_flipped_byte_is_noticed_or_changes_nothing(whole: Path, data: st.DataObject) -> None:
    bytes_ = bytearray(whole.read_bytes())
    place = data.draw(st.integers(0, len(bytes_) - 1))
    bytes_[place] ^= data.draw(st.integers(1, 255))
    flipped = whole.with_name("flipped")
    flipped.write_bytes(bytes_)
    try:
        found = load(flipped)
    except DatasetError as error:
        assert str(error).startswith(f"{flipped}: invalid cache file: ")
    else:
        assert plain(found) == plain(load(whole))


@given(data=st.data())
@settings(max_examples=examples(100), deadline=None)
def test_a_file_that_is_cut_or_torn_is_refused(whole: Path, data: st.DataObject) -> None:
    bytes_ = whole.read_bytes()
    end = data.draw(st.integers(0, len(bytes_) - 1))
    torn = whole.with_name("torn")
    torn.write_bytes(bytes_[:end])
    with pytest.raises(DatasetError, match="invalid cache file"):
        load(torn)
    first = end - end % 64  # as after a crash: a block that never reached the disk
    if any(bytes_[first : first + 64]) and bytes_[first : first + 64].strip(b" "):
        torn.write_bytes(bytes_[:first] + bytes(len(bytes_[first : first + 64])) + bytes_[first + 64 :])
        with pytest.raises(DatasetError, match="invalid cache file"):
            load(torn)


@pytest.mark.parametrize(
    "bytes_", [b"", b"vocdet", pickle.dumps({"a": 1}), b"\x93NUMPY\x01\x00" + bytes(100), b"<annotation/>" * 20]
)
def test_another_kind_of_file_is_refused(tmp_path: Path, bytes_: bytes) -> None:
    (tmp_path / "a").write_bytes(bytes_)
    with pytest.raises(DatasetError, match=r"invalid cache file: .* \(delete it\)"):
        load(tmp_path / "a")


def test_another_version_is_refused(whole: Path, tmp_path: Path) -> None:
    path = forged(whole, tmp_path / "a", header=lambda header: header.update(version=1))
    with pytest.raises(DatasetError, match=f"version 1, not {scan_file.SCAN_VERSION}"):
        load(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read: no such file"):
        load(tmp_path / "a")
    with pytest.raises(DatasetError, match="not a file"):
        load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DatasetError, match="not a file"):
        load(tmp_path / "pipe")


def unchanged(_: dict[str, Any]) -> None:
    """The change that leaves a header or the columns alone."""


def forged(
    whole: Path,
    path: Path,
    *,
    header: Callable[[dict[str, Any]], Any] = unchanged,
    columns: Callable[[dict[str, Any]], Any] = unchanged,
) -> Path:
    """The file with another header or other columns, and the checksum to match."""
    tensors = safetensors.numpy.load_file(whole)
    columns(tensors)
    with whole.open("rb") as file:
        text = msgspec.json.decode(file.read(int.from_bytes(file.read(8), "little")))["__metadata__"]["header"]
    fields_ = msgspec.json.decode(text)
    header(fields_)
    text = msgspec.json.encode(fields_).decode()
    data = safetensors.numpy.save(tensors, {"header": text, "checksum": scan_file._checksum(text, tensors)})
    path.write_bytes(data)
    return path


def with_json(whole: Path, path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """The file with another description of its columns."""
    bytes_ = whole.read_bytes()
    end = 8 + int.from_bytes(bytes_[:8], "little")
    described = msgspec.json.decode(bytes_[8:end])
    change(described)
    text = msgspec.json.encode(described)
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes_[end:])
    return path


def column(name: str, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda described: described[name].update(values)


HOSTILE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "more boxes than bytes": column("objects.box", shape=[2**60, 4]),
    "boxes without sides": column("objects.box", shape=[2**60, 0]),
    "boxes without end": column("objects.box", shape=[2**70, 4]),
    "a negative side": column("objects.box", shape=[-6, -4]),
    "a flat box": column("objects.box", shape=[24]),
    "many sides": column("objects.box", shape=[1] * 100),
    "behind the file": column("objects.box", data_offsets=[2**62, 2**62 + 48]),
    "backwards": column("objects.box", data_offsets=[48, 0]),
    "no type": column("objects.box", dtype="nonsense"),
    "another type": column("objects.box", dtype="I64"),
    "no offset": lambda described: described["objects.box"].pop("data_offsets"),
    "no boxes": lambda described: described.pop("objects.box"),
    "no metadata": lambda described: described.pop("__metadata__"),
    "no checksum": lambda described: described["__metadata__"].pop("checksum"),
    "another checksum": lambda described: described["__metadata__"].update(checksum="00000000"),
    "a header that is no JSON": lambda described: described["__metadata__"].update(header="{"),
}


def text(**values: Any) -> Callable[[dict[str, Any]], None]:
    """The columns with other strings."""

    def change(columns: dict[str, Any]) -> None:
        strings = json.loads(columns["text"].tobytes())
        strings.update(values)
        columns["text"] = np.frombuffer(json.dumps(strings).encode(), np.uint8)

    return change


FATAL = {"code": "voc.box.tiny", "severity": "fatal", "problem": "is tiny", "path": "a.xml", "line": 3, "inside": "",
         "hint": "redraw it", "count": 1}  # fmt: skip

HEADERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no version": lambda header: header.pop("version"),
    "another field": lambda header: header.update(more=1),
}

COLUMNS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no columns": lambda columns: columns.clear(),
    "no boxes": lambda columns: columns.pop("objects.box"),
    "half the flags": lambda columns: columns.update({"objects.difficult": columns["objects.difficult"][:3]}),
    "numbers for strings": lambda columns: columns.update({"text": columns["objects.area"]}),
    "areas for lines": lambda columns: columns.update({"objects.line": columns["objects.area"]}),
    "no stems": text(stems=[]),
    "a stem less": text(stems=["im_0", "im_1"]),
    "a stem twice": text(stems=["im_0", "im_0", "im_2"]),
    "a number for a stem": text(stems=["im_0", "im_1", 2]),
    "no label for an object": text(labels=["cat"]),
    "no pose for an object": text(poses=[""]),
    "other coordinates": text(coordinates="two"),
    "another format": text(format="excel"),
    "more splits than columns": text(splits=["train", "val", "test"]),
    "another severity": text(findings=[FATAL]),
    "strings that are no JSON": lambda columns: columns.update({"text": np.frombuffer(b"{", np.uint8)}),
    "strings that are no text": lambda columns: columns.update({"text": np.frombuffer(b'{"root": "\xff"}', np.uint8)}),
    "deep JSON": lambda columns: columns.update({"text": np.frombuffer(b"[" * 100_000, np.uint8)}),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_hostile_header_is_refused(name: str, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="invalid cache file"):
        load(forged(whole, tmp_path / "a", header=HEADERS[name]))


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_that_contradict_the_header_are_refused(name: str, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="invalid cache file"):
        load(forged(whole, tmp_path / "a", columns=COLUMNS[name]))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_description_is_refused_without_allocating_what_it_claims(
    name: str, whole: Path, tmp_path: Path
) -> None:
    path = with_json(whole, tmp_path / "a", HOSTILE[name])
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError, match="invalid cache file"):
            load(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("objects.label", np.array([0, 1, 0, 1, 0, 2], np.int32)),  # there are two
        ("objects.label", np.array([0, 1, 0, 1, 0, 1], np.uint8)),  # another type
        ("objects.pose", np.array([0, 1, 0, 1, 0, 2], np.int16)),
        ("objects.image", np.array([0, 0, 1, 1, 2, 3], np.int32)),  # there are three images
        ("objects.image", np.array([0, 0, 1, 2, 1, 2], np.int32)),
        ("objects.image", np.array([-1, 0, 0, 1, 1, 2], np.int32)),
        ("objects.box", np.full((6, 4), np.nan)),
        ("objects.box", np.ones((6, 5))),
        ("objects.box", np.ones(24)),
        ("objects.line", np.array([2**40] * 6, np.int64)),
        ("objects.segmentation.rows", np.array([0, 100], np.int64)),
        ("objects.segmentation.rows", np.array([3, 0], np.int64)),
        ("objects.segmentation.ends", np.array([15, 2**62], np.int64)),
        ("images.widths", np.array([100, 100], np.int32)),
        ("splits.0", np.array([0, 3], np.int64)),
        ("splits.0", np.array([0, -1], np.int64)),
    ],
)
def test_a_column_that_fits_no_other_is_refused(name: str, values: Any, whole: Path, tmp_path: Path) -> None:
    path = forged(whole, tmp_path / "a", columns=lambda columns: columns.update({name: values}))
    with pytest.raises(DatasetError, match="invalid cache file"):
        load(path)


def test_a_forged_file_that_is_sound_loads(whole: Path, tmp_path: Path) -> None:
    path = forged(whole, tmp_path / "a", columns=text(coordinates="zero"))
    assert load(path).coordinates == "zero"


def test_saving_replaces_a_file_as_a_whole(tmp_path: Path) -> None:
    save(tmp_path / "a", make_scan(3))
    with (tmp_path / "a").open("rb") as old:
        save(tmp_path / "a", make_scan(4))
        assert len(scan_file.read_scan(old).dataset) == 3
    assert len(load(tmp_path / "a").dataset) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_disk_that_is_full_leaves_the_old_file(tmp_path: Path) -> None:
    save(tmp_path / "a", make_scan(3))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            save(tmp_path / "a", make_scan(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(load(tmp_path / "a").dataset) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


SAVER = """
import sys; from pathlib import Path; from vocdet.formats.scan_file import load, save
one, target = load(Path(sys.argv[1])), Path(sys.argv[2])
for _ in range(50):
    save(target, one); load(target)
"""


def test_two_processes_that_save_leave_a_whole_file(tmp_path: Path) -> None:
    save(tmp_path / "three", make_scan(3))
    save(tmp_path / "four", make_scan(4))
    command = [sys.executable, "-c", SAVER]
    running = [subprocess.Popen([*command, tmp_path / name, tmp_path / "both"]) for name in ("three", "four")]
    assert [process.wait(300) for process in running] == [0, 0]
    assert len(load(tmp_path / "both").dataset) in (3, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["both", "four", "three"]
