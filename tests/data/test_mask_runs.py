"""Run lengths of many RLEs at once: the same verdict and area as of each alone."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as coco

from vocdet.data.mask_runs import measured_runs, runs_of
from vocdet.data.texts import Texts
from vocdet.masks import MaskError, Rle, parse

drawn = st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).random((9, 13)) < 0.5)
text = st.text(st.sampled_from([chr(48 + i) for i in range(64)] + ["!", "~"]), max_size=12)


def rle(counts: str, size: tuple[int, int] = (9, 13)) -> bytes:
    return json.dumps({"size": size, "counts": counts}).encode()


def encoded(mask: NDArray[np.bool_]) -> str:
    return str(coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode())


@settings(deadline=None, max_examples=80)
@given(st.lists(st.one_of(drawn.map(encoded), text), min_size=1, max_size=6), st.integers(1, 13))
def test_all_at_once_as_one_by_one(counts: list[str], width: int) -> None:
    texts = [rle(one, (9, width)) for one in counts]
    runs = runs_of(Texts.of(texts))
    assert runs is not None
    result = measured_runs(runs)
    for i, one in enumerate(texts):
        try:
            alone = parse(one)
        except MaskError:
            assert not result.valid[i]
            assert result.area[i] == 0
        else:
            assert isinstance(alone, Rle)
            assert result.valid[i]
            assert result.area[i] == alone.area


def test_long_runs_are_counted_in_blocks() -> None:
    side = 4000
    square = np.zeros((side, side), np.bool_)
    square[1000:3000, 1500:2500] = True
    column = Texts.of([rle(encoded(square), (side, side))] * 1200)  # 2.4 million characters
    runs = runs_of(column)
    assert runs is not None
    assert sum(map(len, runs.counts)) > 2**21
    assert (measured_runs(runs).area == 2_000_000).all()


def test_a_column_with_polygons_has_no_runs() -> None:
    assert runs_of(Texts.of([rle(""), b"[[1, 1, 2, 1, 2, 2]]"])) is None
