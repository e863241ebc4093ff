"""The weights that `auto` chooses: what comes first, what is not used, and what is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vocdet.errors import CheckpointError, DownloadError
from vocdet.fetching.download import ServerUnavailableError
from vocdet.fetching.weights_files import Downloads
from vocdet.models.backbones.backbone import BackboneSpec, parse_net
from vocdet.models.build import build
from vocdet.models.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.models.ssd.anchors import Anchors, torchvision_anchors
from vocdet.models.ssd.model import SsdLite, SsdSpec
from vocdet.models.weights.published import TIMM_MB1, PublishedWeights
from vocdet.models.weights.transfer import transfer
from vocdet.runs import weights_choice
from vocdet.runs.weights_choice import find_weights

SMALL = parse_net("mb1-0.25")
OWN = ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
NECKED = SsdSpec(SMALL, ("a", "b"), (64, 64), Anchors(()), *OWN, neck="pan", channels=16)
Fail = Callable[[Exception], list[str]]


def tensors_of(spec: BackboneSpec) -> Mapping[str, Tensor]:
    return Classifier(ClassifierSpec(spec, ("a", "b"))).state_dict()


def save_run(run: Path, spec: BackboneSpec = SMALL, task: str = "backbone") -> Path:
    labels = ("a", "b")
    ssd = SsdSpec(spec, labels, (64, 64), torchvision_anchors(), *OWN)
    about = CheckpointInfo(vocdet="0", model=ClassifierSpec(spec, labels, 64, *OWN) if task == "backbone" else ssd)
    run.mkdir(parents=True)
    save_checkpoint(run / "best.safetensors", build(about.model), about)
    return run


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch hub's folder of weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def publish(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str = "net.pth", *, kind: str = "imagenet") -> Path:
    """Weights of mb1-0.25 that are published: in the folder, and known by their digest."""
    folder.mkdir(exist_ok=True)
    torch.save(dict(tensors_of(SMALL)), folder / name)
    digest = sha256((folder / name).read_bytes()).hexdigest()
    made = PublishedWeights(name, f"https://there.example/{name}", f"{kind} weights", 10_300_000, digest[:8])
    monkeypatch.setattr(weights_choice, f"{kind}_weights", lambda *_: (made,))
    return folder / name


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Let every download fail with an error; the result fills with their names."""

    def fail(error: Exception) -> list[str]:
        requested: list[str] = []

        def download(weights: PublishedWeights, _: Downloads) -> Path:
            requested.append(weights.name)
            raise error

        monkeypatch.setattr(weights_choice, "download_weights", download)
        return requested

    return fail


def test_the_newest_backbone_run_precedes_all_others(
    runs: Path, hub: Path, monkeypatch: pytest.MonkeyPatch, failing: Fail
) -> None:
    requested = failing(DownloadError("x"))
    publish(monkeypatch, hub)
    run = save_run(runs / "backbone-mb1-0.25-1")
    start = find_weights("auto", SMALL, runs)
    assert (start.text, start.notes, start.warning) == (f"the newest backbone run, {run}", (), "")
    assert start.sha256 == sha256((run / "best.safetensors").read_bytes()).hexdigest()
    assert requested == []


def test_a_backbone_does_not_start_from_an_earlier_backbone(
    runs: Path, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_run(runs / "backbone-mb1-0.25-1")
    file = publish(monkeypatch, hub)
    assert find_weights("auto", SMALL, runs, task="backbone").text == f"imagenet weights, {file}"


def test_weights_on_this_disk_are_used_without_a_download(
    runs: Path, hub: Path, monkeypatch: pytest.MonkeyPatch, failing: Fail
) -> None:
    requested = failing(DownloadError("x"))
    file = publish(monkeypatch, hub)
    start = find_weights("auto", SMALL, runs)
    assert start.text == f"imagenet weights, {file} (no backbone run of mb1-0.25 in {runs})"
    assert (start.name, start.sha256) == ("net.pth", sha256(file.read_bytes()).hexdigest())
    assert (start.notes, start.warning, requested) == ((), "", [])


def test_the_cache_of_vocdet_is_searched_as_well(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOCDET_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    file = publish(monkeypatch, tmp_path / "cache" / "weights")
    assert find_weights("auto", SMALL, runs, task="backbone").text == f"imagenet weights, {file}"


def test_a_damaged_file_is_named_and_not_used(
    runs: Path, hub: Path, monkeypatch: pytest.MonkeyPatch, failing: Fail
) -> None:
    requested = failing(DownloadError("the server answers 404"))
    file = publish(monkeypatch, hub)
    file.write_bytes(file.read_bytes()[:-1])
    start = find_weights("auto", SMALL, runs)
    assert start.tensors == {}
    (note,) = start.notes
    assert note.startswith(f"{file} is not used: damaged or incomplete: its SHA-256 begins with ")
    assert requested == ["net.pth"]


def test_a_file_of_another_net_is_named_and_not_used(
    runs: Path, hub: Path, monkeypatch: pytest.MonkeyPatch, failing: Fail
) -> None:
    failing(DownloadError("x"))
    file = publish(monkeypatch, hub)
    start = find_weights("auto", parse_net("mb1-0.5"), runs)
    assert (start.tensors, start.notes) == ({}, (f"{file} is not used: its tensors are not those of mb1-0.5",))


def test_what_is_on_no_disk_is_downloaded(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = publish(monkeypatch, tmp_path / "elsewhere")
    monkeypatch.setattr(weights_choice, "download_weights", lambda *_: file)
    start = find_weights("auto", SMALL, runs)
    assert start.text == f"imagenet weights, {file}, downloaded now (no backbone run of mb1-0.25 in {runs})"
    assert start.tensors


def test_without_a_network_it_starts_from_scratch_and_says_how_to_get_the_file(
    runs: Path, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: Fail
) -> None:
    publish(monkeypatch, tmp_path / "elsewhere")
    failing(ServerUnavailableError("https://there.example/net.pth: no answer: timed out"))
    start = find_weights("auto", SMALL, runs)
    assert start.text == f"from scratch: no backbone run of mb1-0.25 in {runs}, and no published weights on this disk"
    assert start.warning == (
        "mb1-0.25 starts from scratch, without pretrained weights (no answer: timed out): download "
        f"https://there.example/net.pth (10.3 MB) to {hub / 'net.pth'}, or to the folder that VOCDET_WEIGHTS names; or "
        "train the classifier first: `vocdet.train_backbone(dataset)`"
    )
    assert (start.tensors, start.name, start.sha256) == ({}, "", "")


def test_a_net_without_published_weights_names_those_that_have_some(runs: Path) -> None:
    start = find_weights("auto", SMALL, runs, task="backbone")
    assert start.text == "from scratch: no weights are published for mb1-0.25"
    assert start.warning == (
        "mb1-0.25 starts from scratch, without pretrained weights: none are published for it; they are for "
        '`net="mb1"`, `net="mb2"`, `net="mb3-small"` or `net="mb3-large"`'
    )


def test_a_net_that_no_classifier_trains_has_no_such_advice(runs: Path, failing: Fail) -> None:
    failing(ServerUnavailableError("no answer"))
    start = find_weights("auto", parse_net("resnet50"), runs, task="maskrcnn")
    assert (
        "download https://download.pytorch.org/models/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth (178.1 MB)"
        in start.warning
    )
    assert start.warning.endswith("that VOCDET_WEIGHTS names")


def test_the_pointer_of_a_file_is_not_named_in_place_of_the_file(runs: Path, failing: Fail) -> None:
    failing(ServerUnavailableError(f"{TIMM_MB1.pointer}: no answer"))
    warning = find_weights("auto", parse_net("mb1"), runs).warning
    assert f"without pretrained weights (no answer): download {TIMM_MB1.url} (17.0 MB) to " in warning


def test_scratch_on_request_is_no_warning(runs: Path) -> None:
    start = find_weights("none", SMALL, runs)
    assert (start.text, start.warning, start.notes) == ("from scratch", "", ())


@pytest.mark.parametrize(
    ("complete", "error", "order"),
    [
        (True, DownloadError("the server answers 404"), ["coco.pth", "net.pth"]),
        (False, DownloadError("the server answers 404"), ["net.pth", "coco.pth"]),
        (True, ServerUnavailableError("no answer"), ["coco.pth"]),  # the next one would take as long
    ],
)
def test_a_detector_that_fits_as_a_whole_precedes_a_classifier(
    complete: bool, error: Exception, order: list[str], runs: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, failing: Fail,
) -> None:  # fmt: skip
    publish(monkeypatch, tmp_path / "elsewhere", "net.pth")
    publish(monkeypatch, tmp_path / "elsewhere", "coco.pth", kind="coco")
    requested = failing(error)
    find_weights("auto", SMALL, runs, complete=complete)
    assert requested == order


def test_the_environment_names_a_file(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mine.safetensors"
    save_file(dict(tensors_of(SMALL)), file)
    monkeypatch.setenv("VOCDET_WEIGHTS", str(file))
    start = find_weights("auto", SMALL, runs, task="backbone")
    assert start.text == f"{file}, found by VOCDET_WEIGHTS"
    assert (start.name, start.sha256) == (str(file), sha256(file.read_bytes()).hexdigest())
    other = find_weights("auto", parse_net("mb1-0.5"), runs)
    assert other.tensors == {}
    assert other.notes == (f"{file} is not used: VOCDET_WEIGHTS names it, but it is for mb1-0.25, not mb1-0.5",)
    file.write_bytes(b"no weights")
    (note,) = find_weights("auto", SMALL, runs).notes
    assert note.startswith(f"{file} is not used: VOCDET_WEIGHTS names it, but it cannot be read as weights: ")


def test_in_a_folder_the_tensors_show_which_file_fits(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    for name, net in (("a.pth", "mb1-0.5"), ("b.pth", "mb1-0.25"), ("c.pth", "mb1-0.25")):
        torch.save(dict(tensors_of(parse_net(net))), folder / name)
    (folder / "0.pth").write_text("<html>404</html>")
    monkeypatch.setenv("VOCDET_WEIGHTS", str(folder))
    start = find_weights("auto", SMALL, runs, task="backbone")
    assert start.text == f"{folder / 'b.pth'}, found by VOCDET_WEIGHTS"
    other = find_weights("auto", parse_net("mb1-0.75"), runs)
    assert other.notes == (
        f"{folder} is not used: VOCDET_WEIGHTS names it, but no file in it fits mb1-0.75: "
        "0.pth (is a web page, not weights), a.pth (it is for mb1-0.5, not mb1-0.75) and 2 more",
    )


def test_in_a_folder_a_published_file_precedes_others(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "weights"
    file = publish(monkeypatch, folder, "z.pth")
    torch.save(dict(tensors_of(SMALL)), folder / "a.pth")
    monkeypatch.setenv("VOCDET_WEIGHTS", str(folder))
    assert find_weights("auto", SMALL, runs, task="backbone").text == f"imagenet weights, {file}"
    file.write_bytes(file.read_bytes()[:-1])
    start = find_weights("auto", SMALL, runs, task="backbone")
    assert start.text == f"{folder / 'a.pth'}, found by VOCDET_WEIGHTS"
    assert start.notes[0].startswith(f"{file} is not used: damaged")


def test_an_empty_folder_is_named(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOCDET_WEIGHTS", str(tmp_path))
    (note,) = find_weights("auto", SMALL, runs).notes
    assert note.endswith("VOCDET_WEIGHTS names it, but no file in it fits mb1-0.25: it has no files of weights")


def test_a_folder_that_is_a_run_is_its_checkpoint(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = save_run(tmp_path / "mine")
    (run / "a.pth").write_text("not read")
    monkeypatch.setenv("VOCDET_WEIGHTS", str(run))
    start = find_weights("auto", SMALL, runs, task="backbone")
    assert (start.text, start.normalization) == (f"{run / 'best.safetensors'}, found by VOCDET_WEIGHTS", OWN)


def test_a_missing_folder_of_the_user_is_an_error(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOCDET_WEIGHTS", "nowhere")
    for weights in ("auto", "imagenet"):
        with pytest.raises(CheckpointError, match="as named by VOCDET_WEIGHTS"):
            find_weights(weights, parse_net("mb3-small"), runs)
    assert find_weights("none", SMALL, runs).tensors == {}


def test_the_shared_files_are_recognized_by_their_tensors(
    shared: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shared / "weights"
    if not folder.is_dir():
        pytest.skip("no weights")
    monkeypatch.setenv("VOCDET_WEIGHTS", str(folder))
    small, second = (find_weights("auto", parse_net(net), runs, task="backbone") for net in ("mb3-small", "mb2"))
    assert small.text.startswith(f"{folder / 'mobilenet_v3_small_imagenet.pth'}, found by VOCDET_WEIGHTS")
    assert second.text == f"torchvision's ImageNet weights, {folder / 'mobilenet_v2-b0353104.pth'}"


@pytest.fixture
def bundled_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a detector with a neck that is part of vocdet."""
    starts = tmp_path / "starts"
    starts.mkdir()
    save_checkpoint(starts / "ssd.safetensors", build(NECKED), CheckpointInfo(vocdet="0", model=NECKED))
    monkeypatch.setattr(weights_choice, "bundled", lambda name: tmp_path / name)
    return "ssd.safetensors"


def test_a_model_that_may_have_a_neck_starts_from_the_detector_that_is_part_of_vocdet(
    runs: Path, hub: Path, monkeypatch: pytest.MonkeyPatch, bundled_start: str
) -> None:
    publish(monkeypatch, hub)
    start = find_weights("auto", SMALL, runs, neck=True)
    assert start.text == f"{bundled_start}, which is part of vocdet (no backbone run of mb1-0.25 in {runs})"
    assert (start.name, start.heads and start.heads.labels) == (bundled_start, ("a", "b"))


def test_weights_that_the_user_names_precede_the_start_that_is_part_of_vocdet(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundled_start: str
) -> None:
    monkeypatch.setenv("VOCDET_WEIGHTS", str(save_run(tmp_path / "mine")))
    assert find_weights("auto", SMALL, runs, neck=True).text.startswith(str(tmp_path / "mine"))


@pytest.mark.parametrize("task", ["ssd", "backbone", "maskrcnn"])
def test_other_models_take_the_backbone_of_that_start_only_where_there_are_no_published_weights(
    task: str, runs: Path, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: Fail, bundled_start: str
) -> None:
    said: list[str] = []
    publish(monkeypatch, tmp_path / "elsewhere")
    failing(ServerUnavailableError("no answer"))
    start = find_weights("auto", SMALL, runs, task=task, downloads=Downloads(note=said.append))
    assert (start.name, start.warning) == (bundled_start, "")
    assert said == ["no published weights (no answer), so the start that is part of vocdet is used"]
    publish(monkeypatch, hub)
    assert find_weights("auto", SMALL, runs, task=task).name == "net.pth"


def test_another_net_does_not_take_the_start_that_is_part_of_vocdet(runs: Path, bundled_start: str) -> None:
    assert find_weights("auto", parse_net("mb1-0.5"), runs, neck=True).name == ""


def test_a_backbone_run_gets_the_neck_and_the_heads_of_that_start(runs: Path, bundled_start: str) -> None:
    run = save_run(runs / "backbone-mb1-0.25-1")
    start = find_weights("auto", SMALL, runs, neck=True)
    assert start.text == f"the newest backbone run, {run}, and the rest of {bundled_start}"
    model = SsdLite(msgspec.structs.replace(NECKED, labels=("b",)))
    report = transfer(model, start.tensors, SMALL, source="start", heads=start.heads)
    own = load_checkpoint(run / "best.safetensors")[0].state_dict()
    name = "backbone.features.0.0.weight"
    assert torch.equal(model.state_dict()[name], own[name])
    assert (report.common, report.count("fresh")) == (("b",), 0)
    assert find_weights("auto", SMALL, runs).text == f"the newest backbone run, {run}"
    named = find_weights(str(run), SMALL, runs, neck=True)
    assert named.text == f"the run {run}, and the rest of {bundled_start}"


def test_a_detector_that_is_named_keeps_its_own_heads(runs: Path, bundled_start: str) -> None:
    run = save_run(runs / "ssd-mb1-0.25-1", task="ssd")
    assert find_weights(str(run), SMALL, runs, neck=True).text == f"the run {run}"


def test_a_start_in_half_precision_loads_as_float32(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "starts").mkdir()
    spec = SsdSpec(SMALL, ("a",), (64, 64), torchvision_anchors(), *OWN)
    about, model = CheckpointInfo(vocdet="0", model=spec), build(spec)
    save_checkpoint(tmp_path / "starts" / "ssd.safetensors", model.half(), about)
    monkeypatch.setattr(weights_choice, "bundled", lambda name: tmp_path / name)
    start = find_weights("auto", SMALL, runs, neck=True)
    made = SsdLite(msgspec.structs.replace(spec, labels=("a", "b")))
    report = transfer(made, start.tensors, SMALL, source="start", heads=start.heads)
    assert report.common == ("a",)
    assert {value.dtype for value in made.state_dict().values() if value.is_floating_point()} == {torch.float32}
    name = "backbone.features.0.0.weight"
    assert torch.equal(made.state_dict()[name], model.state_dict()[name].float())
