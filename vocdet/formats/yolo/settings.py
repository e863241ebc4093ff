"""The files that name the labels and splits of a YOLO dataset: data.yaml, obj.data, classes.txt and the like."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vocdet.data.findings import Notes
from vocdet.files import first_bytes
from vocdet.formats.shared.label_lists import is_list_name
from vocdet.formats.shared.limited import noted_text
from vocdet.formats.shared.values import clean_label
from vocdet.formats.yolo.rows import looks_like_rows
from vocdet.wording import and_more, counted

LARGEST_FILE = 2**18  # bytes; a thousand labels take 30,000
SPLIT_KEYS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
YAML_SUFFIXES = (".yaml", ".yml")

_DEEPEST = 20  # levels of a data.yaml; two are used
_MOST_LABELS = 100_000
_NOTHING = ("", "~", "null", "none")
_NAMES_HINT = "write the labels in their order, as in names: [dog, cat]"


@dataclass(slots=True)
class Settings:
    """The content of one file."""

    source: str  # the file, relative to the root of the dataset
    names: tuple[str, ...] = ()  # in the order of their numbers; empty if it names none
    base: str = ""  # its `path`
    splits: dict[str, list[str]] = field(default_factory=dict)  # train, val, test: folders or lists of images
    lines: dict[str, int] = field(default_factory=dict)  # of every key
    names_file: str = ""  # the file that names the labels
    keypoints: tuple[int, int] | None = None  # of a pose, and how many values each has


class _RefusedError(Exception):
    """A YAML feature that is not read, and its line."""


def read_yaml(root: Path, source: str, notes: Notes) -> Settings | None:
    """A data.yaml; None if it cannot be read, or names neither labels nor splits."""
    import yaml

    path = root / source
    text = _text(path, notes)
    if text is None:
        return None
    found: dict[tuple[str, ...], tuple[str, int]] = {}
    try:
        for keys, value, line in _scalars(text):
            if keys in found:
                problem = f"{'.'.join(keys)} is duplicate: the last one is used"
                notes.add("yolo.yaml.repeated", "error", problem, path, "delete one of the two", line=line)
            found[keys] = value, line
    except _RefusedError as error:
        problem, line = error.args
        notes.add("yolo.yaml.refused", "error", problem, path, "write the values themselves", line=line)
        return None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = f"is not YAML: {getattr(error, 'problem', None) or 'it has characters that YAML does not allow'}"
        hint = "write names and values as in names: [dog, cat]"
        notes.add("yolo.yaml.syntax", "error", problem, path, hint, line=mark.line + 1 if mark else 0)
        return None
    tops = {keys[0] for keys in found if keys}
    return _settings_of(path, source, found, notes) if "names" in tops or tops >= {"train", "val"} else None


def read_data_file(root: Path, source: str, notes: Notes) -> Settings | None:
    """Darknet's obj.data: lines of `key = value`."""
    text = _text(root / source, notes)
    if text is None:
        return None
    settings = Settings(source)
    for number, line in enumerate(text.splitlines(), 1):
        key, equals, value = (part.strip() for part in line.partition("="))
        split = SPLIT_KEYS.get(key.lower())  # CVAT writes the names of its subsets, such as Validation
        if equals and value and split:
            settings.splits.setdefault(split, []).append(value)
            settings.lines[split] = number
        elif equals and key == "names":
            settings.names_file = value
    return settings


def read_names(root: Path, source: str, notes: Notes) -> tuple[str, ...]:
    """The labels of a list file, in which every line counts, even a blank one."""
    text = _text(root / source, notes)
    if text is None:
        return ()
    lines = re.split(r"\r\n|\r|\n", text.rstrip())
    return _named(root / source, list(enumerate(lines)), notes, 0) if text.strip() else ()


def is_names_file(root: Path, source: str) -> bool:
    """Whether a file has the name of a label list, and is not the label file of an image of that name."""
    return is_list_name(source) and not looks_like_rows(first_bytes(root / source))


def _text(path: Path, notes: Notes) -> str | None:
    codes = "yolo.names.unreadable", "yolo.names.too_big", "yolo.names.encoding"
    return noted_text(path, notes, LARGEST_FILE, codes, "use a shorter label list")


def _scalars(text: str) -> Iterator[tuple[tuple[str, ...], str, int]]:
    """Every scalar of a YAML document: the keys that lead to it, its text, and its line.

    The document is read as events, so that no tag constructs an object, no alias multiplies and nothing recurses.
    """
    import yaml

    keys: list[str] = []  # the current key of every open collection
    counts: list[int] = []  # entries so far; in a mapping -1 before a key, -2 before a value
    for event in yaml.parse(text, Loader=yaml.BaseLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _RefusedError("has an anchor or an alias (& or *), which are not supported", line)
        if isinstance(event, yaml.DocumentEndEvent):
            return
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and counts and counts[-1] == -1:
            if not isinstance(event, yaml.ScalarEvent):
                raise _RefusedError("has a key that is a list", line)
            keys[-1], counts[-1] = event.value, -2
            continue
        if isinstance(event, yaml.ScalarEvent):
            yield tuple(keys), event.value, line
        elif isinstance(event, yaml.CollectionStartEvent):
            if len(keys) == _DEEPEST:
                raise _RefusedError(f"has values more than {_DEEPEST} levels deep", line)
            mapping = isinstance(event, yaml.MappingStartEvent)
            keys.append("0")
            counts.append(-1 if mapping else 0)
            continue
        elif isinstance(event, yaml.CollectionEndEvent):
            keys.pop()
            counts.pop()
        else:
            continue
        if counts:  # a value is complete: the next entry follows
            counts[-1] = -1 if counts[-1] < 0 else counts[-1] + 1
            keys[-1] = keys[-1] if counts[-1] < 0 else str(counts[-1])


def _settings_of(path: Path, source: str, found: dict[tuple[str, ...], tuple[str, int]], notes: Notes) -> Settings:
    settings = Settings(source)
    names: list[tuple[int, str]] = []
    for keys, (value, line) in found.items():
        key = keys[0]
        split = SPLIT_KEYS.get(key.lower(), "")
        settings.lines.setdefault(split or key, line)
        if split and len(keys) <= 2 and value.lower() not in _NOTHING:
            settings.splits.setdefault(split, []).append(value)
        elif key == "path" and len(keys) == 1:
            settings.base = "" if value.lower() in _NOTHING else value
        elif key == "names" and len(keys) == 1:
            settings.names_file = "" if value.lower() in _NOTHING else value
        elif key == "names" and len(keys) == 2 and re.fullmatch(r"\d{1,6}", keys[1], re.ASCII):
            names.append((int(keys[1]), value))
        elif key == "names":
            problem = f"names has {'.'.join(keys[1:])[:40]!r}, which is not the number of a label"
            notes.add("yolo.names.number", "error", problem, path, _NAMES_HINT, line=line)
    settings.names = _named(path, names, notes, settings.lines.get("names", 0))
    count, line = found.get(("nc",), ("", 0))
    if count and settings.names and count != str(len(settings.names)):
        problem = f"nc is {count[:20]}, but there are {counted(len(settings.names), 'name')}"
        notes.add("yolo.names.count", "warning", problem, path, "check whether a label is missing", line=line)
    shape = [found.get(("kpt_shape", str(i)), ("", 0))[0] for i in range(2)]
    if all(re.fullmatch(r"\d{1,4}", text, re.ASCII) for text in shape) and int(shape[0]) and shape[1] in ("2", "3"):
        settings.keypoints = int(shape[0]), int(shape[1])
    return settings


def _named(path: Path, entries: Sequence[tuple[int, str]], notes: Notes, line: int) -> tuple[str, ...]:
    """Labels by number; the number is the name of a label without one."""
    names = {number: clean_label(text) for number, text in entries if number < _MOST_LABELS}
    labels = [names.get(number, "") for number in range(max(names, default=-1) + 1)]
    nameless = [number for number, label in enumerate(labels) if not label]
    if nameless:
        more = and_more(len(nameless) - 1)
        problem = f"no name for label {nameless[0]}{more}"
        hint = "add the name; until then the number is its name"
        notes.add("yolo.names.missing", "warning", problem, path, hint, line=line or nameless[0] + 1)
    return tuple(label or str(number) for number, label in enumerate(labels))
