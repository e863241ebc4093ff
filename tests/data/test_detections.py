"""Detections of one image: their columns stay in step."""

from __future__ import annotations

import numpy as np
import pytest

from vocdet.data.detections import Detections
from vocdet.data.texts import Texts


def some(masks: Texts | None = None) -> Detections:
    boxes = np.arange(12.0).reshape(3, 4)
    return Detections(boxes, np.array([0.9, 0.5, 0.25], np.float32), np.array([1, 0, 1]), masks)


def texts(found: Detections) -> list[bytes]:
    assert found.masks is not None
    return [found.masks[i] for i in range(len(found))]


def test_masks_stay_with_their_detections() -> None:
    found = some(Texts.of([b"a", b"", b"c"]))
    assert texts(found.above(0.5)) == [b"a", b""]
    assert texts(found.above(np.array([0.6, 0.2], np.float32))) == [b"a", b"c"]
    assert texts(found.take([2, 0])) == [b"c", b"a"]
    assert found.take([2, 0]).boxes[:, 0].tolist() == [8, 0]
    assert texts(found.take([])) == []


def test_without_masks_there_are_none_after() -> None:
    assert some().above(0.5).masks is None
    assert some().take([1]).masks is None


def test_another_number_of_masks_is_refused() -> None:
    with pytest.raises(ValueError, match="2 masks for 3 detections"):
        some(Texts.empty(2))
