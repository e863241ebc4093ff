from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import examples
from vocdet.data.findings import Finding, Notes
from vocdet.errors import AnnotationError, VocdetError
from vocdet.formats.coco import parse
from vocdet.formats.coco.parse import read_entries
from vocdet.formats.coco.types import CocoEntries

PLAIN: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "a.jpg", "width": 100, "height": 80},
        {"id": 9, "file_name": "b: 2.jpg", "width": 50, "height": 40},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 20.5, 40, 40], "area": 1600, "iscrowd": 0},
        {"id": 2, "image_id": 9, "category_id": 5, "bbox": [1, 2, 3, 4], "iscrowd": 1,
         "segmentation": {"size": [40, 50], "counts": "0:0:0"}},
        {"id": 3, "image_id": 9, "category_id": 5, "bbox": [0, 0, 3, 4], "pose": "Left: half", "difficult": 1,
         "truncated": 1, "occluded": 0, "box": [0, 0, 3, 4], "segmentation": [[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]]},
    ],
    "categories": [{"id": 3, "name": "dog"}, {"id": 5, "name": "cat"}],
}  # fmt: skip
KNOWN: dict[str, Any] = {
    "info": {"url": "http://example.org", "year": 2026},
    "licenses": [{"id": 1, "name": "CC: BY"}],
    "images": [{**PLAIN["images"][0], "license": 1, "flickr_url": "http://a/b", "voc": {"folder": "x"}}, PLAIN["images"][1]],
    "annotations": [
        {**PLAIN["annotations"][0], "score": 0.5, "keypoints": [1, 2, 2], "num_keypoints": 1},
        {**PLAIN["annotations"][1], "attributes": {"color": "red: dark", "n": {"deep": [1]}}},
        PLAIN["annotations"][2],
    ],
    "categories": [{**PLAIN["categories"][0], "supercategory": "animal", "skeleton": [[1, 2]]}, PLAIN["categories"][1]],
}  # fmt: skip
UNKNOWN: dict[str, Any] = {
    **KNOWN,
    "my:key": [{"a": {"b": 1}}],
    "images": [KNOWN["images"][0], {**KNOWN["images"][1], "camera": {"make": "x"}}],
    "annotations": [{**KNOWN["annotations"][0], "track: id": 5}, *KNOWN["annotations"][1:]],
    "categories": [KNOWN["categories"][0], {**KNOWN["categories"][1], "color": [1, 2, 3]}],
}


def read(tmp_path: Path, content: object) -> tuple[CocoEntries, list[Finding]]:
    path = tmp_path / "a.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    notes = Notes()
    return read_entries(path, notes), notes.findings


def said(entries: CocoEntries) -> dict[str, Any]:
    """What was read, as a COCO file would say it."""
    found: dict[str, Any] = {key: json.loads(bytes(raw)) for key, raw in entries.extra.items()}
    for name, extras in (("images", entries.image_extras), ("annotations", entries.annotation_extras)):
        found[name] = [fields(one) | json.loads(extras.get(i, b"{}")) for i, one in enumerate(getattr(entries, name))]
    found["categories"] = [
        fields(one) | {key: json.loads(bytes(raw)) for key, raw in entries.category_extras.get(i, {}).items()}
        for i, one in enumerate(entries.categories)
    ]
    return found


def fields(one: Any) -> dict[str, Any]:
    kept = ("license", "flickr_url", "coco_url", "date_captured", "voc", "exif", "attributes", "parts", "keypoints",
            "num_keypoints", "score", "supercategory", "skeleton")  # fmt: skip
    values = {name: getattr(one, name) for name in one.__struct_fields__ if name not in kept}
    if "segmentation" in values:
        raw = bytes(values["segmentation"])
        values["segmentation"] = json.loads(raw) if raw else None
    return {name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items() if value is not None}  # fmt: skip


@pytest.mark.parametrize("content", [PLAIN, KNOWN, UNKNOWN], ids=["plain", "known", "unknown"])
@pytest.mark.parametrize("odd", [False, True], ids=["sound", "odd"])
def test_all_that_a_file_says_is_read(tmp_path: Path, content: dict[str, Any], odd: bool) -> None:
    expected = copy.deepcopy(content)
    if odd:  # an entry that cannot be used, so that all others are looked at one by one
        content = {**content, "annotations": [{"id": 5}, *content["annotations"]]}
    entries, findings = read(tmp_path, content)
    assert said(entries) == expected
    assert {finding.place.inside.split(".")[0] for finding in findings} == ({"annotations[0]"} if odd else set())


def test_a_sound_file_is_read_in_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("a closer look")

    monkeypatch.setattr(parse, "salvage", refused)
    read(tmp_path, UNKNOWN)
    monkeypatch.setattr(parse, "_parse_open", refused)
    for content in (PLAIN, KNOWN):
        read(tmp_path, content)
        read(tmp_path, json.dumps(content, indent=1).encode())


def test_an_image_may_have_its_own_segmentation(tmp_path: Path) -> None:
    content = {**PLAIN, "images": [{"id": 1, "file_name": "a.jpg", "segmentation": {"0": {}}}]}
    entries, findings = read(tmp_path, content)
    assert entries.image_extras == {0: b'{"segmentation":{"0": {}}}'}  # as it stands there
    assert findings == []


def test_keys_are_kept_in_one_order(tmp_path: Path) -> None:
    turned = {name: [dict(reversed(one.items())) for one in content] if name in PLAIN else content
              for name, content in reversed(UNKNOWN.items())}  # fmt: skip
    bad = {**turned, "annotations": [*turned["annotations"], 5]}
    orders = []
    for content in (UNKNOWN, turned, bad):
        entries, _ = read(tmp_path, json.dumps(content, separators=(",", ":")).encode())
        orders.append((entries.image_extras, entries.annotation_extras))
    assert orders[0] == orders[1] == orders[2]
    only_known, _ = read(tmp_path, KNOWN)
    assert only_known.annotation_extras[0] == b'{"keypoints":[1, 2, 2],"num_keypoints":1,"score":0.5}'


def test_an_empty_info_says_nothing(tmp_path: Path) -> None:
    for content in (PLAIN, UNKNOWN, {**PLAIN, "annotations": [5]}):
        entries, _ = read(tmp_path, {**content, "info": {}})
        assert "info" not in entries.extra


def odd_json(value: object, rng: random.Random, twice: list[tuple[str, object]]) -> str:
    """A value as JSON with odd spaces and escapes; an object that is in `twice` has that key once more."""
    space = rng.choice(["", "", " ", "\n\t "])
    if isinstance(value, dict):
        pairs = [(key, inner) for key, inner in value.items()]
        for key, owner in twice:
            if owner is value:
                pairs.insert(rng.randrange(len(pairs) + 1), (key, value[key]))
        written = (f"{odd_text(key, rng)}{space}:{space}{odd_json(inner, rng, twice)}" for key, inner in pairs)
        return "{" + f"{space},{space}".join(written) + "}"
    if isinstance(value, list):
        return "[" + f"{space},".join(odd_json(inner, rng, twice) for inner in value) + "]"
    return odd_text(value, rng) if isinstance(value, str) else json.dumps(value)


def odd_text(text: str, rng: random.Random) -> str:
    if rng.random() < 0.1 and text:
        i = rng.randrange(len(text))
        return json.dumps(text[:i])[:-1] + f"\\u{ord(text[i]):04x}" + json.dumps(text[i + 1 :])[1:]
    return json.dumps(text, ensure_ascii=rng.random() < 0.5)


def objects_in(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects_in(inner)


@settings(max_examples=examples(200), deadline=None)
@given(st.sampled_from([PLAIN, KNOWN, UNKNOWN]), st.randoms(use_true_random=False), st.integers(0, 2))
def test_a_repeated_key_is_found_at_any_depth(
    module_tmp_path: Path, content: dict[str, Any], rng: random.Random, count: int
) -> None:
    content = copy.deepcopy(content)
    content["annotations"][2]["pose"] = rng.choice(['":"', "{", "a\\u003ab", '","id":5,"'])
    content["annotations"][0]["area"] = rng.choice([1, 1.5e-7, 12345678901])
    places = [(key, one) for one in objects_in(content) for key in one]
    twice: list[tuple[str, object]] = [rng.choice(places) for _ in range(count)]
    entries, findings = read(module_tmp_path, odd_json(content, rng, twice).encode())
    found = [finding for finding in findings if finding.code == "json.duplicate_key"]
    assert len(found) == len({key for key, _ in twice})
    assert said(entries) == content  # both values are the same here


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ('"id": 7', '"id" : 8, "id": 7', "images[0]"),
        ('"bbox": [1,', '"bbox": [5, 5, 5, 5], "bbox": [1,', "annotations[1]"),
        ('"counts"', '"counts" : [2000], "counts"', "annotations[1].segmentation"),
        ('"color"', '"color": "blue", "color"', "annotations[1].attributes"),
        ('"deep"', '"deep": 1, "deep"', "annotations[1].attributes.n"),
        ('"name": "dog"', '"n\\u0061me": "d:g", "name": "dog"', "categories[0]"),
        ('"year"', '"year": 1, "year"', "info"),
        ('"images"', '"images": [], "images"', ""),
        ('"name": "CC', '"name": "", "name": "CC', "licenses[0]"),
        # As many colons as keys, and one key twice: texts with an escaped colon, or with what looks like a key.
        ('"id": 7, "file_name": "a.jpg"', '"id": 7, "id": 7, "file_name": "a\\u003a.jpg"', "images[0]"),
        ('"name": "dog"', '"name" : "d", "name": "d\\":og"', "categories[0]"),
    ],
)
def test_the_place_of_a_repeated_key_is_reported(tmp_path: Path, old: str, new: str, place: str) -> None:
    text = json.dumps(KNOWN)
    assert text.count(old) >= 1
    _, findings = read(tmp_path, text.replace(old, new, 1).encode())
    (finding,) = findings
    assert (finding.code, finding.severity, finding.place.inside) == ("json.duplicate_key", "error", place)
    assert finding.place.path == tmp_path / "a.json"
    assert finding.problem.endswith("is duplicate")


def test_a_key_repeated_in_many_objects_is_one_finding(tmp_path: Path) -> None:
    text = json.dumps(PLAIN).replace('"iscrowd"', '"iscrowd": 0, "iscrowd"')
    _, (finding,) = read(tmp_path, text.encode())
    assert finding.problem == "the key 'iscrowd' is duplicate, and in 1 more object"


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        (b"", 1, "is empty"),
        (b" \n\n", 3, "is empty"),
        (b"\xef\xbb\xbf", 1, "is empty"),
        (b'{"images": [\n{"id": 1,', 2, "is not JSON: expecting property name enclosed in double quotes"),
        (b'{"images": []} x', 1, "is not JSON: extra data, at character 16 of the line"),
        (b"[]", 0, "is not a COCO file: it holds no JSON object"),
        (b'"images"', 0, "is not a COCO file: it holds no JSON object"),
        (b"null", 0, "is not a COCO file: it holds no JSON object"),
        (b'{"shapes": []}', 0, "is not a COCO file: it has no images and no annotations"),
        (b"[" * 100_000, 0, "is not JSON: it is nested too deeply"),
        (b'{"images": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 0, "is not JSON: it is nested too deeply"),
        (b'{"images": [], "annotations": [], "categories": [],\n\n"info": "\xff"}', 1, "is not UTF-8 text"),
        (b'{"images": [{"id": 1, "file_name": "gr\xf6\xdfe.jpg"}]}', 1, "is not UTF-8 text"),
        (b"\xff\xfe{", 0, "is not UTF-8 text"),
        (b'{"images": [], "x": ' + b"9" * 5000 + b"}", 0, "is not JSON: "),
    ],
)
def test_a_file_that_is_not_coco_is_one_error(tmp_path: Path, content: bytes, line: int, problem: str) -> None:
    with pytest.raises(AnnotationError) as caught:
        read(tmp_path, content)
    assert caught.value.problem.startswith(problem)
    assert caught.value.place is not None
    assert caught.value.place.path == tmp_path / "a.json"
    assert caught.value.place.line == line
    assert caught.value.hint


def test_a_list_gets_the_hint_that_it_may_be_results(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="a list holds results"):
        read(tmp_path, [{"image_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}])


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"a\.json: cannot be read: is a directory"):
        (tmp_path / "a.json").mkdir()
        read_entries(tmp_path / "a.json", Notes())


def test_a_file_of_absurd_size_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(parse.LARGEST_FILE + 1)
    with pytest.raises(AnnotationError, match="is larger than 4 GB"):
        read_entries(tmp_path / "a.json", Notes())


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_read_as_json_readers_tell_them_apart(tmp_path: Path, encoding: str) -> None:
    content = copy.deepcopy(PLAIN)
    content["categories"][0]["name"] = "größe 犬"
    entries, findings = read(tmp_path, json.dumps(content, ensure_ascii=False).encode(encoding))
    assert (said(entries), findings) == (content, [])


def test_the_line_of_invalid_utf_8_is_reported(tmp_path: Path) -> None:
    data = b'{"images": [\n' + b"\n" * 3_000_000 + b'{"file_name": "\xe4"}]}'
    with pytest.raises(AnnotationError) as caught:
        read(tmp_path, data)
    assert caught.value.place is not None
    assert 2_000_000 <= caught.value.place.line <= 3_000_002  # that of a million bytes around it


# What is wrong at one place of an otherwise sound file: the list and key it stands at, its value, and what is found.
WRONG: list[tuple[str, object, str, str, str]] = [
    # ids
    ("images[0].id", None, "error", "coco.id", "is null, not a whole number"),
    ("images[0].id", True, "error", "coco.id", "is True, not a whole number"),
    ("images[0].id", 1.5, "error", "coco.id", "is 1.5, not a whole number"),
    ("images[0].id", [], "error", "coco.id", "is [], not a whole number"),
    ("images[0].id", {}, "error", "coco.id", "is an object, not a whole number"),
    ("images[0].id", "seven", "warning", "coco.id.type", "is 'seven', a text"),
    ("images[0].id", 2**70, "warning", "coco.id.type", "is 1180591620717411303424, which readers of JSON round"),
    ("images[0].id", 2**53, "warning", "coco.id.type", "is 9007199254740992, which readers of JSON round"),
    ("annotations[1].image_id", None, "error", "coco.id", "is null, not a whole number"),
    ("annotations[1].category_id", float("nan"), "error", "coco.id", "is nan, not a whole number"),
    ("annotations[1].category_id", float("inf"), "error", "coco.id", "is inf, not a whole number"),
    ("annotations[1].id", None, "warning", "coco.id.type", "is null, not a whole number: ignored"),
    ("annotations[1].id", "2", "warning", "coco.id.type", "is '2', a text: ignored"),
    ("annotations[1].id", 2**70, "warning", "coco.id.type", "is 1180591620717411303424, which readers of JSON round: ignored"),
    ("categories[1].id", "cat", "warning", "coco.id.type", "is 'cat', a text"),
    # names
    ("images[0].file_name", None, "error", "coco.image.file_name", "is null, not a name"),
    ("images[0].file_name", 5, "error", "coco.image.file_name", "is 5, not a name"),
    ("categories[1].name", None, "error", "coco.category.name", "is null, not a name"),
    ("categories[1].name", ["cat"], "error", "coco.category.name", "is ['cat'], not a name"),
    ("categories[1].name", "\ud800", "error", "coco.category.name", "is '\\ud800', not a name"),
    # sizes
    ("images[1].width", "50", "warning", "coco.width", "is '50': ignored"),
    ("images[1].width", 50.5, "warning", "coco.width", "is 50.5: ignored"),
    ("images[1].height", float("inf"), "warning", "coco.height", "is inf: ignored"),
    ("images[1].height", True, "warning", "coco.height", "is True: ignored"),
    ("images[1].height", 2**31, "warning", "coco.height", "is 2147483648: ignored"),
    ("images[1].height", 10**400, "warning", "coco.height", f"is 1{'0' * 59}…: ignored"),
    # boxes
    ("annotations[1].bbox", None, "error", "coco.bbox.type", "is null, not four numbers"),
    ("annotations[1].bbox", [], "error", "coco.bbox.type", "is [], not four numbers"),
    ("annotations[1].bbox", [1, 2, 3], "error", "coco.bbox.type", "is [1, 2, 3], not four numbers"),
    ("annotations[1].bbox", [1, 2, "3", 4], "warning", "coco.bbox.text", "is [1, 2, '3', 4], texts: read as numbers"),
    ("annotations[1].bbox", [1, 2, None, 4], "error", "coco.bbox.type", "is [1, 2, None, 4], not four numbers"),
    ("annotations[1].bbox", [1, 2, True, 4], "error", "coco.bbox.type", "is [1, 2, True, 4], not four numbers"),
    ("annotations[1].bbox", [1, 2, float("nan"), 4], "error", "coco.bbox.type", "is [1, 2, nan, 4], not four numbers"),
    ("annotations[1].bbox", [1, 2, 10**400, 4], "error", "coco.bbox.type", f"is [1, 2, 1{'0' * 52}…, not four numbers"),
    ("annotations[1].bbox", {"x": 1}, "error", "coco.bbox.type", "is an object, not four numbers"),
    ("annotations[1].bbox", [[1, 2], [3, 4]], "error", "coco.bbox.type", "is a list of 2, not four numbers"),
    # numbers and flags
    ("annotations[1].area", "12", "warning", "coco.area", "is '12': ignored"),
    ("annotations[1].area", float("nan"), "warning", "coco.area", "is nan: ignored"),
    ("annotations[1].area", 10**400, "warning", "coco.area", f"is 1{'0' * 59}…: ignored"),
    ("annotations[1].iscrowd", "0", "warning", "coco.iscrowd.type", "is '0', not 0 or 1: taken as 0"),
    ("annotations[1].iscrowd", True, "warning", "coco.iscrowd.type", "is True, not 0 or 1: taken as 1"),
    ("annotations[1].iscrowd", 1.0, "warning", "coco.iscrowd.type", "is 1.0, not 0 or 1: taken as 1"),
    ("annotations[1].iscrowd", 2, "error", "coco.iscrowd.type", "is 2, not 0 or 1: taken as 1"),
    ("annotations[1].iscrowd", "yes", "error", "coco.iscrowd.type", "is 'yes', not 0 or 1: taken as 0"),
    ("annotations[1].iscrowd", [1], "error", "coco.iscrowd.type", "is [1], not 0 or 1: taken as 0"),
    ("annotations[1].difficult", 0.5, "error", "coco.difficult.type", "is 0.5, not 0 or 1: taken as 1"),
    ("annotations[1].occluded", {}, "error", "coco.occluded.type", "is an object, not 0 or 1: taken as 0"),
    # vocdet's own keys, where somebody else's are called the same
    ("annotations[1].box", "x", "warning", "coco.box", "is 'x', not the corners of bbox: ignored"),
    ("annotations[1].pose", [1, 2], "warning", "coco.pose", "is [1, 2], not a text: ignored"),
    ("annotations[1].pose", "\ud800", "warning", "coco.pose", "is '\\ud800', not a text: ignored"),
    # what only is kept
    ("annotations[1].score", float("nan"), "warning", "coco.value", "is nan, which JSON cannot represent"),
    ("annotations[1].zz", {"\ud800": 1}, "warning", "coco.value", "is an object, which JSON cannot represent"),
    ("images[0].license", float("-inf"), "warning", "coco.value", "is -inf, which JSON cannot represent"),
    ("info", {"a": float("inf")}, "warning", "coco.value", "is an object, which JSON cannot represent"),
    # lists
    ("images", None, "error", "coco.type", "is null, not a list"),
    ("annotations", {}, "error", "coco.type", "is an object, not a list"),
    ("categories", "x", "error", "coco.type", "is 'x', not a list"),
    ("annotations[1]", None, "error", "coco.type", "is null, not an object"),
    ("annotations[1]", [], "error", "coco.type", "is [], not an object"),
    ("images[0]", 5, "error", "coco.type", "is 5, not an object"),
    ("categories[1]", "cat", "error", "coco.type", "is 'cat', not an object"),
]  # fmt: skip
LEFT_OUT = {"coco.id", "coco.bbox.type", "coco.image.file_name", "coco.category.name", "coco.type"}


def put(content: dict[str, Any], place: str, value: object) -> None:
    """Set a value at a place such as annotations[1].bbox."""
    name, _, rest = place.partition("[")
    index, _, key = rest.partition("]")
    if not rest:
        content[name] = value
    elif not key:
        content[name][int(index)] = value
    else:
        content[name][int(index)][key[1:]] = value


@pytest.mark.parametrize(("place", "value", "severity", "code", "problem"), WRONG, ids=lambda value: str(value)[:30])
def test_problems_are_reported_with_place_and_value(
    tmp_path: Path, place: str, value: object, severity: str, code: str, problem: str
) -> None:
    content = copy.deepcopy(KNOWN)
    put(content, place, value)
    entries, (finding,) = read(tmp_path, content)
    assert (finding.place.inside, finding.severity, finding.code, finding.problem) == (place, severity, code, problem)
    assert finding.place.path == tmp_path / "a.json"
    expected = copy.deepcopy(KNOWN)
    name, _, index = place.partition("]")[0].partition("[")
    if code in LEFT_OUT and index:
        del expected[name][int(index)]
    for one in ("images", "annotations", "categories"):
        if not (code in LEFT_OUT and name == one and not index):
            assert len(getattr(entries, one)) == len(expected[one])
            assert len(said(entries)[one]) == len(expected[one])


@pytest.mark.parametrize("place", ["images[0].id", "images[0].file_name", "annotations[0].bbox", "categories[0].name",
                                   "annotations[0].image_id", "images", "annotations", "categories"])  # fmt: skip
def test_missing_keys_are_reported(tmp_path: Path, place: str) -> None:
    content = copy.deepcopy(KNOWN)
    name, _, key = place.partition("[0].")
    del (content[name][0] if key else content)[key or name]
    _, (finding,) = read(tmp_path, content)
    assert (finding.place.inside, finding.severity, finding.problem) == (place, "error", "is missing")


def test_one_bad_entry_among_many_good_ones_is_left_out_alone(tmp_path: Path) -> None:
    content = copy.deepcopy(PLAIN)
    good = content["annotations"][0]
    content["annotations"] = [{**good, "id": i, "note": "x"} for i in range(1000)]
    content["annotations"][612]["bbox"] = [1, 2, 3, "four"]
    content["annotations"][613]["image_id"] = "seven"
    entries, findings = read(tmp_path, content)
    assert [finding.place.inside for finding in findings] == ["annotations[612].bbox", "annotations[613].image_id"]
    assert [one.id for one in entries.annotations] == [i for i in range(1000) if i != 612]
    assert entries.places["annotations"] == [i for i in range(1000) if i != 612]
    assert entries.annotation_extras == dict.fromkeys(range(999), b'{"note":"x"}')


def test_whole_numbers_may_be_written_as_decimals(tmp_path: Path) -> None:
    content = json.loads(json.dumps(PLAIN), parse_int=float)
    entries, findings = read(tmp_path, content)
    assert [one.code for one in findings if not one.code.endswith(".type")] == []
    assert [(one.id, one.width) for one in entries.images] == [(7, 100), (9, 50)]
    assert [one.image_id for one in entries.annotations] == [7, 9, 9]


def test_names_stand_for_ids_wherever_they_are_the_same(tmp_path: Path) -> None:
    content = copy.deepcopy(PLAIN)
    for name in ("images", "categories"):
        for one in content[name]:
            one["id"] = f"{one['id']}"
    for one in content["annotations"]:
        one |= {"image_id": f"{one['image_id']}", "category_id": f"{one['category_id']}"}
    entries, findings = read(tmp_path, content)
    assert {finding.severity for finding in findings} == {"warning"}
    images, categories = ([one.id for one in listed] for listed in (entries.images, entries.categories))
    assert [images.index(one.image_id) for one in entries.annotations] == [0, 1, 1]
    assert [categories.index(one.category_id) for one in entries.annotations] == [0, 1, 1]
    assert set(images).isdisjoint(categories)


def test_invalid_json_numbers_are_repaired_in_place(tmp_path: Path) -> None:
    content = copy.deepcopy(PLAIN)
    content["annotations"][0]["attributes"] = {"a": [1, float("nan")], "b\ud800": "x\udc00y", "c": 10**30}
    entries, (finding,) = read(tmp_path, content)
    assert finding.place.inside == "annotations[0].attributes"
    attributes = json.loads(entries.annotation_extras[0])["attributes"]
    assert attributes == {"a": [1, None], "b\ufffd": "x\ufffdy", "c": 10**30}


def test_a_number_too_large_for_any_program_is_found_in_what_is_kept(tmp_path: Path) -> None:
    for number in ("1e400", "-1E+999", "9" * 400 + ".5"):
        text = json.dumps(KNOWN).replace('"score": 0.5', f'"score": {number}')
        entries, (finding,) = read(tmp_path, text.encode())
        assert (finding.code, finding.place.inside) == ("coco.value", "annotations[0].score")
        assert json.loads(entries.annotation_extras[0])["score"] is None


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from([2**63, 10**400]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
keys = st.sampled_from(["id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation", "file_name", "width",
                        "height", "name", "pose", "box", "voc", "attributes", "x"])  # fmt: skip
entry = st.dictionaries(keys, anything | st.integers(0, 9) | st.lists(st.integers(0, 9), min_size=4, max_size=4))
whole = st.fixed_dictionaries({}, optional={
    name: st.lists(entry | anything, max_size=4) | anything for name in ("images", "annotations", "categories", "info")
})  # fmt: skip


@settings(max_examples=examples(150), deadline=None)
@given(whole)
def test_any_json_is_read_or_refused(module_tmp_path: Path, content: dict[str, Any]) -> None:
    path = module_tmp_path / "a.json"
    path.write_text(json.dumps(content))
    notes = Notes()
    try:
        entries = read_entries(path, notes)
    except VocdetError as error:
        assert str(error).startswith(str(path))
        return
    wrong = [finding for finding in notes.findings if finding.severity == "error"]
    for name in ("images", "annotations", "categories"):
        listed = content.get(name)
        kept = len(getattr(entries, name))
        assert kept == (len(listed) if isinstance(listed, list) else 0) or wrong
    said(entries)
    for finding in notes.findings:
        str(finding.as_error()).encode()


@settings(max_examples=examples(200), deadline=None)
@given(st.binary(max_size=80), st.integers(0, 10**6), st.sampled_from([json.dumps(KNOWN), json.dumps(UNKNOWN)]))
def test_any_bytes_are_read_or_refused(module_tmp_path: Path, data: bytes, cut: int, text: str) -> None:
    path = module_tmp_path / "a.json"
    place = cut % len(text)
    for content in (data, text[:place].encode() + data + text[place + len(data) // 2 :].encode()):
        path.write_bytes(content)
        notes = Notes()
        try:
            said(read_entries(path, notes))
        except VocdetError as error:
            assert str(error).startswith(str(path))
        for finding in notes.findings:
            str(finding.as_error()).encode()
