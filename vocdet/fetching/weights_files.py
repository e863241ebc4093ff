"""Files of published weights: find them on this disk and verify them, or download them."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from vocdet.errors import CheckpointError, DownloadError, OutputError
from vocdet.fetching.download import Notify, Retries, check_online, discard, download, finish, sha256_of, size_text
from vocdet.files import is_file, is_folder, make_folder, may_list, read_limited, unwritable
from vocdet.formats.cache import location
from vocdet.models.weights.published import PublishedWeights
from vocdet.wording import reason

WEIGHTS_VARIABLE = "VOCDET_WEIGHTS"  # environment variable: a folder of weights, or a file
WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt")
_POINTER = re.compile(rb"^oid sha256:([0-9a-f]{64})$", re.MULTILINE)
_LONGEST_POINTER = 1024  # bytes


@dataclass(frozen=True, slots=True)
class Downloads:
    """What a download of weights reports, and when it gives up."""

    note: Notify = lambda _: None
    progress: Callable[[str, int, int], None] = lambda *_: None  # the file's name; bytes done, total bytes
    retries: Retries = field(default_factory=lambda: Retries(tries=1, timeout=10.0))


SILENT = Downloads()


def folders() -> list[Path]:
    """The folders of published weights: that of torch hub, shared with other programs, and that in vocdet's cache."""
    cache = location()
    return [Path(torch.hub.get_dir()) / "checkpoints", *([cache / "weights"] if cache else [])]


def named_by_user() -> Path | None:
    """The folder or file that the environment names; a missing one is a `CheckpointError`."""
    text = os.environ.get(WEIGHTS_VARIABLE, "")
    if not text:
        return None
    path = Path(text).expanduser()
    if not is_file(path) and not is_folder(path):
        raise CheckpointError(
            f"no such file or folder, as named by {WEIGHTS_VARIABLE}", place=path, hint=f"unset {WEIGHTS_VARIABLE}"
        )
    if is_folder(path) and not may_list(path):
        raise CheckpointError(
            f"{WEIGHTS_VARIABLE} names a folder that cannot be read", place=path, hint=f"unset {WEIGHTS_VARIABLE}"
        )
    return path


def weights_in(folder: Path) -> list[Path]:
    """The files of a folder that may hold weights, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.suffix in WEIGHTS_SUFFIXES and is_file(path))


def verified_digest(path: Path, weights: PublishedWeights) -> str:
    """The SHA-256 of a file; a `CheckpointError` if it is known that the published file has another one."""
    try:
        found = sha256_of(path)
    except OSError as error:
        raise CheckpointError(f"cannot be read: {reason(error)}", place=path) from error
    if not found.startswith(weights.sha256):
        problem = f"damaged or incomplete: its SHA-256 begins with {found[:8]}, not {weights.sha256[:8]}"
        raise CheckpointError(problem, place=path)
    return found


def download_weights(weights: PublishedWeights, downloads: Downloads) -> Path:
    """Download weights into the first of `folders()` that accepts a new file, and verify their SHA-256.

    Raises a `DownloadError`, or an `OutputError` if no folder accepts it; then nothing is left of it. Processes that
    download the same file at the same time do not disturb each other.
    """
    check_online()
    path, part = _new_file(weights.name)
    try:
        downloads.note(f"downloading {weights.title}, {size_text(weights.size)}: {weights.url} to {path}")
        weights = _with_digest(weights, downloads.retries)
        progress = partial(downloads.progress, weights.name)
        download(weights.url, part, retries=downloads.retries, progress=progress, note=downloads.note)
        try:
            verified_digest(part, weights)
        except CheckpointError as error:
            hint = "try again, or download it by other means"
            raise DownloadError(f"{weights.url}: {error.problem}", hint=hint) from error
        part.chmod(0o644)  # as other programs write into these folders
        finish(part, path)
    except BaseException:
        discard(part)
        raise
    return path


def by_hand(weights: PublishedWeights) -> str:
    """How to provide the weights without a download by vocdet."""
    return f"download {weights.url} ({size_text(weights.size)}) to {folders()[0] / weights.name}"


def _new_file(name: str) -> tuple[Path, Path]:
    """The path of a new file in the first folder that accepts one, and an empty partial file beside it."""
    errors: list[OutputError] = []
    for path in _free(name):
        part = path.with_name(f".{name}.{secrets.token_hex(4)}.part")
        try:
            make_folder(path.parent)
            part.touch(exist_ok=False)
        except OutputError as error:
            errors.append(error)
        except OSError as error:
            errors.append(unwritable(path, error))
        else:
            return path, part
    if errors:
        raise errors[0]
    raise OutputError("exists, and is not the published file", place=folders()[0] / name, hint="delete it")


def _free(name: str) -> Iterator[Path]:
    """The paths for a new file: an existing one, which is not the published file, is not replaced."""
    return (folder / name for folder in folders() if not os.path.lexists(folder / name))


def _with_digest(weights: PublishedWeights, retries: Retries) -> PublishedWeights:
    """The weights with the SHA-256 that their Git LFS pointer states, where it is not known."""
    if weights.sha256:
        return weights
    with TemporaryDirectory() as folder:
        file = Path(folder) / "pointer"
        download(weights.pointer, file, retries=retries)
        try:
            stated = _POINTER.search(read_limited(file, _LONGEST_POINTER))
        except OSError:
            stated = None
    if stated is None:
        raise DownloadError(f"{weights.pointer}: does not state a SHA-256")
    return replace(weights, sha256=stated[1].decode())
