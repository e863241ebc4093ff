"""Downloading public datasets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vocdet.errors import ArgumentError, DownloadError, raise_all
from vocdet.fetching.catalog import COLLECTIONS
from vocdet.wording import did_you_mean, listed
from vocdet.workflows import fetch as fetching


def fetch(
    name: str, folder: str | Path | None = None, *, only: Sequence[str] = (), url: str = "", keep: bool = True
) -> Path:
    """Download voc2007, voc2012 or coco2017, verify its checksums, unpack it, and return its folder.

    Interrupted downloads resume when it is called again; existing files are verified, not fetched again. `only` names
    archives of the dataset, as in `only=["trainval"]`; `url` is a mirror. `keep=False` deletes archives after they are
    unpacked. Raises a `DownloadError` for archives that cannot be fetched or whose contents are incomplete.

    >>> vocdet.fetch("voc2008")
    Traceback (most recent call last):
    ...
    vocdet.errors.ArgumentError: there is no dataset 'voc2008' (did you mean 'voc2007'?)
    """
    if name not in COLLECTIONS:
        hint = did_you_mean(name, COLLECTIONS) or f"choose {listed(COLLECTIONS, conjunction='or')}"
        raise ArgumentError(f"there is no dataset {name!r}", hint=hint)
    collection = COLLECTIONS[name]
    target = Path(folder) if folder is not None else Path(collection.folder)
    results = list(fetching.fetch(collection, target, fetching.FetchOptions(only, url, keep)))
    raise_all([
        DownloadError(f"{result.archive}: {result.text}", hint=result.hint)
        for result in results if not result.passed
    ])  # fmt: skip
    return target
