from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

DOG = [("dog", (1.0, 2.0, 30.0, 40.0))]
BOTH = [*DOG, ("cat", (40.0, 2.0, 70.0, 40.0))]
MakeVoc = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]


def many(make_voc: MakeVoc, count: int = 20, **kinds: object) -> Path:
    return make_voc({f"img{i:02}": BOTH for i in range(count)}, **kinds)


def test_split_prints_the_splits_and_the_next_step(vocdet: Run, make_voc: MakeVoc) -> None:
    root = many(make_voc)
    code, out, err = vocdet("split", root)
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert ["trainval", "train", "val", "test", "all"] in rows
    assert ["images", "18", "16", "2", "2", "20"] in rows
    assert ["dog", "18", "16", "2", "2", "20"] in rows
    assert out.endswith(f"wrote 4 files to {root}/ImageSets/Main\nnext: vocdet train-backbone {root}\n")


def test_split_defaults_to_the_current_folder(vocdet: Run, make_voc: MakeVoc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(many(make_voc))
    code, out, _ = vocdet("split")
    assert code == 0
    assert out.endswith("wrote 4 files to ImageSets/Main\nnext: vocdet train-backbone\n")


def test_split_refuses_to_overwrite(vocdet: Run, make_voc: MakeVoc) -> None:
    root = many(make_voc)
    vocdet("split", root)
    code, out, err = vocdet("split", root)
    assert (code, out) == (1, "")
    assert err == (
        f"error: {root}/ImageSets/Main: trainval.txt, train.txt, val.txt, test.txt would be overwritten\n"
        "  hint: replace them with --force\n"
    )
    assert vocdet("split", root, "--force")[0] == 0


def test_split_prints_notes(vocdet: Run, make_voc: MakeVoc) -> None:
    code, _, err = vocdet("split", many(make_voc), "--trainval", 1)
    assert code == 0
    assert err.startswith("warning: test is empty, because trainval takes all images")


@pytest.mark.parametrize("count", [1, 2])
def test_split_of_too_few_images(vocdet: Run, make_voc: MakeVoc, count: int) -> None:
    code, _, err = vocdet("split", many(make_voc, count))
    assert code == 1
    assert "cannot be divided into train and val and test" in err
    assert "  hint: annotate more images, or write fewer splits: vocdet split --trainval 1\n" in err


def test_split_shows_folds_in_a_second_table(vocdet: Run, make_voc: MakeVoc) -> None:
    root = many(make_voc)
    code, out, err = vocdet("split", root, "--kfold", 3)
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert ["fold1", "fold2", "fold3"] in rows
    assert rows.count(["images", "6", "6", "6"]) == 1
    assert "wrote 10 files" in out


def test_split_shows_what_it_would_write(vocdet: Run, make_voc: MakeVoc) -> None:
    root = many(make_voc)
    code, out, _ = vocdet("split", root, "--dry-run")
    assert code == 0
    assert ["images", "18", "16", "2", "2", "20"] in [line.split() for line in out.splitlines()]
    assert out.endswith(f"would write 4 files to {root}/ImageSets/Main\nnext: the same command without --dry-run\n")
    assert not (root / "ImageSets").exists()


def test_split_adds_new_images(vocdet: Run, make_voc: MakeVoc) -> None:
    root = many(make_voc)
    vocdet("split", root)
    test = (root / "ImageSets" / "Main" / "test.txt").read_text().split()
    many(make_voc, 40, root=root)
    code, out, err = vocdet("split", root, "--append")
    assert code == 0
    assert err == "warning: 20 new images: 16 to train, 2 to val, 2 to test; all others are unchanged\n"
    assert ["images", "36", "32", "4", "4", "40"] in [line.split() for line in out.splitlines()]
    assert set(test) < set((root / "ImageSets" / "Main" / "test.txt").read_text().split())


def test_split_takes_several_kinds_of_groups(vocdet: Run, make_voc: MakeVoc) -> None:
    root = make_voc({f"film{i // 4}_{i % 4}": DOG for i in range(40)})
    code, _, err = vocdet("split", root, "--group-by", r"(film\d)", "--group-by", "similar", "--no-stratify")
    assert code == 0
    assert r"10 groups by '(film\d)', of 4 images" in err


def test_split_takes_the_splits_of_coco_files(vocdet: Run, make_voc: MakeVoc, tmp_path: Path) -> None:
    root = many(make_voc, 4)
    for split, names in (("train", ["img00.jpg", "img01.jpg"]), ("val", ["img02.jpg"]), ("test", ["img03.jpg"])):
        images = [{"id": i, "file_name": name, "width": 100, "height": 80} for i, name in enumerate(names, 1)]
        text = json.dumps({"images": images, "annotations": [], "categories": []})
        (tmp_path / f"instances_{split}.json").write_text(text)
    files = [tmp_path / f"instances_{split}.json" for split in ("train", "val", "test")]
    code, out, err = vocdet("split", root, *(word for file in files for word in ("--from-coco", file)))
    assert (code, err) == (0, "")
    assert ["images", "3", "2", "1", "1", "4"] in [line.split() for line in out.splitlines()]


def test_an_invalid_pattern_is_an_error(vocdet: Run, make_voc: MakeVoc) -> None:
    code, out, err = vocdet("split", many(make_voc), "--group-by", "*_1")
    assert (code, out) == (1, "")
    assert err.startswith(
        "error: '*_1' is not a regular expression: nothing to repeat at position 0\n  hint: write one"
    )


@pytest.mark.parametrize(
    "options",
    [
        ("--append", "--force"),
        ("--from-coco", "train.json", "--append"),
        ("--from-coco", "train.json", "--kfold", "3"),
        ("--from-coco", "train.json", "--trainval", "0.9"),
        ("--from-coco", "train.json", "--no-stratify"),
        ("--kfold", "1"),
    ],
)
def test_options_that_contradict_each_other_are_wrong_usage(
    vocdet: Run, make_voc: MakeVoc, options: tuple[str, ...]
) -> None:
    root = many(make_voc)
    assert vocdet("split", root, *options)[0] == 2
    assert not (root / "ImageSets").exists()


def test_every_option_of_split_has_help(vocdet: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = vocdet("split", "--help")[1]
    for option in ("--no-stratify", "--group-by", "--kfold", "--append", "--from-coco", "--dry-run", "--seed"):
        assert option in out
    for words in ("near-duplicates", "k from 1", "all others are unchanged", "instances_train.json"):
        assert words in out
