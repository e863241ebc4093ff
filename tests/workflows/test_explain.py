"""The page of findings documents every code, and its worked examples match a check of these datasets."""

from __future__ import annotations

import ast
import re
from collections import Counter
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

from vocdet.errors import ArgumentError
from vocdet.formats.scan import Source
from vocdet.resources import bundled_text
from vocdet.workflows.check import check_dataset
from vocdet.workflows.explain import FINDINGS_PAGE, explain, read_sections

LIBRARY = Path(__file__).parents[2] / "vocdet"
KINDS = "area|box|coco|crowd|csv|cvat|fix|image|imagesets|json|label|labelme|mask|path|via|voc|xml|yolo"
CODE = re.compile(rf"({KINDS})(\.[a-z_*]+)+")

DOCUMENTED = {code for codes, _ in read_sections() for code in codes}


def codes_in(path: Path) -> set[str]:
    """The codes of findings in a source file; a * stands for what an f-string fills in."""
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        text = ""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        elif isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "MaskError":
            text = "mask." + ast.literal_eval(node.args[0])
        if CODE.fullmatch(text):
            found.add(text)
    return found


@cache
def emitted() -> set[str]:
    """The codes of findings in all source files."""
    return {code for path in LIBRARY.rglob("*.py") for code in codes_in(path)}


def test_sources_are_searched_for_codes() -> None:
    some = {"box.tiny", "voc.size.missing", "mask.*", "coco.*.type", "imagesets.crlf", "yolo.row.pixels", "fix.unsure"}
    assert some <= emitted()


def test_every_finding_is_documented() -> None:
    assert [code for code in sorted(emitted()) if not any(fnmatchcase(one, code) for one in DOCUMENTED)] == []


def test_every_documented_finding_exists() -> None:
    assert [code for code in sorted(DOCUMENTED) if not any(fnmatchcase(code, one) for one in emitted())] == []


def test_every_section_has_a_severity_a_reason_and_a_remedy() -> None:
    for codes, text in read_sections():
        lines = text.splitlines()
        assert lines[0].startswith(("error", "warning")), codes
        for begin in ("Why: ", "Do: ", "Fix: "):
            assert sum(line.startswith(begin) for line in lines) == 1, f"{codes} has no line {begin}"
    assert len(DOCUMENTED) == sum(len(codes) for codes, _ in read_sections())


def test_a_section_ends_where_the_next_begins() -> None:
    for code in ("box.tiny", "image.turned", "mask.rle.sum", " `Box.Tiny` "):
        text = explain(code)
        assert "\n#" not in text
        assert text.count("Why: ") == 1


@pytest.mark.parametrize(
    ("code", "nearest"),
    [
        ("box.tiny_", "box.tiny"),
        ("image.similiar", "image.similar"),
        ("iscrowd", "coco.iscrowd.type"),
        ("tiny", "box.tiny"),
    ],
)
def test_an_unknown_code_names_similar_codes(code: str, nearest: str) -> None:
    with pytest.raises(ArgumentError, match="there is no finding") as caught:
        explain(code)
    assert nearest in caught.value.hint


def test_a_word_without_similar_codes_lists_some() -> None:
    with pytest.raises(ArgumentError) as caught:
        explain("qqq")
    assert re.fullmatch(r"there are area\.wrong, .* and \d+ more", caught.value.hint)


FOLDERS = {
    "Blood": "bccd",
    "Food": "ecustfd",
    "Debris": "foda",
    "Microcontroller": "microcontrollers",
    "Fruits": "fruits_nuts",
    "Raccoons": "raccoon",
}
EXAMPLES = re.split(r"^### ", bundled_text(FINDINGS_PAGE).split("## A worked example")[1], flags=re.MULTILINE)[1:]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.split()[0])
def test_the_worked_example_matches_a_check(shared: Path, example: str) -> None:
    folder = shared / "data" / FOLDERS[example.split()[0].strip(":")]
    own, *others = example.split("    vocdet check ")
    assert len(others) == ("FOD-A" in example)
    for text, lists in ((own, []), *((other, [folder / "original_ImageSets_full"]) for other in others)):
        report = check_dataset(Source(folder), lists=lists)
        assert f"`checked: {len(report.errors)} errors, {len(report.warnings)} warnings`" in text
        said = {code: int(count) for code, count in re.findall(r"^- `([a-z_.]+)` ×(\d+)", text, re.MULTILINE)}
        assert said == Counter(finding.code for finding in report.findings)
        if not lists:
            sizes = len(report.dataset), len(report.dataset.objects), len(report.dataset.labels)
            heading = re.findall(r"(\d+) (?:image|frame|object|label)", text.splitlines()[0])
            assert list(map(int, heading)) == [*sizes]
