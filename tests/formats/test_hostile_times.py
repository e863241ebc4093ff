"""Files that are large in one respect get a verdict in seconds: nothing compares everything with everything."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from vocdet.data.stats import stats
from vocdet.errors import SplitError, VocdetError
from vocdet.formats.scan import Source
from vocdet.formats.voc import image_sets, repair
from vocdet.formats.voc.read import scan
from vocdet.recipes.nets import net_fault
from vocdet.wording import nearest, quoted
from vocdet.workflows.check import CheckReport, check_dataset

BOX = "<bndbox><xmin>11</xmin><ymin>21</ymin><xmax>50</xmax><ymax>60</ymax></bndbox>"
LONGEST = 30  # CPU seconds: each takes up to eight; in quadratic time, far more
MOST_TEXT = 2000  # characters of a finding


@pytest.fixture(autouse=True)
def within_budget() -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError(f"not done in {LONGEST} CPU seconds")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, LONGEST)  # of this process, however busy the machine is
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


def voc(root: Path, objects: str, split: str = "") -> Path:
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    Image.new("RGB", (100, 80)).save(root / "JPEGImages" / "a.jpg")
    size = "<size><width>100</width><height>80</height><depth>3</depth></size>"
    (root / "Annotations" / "a.xml").write_text(f"<annotation><filename>a.jpg</filename>{size}{objects}</annotation>")
    if split:
        (root / "ImageSets" / "Main" / "train.txt").write_text(split)
    return root


def coco(root: Path, categories: list[str], annotations: int = 1) -> Path:
    (root / "images").mkdir(parents=True)
    Image.new("RGB", (100, 80)).save(root / "images" / "a.jpg")
    text = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 80}],
        "categories": [{"id": i, "name": name} for i, name in enumerate(categories)],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": i % len(categories), "bbox": [11, 21, 39, 39]}
            for i in range(annotations)
        ],
    }
    (root / "instances.json").write_text(json.dumps(text))
    return root


def checked(root: Path, labels: Path | None = None) -> CheckReport:
    report = check_dataset(Source(root, labels=labels), images=False)
    assert max((len(f"{one.problem}{one.hint}") for one in report.findings), default=0) < MOST_TEXT
    return report


def test_an_object_30000_times_is_checked_and_repaired(tmp_path: Path) -> None:
    root = voc(tmp_path / "set", f"<object><name>dog</name>{BOX}</object>\n" * 30_000)
    assert [finding.code for finding in checked(root).warnings] == ["box.duplicate"] * 29_999
    repaired = repair.repair((root / "Annotations" / "a.xml").read_bytes(), repair.Facts(size=(100, 80)))
    assert repaired.counts == {"box.duplicate": 29_999}
    assert repaired.data.count(b"<object>") == 1


def test_30000_invalid_flags_are_reported(tmp_path: Path) -> None:
    one = f"<object><name>dog</name><difficult>0<!-- ? -->yes</difficult>{BOX}</object>\n"
    left = repair.repair(f"<annotation>\n{one * 30_000}</annotation>".encode(), repair.Facts(numbered=True)).left
    assert [line for line, _ in left[-2:]] == [30_001, 30_001] or left[-1][0] == 30_001


def test_a_label_of_100000_characters_is_cut_in_messages(tmp_path: Path) -> None:
    objects = "".join(f"<object><name>{letter * 100_000}</name>{BOX}</object>" for letter in "abcde")
    report = checked(voc(tmp_path / "set", objects))
    assert {finding.code for finding in report.findings} == {"label.too_long", "box.two_labels"}


def test_40000_labels_of_one_image_are_checked_and_counted(tmp_path: Path) -> None:
    objects = "".join(f"<object><name>label{i}</name>{BOX}</object>" for i in range(40_000))
    report = checked(voc(tmp_path / "set", objects))
    assert len(report.dataset.labels) == 40_000
    figures = stats(report.dataset)
    assert figures.pixels[0].tolist() == [39, 39, 39]
    assert len(figures.pairs) == 0


@pytest.mark.parametrize("name", ["label", "label{}"])
def test_40000_categories_are_checked(tmp_path: Path, name: str) -> None:
    checked(coco(tmp_path / "set", [name.format(i) for i in range(40_000)], annotations=10))


def test_3000_unlisted_labels_are_reported(tmp_path: Path) -> None:
    root = voc(tmp_path / "set", "".join(f"<object><name>label{i}</name>{BOX}</object>\n" for i in range(3000)))
    (tmp_path / "list.txt").write_text("".join(f"labex{i}\n" for i in range(50_000)))
    assert len(checked(root, tmp_path / "list.txt").errors) == 3000


DOG = f"<object><name>dog</name>{BOX}</object>"


@pytest.mark.parametrize(
    ("split", "codes"),
    [
        ("a" + " " * 100_000 + "x\na\n", {"imagesets.unknown_stem"}),
        ("a" + "\t " * 100_000 + "1\n", set()),
        ("y" * 1_000_000 + "\na\n", {"imagesets.unknown_stem"}),
        ("".join(f"b{i}\n" for i in range(30_000)), {"imagesets.unknown_stem"}),
        ("a\n" + "\n" * 2_000_000, set()),
        ("b/" * 500_000 + "\na\n", {"imagesets.unknown_stem"}),
    ],
    ids=["blanks", "blanks before a column", "a long line", "unknown lines", "empty lines", "folders"],
)
def test_a_split_file_is_read_in_linear_time(tmp_path: Path, split: str, codes: set[str]) -> None:
    report = checked(voc(tmp_path / "set", DOG, split))
    assert {one.code for one in report.findings if one.code.startswith("imagesets.")} - {"imagesets.space"} == codes


def test_beyond_100000_lines_of_a_kind_one_finding_counts_them(tmp_path: Path) -> None:
    report = checked(voc(tmp_path / "set", DOG, "a\n" * 150_000))
    repeated = [finding for finding in report.findings if finding.code == "imagesets.duplicate"]
    assert len(repeated) == 100_001
    assert [one.problem for one in repeated if one.count == 49_999] == ["has 49999 more such lines"]


def test_a_split_file_of_10_gb_is_not_read(tmp_path: Path) -> None:
    root = voc(tmp_path / "set", DOG, "a\n")
    with (root / "ImageSets" / "Main" / "train.txt").open("ab") as file:
        file.truncate(10 << 30)
    [finding] = [one for one in checked(root).findings if one.code == "imagesets.unreadable"]
    assert finding.problem == "is larger than 16 MB"
    with pytest.raises(SplitError, match="is larger than 16 MB"):
        image_sets.split_rows(scan(Source(root)).dataset, "train")


def test_a_polygon_100000_times_is_read(tmp_path: Path) -> None:
    polygon = "<polygon><x1>1</x1><y1>1</y1><x2>9</x2><y2>1</y2><x3>9</x3><y3>9</y3></polygon>"
    found = scan(Source(voc(tmp_path / "set", f"<object><name>dog</name>{BOX}{polygon * 100_000}</object>")))
    assert found.dataset.objects.segmentation[0].count(b"],[") == 99_999


def test_the_nearest_of_very_many_words_is_found() -> None:
    assert nearest("zebra", [f"word number {i}" for i in range(200_000)] + ["zebras"]) == "zebras"


def test_the_name_of_a_net_is_compared_in_linear_time() -> None:
    assert isinstance(net_fault("mb3-large-" + "1" * 200_000 + "x"), VocdetError)


def test_a_text_in_a_message_is_quoted_and_cut() -> None:
    assert quoted("a\x1b[31m") == r"'a\x1b[31m'"
    assert quoted("x" * 81) == f"'{'x' * 80}'..."
