"""A change of anything that is learned from an image changes its hash, and no other one's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.digests import image_digests
from vocdet.data.texts import Texts


def dataset(**objects: Any) -> Dataset:
    none = np.zeros(3, np.bool_)
    columns: dict[str, Any] = {
        "image": np.array([0, 0, 1]), "label": np.array([0, 1, 1]), "box": np.arange(12.0).reshape(3, 4) ** 1.5,
        "difficult": none, "truncated": none, "occluded": none, "crowd": none, "line": np.zeros(3),
    }  # fmt: skip
    images = Images(("a", "b", "c"), ("a.jpg", "b.jpg", "c.jpg"), np.full(3, 9), np.full(3, 8), ("", "", ""))
    return Dataset(Path("set"), ("cat", "dog"), images, Objects(**(columns | objects)))


def test_every_image_has_its_own_hash() -> None:
    found = image_digests(dataset())
    assert list(found) == ["a", "b", "c"]
    assert len(set(found.values())) == 3
    assert found == image_digests(dataset())


@pytest.mark.parametrize(
    "change",
    [
        {"box": np.arange(12.0).reshape(3, 4) ** 1.5 + np.array([[0.0], [1e-9], [0.0]])},
        {"label": np.array([0, 0, 1])},
        {"difficult": np.array([False, True, False])},
        {"crowd": np.array([False, True, False])},
        {"segmentation": Texts.of([b"", b"[[1,2,3,4,5,6]]", b""])},
    ],
)
def test_what_is_learned_changes_the_hash_of_its_image_alone(change: dict[str, Any]) -> None:
    before, after = image_digests(dataset()), image_digests(dataset(**change))
    assert [stem for stem in before if before[stem] != after[stem]] == ["a"]


def test_labels_count_by_name_and_not_by_number() -> None:
    mine = dataset()
    turned = replace(mine, labels=("dog", "cat"), objects=dataset(label=np.array([1, 0, 0])).objects)
    assert image_digests(turned) == image_digests(mine)
