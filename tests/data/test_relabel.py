from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import datasets, few, plain
from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.relabel import relabel, with_labels
from vocdet.data.texts import Texts

NAMES = ("cat", "dog", "emu")


def dataset_of(scenes: Sequence[Sequence[int]], labels: tuple[str, ...] = NAMES) -> Dataset:
    """Images with objects of these labels, each at its own place."""
    flat = [label for scene in scenes for label in scene]
    n, m = len(scenes), len(flat)
    stems, no = tuple(map(str, range(n))), np.zeros(m, np.bool_)
    box = np.arange(m)[:, None] + np.array([0.0, 0, 5, 5])
    objects = Objects(
        np.repeat(np.arange(n), [len(scene) for scene in scenes]), np.array(flat, np.int32), box,
        no, no, no, no, np.arange(1, m + 1, dtype=np.int32), extra=Texts.of([b'{"n":%d}' % i for i in range(m)]),
    )  # fmt: skip
    return Dataset(Path(), labels, Images(stems, stems, np.full(n, 99), np.full(n, 99), stems), objects)


def names_of(dataset: Dataset) -> list[str]:
    return [dataset.labels[label] for label in dataset.objects.label]


def test_a_new_name_is_that_of_all_its_objects_and_keeps_the_place_of_the_label() -> None:
    made = relabel(dataset_of([[0, 1], [2, 0]]), {"cat": "zebra"})
    assert made.dataset.labels == ("zebra", "dog", "emu")
    assert names_of(made.dataset) == ["zebra", "dog", "emu", "zebra"]
    assert (made.renamed, made.dropped, made.doubles) == (2, 0, 0)


def test_two_labels_can_change_places() -> None:
    assert names_of(relabel(dataset_of([[0, 1, 1]]), {"cat": "dog", "dog": "cat"}).dataset) == ["dog", "cat", "cat"]


def test_labels_of_one_new_name_are_merged_at_the_place_of_the_first() -> None:
    made = relabel(dataset_of([[0, 1, 2]]), {"dog": "pet", "cat": "pet"})
    assert (made.dataset.labels, names_of(made.dataset)) == (("pet", "emu"), ["pet", "pet", "emu"])
    assert relabel(dataset_of([[2, 0]]), {"emu": "cat"}).dataset.labels == ("cat", "dog")


def test_a_dropped_label_takes_its_objects_and_leaves_the_images() -> None:
    made = relabel(dataset_of([[0, 1], [1], [], [2]]), {"dog": ""})
    assert (len(made.dataset), names_of(made.dataset), made.dropped) == (4, ["cat", "emu"], 2)
    assert made.emptied.tolist() == [1]  # and not image 2, which had nothing to lose
    assert made.dataset.objects.image.tolist() == [0, 3]


def test_whatever_else_is_known_of_an_object_stays_with_it() -> None:
    made = relabel(dataset_of([[0, 1], [2]]), {"dog": "", "emu": "cat"}).dataset
    assert [made.objects.extra[i] for i in range(2)] == [b'{"n":0}', b'{"n":2}']
    assert made.objects.line.tolist() == [1, 3]


def test_objects_that_differed_only_in_label_are_counted() -> None:
    same = dataset_of([[0, 1, 0]])
    same = replace(same, objects=replace(same.objects, box=np.array([[0, 0, 5, 5]] * 2 + [[1, 1, 5, 5]])))
    assert relabel(same, {"dog": "cat"}).doubles == 1
    assert relabel(same, {"dog": "wolf"}).doubles == 0


def test_those_that_were_the_same_before_are_not() -> None:
    same = dataset_of([[0, 0, 1]])
    same = replace(same, objects=replace(same.objects, box=np.array([[0, 0, 5, 5]] * 2 + [[1, 1, 5, 5]])))
    assert relabel(same, {"dog": "cat"}).doubles == 0


def test_a_label_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no such labels: \['cow'\]"):
        relabel(dataset_of([[0]]), {"cow": "cat"})


def test_no_label_left_is_refused() -> None:
    with pytest.raises(ValueError, match="no label is left"):
        relabel(dataset_of([[0]]), dict.fromkeys(NAMES, ""))


@given(st.permutations(NAMES), st.lists(st.lists(st.integers(0, 2), max_size=4), min_size=1, max_size=5))
def test_a_permutation_and_its_inverse_change_nothing(names: list[str], scenes: list[list[int]]) -> None:
    dataset = dataset_of(scenes)
    there = relabel(dataset, dict(zip(NAMES, names, strict=True))).dataset
    back = relabel(there, dict(zip(names, NAMES, strict=True))).dataset
    assert names_of(back) == names_of(dataset)


def test_with_labels_changes_numbers_only() -> None:
    dataset = dataset_of([[0, 1], [2, 0]])
    objects = replace(dataset.objects, pose=np.array([1, 0, 1, 1], np.int32))
    dataset = replace(dataset, poses=("", "Left"), extra=b'{"info":1}', entries="annotations", objects=objects)
    numbered = with_labels(dataset, ("fox", "emu", "cat"))
    assert numbered.labels == ("fox", "emu", "cat", "dog")
    assert names_of(numbered) == names_of(dataset)
    restored = replace(numbered, labels=dataset.labels, objects=replace(numbered.objects, label=objects.label))
    assert restored.fingerprint() == dataset.fingerprint()
    assert (numbered.poses, numbered.extra, numbered.entries) == (dataset.poses, dataset.extra, dataset.entries)
    assert with_labels(numbered, dataset.labels).fingerprint() == dataset.fingerprint()


@few
@given(datasets(), st.data())
def test_other_numbers_of_labels_change_nothing_else(dataset: Dataset, data: st.DataObject) -> None:
    first = data.draw(st.permutations(dataset.labels)) + ["new"]
    numbered = with_labels(dataset, first)
    assert (names_of(numbered), list(numbered.labels)) == (names_of(dataset), first)
    assert without_labels(numbered) == without_labels(dataset)


@few
@given(datasets(), st.data())
def test_new_names_change_nothing_else(dataset: Dataset, data: st.DataObject) -> None:
    names = [f"new {name}" for name in dataset.labels]
    dropped = data.draw(st.sampled_from(["", names[0]])) if len(names) > 1 else names[0]
    made = relabel(dataset, dict(zip(dataset.labels, [dropped, *names[1:]], strict=True))).dataset
    kept = dataset.select_objects(dataset.objects.label > 0) if not dropped else dataset
    assert names_of(made) == [f"new {name}" for name in names_of(kept)]
    assert without_labels(made) == without_labels(kept)


def without_labels(dataset: Dataset) -> object:
    """Everything in a dataset but its labels."""
    objects = replace(dataset.objects, label=np.zeros(len(dataset.objects), np.int32))
    return plain(replace(dataset, labels=("",), objects=objects))


def test_a_label_without_objects_is_left_out() -> None:
    assert with_labels(dataset_of([[0]]), ("dog",)).labels == ("dog", "cat")
