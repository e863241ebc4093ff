from __future__ import annotations

import json

from vocdet.data.texts import Texts
from vocdet.formats.shared.extras import merged, relabeled


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def test_the_extra_of_a_label_follows_its_name() -> None:
    extra = as_json(
        {"info": {"year": 2024}, "categories": {"cat": {"supercategory": "pet"}, "dog": {"n": 1}, "emu": {}}}
    )
    found = json.loads(relabeled(extra, {"cat": "kitty", "dog": ""}))
    assert found == {"info": {"year": 2024}, "categories": {"kitty": {"supercategory": "pet"}, "emu": {}}}


def test_of_labels_that_become_one_the_first_has_its_say() -> None:
    extra = as_json({"categories": {"cat": {"n": 1}, "dog": {"n": 2}}})
    assert json.loads(relabeled(extra, {"dog": "pet", "cat": "pet"})) == {"categories": {"pet": {"n": 1}}}


def test_an_extra_without_labels_is_unchanged() -> None:
    for extra in (b"", b'{"info":  {}}'):
        assert relabeled(extra, {"cat": "dog"}) == extra


def test_extras_of_several_datasets_are_joined_key_by_key() -> None:
    one = as_json({"info": 1, "type": "instances", "categories": {"cat": {"n": 1}}})
    other = as_json({"type": "instances", "more": [2], "categories": {"dog": {"n": 2}}})
    whole, _, differ = merged([one, b"", other], [Texts.empty(0)] * 3)
    assert json.loads(whole) == {
        "info": 1, "type": "instances", "more": [2], "categories": {"cat": {"n": 1}, "dog": {"n": 2}},
    }  # fmt: skip
    assert differ == ()


def test_the_first_of_different_values_wins_and_is_reported() -> None:
    one, other = as_json({"info": 1, "categories": {"cat": 1}}), as_json({"info": 2, "categories": {"cat": 2}})
    whole, _, differ = merged([one, other], [Texts.empty(0)] * 2)
    assert (json.loads(whole), differ) == ({"info": 1, "categories": {"cat": 1}}, ("info", "category cat"))


def test_numbers_of_voc_files_stay_1_based_only_where_all_are() -> None:
    one = as_json({"voc": {"coordinates": "one"}})
    assert merged([one, one], [Texts.empty(0)] * 2)[0] == b'{"voc":{"coordinates": "one"}}'
    assert merged([one, b""], [Texts.empty(0)] * 2)[0] == b""


def test_licenses_sharing_an_id_get_new_ids_in_the_images_too() -> None:
    one = as_json({"licenses": [{"id": 1, "name": "A"}, {"id": 2, "name": "B"}]})
    other = as_json({"licenses": [{"id": 1, "name": "B"}, {"id": 2, "name": "C"}]})
    images = [Texts.of([b'{"license":1}']), Texts.of([b'{"license":1,"x":0}', b"", b'{"license":2}'])]
    whole, moved, differ = merged([one, other], images)
    assert json.loads(whole)["licenses"] == [{"id": 1, "name": "A"}, {"id": 2, "name": "B"}, {"id": 3, "name": "C"}]
    assert [moved[0][0], *(moved[1][row] for row in range(3))] == [
        b'{"license":1}', b'{"license":2,"x":0}', b"", b'{"license":3}',
    ]  # fmt: skip
    assert differ == ()


def test_licenses_without_an_id_are_kept_once() -> None:
    extra = as_json({"licenses": ["free", {"name": "A"}]})
    assert json.loads(merged([extra, extra], [Texts.empty(0)] * 2)[0]) == {"licenses": ["free", {"name": "A"}]}
