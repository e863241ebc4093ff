from __future__ import annotations

from pathlib import Path

import pytest

from vocdet.errors import AnnotationError, ManyErrors, Place, SplitError, VocdetError, raise_all


def test_an_error_says_where_what_and_the_cure() -> None:
    error = AnnotationError("<xmin> is 'ten', not a number", place=Place(Path("a.xml"), 14), hint="redraw the box")
    assert str(error) == "a.xml:14: <xmin> is 'ten', not a number (redraw the box)"


def test_a_path_alone_is_a_place() -> None:
    assert str(VocdetError("is empty", place=Path("b.xml"))) == "b.xml: is empty"


def test_a_place_inside_a_json_file_needs_no_line() -> None:
    assert str(Place(Path("coco.json"), inside="annotations[3].bbox")) == "coco.json: annotations[3].bbox"


def test_nothing_found_raises_nothing() -> None:
    raise_all([])


def test_one_error_is_raised_as_itself() -> None:
    with pytest.raises(SplitError, match="no train"):
        raise_all([SplitError("no train.txt")])


def test_several_errors_are_raised_together() -> None:
    with pytest.raises(ManyErrors) as caught:
        raise_all([SplitError("no train.txt"), AnnotationError("is empty", place=Path("b.xml"))])
    assert [type(error) for error in caught.value.errors] == [SplitError, AnnotationError]
    assert str(caught.value) == "no train.txt\nb.xml: is empty"
