from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.division.groups import by_folder, by_pattern, merged
from vocdet.errors import SplitError


def dataset_of(*files: str) -> Dataset:
    none, flags, size = np.empty(0, np.int32), np.empty(0, np.bool_), np.full(len(files), 9, np.int32)
    stems = tuple(Path(file).stem for file in files)
    images = Images(stems, files, size, size, files)
    return Dataset(Path("set"), (), images, Objects(none, none, np.empty((0, 4)), flags, flags, flags, flags, none))


def test_images_of_one_folder_belong_together() -> None:
    dataset = dataset_of("a/1.jpg", "b/2.jpg", "a/3.jpg", "4.jpg", "b/c/5.jpg")
    assert by_folder(dataset) == [[0, 2], [1], [3], [4]]


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [
        (r"(.*)_\d+", [[0, 1], [2], [3]]),  # cam1_a, cam2_a, cam1_b
        (r"cam\d", [[0, 1, 3], [2]]),  # without a group all that is matched counts
        (r"(cam)\d_(.)", [[0, 1, 2], [3]]),  # several groups count together
        (r"^(.*)_\d+$", [[0, 1], [2], [3]]),
        (r"(.*)_1|(x)", [[0], [2]]),  # a group that takes no part is one that catches nothing
        (r"", [[0, 1, 2, 3, 4]]),
    ],
)
def test_images_in_whose_stem_a_pattern_catches_the_same_belong_together(pattern: str, groups: list[list[int]]) -> None:
    dataset = dataset_of("i/cam1_a_1.jpg", "cam1_a_22.jpg", "cam2_a_1.png", "cam1_b_3.jpg", "other.jpg")
    assert by_pattern(dataset, pattern) == groups


def test_a_pattern_matches_from_the_start_of_the_stem() -> None:
    dataset = dataset_of("day1_001.jpg", "day1_002_copy.jpg", "xday1_003.jpg")
    assert by_pattern(dataset, r"(day\d)") == [[0, 1]]


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("*_x", "'*_x' is not a regular expression: nothing to repeat at position 0"),
        ("(a", "'(a' is not a regular expression: missing ), unterminated subpattern at position 0"),
        (r"film(\d)", r"'film(\d)' matches no image, such as 'cam_1'"),
        ("folders", "'folders' matches no image, such as 'cam_1'"),
    ],
)
def test_an_invalid_pattern_or_one_without_match_is_an_error(pattern: str, problem: str) -> None:
    with pytest.raises(SplitError) as caught:
        by_pattern(dataset_of("cam_1.jpg", "cam_2.jpg"), pattern)
    assert caught.value.problem == problem
    assert caught.value.hint


def test_groups_that_share_an_image_become_one() -> None:
    assert merged(8, [[0, 1], [5, 6, 7]], [[3, 1], [2]], [[7, 4]]) == [[0, 1, 3], [4, 5, 6, 7]]
    assert merged(3) == []


@given(st.lists(st.lists(st.integers(0, 19), min_size=1, max_size=5), max_size=12))
def test_merged_groups_are_what_can_be_reached(grouping: list[list[int]]) -> None:
    reached = {row: {row} for row in range(20)}
    for _ in range(20):  # as far as a chain of groups can lead
        for group in grouping:
            together = set().union(*(reached[row] for row in group))
            reached |= {row: reached[row] | together for row in together}
    expected = sorted({tuple(sorted(rows)) for rows in reached.values() if len(rows) > 1})
    assert merged(20, grouping) == [list(rows) for rows in expected]
