from __future__ import annotations

from pathlib import Path

import pytest

from vocdet.errors import AnnotationError, ManyErrors, VocdetError
from vocdet.workflows.label_changes import read_changes

LABELS = ("cat", "dog", "wild dog", "salt, pepper", "a=b")


def wrong(**told: list[str] | Path) -> list[tuple[str, str, str]]:
    """Place, problem and hint of every error."""
    with pytest.raises(VocdetError) as caught:
        read_changes(LABELS, **told)  # type: ignore[arg-type]
    errors = caught.value.errors if isinstance(caught.value, ManyErrors) else (caught.value,)
    return [(str(error.place or ""), error.problem, error.hint) for error in errors]


def test_renames_merges_and_drops_are_told_together() -> None:
    told = read_changes(LABELS, rename=["cat=kitty"], merge=["dog,wild dog=canine"], drop=["a=b"])
    assert told == {"cat": "kitty", "dog": "canine", "wild dog": "canine", "a=b": ""}


def test_spaces_round_names_do_not_count() -> None:
    assert read_changes(LABELS, rename=[" cat =  big   cat "]) == {"cat": "big cat"}
    assert read_changes(LABELS, merge=["cat , wild  dog = x"]) == {"cat": "x", "wild dog": "x"}


def test_two_names_can_change_places() -> None:
    assert read_changes(LABELS, rename=["cat=dog", "dog=cat"]) == {"cat": "dog", "dog": "cat"}


def test_commas_and_equals_signs_of_a_label_are_its_own() -> None:
    assert read_changes(LABELS, drop=["salt, pepper"]) == {"salt, pepper": ""}
    assert read_changes(LABELS, rename=["a=b=c"]) == {"a=b": "c"}
    assert read_changes(LABELS, rename=["cat=x=y"]) == {"cat": "x=y"}


def test_a_name_that_stays_is_no_change() -> None:
    assert read_changes(LABELS, rename=["cat=cat"]) == {}


def test_keep_drops_all_others_by_their_new_names() -> None:
    told = read_changes(LABELS, rename=["cat=kitty"], keep=["kitty,dog"])
    assert told == {"cat": "kitty", "wild dog": "", "salt, pepper": "", "a=b": ""}
    assert wrong(rename=["cat=kitty"], keep=["cat"]) == [
        ("", "--keep 'cat': there is no such label after the other changes",
         "there are 'kitty', 'dog', 'wild dog', 'salt, pepper', 'a=b'"),
    ]  # fmt: skip
    assert wrong(keep=["cats"])[0][1:] == ("--keep 'cats': there is no such label", "did you mean 'cat'?")


def test_a_file_has_a_line_for_each(tmp_path: Path) -> None:
    path = tmp_path / "map.txt"
    path.write_bytes("\ufeffcat=kitty\r\n\r\ndog=\r\na=b=c\r\n".encode())
    assert read_changes(LABELS, file=path) == {"cat": "kitty", "dog": "", "a=b": "c"}


def test_what_is_wrong_in_a_file_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "map.txt"
    path.write_text("cat\n=x\ndgo=wolf\ncat=a\ncat=\n")
    assert wrong(file=path) == [
        (f"{path}:1", "'cat' does not say what becomes what", "write old=new, or old= to drop it"),
        (f"{path}:2", "'=x' does not say what becomes what", "write old=new, or old= to drop it"),
        (f"{path}:3", "there is no label 'dgo'", "did you mean 'dog'?"),
        (f"{path}:5", "'cat' is to become 'a' and to be dropped", "say one of the two"),
    ]


@pytest.mark.parametrize(
    ("told", "problem", "hint"),
    [
        ({"rename": ["dgo=wolf"]}, "--rename 'dgo=wolf': there is no label 'dgo'", "did you mean 'dog'?"),
        ({"rename": ["cat"]}, "--rename 'cat' does not say what becomes what", "write old=new"),
        ({"rename": ["cat="]}, "--rename 'cat=' does not say what becomes what", "write --drop 'cat' to drop it"),
        ({"merge": ["cat,dog"]}, "--merge 'cat,dog' does not say what becomes what", "write a,b=new"),
        ({"merge": ["=x"]}, "--merge '=x' does not say what becomes what", "write a,b=new"),
        ({"drop": ["Cat"]}, "--drop 'Cat': there is no label 'Cat'", "did you mean 'cat'?"),
        ({"rename": ["cat=a"], "drop": ["cat"]}, "--drop 'cat': 'cat' is to become 'a' and to be dropped",
         "say one of the two"),
        ({"drop": ["cat,dog,wild dog", "salt, pepper", "a=b"]}, "no label would be left", "drop fewer of them"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_says_so(told: dict[str, list[str]], problem: str, hint: str) -> None:
    assert wrong(**told) == [("", problem, hint)]


def test_all_that_is_wrong_is_told_at_once() -> None:
    assert len(wrong(rename=["dgo=wolf", "kat"], drop=["zebra"])) == 3


def test_a_file_that_cannot_be_read_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="cannot be read: no such file"):
        read_changes(LABELS, file=tmp_path / "nowhere.txt")
    (tmp_path / "latin.txt").write_bytes(b"cat=\xe9\n")
    with pytest.raises(AnnotationError, match="is not UTF-8 text"):
        read_changes(LABELS, file=tmp_path / "latin.txt")
