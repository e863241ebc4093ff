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
from vocdet.data.merging import (
    Merged,
    NamedDataset,
    Spelling,
    differing_folds,
    merge,
    source_names,
    spellings,
    union_of_labels,
)
from vocdet.data.texts import Texts

Scenes = dict[str, list[str]]  # stem -> the labels of its objects


def dataset_of(
    root: Path, scenes: Scenes, labels: Sequence[str] | None = None, *, poses: Sequence[str] = ("",), entries: str = ""
) -> Dataset:
    """Images `<stem>.jpg` with objects of these labels, each with its own box, mask, pose and line."""
    names = tuple(labels or sorted({label for scene in scenes.values() for label in scene}))
    flat = [(i, names.index(label)) for i, scene in enumerate(scenes.values()) for label in scene]
    n, m = len(scenes), len(flat)
    stems, no = tuple(scenes), np.zeros(m, np.bool_)
    images = Images(stems, tuple(f"{stem}.jpg" for stem in stems), np.full(n, 99), np.full(n, 88),
                    tuple(f"{stem}.xml" if i % 2 == 0 else "" for i, stem in enumerate(stems)),
                    Texts.of([b'{"of":"%s"}' % stem.encode() for stem in stems]))  # fmt: skip
    objects = Objects(
        np.array([row for row, _ in flat], np.int32), np.array([label for _, label in flat], np.int32),
        np.arange(m)[:, None] + np.array([0.0, 0, 5, 5]), no, no, no, no, np.arange(1, m + 1, dtype=np.int32),
        np.arange(m).astype(np.int16) % len(poses), segmentation=Texts.of([b"[[%d]]" % i for i in range(m)]),
    )  # fmt: skip
    return Dataset(root, names, images, objects, tuple(poses), entries=entries)


def merged(tmp_path: Path, *scenes: Scenes, splits: Sequence[dict[str, np.ndarray]] | None = None) -> Merged:
    """Datasets in the folders 0, 1, ..., called A, B, ... where names clash, as one."""
    datasets = [dataset_of(tmp_path / str(i), one) for i, one in enumerate(scenes)]
    return merge(
        [NamedDataset("ABCDE"[i], replace(one, splits=splits[i]) if splits else one) for i, one in enumerate(datasets)]
    )


def test_images_follow_each_other_below_the_folder_that_all_share(tmp_path: Path) -> None:
    made = merged(tmp_path, {"a": ["cat"], "b": []}, {"c": ["dog"]})
    assert made.dataset.root == tmp_path.resolve()
    assert made.dataset.images.files == ("0/a.jpg", "0/b.jpg", "1/c.jpg")
    assert made.dataset.images.sources == ("0/a.xml", "", "1/c.xml")
    assert made.source.tolist() == [0, 0, 1]
    assert [made.dataset.images.extra[row] for row in (0, 2)] == [b'{"of":"a"}', b'{"of":"c"}']


def test_a_dataset_in_the_folder_of_another_is_merged_too(tmp_path: Path) -> None:
    outer, inner = dataset_of(tmp_path, {"a": ["cat"]}), dataset_of(tmp_path / "deep" / "er", {"b": ["cat"]})
    assert merge([NamedDataset("A", outer), NamedDataset("B", inner)]).dataset.images.files == (
        "a.jpg",
        "deep/er/b.jpg",
    )


def test_labels_are_the_same_by_their_names(tmp_path: Path) -> None:
    made = merged(tmp_path, {"a": ["cat", "emu"]}, {"b": ["emu", "dog"]}).dataset
    assert made.labels == ("cat", "dog", "emu")
    assert [made.labels[label] for label in made.objects.label] == ["cat", "emu", "emu", "dog"]


@pytest.mark.parametrize(
    ("lists", "union"),
    [
        ([("b", "a"), ("b", "a")], ("b", "a")),
        ([("a",), ("c", "a", "b"), ("b",)], ("c", "a", "b")),
        ([("b", "a"), ("c",)], ("a", "b", "c")),
    ],
)
def test_labels_stand_in_the_order_of_a_list_that_has_them_all_else_sorted(
    lists: list[tuple[str, ...]], union: tuple[str, ...]
) -> None:
    assert union_of_labels(lists) == union


def test_only_stems_that_clash_get_the_name_of_their_source(tmp_path: Path) -> None:
    made = merged(tmp_path, {"x": [], "y": []}, {"y": [], "z": []}, {"Y": []})
    assert made.dataset.images.stems == (
        "x",
        "A_y",
        "B_y",
        "z",
        "C_Y",
    )  # many systems take y.jpg and Y.jpg for the same
    assert dict(made.stems_before) == {1: "y", 2: "y", 4: "Y"}


def test_a_stem_with_a_folder_keeps_it(tmp_path: Path) -> None:
    assert merged(tmp_path, {"deep/y": []}, {"deep/y": []}).dataset.images.stems == ("deep/A_y", "deep/B_y")


def test_a_new_stem_never_takes_one_that_is_there(tmp_path: Path) -> None:
    made = merged(tmp_path, {"y": [], "A_y": [], "A_y_2": []}, {"y": []})
    assert made.dataset.images.stems == ("A_y_3", "A_y", "A_y_2", "B_y")


def test_parts_are_joined_and_a_source_without_them_is_in_none(tmp_path: Path) -> None:
    splits = [{"train": np.array([1]), "test": np.array([0])}, {}, {"val": np.array([0]), "train": np.array([1, 2])}]
    made = merged(tmp_path, {"a": [], "b": []}, {"c": []}, {"d": [], "e": [], "f": []}, splits=splits)
    assert {name: rows.tolist() for name, rows in made.dataset.splits.items()} == {
        "train": [1, 4, 5],
        "test": [0],
        "val": [3],
    }


def test_poses_keep_their_names(tmp_path: Path) -> None:
    one = dataset_of(tmp_path / "0", {"a": ["cat"] * 3}, poses=("", "Left", "Right"))
    other = dataset_of(tmp_path / "1", {"b": ["cat"] * 3}, poses=("", "Right", "Rear"))
    made = merge([NamedDataset("A", one), NamedDataset("B", other)]).dataset
    assert [made.poses[pose] for pose in made.objects.pose] == ["", "Left", "Right", "", "Right", "Rear"]


def test_whatever_is_known_of_objects_stays_with_them(tmp_path: Path) -> None:
    made = merged(tmp_path, {"a": ["cat", "dog"]}, {"b": ["dog"]}).dataset.objects
    assert [made.segmentation[i] for i in range(3)] == [b"[[0]]", b"[[1]]", b"[[0]]"]
    assert made.box[:, 0].tolist() == [0, 1, 0]


def test_places_that_count_in_different_ways_are_not_known(tmp_path: Path) -> None:
    xml, json = (dataset_of(tmp_path / entries, {"a": ["cat"] * 2}, entries=entries) for entries in ("", "annotations"))
    assert merge([NamedDataset("A", xml), NamedDataset("B", xml)]).dataset.objects.line.tolist() == [1, 2, 1, 2]
    assert merge([NamedDataset("A", json), NamedDataset("B", json)]).dataset.entries == "annotations"
    mixed = merge([NamedDataset("A", xml), NamedDataset("B", json)]).dataset
    assert (mixed.objects.line.tolist(), mixed.entries) == ([0] * 4, "")


some_scenes = st.dictionaries(st.sampled_from("abcABC"), st.lists(st.sampled_from(["x", "y"]), max_size=3))


@given(st.lists(some_scenes, min_size=2, max_size=4))
def test_no_image_and_no_object_is_lost(sets: list[Scenes]) -> None:
    made = merged(Path("/nowhere"), *sets)
    expected = [(f"{i}/{stem}.jpg", labels) for i, one in enumerate(sets) for stem, labels in one.items()]
    found = [
        (made.dataset.images.files[row], [made.dataset.labels[label] for label in scene.objects.label])
        for row, scene in enumerate(made.dataset)
    ]
    assert found == expected


@few
@given(st.lists(datasets(), min_size=2, max_size=3))
def test_merged_datasets_say_what_their_sources_say(sources: list[Dataset]) -> None:
    sources = [replace(one, root=Path(f"/nowhere/{i}")) for i, one in enumerate(sources)]
    made = merge([NamedDataset(str(i), one) for i, one in enumerate(sources)])
    same_places = len({one.entries for one in sources}) == 1
    folds = differing_folds(sources)
    for i, source in enumerate(sources):
        rows = np.flatnonzero(made.source == i)
        part = made.dataset.subset(rows)
        stems = tuple(made.stems_before.get(row, made.dataset.images.stems[row]) for row in rows.tolist())
        assert stems == source.images.stems
        assert objects_by_name(part, lines=same_places) == objects_by_name(source, lines=same_places)
        assert plain(part.images.extra) == plain(source.images.extra)
        assert {name: rows.tolist() for name, rows in part.splits.items() if len(rows)} == {
            name: rows.tolist() for name, rows in source.splits.items() if len(rows) and name not in folds
        }


def objects_by_name(dataset: Dataset, *, lines: bool) -> object:
    """All columns of the objects, labels and poses by their names."""
    objects = dataset.objects
    same = np.zeros(len(objects), np.int32)
    columns = plain(replace(objects, label=same, pose=same.astype(np.int16), line=objects.line if lines else same))
    names = [
        (dataset.labels[label], dataset.poses[pose]) for label, pose in zip(objects.label, objects.pose, strict=True)
    ]
    return columns, names


def test_spellings_of_one_label_go_by_the_one_with_most_objects(tmp_path: Path) -> None:
    one = dataset_of(tmp_path, {"a": ["red cell", "platelet"]})
    other = dataset_of(tmp_path, {"b": ["Red-Cell", "Red-Cell", "platelet"]})
    third = dataset_of(tmp_path, {"c": ["RED_CELL"]})
    assert spellings([one, other, third]) == [Spelling(0, "red cell", "Red-Cell"), Spelling(2, "RED_CELL", "Red-Cell")]


def test_labels_that_differ_in_more_are_different(tmp_path: Path) -> None:
    assert (
        spellings(
            [dataset_of(tmp_path, {"a": ["C", "C++", "cat 1", "-", "_"]}), dataset_of(tmp_path, {"b": ["cat 2"]})]
        )
        == []
    )


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["x/cats", "y/dogs"], ("cats", "dogs")),
        (["x/data", "y/data", "z/Data"], ("data1", "data2", "Data3")),
        (["x/data", "y/data", "data1"], ("data2", "data3", "data1")),
        (["/"], ("set",)),
    ],
)
def test_every_source_has_a_unique_name(folders: list[str], names: tuple[str, ...]) -> None:
    assert source_names([Path(folder) for folder in folders]) == names
