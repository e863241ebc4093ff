"""Which label file belongs to which image of a YOLO dataset."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vocdet.data.findings import Notes
from vocdet.errors import DatasetError
from vocdet.file_names import folded
from vocdet.files import first_bytes
from vocdet.formats.images.bare_stems import BareStems
from vocdet.formats.images.folders import irregular
from vocdet.formats.images.lookup import IMAGE_FOLDERS, split_suffix, stem_of
from vocdet.formats.yolo.rows import looks_like_rows
from vocdet.wording import counted

LABEL_FOLDERS = ("labels", "label", "obj_train_data", "annotations", "annotation", "txt")


def labels_of(root: Path, images: Sequence[str], texts: dict[str, str]) -> dict[str, str]:
    """The label file of every image that has one, in the folder that corresponds to that of the image.

    Names may differ just in case or Unicode form, if that leaves one label file. If no image has one there, label files
    are found by stem in any folder; several of one stem are an error. Of the rest, a label file and an image belong
    together that differ in a hash and are the only ones.
    """
    found = _by_folder(images, texts)
    found = found | _but_for_case(images, texts, found) or _by_stem(root, images, texts)
    return found | _but_for_hash(images, texts, found)


def irregular_labels(root: Path, images: Sequence[str], texts: dict[str, str], notes: Notes) -> set[str]:
    """The images whose label file is a folder or a device; each is a finding."""
    folders = {file.rpartition("/")[0] for file in (*images, *texts.values())}
    stems = {stem_of(image) for image in images}
    found = {path: what for path, what in irregular(root, folders, ".txt").items() if stem_of(path) in stems}
    if not found:
        return set()
    label_of = labels_of(root, images, texts | {split_suffix(path)[0]: path for path in found})
    wrong = {image: text for image, text in label_of.items() if text in found}
    for text in sorted(set(wrong.values())):
        hint = "put the label file in its place, or delete it"
        notes.add("yolo.text.unreadable", "error", f"is {found[text]}, not a label file", root / text, hint)
    return set(wrong)


def _but_for_case(images: Sequence[str], texts: dict[str, str], found: dict[str, str]) -> dict[str, str]:
    """Label files of images that differ from them just in case or Unicode form."""
    claimed, free = set(found.values()), defaultdict[str, list[str]](list)
    for path, text in texts.items():
        if text not in claimed:
            free[folded(path)].append(text)
    rest = [image for image in images if image not in found] if free else []
    return _by_folder(rest, {path: same[0] for path, same in free.items() if len(same) == 1}, form=folded)


def _by_folder(images: Sequence[str], texts: dict[str, str], *, form: Callable[[str], str] = str) -> dict[str, str]:
    """Label files in the folders that correspond to those of the images; `texts` has their paths in this form."""
    folders: dict[str, list[str]] = defaultdict(list)  # as written, by their name in lower case
    for folder in {stem.rpartition("/")[0] for stem in texts}:
        folders[folder.lower()].append(folder)
    beside: dict[str, list[str]] = {}  # folder of images -> those of their labels
    found: dict[str, str] = {}
    for image in images:
        folder, _, stem = form(split_suffix(image)[0]).rpartition("/")
        if folder not in beside:
            beside[folder] = [real for name in _label_folders(folder) for real in sorted(folders.get(name, ()))]
        for candidate in beside[folder]:
            text = texts.get(f"{candidate}/{stem}" if candidate else stem)
            if text is not None:
                found[image] = text
                break
    return found


def _by_stem(root: Path, images: Sequence[str], texts: dict[str, str]) -> dict[str, str]:
    by_stem: dict[str, list[str]] = defaultdict(list)
    for path, text in texts.items():
        by_stem[path.rpartition("/")[2]].append(text)
    found: dict[str, str] = {}
    for image in images:
        same = by_stem.get(split_suffix(image)[0].rpartition("/")[2], ())
        if len(same) > 1:
            names = " and ".join(sorted(text.rpartition("/")[0] or "the folder itself" for text in same)[:2])
            problem = f"has label files for the same images in {names}"
            raise DatasetError(problem, place=root, hint="keep one of them, or make each a separate dataset")
        if same:
            found[image] = same[0]
    return found


def _but_for_hash(images: Sequence[str], texts: dict[str, str], found: dict[str, str]) -> dict[str, str]:
    """Label files of images that differ from them in a hash, as in a2c4f1d8-scan.txt, which Label Studio writes."""
    claimed = set(found.values())
    free_texts = [text for text in texts.values() if text not in claimed]
    free_images = [image for image in images if image not in found]
    if not free_texts or not free_images:
        return {}
    bare = BareStems.of([*free_texts, *free_images])
    texts_of, images_of = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for files, table in ((free_texts, texts_of), (free_images, images_of)):
        for file in files:
            table[bare.stem(file)].append(file)
    pairs = [(images_of[stem], same) for stem, same in texts_of.items() if stem in images_of]
    only = {same[0]: text[0] for same, text in pairs if len(same) == len(text) == 1}
    return {image: text for image, text in only.items() if not _same_stem(image, text)}


def note_hashes(root: Path, label_of: dict[str, str], notes: Notes) -> None:
    """Note label files that were found although they are not named like their images."""
    renamed = [(text, image) for image, text in label_of.items() if not _same_stem(text, image)]
    if renamed:
        text, image = min(renamed)
        problem = f"{counted(len(renamed), 'label file')} found but for a hash in the name, such as {text} of {image}"
        hint = "rename them like their images: other tools do not find them"
        notes.add("yolo.text.renamed", "warning", problem, root, hint)


def _same_stem(one: str, other: str) -> bool:
    return folded(stem_of(one)) == folded(stem_of(other))


def _label_folders(folder: str) -> Iterator[str]:
    """Where labels of the images in a folder may be, likeliest first, in lower case: images/x -> labels/x."""
    names = folder.lower().split("/") if folder else []
    for i in reversed(range(len(names))):
        if names[i] in IMAGE_FOLDERS:
            yield from ("/".join([*names[:i], name, *names[i + 1 :]]) for name in LABEL_FOLDERS)
    yield folder.lower()
    for i in reversed(range(len(names) + 1)):
        yield from ("/".join([*names[:i], name, *names[i:]]) for name in LABEL_FOLDERS)


def one_image_a_label(root: Path, images: Sequence[str], label_of: dict[str, str], notes: Notes) -> list[str]:
    """The images that are left out because another one has the same label file."""
    images_of: dict[str, list[str]] = defaultdict(list)
    for image in images:
        if image in label_of:
            images_of[label_of[image]].append(image)
    ambiguous = []
    for text, same in images_of.items():
        if len(same) > 1:
            problem = f"is the label file of {len(same)} images: {same[0]} is used"
            hint = f"delete the others, or give each its own label file: {', '.join(same[1:])}"
            notes.add("image.ambiguous", "warning", problem, root / text, hint)
            ambiguous += same[1:]
    for image in ambiguous:
        del label_of[image]
    return ambiguous


def note_orphans(root: Path, texts: dict[str, str], label_of: dict[str, str], notes: Notes) -> None:
    """Note label files without an image; other text files, such as a README, are ignored."""
    if not label_of:
        return
    claimed = set(label_of.values())
    folders = {text.rpartition("/")[0] for text in claimed}
    for text in sorted(set(texts.values()) - claimed):
        folder = text.rpartition("/")[0]
        if folder not in folders and not set(folder.lower().split("/")) & set(LABEL_FOLDERS):
            continue
        begin = first_bytes(root / text)
        if looks_like_rows(begin):
            stem = split_suffix(text)[0].rpartition("/")[2]
            problem = f"its image is missing: no folder of its images has one with the stem {stem!r}"
            notes.add("image.missing", "error", problem, root / text, "restore the image, or delete the label file")
        elif not begin.strip():
            problem = "is an empty label file, and its image is missing"
            notes.add("image.missing", "warning", problem, root / text, "restore the image, or delete the file")
