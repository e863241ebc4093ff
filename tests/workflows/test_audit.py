"""An audit: which detector judges which image, what is written, and corrections that a person accepts."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path

import numpy as np
import pytest

from vocdet.data.detections import Detections
from vocdet.data.splits import Rows
from vocdet.errors import AnnotationError, ArgumentError, OutputError
from vocdet.formats import registry
from vocdet.formats.scan import Source
from vocdet.outputs import read_marker
from vocdet.runs.facts import RunFacts
from vocdet.workflows import audit as workflow
from vocdet.workflows import audit_judges
from vocdet.workflows.audit import AuditResult, audit, chosen, plan_corrections, read_proposals
from vocdet.workflows.audit_judges import AuditOptions
from vocdet.workflows.fix import apply_fixes
from vocdet.workflows.load import Loaded

EVIL = "</script><script>alert(1)</script>"
BOX, OTHER, MOVED = (5.0, 5.0, 45.0, 50.0), (55.0, 10.0, 95.0, 70.0), (15.0, 20.0, 55.0, 65.0)
GOOD = [("cat", BOX), (EVIL, OTHER)]
STEMS = [f"img{i}" for i in range(9)]
BAD = {"img6": [("cat", BOX)], "img7": [(EVIL, BOX), (EVIL, OTHER)], "img8": [("cat", MOVED), (EVIL, OTHER)]}

Root = Callable[..., Path]


@pytest.fixture
def root(make_voc: Callable[..., Path]) -> Path:
    """Three images with a mistake each: a missing object, a wrong label, and a box that does not fit."""
    return make_voc({stem: BAD.get(stem, GOOD) for stem in STEMS}, splits={"train": STEMS[:6], "test": STEMS[6:]})


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, list[int]]]:
    """Made detections: all that is right, surer in the images with mistakes. The list gets which run judged which images."""
    calls: list[tuple[Path, list[int]]] = []

    def detect(run: Path, loaded: Loaded, rows: Rows, *_: object) -> list[Detections]:
        calls.append((run, rows.tolist()))
        ids = [loaded.dataset.labels.index("cat"), loaded.dataset.labels.index(EVIL)]
        scores = [[0.5 + 0.05 * row] * 2 for row in rows.tolist()]
        return [Detections(np.array([BOX, OTHER]), np.array(one, np.float32), np.array(ids)) for one in scores]

    monkeypatch.setattr(workflow, "_detect", detect)
    return calls


def run_audit(root: Path, tmp_path: Path, **options: object) -> AuditResult:
    trained: list[tuple[str, list[int]]] = []

    def train(loaded: Loaded, split: str, folder: Path) -> Path:
        trained.append((split, loaded.dataset.splits[split].tolist()))
        return folder

    return audit(Source(root), AuditOptions(tmp_path / "out", **options), train)  # type: ignore[arg-type]


def test_each_image_is_judged_by_a_detector_of_the_other_folds(
    root: Path, judged: list[tuple[Path, list[int]]], tmp_path: Path
) -> None:
    seen: dict[Path, list[int]] = {}

    def train(loaded: Loaded, split: str, folder: Path) -> Path:
        seen[folder] = loaded.dataset.splits[split].tolist()
        return folder

    audit(Source(root), AuditOptions(tmp_path / "out"), train)
    assert [run.name.split("-")[0] for run, _ in judged] == ["fold1", "fold2", "fold3"]
    assert sorted(row for _, rows in judged for row in rows) == list(range(9))
    for run, rows in judged:
        assert sorted([*seen[run], *rows]) == list(range(9))


def test_corrected_annotations_keep_their_folds_and_other_images_get_new_ones(
    root: Path, judged: list[tuple[Path, list[int]]], tmp_path: Path
) -> None:
    run_audit(root, tmp_path)
    path = root / "Annotations" / "img8.xml"
    path.write_text(path.read_text().replace("<name>cat</name>", f"<name>{escape(EVIL)}</name>"))
    run_audit(root, tmp_path)
    assert judged[3:] == judged[:3]
    (root / "Annotations" / "img0.xml").unlink()
    (root / "JPEGImages" / "img0.jpg").unlink()
    (root / "ImageSets" / "Main" / "train.txt").unlink()
    run_audit(root, tmp_path)
    assert not {run for run, _ in judged[6:]} & {run for run, _ in judged[:3]}


def test_a_run_judges_what_it_was_not_trained_on(
    root: Path, judged: list[tuple[Path, list[int]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = {"a": "train", "b": "test"}
    monkeypatch.setattr(audit_judges, "read_run", lambda run: RunFacts(run, recipe={"data.split": splits[run.name]}))
    first, second = (tmp_path / name for name in splits)
    first.mkdir()
    second.mkdir()
    both = run_audit(root, tmp_path, runs=(first, second))
    assert judged == [(first, [6, 7, 8]), (second, [0, 1, 2, 3, 4, 5])]
    assert both.trained_on == 0
    judged.clear()
    assert run_audit(root, tmp_path, runs=(first,)).trained_on == 6
    assert judged == [(first, list(range(9)))]


def test_the_mistakes_are_listed_with_a_page(root: Path, judged: object, tmp_path: Path) -> None:
    result = run_audit(root, tmp_path)
    found = {(one.kind, Path(one.image).stem, one.old_label, one.label) for one in result.proposals}
    assert found == {("missing", "img6", "", EVIL), ("label", "img7", EVIL, "cat"), ("box", "img8", "cat", "cat")}
    assert result.images.read_text().splitlines()[0] == str(root / result.proposals[0].image)
    page = result.page.read_text()
    assert EVIL not in page
    assert page.count("data:image/jpeg") == 3
    assert read_proposals(tmp_path / "out") == result.proposals
    assert not (root / ".vocdet-backup").exists()


def test_files_of_the_user_are_not_replaced(root: Path, judged: object, tmp_path: Path) -> None:
    page = tmp_path / "out" / "index.html"
    page.parent.mkdir()
    page.write_text("mine")
    with pytest.raises(OutputError, match=r"index\.html: exists, and vocdet did not write it"):
        run_audit(root, tmp_path)
    assert (page.read_text(), sorted(one.name for one in page.parent.iterdir())) == ("mine", ["index.html"])
    page.rename(page.with_name("home.html"))
    run_audit(root, tmp_path)
    assert run_audit(root, tmp_path).page == page  # its own files it replaces
    marker = read_marker(page.parent)
    assert marker
    assert (marker.kind, sorted(marker.files)) == ("files", ["audit.json", "images.txt", "index.html"])


def test_what_is_accepted_is_corrected_and_can_be_undone(root: Path, judged: object, tmp_path: Path) -> None:
    result = run_audit(root, tmp_path)
    before = {path: path.read_bytes() for path in (root / "Annotations").iterdir()}
    plan = plan_corrections(Source(root), result.proposals)
    assert len(plan.changes) == 3
    assert all(path.read_bytes() == data for path, data in before.items())  # until it is applied
    backup = apply_fixes(plan)
    dataset = registry.read(Source(root)).dataset
    for row in (6, 7, 8):
        objects = dataset[row].objects
        assert sorted(zip(map(tuple, objects.box.tolist()), (dataset.labels[i] for i in objects.label), strict=True)) == [
            (BOX, "cat"), (OTHER, EVIL),
        ]  # fmt: skip
    changed = [path for path, data in before.items() if path.read_bytes() != data]
    assert {path.stem for path in changed} == {"img6", "img7", "img8"}
    for path in changed:
        assert (backup / "Annotations" / path.name).read_bytes() == before[path]
        lines = path.read_text().splitlines()
        assert set(before[path].decode().splitlines()) - set(lines) <= set(before[path].decode().splitlines())
        assert all(line.startswith(("\t", "<")) for line in lines)


def test_an_annotation_that_has_changed_is_left_alone(root: Path, judged: object, tmp_path: Path) -> None:
    proposals = run_audit(root, tmp_path).proposals
    label = next(one for one in proposals if one.kind == "label")
    path = root / "Annotations" / "img7.xml"
    path.write_text(path.read_text().replace("<xmin>5</xmin>", "<xmin>9</xmin>"))
    plan = plan_corrections(Source(root), [label])
    assert not plan
    assert [one.problem for one in plan.left] == [f"proposal {label.number} is about an annotation that has changed"]


def test_what_is_corrected_already_is_not_corrected_again(root: Path, judged: object, tmp_path: Path) -> None:
    proposals = run_audit(root, tmp_path).proposals
    apply_fixes(plan_corrections(Source(root), proposals))
    plan = plan_corrections(Source(root), proposals)
    assert not plan
    assert len(plan.left) == 3


def test_unknown_numbers_and_folders_are_refused(root: Path, judged: object, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="no audit can be read"):
        read_proposals(tmp_path)
    with pytest.raises(ArgumentError, match="no proposal 9"):
        chosen(run_audit(root, tmp_path).proposals, [1, 9])


@pytest.mark.parametrize("name", ["", "best.safetensors"])
@pytest.mark.parametrize("split", ["trainval", "train"])  # that is not there, and that has other images by now
def test_a_run_judges_new_images_by_its_record(
    root: Path, judged: list[tuple[Path, list[int]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str,
    split: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(audit_judges, "read_run", lambda run: RunFacts(run, recipe={"data.split": split}))
    run = tmp_path / "run"
    run.mkdir()
    record = '{"images": {"train": {"img0": "", "elsewhere": ""}, "val": {"img1": ""}}}'
    (run / "dataset.json").write_text(record)
    assert run_audit(root, tmp_path, runs=(run / name,)).trained_on == 1
    assert judged == [(run / name, list(range(9)))]
