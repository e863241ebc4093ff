"""The examples that use the public API run as they are."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import vocdet

EXAMPLES = Path(__file__).parents[2] / "examples"


def loaded(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An example as a module; the process is left as it is."""
    monkeypatch.setattr(vocdet, "prepare_cpu", lambda: False)
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_find_objects_prints_a_line_an_object(
    trained: tuple[Path, vocdet.Run], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, run = trained
    photo = str(root / "JPEGImages" / "img00.jpg")
    loaded("find_objects", monkeypatch).main(str(run.path), [photo, photo])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(vocdet.load(run)(photo))
    assert all(line.startswith(f"{photo} ") for line in lines)


@pytest.mark.parametrize("divided", [True, False])
def test_train_detector_ends_with_a_row_for_each_label(
    divided: bool,
    shelf: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    no_curves: None,
) -> None:
    if not divided:
        shutil.rmtree(shelf / "ImageSets")
    monkeypatch.chdir(tmp_path)
    loaded("train_detector", monkeypatch).main(str(shelf), 0.02)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("<run runs/ssd-mb3-small-1, epochs: ")
    assert lines[1].startswith("<evaluation of ")
    assert [line.split(":")[0] for line in lines[2:]] == ["circle", "square"]


def test_the_card_of_a_start_lists_all_earlier_trainings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    card = tmp_path / "start.md"
    card.write_text(
        "# start\n\n- Network: small.\n- Trained on 3 images, starting from `a`.\n- That start: trained on 2 images.\n"
    )
    lines = loaded("pretrain_start", monkeypatch).trained(card)
    assert lines == (
        "- That start: trained on 3 images, starting from `a`.\n- That start: trained on 2 images.\n"
    )  # the newest first


def test_a_file_of_weights_without_a_card_has_no_earlier_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert loaded("pretrain_start", monkeypatch).trained(tmp_path / "imagenet.md") == ""
