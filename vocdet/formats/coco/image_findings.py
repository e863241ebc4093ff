"""Findings about the images of COCO files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence, Set

from vocdet.data.findings import Finding, Notes
from vocdet.errors import Place
from vocdet.formats.coco.image_names import FoundImages
from vocdet.formats.coco.objects import CocoContent
from vocdet.formats.images.lookup import ImageIndex, Name, split_folder, stem_of
from vocdet.wording import counted, listed

_REFUSED = {
    "path.absolute": "is absolute",
    "path.traversal": "climbs out of the dataset",
    "path.name": "has a control character in it",
    "path.empty": "is empty",
}


def note_missing(content: CocoContent, wanted: str, candidates: Sequence[str], inside: str) -> None:
    """Note a name without an image, or one that fits several `candidates`."""
    problem, hint = (
        f"its image is missing: {wanted[:80]!r}",
        "restore the image, or delete the entry and its annotations",
    )
    if candidates:
        problem = f"{wanted[:80]!r} fits several images: {listed(candidates, most=3)}"
        hint = "write the path from the folder of the images"
    content.error("image.missing", problem, hint, inside)


def note_elsewhere(content: CocoContent, found: FoundImages) -> None:
    """One finding for all images that are found by a part of their names."""
    first, count = min(found.elsewhere), len(found.elsewhere)
    name, file = content.entries.images[first].file_name, found.files[first]
    problem = f"{counted(count, 'image')} found by a part of the name, which no other has: {name[:80]!r} is {file}"
    hint = '`vocdet.convert(source, target, to="coco")` writes the names of the images'
    place = Place(content.file.path, inside=f"{content.entries.place('images', first)}.file_name")
    content.notes.findings.append(Finding("coco.image.elsewhere", "warning", problem, place, hint, count))


def note_doubtful(content: CocoContent, found: FoundImages) -> None:
    """One finding for all names that fit further images than the one that is read."""
    (first, others), count = next(iter(found.doubtful.items())), len(found.doubtful)
    name, file = content.entries.images[first].file_name, found.files[first]
    verb = "fits" if count == 1 else "fit"
    problem = (
        f"{counted(count, 'file name')} {verb} several images: {name[:80]!r} is {file}, not {listed(others, most=2)}"
    )
    hint = "write the path from the folder of the images, or move the others away"
    place = Place(content.file.path, inside=f"{content.entries.place('images', first)}.file_name")
    content.notes.findings.append(Finding("coco.image.ambiguous", "warning", problem, place, hint, count))


def note_name(content: CocoContent, text: str, name: Name, inside: str) -> None:
    """Note a name that is unsafe to follow, or not portable."""
    problem = f"file_name {text[:80]!r} {_REFUSED.get(name.code, '')}"
    if name.code and not name.last:
        content.error(name.code, problem, "write the name of its image", inside)
    elif name.code:
        content.warning(name.code, problem, "only its last part is used, and only inside the dataset", inside)
    else:
        hint = "write forward slashes: on other systems a backslash is part of the name"
        content.warning("path.backslash", f"file_name {text[:80]!r} has backslashes", hint, inside)


def ambiguous_ids(content: CocoContent, files: Sequence[str]) -> set[int]:
    """The ids that entries of different images share."""
    ids = [image.id for image in content.entries.images]
    if len(set(ids)) == len(ids):
        return set()
    files_of: dict[int, set[str]] = defaultdict(set)
    for id, file in zip(ids, files, strict=True):
        files_of[id].add(file)
    return {id for id, of in files_of.items() if len(of) > 1}


def note_ambiguous(content: CocoContent, i: int) -> None:
    """Note an image whose annotations may be those of another; all images of its id are left out with them."""
    id = content.entries.images[i].id
    problem = f"the id {content.entries.id_text(id)} is used twice: which annotations belong to which image is unknown"
    content.error("coco.image.id", problem, "give it a unique id", content.entries.place("images", i))
    content.in_other_files.add(id)


def note_unlisted(index: ImageIndex, claimed: Set[str], notes: Notes) -> dict[str, str]:
    """One finding for the images that no entry names; their stems, and why they are left out.

    Folders of other splits than those of named images are left alone: they are downloaded with COCO's other files.
    """
    folders = {file.rpartition("/")[0] for file in claimed}
    unlisted = [
        file
        for file in index.files
        if file not in claimed and not (split_folder(file) and file.rpartition("/")[0] not in folders)
    ]
    if not unlisted or not any(claimed):
        return {}
    problem = f"{counted(len(unlisted), 'image')} in no COCO file, and not used: {listed(unlisted, most=3)}"
    hint = "annotate them; an image without objects needs an entry in images, too"
    place = Place(index.root / unlisted[0])
    notes.findings.append(Finding("coco.image.unlisted", "warning", problem, place, hint, len(unlisted)))
    return {stem_of(file): "which no COCO file lists" for file in unlisted}
