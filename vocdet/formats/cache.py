"""Reading a dataset that has been read before, from one file of columns.

The file is used as long as the dataset is made of the same files: the same names with the same sizes, times of change
and inodes, for the same arguments and the same vocdet. It lies in `$VOCDET_CACHE`, else in the user's folder for
caches, and may be deleted at any time. `VOCDET_CACHE=off` does without.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from hashlib import blake2b
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocdet import __version__
from vocdet.data.image_files import IMAGE_SUFFIXES
from vocdet.errors import VocdetError
from vocdet.formats import registry, scan_file
from vocdet.formats.scan import Progress, Scan
from vocdet.formats.source import Source

Facts = NDArray[np.int64]  # (5, N)

LARGEST = 2 << 30  # bytes of all files in the cache; those that have not been used for longest go first
OLDEST = 90 * 86400  # seconds since a file was last used

_SETTLED = 2_000_000_000  # ns; a file may change twice within one tick of its clock, so newer ones are not trusted
_MANY = 50_000  # files from which on most must be of `_KINDS`: a home folder is not searched to its end
_KINDS = tuple(suffix.encode() + b"\0" for suffix in (*IMAGE_SUFFIXES, ".xml", ".json", ".txt"))
_FACTS = tuple(
    (attrgetter(name), np.uint64 if name == "st_ino" else np.int64)
    for name in ("st_mode", "st_size", "st_mtime_ns", "st_ctime_ns", "st_ino")
)
_FEW = 256  # files that are looked at together: what is made for them stays in the processor's cache
_CLOSED = -1
_OURS = re.compile(r"[0-9a-f]{32}\.safetensors")
_LEFT_BEHIND = re.compile(r"\.[0-9a-f]{32}\.safetensors\..+")  # by a process that was killed while it saved


def read(
    source: Source,
    *,
    without_images: bool = False,
    without_split_files: bool = False,
    progress: Progress | None = None,
) -> Scan:
    """What `registry.read` gives, from the cache where nothing has changed since it was saved there.

    A dataset that was written to in the last two seconds is not saved, nor one that changes while it is read. A cache
    that cannot be used or written is passed over in silence.
    """
    options = {"without_images": without_images, "without_split_files": without_split_files}
    fresh = partial(registry.read, source, **options, progress=progress)
    place = _place(source, options)
    before = _take_key(place) if place is not None else None
    if place is None or before is None:
        return fresh()
    kept = _load(place, before)
    if kept is not None:
        if progress is not None:
            progress(len(kept.dataset), len(kept.dataset))
        return kept
    found = fresh()
    after = _take_key(place) if before.settled else None
    if after is not None and after.digest == before.digest:
        _save(place, after, found)
    return found


def location() -> Path | None:
    """The folder of the cache, which may not exist; None if it is switched off or the user has no home folder."""
    setting = os.environ.get("VOCDET_CACHE", "")
    if setting.lower() in ("0", "off"):
        return None
    if setting not in ("", "1", "on"):
        return Path(setting)
    from platformdirs import user_cache_path  # only the default location needs it

    try:
        folder = user_cache_path("vocdet", appauthor=False)
    except RuntimeError:  # no home folder
        return None
    if not folder.is_absolute():  # the XDG specification ignores relative paths; older releases of platformdirs do not
        folder = Path(os.path.expanduser("~/.cache/vocdet"))  # noqa: PTH111 - pathlib raises without a home folder
    return folder if folder.is_absolute() else None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the files of a dataset are, and where its columns are kept."""

    file: Path  # in the cache
    folder: str  # that holds the dataset, with every link followed
    single: tuple[str, ...]  # files that count wherever they are, likewise
    arguments: str


def _place(source: Source, options: dict[str, bool]) -> _Place | None:
    """None where nothing is to be kept: there is no cache, it is in the dataset, or the path is no text."""
    cached = location()
    path, labels = source.path, source.labels
    given = path if os.path.isdir(path) else _folder_of(path)  # noqa: PTH112 - never raises
    try:
        folder = os.path.realpath(given)
        single = tuple(os.path.realpath(file) for file in (path, labels) if file is not None and file != given)
        if cached is None or Path(os.path.realpath(cached)).is_relative_to(folder) or not _is_text(folder):
            return None
    except OSError:  # the current folder is gone
        return None
    # The path as it was given is in every finding, so that it makes another scan of the same files.
    all_of_it = repr((str(path), os.path.realpath(path), source, options, single))
    name = blake2b(all_of_it.encode(), digest_size=16).hexdigest()
    return _Place(cached / f"{name}.safetensors", folder, single, all_of_it)


def _is_text(path: str) -> bool:
    return not re.search("[\ud800-\udfff]", path)


def _folder_of(file: Path) -> Path:
    """The folder of the dataset of a JSON or YAML file: the one above where the file is in annotations/."""
    return file.parent.parent if file.parent.name.lower() in ("annotations", "annotation") else file.parent


@dataclass(slots=True)
class _Key:
    """What the files of a dataset are, without having been opened."""

    taken: int  # ns since 1970
    newest: int = 0  # time of the last change, ns since 1970
    names: dict[str, bytes] = field(default_factory=dict)  # of all in a folder, by its path without links
    hashed: Any = field(default_factory=lambda: blake2b(digest_size=32))

    @property
    def digest(self) -> str:
        return str(self.hashed.hexdigest())

    @property
    def settled(self) -> bool:
        """Whether the last change is so long ago that another would show."""
        return self.newest < self.taken - _SETTLED

    def add(self, *values: object) -> None:
        self.hashed.update(repr(values).encode())

    def add_facts(self, facts: Facts) -> None:
        self.hashed.update(facts)
        changed = facts[2] if sys.platform == "win32" else facts[3]  # Windows has the time of creation there
        self.newest = max(self.newest, int(changed.max(initial=0)))


def _take_key(place: _Place) -> _Key | None:
    """The key of a dataset as it is now; None where a file cannot be looked at, or it looks like no dataset.

    Hidden folders are passed over, as readers do, unless a link leads into them. None leads out.
    """
    key = _Key(time.time_ns())
    key.add(__version__, scan_file.VERSION, _own_code(), place.arguments)
    waiting, files, limit = [place.folder], 0, _MANY
    try:
        for file in place.single:
            key.add_facts(_facts([file], None))
        while waiting:
            folder = waiting.pop()
            if folder not in key.names:
                waiting += _add_folder(key, folder, place.folder)
                files += key.names[folder].count(b"\0")
            if files > limit:
                limit *= 2
                if 2 * sum(text.lower().count(kind) for text in key.names.values() for kind in _KINDS) < files:
                    return None
    except (OSError, OverflowError):  # there are file systems with inodes of 128 bits
        return None
    return key


def _add_folder(key: _Key, folder: str, root: str) -> list[str]:
    """Add the files of a folder to the key; the folders to go on in."""
    with _opened(folder) as number:
        names = [] if number == _CLOSED else os.listdir(folder if number is None else number)  # noqa: PTH208
        paths = names if number is not None else [f"{folder}{os.sep}{name}" for name in names]
        facts = _facts(paths, number)
    kinds = facts[0] & 0o170000
    folders = np.flatnonzero(kinds == stat.S_IFDIR)
    facts[1:, folders] = 0  # what is in it counts, not what it says of itself
    text = "\0".join((*names, "")).encode("utf-8", "surrogatepass")
    key.add(folder, len(names), len(text))
    key.hashed.update(text)
    key.add_facts(facts)
    key.names[folder] = text
    inner = [f"{folder.rstrip(os.sep)}{os.sep}{names[i]}" for i in folders if names[i][0] != "."]
    links = [names[i] for i in np.flatnonzero(kinds == stat.S_IFLNK)]
    return inner + [target for name in links if (target := _add_link(key, f"{folder}{os.sep}{name}", root))]


def _add_link(key: _Key, link: str, root: str) -> str:
    """Add what a link leads to, as far as that is inside `root`; its path if it is a folder."""
    target = os.path.realpath(link)
    key.add(target)
    if not Path(target).is_relative_to(root) or not os.path.lexists(target):
        return ""
    facts = _facts([target], None)
    if stat.S_ISDIR(int(facts[0, 0])):
        return target
    key.add_facts(facts)
    return ""


@contextmanager
def _opened(folder: str) -> Iterator[int | None]:
    """The number of a folder, `_CLOSED` where it may not be listed, None where the system has no such numbers.

    With it, the path of the folder need not be followed anew for every file in it.
    """
    if os.stat not in os.supports_dir_fd:
        yield None
        return
    try:
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        yield _CLOSED
        return
    try:
        yield number
    finally:
        os.close(number)


def _facts(paths: list[str], folder: int | None) -> Facts:
    """Mode, size, time of writing, time of change and inode of files (5, N); times in ns since 1970."""
    facts = np.empty((5, len(paths)), np.int64)
    for first in range(0, len(paths), _FEW):
        found = [os.lstat(path, dir_fd=folder) for path in paths[first : first + _FEW]]
        for row, (get, dtype) in zip(facts, _FACTS, strict=True):
            row[first : first + _FEW] = np.fromiter(map(get, found), dtype, len(found)).view(np.int64)
    return facts


@cache
def _own_code() -> str:
    """A hash of the sizes and times of the files that read datasets: while vocdet is worked on, its version stays."""
    hashed = blake2b(digest_size=16)
    package = Path(__file__).parents[1]
    with suppress(OSError):  # it is in an archive
        for file in sorted(
            file for pattern in ("*.py", "data/**/*.py", "formats/**/*.py") for file in package.glob(pattern)
        ):
            found = file.stat()
            hashed.update(repr((file.name, found.st_size, found.st_mtime_ns)).encode())
    return hashed.hexdigest()


def _load(place: _Place, key: _Key) -> Scan | None:
    """What was saved for this key; None where there is nothing, or nothing that can be trusted."""
    try:
        if not place.file.is_file():
            return None
        with place.file.open("rb") as file:
            if not _is_ours(file.fileno()):
                return None
            header = scan_file.read_header(file)
            if header.about.get("key") != key.digest:
                return None
            found = scan_file.read_scan(file)
        if sys.platform == "win32" and not _is_covered(found, key):
            return None  # whose file it is cannot be told
    except (OSError, ValueError, VocdetError):
        return None
    with suppress(OSError):
        os.utime(place.file)  # it has been used
    return found


def _is_ours(file: int) -> bool:
    """Whether the user who runs this has made an open file: another's may be sound and yet have wrong boxes in it."""
    return sys.platform == "win32" or os.fstat(file).st_uid == os.getuid()


def _is_covered(found: Scan, key: _Key) -> bool:
    """Whether the folders of all files that a scan names are in the key, which shows what comes or goes there."""
    images = found.dataset.images
    folders = {file.rpartition("/")[0] for names in (images.files, images.sources, ("",)) for file in names}
    for folder in folders:
        real = os.path.realpath(found.dataset.root / folder)
        while not os.path.lexists(real):  # images may be missing, and their folder with them
            real = os.path.dirname(real)  # noqa: PTH120
        if real not in key.names:
            return False
    return True


def _save(place: _Place, key: _Key, found: Scan) -> None:
    """Keep a scan, if that can be done."""
    with suppress(OSError, ValueError, VocdetError):
        if not _is_covered(found, key):
            return
        place.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        scan_file.save(place.file, found, about={"key": key.digest, "dataset": place.folder})
        _tidy(place.file)


def _tidy(kept: Path) -> None:
    """Delete what is of no use beside the file just saved: unused for long, of a dataset that is gone, too much."""
    now, files = time.time(), list[tuple[float, int, Path]]()
    for path in kept.parent.iterdir():
        with suppress(OSError):
            found = path.lstat()
            if _LEFT_BEHIND.fullmatch(path.name) and found.st_mtime < now - 3600:
                path.unlink()
            elif _OURS.fullmatch(path.name) and path != kept and stat.S_ISREG(found.st_mode):
                if found.st_mtime < now - OLDEST or _is_gone(path):
                    path.unlink()
                else:
                    files.append((found.st_mtime, found.st_size, path))
    total = kept.stat().st_size
    for _, size, path in sorted(files, reverse=True):
        total += size
        if total > LARGEST:
            with suppress(OSError):
                path.unlink()


def _is_gone(cached: Path) -> bool:
    """Whether the dataset of a file in the cache is no longer there."""
    with suppress(OSError, VocdetError), cached.open("rb") as file:
        dataset = scan_file.read_header(file).about.get("dataset", "")
        return bool(dataset) and not os.path.lexists(dataset)
    return False
