from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vocdet.errors import DatasetError, ImageError, OutputError, SplitError, VocdetError
from vocdet.formats.image_folder import read_image_folder
from vocdet.formats.scan import Source
from vocdet.outputs import MARKER
from vocdet.workflows.crops import CropOptions, write_crops

DOG, CAT = ("dog", (10.0, 10.0, 50.0, 30.0)), ("cat", (60.0, 20.0, 80.0, 60.0))
SPLITS = {"trainval": ["a", "b"], "train": ["a"], "val": ["b"], "test": ["c"]}
MakeVoc = Callable[..., Path]


def files(folder: Path) -> list[str]:
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != MARKER]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def test_every_object_is_a_picture_in_the_folder_of_its_split_and_label(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({"a": [DOG, CAT], "b": [CAT], "c": [DOG, DOG], "d": [CAT]}, splits=SPLITS)
    report = write_crops(Source(root), tmp_path / "crops")
    assert files(tmp_path / "crops") == [
        "test/dog/c_1.jpg", "test/dog/c_2.jpg", "train/cat/a_2.jpg", "train/dog/a_1.jpg", "val/cat/b_1.jpg",
    ]  # fmt: skip
    assert {name: counts.tolist() for name, counts in report.crops.items()} == {
        "train": [1, 1], "val": [1, 0], "test": [0, 2],
    }  # fmt: skip
    assert (report.labels, report.in_no_split) == (("cat", "dog"), 1)


def test_train_backbone_reads_the_same_splits_and_labels(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({"a": [DOG, CAT], "b": [CAT], "c": [DOG]}, splits=SPLITS)
    write_crops(Source(root), tmp_path / "crops")
    dataset = read_image_folder(tmp_path / "crops")
    splits = dataset.splits
    names = {name: [dataset.labels[dataset.objects.label[row]] for row in rows] for name, rows in splits.items()}
    assert names == {"train": ["cat", "dog"], "val": ["cat"]}


def test_a_crop_is_a_square_with_a_margin(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({"a": [DOG]}, suffix=".png")
    write_crops(Source(root), tmp_path / "crops", CropOptions(margin=0.1, png=True))
    with (
        Image.open(tmp_path / "crops" / "train" / "dog" / "a_1.png") as image,
        Image.open(root / "JPEGImages" / "a.png") as whole,
    ):
        crop, scene = np.asarray(image), np.asarray(whole)
    assert crop.shape == (48, 48, 3)  # 40 and 4 on each side, round (30, 20): from (6, -4) to (54, 44)
    assert np.array_equal(crop[4:], scene[:44, 6:54])
    assert (crop[:4] == 127).all()


def test_all_crops_have_the_requested_size(make_voc: MakeVoc, tmp_path: Path) -> None:
    write_crops(Source(make_voc({"a": [DOG, CAT]})), tmp_path / "crops", CropOptions(size=40))
    for name in files(tmp_path / "crops"):
        with Image.open(tmp_path / "crops" / name) as image:
            assert image.size == (40, 40)


def test_folds_alone_are_no_splits_to_write(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({"a": [DOG], "b": [CAT]}, splits={"fold1_train": ["a"], "fold1_val": ["b"]})
    write_crops(Source(root), tmp_path / "crops")
    assert files(tmp_path / "crops") == ["train/cat/b_1.jpg", "train/dog/a_1.jpg"]


def test_splits_can_be_chosen(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({"a": [DOG], "b": [CAT], "c": [DOG]}, splits=SPLITS)
    report = write_crops(Source(root), tmp_path / "crops", splits=["trainval"])
    assert files(tmp_path / "crops") == [
        "train/cat/b_1.jpg",
        "train/dog/a_1.jpg",
    ]  # train-backbone needs a folder train
    assert report.in_no_split == 1


def test_trainval_is_train_and_val_where_no_file_lists_it(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({"a": [DOG], "b": [CAT], "c": [DOG]}, splits={"train": ["a"], "val": ["b"], "test": ["c"]})
    write_crops(Source(root), tmp_path / "crops", splits=["trainval"])
    assert files(tmp_path / "crops") == ["train/cat/b_1.jpg", "train/dog/a_1.jpg"]


@pytest.mark.parametrize(
    ("splits", "hint"),
    [(SPLITS, "choose trainval, train, val or test"), (None, "run `vocdet.split(dataset)` first")],
)
def test_an_unknown_split_is_an_error(
    make_voc: MakeVoc, tmp_path: Path, splits: dict[str, list[str]] | None, hint: str
) -> None:
    root = make_voc({"a": [DOG], "b": [CAT], "c": [DOG]}, splits=splits)
    with pytest.raises(SplitError, match="there is no split holdout") as caught:
        write_crops(Source(root), tmp_path / "crops", splits=["holdout"])
    assert caught.value.hint == hint


def test_labels_that_are_not_folder_names_get_a_portable_one(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({"a": [("and/or", DOG[1]), ("..", CAT[1])]})
    report = write_crops(Source(root), tmp_path / "crops")
    assert files(tmp_path / "crops") == ["train/_/a_2.jpg", "train/and_or/a_1.jpg"]
    assert report.renamed == {"..": "_", "and/or": "and_or"}


def test_small_objects_can_be_left_out(make_voc: MakeVoc, tmp_path: Path) -> None:
    report = write_crops(
        Source(make_voc({"a": [DOG, CAT, ("cat", (0.0, 0.0, 40.0, 9.0))]})),
        tmp_path / "crops",
        CropOptions(min_side=10),
    )
    assert (report.small, files(tmp_path / "crops")) == (1, ["train/cat/a_2.jpg", "train/dog/a_1.jpg"])
    with pytest.raises(DatasetError, match="there are no objects to crop"):
        write_crops(
            Source(make_voc({"a": [DOG]}, root=tmp_path / "other")), tmp_path / "none", CropOptions(min_side=50)
        )


def test_an_image_that_cannot_be_decoded_leaves_no_folder(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({"a": [DOG], "b": [DOG]})
    image = root / "JPEGImages" / "b.jpg"
    image.write_bytes(image.read_bytes()[:350])  # truncated after its header
    with pytest.raises(ImageError, match="decoded"):
        write_crops(Source(root), tmp_path / "new" / "crops")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_an_existing_folder_is_not_touched(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({"a": [DOG]})
    with pytest.raises(OutputError, match="exists already"):
        write_crops(Source(root), root)
    assert "train" not in [path.name for path in root.iterdir()]


def test_an_invalid_size_is_an_error(make_voc: MakeVoc, tmp_path: Path) -> None:
    with pytest.raises(VocdetError, match="size is 5 pixels"):
        write_crops(Source(tmp_path), tmp_path / "crops", CropOptions(size=5))
