"""The images of the file names in a COCO file, also where images were moved or renamed after the export."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from vocdet.formats.images.bare_stems import BareStems
from vocdet.formats.images.lookup import ImageIndex, Name, split_folder, stem_of

_DEEPEST = 8  # components of a path that are compared


@dataclass(slots=True)
class FoundImages:
    """The images of the names in a file, "" for those without one."""

    files: list[str]
    elsewhere: set[int] = field(default_factory=set)  # names whose images were found by a part of the name
    ambiguous: dict[int, list[str]] = field(default_factory=dict)  # name -> the images that it fits
    doubtful: dict[int, list[str]] = field(default_factory=dict)  # name -> further images that it fits


def find_named(names: Sequence[Name], prefix: str, index: ImageIndex, own: str = "") -> FoundImages:
    """Find the images of all names: by their paths, else by a part of the name that only one image has.

    That is the longest end of its path, then its stem, then the stem without the hash that annotation tools add. Names
    relative to the root or to `own`, the folder of the COCO file with a slash, are not in doubt.
    """
    found = FoundImages([])
    shared = index.shares_names and prefix not in ("", own)
    for i, name in enumerate(names):
        wanted = name.path or name.last
        exact = index.exact(prefix + name.path) if name.path else None
        candidates = [exact] if exact is not None else index.ending_in(wanted) if wanted else []
        found.files.append(candidates[0] if len(candidates) == 1 else "")
        if len(candidates) > 1:
            found.ambiguous[i] = candidates
        elif exact is not None and shared:
            others = [
                one for one in index.ending_in(wanted) if one != exact and split_folder(one) == split_folder(exact)
            ]
            if others:
                found.doubtful[i] = others
    missing = [i for i, file in enumerate(found.files) if not file and i not in found.ambiguous]
    if missing and len(index.files):
        _find_by_parts(names, missing, index, found)
    return found


def _find_by_parts(names: Sequence[Name], missing: Sequence[int], index: ImageIndex, found: FoundImages) -> None:
    taken = set(found.files)
    bare = BareStems.of([*(name.last for name in names), *index.files])
    stripped: dict[str, list[str]] = {}
    for file in index.files:
        stripped.setdefault(bare.stem(file), []).append(file)
    candidates: dict[int, list[str]] = {}
    for i in missing:
        last = names[i].last
        if last:
            steps = [index.ending_in(tail) for tail in _tails(names[i].path or last)]
            steps += [index.by_stem(stem_of(last)), stripped.get(bare.stem(last), [])]
            candidates[i] = next((files for files in steps if files), [])
    times = Counter(files[0] for files in candidates.values() if len(files) == 1)
    for i, files in candidates.items():
        if len(files) > 1:
            found.ambiguous[i] = files
        elif files and times[files[0]] == 1 and files[0] not in taken:
            found.files[i] = files[0]
            found.elsewhere.add(i)


def _tails(path: str) -> list[str]:
    """The ends of a path, the longest first, and its last component as in a URL: my%20a.jpg?raw=1 is my a.jpg."""
    parts = path.split("/")[-_DEEPEST:]
    return [*("/".join(parts[i:]) for i in range(len(parts))), unquote(parts[-1].partition("?")[0])]
