"""From nothing to a public dataset: its archives fetched, proved, unpacked and counted."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vocdet.errors import OutputError, VocdetError
from vocdet.fetching.catalog import Archive, Collection
from vocdet.fetching.download import (
    DownloadError,
    NoAnswerError,
    Note,
    checked_url,
    discard,
    download,
    finish,
    md5_of,
    size_text,
)
from vocdet.fetching.receipts import STATE, compare, read_receipt, write_receipt
from vocdet.fetching.unpack import place, unpack
from vocdet.files import make_folder, unwritable

Progress = Callable[[str, int, int], None]  # what is being done; bytes done, of how many

SWELL = 2  # times what an archive is known to unpack to: one that would be more is refused


@dataclass(frozen=True, slots=True)
class Outcome:
    """One thing that was looked at, and whether it is as it must be."""

    item: str  # an archive's name
    passed: bool
    text: str  # what it is, or what is wrong with it
    hint: str = ""


@dataclass(frozen=True, slots=True)
class _Means:
    """How to fetch."""

    mirror: str
    tries: int
    timeout: float
    sleep: Callable[[float], None]
    progress: Progress
    note: Note


def fetch(
    collection: Collection,
    folder: Path,
    *,
    only: Sequence[str] = (),
    mirror: str = "",
    keep: bool = True,
    tries: int = 5,
    timeout: float = 30.0,
    sleep: Callable[[float], None] = time.sleep,
    progress: Progress | None = None,
    note: Note | None = None,
) -> Iterator[Outcome]:
    """Fetch a dataset into a folder, archive by archive; yield what was proved of it, and what is wrong.

    An archive lands beside what it unpacks to. One that lies there already is taken if its checksum is right; what is
    unpacked already, whole and unchanged, is fetched no more. `only` names parts, none means all; `mirror` is a URL
    below which the archives are, by their own names. Without `keep` an archive goes when its contents are in place.
    Interrupted at any point, it goes on from there when called again. `DownloadError`s and refused archives are
    outcomes; what concerns the whole folder (no room, no permission) is raised.
    """
    archives = _chosen(collection, only)
    means = _Means(
        checked_url(mirror) if mirror else "",
        tries,
        timeout,
        sleep,
        progress or (lambda *_: None),
        note or (lambda _: None),
    )
    with _alone(folder):
        missing = []
        for archive in archives:
            there = _there(archive, folder, means.note)
            yield from there
            if not there:
                missing.append(archive)
            elif not keep:
                _drop(archive, folder, there, means.note)
        _check_room(missing, folder, keep)
        for i, archive in enumerate(missing):
            try:
                yield _obtained(archive, folder, means)
                held = _unpacked(archive, folder, means)
                yield from held
            except NoAnswerError as error:
                yield _failed(archive, error)
                yield from (_not_tried(other, folder, means) for other in missing[i + 1 :])
                return
            except OutputError:
                raise
            except VocdetError as error:
                yield _failed(archive, error)
            else:
                if not keep:
                    _drop(archive, folder, held, means.note)


def archives_in(collection: Collection, folder: Path, only: Sequence[str] = ()) -> int:
    """Bytes of the archives that lie in a folder."""
    paths = [folder / archive.name for archive in _chosen(collection, only)]
    return sum(path.stat().st_size for path in paths if path.is_file())


def partial_downloads(collection: Collection, folder: Path) -> list[Path]:
    """What was left of interrupted downloads."""
    paths = [_part(archive, folder) for archive in collection.archives]
    return [path for path in paths if path.is_file()]


def _chosen(collection: Collection, only: Sequence[str]) -> list[Archive]:
    parts = [archive.part for archive in collection.archives]
    for wanted in only:
        if wanted not in parts:
            problem = f"{collection.name} has no part {wanted!r}"
            raise VocdetError(problem, hint=f"its parts: {', '.join(parts)}")
    return [archive for archive in collection.archives if not only or archive.part in only]


def _there(archive: Archive, folder: Path, note: Note) -> list[Outcome]:
    """What is to be said of an archive that need not be fetched; nothing where it must be."""
    files = read_receipt(archive, folder)
    if files is None:
        held = _held(archive, folder)
        if not held or not all(outcome.passed for outcome in held):
            return []
        return [Outcome(archive.name, True, "already there by its numbers, though unpacked by something else"), *held]
    missing, changed = compare(files, folder)
    if changed:
        text = f"{changed[0]} is not as the archive has it{_and_more(len(changed))}"
        hint = "if that is your work, all is well; else delete that file, and run the same command again"
        return [Outcome(archive.name, False, text, hint)]
    if missing:
        note(f"{archive.name}: {missing[0]} is missing{_and_more(len(missing))}")
        return []
    return [Outcome(archive.name, True, f"already there: {len(files)} files"), *_held(archive, folder)]


def _obtained(archive: Archive, folder: Path, means: _Means) -> Outcome:
    """Have the archive in the folder, and its checksum proved."""
    path, part = folder / archive.name, _part(archive, folder)
    here = path.exists()
    if not here:
        _download(archive, part, means)
    source = path if here else part
    size = source.stat().st_size
    md5 = "" if size != archive.size else md5_of(source, partial(means.progress, f"verifying {archive.name}"))
    if md5 != archive.md5:
        raise _other(archive, folder, size, md5, here)
    if here:
        discard(part)  # of a download that was begun before
    else:
        finish(part, path)
    found = "found here, " if here else ""
    return Outcome(archive.name, True, f"{found}{size_text(size)}, md5 {md5}")


def _download(archive: Archive, part: Path, means: _Means) -> None:
    errors: list[DownloadError] = []
    urls = _urls(archive, means.mirror)
    for url in urls:
        tries = means.tries if url == urls[-1] else min(means.tries, 2)  # patience is for when there is no other
        have = size_text(part.stat().st_size) + " of " if part.exists() else ""
        means.note(f"downloading {url}: {have}{size_text(archive.size)}{' are here' if have else ''}")
        try:
            return download(
                url, part, size=archive.size, tries=tries, timeout=means.timeout, sleep=means.sleep,
                progress=partial(means.progress, f"downloading {archive.name}"), note=means.note,
            )  # fmt: skip
        except DownloadError as error:
            errors.append(error)
    kind = NoAnswerError if all(isinstance(error, NoAnswerError) for error in errors) else DownloadError
    hints = [error.hint for error in errors if error.hint] + [_by_hand(archive, part.parent, means.mirror)]
    raise kind("; ".join(error.problem for error in errors), hint="; ".join(hints)) from errors[-1]


def _urls(archive: Archive, mirror: str) -> tuple[str, ...]:
    return (f"{mirror.rstrip('/')}/{archive.name}",) if mirror else archive.urls


def _by_hand(archive: Archive, folder: Path, mirror: str) -> str:
    other = "another mirror" if mirror else "a mirror"
    return (
        f"get {archive.urls[0]} by other means, put it at {folder / archive.name} and run the same command again; "
        f"or name {other} with --url"
    )


def _other(archive: Archive, folder: Path, size: int, md5: str, here: bool) -> DownloadError:
    """The error for a file that is not the archive; a download is thrown away, a file of the user's is not."""
    what = f"md5 {md5}, not {archive.md5}" if md5 else f"{size} bytes, not {archive.size}"
    problem = f"is not the archive that was published: {what}"
    path = folder / archive.name
    if here:
        resume = f"; or rename it to {archive.name}.part, and the download goes on from there"
        hint = "delete it, and run the same command again" + (resume if size < archive.size else "")
        return DownloadError(problem, place=path, hint=hint)
    discard(_part(archive, folder))
    hint = "it was deleted, and the same command starts over; where that ends the same, the server's file is another"
    return DownloadError(problem, place=path, hint=f"{hint}: name a mirror with --url")


def _unpacked(archive: Archive, folder: Path, means: _Means) -> list[Outcome]:
    """Unpack beside, move in place, count."""
    staged = folder / STATE / "unpacking"
    shutil.rmtree(staged, ignore_errors=True)  # of a run that was killed
    make_folder(staged)
    try:
        watch = partial(means.progress, f"unpacking {archive.name}")
        files = unpack(folder / archive.name, staged, most=SWELL * archive.unpacked, progress=watch)
        place(staged, folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    write_receipt(archive, folder, files)
    return _held(archive, folder)


def _held(archive: Archive, folder: Path) -> list[Outcome]:
    outcomes = []
    for holding in archive.holds:
        found = holding.found(folder)
        passed = found == holding.count
        text = f"{found} {holding.what}" if passed else f"{found} {holding.what}, not {holding.count}"
        hint = "" if passed else "if you added or removed files yourself, all is well"
        outcomes.append(Outcome(archive.name, passed, text, hint))
    return outcomes


def _check_room(archives: Sequence[Archive], folder: Path, keep: bool) -> None:
    """Raise where the disk cannot hold all that is to come: better now than after twenty gigabytes."""
    now = peak = 0
    for archive in archives:
        here = folder / archive.name, _part(archive, folder)
        now += max(0, archive.size - sum(path.stat().st_size for path in here if path.exists()))
        now += archive.unpacked
        peak = max(peak, now)
        now -= 0 if keep else archive.size
    free = shutil.disk_usage(folder).free
    if peak > free:
        problem = f"{size_text(peak)} more are needed for archives and their contents, and {size_text(free)} are free"
        less = "fetch less of it with --only" if keep is False else "fetch less of it with --only, or use --no-keep"
        raise OutputError(problem, place=folder, hint=f"free some space, choose another folder, {less}")


def _failed(archive: Archive, error: VocdetError) -> Outcome:
    place = f"{error.place}: " if error.place else ""
    return Outcome(archive.name, False, place + error.problem, error.hint)


def _not_tried(archive: Archive, folder: Path, means: _Means) -> Outcome:
    return Outcome(archive.name, False, "not tried, as there was no answer", _by_hand(archive, folder, means.mirror))


def _drop(archive: Archive, folder: Path, outcomes: Sequence[Outcome], note: Note) -> None:
    """Delete an archive, unless something is wrong with what came out of it."""
    path = folder / archive.name
    if path.exists() and all(outcome.passed for outcome in outcomes):
        path.unlink()
        note(f"deleted {path}")


def _part(archive: Archive, folder: Path) -> Path:
    return folder / f"{archive.name}.part"


def _and_more(count: int) -> str:
    return f", like {count - 1} more" if count > 1 else ""


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The folder, made where need be, for one run at a time; it goes again when nothing came into it."""
    made = not folder.exists()
    make_folder(folder)
    handle = None
    try:
        handle = _locked(folder)
        yield
    finally:
        if handle is not None:
            os.close(handle)
        with suppress(OSError):
            (folder / STATE).rmdir()
        with suppress(OSError):
            if made:
                folder.rmdir()


def _locked(folder: Path) -> int | None:
    """A lock on the folder itself, which leaves no file behind; None where there is no such thing."""
    try:
        import fcntl
    except ImportError:
        return None
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        problem = "another vocdet fetch is at work here"
        raise OutputError(problem, place=folder, hint="wait for it to end") from error
    except OSError:
        os.close(handle)  # a file system without locks
        return None
    return handle
