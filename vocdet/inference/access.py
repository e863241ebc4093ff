"""Who may use a page or a service, and how much: this machine alone, or whoever has the token."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address

from vocdet.errors import ArgumentError, MediaError
from vocdet.wording import reason


@dataclass(frozen=True, slots=True)
class ServeLimits:
    """What a service accepts."""

    megabytes: float = 20.0  # of a body
    megapixels: float = 50.0  # of an image
    batch: int = 8  # images per forward pass: those that wait
    waiting: int = 256  # requests; further ones are refused
    seconds: float = 30.0  # for a body to arrive

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ArgumentError(f"batch is {self.batch}", hint="give 1 or more: `batch=1`")


@contextmanager
def binding(what: str, host: str, port: int) -> Iterator[None]:
    """Raise a `MediaError` if the block cannot use this address."""
    try:
        yield
    except (OSError, OverflowError) as error:
        text = reason(error) if isinstance(error, OSError) else "there is no such port"
        hint = "choose another port, or a free one: `port=0`"
        raise MediaError(f"no {what} at {host}, port {port}: {text}", hint=hint) from error


def is_local(host: str) -> bool:
    """Whether an address can only be reached from this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def token_for(host: str, token: str) -> str:
    """The token that is needed: the one that was given, a new one for an address that others reach, else none ("")."""
    return token or ("" if is_local(host) else secrets.token_urlsafe(16))


def may_access(needed: str, given: str, host_header: str, *, local: bool) -> bool:
    """Whether a request has the token. Without one, its Host must be this machine: a page of the web has another."""
    if needed:
        return secrets.compare_digest(needed.encode(), given.encode(errors="replace"))
    name = host_header.rpartition(":")[0] if host_header.count(":") == 1 or "]:" in host_header else host_header
    return not local or is_local(name.strip("[]").lower())


def family_of(host: str) -> socket.AddressFamily:
    """The family of addresses that a host belongs to: IPv6 for one with colons."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def address_of(host: str, port: int) -> str:
    """The address of a page or service, for a browser."""
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
