"""Fetch a public dataset: download, verify, unpack and count."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from vocdet.errors import ArgumentError, DownloadError, OutputError, VocdetError
from vocdet.fetching.catalog import Archive, Collection
from vocdet.fetching.download import (
    Notify,
    Retries,
    ServerUnavailableError,
    checked_url,
    discard,
    download,
    finish,
    md5_of,
    size_text,
)
from vocdet.fetching.receipts import FETCH_STATE, compare_files, read_receipt, write_receipt
from vocdet.fetching.unpack import place, unpack
from vocdet.files import lock_folder, make_folder
from vocdet.wording import and_more

FetchProgress = Callable[[str, int, int], None]  # the current step; bytes done, total bytes

MOST_GROWTH = 2  # an archive may unpack to this many times its published size


@dataclass(frozen=True, slots=True)
class FetchResult:
    """The result of one verification of an archive or its contents."""

    archive: str  # its name
    passed: bool
    text: str  # what was verified, or the problem
    hint: str = ""


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """What to fetch, and from where."""

    only: Sequence[str] = ()  # names of archives in the collection; empty: all
    mirror: str = ""  # URL that serves the archives under their names; "": the original servers
    keep: bool = True  # keep the archives after they are unpacked
    retries: Retries = field(default_factory=Retries)


@dataclass(frozen=True, slots=True)
class _Session:
    """The options of one call, and its callbacks."""

    options: FetchOptions
    progress: FetchProgress
    note: Notify


def fetch(
    collection: Collection,
    folder: Path,
    options: FetchOptions = FetchOptions(),
    *,
    progress: FetchProgress | None = None,
    note: Notify | None = None,
) -> Iterator[FetchResult]:
    """Fetch a dataset into a folder, archive by archive, and yield the result of every verification.

    Archives are stored and unpacked in `folder`. An existing archive is used if its checksum matches; unpacked contents
    that are complete and unchanged are not fetched again. An interrupted fetch resumes when called again. A
    `DownloadError` of one archive is a failed result; errors of the whole folder (disk full, no permission) are raised.
    """
    archives, keep = _chosen_archives(collection, options.only), options.keep
    if options.mirror:
        options = replace(options, mirror=checked_url(options.mirror))
    session = _Session(options, progress or (lambda *_: None), note or (lambda _: None))
    with _locked_folder(folder):
        missing = []
        for archive in archives:
            present = _present_results(archive, folder, session.note)
            yield from present
            if not present:
                missing.append(archive)
            elif not keep:
                _delete_archive(archive, folder, present, session.note)
        _check_room(missing, folder, keep)
        for i, archive in enumerate(missing):
            try:
                yield _obtain(archive, folder, session)
                counts = _unpack(archive, folder, session)
                yield from counts
            except ServerUnavailableError as error:
                yield _failure(archive, error)
                yield from (_not_tried(other, folder, session) for other in missing[i + 1 :])
                return
            except OutputError:
                raise
            except VocdetError as error:
                yield _failure(archive, error)
            else:
                if not keep:
                    _delete_archive(archive, folder, counts, session.note)


def archive_bytes(collection: Collection, folder: Path, only: Sequence[str] = ()) -> int:
    """The total size of the archives in a folder, in bytes."""
    paths = [folder / archive.name for archive in _chosen_archives(collection, only)]
    return sum(path.stat().st_size for path in paths if path.is_file())


def partial_downloads(collection: Collection, folder: Path) -> list[Path]:
    """The files of interrupted downloads."""
    paths = [_part_file(archive, folder) for archive in collection.archives]
    return [path for path in paths if path.is_file()]


def _chosen_archives(collection: Collection, only: Sequence[str]) -> list[Archive]:
    parts = [archive.part for archive in collection.archives]
    for name in only:
        if name not in parts:
            raise ArgumentError(f"{collection.name} has no part {name!r}", hint=f"its parts: {', '.join(parts)}")
    return [archive for archive in collection.archives if not only or archive.part in only]


def _present_results(archive: Archive, folder: Path, note: Notify) -> list[FetchResult]:
    """The results for an archive whose contents are already there; empty if it must be fetched."""
    files = read_receipt(archive, folder)
    if files is None:
        counts = _count_contents(archive, folder)
        if not counts or not all(result.passed for result in counts):
            return []
        return [FetchResult(archive.name, True, "already there, unpacked by another program"), *counts]
    missing, changed = compare_files(files, folder)
    if changed:
        others = and_more(len(changed) - 1, "file")
        text = f"{changed[0]}{others} {'differ' if others else 'differs'} from the archive"
        hint = "ignore this if you edited the file; otherwise delete it and run the same command again"
        return [FetchResult(archive.name, False, text, hint)]
    if missing:
        others = and_more(len(missing) - 1, "file")
        note(f"{archive.name}: {missing[0]}{others} {'are' if others else 'is'} missing")
        return []
    return [FetchResult(archive.name, True, f"already there: {len(files)} files"), *_count_contents(archive, folder)]


def _obtain(archive: Archive, folder: Path, session: _Session) -> FetchResult:
    """Download the archive unless it is in the folder, and verify its checksum."""
    path, part = folder / archive.name, _part_file(archive, folder)
    existed = path.exists()
    if not existed:
        _download(archive, part, session)
    source = path if existed else part
    size = source.stat().st_size
    md5 = "" if size != archive.size else md5_of(source, partial(session.progress, f"verifying {archive.name}"))
    if md5 != archive.md5:
        raise _wrong_archive(archive, folder, size, md5, existed)
    if existed:
        discard(part)  # of an earlier download
    else:
        finish(part, path)
    origin = "found in the folder, " if existed else ""
    return FetchResult(archive.name, True, f"{origin}{size_text(size)}, md5 {md5}")


def _download(archive: Archive, part: Path, session: _Session) -> None:
    errors: list[DownloadError] = []
    mirror, retries = session.options.mirror, session.options.retries
    urls = _urls(archive, mirror)
    for url in urls:
        tries = retries.tries if url == urls[-1] else min(retries.tries, 2)  # the next URL can take over
        resumed = f"resuming at {size_text(part.stat().st_size)} of " if part.exists() else ""
        session.note(f"downloading {url}: {resumed}{size_text(archive.size)}")
        try:
            return download(
                url, part, size=archive.size, retries=replace(retries, tries=tries),
                progress=partial(session.progress, f"downloading {archive.name}"), note=session.note,
            )  # fmt: skip
        except DownloadError as error:
            errors.append(error)
    kind = (
        ServerUnavailableError if all(isinstance(error, ServerUnavailableError) for error in errors) else DownloadError
    )
    hints = [error.hint for error in errors if error.hint] + [_by_hand(archive, part.parent, mirror)]
    raise kind("; ".join(error.problem for error in errors), hint="; ".join(hints)) from errors[-1]


def _urls(archive: Archive, mirror: str) -> tuple[str, ...]:
    return (f"{mirror.rstrip('/')}/{archive.name}",) if mirror else archive.urls


def _by_hand(archive: Archive, folder: Path, mirror: str) -> str:
    other = "another mirror" if mirror else "a mirror"
    return (
        f"download {archive.urls[0]} by other means to {folder / archive.name} and run the same command again; "
        f"or name {other} with `url=...`"
    )


def _wrong_archive(archive: Archive, folder: Path, size: int, md5: str, existed: bool) -> DownloadError:
    """The error for a file that is not the archive; a download is deleted, a file of the user's is not."""
    what = f"md5 {md5}, not {archive.md5}" if md5 else f"{size} bytes, not {archive.size}"
    problem = f"is not the published archive: {what}"
    path = folder / archive.name
    if existed:
        resume = f"; or rename it to {archive.name}.part to resume its download"
        hint = "delete it, and run the same command again" + (resume if size < archive.size else "")
        return DownloadError(problem, place=path, hint=hint)
    discard(_part_file(archive, folder))
    hint = "it was deleted; run the same command again, and if it fails again, name a mirror with `url=...`"
    return DownloadError(problem, place=path, hint=hint)


def _unpack(archive: Archive, folder: Path, session: _Session) -> list[FetchResult]:
    """Unpack into a temporary folder, move the files in place, count them."""
    staged = folder / FETCH_STATE / "unpacking"
    shutil.rmtree(staged, ignore_errors=True)  # of an interrupted run
    make_folder(staged)
    try:
        watch = partial(session.progress, f"unpacking {archive.name}")
        files = unpack(folder / archive.name, staged, most=MOST_GROWTH * archive.unpacked, progress=watch)
        place(staged, folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    write_receipt(archive, folder, files)
    return _count_contents(archive, folder)


def _count_contents(archive: Archive, folder: Path) -> list[FetchResult]:
    results = []
    for content in archive.contents:
        count = content.count(folder)
        passed = count == content.expected
        text = f"{count} {content.what}" if passed else f"{count} {content.what}, not {content.expected}"
        hint = "" if passed else "ignore this if you added or removed files"
        results.append(FetchResult(archive.name, passed, text, hint))
    return results


def _check_room(archives: Sequence[Archive], folder: Path, keep: bool) -> None:
    """Raise an `OutputError` before the first download if the disk is too small for all of them."""
    now = peak = 0
    for archive in archives:
        files = folder / archive.name, _part_file(archive, folder)
        now += max(0, archive.size - sum(path.stat().st_size for path in files if path.exists()))
        now += archive.unpacked
        peak = max(peak, now)
        now -= 0 if keep else archive.size
    free = shutil.disk_usage(folder).free
    if peak > free:
        problem = f"the archives and their contents take {size_text(peak)} more, but {size_text(free)} are free"
        less = "fetch a part with `only=...`" + (", or delete archives with `keep=False`" if keep else "")
        raise OutputError(problem, place=folder, hint=f"free some space, choose another folder, {less}")


def _failure(archive: Archive, error: VocdetError) -> FetchResult:
    place = f"{error.place}: " if error.place else ""
    return FetchResult(archive.name, False, place + error.problem, error.hint)


def _not_tried(archive: Archive, folder: Path, session: _Session) -> FetchResult:
    return FetchResult(
        archive.name, False, "not tried: the server does not answer", _by_hand(archive, folder, session.options.mirror)
    )


def _delete_archive(archive: Archive, folder: Path, results: Sequence[FetchResult], note: Notify) -> None:
    """Delete an archive if its contents passed every verification."""
    path = folder / archive.name
    if path.exists() and all(result.passed for result in results):
        path.unlink()
        note(f"deleted {path}")


def _part_file(archive: Archive, folder: Path) -> Path:
    return folder / f"{archive.name}.part"


@contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    """Create a folder and lock it against other runs; delete it again if it stays empty."""
    created = not folder.exists()
    make_folder(folder)
    handle = None
    try:
        handle = _lock(folder)
        yield
    finally:
        if handle is not None:
            os.close(handle)
        with suppress(OSError):
            (folder / FETCH_STATE).rmdir()
        with suppress(OSError):
            if created:
                folder.rmdir()


def _lock(folder: Path) -> int | None:
    """A lock on the folder itself, without a lock file; None where the system has none."""
    try:
        handle = lock_folder(str(folder.resolve()))
    except OSError:
        return None
    if handle is None:
        problem = "another fetch is running in this folder"
        raise OutputError(problem, place=folder, hint="wait for it to end")
    return handle
