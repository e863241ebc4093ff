"""`--skip-bad` on every command that reads a dataset."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

MakeVoc = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]

STEMS = [f"img{i}" for i in range(8)]
BOTH = [("cat", (5.0, 5.0, 40.0, 50.0)), ("dog", (50.0, 10.0, 90.0, 70.0))]
TINY = ("--net", "mb1-0.25", "--size", 64, "--batch", 2, "--epochs", 1, "--device", "cpu")


@pytest.fixture
def damaged(make_voc: MakeVoc) -> Path:
    """A folder with one missing image, one image that is cut off, and one object with a box of four NaN."""
    scenes = {stem: list(BOTH) for stem in STEMS}
    root = make_voc(scenes, splits={"train": STEMS[:5], "val": STEMS[5:7], "test": STEMS[7:]})
    (root / "JPEGImages" / "img0.jpg").unlink()
    image = root / "JPEGImages" / "img1.jpg"
    image.write_bytes(image.read_bytes()[:-200])
    xml = root / "Annotations" / "img2.xml"
    text = xml.read_text()
    for side, value in (("xmin", "5"), ("ymin", "5"), ("xmax", "40"), ("ymax", "50")):
        text = text.replace(f"<{side}>{value}</{side}>", f"<{side}>nan</{side}>", 1)
    xml.write_text(text)
    return root


COMMANDS: list[tuple[object, ...]] = [
    ("split", "DATA", "--dry-run"),
    ("stats", "DATA"),
    ("crops", "DATA", "out"),
    ("sample", "DATA", "out", "-n", 3),
    ("remap", "DATA", "out", "--rename", "cat=lynx"),
    ("merge", "DATA", "OTHER", "out"),
    ("convert", "DATA", "out", "--to", "coco"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command[0]))
def test_a_command_counts_what_it_leaves_out(
    vocdet: Run, damaged: Path, make_voc: MakeVoc, command: tuple[object, ...]
) -> None:
    other = make_voc({"other": BOTH}, root=damaged.parent / "other")
    words = [{"DATA": damaged, "OTHER": other}.get(str(word), word) for word in command]
    code, out, err = vocdet(*words, "--skip-bad")
    assert code == 0, err
    assert err.count("left out 2 images and 1 object") == 2
    assert str(damaged / "JPEGImages" / "img1.jpg") in err
    assert "holds everything" not in out


def test_without_it_the_last_line_names_counts_and_the_command(vocdet: Run, damaged: Path) -> None:
    code, _, err = vocdet("split", damaged, "--dry-run")
    assert code == 1
    assert err.splitlines()[-1] == (
        f"--skip-bad leaves out 1 image and 1 object and uses the rest: vocdet split {damaged} --dry-run --skip-bad"
    )


def test_a_box_of_four_nan_is_one_error(vocdet: Run, damaged: Path) -> None:
    _, out, _ = vocdet("check", damaged, "--json")
    (found,) = [one for one in json.loads(out)["findings"] if one["code"] == "voc.box.not_finite"]
    assert all(f"<{side}> is" in found["problem"] for side in ("xmin", "ymin", "xmax", "ymax"))


def test_errors_share_their_hint(vocdet: Run, make_voc: MakeVoc) -> None:
    root = make_voc(dict.fromkeys(STEMS, BOTH))
    for stem in STEMS[:3]:
        (root / "JPEGImages" / f"{stem}.jpg").unlink()
    _, _, err = vocdet("split", root)
    assert err.count("error:") == 3
    assert err.count("hint:") == 1


def test_a_run_keeps_the_list_and_its_evaluation_counts_it(vocdet: Run, damaged: Path) -> None:
    code, out, err = vocdet("train-ssd", damaged, *TINY, "--skip-bad")
    assert code == 0, err
    assert err.count("left out 2 images and 1 object") == 2
    assert f"next: vocdet eval --data {damaged} --skip-bad" in out
    (run,) = Path("runs").iterdir()
    kept = json.loads((run / "left-out.json").read_text())
    assert (kept["images"], kept["objects"]) == (2, 1)
    assert {one["code"] for one in kept["errors"]} == {"image.missing", "image.corrupt", "voc.box.not_finite"}
    code, _, err = vocdet("eval", run, "--data", damaged, "--skip-bad")
    assert code == 0, err
    assert err.count("left out 2 images and 1 object") == 2
    assert json.loads((run / "metrics-test.json").read_text())["left_out"]["images"] == 2
    code, _, err = vocdet("bench", run, "--data", damaged, "--images", 1, "--skip-bad")
    assert code == 0, err
