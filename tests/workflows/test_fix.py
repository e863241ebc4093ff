from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image

from vocdet.errors import ArgumentError, OutputError
from vocdet.formats.scan import Source
from vocdet.workflows import fix
from vocdet.workflows.check import check_dataset
from vocdet.workflows.fix import FixPlan, apply_fixes, can_fix, plan_fixes

DOG = [("dog", (1.0, 2.0, 30.0, 40.0))]
MakeVoc = Callable[..., Path]
NOW = datetime(2030, 1, 2, 3, 4, 5)
MENDED = {"label.whitespace", "voc.flag.bad_value", "voc.size.bad_number", "voc.size.missing", "box.duplicate",
          "image.suffix", "imagesets.bom", "imagesets.crlf", "imagesets.duplicate", "imagesets.extension",
          "imagesets.path", "imagesets.space"}  # fmt: skip


def listing(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def replaced(root: Path, stem: str, old: str, new: str) -> None:
    path = root / "Annotations" / f"{stem}.xml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.fixture
def messy(make_voc: MakeVoc) -> Path:
    """A dataset with every fixable problem, and some that are not."""
    box = (1.0, 2.0, 30.0, 40.0)
    root = make_voc(
        {
            "label": [("dog", box), ("cat", (5, 5, 60, 60))],
            "twice": [("dog", box), ("cat", (5, 5, 60, 60)), ("dog", box)],
            "edge": [("dog", (0, 0, 101, 80)), ("dog", (50, 10, 130, 60)), ("dog", (-0.5, 5, 20, 80.5))],
            "sizeless": DOG,
            "flag": DOG,
            "number": DOG,
            "suffix": DOG,
            "good": DOG,
        },
        splits={"train": ["label", "twice.jpg", "label", "nothing"], "val": ["edge", "flag"]},
    )
    replaced(root, "label", "<name>dog</name>", "<name> dog\n</name>")
    replaced(root, "flag", "<difficult>0</difficult>", "<difficult>1.0</difficult>")
    replaced(root, "number", "<height>80</height>", "<height>eighty</height>")
    text = (root / "Annotations" / "sizeless.xml").read_text()
    (root / "Annotations" / "sizeless.xml").write_text(
        text[: text.index("\t<size>")] + text[text.index("</size>") + 8 :]
    )
    Image.new("RGB", (100, 80), (10, 200, 30)).save(root / "JPEGImages" / "suffix.jpg", "PNG")
    val = root / "ImageSets" / "Main" / "val.txt"
    val.write_bytes(b"\xef\xbb\xbf" + val.read_bytes().replace(b"\n", b" \r\n"))
    return root


def test_what_is_unambiguous_is_fixed_and_the_rest_is_listed(messy: Path) -> None:
    before = check_dataset(Source(messy))
    assert can_fix(before)
    apply_fixes(plan_fixes(before))
    after = check_dataset(Source(messy))
    codes = {finding.code for finding in after.findings}
    assert {finding.code for finding in before.findings} >= MENDED - {"imagesets.path"}
    assert codes == {"imagesets.unknown_stem", "box.out_of_image"}
    assert [str(finding.place) for finding in after.findings if finding.code == "box.out_of_image"] == [
        f"{messy}/Annotations/edge.xml:26"
    ]
    assert not can_fix(after)
    assert not plan_fixes(after)


def test_valid_files_are_unchanged(messy: Path) -> None:
    files = listing(messy)
    before = check_dataset(Source(messy))
    apply_fixes(plan_fixes(before), now=NOW)
    after = check_dataset(Source(messy))
    kept = {name: data for name, data in listing(messy).items() if not name.startswith(".vocdet-backup/")}
    changed = {name for name in files.keys() | kept.keys() if files.get(name) != kept.get(name)}
    assert changed == {
        *(f"Annotations/{stem}.xml" for stem in ("label", "twice", "edge", "sizeless", "flag", "number", "suffix")),
        "JPEGImages/suffix.jpg",
        "JPEGImages/suffix.png",
        "ImageSets/Main/train.txt",
        "ImageSets/Main/val.txt",
    }
    assert after.dataset.images.stems == before.dataset.images.stems
    assert after.dataset.labels == before.dataset.labels == ("cat", "dog")
    boxes = {tuple(box) for box in after.dataset.objects.box.tolist()}
    assert boxes == {(1, 2, 30, 40), (5, 5, 60, 60), (0, 0, 100, 80), (50, 10, 130, 60), (0, 5, 20, 80)}
    assert len(after.dataset.objects) == len(before.dataset.objects) - 1
    assert {name: rows.tolist() for name, rows in after.dataset.splits.items()} == {
        name: rows.tolist() for name, rows in before.dataset.splits.items()
    }
    assert kept["JPEGImages/suffix.png"] == files["JPEGImages/suffix.jpg"]
    assert b"<filename>suffix.png</filename>" in kept["Annotations/suffix.xml"]
    assert kept["ImageSets/Main/train.txt"] == b"label\ntwice\nnothing\n"
    assert kept["ImageSets/Main/val.txt"] == b"edge\nflag\n"


def test_every_changed_file_is_backed_up(messy: Path) -> None:
    before = listing(messy)
    plan = plan_fixes(check_dataset(Source(messy)))
    backup = apply_fixes(plan, now=NOW)
    assert backup == messy / ".vocdet-backup" / "2030-01-02T03-04-05"
    kept = listing(backup)
    assert kept == {name: before[name] for name in kept}
    assert set(kept) == {change.path.relative_to(messy).as_posix() for change in plan.changes} | {
        "JPEGImages/suffix.jpg"
    }
    for name, data in kept.items():  # and back by hand
        (messy / name).write_bytes(data)
    (messy / "JPEGImages" / "suffix.png").unlink()
    shutil.rmtree(messy / ".vocdet-backup")
    assert listing(messy) == before


def test_two_fixes_in_one_second_have_two_backups(messy: Path) -> None:
    first = apply_fixes(plan_fixes(check_dataset(Source(messy))), now=NOW)
    replaced(messy, "good", "<name>dog</name>", "<name>dog </name>")
    second = apply_fixes(plan_fixes(check_dataset(Source(messy))), now=NOW)
    assert (first.name, second.name) == ("2030-01-02T03-04-05", "2030-01-02T03-04-05.2")
    assert list(listing(second)) == ["Annotations/good.xml"]


def test_backups_do_not_belong_to_the_dataset(messy: Path) -> None:
    apply_fixes(plan_fixes(check_dataset(Source(messy))))
    assert len(check_dataset(Source(messy)).dataset) == 8


@pytest.mark.parametrize("fails_at", [0, 1, 4, 8])
def test_all_files_are_restored_if_one_cannot_be_written(
    messy: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    before = listing(messy)
    plan = plan_fixes(check_dataset(Source(messy)))
    calls: list[Path] = []

    def failing(path: Path, data: bytes) -> None:
        calls.append(path)
        if len(calls) == fails_at + 1:
            raise OutputError("cannot be written: no space left on device", place=path)
        path.write_bytes(data)

    monkeypatch.setattr(fix, "write_bytes", failing)
    with pytest.raises(OutputError, match="no space left"):
        apply_fixes(plan)
    shutil.rmtree(messy / ".vocdet-backup")
    assert listing(messy) == before


@pytest.mark.parametrize("error", [OSError(13, "Permission denied"), KeyboardInterrupt()])
def test_all_files_are_restored_if_an_image_cannot_be_renamed(
    messy: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    before = listing(messy)
    plan = plan_fixes(check_dataset(Source(messy)))

    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if Path(target).suffix == ".png":
            raise error
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises((OutputError, KeyboardInterrupt)):
        apply_fixes(plan)
    shutil.rmtree(messy / ".vocdet-backup")
    assert listing(messy) == before


def test_a_file_that_has_changed_since_is_not_overwritten(messy: Path) -> None:
    plan = plan_fixes(check_dataset(Source(messy)))
    replaced(messy, "twice", "<pose>", "<pose> ")
    before = listing(messy)
    with pytest.raises(OutputError, match=r"twice\.xml: has changed in the meantime"):
        apply_fixes(plan)
    assert listing(messy) == before


def test_a_linked_backup_folder_is_an_error(messy: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (messy / ".vocdet-backup").symlink_to(tmp_path / "outside")
    before = listing(messy)
    with pytest.raises(OutputError, match="is a link out of the dataset"):
        apply_fixes(plan_fixes(check_dataset(Source(messy))))
    assert listing(messy) == before
    assert list((tmp_path / "outside").iterdir()) == []


def test_the_diff_shows_and_describes_every_change(messy: Path) -> None:
    lines = list(plan_fixes(check_dataset(Source(messy))).diff())
    assert lines[0] == "rename JPEGImages/suffix.jpg -> JPEGImages/suffix.png"
    start = lines.index("# Annotations/flag.xml: 1 flag as 0 or 1")
    assert lines[start + 1 : start + 8] == [
        "--- a/Annotations/flag.xml",
        "+++ b/Annotations/flag.xml",
        "@@ -17,3 +17,3 @@",
        " \t\t<truncated>0</truncated>",
        "-\t\t<difficult>1.0</difficult>",
        "+\t\t<difficult>1</difficult>",
        " \t\t<bndbox>",
    ]
    assert "# ImageSets/Main/val.txt: 1 byte-order mark, 2 line endings, 2 lines without space" in lines
    assert "# ImageSets/Main/train.txt: 1 line without extension, 1 duplicate line" in lines


def test_a_valid_dataset_has_nothing_to_fix(make_voc: MakeVoc) -> None:
    report = check_dataset(Source(make_voc({"a": DOG}, splits={"train": ["a"]})))
    assert not can_fix(report)
    plan = plan_fixes(report)
    assert plan == FixPlan(report.dataset.root, (), (), ())
    assert not plan


def test_a_flag_in_words_is_fixed(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG})
    replaced(root, "a", "<truncated>0</truncated>", "<truncated>False</truncated>")
    (change,) = plan_fixes(check_dataset(Source(root))).changes
    assert b"<truncated>0</truncated>" in change.after


@pytest.mark.parametrize(("orientation", "written"), [(1, True), (3, True), (6, False)])
def test_a_size_is_written_unless_exif_swaps_width_and_height(
    make_voc: MakeVoc, orientation: int, written: bool
) -> None:
    root = make_voc({"a": DOG})
    replaced(root, "a", "<width>100</width>", "<width>0</width>")
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (100, 80)).save(root / "JPEGImages" / "a.jpg", exif=exif)
    plan = plan_fixes(check_dataset(Source(root)))
    assert ([b"<width>100</width>" in change.after for change in plan.changes], len(plan.left)) == (
        ([True], 0) if written else ([], 1)
    )


def test_an_image_whose_correct_name_is_taken_is_not_renamed(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG})
    Image.new("RGB", (100, 80)).save(root / "JPEGImages" / "a.jpg", "PNG")
    (root / "JPEGImages" / "a.png").mkdir()
    plan = plan_fixes(check_dataset(Source(root)))
    assert not plan
    (left,) = plan.left
    assert (left.code, left.place.path) == ("fix.unsure", root / "JPEGImages" / "a.jpg")


def test_a_link_to_an_annotation_remains_a_link(make_voc: MakeVoc) -> None:
    root = make_voc({"a": [("dog ", (1, 2, 30, 40))], "b": DOG})
    (root / "Annotations" / "b.xml").unlink()
    (root / "Annotations" / "b.xml").symlink_to("a.xml")
    apply_fixes(plan_fixes(check_dataset(Source(root))))
    assert (root / "Annotations" / "b.xml").is_symlink()
    codes = {finding.code for finding in check_dataset(Source(root)).findings}
    assert codes == {"voc.filename"}  # the file names a.jpg, for b, too


@pytest.mark.skipif(os.name != "posix", reason="hard links")
def test_the_target_of_a_hard_link_is_unchanged(messy: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.xml"
    os.link(messy / "Annotations" / "label.xml", other)
    before = other.read_bytes()
    apply_fixes(plan_fixes(check_dataset(Source(messy))))
    assert other.read_bytes() == before


def test_other_formats_are_not_fixed_in_place(tmp_path: Path) -> None:
    Image.new("RGB", (10, 10)).save(tmp_path / "a.jpg")
    image = {"id": 1, "file_name": "a.jpg", "width": 10, "height": 10}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}
    text = json.dumps({"images": [image], "annotations": [box, box], "categories": [{"id": 1, "name": "dog"}]})
    (tmp_path / "coco.json").write_text(text)
    report = check_dataset(Source(tmp_path))
    assert not can_fix(report)
    with pytest.raises(ArgumentError, match=r"is COCO.*: only VOC files are fixed in place") as caught:
        plan_fixes(report)
    assert 'to="coco", skip_bad=True' in caught.value.hint
    assert (tmp_path / "coco.json").read_text() == text


def test_real_annotations_have_nothing_to_fix(shared: Path) -> None:
    for name in ("bccd", "ecustfd", "foda", "raccoon"):
        assert not plan_fixes(check_dataset(Source(shared / "data" / name), images=False))
