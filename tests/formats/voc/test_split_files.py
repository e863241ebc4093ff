from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.strategies import examples
from vocdet.data.dataset import Dataset
from vocdet.errors import SplitError
from vocdet.formats.voc import image_sets
from vocdet.formats.voc.read import read
from vocdet.formats.voc.split_files import own_findings, read_outside_splits, repair_split

MakeVoc = Callable[..., Path]

DOG = [("dog", (1, 2, 30, 40))]
STEMS = ("000001", "000002", "img.v1.2", "my photo 1")


@pytest.fixture
def dataset(make_voc: MakeVoc) -> Dataset:
    return read(make_voc(dict.fromkeys(STEMS, DOG))).dataset


def write(dataset: Dataset, name: str, data: str | bytes, folder: str = "ImageSets/Main") -> Path:
    path = dataset.root / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        ("000001\n000002\n", "000001\n000002\n", {}),
        ("000001", "000001", {}),
        ("\n000001\n\n", "\n000001\n\n", {}),
        ("000001\r\n000002\r\n", "000001\n000002\n", {"imagesets.crlf": 2}),
        ("000001\r000002", "000001\n000002", {"imagesets.crlf": 1}),
        ("\ufeff000001\n", "000001\n", {"imagesets.bom": 1}),
        ("000001 \n\t000002\n", "000001\n000002\n", {"imagesets.space": 2}),
        ("000001\n000001\n000002\n", "000001\n000002\n", {"imagesets.duplicate": 1}),
        ("000001.jpg\n000002.XML\n", "000001\n000002\n", {"imagesets.extension": 2}),
        ("JPEGImages/000001.jpg\nC:\\a b\\000002\n", "000001\n000002\n", {"imagesets.path": 2}),
        ("000001  1\n000001  1\n000002 -1\n", "000001  1\n000002 -1\n", {"imagesets.duplicate": 1}),
        ("000001  1\n000001 -1\n", "000001  1\n000001 -1\n", {}),  # which of the two is right is for a person
        ("000001.jpg  1\n", "000001  1\n", {"imagesets.extension": 1}),
        ("img.v1.2\nmy photo 1\nmy photo 1  1\n", "img.v1.2\nmy photo 1\nmy photo 1  1\n", {}),
        ("nothing\nnothing.jpg\n", "nothing\nnothing.jpg\n", {}),
    ],
)
def test_a_split_file_is_tidied(dataset: Dataset, before: str, after: str, counts: dict[str, int]) -> None:
    repaired = repair_split(before.encode(), dataset)
    assert (repaired.data.decode(), repaired.counts) == (after, counts)


LINES = st.sampled_from([*STEMS, "000001.jpg", "x/000002", "my photo 1 -1", "nothing", "", "000001  1", " 000002\t"])


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r\n", "\r"]))), st.booleans())
def test_tidying_changes_no_split_and_is_idempotent(dataset: Dataset, lines: list[tuple[str, str]], bom: bool) -> None:
    data = ("\ufeff" if bom else "") + "".join(line + end for line, end in lines)
    path = write(dataset, "train.txt", data)
    before, _ = image_sets.resolve(dataset, path)
    repaired = repair_split(data.encode(), dataset)
    path.write_bytes(repaired.data)
    after, _ = image_sets.resolve(dataset, path)
    assert after.tolist() == before.tolist()
    assert repair_split(repaired.data, dataset).counts == {}


def test_what_other_tools_stumble_over_is_one_finding_a_file(dataset: Dataset) -> None:
    path = write(dataset, "train.txt", "\ufeff000001.jpg\r\n000002.jpg\r\n")
    write(dataset, "val.txt", "img.v1.2\n")
    findings = own_findings(dataset)
    assert [(finding.severity, finding.code, finding.count, finding.place.path) for finding in findings] == [
        ("warning", "imagesets.bom", 1, path),
        ("warning", "imagesets.crlf", 2, path),
        ("warning", "imagesets.extension", 2, path),
    ]
    assert [finding.problem for finding in findings[1:]] == [
        "has 2 lines with Windows line ends (CRLF), which some tools read as part of the stem",
        "has 2 lines with a file name instead of a stem, such as '000001.jpg'",
    ]


def test_unused_files_are_named(dataset: Dataset) -> None:
    for name in ("train.txt", "dog_train.txt", "fold1_val.txt", "evaluation.txt", "Train.TXT", ".hidden"):
        write(dataset, name, "000001\n")
    write(dataset, "train.txt", "000002\n", folder="ImageSets")
    (finding,) = own_findings(dataset)
    assert (finding.code, finding.count) == ("imagesets.unknown_file", 3)
    assert finding.problem == (
        "holds 3 unused files: ImageSets/train.txt, ImageSets/Main/Train.TXT, ImageSets/Main/evaluation.txt"
    )


def test_a_folder_of_split_files_that_is_a_link_is_searched(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("x")
    (dataset.root / "ImageSets").symlink_to(tmp_path / "outside")
    (finding,) = own_findings(dataset)
    assert (finding.code, finding.problem) == ("imagesets.unknown_file", "holds 1 unused file: ImageSets/secret.txt")


def test_an_undecodable_file_is_left_to_its_reader(dataset: Dataset) -> None:
    write(dataset, "train.txt", "000001\n".encode("utf-16"))
    assert own_findings(dataset) == []


def test_lists_from_elsewhere_may_name_images_that_are_not_here(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    train, test = tmp_path / "lists" / "train.txt", tmp_path / "lists" / "test.txt"
    train.write_text("000001\n000002\n000001.jpg\nelsewhere\nother\nelsewhere\nimg.v1.2.JPG\n")
    test.write_text("000002\nelsewhere\nmy photo 1\n")
    lists = read_outside_splits(dataset, [tmp_path / "lists"])
    assert {name: rows.tolist() for name, rows in lists.splits.items()} == {"train": [0, 1, 2], "test": [1, 3]}
    said = {(finding.code, str(finding.place)): (finding.problem, finding.count) for finding in lists.findings}
    assert said == {
        ("imagesets.duplicate", f"{train}:3"): (
            "repeats images on 2 lines: 000001 on lines 1 and 3, elsewhere on lines 4 and 6", 2
        ),
        ("imagesets.extension", str(train)): (
            "has 1 line with a file name instead of a stem, such as 'img.v1.2.JPG'", 1
        ),
        ("imagesets.unknown_stem", f"{train}:4"): (
            "names 5 images, 2 of which are not in the dataset: elsewhere on line 4, other on line 5", 2
        ),
        ("imagesets.unknown_stem", f"{test}:2"): (
            "names 3 images, 1 of which is not in the dataset: elsewhere on line 2", 1
        ),
        ("imagesets.overlap", f"{test}:1"): (
            "2 images (000002, elsewhere) in train and in test, 1 of them in the dataset: "
            "metrics on test will be too high", 2
        ),
    }  # fmt: skip
    assert {finding.severity for finding in lists.findings} == {"warning"}


def test_a_list_of_another_dataset_is_an_error(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("a\nb\n")
    (finding,) = read_outside_splits(dataset, [path]).findings
    assert (finding.severity, finding.code) == ("error", "imagesets.unknown_stem")
    assert finding.problem == "names 2 images, none of which is in the dataset: a on line 1, b on line 2"


def test_trainval_may_share_images_with_train_and_val(dataset: Dataset, tmp_path: Path) -> None:
    for name, text in (("trainval", "000001\n000002\n"), ("train", "000001\n"), ("valid", "000002\n")):
        (tmp_path / f"{name}.txt").write_text(text)
    lists = read_outside_splits(dataset, [tmp_path])
    assert list(lists.splits) == ["trainval", "train", "val"]
    assert lists.findings == ()


def test_folds_may_share_images_except_for_train_and_val_of_the_same(dataset: Dataset, tmp_path: Path) -> None:
    texts = {"fold1_train": "000001\n", "fold1_val": "000002\n", "fold2_train": "000002\n", "fold2_val": "000001\n"}
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(text)
    assert read_outside_splits(dataset, [tmp_path]).findings == ()
    (tmp_path / "fold2_val.txt").write_text("000002\n")
    (finding,) = read_outside_splits(dataset, [tmp_path]).findings
    assert finding.problem.startswith("1 image (000002) in fold2_train and in fold2_val")


def test_lists_of_any_name_may_be_given_as_files(dataset: Dataset, tmp_path: Path) -> None:
    paths = [tmp_path / "first.txt", tmp_path / "second.txt"]
    for path in paths:
        path.write_text("000001\n")
    lists = read_outside_splits(dataset, paths)
    assert [finding.code for finding in lists.findings] == ["imagesets.overlap"]
    assert list(lists.paths) == ["first", "second"]


def test_files_beside_split_files_are_named(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("000001\n")
    (tmp_path / "notes.txt").write_text("x\n")
    (finding,) = read_outside_splits(dataset, [tmp_path]).findings
    assert (finding.code, finding.place.path) == ("imagesets.unknown_file", tmp_path)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["nowhere"], "no such file"),
        (["empty"], "holds no split files"),
        (["a/train.txt", "b/train.txt"], "is the split train, like"),
        (["large.txt"], "is larger than 0 MB"),
        (["bad/train.txt"], "is not UTF-8 text"),
    ],
)
def test_invalid_lists_are_an_error(
    dataset: Dataset, tmp_path: Path, given: list[str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_sets, "LARGEST_FILE", 100)
    for name in ("a", "b", "bad", "empty"):
        (tmp_path / name).mkdir()
    for name in ("a", "b"):
        (tmp_path / name / "train.txt").write_text("000001\n")
    (tmp_path / "bad" / "train.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "large.txt").write_text("000001\n" * 100)
    with pytest.raises(SplitError, match=problem):
        read_outside_splits(dataset, [tmp_path / one for one in given])
