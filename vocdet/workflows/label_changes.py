"""Label changes as text: old=new, as an argument or in a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vocdet.errors import AnnotationError, Place, VocdetError, raise_all
from vocdet.formats.shared.limited import read_text
from vocdet.formats.shared.values import clean_label
from vocdet.wording import did_you_mean, listed

_LISTED_LABELS = 12  # labels in a hint


@dataclass(frozen=True, slots=True)
class LabelChanges:
    """The requested changes, as text.

    Commas and equals signs belong to a label if the dataset has a label of that name.
    """

    rename: Sequence[str] = ()  # old=new
    merge: Sequence[str] = ()  # a,b=new
    drop: Sequence[str] = ()  # a,b
    keep: Sequence[str] = ()  # a,b by their new names; all other labels are dropped
    file: Path | None = None  # old=new on each line; old= drops

    def __bool__(self) -> bool:
        return bool(self.rename or self.merge or self.drop or self.keep or self.file)


def resolve_changes(labels: Sequence[str], changes: LabelChanges) -> dict[str, str]:
    """The new name of every label that changes, "" for a dropped label. All errors are raised together."""
    parsed: list[_Change | VocdetError] = [_renamed(text, labels) for text in changes.rename]
    parsed += [change for text in changes.merge for change in _merged(text, labels)]
    parsed += [
        _Change(name, "", f"`drop=[{text!r}]`: ") for text in changes.drop for name in _label_names(text, labels)
    ]
    if changes.file is not None:
        parsed += [_parse_line(text, Place(changes.file, number), labels) for number, text in _map_lines(changes.file)]
    new_names: dict[str, str] = {}
    errors = [change for change in parsed if isinstance(change, VocdetError)]
    for change in parsed:
        if isinstance(change, _Change):
            errors += change.errors(labels, new_names.setdefault(change.old, change.new))
    raise_all(errors)
    new_names = {old: new for old, new in new_names.items() if new != old}
    if changes.keep:
        new_names |= _dropped(labels, new_names, changes.keep)
    if not any(new_names.get(label, label) for label in labels):
        raise AnnotationError("no labels would remain", hint="drop fewer labels")
    return new_names


@dataclass(frozen=True, slots=True)
class _Change:
    old: str
    new: str  # "": dropped
    argument: str = ""  # the argument, for an error
    place: Place | None = None  # the line, for an error

    def errors(self, labels: Sequence[str], first: str) -> list[VocdetError]:
        """The error of an unknown label, or of one that an earlier change turns into `first` instead."""
        if self.old not in labels:
            problem, hint = f"there is no label {self.old!r}", _known_label(self.old, labels)
        elif self.new != first:
            one, other = (f"become {name!r}" if name else "be dropped" for name in (first, self.new))
            problem, hint = f"{self.old!r} cannot both {one} and {other}", "choose one of the two"
        else:
            return []
        return [AnnotationError(f"{self.argument}{problem}", place=self.place, hint=hint)]


def _renamed(text: str, labels: Sequence[str]) -> _Change | VocdetError:
    old, new = _old_and_new(text, labels)
    if not old or not new:
        hint = f"use `drop=[{old!r}]` to drop it" if old and "=" in text else "write old=new"
        return AnnotationError(f"`rename=[{text!r}]` has no old or no new name", hint=hint)
    return _Change(old, new, f"`rename=[{text!r}]`: ")


def _merged(text: str, labels: Sequence[str]) -> list[_Change | VocdetError]:
    left, _, right = text.rpartition("=")
    names, new = _label_names(left, labels), clean_label(right)
    if not names or not new:
        return [AnnotationError(f"`merge=[{text!r}]` has no old or no new name", hint="write a,b=new")]
    return [_Change(name, new, f"`merge=[{text!r}]`: ") for name in names]


def _parse_line(text: str, place: Place, labels: Sequence[str]) -> _Change | VocdetError:
    old, new = _old_and_new(text, labels)
    if not old:
        hint = "write old=new, or old= to drop it"
        return AnnotationError(f"{text[:80]!r} has no old name", place=place, hint=hint)
    return _Change(old, new, place=place)


def _old_and_new(text: str, labels: Sequence[str]) -> tuple[str, str]:
    """Old and new name: cut at the first equals sign with a label on its left, else at the first; else both ""."""
    cuts = [i for i, character in enumerate(text) if character == "="]
    if not cuts:
        return "", ""
    cut = next((i for i in cuts if clean_label(text[:i]) in labels), cuts[0])
    return clean_label(text[:cut]), clean_label(text[cut + 1 :])


def _label_names(text: str, labels: Sequence[str]) -> list[str]:
    """The labels of a comma-separated list; the whole text if it is itself a label."""
    whole = clean_label(text)
    return [whole] if whole in labels else [name for part in text.split(",") if (name := clean_label(part))]


def _dropped(labels: Sequence[str], new_names: dict[str, str], keep: Sequence[str]) -> dict[str, str]:
    """The labels that `keep` drops, because their new names are not in it."""
    names = tuple(dict.fromkeys(new for label in labels if (new := new_names.get(label, label))))
    kept = [name for text in keep for name in _label_names(text, names)]
    problem = "there is no such label" + (" after the other changes" if new_names else "")
    unknown = [name for name in kept if name not in names]
    raise_all([AnnotationError(f"`keep=[{name!r}]`: {problem}", hint=_known_label(name, names)) for name in unknown])
    return {label: "" for label in labels if new_names.get(label, label) not in kept}


def _known_label(name: str, labels: Sequence[str]) -> str:
    return did_you_mean(name, labels) or f"there are {listed(map(repr, labels), most=_LISTED_LABELS)}"


def _map_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of the lines that are not blank."""
    text = read_text(path, "give a text file with old=new on each line")
    return ((number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip())
