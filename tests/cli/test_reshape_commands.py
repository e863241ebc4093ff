from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

DOG, CAT = ("dog", (1.0, 2.0, 30.0, 40.0)), ("cat", (40.0, 2.0, 70.0, 40.0))
MakeVoc = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]


def rows_of(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines()]


def test_remap_lists_the_label_changes(vocdet: Run, make_voc: MakeVoc) -> None:
    root = make_voc({"a": [DOG, CAT], "b": [CAT], "c": [("emu", DOG[1])]})
    code, out, err = vocdet("remap", root, "new", "--rename", "dog=wolf", "--drop", "cat")
    assert code == 0
    rows = rows_of(out)
    assert ["dog", "→", "wolf", "1"] in rows
    assert ["cat", "→", "(dropped)", "2"] in rows
    assert ["1", "label", "unchanged", "1"] in rows
    assert out.endswith("wrote 3 images, 2 objects, 2 labels to new as voc\nnext: vocdet stats new\n")
    assert err == ("1 image lost all objects: retained; --drop-empty leaves them out\n")


def test_remap_warns_of_new_duplicates(vocdet: Run, make_voc: MakeVoc) -> None:
    root = make_voc({"a": [DOG, ("cat", DOG[1])]})
    _, _, err = vocdet("remap", root, "new", "--merge", "dog,cat=pet")
    assert err == ("warning: 1 object now duplicate another: see vocdet check new\n")


def test_remap_reads_a_file_of_changes(vocdet: Run, make_voc: MakeVoc) -> None:
    Path("map.txt").write_text("dog=wolf\ncat=\n")
    out = vocdet("remap", make_voc({"a": [DOG, CAT]}), "new", "--map", "map.txt", "--to", "yolo")[1]
    assert "wrote 1 image, 1 object, 1 label to new as yolo\n" in out


def test_remap_of_an_unknown_label_is_an_error(vocdet: Run, make_voc: MakeVoc) -> None:
    code, out, err = vocdet("remap", make_voc({"a": [DOG]}), "new", "--rename", "dogs=wolf")
    assert (code, out) == (1, "")
    assert err == "error: --rename dogs=wolf: there is no label 'dogs'\n  hint: did you mean 'dog'?\n"
    assert not Path("new").exists()


@pytest.mark.parametrize("command", [("remap", "--drop", "cat"), ("sample", "-n", 1), ("crops",)])
def test_an_existing_folder_is_an_error(vocdet: Run, make_voc: MakeVoc, command: tuple[object, ...]) -> None:
    root = make_voc({"a": [DOG, CAT]})
    code, _, err = vocdet(command[0], root, root, *command[1:])
    assert (code, err) == (
        1, f"error: {root}: exists already\n  hint: name a new folder, or delete this one\n"
    )  # fmt: skip


def test_losses_are_warnings_and_errors_with_strict(vocdet: Run, make_voc: MakeVoc) -> None:
    root = make_voc({"a": [DOG, CAT]})
    xml = root / "Annotations" / "a.xml"
    xml.write_text(xml.read_text().replace("<truncated>0", "<truncated>1", 1))
    code, _, err = vocdet("remap", root, "new", "--drop", "cat", "--to", "yolo")
    assert code == 0
    assert "warning: yolo cannot hold 1 " in err
    code, _, err = vocdet("remap", root, "strict", "--drop", "cat", "--to", "yolo", "--strict")
    assert code == 1
    assert err.startswith("error: strict: yolo cannot hold everything")


def test_merge_lists_datasets_and_clashing_stems(vocdet: Run, make_voc: MakeVoc, tmp_path: Path) -> None:
    one = make_voc({"a": [DOG], "b": [CAT]}, root=tmp_path / "one", splits={"train": ["a"], "val": ["b"]})
    two = make_voc({"a": [DOG]}, root=tmp_path / "two", suffix=".png")
    code, out, err = vocdet("merge", one, two, "new")
    assert code == 0
    rows = rows_of(out)
    assert [row[1:] for row in rows[2:4]] == [["2", "2", "train,", "val"], ["1", "1", "none"]]
    assert out.endswith("wrote 3 images, 3 objects, 2 labels to new as voc\nnext: vocdet split new --append\n")
    assert err == (
        "clashing stems get their folder as a prefix: 2 images, a is now one_a\n"
        f"warning: {two} has no splits: its 1 image is in none\n"
    )


def test_merge_also_takes_the_new_folder_as_an_option(vocdet: Run, make_voc: MakeVoc, tmp_path: Path) -> None:
    roots = [make_voc({name: [DOG]}, root=tmp_path / name) for name in ("x", "y")]
    _, out, err = vocdet("merge", *roots, "--out", "new")
    assert out.endswith("to new as voc\nnext: vocdet split new\n")
    assert err == ""


def test_merge_suggests_the_command_that_unifies_spellings(vocdet: Run, make_voc: MakeVoc, tmp_path: Path) -> None:
    one = make_voc({"a": [("Dog", DOG[1])]}, root=tmp_path / "one")
    two = make_voc({"b": [DOG], "c": [DOG]}, root=tmp_path / "two")
    err = vocdet("merge", one, two, "new")[2]
    first = f"vocdet remap {one} {one}-renamed --rename Dog=dog"
    assert (
        err
        == f"warning: {one} has 'Dog', which is 'dog' elsewhere: if they mean the same, run {first} and merge the result\n"
    )
    assert vocdet(*first.split()[1:])[0] == 0


def test_merge_warns_of_identical_images(vocdet: Run, make_voc: MakeVoc, tmp_path: Path) -> None:
    one = make_voc({"a": [DOG], "c": [DOG]}, root=tmp_path / "one", splits={"train": ["a", "c"]})
    two = make_voc({"b": [DOG], "d": [DOG]}, root=tmp_path / "two", splits={"test": ["b", "d"]})
    shutil.copyfile(one / "JPEGImages" / "a.jpg", two / "JPEGImages" / "b.jpg")
    _, out, err = vocdet("merge", one, two, "new")
    assert err == "warning: 1 group of identical images, 1 across splits, such as a and b\n"
    assert out.endswith("next: vocdet check new\n")


def test_merge_of_one_dataset_is_an_error(vocdet: Run, make_voc: MakeVoc) -> None:
    code, _, err = vocdet("merge", make_voc({"a": [DOG]}), "new")
    assert (code, err) == (
        1, "error: there is only one dataset to merge\n  hint: give at least two\n"
    )  # fmt: skip


def test_sample_shows_the_shares(vocdet: Run, make_voc: MakeVoc) -> None:
    scenes = {f"{i:02}": [DOG] if i % 2 else [CAT, CAT] for i in range(20)}
    root = make_voc(scenes, splits={"train": [f"{i:02}" for i in range(20)]})
    code, out, err = vocdet("sample", root, "new", "-n", 4)
    assert (code, err) == (0, "")
    rows = rows_of(out)
    assert ["images", "20", "4", "20.0", "%"] in rows
    assert ["images", "of", "train", "20", "4", "20.0", "%"] in rows
    assert ["cat", "20", "4", "20.0", "%"] in rows
    assert out.endswith("wrote 4 images, 6 objects, 2 labels to new as voc\nnext: vocdet train-backbone new\n")


def test_sample_warns_of_missing_labels(vocdet: Run, make_voc: MakeVoc) -> None:
    _, _, err = vocdet("sample", make_voc({"a": [DOG], "b": [CAT]}), "new", "-n", 1)
    assert err.startswith("warning: the sample has no ")
    assert err.endswith(": take more images\n")


def test_crops_are_counted_by_split_and_label(vocdet: Run, make_voc: MakeVoc) -> None:
    root = make_voc({"a": [DOG, CAT], "b": [CAT], "c": [DOG]}, splits={"train": ["a"], "val": ["b"]})
    code, out, err = vocdet("crops", root, "new")
    assert code == 0
    rows = rows_of(out)
    assert ["train", "val"] in rows
    assert ["all", "labels", "2", "1"] in rows
    assert ["cat", "1", "1"] in rows
    assert out.endswith("wrote 3 crops to new\nnext: vocdet train-backbone new --folder\n")
    assert err == "left out: 1 object in images of other splits\n"


def test_crops_of_one_label_need_no_classifier(vocdet: Run, make_voc: MakeVoc) -> None:
    assert vocdet("crops", make_voc({"a": [DOG]}), "new")[1].endswith("wrote 1 crop to new\n")


def test_crops_name_folders_that_differ_from_their_labels(vocdet: Run, make_voc: MakeVoc) -> None:
    _, _, err = vocdet("crops", make_voc({"a": [("and/or", DOG[1]), CAT]}), "new", "--min-side", 5)
    assert err == "the folder of 'and/or' is named 'and_or', which is portable\n"
