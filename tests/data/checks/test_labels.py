from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vocdet.data.checks.labels import label_findings
from vocdet.data.dataset import Dataset
from vocdet.formats.voc.read import read

MakeVoc = Callable[..., Path]

CYRILLIC_A, CYRILLIC_O, CYRILLIC_VE, GREEK_OMICRON = "\u0430", "\u043e", "\u0412", "\u03bf"


def with_labels(make_voc: MakeVoc, *labels: str) -> Dataset:
    return read(make_voc({"a": [(label, (9 * i, 2, 9 * i + 8, 40)) for i, label in enumerate(labels)]})).dataset


@pytest.mark.parametrize(
    ("labels", "code", "problem"),
    [
        (("Dog", "dog"), "label.alike", "labels that look alike: 'Dog' (1 object), 'dog' (1 object)"),
        (("hot dog", "hotdog"), "label.alike", "labels that look alike: 'hot dog' (1 object), 'hotdog' (1 object)"),
        (("hot-dog", "hot_dog"), "label.alike", "labels that look alike: 'hot-dog' (1 object), 'hot_dog' (1 object)"),
        (("a/b",), "label.path_char", "the label 'a/b' cannot be part of a file name everywhere"),
        (("background",), "label.background", "'background' is used as a label"),
        (("x" * 101,), "label.too_long", f"the label '{'x' * 40}...' has 101 characters"),
        (
            ("Bolt", f"{CYRILLIC_VE}olt"),
            "label.alike",
            f"labels that look alike: 'Bolt' (1 object), '{CYRILLIC_VE}olt' (1 object; {CYRILLIC_VE} is Cyrillic)",
        ),
        (
            (f"N{GREEK_OMICRON}t",),
            "label.mixed_script",
            f"the label 'N{GREEK_OMICRON}t' mixes alphabets: {GREEK_OMICRON} is Greek",
        ),
        (("do\u200bg",), "label.invisible", r"the label 'do\u200bg' has invisible characters: U+200B"),
        (
            ("dog", "do\u200bg"),
            "label.alike",
            r"labels that look alike: 'dog' (1 object), 'do\u200bg' (1 object; U+200B)",
        ),
    ],
)
def test_labels_that_look_wrong(make_voc: MakeVoc, labels: tuple[str, ...], code: str, problem: str) -> None:
    (finding,) = label_findings(with_labels(make_voc, *labels))
    assert (finding.severity, finding.code, finding.problem) == ("warning", code, problem)
    assert finding.hint


def test_labels_of_one_alphabet_differ_in_case_alone(make_voc: MakeVoc) -> None:
    (finding,) = label_findings(with_labels(make_voc, "Кот", "кот"))
    assert finding.problem == "labels that look alike: 'Кот' (1 object), 'кот' (1 object)"


@pytest.mark.parametrize(
    "labels",
    [
        ("кот", "собака", "+"),
        ("болт M6", "гайка M6"),  # two words, each of one alphabet
        ("\u0394t", "\u03bcm"),  # a Greek letter that looks like no other
        ("狗", "猫"),
        ("café", "cafe"),
    ],
)
def test_labels_without_findings(make_voc: MakeVoc, labels: tuple[str, ...]) -> None:
    assert label_findings(with_labels(make_voc, *labels)) == []


def test_a_label_is_shown_where_it_is(make_voc: MakeVoc) -> None:
    root = make_voc({"a": [("dog", (1, 2, 30, 40)), ("dog", (1, 42, 30, 80))], "b": [("Dog", (1, 2, 30, 40))]})
    (finding,) = label_findings(read(root).dataset)
    assert str(finding.place) == f"{root}/Annotations/b.xml:14"  # the rarer one is the likelier slip


def test_a_listed_label_without_objects_is_named(make_voc: MakeVoc, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("dog\nzebra\n")
    dataset = read(make_voc({"a": [("dog", (1, 2, 30, 40))]}), labels=tmp_path / "labels.txt").dataset
    assert [finding.problem for finding in label_findings(dataset)] == ["no object has the label 'zebra'"]
    assert label_findings(dataset, listed=False) == []
