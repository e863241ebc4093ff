"""What may not be read or written is a `VocdetError` of every public function, never a raw `OSError`."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import vocdet
from vocdet.errors import OutputError
from vocdet.formats.scan import Source
from vocdet.recipes.schema import SsdRecipe
from vocdet.runs.setup import RunOptions
from vocdet.workflows.bench import bench_runs
from vocdet.workflows.evaluate import evaluate_run
from vocdet.workflows.live import live
from vocdet.workflows.predict import predict
from vocdet.workflows.stats import dataset_stats
from vocdet.workflows.train_detector import training_events

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX"),
    pytest.mark.usefixtures("no_curves"),
]

MakeVoc = Callable[..., Path]
Function = Callable[[Path, Path], object]
NOBODY = 65534
SCENES = {name: [("dog ", (5.0, 5.0, 40.0, 50.0)), ("cat", (50.0, 10.0, 90.0, 70.0))] for name in "abcdef"}
SPLITS = {"train": list("abc"), "val": ["d"], "test": ["e", "f"]}

FUNCTIONS: dict[str, Function] = {
    "read": lambda data, out: vocdet.read(data),
    "check": lambda data, out: vocdet.check(data),
    "repair": lambda data, out: vocdet.repair(data),
    "convert": lambda data, out: vocdet.convert(data, out, to="coco"),
    "remap": lambda data, out: vocdet.remap(data, out, rename={"cat": "tiger"}),
    "sample": lambda data, out: vocdet.sample(data, out, count=2),
    "crop": lambda data, out: vocdet.crop(data, out),
    "write": lambda data, out: vocdet.write(vocdet.read(data), out, format="yolo"),
    "split": lambda data, out: vocdet.write_splits(vocdet.split(data), force=True),
    "statistics": lambda data, out: vocdet.statistics(data),
    "picture": lambda data, out: vocdet.read(data)._repr_html_(),
    "train": lambda data, out: vocdet.train_detector(
        data, net="mb1-0.25", size=64, epochs=1, batch=2, device="cpu", runs=out, seed=0
    ),
}


@contextmanager
def somebody_else() -> Iterator[None]:
    """Without the rights of the superuser, whom no permission stops."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def place(make_voc: MakeVoc) -> Iterator[Path]:
    """A folder for everybody with a dataset: folders of pytest are for one user."""
    folder = Path(tempfile.mkdtemp())
    make_voc(SCENES, root=folder / "set", splits=SPLITS)
    with suppress(PermissionError):
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    yield folder
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777)
    shutil.rmtree(folder)


def refused(function: Function, data: Path, out: Path) -> bool:
    """Whether a call ends with a `VocdetError`; anything else but success fails the test."""
    try:
        with somebody_else():
            function(data, out)
    except vocdet.VocdetError as error:
        assert str(error)
        return True
    return False


@pytest.fixture(scope="module")
def first() -> list[str]:
    """The functions that have run: what they import may be in a folder of the superuser."""
    return []


@pytest.mark.parametrize("mode", [0o000, 0o400])
@pytest.mark.parametrize(
    "name",
    ["", "Annotations", "JPEGImages", "ImageSets", "ImageSets/Main", "Annotations/a.xml", "JPEGImages/a.jpg",
     "ImageSets/Main/train.txt"],
)  # fmt: skip
def test_what_may_not_be_read_is_an_error_of_ours(place: Path, first: list[str], name: str, mode: int) -> None:
    data, out = place / "set", place / "out"
    for key, function in FUNCTIONS.items():
        if key != "train" and key not in first:
            first.append(key)
            with suppress(vocdet.VocdetError):
                function(data, place / "first")
            shutil.rmtree(place / "first", ignore_errors=True)
    with suppress(PermissionError):
        for path in data.rglob("*"):
            os.chown(path, NOBODY, NOBODY)
    before = (data / name).stat().st_mode & 0o777
    for function in (one for key, one in FUNCTIONS.items() if key != "train"):
        (data / name).chmod(mode)
        try:
            refused(function, data, out)
        finally:
            (data / name).chmod(before)
        shutil.rmtree(out, ignore_errors=True)


@pytest.mark.parametrize("name", ["convert", "remap", "sample", "crop", "write", "train"])
def test_a_folder_that_may_not_be_written_is_an_error_of_ours(place: Path, name: str) -> None:
    FUNCTIONS[name](place / "set", place / "first")
    place.chmod(0o555)
    assert refused(FUNCTIONS[name], place / "set", place / "new" / "out")


def test_split_files_that_may_not_be_written_are_an_error_of_ours(place: Path) -> None:
    FUNCTIONS["split"](place / "set", place)
    (place / "set" / "ImageSets" / "Main").chmod(0o555)
    assert refused(FUNCTIONS["split"], place / "set", place)


def test_a_full_disk_is_an_error_of_ours(place: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for name, function in FUNCTIONS.items():
        with suppress(vocdet.VocdetError):
            function(place / "set", place / "first" / name)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        try:
            wrote = not refused(function, place / "set", place / name)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert not wrote or name in ("read", "check", "repair", "statistics", "picture", "split")
        assert not (place / name).exists() or name == "train"


MISSING = Source(Path("missing"))  # would be an error, were it read first
WRITERS: dict[str, Callable[[Path], object]] = {
    "eval": lambda out: evaluate_run(out, MISSING),
    "eval --picture": lambda out: evaluate_run(Path("missing"), MISSING, picture=out / "a.png"),
    "bench --json": lambda out: bench_runs([Path("missing")], data=MISSING, json=out / "a.json"),
    "stats --picture": lambda out: dataset_stats(MISSING, drawn=out / "a.png"),
    "predict": lambda out: list(predict(Path("missing"), ["0"], out=out / "new")),
    "live --save": lambda out: list(live(Path("missing"), "0", save=out / "a.avi")),
    "train": lambda out: vocdet.train_detector("missing", runs=out),
    "train, resumed": lambda out: list(training_events(MISSING, SsdRecipe(), RunOptions(resume=out))),
    "train-backbone": lambda out: vocdet.train_backbone("missing", runs=out),
    "convert": lambda out: vocdet.convert("missing", out / "new", to="coco"),
    "remap": lambda out: vocdet.remap("missing", out / "new", rename={"cat": "tiger"}),
    "sample": lambda out: vocdet.sample("missing", out / "new", count=2),
    "merge": lambda out: vocdet.merge(["missing", "other"], out / "new"),
    "crop": lambda out: vocdet.crop("missing", out / "new"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_what_cannot_be_written_is_an_error_before_anything_is_read(tmp_path: Path, place: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written: not a directory") as caught:
        WRITERS[name](tmp_path / "file" / "in")
    assert caught.value.hint == "choose another folder: a part of the path is a file"
    place.chmod(0o555)
    with pytest.raises(OutputError, match="cannot be written: permission denied") as caught, somebody_else():
        WRITERS[name](place)
    assert caught.value.hint in ("choose a writable folder", "copy the run to a writable folder")
