"""What the page gets of one image."""

from __future__ import annotations

import cv2
import numpy as np

from tests.evaluation.conftest import Make
from vocdet import masks
from vocdet.viewing.items import MOST_SHOWN, describe
from vocdet.viewing.table import ViewTable


def test_masks_are_polygons_whatever_they_were() -> None:
    drawn = np.zeros((40, 60), np.bool_)
    drawn[10:30, 5:50] = True
    drawn[15:20, 20:30] = False  # a hole
    polygon = b"[[1, 1, 20, 1, 20, 20]]"
    box = (0.0, 0.0, 60.0, 40.0)
    truth = Make().truth(
        ("a",), [[("a", box)] * 4], masks=[[polygon, masks.rle_json(drawn), b"[[1, 1]]", b""]], sizes=[(60, 40)]
    )
    first, second, *others = (one["mask"] for one in describe(ViewTable(truth), 0, whole=True)["objects"])
    assert first == [[1, 1, 20, 1, 20, 20]]
    assert others == [[], []]  # invalid, and none
    assert len(second) == 2
    filled = cv2.fillPoly(
        np.zeros((40, 60), np.uint8), [np.array(r).reshape(-1, 2).astype(np.int32) for r in second], 1
    )
    assert (filled.astype(np.bool_) ^ drawn).mean() < 0.03  # but for pixels at the border of the hole


def test_a_thumbnail_shows_some_of_many_objects() -> None:
    truth = Make().truth(("a",), [[("a", (0.0, 0.0, 9.0, 9.0))] * (MOST_SHOWN + 5)])
    item = describe(ViewTable(truth), 0)
    assert (item["count"], len(item["objects"])) == (MOST_SHOWN + 5, MOST_SHOWN)
    assert "mask" not in item["objects"][0]
    assert len(describe(ViewTable(truth), 0, whole=True)["objects"]) == MOST_SHOWN + 5
