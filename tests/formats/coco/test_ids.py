from __future__ import annotations

from pathlib import Path

import pytest

from tests.formats.coco.test_read import ANNOTATION, CAT, DOG, IMAGE, OTHER, changed, coco_set, codes, objects
from vocdet.formats.coco.read import scan
from vocdet.formats.scan import Source

CATEGORIES = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]


def numbered(image: object, image_id: object, category: object = 1, category_id: object = 1) -> dict[str, object]:
    """The plain content with another id of the first image and category, and other references to them."""
    first = {**ANNOTATION, "image_id": image_id, "category_id": category_id}
    second = {**ANNOTATION, "id": 2, "image_id": 2, "category_id": 2, "bbox": [1, 2, 3, 4]}
    return changed(
        images=[{**IMAGE, "id": image}, OTHER],
        annotations=[first, second],
        categories=[{"id": category, "name": "dog"}, CATEGORIES[1]],
    )


@pytest.mark.parametrize(
    ("defined", "reference"),
    [
        (7, "7"),
        ("7", 7),
        ("7", "7"),
        ("007", 7),
        (7, "007"),
        ("7.0", 7),
        (7.0, 7),
        (7, 7.0),
        (0, "0"),
        ("seven", "seven"),
        ("cd1f-uuid", "cd1f-uuid"),
        (2**53 + 1, 2**53 + 1),
        (2**53 + 1, str(2**53 + 1)),
    ],
)
def test_an_id_may_be_a_number_or_a_text(tmp_path: Path, defined: object, reference: object) -> None:
    for name, content in (
        ("image", numbered(defined, reference)),
        ("category", numbered(1, 1, defined, reference)),
    ):
        found = scan(Source(coco_set(tmp_path / name, content)))
        assert objects(found) == [DOG, CAT]
        assert {(severity, code) for severity, code, _ in codes(found)} <= {("warning", "coco.id.type")}


def test_a_text_and_a_number_are_two_ids_where_both_are_defined(tmp_path: Path) -> None:
    content = changed(images=[{**IMAGE, "id": "1"}, {**OTHER, "id": 1}])
    content["annotations"][0]["image_id"] = "1"
    content["annotations"][1]["image_id"] = 1
    assert objects(scan(Source(coco_set(tmp_path, content)))) == [DOG, CAT]


def test_a_reference_that_fits_two_ids_is_refused_with_its_value(tmp_path: Path) -> None:
    content = changed(images=[{**IMAGE, "id": "07"}, {**OTHER, "id": "7"}])
    for one in content["annotations"]:
        one["image_id"] = "007"
    found = scan(Source(coco_set(tmp_path, content)))
    problems = [finding.problem for finding in found.findings if finding.severity == "error"]
    assert problems == ["its image_id is '007', which no image has"] * 2


def test_a_file_name_or_a_label_is_accepted_as_an_id(tmp_path: Path) -> None:
    found = scan(Source(coco_set(tmp_path, numbered(5, "a.jpg", 3, "dog"))))
    assert objects(found) == [DOG, CAT]
    assert [finding.problem for finding in found.findings] == [
        "is 'a.jpg', read as the name of the entry with the id 5",
        "is 'dog', read as the name of the entry with the id 3",
    ]


@pytest.mark.parametrize("reference", ["12", 12, "twelve", 2**60])
def test_an_unknown_id_is_quoted_from_the_file(tmp_path: Path, reference: object) -> None:
    for key, what in (("image_id", "image"), ("category_id", "category")):
        content = changed()
        content["annotations"][0][key] = reference
        found = scan(Source(coco_set(tmp_path / what, content)))
        (error,) = (finding for finding in found.findings if finding.severity == "error")
        assert error.problem == f"its {key} is {reference!r}, which no {what} has"
        assert objects(found) == [CAT]


def test_the_value_of_an_id_used_twice_is_that_of_the_file(tmp_path: Path) -> None:
    content = changed(images=[{**IMAGE, "id": "x"}, {**OTHER, "id": "x"}], annotations=[])
    content["categories"] = [{"id": 2**53, "name": "dog"}, {"id": 2**53, "name": "cat"}]
    problems = "\n".join(finding.problem for finding in scan(Source(coco_set(tmp_path, content))).findings)
    assert "the id 'x' is used twice" in problems
    assert f"the id {2**53} is used twice" in problems


def test_every_combination_that_via_and_others_write_is_read(shared: Path) -> None:
    cases = shared / "cases" / "via-coco-export"
    if not cases.is_dir():
        pytest.skip("the cases are not there")
    for folder in sorted((cases / "var").iterdir()):
        found = scan(Source(folder))
        assert (len(found.dataset), len(found.dataset.objects)) == (2, 2), folder.name
        assert not any(finding.severity == "error" for finding in found.findings), folder.name
    for name in ("a-flat-seg-string-image-id", "d-category-string", "g-bbox-empty-seg", "h-bbox-missing-seg",
                 "int-n-bbox-strings", "int-o-bbox-null"):  # fmt: skip
        found = scan(Source(cases / "in" / name))
        assert found.dataset.objects.box[0].tolist() == [20, 30, 100, 90], name
        assert not any(finding.severity == "error" for finding in found.findings), name
    for folder in cases.glob("*/*"):
        assert not any("9007199254740992" in str(finding.as_error()) for finding in scan(Source(folder)).findings)


def test_one_finding_counts_all_unusual_ids_of_a_key(tmp_path: Path) -> None:
    content = changed()
    content["annotations"] = [{**ANNOTATION, "id": i, "image_id": "1"} for i in range(5)]
    (finding,) = scan(Source(coco_set(tmp_path, content))).findings
    assert (finding.code, finding.count, finding.place.inside) == ("coco.id.type", 5, "annotations[0].image_id")
    assert finding.problem == "is '1', read as the id 1"
