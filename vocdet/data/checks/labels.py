"""Checks of labels: similar to another one, unused, or spelled with look-alike letters of another alphabet."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import islice

import numpy as np

from vocdet.data.dataset import Dataset
from vocdet.data.division.divide import objects_of_splits
from vocdet.data.division.groups import merged
from vocdet.data.findings import Finding, object_place
from vocdet.data.labels import is_background
from vocdet.data.splits import SPLIT_AGAIN, separate
from vocdet.errors import Place
from vocdet.wording import counted, listed, quoted

LONGEST_LABEL = 100  # characters

_MOST_NAMES = 20  # of labels that look alike

# Cyrillic and Greek letters that most typefaces draw like a Latin one, each above that letter.
_FOREIGN = "АВЕЅІЈКМНОРСТУХаеорсухѕіјԁһԛԝӏΑΒΕΖΗΙΚΜΝΟΡΤΥΧαικνορυχ"
_LATIN = "ABESIJKMHOPCTYXaeopcyxsijdhqwlABEZHIKMNOPTYXaikvopux"
_LOOKS = dict(zip(map(ord, _FOREIGN), _LATIN, strict=True))
_SCRIPTS = ("LATIN", "CYRILLIC", "GREEK")
_RETYPE = "they look the same on screen, but programs treat them as different labels"


def label_findings(dataset: Dataset, *, listed: bool = True) -> list[Finding]:
    """Labels that look like each other, that never occur, or that other tools stumble over.

    Unused labels are reported only if the labels of this dataset are `listed`: a COCO or YOLO file often lists those of
    a larger one.
    """
    counts = np.bincount(dataset.objects.label, minlength=len(dataset.labels))
    places = _first_places(dataset)
    findings, grouped = _alike(dataset.labels, counts.tolist(), places)
    for i, label in enumerate(dataset.labels):
        place, name = places[i], quoted(label)
        if listed and not counts[i]:
            hint = "delete it from the list, or annotate some"
            findings.append(Finding("label.unused", "warning", f"no object has the label {name}", place, hint))
        if re.search(r"[/\\:*?\"<>|]", label) or label.startswith("."):
            hint = f"rename it if {name} is to be in file names, as with `per_label=True`"
            problem = f"the label {name} cannot be part of a file name everywhere"
            findings.append(Finding("label.path_char", "warning", problem, place, hint))
        if len(label) > LONGEST_LABEL:
            problem = f"the label {label[:40] + '...'!r} has {len(label)} characters"
            findings.append(Finding("label.too_long", "warning", problem, place, "is it a label?"))
        if is_background(label):
            hint = "delete its objects: what no box covers is background by itself"
            findings.append(Finding("label.background", "warning", f"{label!r} is used as a label", place, hint))
        if i not in grouped:
            findings += _odd_letters(label, place)
    return findings


def label_split_findings(dataset: Dataset) -> list[Finding]:
    """Labels with objects, none of which is in train: a model never learns them."""
    splits = separate(dataset.splits)
    learned = next((splits[name] for name in ("train", "trainval") if name in splits), None)
    if learned is None or not len(learned):
        return []
    names = [name for name in splits if name not in ("train", "trainval")]
    counts = objects_of_splits(dataset, [learned, *(splits[name] for name in names)])  # (1 + S, L)
    places = _first_places(dataset)
    findings = []
    for i, label in enumerate(dataset.labels):
        elsewhere = [f"{counted(count, 'object')} in {name}"
                     for name, count in zip(names, counts[1:, i].tolist(), strict=True) if count]  # fmt: skip
        if not counts[0, i] and elsewhere:
            problem = f"the label {quoted(label)} has no object in train, but {' and '.join(elsewhere)}"
            hint = f"a model cannot learn it: annotate some in train, or split again: {SPLIT_AGAIN}"
            findings.append(Finding("label.not_in_train", "warning", problem, places[i], hint))
    return findings


def _alike(labels: Sequence[str], counts: list[int], places: Sequence[Place]) -> tuple[list[Finding], set[int]]:
    """A finding for every group of labels that look alike, and the ids of these labels."""
    names = [unicodedata.normalize("NFKC", label) for label in labels]
    by_letters = _same([_bare(name) for name in names])
    by_look = _same([_bare(name.translate(_LOOKS)) for name in names])
    findings, grouped = [], set[int]()
    for group in merged(len(names), by_letters, by_look):
        grouped.update(group)
        rarest = min(group, key=counts.__getitem__)
        of_one = len({frozenset(map(_script, filter(str.isalpha, set(labels[i])))) for i in group}) == 1
        described = listed(
            (f"{quoted(labels[i])} ({_about(labels[i], counts[i], of_one=of_one)})" for i in group), most=_MOST_NAMES
        )
        hint = "if they mean the same, rename one: `vocdet.remap(source, target, rename={'old': 'new'})`"
        problem = f"labels that look alike: {described}"
        findings.append(Finding("label.alike", "warning", problem, places[rarest], hint))
    return findings, grouped


def _about(label: str, count: int, *, of_one: bool) -> str:
    """How a label differs from those that look like it, which may all be `of_one` alphabet."""
    differences = ("" if of_one else _foreign_text(label), _hidden_text(label))
    return "; ".join([counted(count, "object"), *filter(None, differences)])


def _odd_letters(label: str, place: Place) -> list[Finding]:
    findings = []
    if any(_is_mixed(word) for word in re.findall(r"[^\W\d_]+", label)):
        problem = f"the label {quoted(label)} mixes alphabets: {_foreign_text(label)}"
        hint = f"retype it in one alphabet: {_RETYPE}"
        findings.append(Finding("label.mixed_script", "warning", problem, place, hint))
    if hidden := _hidden_text(label):
        problem = f"the label {label[:LONGEST_LABEL]!a} has invisible characters: {hidden}"
        findings.append(Finding("label.invisible", "warning", problem, place, f"retype it: {_RETYPE}"))
    return findings


def _bare(label: str) -> str:
    """A label without case, spaces and punctuation."""
    return "".join(filter(str.isalnum, label.casefold()))


def _same(names: list[str]) -> list[list[int]]:
    """The indices of each nonempty name."""
    places: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        if name:
            places.setdefault(name, []).append(i)
    return list(places.values())


def _is_mixed(word: str) -> bool:
    """Whether a word mixes Latin letters with look-alikes: a Cyrillic о in Bolt does, Δt does not."""
    return {_script(letter) for letter in set(word)} > {"LATIN"} and bool(_foreign(word))


def _script(letter: str) -> str:
    name = unicodedata.name(letter, "").partition(" ")[0]
    return name if name in _SCRIPTS else "LATIN"


def _foreign(label: str) -> list[str]:
    """The distinct letters of a label that look Latin but are not."""
    return [letter for letter in dict.fromkeys(label) if ord(letter) in _LOOKS]


def _foreign_text(label: str) -> str:
    letters = _foreign(label)
    if not letters:
        return ""
    named = ", ".join(f"{letter} is {_script(letter).capitalize()}" for letter in letters[:3])
    return f"{named}, ..." if len(letters) > 3 else named


def _hidden_text(label: str) -> str:
    """The invisible code points of a label, as in U+200B."""
    hidden = (letter for letter in dict.fromkeys(label) if unicodedata.category(letter) in ("Cf", "Cc"))
    return ", ".join(f"U+{ord(letter):04X}" for letter in islice(hidden, 3))


def _first_places(dataset: Dataset) -> list[Place]:
    """The first object of every label; the dataset's folder if there is none."""
    places = [Place(dataset.root)] * len(dataset.labels)
    for label, row in zip(*np.unique(dataset.objects.label, return_index=True), strict=True):
        places[label] = object_place(dataset, row)
    return places
