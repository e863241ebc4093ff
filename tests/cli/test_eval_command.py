"""`vocdet eval`: what it prints and writes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from vocdet_cli.evaluate import _note_masks

from vocdet.data.detections import Detections
from vocdet.data.texts import Texts
from vocdet.evaluation.mask_report import MaskMetrics, MaskReport
from vocdet.evaluation.report import EvalReport, Metrics
from vocdet.formats.scan import Source
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.build import build
from vocdet.models.checkpoint import CheckpointInfo, save_checkpoint
from vocdet.models.ssd.anchors import torchvision_anchors
from vocdet.models.ssd.model import SsdSpec
from vocdet.runs.image_record import write_image_digests
from vocdet.workflows import evaluate as module
from vocdet.workflows.detector import DetectorOptions
from vocdet.workflows.eval_options import EvalResult
from vocdet.workflows.load import load_dataset

MakeVoc = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]
BOTH = [("cat", (5.0, 5.0, 40.0, 50.0)), ("[red]dog", (50.0, 10.0, 90.0, 70.0))]


def save_run(run: Path, *labels: str) -> Path:
    """A detector that has learned nothing."""
    torch.manual_seed(0)
    spec = SsdSpec(BackboneSpec("mb1", 0.25), labels, (64, 64), torchvision_anchors())
    about = CheckpointInfo(vocdet="0", model=spec)
    save_checkpoint(run / "best.safetensors", build(about.model), about)
    return run


@pytest.fixture
def root(make_voc: MakeVoc) -> Path:
    return make_voc({"a": BOTH, "b": BOTH[:1], "c": []}, splits={"test": ["a", "b", "c"]})


def test_every_label_has_its_metrics(vocdet: Run, root: Path) -> None:
    run = save_run(Path("runs", "ssd-mb1-0.25-1"), "[red]dog", "cat")
    code, out, err = vocdet("eval", "--data", root, "--device", "cpu", "--picture", "sheet.png")
    assert (code, "error" in err) == (0, False)
    assert "runs/ssd-mb1-0.25-1 on test: 3 images" in out  # the newest run, unasked
    lines = [line.split() for line in out.splitlines()]
    assert [line[:2] for line in lines if line[:1] in (["[red]dog"], ["cat"], ["all"])][:3] == [
        ["[red]dog", "1"], ["cat", "2"], ["all", "3"],
    ]  # fmt: skip
    for word in ("AP50", "precision", "recall", "F1", "missed", "COCO:", "AR100"):
        assert word in out
    assert f"Saved {run / 'metrics-test.json'} and {run / 'detections-test.json'}" in out
    assert f"next: vocdet predict {run}" in out
    assert json.loads((run / "metrics-test.json").read_text())["images"] == 3
    with Image.open("sheet.png") as sheet:
        assert sheet.format == "PNG"


def test_a_label_unknown_to_the_detector_is_a_warning(vocdet: Run, root: Path) -> None:
    code, _, err = vocdet("eval", save_run(Path("mine"), "cat"), "--data", root, "--device", "cpu")
    assert code == 0
    assert "warning: the detector has no label [red]dog: such objects count as missed" in err


def test_the_dataset_defaults_to_the_current_folder(vocdet: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = save_run(Path("mine").resolve(), "cat", "[red]dog")
    monkeypatch.chdir(root)
    assert vocdet("eval", run, "--device", "cpu")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--data", "{root}"), "runs: no ssd or maskrcnn run in this folder"),
        (("nothing", "--data", "{root}"), "nothing: no such checkpoint"),
        (("{run}", "--data", "{root}", "--split", "val"), "no split 'val'"),
        (("{run}", "--data", "empty"), "empty: "),
        (("{run}", "--data", "{root}", "--device", "tpu"), "device 'tpu' is not available"),
        (("{run}", "--data", "{root}", "--plots", "--no-report"), "--plots and --no-report exclude each other"),
    ],
)
def test_a_missing_thing_is_one_error_with_a_hint(
    vocdet: Run, root: Path, arguments: tuple[str, ...], problem: str
) -> None:
    run = save_run(Path("mine"), "cat", "[red]dog")
    code, out, err = vocdet("eval", *(a.format(root=root, run=run) for a in arguments))
    assert (code, out) == (1, "")
    assert problem in err
    assert err.count("error:") == err.count("hint:") == 1


def test_a_subset_is_reported_with_its_interval(vocdet: Run, root: Path) -> None:
    run = save_run(Path("mine"), "cat", "[red]dog")
    code, out, _ = vocdet("eval", run, "--data", root, "--device", "cpu", "--subset", "2", "--seed", "7")
    assert code == 0
    assert "mine on test: 2 images of 3, chosen with seed 7" in out
    assert "95% of 1000 resamples of the images: AP 0.0" in out
    assert json.loads((run / "metrics-test.json").read_text())["subset"] == {"images": 2, "of": 3, "seed": 7}
    assert "resamples" not in vocdet("eval", run, "--data", root, "--device", "cpu")[1]
    assert "resamples" in vocdet("eval", run, "--data", root, "--device", "cpu", "--interval")[1]
    assert vocdet("eval", run, "--data", root, "--subset", "0")[0] == 2


def test_mask_metrics_stand_beside_box_metrics(vocdet: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Squares:
        labels, thresholds = ("cat", "[red]dog"), np.full(2, 0.5, np.float32)
        levels = None

        def detect_all(self, images: Iterable[object]) -> Iterator[Detections]:
            for _ in images:
                whole = Texts.of([b'{"size": [80, 100], "counts": [405, 45, 7550]}'])
                yield Detections(np.array([[5.0, 5, 40, 50]]), np.array([0.9], np.float32), np.array([0]), whole)

    monkeypatch.setattr(DetectorOptions, "open", lambda options, run: Squares())
    monkeypatch.setattr(module, "detect_all", lambda predictor, images: predictor.detect_all(images))
    _, out, err = vocdet("eval", save_run(Path("mine"), "cat", "[red]dog"), "--data", root)
    assert "mask AP" not in out
    assert "no object has a mask annotation: the detector's masks are not evaluated" in err
    values = np.zeros((80, 100), np.uint8)
    values[5:50, 5:6] = 1
    (root / "SegmentationObject").mkdir()
    Image.fromarray(values).save(root / "SegmentationObject" / "a.png")
    _, out, err = vocdet("eval", "mine", "--data", root)
    rows = [line.split() for line in out.splitlines()]
    header = next(line for line in out.splitlines() if "VOC07" in line and "label" in line)
    assert header.split()[-4:] == ["mask", "AP50", "mask", "AP"]
    cat = next(row for row in rows if row[:1] == ["cat"])
    assert cat[-2:] == ["1.000", "1.000"]
    assert "COCO, masks: AP 1.000" in out
    assert "at the score threshold, by boxes" in out
    assert "2 objects without a mask: left out of mask metrics" in err


def test_invalid_masks_are_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = Metrics(1, 1, 0, None, None, None, None, None, None, None, 0, 0, 0, 0)
    masks = MaskReport((), MaskMetrics(0, None, None, None, None), {}, without=3, unreadable=1)
    report = EvalReport(1, (), nothing, {}, masks=masks)
    _note_masks(EvalResult(report, Path(), Path(), (), ()))
    err = capsys.readouterr().err
    assert "warning: 1 mask invalid or of another size than the image" in err
    assert "2 objects without a mask" in err


def test_a_folder_of_images_alone_gives_false_detections(
    vocdet: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Finds:
        levels = None
        labels, thresholds = ("cat",), np.full(1, 0.5, np.float32)

        def detect_all(self, images: Iterable[object]) -> Iterator[Detections]:
            for i, _ in enumerate(images):
                score = 0.9 if i == 0 else 0.1
                yield Detections(np.array([[5.0, 5, 40, 50]]), np.array([score], np.float32), np.array([0]))

    monkeypatch.setattr(DetectorOptions, "open", lambda options, run: Finds())
    monkeypatch.setattr(module, "detect_all", lambda predictor, images: predictor.detect_all(images))
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(4):
        Image.new("RGB", (60, 50), (9 * i, 0, 0)).save(photos / f"{i}.jpg")
    code, out, err = vocdet("eval", save_run(Path("mine"), "cat"), "--data", photos)
    assert code == 0
    assert "false detections: 1 in 1 of 4 images without objects, 0.250 per image" in out
    assert "mine on all: 4 images" in out
    assert "no image has an annotated object" in err
    assert "average precision" not in out


def test_all_images_are_a_split(vocdet: Run, make_voc: MakeVoc) -> None:
    root = make_voc({"a": BOTH, "b": BOTH[:1], "c": []}, splits={"train": ["a"], "test": ["b"]})
    dataset = load_dataset(Source(root)).dataset
    write_image_digests(save_run(Path("mine"), "cat"), ["cat"], {"train": dataset.subset(dataset.rows("train"))})
    code, out, err = vocdet("eval", "mine", "--data", root, "--split", "all", "--device", "cpu")
    assert code == 0
    assert "mine on all: 3 images" in out
    assert "warning: 1 image was trained on: the metrics are higher than on new images" in err


def test_detections_of_another_tool(vocdet: Run, root: Path) -> None:
    """One of three objects, and one detection that is false."""
    Path("comp3_det_test_cat.txt").write_text("a 0.9 5 5 40 50\nc 0.8 5 5 40 50\n")
    code, out, err = vocdet("eval", "comp3_det_test_cat.txt", "--data", root, "--why", "--min-ap50", "0.9")
    assert code == 1
    assert "comp3_det_test_cat.txt on test: 3 images" in out
    assert "below the minimum: AP50 is 0.2525, below 0.9" in err  # 51 of 101 recalls of one label of two
    for rule in ("VOC 2007", "101 recalls", "COCO matching", "+1 pixel"):
        assert rule in out
    assert "Evaluated text files of the VOC devkit" in out
    assert vocdet("eval", "comp3_det_test_cat.txt", "--data", root, "--min-ap50", "0.2")[0] == 0
    assert vocdet("eval", "comp3_det_test_cat.txt", "--data", root, "--own-thresholds")[0] == 2


def test_counts_errors_and_sizes_have_intervals(vocdet: Run, root: Path) -> None:
    Path("comp3_det_test_cat.txt").write_text("a 0.9 5 5 40 50\nc 0.95 5 5 40 50\n")
    code, out, _ = vocdet("eval", "comp3_det_test_cat.txt", "--data", root, "--interval")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    after = {line[0]: below for line, below in zip(lines, lines[1:], strict=False) if line}
    assert after["background"][0] == "0–3"  # the one in the image without objects, drawn up to thrice
    assert after["cat"][-4:] == ["0–3", "0–0", "0–3", "0–3"]  # correct, wrong, missed, false
    assert "1 in 1 of 1 images without objects, 1.000 per image (1.000–1.000)" in out
    assert re.search(r"95% of 1000 resamples of the images: .*APs –  APm 0\.\d+–0\.\d+", out)
