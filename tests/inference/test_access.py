"""Who may use a page: this machine without a token, others with it, and pages of the web never."""

from __future__ import annotations

import pytest

from vocdet.inference.access import address_of, is_local, may_access, token_for


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.1"])
def test_the_loopback_needs_no_token(host: str) -> None:
    assert is_local(host)
    assert token_for(host, "") == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "my-computer"])
def test_another_address_gets_a_token_of_its_own(host: str) -> None:
    assert len(token_for(host, "")) > 20
    assert token_for(host, "") != token_for(host, "")
    assert token_for(host, "mine") == "mine"


@pytest.mark.parametrize(
    ("host", "allowed"),
    [("127.0.0.1:8765", True), ("localhost", True), ("[::1]:8765", True), ("evil.example:8765", False), ("", False),
     ("127.0.0.1.evil.example", False), ("127.8.9.1:8765", True), ("LocalHost:8765", True)],
)  # fmt: skip
def test_a_page_of_the_web_that_resolves_to_this_machine_is_refused(host: str, allowed: bool) -> None:
    assert may_access("", "", host, local=True) is allowed


def test_the_token_decides_wherever_a_request_comes_from() -> None:
    assert may_access("secret", "secret", "evil.example", local=False)
    for wrong in ("", "secre", "sécret", "secret "):
        assert not may_access("secret", wrong, "127.0.0.1", local=False)


def test_an_ipv6_address_is_in_brackets() -> None:
    assert (address_of("::1", 80), address_of("127.0.0.1", 80)) == ("http://[::1]:80/", "http://127.0.0.1:80/")
