from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

DOG = [("dog", (1.0, 2.0, 30.0, 40.0))]
BOTH = [*DOG, ("cat", (40.0, 2.0, 70.0, 40.0))]
MakeVoc = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]


def many(make_voc: MakeVoc, count: int = 20) -> Path:
    return make_voc({f"img{i:02}": BOTH for i in range(count)})


def test_one_label_needs_no_classifier(vocdet: Run, make_voc: MakeVoc) -> None:
    root = make_voc({f"img{i:02}": DOG for i in range(9)})
    assert vocdet("split", root)[1].endswith(f"next: vocdet train-ssd {root}\n")
    assert vocdet("check", root)[1].endswith(f"next: vocdet train-ssd {root}\n")


def test_the_next_command_repeats_the_dataset_options(vocdet: Run, make_voc: MakeVoc, tmp_path: Path) -> None:
    names = tmp_path / "my labels.txt"
    names.write_text("dog\ncat\n")
    same = f"{many(make_voc)} --labels '{names}' --coordinates one"
    given = (*same.split()[:1], "--labels", names, "--coordinates", "one")
    assert vocdet("check", *given)[1].endswith(f"next: vocdet split {same}\n")
    assert vocdet("split", *given)[1].endswith(f"next: vocdet train-backbone {same}\n")


def test_an_unknown_label_is_an_error_with_its_place(vocdet: Run, make_voc: MakeVoc, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("doge\n")
    root = make_voc({"a": DOG})
    code, out, err = vocdet("split", root, "--labels", tmp_path / "labels.txt")
    assert (code, out) == (1, "")
    assert err == (
        f"error: {root}/Annotations/a.xml:14: the label 'dog' is not in the label list\n  hint: did you mean 'doge'?\n"
    )


def test_the_same_error_in_many_places_is_printed_once(vocdet: Run, make_voc: MakeVoc, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("dog\n")
    root = many(make_voc, 9)
    code, _, err = vocdet("split", root, "--labels", tmp_path / "labels.txt")
    place = f"{root}/Annotations/img0"
    assert (code, err) == (
        1,
        f"error: {place}0.xml:26: the label 'cat' is not in the label list\n"
        f"  also in {place}1.xml:26, {place}2.xml:26, {place}3.xml:26 and 5 more places\n"
        "  hint: add it to the list, or correct the annotation\n"
        f"--skip-bad leaves out 9 objects and uses the rest: vocdet split {root} --labels {tmp_path}/labels.txt "
        "--skip-bad\n",
    )


def test_one_and_several_objects_of_an_unknown_label_are_one_error(
    vocdet: Run, make_voc: MakeVoc, tmp_path: Path
) -> None:
    (tmp_path / "labels.txt").write_text("cat\n")
    root = make_voc({"a": DOG, "b": (*DOG, ("dog", (50, 10, 90, 40)))})
    code, _, err = vocdet("split", root, "--labels", tmp_path / "labels.txt")
    assert (code, err) == (
        1,
        f"error: {root}/Annotations/a.xml:14: the label 'dog' is not in the label list\n"
        f"  also in {root}/Annotations/b.xml:14\n  hint: add it to the list, or correct the annotation\n",
    )


def test_a_narrow_terminal_truncates_nothing(vocdet: Run, make_voc: MakeVoc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    rows = [line.split() for line in vocdet("split", many(make_voc))[1].splitlines()]
    assert ["images", "18", "16", "2", "2", "20"] in rows


@pytest.mark.parametrize("command", ["check", "split"])
@pytest.mark.parametrize("folder", ["empty", "nowhere"])
def test_a_folder_without_a_dataset_is_an_error(vocdet: Run, tmp_path: Path, command: str, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    code, out, err = vocdet(command, tmp_path / folder)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {tmp_path / folder}: no ")
    assert err.count("error:") == err.count("hint:") == 1


def test_square_brackets_in_labels_are_not_markup(vocdet: Run, make_voc: MakeVoc) -> None:
    root = make_voc({f"img{i}": [("[bold]x[/bold]", (1, 2, 30, 40))] for i in range(5)})
    assert "[bold]x[/bold]" in vocdet("split", root)[1]


@pytest.mark.parametrize("arguments", [("split", "--trainval", "2"), ("check", "--coordinates", "two"), ("splt",)])
def test_wrong_usage_ends_with_2(vocdet: Run, arguments: tuple[str, ...]) -> None:
    assert vocdet(*arguments)[0] == 2


@pytest.mark.parametrize("command", ["check", "split"])
def test_every_command_has_help(vocdet: Run, command: str) -> None:
    code, out, _ = vocdet(command, "--help")
    assert code == 0
    assert "--coordinates" in out
