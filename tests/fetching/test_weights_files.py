"""Files of published weights: verified on this disk, or downloaded from a server that may hang or lie."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from vocdet.errors import CheckpointError, DownloadError, OutputError
from vocdet.fetching import weights_files
from vocdet.fetching.download import Retries, ServerUnavailableError, offline
from vocdet.fetching.weights_files import (
    Downloads,
    download_weights,
    folders,
    named_by_user,
    verified_digest,
    weights_in,
)
from vocdet.models.weights.published import PublishedWeights

if TYPE_CHECKING:
    from tests.fetching.conftest import Site

BODY = np.random.default_rng(0).bytes(3000)
DIGEST = hashlib.sha256(BODY).hexdigest()
Report = Callable[..., Downloads]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch hub's folder, which does not exist yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of weights in vocdet's cache, which does not exist yet."""
    monkeypatch.setenv("VOCDET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


@pytest.fixture
def weights(site: Site) -> PublishedWeights:
    site.files["net.pth"] = BODY
    name = f"net-{DIGEST[:8]}.pth"
    return PublishedWeights(name, f"{site.url}/net.pth", "ImageNet weights", 3000, DIGEST[:8])


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_download_lands_in_the_folder_of_torch_hub(hub: Path, weights: PublishedWeights) -> None:
    notes: list[str] = []
    progress: list[tuple[str, int, int]] = []
    path = download_weights(weights, Downloads(notes.append, lambda *at: progress.append(at)))
    assert path == hub / weights.name
    assert path.read_bytes() == BODY
    assert left_in(hub) == [weights.name]
    assert path.stat().st_mode & 0o777 == 0o644  # other programs of this machine read it, too
    assert notes == [f"downloading ImageNet weights, 3.0 kB: {weights.url} to {path}"]
    assert progress[-1] == (weights.name, 3000, 3000)


def test_the_size_and_the_origin_are_named_before_the_first_request(
    hub: Path, weights: PublishedWeights, site: Site
) -> None:
    requests: list[int] = []
    download_weights(weights, Downloads(lambda _: requests.append(len(site.requests))))
    assert requests == [0]


@pytest.mark.parametrize("digest", ["0" * 8, "0" * 64, DIGEST[:63] + "x"])
def test_a_download_with_another_digest_leaves_nothing(digest: str, hub: Path, weights: PublishedWeights) -> None:
    with pytest.raises(DownloadError, match=f"damaged or incomplete: its SHA-256 begins with {DIGEST[:8]}, not"):
        download_weights(replace(weights, sha256=digest), Downloads())
    assert left_in(hub) == []


def test_a_server_that_hangs_is_given_up_after_one_attempt(hub: Path, weights: PublishedWeights, site: Site) -> None:
    site.always_fail("net.pth", hang=1.0)
    with pytest.raises(ServerUnavailableError, match=r"no answer: timed out$"):
        download_weights(weights, Downloads(retries=Retries(tries=1, timeout=0.05)))
    assert site.arrived.wait(10)
    assert len(site.requests) == 1
    assert left_in(hub) == []


def test_an_attempt_is_one_of_ten_seconds() -> None:
    assert (Downloads().retries.tries, Downloads().retries.timeout) == (1, 10.0)


def test_the_resolution_of_a_name_that_hangs_is_given_up(
    hub: Path, weights: PublishedWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: ended.wait(5) or [])
    with pytest.raises(ServerUnavailableError, match=r"no answer: timed out$"):
        download_weights(weights, Downloads(retries=Retries(tries=1, timeout=0.05)))
    ended.set()


def test_a_missing_file_on_the_server_leaves_nothing(hub: Path, weights: PublishedWeights, site: Site) -> None:
    site.files.clear()
    with pytest.raises(DownloadError, match="the server answers 404"):
        download_weights(weights, Downloads())
    assert left_in(hub) == []


def test_downloads_can_be_switched_off(hub: Path, weights: PublishedWeights, site: Site) -> None:
    with offline(), pytest.raises(DownloadError, match="downloads are switched off by VOCDET_OFFLINE"):
        download_weights(weights, Downloads())
    assert site.requests == []
    download_weights(weights, Downloads())  # on again
    assert len(site.requests) == 1


def test_the_cache_takes_what_the_folder_of_torch_hub_does_not(
    hub: Path, cache: Path, weights: PublishedWeights
) -> None:
    hub.parent.mkdir(parents=True)
    hub.write_text("a file, so the folder cannot be made")
    assert folders() == [hub, cache]
    assert download_weights(weights, Downloads()) == cache / weights.name


def test_without_a_writable_folder_nothing_is_requested(hub: Path, weights: PublishedWeights, site: Site) -> None:
    hub.parent.mkdir(parents=True)
    hub.write_text("a file, so the folder cannot be made")
    with pytest.raises(OutputError, match="cannot be written"):
        download_weights(weights, Downloads())
    assert site.requests == []


def test_a_file_that_is_not_the_published_one_is_never_replaced(
    hub: Path, cache: Path, weights: PublishedWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.mkdir(parents=True)
    (hub / weights.name).write_text("mine")
    with pytest.raises(CheckpointError, match="damaged or incomplete: its SHA-256 begins with "):
        verified_digest(hub / weights.name, weights)
    assert download_weights(weights, Downloads()) == cache / weights.name
    assert (hub / weights.name).read_text() == "mine"
    monkeypatch.setenv("VOCDET_CACHE", "off")
    with pytest.raises(OutputError, match="exists, and is not the published file") as caught:
        download_weights(weights, Downloads())
    assert caught.value.hint == "delete it"


def test_several_trainings_can_download_the_same_file_at_once(hub: Path, weights: PublishedWeights) -> None:
    started = threading.Barrier(4)

    def wait(_: str) -> None:
        started.wait(10)

    def download(_: int) -> Path:
        return download_weights(weights, Downloads(wait))

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(download, range(4))) == {hub / weights.name}
    assert left_in(hub) == [weights.name]
    assert (hub / weights.name).read_bytes() == BODY


def pointer(digest: str) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize 3000\n".encode()


def test_a_digest_can_be_stated_by_a_git_lfs_pointer(hub: Path, weights: PublishedWeights, site: Site) -> None:
    site.files["pointer"] = pointer(DIGEST)
    stated = replace(weights, sha256="", pointer=f"{site.url}/pointer")
    assert download_weights(stated, Downloads()).read_bytes() == BODY
    assert site.asked() == ["pointer", "net.pth"]
    (hub / weights.name).unlink()
    site.files["pointer"] = pointer("1" * 64)
    with pytest.raises(DownloadError, match=f"begins with {DIGEST[:8]}, not 11111111"):
        download_weights(stated, Downloads())


@pytest.mark.parametrize("text", [b"", b"not found", pointer("abc"), pointer(DIGEST) + b" " * 2000])
def test_another_answer_than_a_pointer_ends_the_download(
    text: bytes, hub: Path, weights: PublishedWeights, site: Site
) -> None:
    site.files["pointer"] = text
    with pytest.raises(DownloadError, match="does not state a SHA-256"):
        download_weights(replace(weights, sha256="", pointer=f"{site.url}/pointer"), Downloads())
    assert site.asked() == ["pointer"]


def test_the_environment_names_a_folder_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert named_by_user() is None
    monkeypatch.setenv("VOCDET_WEIGHTS", "")
    assert named_by_user() is None
    monkeypatch.setenv("VOCDET_WEIGHTS", str(tmp_path))
    assert named_by_user() == tmp_path
    monkeypatch.setenv("VOCDET_WEIGHTS", str(tmp_path / "missing"))
    with pytest.raises(CheckpointError, match="no such file or folder, as named by VOCDET_WEIGHTS") as caught:
        named_by_user()
    assert caught.value.hint == "unset VOCDET_WEIGHTS"


def test_the_files_of_a_folder_are_those_with_the_suffixes_of_weights(tmp_path: Path) -> None:
    for name in ("b.pth", "a.safetensors", "c.pt", "notes.txt", "d.bin"):
        (tmp_path / name).touch()
    (tmp_path / "folder.pth").mkdir()
    assert [path.name for path in weights_in(tmp_path)] == ["a.safetensors", "b.pth", "c.pt"]


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, weights: PublishedWeights) -> None:
    with pytest.raises(CheckpointError, match="cannot be read: no such file or directory"):
        verified_digest(tmp_path / "missing.pth", weights)


def test_a_file_without_a_known_digest_is_left_to_its_tensors(tmp_path: Path, weights: PublishedWeights) -> None:
    file = tmp_path / "a.pth"
    file.write_bytes(BODY)
    assert verified_digest(file, replace(weights, sha256="")) == DIGEST
    assert weights_files.by_hand(weights).startswith(f"download {weights.url} (3.0 kB) to ")
