"""`vocdet fetch`: what is printed of it, and how it ends."""

from __future__ import annotations

import hashlib
import io
import shutil
import signal
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import typer
from vocdet_cli.fetch import fetch_into

from vocdet.fetching import download
from vocdet.fetching.catalog import Archive, Collection, FileCount
from vocdet.workflows.fetch import FetchOptions

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def large_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for the real archives, wherever the tests run."""
    usage = type(shutil.disk_usage("."))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**14, 0, 10**14))


@pytest.fixture
def mirror(tmp_path: Path, serving: Callable[[Any], AbstractContextManager[str]]) -> Iterator[tuple[Path, str]]:
    """A folder, and the URL at which it is served."""
    folder = tmp_path / "served"
    folder.mkdir()
    with serving(folder) as url:
        yield folder, url


def small(folder: Path) -> Collection:
    """COCO's val in small: three images in a zip in this folder."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for i in range(3):
            archive.writestr(f"val2017/{i:012}.jpg", b"jpeg")
    data = packed.getvalue()
    (folder / "val2017.zip").write_bytes(data)
    holds = (FileCount("images in val2017", 3, "val2017", ".jpg"),)
    url, md5 = "http://example.invalid/val2017.zip", hashlib.md5(data).hexdigest()
    return Collection("coco2017", (Archive("val", "val2017.zip", (url,), md5, len(data), 12, holds),), "coco2017", "")


def test_every_verification_is_a_line(
    mirror: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, url = mirror
    collection, to = small(folder), tmp_path / "coco"
    fetch_into(collection, to, FetchOptions(mirror=url))
    out, err = capsys.readouterr()
    data = (folder / "val2017.zip").read_bytes()
    size, md5 = len(data), hashlib.md5(data).hexdigest()
    assert out.splitlines() == [
        f"PASSED  val2017.zip: {size} bytes, md5 {md5}",
        "PASSED  val2017.zip: 3 images in val2017",
        f"coco2017 is in {to}",
        f"next: vocdet check {to}",
    ]
    assert err.splitlines() == [
        f"downloading {url}/val2017.zip: {size} bytes",
        f"the archives take {size} bytes: the same command with --no-keep deletes them",
    ]
    fetch_into(collection, to, FetchOptions(mirror=url, keep=False))
    out, err = capsys.readouterr()
    assert out.startswith("PASSED  val2017.zip: already there: 3 files\n")
    assert err == f"deleted {to / 'val2017.zip'}\n"


def test_a_failure_exits_with_1(mirror: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, url = mirror
    collection = small(folder)
    (folder / "val2017.zip").unlink()
    with pytest.raises(typer.Exit) as ended:
        fetch_into(collection, tmp_path / "coco", FetchOptions(only=["val"], mirror=url))
    assert ended.value.exit_code == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"FAILED  val2017.zip: {url}/val2017.zip: the server answers 404 File not found"
    assert out[1].startswith("  hint: download http://example.invalid/val2017.zip by other means to ")
    assert len(out) == 2


def test_an_interrupted_download_names_the_partial_file(
    mirror: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = mirror
    collection, to = small(folder), tmp_path / "coco"
    to.mkdir()
    (to / "val2017.zip.part").write_bytes((folder / "val2017.zip").read_bytes()[:100])
    monkeypatch.setattr(download, "_receive", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        fetch_into(collection, to, FetchOptions(mirror=url))
    kept = f"100 bytes are saved in {to / 'val2017.zip.part'}: run the same command again to resume"
    assert kept in capsys.readouterr().err


def test_official_archives_are_requested_by_name(vocdet: Run, mirror: tuple[Path, str]) -> None:
    folder, url = mirror
    (folder / "VOCtest_06-Nov-2007.tar").write_bytes(b"another")
    code, out, _ = vocdet("fetch", "voc2007", "--url", url)
    assert code == 1
    assert f"FAILED  VOCtrainval_06-Nov-2007.tar: {url}/VOCtrainval_06-Nov-2007.tar: the server answers 404" in out
    assert "VOCtest_06-Nov-2007.tar: the file on the server has 7 bytes, the archive 451020800" in out
    assert "https://thor.robots.ox.ac.uk/pascal/VOC/voc2007/VOCtest_06-Nov-2007.tar by other means" in out
    assert not list(Path().iterdir())


def test_coco_has_its_own_default_folder(vocdet: Run, mirror: tuple[Path, str]) -> None:
    code, out, _ = vocdet("fetch", "coco2017", "--only", "val", "--only", "annotations", "--url", mirror[1])
    assert code == 1
    assert [line.split()[1] for line in out.splitlines() if line.startswith("FAILED")] == [
        "annotations_trainval2017.zip:",
        "val2017.zip:",
    ]
    assert f"by other means to {Path('coco2017') / 'val2017.zip'}" in out


def test_unknown_datasets_and_splits_are_errors(vocdet: Run) -> None:
    assert vocdet("fetch", "voc2012", "--only", "test")[::2] == (
        1, "error: voc2012 has no part 'test'\n  hint: its parts: trainval\n",
    )  # fmt: skip
    code, _, err = vocdet("fetch", "voc2007", "x", "--url", "/home/me/archives")
    assert (code, err) == (
        1, "error: '/home/me/archives' is not an HTTP URL\n  hint: use http://… or https://…\n",
    )  # fmt: skip
    assert vocdet("fetch", "voc2005")[0] == 2
    assert not list(Path().iterdir())
