from __future__ import annotations

import json
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


def test_the_next_command_is_told_what_this_one_was(vocdet: Run, make_voc: MakeVoc, tmp_path: Path) -> None:
    names = tmp_path / "my labels.txt"
    names.write_text("dog\ncat\n")
    same = f"{many(make_voc)} --labels '{names}' --coordinates one"
    given = (*same.split()[:1], "--labels", names, "--coordinates", "one")
    assert vocdet("check", *given)[1].endswith(f"next: vocdet split {same}\n")
    assert vocdet("split", *given)[1].endswith(f"next: vocdet train-backbone {same}\n")


def test_check_asks_for_another_split_where_train_has_no_object(vocdet: Run, make_voc: MakeVoc) -> None:
    root = make_voc({"a": [], "b": BOTH}, parts={"train": ["a"], "val": ["b"]})
    assert vocdet("check", root)[1].endswith(f"next: vocdet split {root} --force\n")


def test_an_unknown_label_is_one_message_with_its_place(vocdet: Run, make_voc: MakeVoc, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("doge\n")
    root = make_voc({"a": DOG})
    code, out, err = vocdet("split", root, "--labels", tmp_path / "labels.txt")
    assert (code, out) == (1, "")
    assert err == (
        f"error: {root}/Annotations/a.xml:14: the label 'dog' is not in the label list\n  hint: did you mean 'doge'?\n"
    )


def test_the_same_error_in_many_places_is_said_once(vocdet: Run, make_voc: MakeVoc, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("dog\n")
    root = many(make_voc, 9)
    code, _, err = vocdet("split", root, "--labels", tmp_path / "labels.txt")
    place = f"{root}/Annotations/img0"
    assert (code, err) == (
        1,
        f"error: {place}0.xml:26: the label 'cat' is not in the label list\n"
        f"  likewise in {place}1.xml:26, {place}2.xml:26, {place}3.xml:26 and in 5 more places\n"
        "  hint: add it to the list, or correct the annotation\n",
    )


def test_a_narrow_terminal_cuts_nothing(vocdet: Run, make_voc: MakeVoc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    rows = [line.split() for line in vocdet("split", many(make_voc))[1].splitlines()]
    assert ["images", "18", "16", "2", "2", "20"] in rows


@pytest.mark.parametrize("command", ["check", "split"])
@pytest.mark.parametrize("folder", ["empty", "nowhere"])
def test_a_folder_without_a_dataset_is_one_message(vocdet: Run, tmp_path: Path, command: str, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    code, out, err = vocdet(command, tmp_path / folder)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {tmp_path / folder}: no ")
    assert err.count("error:") == err.count("hint:") == 1


def test_check_of_good_data_points_to_split_and_then_to_training(vocdet: Run, make_voc: MakeVoc) -> None:
    root = many(make_voc)
    code, out, err = vocdet("check", root)
    assert (code, err) == (0, "")
    assert out.endswith(
        f"20 images, 40 objects, 2 labels; no parts yet\nchecked: 0 errors, 0 warnings\nnext: vocdet split {root}\n"
    )
    vocdet("split", root)
    assert vocdet("check", root)[1].endswith(f"next: vocdet train-backbone {root}\n")


def test_check_shows_a_few_of_each_kind_and_counts_them(vocdet: Run, make_voc: MakeVoc) -> None:
    root = make_voc({f"img{i:02}": [("dog", (5, 5, 5, 5))] for i in range(9)})
    code, out, _ = vocdet("check", root)
    assert code == 1
    lines = out.splitlines()
    assert lines[0] == "error box.zero_area ×9"
    assert lines[1] == f"  {root}/Annotations/img00.xml:14  the box of 'dog' 5 5 5 5 has no area"
    assert lines[6:8] == ["  and 4 more: --all shows them", "  hint: redraw it, or delete its <object>"]
    assert lines[-2:] == ["checked: 9 errors, 0 warnings", f"next: correct the errors, then vocdet check {root}"]
    assert vocdet("check", root, "--all")[1].count("has no area") == 9


def test_check_tells_of_images_without_any_object(vocdet: Run, make_voc: MakeVoc) -> None:
    code, out, _ = vocdet("check", make_voc({"a": []}))
    assert code == 0
    assert out.endswith("next: annotate some images in labelImg: there are no objects yet\n")


def test_check_gives_json_for_other_programs(vocdet: Run, make_voc: MakeVoc) -> None:
    root = make_voc({"a": [("[red] dög", (5, 5, 5, 5))]})
    code, out, err = vocdet("check", root, "--json")
    assert (code, err) == (1, "")
    said = json.loads(out)
    findings, reason = said.pop("findings"), said.pop("reason")
    assert reason == "no file names the VOC devkit as its source"
    assert said == {
        "images": 1,
        "objects": 1,
        "labels": ["[red] dög"],
        "coordinates": "zero",
        "parts": {},
        "errors": 1,
        "warnings": 0,
    }
    assert findings == [
        {
            "code": "box.zero_area",
            "severity": "error",
            "path": f"{root}/Annotations/a.xml",
            "line": 14,
            "problem": "the box of '[red] dög' 5 5 5 5 has no area",
            "hint": "redraw it, or delete its <object>",
        }
    ]


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
