from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vocdet import files

DOG = [("dog", (1.0, 2.0, 30.0, 40.0))]
BOTH = [*DOG, ("cat", (40.0, 2.0, 70.0, 40.0))]
MakeVoc = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]
ZERO = "coordinates are zero-based: no file names the VOC devkit as its source\n"


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_flush", lambda _: None)


def test_a_conversion_reports_its_source_its_losses_and_the_next_step(vocdet: Run, make_voc: MakeVoc) -> None:
    source = make_voc({"a": BOTH, "b": []}, splits={"train": ["a"], "val": ["b"]})
    code, out, err = vocdet("convert", source, "out", "--to", "coco")
    assert (code, err) == (0, "")
    assert out == (
        "read as a VOC folder, 2 XML files in Annotations\n"
        f"{ZERO}"
        "2 images, 2 objects, 2 labels; 1 in train, 1 in val\n"
        "coco holds everything\n"
        "wrote out with 2 images\n"
        "next: vocdet check out\n"
    )
    assert sorted(path.name for path in Path("out", "annotations").iterdir()) == [
        "instances_train.json", "instances_val.json",
    ]  # fmt: skip


def test_losses_are_a_table(vocdet: Run, make_voc: MakeVoc) -> None:
    source = make_voc({"a": DOG})
    xml = source / "Annotations" / "a.xml"
    xml.write_text(xml.read_text().replace("<truncated>0", "<truncated>1").replace("Unspecified", "Left"))
    code, out, _ = vocdet("convert", source, "out", "--to", "yolo")
    assert code == 0
    table = out[out.index("not in yolo") : out.index("wrote out")]
    assert [line.split() for line in table.splitlines()[1:]] == [
        ["what", "count", "why"],
        ["truncated", "objects", "1", "the", "flag", "is", "not", "written"],
        ["poses", "1", "such", "as", "Left", "or", "Frontal"],
    ]
    code, _, err = vocdet("convert", source, "strict", "--to", "yolo", "--strict")
    assert code == 1
    assert err == (
        "error: strict: yolo cannot hold everything: 1 × truncated objects; 1 × poses\n  hint: leave out --strict\n"
    )
    assert sorted(path.name for path in Path().iterdir()) == ["out"]


def test_errors_are_printed_together_and_nothing_is_written(vocdet: Run, make_voc: MakeVoc) -> None:
    source = make_voc({"a": DOG, "b": DOG, "c": DOG})
    (source / "Annotations" / "a.xml").write_text("")
    (source / "JPEGImages" / "b.jpg").unlink()
    code, out, err = vocdet("convert", source, "out", "--to", "voc")
    assert (code, out) == (1, "")
    assert err == (
        f"error: {source}/Annotations/a.xml: is empty\n"
        "  hint: save the image again in labelImg, or delete the file\n"
        f"error: {source}/Annotations/b.xml: its image is missing: there is no image with the stem 'b'\n"
        "  hint: put the image back, or delete the XML\n"
        f"--skip-bad leaves out 2 images and uses the rest: vocdet convert {source} out --to voc --skip-bad\n"
    )
    assert list(Path().iterdir()) == []


def test_a_limited_number_of_left_out_errors_is_listed(vocdet: Run, make_voc: MakeVoc) -> None:
    source = make_voc({f"{i:02}": DOG for i in range(30)})
    for i in range(25):
        (source / "Annotations" / f"{i:02}.xml").write_text("")
    code, out, err = vocdet("convert", source, "out", "--to", "voc", "--skip-bad", "--from", "voc")
    assert code == 0
    assert "5 images, 5 objects, 1 label; no splits\n" in out
    lines = err.splitlines()
    assert lines[0] == "warning: left out 25 images, because of 25 errors:"
    assert lines[1] == f"warning: {source}/Annotations/00.xml: is empty"
    assert len(lines) == 1 + 20 + 1 + 1
    assert lines[-2] == f"warning: and 5 more: see vocdet check {source} --from voc --all"
    assert lines[-1] == "warning: left out 25 images"


def test_warnings_are_counted_and_refer_to_check(vocdet: Run, make_voc: MakeVoc, tmp_path: Path) -> None:
    source = make_voc({"a": [*DOG, *DOG]}, root=tmp_path / "my set")
    _, _, err = vocdet("convert", source, "out", "--to", "voc", "--coordinates", "zero")
    assert err == f"1 finding in the data: see vocdet check '{source}' --coordinates zero\n"


def test_other_matching_formats_are_noted(vocdet: Run, make_voc: MakeVoc) -> None:
    source = make_voc({"a": DOG})
    dog = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 20, 20]}
    whole = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [dog]}
    (source / "instances.json").write_text(json.dumps(whole | {"categories": [{"id": 1, "name": "dog"}]}))
    code, out, err = vocdet("convert", source, "out", "--to", "yolo")
    assert (code, err) == (0, "it also matches coco: read that with --from coco\n")
    assert out.startswith("read as a VOC folder, 1 XML file in Annotations\n")
    code, out, err = vocdet("convert", source, "other", "--to", "yolo", "--from", "coco")
    assert (code, err) == (0, "")
    assert out.startswith("read as COCO, instances.json\n1 image, 1 object, 1 label; no splits\n")


def test_the_next_step_moves_images_that_were_not_moved(vocdet: Run, make_voc: MakeVoc) -> None:
    source = make_voc({"a": DOG})
    _, out, _ = vocdet("convert", source, "my out", "--to", "voc", "--images", "none")
    assert out.endswith(
        "wrote my out; the images were not moved\n"
        "next: move the images to my out/JPEGImages, then vocdet check 'my out'\n"
    )
    code, _, err = vocdet("check", "my out")
    assert (code, err.splitlines()[0]) == (1, "error: my out: no images found for 1 annotation")
    (source / "JPEGImages").rename(Path("my out", "JPEGImages"))
    assert vocdet("check", "my out")[0] == 0


def test_copies_instead_of_links_are_noted(vocdet: Run, make_voc: MakeVoc, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr("os.link", refuse)
    _, _, err = vocdet("convert", make_voc({"a": DOG, "b": DOG}), "out", "--to", "voc", "--images", "link")
    assert err == "2 images were copied: this disk cannot link them\n"


def test_a_coco_file_and_a_data_yaml_are_sources(vocdet: Run, make_voc: MakeVoc) -> None:
    source = make_voc({"a": DOG})
    vocdet("convert", source, "coco", "--to", "coco")
    vocdet("convert", source, "yolo", "--to", "yolo")
    _, out, _ = vocdet("convert", "coco/annotations/instances.json", "one", "--to", "voc")
    assert out.startswith("read as COCO, annotations/instances.json\n1 image, 1 object, 1 label; no splits\n")
    _, out, _ = vocdet("convert", "yolo/data.yaml", "two", "--to", "voc")
    assert out.startswith("read as a YOLO folder, 1 label file in labels\n1 image, 1 object, 1 label; no splits\n")
    for name in ("one", "two"):
        assert "<name>dog</name>" in Path(name, "Annotations", "a.xml").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["set"], 2, "Missing argument 'target'"),
        (["set", "out"], 2, "Missing option '--to'"),
        (["set", "out", "--to", "pascal"], 2, "'pascal' is not one of 'voc', 'coco', 'yolo'"),
        (["set", "out", "--to", "voc", "--images", "move"], 2, "'move' is not one of 'copy', 'link', 'none'"),
        (["set", "out", "--to", "voc", "--from", "kitti"], 2, "'kitti' is not one of"),
        (["set", "out", "--to", "voc"], 1, "error: set: no such folder"),
        (["/dev/null", "out", "--to", "voc"], 1, "error: /dev/null: "),
    ],
)
def test_invalid_arguments_are_errors(vocdet: Run, arguments: list[str], code: int, said: str) -> None:
    ended, out, err = vocdet("convert", *arguments)
    assert (ended, out) == (code, "")
    assert said in " ".join(err.replace("│", " ").split())


def test_an_interrupt_ends_with_130_and_leaves_nothing(
    vocdet: Run, make_voc: MakeVoc, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    source = make_voc({"a": DOG})
    monkeypatch.setattr("shutil.copyfile", interrupt)
    assert vocdet("convert", source, "out", "--to", "voc")[0] == 130
    assert list(Path().iterdir()) == []
