"""Which label becomes which, as people write it: old=new on the command line or in a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vocdet.errors import AnnotationError, Place, VocdetError, raise_all
from vocdet.formats.values import clean_label
from vocdet.wording import did_you_mean, listed, reason

_MOST_NAMED = 12  # labels in a hint


def read_changes(
    labels: Sequence[str],
    *,
    rename: Sequence[str] = (),
    merge: Sequence[str] = (),
    drop: Sequence[str] = (),
    keep: Sequence[str] = (),
    file: Path | None = None,
) -> dict[str, str]:
    """What becomes of those of `labels` that change: the new name, or "" for one that is dropped.

    `rename` is `old=new`, `merge` is `a,b=new`, `drop` and `keep` are `a,b`; `keep` names labels as they are called
    afterwards and drops all others. `file` has a line `old=new` for each, and `old=` drops. Commas and equals signs
    belong to a label where there is one of that name. All that is wrong is raised together.
    """
    told: list[_Change | VocdetError] = [_renamed(text, labels) for text in rename]
    told += [change for text in merge for change in _merged(text, labels)]
    told += [_Change(name, "", f"--drop {text!r}: ") for text in drop for name in _names(text, labels)]
    told += [_line(text, Place(file, number), labels) for number, text in _lines(file)] if file is not None else []
    becomes: dict[str, str] = {}
    errors = [change for change in told if isinstance(change, VocdetError)]
    for change in told:
        if isinstance(change, _Change):
            errors += change.wrong(labels, becomes.setdefault(change.old, change.new))
    raise_all(errors)
    becomes = {old: new for old, new in becomes.items() if new != old}
    if keep:
        becomes |= _others(labels, becomes, keep)
    if not any(becomes.get(label, label) for label in labels):
        raise AnnotationError("no label would be left", hint="drop fewer of them")
    return becomes


@dataclass(frozen=True, slots=True)
class _Change:
    old: str
    new: str  # "": it is dropped
    said: str = ""  # the option, for an error
    place: Place | None = None  # the line, for an error

    def wrong(self, labels: Sequence[str], first: str) -> list[VocdetError]:
        """Errors: a label that is not there, or one that something else was said of `first`."""
        if self.old not in labels:
            problem, hint = f"there is no label {self.old!r}", _known(self.old, labels)
        elif self.new != first:
            one, other = (f"become {name!r}" if name else "be dropped" for name in (first, self.new))
            problem, hint = f"{self.old!r} is to {one} and to {other}", "say one of the two"
        else:
            return []
        return [AnnotationError(f"{self.said}{problem}", place=self.place, hint=hint)]


def _renamed(text: str, labels: Sequence[str]) -> _Change | VocdetError:
    old, new = _sides(text, labels)
    if not old or not new:
        hint = f"write --drop {old!r} to drop it" if old and "=" in text else "write old=new"
        return AnnotationError(f"--rename {text!r} does not say what becomes what", hint=hint)
    return _Change(old, new, f"--rename {text!r}: ")


def _merged(text: str, labels: Sequence[str]) -> list[_Change | VocdetError]:
    left, _, right = text.rpartition("=")
    names, new = _names(left, labels), clean_label(right)
    if not names or not new:
        return [AnnotationError(f"--merge {text!r} does not say what becomes what", hint="write a,b=new")]
    return [_Change(name, new, f"--merge {text!r}: ") for name in names]


def _line(text: str, place: Place, labels: Sequence[str]) -> _Change | VocdetError:
    old, new = _sides(text, labels)
    if not old:
        hint = "write old=new, or old= to drop it"
        return AnnotationError(f"{text[:80]!r} does not say what becomes what", place=place, hint=hint)
    return _Change(old, new, place=place)


def _sides(text: str, labels: Sequence[str]) -> tuple[str, str]:
    """Old and new name, cut at the first equals sign with a label on its left, else at the first; "" without one."""
    cuts = [i for i, character in enumerate(text) if character == "="]
    if not cuts:
        return "", ""
    cut = next((i for i in cuts if clean_label(text[:i]) in labels), cuts[0])
    return clean_label(text[:cut]), clean_label(text[cut + 1 :])


def _names(text: str, labels: Sequence[str]) -> list[str]:
    """The labels of a list with commas; the whole is one where there is a label of that name."""
    whole = clean_label(text)
    return [whole] if whole in labels else [name for part in text.split(",") if (name := clean_label(part))]


def _others(labels: Sequence[str], becomes: dict[str, str], keep: Sequence[str]) -> dict[str, str]:
    """The labels whose new names are none of those to keep, as dropped ones."""
    names = tuple(dict.fromkeys(new for label in labels if (new := becomes.get(label, label))))
    kept = [name for text in keep for name in _names(text, names)]
    gone = "there is no such label" + (" after the other changes" if becomes else "")
    raise_all([
        AnnotationError(f"--keep {name!r}: {gone}", hint=_known(name, names)) for name in kept if name not in names
    ])  # fmt: skip
    return {label: "" for label in labels if becomes.get(label, label) not in kept}


def _known(name: str, labels: Sequence[str]) -> str:
    return did_you_mean(name, labels) or f"there are {listed(map(repr, labels), most=_MOST_NAMED)}"


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of the lines that are not blank."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        problem = f"cannot be read: {reason(error)}"
        raise AnnotationError(problem, place=path, hint="give a text file with a line old=new for each") from error
    except UnicodeDecodeError as error:
        raise AnnotationError("is not UTF-8 text", place=path, hint="save it as UTF-8") from error
    return ((number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip())
