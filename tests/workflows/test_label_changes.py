from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vocdet.errors import AnnotationError, ManyErrors, VocdetError
from vocdet.workflows.label_changes import LabelChanges, resolve_changes

LABELS = ("cat", "dog", "wild dog", "salt, pepper", "a=b")


def resolved(**changes: Any) -> dict[str, str]:
    return resolve_changes(LABELS, LabelChanges(**changes))


def errors_of(**changes: Any) -> list[tuple[str, str, str]]:
    """Place, problem and hint of every error."""
    with pytest.raises(VocdetError) as caught:
        resolved(**changes)
    errors = caught.value.errors if isinstance(caught.value, ManyErrors) else (caught.value,)
    return [(str(error.place or ""), error.problem, error.hint) for error in errors]


def test_renames_merges_and_drops_apply_together() -> None:
    changes = resolved(rename=["cat=kitty"], merge=["dog,wild dog=canine"], drop=["a=b"])
    assert changes == {"cat": "kitty", "dog": "canine", "wild dog": "canine", "a=b": ""}


def test_spaces_around_names_are_ignored() -> None:
    assert resolved(rename=[" cat =  big   cat "]) == {"cat": "big cat"}
    assert resolved(merge=["cat , wild  dog = x"]) == {"cat": "x", "wild dog": "x"}


def test_two_labels_can_swap_names() -> None:
    assert resolved(rename=["cat=dog", "dog=cat"]) == {"cat": "dog", "dog": "cat"}


def test_commas_and_equals_signs_can_belong_to_a_label() -> None:
    assert resolved(drop=["salt, pepper"]) == {"salt, pepper": ""}
    assert resolved(rename=["a=b=c"]) == {"a=b": "c"}
    assert resolved(rename=["cat=x=y"]) == {"cat": "x=y"}


def test_a_label_renamed_to_itself_does_not_change() -> None:
    assert resolved(rename=["cat=cat"]) == {}


def test_keep_drops_all_other_labels_by_their_new_names() -> None:
    changes = resolved(rename=["cat=kitty"], keep=["kitty,dog"])
    assert changes == {"cat": "kitty", "wild dog": "", "salt, pepper": "", "a=b": ""}
    assert errors_of(rename=["cat=kitty"], keep=["cat"]) == [
        ("", "`keep=['cat']`: there is no such label after the other changes",
         "there are 'kitty', 'dog', 'wild dog', 'salt, pepper', 'a=b'"),
    ]  # fmt: skip
    assert errors_of(keep=["cats"])[0][1:] == ("`keep=['cats']`: there is no such label", "did you mean 'cat'?")


def test_a_file_has_one_change_per_line(tmp_path: Path) -> None:
    path = tmp_path / "map.txt"
    path.write_bytes("\ufeffcat=kitty\r\n\r\ndog=\r\na=b=c\r\n".encode())
    assert resolved(file=path) == {"cat": "kitty", "dog": "", "a=b": "c"}


def test_an_error_in_a_file_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "map.txt"
    path.write_text("cat\n=x\ndgo=wolf\ncat=a\ncat=\n")
    assert errors_of(file=path) == [
        (f"{path}:1", "'cat' has no old name", "write old=new, or old= to drop it"),
        (f"{path}:2", "'=x' has no old name", "write old=new, or old= to drop it"),
        (f"{path}:3", "there is no label 'dgo'", "did you mean 'dog'?"),
        (f"{path}:5", "'cat' cannot both become 'a' and be dropped", "choose one of the two"),
    ]


@pytest.mark.parametrize(
    ("changes", "problem", "hint"),
    [
        ({"rename": ["dgo=wolf"]}, "`rename=['dgo=wolf']`: there is no label 'dgo'", "did you mean 'dog'?"),
        ({"rename": ["cat"]}, "`rename=['cat']` has no old or no new name", "write old=new"),
        ({"rename": ["cat="]}, "`rename=['cat=']` has no old or no new name", "use `drop=['cat']` to drop it"),
        ({"merge": ["cat,dog"]}, "`merge=['cat,dog']` has no old or no new name", "write a,b=new"),
        ({"merge": ["=x"]}, "`merge=['=x']` has no old or no new name", "write a,b=new"),
        ({"drop": ["Cat"]}, "`drop=['Cat']`: there is no label 'Cat'", "did you mean 'cat'?"),
        ({"rename": ["cat=a"], "drop": ["cat"]}, "`drop=['cat']`: 'cat' cannot both become 'a' and be dropped",
         "choose one of the two"),
        ({"drop": ["cat,dog,wild dog", "salt, pepper", "a=b"]}, "no labels would remain", "drop fewer labels"),
    ],
)  # fmt: skip
def test_an_invalid_change_is_an_error(changes: dict[str, list[str]], problem: str, hint: str) -> None:
    assert errors_of(**changes) == [("", problem, hint)]


def test_all_errors_are_raised_together() -> None:
    assert len(errors_of(rename=["dgo=wolf", "kat"], drop=["zebra"])) == 3


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="cannot be read: no such file"):
        resolved(file=tmp_path / "nowhere.txt")
    (tmp_path / "latin.txt").write_bytes(b"cat=\xe9\n")
    with pytest.raises(AnnotationError, match="is not UTF-8 text"):
        resolved(file=tmp_path / "latin.txt")
