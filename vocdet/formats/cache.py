"""The cache of datasets: each dataset that has been read is one file of columns.

The file is valid as long as the dataset consists of the same files, with the same names, sizes, times of change and
inodes, for the same arguments and the same version of vocdet. It is in `$VOCDET_CACHE`, else in the user's cache
folder, and may be deleted at any time. `VOCDET_CACHE=off` disables the cache.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocdet import __version__
from vocdet.data.image_files import IMAGE_SUFFIXES
from vocdet.errors import VocdetError
from vocdet.files import hasher
from vocdet.formats import registry, scan_file
from vocdet.formats.scan import Progress, Scan, Source

FileFacts = NDArray[np.int64]  # (5, N)

LARGEST_CACHE = 2 << 30  # bytes of all files in the cache; those that have not been used for longest go first
OLDEST = 90 * 86400  # seconds since a file was last used

_SETTLED = 2_000_000_000  # ns; a file may change twice within one clock tick, so newer ones are not trusted
_MANY = 50_000  # files from which on most must be of `_KEYED_SUFFIXES`: a home folder is not searched completely
_KEYED_SUFFIXES = tuple(suffix.encode() + b"\0" for suffix in (*IMAGE_SUFFIXES, ".xml", ".json", ".txt"))
_FACTS = tuple(
    (attrgetter(name), np.uint64 if name == "st_ino" else np.int64)
    for name in ("st_mode", "st_size", "st_mtime_ns", "st_ctime_ns", "st_ino")
)
_FEW = 256  # files whose status is read together, to stay in the processor's cache
_CLOSED = -1
_OURS = re.compile(r"[0-9a-f]{32}\.safetensors")
_LEFT_BEHIND = re.compile(r"\.[0-9a-f]{32}\.safetensors\..+")  # by a process killed while saving


def read(
    source: Source,
    *,
    without_images: bool = False,
    without_split_files: bool = False,
    progress: Progress | None = None,
) -> Scan:
    """Like `registry.read`, but from the cache if nothing has changed since the dataset was saved there.

    A dataset that changed in the last two seconds, or while it was read, is not saved. A cache that cannot be used or
    written is silently ignored.
    """
    options = {"without_images": without_images, "without_split_files": without_split_files}
    fresh = partial(registry.read, source, **options, progress=progress)
    place = _place(source, options)
    before = _take_key(place) if place is not None else None
    if place is None or before is None:
        return fresh()
    cached = _load_saved(place, before)
    if cached is not None:
        if progress is not None:
            progress(len(cached.dataset), len(cached.dataset))
        return cached
    scan = fresh()
    after = _take_key(place) if before.settled else None
    if after is not None and after.digest == before.digest:
        _save(place, after, scan)
    return scan


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
    """Where a dataset and its file in the cache are."""

    file: Path  # in the cache
    folder: str  # of the dataset, with links resolved
    single: tuple[str, ...]  # files that count even outside the folder, with links resolved
    arguments: str


def _place(source: Source, options: dict[str, bool]) -> _Place | None:
    """None without caching: there is no cache, it is inside the dataset, or the path is not valid text."""
    cached = location()
    path, labels = source.path, source.labels
    try:
        given = path if os.path.isdir(path) else _folder_of(path.absolute())  # noqa: PTH112
        folder = os.path.realpath(given)
        single = tuple(os.path.realpath(file) for file in (path, labels) if file is not None and file != given)
        if cached is None or Path(os.path.realpath(cached)).is_relative_to(folder) or not _is_text(folder):
            return None
    except OSError:  # the current folder is gone
        return None
    # The path as given is in every finding, so another spelling of it makes another scan.
    arguments = repr((str(path), os.path.realpath(path), source, options, single))
    name = hasher(arguments.encode(), size=16).hexdigest()
    return _Place(cached / f"{name}.safetensors", folder, single, arguments)


def _is_text(path: str) -> bool:
    return not re.search("[\ud800-\udfff]", path)


def _folder_of(file: Path) -> Path:
    """The folder of the dataset of a JSON or YAML file: the parent folder if the file is in annotations/."""
    return file.parent.parent if file.parent.name.lower() in ("annotations", "annotation") else file.parent


@dataclass(slots=True)
class _Key:
    """The identity of the files of a dataset, without opening them."""

    taken: int  # ns since 1970
    newest: int = 0  # time of the last change, ns since 1970
    names: dict[str, bytes] = field(default_factory=dict)  # the names in every folder, by its resolved path
    hashed: Any = field(default_factory=lambda: hasher(size=32))

    @property
    def digest(self) -> str:
        return str(self.hashed.hexdigest())

    @property
    def settled(self) -> bool:
        """Whether the last change is long enough ago that another one would show."""
        return self.newest < self.taken - _SETTLED

    def add(self, *values: object) -> None:
        self.hashed.update(repr(values).encode())

    def add_facts(self, facts: FileFacts) -> None:
        self.hashed.update(facts)
        changed = facts[2] if sys.platform == "win32" else facts[3]  # Windows has the time of creation there
        self.newest = max(self.newest, int(changed.max(initial=0)))


def _take_key(place: _Place) -> _Key | None:
    """The current key of a dataset; None if a file is inaccessible, or the folder does not look like a dataset.

    Hidden folders are skipped, as in readers, unless a link leads into them.
    """
    key = _Key(time.time_ns())
    key.add(__version__, scan_file.SCAN_VERSION, _own_code(), place.arguments)
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
                if 2 * sum(text.lower().count(kind) for text in key.names.values() for kind in _KEYED_SUFFIXES) < files:
                    return None
    except (OSError, OverflowError):  # there are file systems with inodes of 128 bits
        return None
    return key


def _add_folder(key: _Key, folder: str, root: str) -> list[str]:
    """Add the files of a folder to the key; return its subfolders."""
    with _opened(folder) as number:
        names = [] if number == _CLOSED else os.listdir(folder if number is None else number)  # noqa: PTH208
        paths = names if number is not None else [f"{folder}{os.sep}{name}" for name in names]
        facts = _facts(paths, number)
    kinds = facts[0] & 0o170000
    folders = np.flatnonzero(kinds == stat.S_IFDIR)
    facts[1:, folders] = 0  # the content of a folder counts, not its size and times
    text = "\0".join((*names, "")).encode("utf-8", "surrogatepass")
    key.add(folder, len(names), len(text))
    key.hashed.update(text)
    key.add_facts(facts)
    key.names[folder] = text
    inner = [f"{folder.rstrip(os.sep)}{os.sep}{names[i]}" for i in folders if names[i][0] != "."]
    links = [names[i] for i in np.flatnonzero(kinds == stat.S_IFLNK)]
    return inner + [target for name in links if (target := _add_link(key, f"{folder}{os.sep}{name}", root))]


def _add_link(key: _Key, link: str, root: str) -> str:
    """Add the target of a link; return its path if it is a folder, unless `root` is in it, as readers do."""
    target = os.path.realpath(link)
    key.add(target)
    if Path(root).is_relative_to(target) or not os.path.lexists(target):
        return ""
    facts = _facts([target], None)
    if stat.S_ISDIR(int(facts[0, 0])):
        return target
    if stat.S_ISREG(int(facts[0, 0])):
        key.add_facts(facts)
    return ""


@contextmanager
def _opened(folder: str) -> Iterator[int | None]:
    """The descriptor of a folder, `_CLOSED` without permission, None if the system does not support it.

    With it, the path of the folder is not resolved again for every file in it.
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


def _facts(paths: list[str], folder: int | None) -> FileFacts:
    """Mode, size, modification time, change time and inode of files (5, N); times in ns since 1970."""
    facts = np.empty((5, len(paths)), np.int64)
    for first in range(0, len(paths), _FEW):
        stats = [os.lstat(path, dir_fd=folder) for path in paths[first : first + _FEW]]
        for row, (get, dtype) in zip(facts, _FACTS, strict=True):
            row[first : first + _FEW] = np.fromiter(map(get, stats), dtype, len(stats)).view(np.int64)
    return facts


@cache
def _own_code() -> str:
    """A hash of the sizes and times of the reading code: during development it changes without a new version."""
    hashed = hasher(size=16)
    package = Path(__file__).parents[1]
    with suppress(OSError):  # in a zip archive
        for file in sorted(
            file for pattern in ("*.py", "data/**/*.py", "formats/**/*.py") for file in package.glob(pattern)
        ):
            status = file.stat()
            hashed.update(repr((file.name, status.st_size, status.st_mtime_ns)).encode())
    return hashed.hexdigest()


def _load_saved(place: _Place, key: _Key) -> Scan | None:
    """The scan saved for this key; None without one that can be trusted."""
    try:
        if not place.file.is_file():
            return None
        with place.file.open("rb") as file:
            if not _is_ours(file.fileno()):
                return None
            header = scan_file.read_header(file)
            if header.about.get("key") != key.digest:
                return None
            scan = scan_file.read_scan(file)
        if sys.platform == "win32" and not _is_covered(scan, key):
            return None  # the owner of the file is unknown
    except (OSError, ValueError, VocdetError):
        return None
    with suppress(OSError):
        os.utime(place.file)  # used now
    return scan


def _is_ours(file: int) -> bool:
    """Whether an open file belongs to the current user: someone else's could hold wrong boxes."""
    return sys.platform == "win32" or os.fstat(file).st_uid == os.getuid()


def _is_covered(scan: Scan, key: _Key) -> bool:
    """Whether the folders of all files in a scan are in the key, so that changes in them show."""
    images = scan.dataset.images
    folders = {file.rpartition("/")[0] for names in (images.files, images.sources, ("",)) for file in names}
    for folder in folders:
        real = os.path.realpath(scan.dataset.root / folder)
        while not os.path.lexists(real):  # images may be missing, and their folder with them
            real = os.path.dirname(real)  # noqa: PTH120
        if real not in key.names:
            return False
    return True


def _save(place: _Place, key: _Key, scan: Scan) -> None:
    """Save a scan, if possible."""
    with suppress(OSError, ValueError, VocdetError):
        if not _is_covered(scan, key):
            return
        place.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        scan_file.save(place.file, scan, about={"key": key.digest, "dataset": place.folder})
        _evict(place.file)


def _evict(saved: Path) -> None:
    """Delete files other than the one just saved: long unused, of deleted datasets, or beyond the size limit."""
    now, files = time.time(), list[Path]()
    for path in saved.parent.iterdir():
        with suppress(OSError):
            status = path.lstat()
            if _LEFT_BEHIND.fullmatch(path.name) and status.st_mtime < now - 3600:
                path.unlink()
            elif _OURS.fullmatch(path.name) and path != saved and stat.S_ISREG(status.st_mode):
                if status.st_mtime < now - OLDEST or _is_gone(path):
                    path.unlink()
                else:
                    files.append(path)
    delete_oldest(files, LARGEST_CACHE - saved.stat().st_size)


def delete_oldest(paths: Iterable[Path], limit: int) -> None:
    """Delete files until the others have `limit` bytes at most: those first that have not been used for longest."""
    files = []
    for path in paths:
        with suppress(OSError):
            status = path.lstat()
            files.append((status.st_mtime, status.st_size, path))
    total = 0
    for _, size, path in sorted(files, reverse=True):
        total += size
        if total > limit:
            with suppress(OSError):
                path.unlink()


def _is_gone(cached: Path) -> bool:
    """Whether the dataset of a file in the cache no longer exists."""
    with suppress(OSError, VocdetError), cached.open("rb") as file:
        dataset = scan_file.read_header(file).about.get("dataset", "")
        return bool(dataset) and not os.path.lexists(dataset)
    return False
