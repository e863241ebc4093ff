"""Downloads over a line that breaks, and from servers that misbehave."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vocdet.errors import ArgumentError, DownloadError, OutputError
from vocdet.fetching.download import Retries, ServerUnavailableError, checked_url, discard, download, finish, md5_of

if TYPE_CHECKING:
    from tests.fetching.conftest import Site

BODY = np.random.default_rng(0).bytes(3000)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "a.tar.part"


@pytest.fixture(autouse=True)
def served(site: Site) -> None:
    site.files["a.tar"] = BODY


class Fetched:
    """A download that records its waits, progress and notes."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.progress: list[tuple[int, int]] = []
        self.notes: list[str] = []

    def __call__(self, url: str, part: Path, *, size: int = 0, **retries: Any) -> None:
        download(
            url, part, size=size, retries=Retries(sleep=self.slept.append, **retries),
            progress=lambda *at: self.progress.append(at), note=self.notes.append,
        )  # fmt: skip


@pytest.fixture
def fetch() -> Fetched:
    return Fetched()


def test_a_file_arrives_whole_and_takes_its_name(site: Site, part: Path, fetch: Fetched) -> None:
    fetch(f"{site.url}/a.tar", part, size=3000)
    finish(part, part.with_suffix(""))
    assert (part.parent / "a.tar").read_bytes() == BODY
    assert [path.name for path in part.parent.iterdir()] == ["a.tar"]
    assert fetch.progress[-1] == (3000, 3000)
    assert site.requests[0][1]["User-Agent"].startswith("vocdet/")


def test_an_interrupted_download_resumes(site: Site, part: Path, fetch: Fetched) -> None:
    site.fail(cut=1000)
    fetch(f"{site.url}/a.tar", part, size=3000)
    assert part.read_bytes() == BODY
    assert site.ranges() == [None, "bytes=1000-"]
    assert site.requests[1][1]["If-Range"].strip('"')
    assert fetch.slept == [1]
    assert "the answer ended after 1000 of 3000 bytes; retrying in 1 s" in fetch.notes[0]


def test_a_later_call_resumes(site: Site, part: Path, fetch: Fetched) -> None:
    site.fail(cut=1000)
    with pytest.raises(ServerUnavailableError):
        fetch(f"{site.url}/a.tar", part, tries=1)
    fetch(f"{site.url}/a.tar", part)
    assert part.read_bytes() == BODY
    assert site.ranges() == [None, "bytes=1000-"]


def test_a_complete_download_is_not_requested(site: Site, part: Path, fetch: Fetched) -> None:
    fetch(f"{site.url}/a.tar", part, size=3000)
    fetch(f"{site.url}/a.tar", part, size=3000)
    assert site.ranges() == [None]


def test_any_number_of_interruptions_is_fine_while_bytes_arrive(site: Site, part: Path, fetch: Fetched) -> None:
    for _ in range(9):
        site.fail(cut=300)
    fetch(f"{site.url}/a.tar", part, size=3000, tries=2)
    assert part.read_bytes() == BODY
    assert fetch.slept == [1] * 9


def test_a_download_gives_up_without_new_bytes_and_retains_the_partial_file(
    site: Site, part: Path, fetch: Fetched
) -> None:
    site.fail(cut=1000)
    for _ in range(5):
        site.fail(cut=0)
    with pytest.raises(ServerUnavailableError, match=r"ended after 1000 of 3000 bytes, 5 times in a row"):
        fetch(f"{site.url}/a.tar", part)
    assert part.read_bytes() == BODY[:1000]
    assert fetch.slept == [1, 2, 4, 8]


def test_a_server_without_ranges_is_fetched_from_the_start(site: Site, part: Path, fetch: Fetched) -> None:
    site.fail(cut=1000, ranges=False)
    site.fail(ranges=False)
    fetch(f"{site.url}/a.tar", part, size=3000)
    assert part.read_bytes() == BODY


def test_a_server_without_ranges_that_always_interrupts_is_given_up(site: Site, part: Path, fetch: Fetched) -> None:
    site.always_fail("a.tar", cut=1000, ranges=False)
    with pytest.raises(ServerUnavailableError, match="3 times in a row"):
        fetch(f"{site.url}/a.tar", part, tries=3)
    assert site.ranges() == [None, "bytes=1000-", "bytes=1000-"]


def test_a_file_that_changed_meanwhile_is_fetched_from_the_start(site: Site, part: Path, fetch: Fetched) -> None:
    site.fail(cut=1000)
    with pytest.raises(ServerUnavailableError):
        fetch(f"{site.url}/a.tar", part, tries=1)
    site.files["a.tar"] = BODY[::-1]
    fetch(f"{site.url}/a.tar", part)
    assert part.read_bytes() == BODY[::-1]
    assert site.ranges() == [None, "bytes=1000-"]


def test_a_file_that_became_shorter_is_fetched_from_the_start(site: Site, part: Path, fetch: Fetched) -> None:
    part.write_bytes(b"x" * 2000)
    site.files["a.tar"] = BODY[:1500]
    Path(f"{part}.info").write_text(json.dumps({"url": "", "validator": "", "total": 3000}))
    fetch(f"{site.url}/a.tar", part)
    assert part.read_bytes() == BODY[:1500]
    assert site.ranges() == ["bytes=2000-", None]
    assert "ends before byte 2000; starting over" in fetch.notes[0]


def test_the_range_of_another_file_is_not_appended(site: Site, part: Path, fetch: Fetched) -> None:
    part.write_bytes(b"x" * 1000)
    Path(f"{part}.info").write_text(json.dumps({"url": "", "validator": "", "total": 2999}))
    fetch(f"{site.url}/a.tar", part)
    assert part.read_bytes() == BODY
    assert "starting over" in fetch.notes[0]


def test_an_unexpected_range_starts_the_download_over(site: Site, part: Path, fetch: Fetched) -> None:
    site.fail(cut=1000)
    site.fail(headers={"Content-Range": "bytes 500-2999/3000"})
    fetch(f"{site.url}/a.tar", part)
    assert part.read_bytes() == BODY
    assert site.ranges() == [None, "bytes=1000-", None]


def test_a_part_from_one_server_is_finished_from_another(site: Site, part: Path, fetch: Fetched) -> None:
    site.fail(cut=1000)
    with pytest.raises(ServerUnavailableError):
        fetch(f"{site.url}/a.tar", part, tries=1, size=3000)
    site.files["mirror/a.tar"] = BODY
    fetch(f"{site.url}/mirror/a.tar", part, size=3000)
    assert part.read_bytes() == BODY
    assert site.ranges() == [None, "bytes=1000-"]
    assert "If-Range" not in site.requests[1][1]  # each server has marks of its own


def test_a_partial_file_copied_by_hand_resumes_where_the_size_is_known(site: Site, part: Path, fetch: Fetched) -> None:
    part.write_bytes(BODY[:700])
    fetch(f"{site.url}/a.tar", part, size=3000)
    assert (part.read_bytes(), site.ranges()) == (BODY, ["bytes=700-"])
    discard(part)
    part.write_bytes(BODY[:700])
    fetch(f"{site.url}/a.tar", part)
    assert (part.read_bytes(), site.ranges()[1:]) == (BODY, [None])


def test_a_partial_file_that_is_too_long_is_discarded(site: Site, part: Path, fetch: Fetched) -> None:
    part.write_bytes(b"x" * 4000)
    fetch(f"{site.url}/a.tar", part, size=3000)
    assert part.read_bytes() == BODY


def test_the_date_replaces_a_weak_tag(site: Site, part: Path, fetch: Fetched) -> None:
    date = "Tue, 06 Nov 2007 00:00:00 GMT"
    site.fail(cut=1000, headers={"ETag": 'W/"1"', "Last-Modified": date})
    fetch(f"{site.url}/a.tar", part)
    assert site.requests[1][1]["If-Range"] == date
    assert part.read_bytes() == BODY


def test_an_unexpected_size_is_refused_before_anything_is_written(site: Site, part: Path, fetch: Fetched) -> None:
    part.write_bytes(BODY[:700])
    site.files["a.tar"] = b"sorry"
    with pytest.raises(DownloadError, match="has 5 bytes, the archive 3000"):
        fetch(f"{site.url}/a.tar", part, size=3000)
    assert (fetch.slept, part.exists()) == ([1], False)  # no bytes from 700 on: it had started over


def test_a_wrong_content_length_is_an_error(site: Site, part: Path, fetch: Fetched) -> None:
    site.always_fail("a.tar", length=4000)
    with pytest.raises(DownloadError, match="has 4000 bytes, the archive 3000"):
        fetch(f"{site.url}/a.tar", part, size=3000)
    with pytest.raises(ServerUnavailableError):
        fetch(f"{site.url}/a.tar", part)


def test_without_a_content_length_the_known_size_is_verified(site: Site, part: Path, fetch: Fetched) -> None:
    site.fail(no_length=True, cut=1000)
    fetch(f"{site.url}/a.tar", part, size=3000)
    assert part.read_bytes() == BODY
    assert site.ranges() == [None, "bytes=1000-"]


def test_an_endless_body_is_cut_off(site: Site, part: Path, fetch: Fetched) -> None:
    site.fail(no_length=True)
    with pytest.raises(DownloadError, match="sends more than the expected 2000 bytes"):
        fetch(f"{site.url}/a.tar", part, size=2000)
    assert not part.exists()


def test_a_login_page_is_not_mistaken_for_an_archive(site: Site, part: Path, fetch: Fetched) -> None:
    part.write_bytes(BODY[:700])
    site.fail(ranges=False, no_length=True, headers={"Content-Type": "text/html; charset=utf-8"})
    with pytest.raises(DownloadError, match="a web page") as caught:
        fetch(f"{site.url}/a.tar", part, size=3000)
    assert "login" in caught.value.hint
    assert part.read_bytes() == BODY[:700]


def test_a_missing_file_is_requested_once(site: Site, part: Path, fetch: Fetched) -> None:
    with pytest.raises(DownloadError, match=r"/b\.tar: the server answers 404 Not Found") as caught:
        fetch(f"{site.url}/b.tar", part)
    assert not isinstance(caught.value, ServerUnavailableError)
    assert (site.asked(), fetch.slept) == (["b.tar"], [])
    assert list(part.parent.iterdir()) == []


def test_a_busy_server_is_retried(site: Site, part: Path, fetch: Fetched) -> None:
    site.fail(status=503)
    site.fail(status=429, headers={"Retry-After": "7"})
    site.fail(status=502, headers={"Retry-After": "86400"})
    fetch(f"{site.url}/a.tar", part)
    assert part.read_bytes() == BODY
    assert fetch.slept == [1, 7, 60]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_followed_with_the_range(site: Site, part: Path, fetch: Fetched, status: int) -> None:
    site.always_fail("old.tar", status=status, headers={"Location": f"{site.url}/a.tar"})
    part.write_bytes(BODY[:700])
    fetch(f"{site.url}/old.tar", part, size=3000)
    assert part.read_bytes() == BODY
    assert site.ranges() == ["bytes=700-"] * 2


@pytest.mark.parametrize("where", ["file:///etc/passwd", "ftp://127.0.0.1/a.tar", "/old.tar"])
def test_an_unusable_redirect_is_an_error(site: Site, part: Path, fetch: Fetched, where: str) -> None:
    site.always_fail("old.tar", status=302, headers={"Location": where})
    with pytest.raises(DownloadError) as caught:
        fetch(f"{site.url}/old.tar", part)
    assert "/old.tar: " in str(caught.value)
    assert (fetch.slept, part.exists()) == ([], False)


def test_a_silent_server_times_out(site: Site, part: Path, fetch: Fetched) -> None:
    site.fail(hang=1)
    site.fail(hang=1)
    with pytest.raises(ServerUnavailableError, match="no answer: timed out, 2 times in a row"):
        fetch(f"{site.url}/a.tar", part, tries=2, timeout=0.05)


def test_an_unreachable_server_is_named(part: Path, fetch: Fetched, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        monkeypatch.setenv("no_proxy", "*")
        with pytest.raises(ServerUnavailableError, match="no answer: connection refused, 5 times in a row"):
            fetch(f"http://127.0.0.1:{port}/a.tar", part)
    assert fetch.slept == [1, 2, 4, 8]


@pytest.mark.parametrize(
    "url", ["", "a.tar", "file:///etc/passwd", "ftp://host/a", "http://", "http://host:port/a", "http://[::1", "http://me:secret@host/"]
)  # fmt: skip
def test_only_http_urls_are_downloaded(part: Path, fetch: Fetched, url: str) -> None:
    with pytest.raises(ArgumentError, match="is not an HTTP URL"):
        fetch(url, part)


def test_special_characters_in_a_url_are_quoted(site: Site, part: Path, fetch: Fetched) -> None:
    assert checked_url("http://host/größe 1%20/a.tar?b=c") == "http://host/gr%C3%B6%C3%9Fe%201%20/a.tar?b=c"


def test_a_partial_file_that_cannot_be_written_is_an_output_error(site: Site, part: Path, fetch: Fetched) -> None:
    part.mkdir()
    with pytest.raises(OutputError, match=r"a\.tar\.part: cannot be written"):
        fetch(f"{site.url}/a.tar", part)


def test_a_corrupt_info_file_is_ignored(site: Site, part: Path, fetch: Fetched) -> None:
    for nonsense in ("", "[]", "{}", '{"url": "", "validator": "a\\nb", "total": 3000}'):
        part.write_bytes(BODY[:700])
        Path(f"{part}.info").write_text(nonsense)
        fetch(f"{site.url}/a.tar", part, size=3000)
        assert part.read_bytes() == BODY


def test_the_md5_of_a_file_is_what_rfc_1321_says(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert md5_of(tmp_path / "abc") == "900150983cd24fb0d6963f7d28e17f72"
