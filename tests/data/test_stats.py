from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.stats import stats
from vocdet.data.texts import Texts

Box = tuple[float, float, float, float]
A, B, C = range(3)


def dataset_of(
    scenes: Sequence[Sequence[tuple[int, Box]]],
    sizes: Sequence[tuple[int, int]] | None = None,
    *,
    area: Sequence[float] | None = None,
    difficult: Sequence[int] = (),
    masks: Sequence[bytes] | None = None,
) -> Dataset:
    """Images with these objects, of labels a, b, c and d."""
    sides = np.array(sizes or [(100, 100)] * len(scenes)).reshape(-1, 2)
    rows = [(i, label, box) for i, scene in enumerate(scenes) for label, box in scene]
    stems = tuple(str(i) for i in range(len(scenes)))
    no = np.zeros(len(rows), np.bool_)
    objects = Objects(
        np.array([row[0] for row in rows], np.int32), np.array([row[1] for row in rows], np.int32),
        np.array([row[2] for row in rows], np.float64), np.isin(np.arange(len(rows)), difficult), no, no, no,
        np.zeros(len(rows), np.int32), area=np.array(area or [np.nan] * len(rows)),
        segmentation=Texts.of(masks or [b""] * len(rows)),
    )  # fmt: skip
    return Dataset(Path(), ("a", "b", "c", "d"), Images(stems, stems, sides[:, 0], sides[:, 1], stems), objects)


def square(side: float, x: float = 0, y: float = 0) -> Box:
    return (x, y, x + side, y + side)


def test_objects_and_images_of_every_label_are_counted() -> None:
    figures = stats(dataset_of([[(A, square(9)), (A, square(8)), (B, square(7))], [], [(A, square(6))]]))
    assert (figures.images, figures.objects.tolist(), figures.images_with.tolist()) == (3, [3, 1, 0, 0], [2, 1, 0, 0])
    assert figures.objects_per_image.tolist() == [1, 1, 0, 1]  # one image each with 0, 1 and 3 objects
    assert figures.min_median_max() == (0, 1, 3)
    assert figures.order().tolist() == [A, B, 2, 3]


def test_every_split_has_counts_and_so_have_images_in_no_split() -> None:
    dataset = dataset_of([[(A, square(9))], [(A, square(9)), (B, square(9))], [(C, square(9))], []])
    figures = stats(dataset, {"train": np.array([1, 0]), "val": np.array([], np.int64), "test": np.array([3])})
    splits = {name: (images, objects.tolist()) for name, (images, objects) in figures.splits.items()}
    assert splits == {"train": (2, [2, 1, 0, 0]), "val": (0, [0, 0, 0, 0]), "test": (1, [0, 0, 0, 0])}
    assert (figures.in_no_split[0], figures.in_no_split[1].tolist()) == (1, [0, 0, 1, 0])


def test_without_splits_every_image_is_in_none() -> None:
    figures = stats(dataset_of([[(A, square(9))], []]))
    assert (dict(figures.splits), figures.in_no_split[0]) == ({}, 2)


def test_sizes_are_roots_of_areas_in_pixels_and_by_the_image() -> None:
    box = (0.0, 0.0, 20.0, 5.0)  # 100 square pixels of 400 × 100
    figures = stats(dataset_of([[(A, box)]], [(400, 100)]))
    assert figures.pixels[A].tolist() == [10, 10, 10]
    assert figures.shares[A].tolist() == pytest.approx([0.05] * 3)
    assert figures.aspects[A].tolist() == [4, 4, 4]


def test_quartiles_are_of_each_label_and_of_all() -> None:
    scene = [(A, square(side)) for side in (10, 20, 30, 40, 50)] + [(B, square(90))]
    figures = stats(dataset_of([scene]))
    assert figures.pixels[A].tolist() == pytest.approx([20, 30, 40])
    assert figures.pixels[B].tolist() == pytest.approx([90, 90, 90])
    assert np.isnan(figures.pixels[C]).all()
    assert figures.pixels[-1, 1] == pytest.approx(35)  # between 30 and 40


def test_small_is_below_32_squared_and_large_from_96_squared_on() -> None:
    scene = [(A, square(31.9)), (A, square(32)), (B, square(95.9)), (B, square(96))]
    assert stats(dataset_of([scene])).groups.tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0], [0, 0, 0], [1, 2, 1]]


def test_the_area_a_source_gives_decides_the_group_as_in_coco() -> None:
    figures = stats(dataset_of([[(A, square(99)), (A, square(99))]], area=[5.0, np.nan]))
    assert figures.groups[A].tolist() == [1, 0, 1]


def test_flags_and_masks_are_counted() -> None:
    figures = stats(dataset_of([[(A, square(9)), (A, square(8))]], difficult=[1], masks=[b"[[1,1,2,2,3,3]]", b""]))
    assert figures.flags == {"difficult": 1, "truncated": 0, "occluded": 0, "crowd": 0, "mask": 1}


def test_image_sizes_come_commonest_first() -> None:
    figures = stats(dataset_of([[(A, square(9))], [], []], [(640, 480), (300, 300), (300, 300)]))
    assert figures.image_sizes == ((300, 300, 2), (640, 480, 1))


def test_the_histogram_of_sizes_has_whole_octaves_among_its_edges_and_holds_every_object() -> None:
    histogram = stats(dataset_of([[(A, square(side)) for side in (16, 17, 33, 63, 64)]])).sizes
    below_32, from_32 = np.split(histogram.counts, np.flatnonzero(np.isclose(histogram.edges, 32)))
    assert (below_32.sum(), from_32.sum()) == (2, 3)
    assert histogram.edges[[0, -1]].tolist() == [16, 64]


def test_boxes_wider_than_the_last_bin_count_with_it() -> None:
    figures = stats(dataset_of([[(A, (0, 0, 99, 1)), (A, (0, 0, 1, 99)), (A, square(5))]]))
    assert (figures.shapes.counts[0], figures.shapes.counts[-1], figures.shapes.counts.sum()) == (1, 1, 3)


def test_centers_are_counted_where_they_are() -> None:
    top_right, bottom = (90.0, 0.0, 100.0, 2.0), (40.0, 99.0, 60.0, 100.0)
    centers = stats(dataset_of([[(A, top_right), (B, bottom)]])).centers
    assert np.argwhere(centers).tolist() == [[0, 30], [31, 16]]  # row 0.01 × 32, column 0.95 × 32; 0.995 and 0.5


def test_labels_that_share_images_come_with_share_and_lift() -> None:
    scenes = [[(A, square(9)), (B, square(8)), (B, square(7))], [(A, square(9))], [(A, square(9))], []]
    pairs = stats(dataset_of(scenes)).pairs
    assert [(int(pairs.first[i]), int(pairs.second[i]), int(pairs.images[i])) for i in range(len(pairs))] == [(B, A, 1)]
    assert pairs.share.tolist() == [1.0]  # every image with a b has an a
    assert pairs.lift.tolist() == pytest.approx([1 / (1 / 4 * 3 / 4) / 4])


@given(st.lists(st.lists(st.integers(0, 3), max_size=6), min_size=1, max_size=12).filter(lambda x: any(x)))
def test_pairs_are_all_pairs_that_images_show(scenes: list[list[int]]) -> None:
    pairs = stats(dataset_of([[(label, square(9)) for label in scene] for scene in scenes])).pairs
    ends = np.sort(np.stack([pairs.first, pairs.second], axis=1), axis=1).tolist()
    counted = {(a, b): images for (a, b), images in zip(ends, pairs.images.tolist(), strict=True)}
    shown = [pair for scene in scenes for pair in combinations(sorted(set(scene)), 2)]
    assert counted == {pair: shown.count(pair) for pair in shown}
    assert pairs.images.tolist() == sorted(pairs.images.tolist(), reverse=True)


def test_objects_smaller_than_a_cell_are_counted_for_every_input() -> None:
    # of a 1000 × 1000 image: 16 pixels of 320 are 50 of it
    figures = stats(dataset_of([[(A, square(49)), (A, square(51)), (A, square(60)), (A, square(70))]], [(1000, 1000)]))
    assert figures.below_cell[320] == 0.25
    assert figures.below_cell[640] == 0
    assert (figures.enough_input(0.3), figures.enough_input(0.0)) == (320, 416)


def test_no_input_is_enough_for_specks() -> None:
    assert stats(dataset_of([[(A, square(1))]], [(4000, 4000)])).enough_input() is None


def test_figures_need_objects() -> None:
    with pytest.raises(ValueError, match="without objects"):
        stats(dataset_of([[]]))
