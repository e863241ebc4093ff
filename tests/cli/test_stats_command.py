from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

DOG, CAT = ("dog", (0.0, 0.0, 40.0, 40.0)), ("cat", (40.0, 0.0, 60.0, 80.0))
MakeVoc = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]


def rows_of(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines()]


def test_stats_prints_counts_sizes_and_shapes(vocdet: Run, make_voc: MakeVoc) -> None:
    root = make_voc({"a": [DOG, CAT], "b": [DOG], "c": []}, splits={"train": ["a", "b"], "val": ["c"]})
    code, out, err = vocdet("stats", root)
    assert (code, err) == (0, "")
    rows = rows_of(out)
    assert ["train", "val", "all", "images"] in rows
    assert ["images", "2", "1", "3"] in rows
    assert ["objects", "3", "0", "3", "2"] in rows
    assert ["dog", "2", "0", "2", "2"] in rows
    assert ["dog", "40", "40", "40", "0", "2", "0"] in rows  # 40 × 40: medium
    assert ["cat", "44.7", "44.7", "44.7", "0.25", "0.25", "0.25"] in rows  # 40 of the root of 100 × 80; 20 : 80
    assert "0 to 2 objects per image, median 1; 1 image without\nimage sizes: 100×80 (3)\n" in out
    assert ["cat", "+", "dog", "1", "100%", "1.50"] in rows
    assert out.endswith(f"counted a VOC folder, 3 XML files in Annotations\nnext: vocdet train-backbone {root}\n")


def test_images_in_no_split_have_a_column(vocdet: Run, make_voc: MakeVoc) -> None:
    root = make_voc({"a": [DOG], "b": [DOG]}, splits={"train": ["a"]})
    rows = rows_of(vocdet("stats", root)[1])
    assert ["train", "no", "split", "all", "images"] in rows
    assert ["dog", "1", "1", "2", "2"] in rows


def test_without_splits_a_split_is_next(vocdet: Run, make_voc: MakeVoc) -> None:
    root = make_voc({"a": [DOG]})
    assert vocdet("stats", root)[1].endswith(f"next: vocdet split {root}\n")


def test_the_picture_is_written(vocdet: Run, make_voc: MakeVoc, tmp_path: Path) -> None:
    _, out, _ = vocdet("stats", make_voc({"a": [DOG]}), "--picture", tmp_path / "x.svg")
    assert f"wrote {tmp_path}/x.svg\n" in out
    assert (tmp_path / "x.svg").is_file()


def test_an_unknown_picture_format_is_an_error(vocdet: Run, make_voc: MakeVoc) -> None:
    code, out, err = vocdet("stats", make_voc({"a": [DOG]}), "--picture", "x.jpg")
    assert (code, out) == (1, "")
    assert err == ("error: x.jpg: is not the name of a picture\n  hint: use the suffix .png, .svg or .pdf\n")


def test_a_larger_input_is_suggested_for_small_objects(vocdet: Run, make_voc: MakeVoc) -> None:
    # 3 × 3 of 100 × 80: √(9 / 8000) of the input's side, so 10.7 pixels of 320 and 17.2 of 512
    root = make_voc({"a": [("dog", (0.0, 0.0, 3.0, 3.0)), ("dog", (5.0, 0.0, 8.0, 3.0)), DOG]})
    out = vocdet("stats", root)[1]
    assert (
        "at the default --size 320 of train-ssd the median object has 11 pixels; 67 % have fewer than 16, a cell of the "
        "finest feature map; at --size 512, 0 %, for 2.6× the compute\n"
    ) in out


def test_problems_are_warnings_and_a_check_is_next(vocdet: Run, make_voc: MakeVoc) -> None:
    root = make_voc({"a": [DOG, ("cat", (200.0, 0.0, 240.0, 40.0))], "b": [DOG]})
    (root / "JPEGImages" / "b.jpg").unlink()
    code, out, err = vocdet("stats", root)
    assert (code, err) == (
        0,
        f"warning: 1 object outside the image left out, see vocdet check {root}\n"
        f"warning: 1 error in the files: invalid ones are left out, see vocdet check {root}\n",
    )
    assert out.endswith(f"next: vocdet check {root}\n")


def test_json_has_every_number_and_null_for_missing_ones(vocdet: Run, make_voc: MakeVoc, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("dog\ncat\nemu\n")
    root = make_voc({"a": [DOG, CAT], "b": [DOG]}, splits={"train": ["a"], "test": ["b"]})
    _, out, _ = vocdet("stats", root, "--json", "--labels", tmp_path / "labels.txt")
    statistics = json.loads(out)
    dog, _, emu = statistics["labels"]
    assert (dog["label"], dog["objects"], dog["splits"], dog["medium"]) == ("dog", 2, {"train": 1, "test": 1}, 2)
    assert (dog["pixels"], dog["width_by_height"]) == ([40, 40, 40], [1, 1, 1])
    assert (emu["objects"], emu["pixels"]) == (0, [None, None, None])
    assert statistics["pairs"] == [{"labels": ["cat", "dog"], "images": 1, "share_of_first": 1.0, "lift": 1.0}]
    assert statistics["image_sizes"] == [{"width": 100, "height": 80, "images": 2}]


def test_the_most_frequent_and_the_rarest_of_many_labels_are_shown(vocdet: Run, make_voc: MakeVoc) -> None:
    scenes = {f"{i:02}": [(f"thing {k:02}", DOG[1]) for k in range(i + 1)] for i in range(40)}
    root = make_voc(scenes)
    out = vocdet("stats", root)[1]
    assert "thing 00" in out
    assert "thing 39" in out
    assert "thing 20" not in out
    assert "… 17 more: --all" in out
    assert "thing 20" in vocdet("stats", root, "--all")[1]


@pytest.mark.parametrize(
    "name", ["an extraordinarily long name of a label, of which there is number ", "很长的标签名称" * 9]
)
def test_long_labels_fit_in_80_columns_and_stay_different(
    vocdet: Run, make_voc: MakeVoc, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from rich.cells import cell_len

    monkeypatch.setenv("COLUMNS", "80")
    root = make_voc(
        {"a": [(f"{name}1", DOG[1]), (f"{name}2", CAT[1])], "b": [DOG], "c": [CAT]},
        splits={"train": ["a"], "val": ["b"], "test": ["c"]},
    )
    table = vocdet("stats", root)[1].split("at the default")[0]
    assert max(map(cell_len, table.splitlines())) <= 80
    shown = {line.split("  ")[0].strip() for line in table.splitlines() if "…" in line and "+" not in line}
    assert {text[-1] for text in shown} == {"1", "2"}
