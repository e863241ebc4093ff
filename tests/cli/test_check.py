from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from tests.conftest import save_image

DOG = [("dog", (1.0, 2.0, 30.0, 40.0))]
BOTH = [*DOG, ("cat", (40.0, 2.0, 70.0, 40.0))]
MakeVoc = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]


def many(make_voc: MakeVoc, count: int = 20) -> Path:
    return make_voc({f"img{i:02}": BOTH for i in range(count)})


def listing(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def spaced(make_voc: MakeVoc) -> Path:
    """A dataset whose only fault is space in a label."""
    return make_voc({"a": [("dog ", (1, 2, 30, 40))], "b": BOTH})


def test_good_data_points_to_split_and_then_to_training(vocdet: Run, make_voc: MakeVoc) -> None:
    root = many(make_voc)
    code, out, err = vocdet("check", root)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[-4] == "20 images, 40 objects, 2 labels; no splits yet"
    assert lines[-3].startswith("every image was decoded and compared with all others: no near-duplicates")
    assert lines[-2:] == ["checked: 0 errors, 0 warnings", f"next: vocdet split {root}"]
    vocdet("split", root)
    assert vocdet("check", root)[1].endswith(f"next: vocdet train-backbone {root}\n")


def test_doctor_is_an_alias(vocdet: Run, make_voc: MakeVoc) -> None:
    root = many(make_voc, 2)
    code, out, _ = vocdet("doctor", root)
    assert (code, out.splitlines()[-2]) == (0, "checked: 0 errors, 0 warnings")
    assert "doctor" not in vocdet("--help")[1]


def test_another_split_is_suggested_if_train_has_no_objects(vocdet: Run, make_voc: MakeVoc) -> None:
    root = make_voc({"a": [], "b": BOTH}, splits={"train": ["a"], "val": ["b"]})
    assert vocdet("check", root)[1].endswith(f"next: vocdet split {root} --force\n")


def test_some_findings_of_each_code_are_shown_and_all_counted(vocdet: Run, make_voc: MakeVoc) -> None:
    root = make_voc({f"img{i:02}": [("dog", (5, 5, 5, 5))] for i in range(9)})
    code, out, _ = vocdet("check", root)
    assert code == 1
    lines = out.splitlines()
    assert lines[0] == "error box.zero_area ×9"
    assert lines[1] == f"  {root}/Annotations/img00.xml:14  the box of 'dog' 5 5 5 5 has no area"
    assert lines[6:8] == ["  and 4 more: show them with --all", "  hint: redraw it, or delete its <object>"]
    assert lines[-2:] == ["checked: 9 errors, 0 warnings", f"next: correct the errors, then vocdet check {root}"]
    assert vocdet("check", root, "--all")[1].count("has no area") == 9


def test_a_dataset_without_objects_needs_annotations(vocdet: Run, make_voc: MakeVoc) -> None:
    code, out, _ = vocdet("check", make_voc({"a": []}))
    assert code == 0
    assert out.endswith("next: annotate some images in labelImg: the dataset has no objects\n")


def test_warnings_exit_with_1_with_strict(vocdet: Run, spaced: Path) -> None:
    assert vocdet("check", spaced)[0] == 0
    assert vocdet("check", spaced, "--strict")[0] == 1


def test_images_are_not_decoded_on_request(vocdet: Run, make_voc: MakeVoc) -> None:
    root = many(make_voc, 2)
    code, out, _ = vocdet("check", root, "--no-images")
    assert code == 0
    assert "images were neither decoded nor compared" in out


def test_json_is_for_other_programs(vocdet: Run, make_voc: MakeVoc) -> None:
    root = make_voc({"a": [("[red] dög", (5, 5, 5, 5))]})
    code, out, err = vocdet("check", root, "--json")
    assert (code, err) == (1, "")
    content = json.loads(out)
    findings, seconds = content.pop("findings"), content.pop("seconds")
    assert seconds >= 0
    assert content == {
        "images": 1,
        "objects": 1,
        "labels": ["[red] dög"],
        "format": "voc",
        "kind": "a VOC folder, 1 XML file in Annotations",
        "others": [],
        "coordinates": "zero",
        "reason": "no file names the VOC devkit as its source",
        "splits": {},
        "errors": 1,
        "warnings": 0,
        "similar": [],
        "decoded": True,
    }
    assert findings == [
        {
            "code": "box.zero_area",
            "severity": "error",
            "path": f"{root}/Annotations/a.xml",
            "line": 14,
            "inside": "",
            "problem": "the box of '[red] dög' 5 5 5 5 has no area",
            "hint": "redraw it, or delete its <object>",
            "count": 1,
        }
    ]


def test_json_lists_near_duplicates(vocdet: Run, make_voc: MakeVoc) -> None:
    root = many(make_voc, 3)
    shutil.copy(root / "JPEGImages" / "img00.jpg", root / "JPEGImages" / "img02.jpg")
    content = json.loads(vocdet("check", root, "--json")[1])
    assert content["similar"] == [["JPEGImages/img00.jpg", "JPEGImages/img02.jpg"]]


def test_other_split_files_can_be_checked(vocdet: Run, make_voc: MakeVoc, tmp_path: Path) -> None:
    root = many(make_voc, 3)
    for name, text in (("train", "img00\nimg01\nelsewhere\n"), ("test", "img01\n")):
        (tmp_path / f"{name}.txt").write_text(text)
    code, out, _ = vocdet("check", root, "--imagesets", tmp_path / "train.txt", "--imagesets", tmp_path / "test.txt")
    assert code == 0
    assert "warning imagesets.overlap ×1" in out
    assert "names 3 images, 1 of which is not in the dataset: elsewhere on line 3" in out
    assert "; 2 in train, 1 in test\n" in out
    assert out.endswith(f"next: vocdet check {root}\n")


def test_fixes_are_shown_but_not_applied_without_a_terminal(
    vocdet: Run, spaced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    before = listing(spaced)
    assert vocdet("check", spaced)[1].endswith(f"next: vocdet check {spaced} --fix\n")
    code, out, err = vocdet("check", spaced, "--fix")
    assert (code, listing(spaced)) == (1, before)
    assert out.startswith("# Annotations/a.xml: 1 label without the space\n--- a/Annotations/a.xml\n")
    assert "-\t\t<name>dog </name>\n+\t\t<name>dog</name>\n" in out
    assert "1 file to change\n" in out
    assert err == f"warning: nothing was changed without confirmation: vocdet check {spaced} --fix --yes\n"
    assert out.endswith(f"next: vocdet check {spaced} --fix --yes\n")


def test_yes_applies_fixes_without_confirmation(vocdet: Run, spaced: Path) -> None:
    code, out, err = vocdet("check", spaced, "--fix", "--yes")
    assert (code, err) == (0, "")
    (backup,) = (spaced / ".vocdet-backup").iterdir()
    assert f"fixed; the original files are in {backup}\n" in out
    assert (backup / "Annotations" / "a.xml").read_text().count("<name>dog </name>") == 1
    assert out.endswith(f"checked: 0 errors, 0 warnings\nnext: vocdet split {spaced}\n")
    code, out, _ = vocdet("check", spaced, "--fix", "--yes")
    assert (code, out.splitlines()[0]) == (0, "there is nothing to fix")
    assert len(list((spaced / ".vocdet-backup").iterdir())) == 1


class Terminal:
    """A standard input that somebody sits at."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "code"), [(True, 0), (False, 1)])
def test_fixes_need_confirmation_on_a_terminal(
    vocdet: Run, spaced: Path, monkeypatch: pytest.MonkeyPatch, answer: bool, code: int
) -> None:
    before = listing(spaced)
    asked: list[str] = []

    def confirm(text: str, **_: object) -> bool:
        asked.append(text)
        return answer

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(typer, "confirm", confirm)
    assert vocdet("check", spaced, "--fix")[0] == code
    assert asked == ["make these changes?"]
    assert (listing(spaced) == before) == (not answer)


def test_a_long_diff_is_cut_and_counted(vocdet: Run, make_voc: MakeVoc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    root = make_voc({f"img{i:02}": [("dog ", (1, 2, 30, 40))] for i in range(20)})
    out = vocdet("check", root, "--fix")[1]
    assert out.count("+\t\t<name>dog</name>") < 20
    assert "lines more: show them with --all\n20 files to change\n" in out
    assert vocdet("check", root, "--fix", "--all")[1].count("+\t\t<name>dog</name>") == 20


def test_json_lists_the_fixes(vocdet: Run, spaced: Path) -> None:
    code, out, err = vocdet("check", spaced, "--fix", "--json")
    content = json.loads(out)["fix"]
    path = f"{spaced}/Annotations/a.xml"
    assert (code, err) == (1, "")
    assert content == {
        "backup": None,
        "files": [{"path": path, "what": "1 label without the space"}],
        "renames": [],
        "left": [],
    }
    code, out, _ = vocdet("check", spaced, "--fix", "--yes", "--json")
    content = json.loads(out)
    assert (code, content["findings"]) == (0, [])
    assert Path(content["fix"]["backup"], "Annotations", "a.xml").is_file()


def test_ambiguous_findings_are_listed(vocdet: Run, make_voc: MakeVoc) -> None:
    root = make_voc({"a": [("dog", (5, 5, 5, 5))], "b": DOG})
    path = root / "Annotations" / "b.xml"
    path.write_text(path.read_text().replace("<name>dog", "<name> dog<!-- ? -->"))
    code, out, _ = vocdet("check", root, "--fix", "--yes")
    assert code == 1
    assert f"warning fix.unsure ×1\n  {path}:15  cannot be repaired reliably: <name> holds more than text\n" in out
    assert "there is nothing to fix\n" in out
    assert "error box.zero_area ×1" in out
    assert out.endswith(f"next: correct the errors, then vocdet check {root}\n")


def test_other_formats_are_not_fixed_in_place(vocdet: Run, tmp_path: Path, make_voc: MakeVoc) -> None:
    vocdet("convert", make_voc({"a": DOG}), tmp_path / "coco", "--to", "coco")
    code, _, err = vocdet("check", tmp_path / "coco", "--fix")
    assert code == 1
    assert err.startswith(f"error: {tmp_path / 'coco'}: is COCO, annotations/instances.json: only VOC files")
    assert "--to coco --skip-bad" in err


def test_other_split_files_are_not_fixed(vocdet: Run, spaced: Path, tmp_path: Path) -> None:
    code, out, err = vocdet("check", spaced, "--fix", "--imagesets", tmp_path)
    assert (code, out) == (2, "")
    assert "--fix works on the dataset's split files" in err


@pytest.mark.parametrize("code", ["box.tiny", "mask.rle.sum", "coco.iscrowd.type", "`image.copy`"])
def test_a_finding_can_be_explained(vocdet: Run, code: str, tmp_path: Path) -> None:
    status, out, err = vocdet("check", tmp_path / "nowhere", "--explain", code)
    assert (status, err) == (0, "")
    assert out.startswith(f"{code}\n")
    assert len(out) > 100


def test_an_unknown_finding_has_a_nearest_match(vocdet: Run) -> None:
    code, out, err = vocdet("check", "--explain", "box.teeny")
    assert (code, out) == (1, "")
    assert err.startswith("error: there is no finding 'box.teeny'\n  hint: did you mean ")
    assert "box.tiny" in err


def test_crowds_are_read_as_objects_by_the_next_commands_too(vocdet: Run, tmp_path: Path) -> None:
    save_image(tmp_path / "a.jpg", (60, 40))
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20], "iscrowd": 1}
    images, categories = [{"id": 1, "file_name": "a.jpg", "width": 60, "height": 40}], [{"id": 1, "name": "leaf"}]
    content = {"images": images, "annotations": [box], "categories": categories}
    (tmp_path / "a.json").write_text(json.dumps(content))
    _, out, _ = vocdet("check", tmp_path)
    assert "the only object is a crowd (iscrowd 1)" in out
    assert out.endswith(f"next: vocdet check {tmp_path} --crowds objects\n")
    _, out, _ = vocdet("check", tmp_path, "--crowds", "objects")
    assert "crowd" not in out.rpartition("next:")[0]
    assert out.endswith(f"next: vocdet split {tmp_path} --crowds objects\n")
    assert "crowd" in vocdet("stats", tmp_path)[1]
    assert "1 crowd" not in vocdet("stats", tmp_path, "--crowds", "objects")[1]
