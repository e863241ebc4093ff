"""CVAT's own XML; expected boxes and masks are computed by hand, or by the rule that CVAT documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import save_image
from vocdet import masks
from vocdet.data.findings import Finding
from vocdet.formats import registry
from vocdet.formats.cvat import read as cvat
from vocdet.formats.scan import Scan, Source

SIZE = (100, 80)
BOX = '<box label="cup" occluded="0" xtl="10.00" ytl="20.00" xbr="50.50" ybr="60.00" z_order="0"></box>'


def label_xml(*labels: str) -> str:
    return "".join(f"<label><name>{label}</name><attributes></attributes></label>" for label in labels)


def export(*inner: str, labels: tuple[str, ...] = ("cup",), meta: str = "") -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
        f"<meta><task>{meta}<labels>{label_xml(*labels)}</labels></task></meta>\n{''.join(inner)}</annotations>"
    )


def image_xml(*shapes: str, name: str = "a.jpg", more: str = "") -> str:
    return f'<image id="0" name="{name}" {more} width="100" height="80">\n{"".join(shapes)}</image>\n'


def make(root: Path, text: str | bytes, *, images: tuple[str, ...] = ("images/a.jpg",)) -> Path:
    for name in images:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        save_image(root / name, SIZE, seed=len(name))
    (root / "annotations.xml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def one(root: Path, *shapes: str) -> Scan:
    """What is read where these are the shapes of one image."""
    return cvat.scan(Source(make(root, export(image_xml(*shapes)))))


def boxes(scan: Scan) -> list[list[float]]:
    return [list(map(float, box)) for box in scan.dataset.objects.box]


def extra(scan: Scan, row: int = 0) -> dict[str, Any]:
    text = scan.dataset.objects.extra[row]
    return dict(json.loads(text)) if text else {}


def only(scan: Scan) -> Finding:
    (finding,) = scan.findings
    return finding


def test_an_export_is_recognized_and_read(tmp_path: Path) -> None:
    found = one(tmp_path, BOX)
    assert boxes(found) == [[10, 20, 50.5, 60]]
    assert (found.findings, found.format) == ((), "cvat")
    assert found.kind == "a CVAT dataset, 1 image in annotations.xml"
    assert found.dataset.objects.line.tolist() == [6]
    assert registry.readings(tmp_path)[0].format == "cvat"


def test_labels_are_those_of_the_task_in_their_order(tmp_path: Path) -> None:
    text = export(image_xml(BOX), labels=("vase", "cup"))
    assert cvat.scan(Source(make(tmp_path, text))).dataset.labels == ("vase", "cup")


def test_points_of_a_skeleton_are_no_labels(tmp_path: Path) -> None:
    inner = "<label><name>nose</name><type>points</type><parent>person</parent></label>"
    text = export(image_xml(BOX)).replace("</labels>", f"{inner}</labels>")
    assert cvat.scan(Source(make(tmp_path, text))).dataset.labels == ("cup",)


def test_a_polygon_is_a_mask(tmp_path: Path) -> None:
    found = one(tmp_path, '<polygon label="cup" points="10.0,50.0;15.5,60.0;12.0,71.0"/>')
    assert boxes(found) == [[10, 50, 15.5, 71]]
    assert json.loads(found.dataset.objects.segmentation[0]) == [[10, 50, 15.5, 60, 12, 71]]


def test_a_mask_has_runs_in_row_order(tmp_path: Path) -> None:
    # Three columns, two rows: .X. above XX.
    found = one(tmp_path, '<mask label="cup" rle="1, 1, 1, 2, 1" left="10" top="20" width="3" height="2"/>')
    expected = np.zeros((80, 100), np.bool_)
    expected[20, 11] = expected[21, 10] = expected[21, 11] = True
    assert np.array_equal(masks.pixels(masks.parse(found.dataset.objects.segmentation[0]), 80, 100), expected)
    assert boxes(found) == [[10, 20, 12, 22]]
    assert found.dataset.objects.crowd.tolist() == [False]


def test_an_ellipse_is_a_polygon_close_to_it(tmp_path: Path) -> None:
    found = one(tmp_path, '<ellipse label="cup" cx="50" cy="40" rx="30" ry="20"/>')
    assert boxes(found) == [[20, 20, 80, 60]]
    ((points),) = json.loads(found.dataset.objects.segmentation[0])
    xs, ys = (np.array(points[::2]) - 50) / 30, (np.array(points[1::2]) - 40) / 20
    np.testing.assert_allclose(np.hypot(xs, ys), 1, atol=1e-6)


def test_a_rotated_box_is_the_upright_box_around_it(tmp_path: Path) -> None:
    found = one(tmp_path, '<box label="cup" xtl="40" ytl="30" xbr="60" ybr="50" rotation="45.00"/>')
    half = 10 * 2**0.5  # of the diagonal of a square of 20
    np.testing.assert_allclose(boxes(found), [[50 - half, 40 - half, 50 + half, 40 + half]], atol=1e-5)
    assert extra(found)["angle"] == 45
    np.testing.assert_allclose(
        extra(found)["corners"], [50, 40 - half, 50 + half, 40, 50, 40 + half, 50 - half, 40], atol=1e-5
    )
    assert only(found).code == "box.rotated"


def test_a_quarter_turn_is_clockwise(tmp_path: Path) -> None:
    found = one(tmp_path, '<box label="cup" xtl="40" ytl="30" xbr="60" ybr="40" rotation="90.0"/>')
    assert boxes(found) == [[45, 25, 55, 45]]
    assert extra(found)["corners"] == [55, 25, 55, 45, 45, 45, 45, 25]  # the first corner goes to the upper right


def test_flags_and_attributes_are_kept(tmp_path: Path) -> None:
    inner = '<attribute name="truncated">true</attribute><attribute name="color">red</attribute>'
    found = one(tmp_path, BOX.replace('occluded="0"', 'occluded="1" group_id="3"').replace("</box>", f"{inner}</box>"))
    objects = found.dataset.objects
    assert (objects.occluded.tolist(), objects.truncated.tolist()) == ([True], [True])
    assert extra(found) == {"attributes": {"color": "red"}, "group_id": 3}


@pytest.mark.parametrize("kind", ["points", "polyline", "cuboid", "skeleton"])
def test_shapes_without_area_are_left_out_with_a_finding(tmp_path: Path, kind: str) -> None:
    found = one(tmp_path, BOX, f'\n<{kind} label="cup" points="1,2;3,4"/>')
    assert len(found.dataset.objects) == 1
    finding = only(found)
    assert (finding.code, finding.severity, finding.place.line) == ("cvat.shape.no_area", "warning", 7)


def test_tags_are_kept_with_the_image(tmp_path: Path) -> None:
    found = one(tmp_path, BOX, '<tag label="night" source="manual"></tag>')
    assert json.loads(found.dataset.images.extra[0]) == {"tags": ["night"]}
    assert found.findings == ()


def test_an_image_without_shapes_has_no_objects(tmp_path: Path) -> None:
    found = one(tmp_path)
    assert (len(found.dataset), len(found.dataset.objects), found.findings) == (1, 0, ())


@pytest.mark.parametrize("folder", ["", "images/", "images/default/", "data/a/b/", "images/Train/"])
def test_images_are_found_in_any_depth(tmp_path: Path, folder: str) -> None:
    text = export(image_xml(BOX, more='subset="Train"'))
    found = cvat.scan(Source(make(tmp_path, text, images=(f"{folder}a.jpg",))))
    assert boxes(found) == [[10, 20, 50.5, 60]]
    assert list(found.dataset.splits) == ["train"]
    assert [one for one in found.findings if one.code != "image.renamed"] == []


def test_subsets_tell_images_of_one_name_apart(tmp_path: Path) -> None:
    second = BOX.replace('"10.00"', '"11.00"')
    text = export(image_xml(BOX, more='subset="Train"'), image_xml(second, more='subset="Validation"'))
    found = cvat.scan(Source(make(tmp_path, text, images=("images/Train/a.jpg", "images/Validation/a.jpg"))))
    assert found.dataset.images.files == ("images/Train/a.jpg", "images/Validation/a.jpg")
    assert {name: rows.tolist() for name, rows in found.dataset.splits.items()} == {"train": [0], "val": [1]}


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        ('<box label="cup" xtl="x" ytl="2" xbr="3" ybr="4"/>', "the box has xtl='x', not a number"),
        ('<box label="cup" xtl="nan" ytl="2" xbr="3" ybr="4"/>', "the box has xtl='nan', not a number"),
        ('<box label="cup" ytl="2" xbr="3" ybr="4"/>', "the box has no xtl"),
        ('<box label="cup" xtl="1e999" ytl="2" xbr="3" ybr="4"/>', "the box is far outside an image of 100×80"),
        ('<box label="cup" xtl="1" ytl="2" xbr="3" ybr="4" rotation="1e999"/>',
         "the box is far outside an image of 100×80"),
        ('<polygon label="cup" points="1,2;3,4"/>', "the polygon has 2 points, but needs three"),
        ('<polygon label="cup" points="1,2;3,4;5"/>', "the polygon has the point '5'"),
        ('<ellipse label="cup" cx="1" cy="2" rx="0" ry="3"/>', "the ellipse has no area"),
        ('<mask label="cup" rle="1,x" left="0" top="0" width="3" height="2"/>',
         "the mask has an rle that is not a list of run lengths"),
        ('<mask label="cup" rle="1,9" left="0" top="0" width="3" height="2"/>',
         "the mask has runs of 10 pixels for 3×2, 9 of them set"),
        ('<mask label="cup" rle="6" left="0" top="0" width="3" height="2"/>',
         "the mask has runs of 6 pixels for 3×2, 0 of them set"),
        ('<mask label="cup" rle="1,1" left="99" top="0" width="3" height="2"/>',
         "the mask of 3×2 at 99,0 is not inside an image of 100×80"),
        ('<mask label="cup" rle="1,1" left="0.5" top="0" width="3" height="2"/>',
         "the mask does not begin and end at whole pixels"),
        ('<box xtl="1" ytl="2" xbr="3" ybr="4"/>', "has no label"),
    ],
)  # fmt: skip
def test_a_bad_shape_is_an_error_with_its_line(tmp_path: Path, shape: str, problem: str) -> None:
    found = one(tmp_path, BOX + "\n", shape)
    finding = only(found)
    assert (finding.severity, finding.problem, finding.place.line) == ("error", problem, 7)
    assert boxes(found) == [[10, 20, 50.5, 60]]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (export(image_xml(BOX))[:-40], "xml.syntax"),
        ("<annotations>" + "\0" * 9, "xml.syntax"),
        (
            export(image_xml(BOX)).replace("<annotations>", '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations>', 1),
            "xml.dtd",
        ),
        (export(image_xml(BOX)).replace("utf-8", "utf-16"), "xml.encoding"),
        (export(image_xml(BOX, name="../../etc/passwd")), "image.missing"),
        (export(image_xml(BOX, name="")), "path.empty"),
        (export(image_xml(BOX), image_xml(BOX)), "image.repeated"),
    ],
)
def test_a_bad_file_is_an_error(tmp_path: Path, text: str, code: str) -> None:
    found = cvat.scan(Source(make(tmp_path, text)))
    assert code in {finding.code for finding in found.findings if finding.severity == "error"}


def track(*shapes: str, label: str = "cup", number: int = 0) -> str:
    return f'<track id="{number}" label="{label}" source="manual">\n{"".join(shapes)}</track>\n'


def at(frame: int, x: float, *, outside: int = 0, more: str = "") -> str:
    return (
        f'<box frame="{frame}" outside="{outside}" occluded="0" keyframe="1" '
        f'xtl="{x}" ytl="20" xbr="{x + 10}" ybr="40" z_order="0" {more}/>\n'
    )


def video(root: Path, *tracks: str, count: int = 5, names: str = "frame_{:06d}.png") -> Scan:
    meta = f"<size>{count}</size><original_size><width>100</width><height>80</height></original_size>"
    images = tuple("images/" + names.format(frame) for frame in range(count))
    return cvat.scan(Source(make(root, export(*tracks, meta=meta), images=images)))


def lefts(scan: Scan) -> list[list[float]]:
    """The left sides of the boxes in every frame."""
    return [one.objects.box[:, 0].tolist() for one in scan.dataset]


def test_boxes_between_keyframes_are_on_a_straight_line(tmp_path: Path) -> None:
    found = video(tmp_path, track(at(0, 10), at(4, 50)))
    assert lefts(found) == [[10], [20], [30], [40], [50]]
    assert found.findings == ()
    assert extra(found) == {"track_id": 0}
    assert found.dataset.images.files[1] == "images/frame_000001.png"


def test_a_shape_that_is_outside_hides_the_track(tmp_path: Path) -> None:
    found = video(tmp_path, track(at(1, 10), at(2, 20, outside=1), at(4, 40)))
    assert lefts(found) == [[], [10], [], [], [40]]


def test_the_last_shape_stays_to_the_end(tmp_path: Path) -> None:
    assert lefts(video(tmp_path, track(at(3, 10)))) == [[], [], [], [10], [10]]


def test_a_track_without_shapes_is_empty(tmp_path: Path) -> None:
    found = video(tmp_path, track(), track(at(4, 10)))
    assert (lefts(found), found.findings) == ([[], [], [], [], [10]], ())


@pytest.mark.parametrize("name", ["size", "start_frame", "frame_filter", "frame"])
def test_numbers_of_thousands_of_digits_are_no_frames(tmp_path: Path, name: str) -> None:
    number = "9" * 5000
    meta = f"<{name}>{'step=' if name == 'frame_filter' else ''}{number}</{name}>"
    shape = at(0, 10).replace('"0"', f'"{number}"', 1) if name == "frame" else at(0, 10)
    found = cvat.scan(Source(make(tmp_path, export(track(shape), meta=meta), images=("images/frame_000000.png",))))
    assert [one.code for one in found.findings if one.severity == "error"] == ["cvat.track.frame"] * (name == "frame")


def test_frames_that_are_written_count_as_they_are(tmp_path: Path) -> None:
    assert lefts(video(tmp_path, track(*(at(frame, 7 * frame) for frame in range(5))))) == [[0], [7], [14], [21], [28]]


def test_a_box_turns_the_shorter_way(tmp_path: Path) -> None:
    found = video(
        tmp_path, track(at(0, 10, more='rotation="350"'), at(2, 10, more='rotation="30"'), at(3, 0, outside=1))
    )
    assert [extra(found, row)["angle"] for row in range(3)] == [350, 10, 30]


def test_polygons_between_keyframes_are_not_invented(tmp_path: Path) -> None:
    shapes = [f'<polygon frame="{frame}" outside="0" points="1,2;9,2;9,9"/>' for frame in (0, 3)]
    found = video(tmp_path, track(*shapes))
    assert [len(one.objects) for one in found.dataset] == [1, 0, 0, 1, 1]
    assert only(found).code == "cvat.track.keyframes"


def test_tracks_of_images_are_taken_in_their_order(tmp_path: Path) -> None:
    found = video(tmp_path, track(at(0, 10), at(1, 20, outside=1)), count=2, names="shelf-{}-x.png")
    assert [one.path.name for one in found.dataset if len(one.objects)] == ["shelf-0-x.png"]
    assert only(found).code == "cvat.track.order"


def test_frames_of_a_step_have_their_own_numbers(tmp_path: Path) -> None:
    meta = "<size>3</size><start_frame>10</start_frame><frame_filter>step=5</frame_filter>"
    images = tuple(f"images/frame_{frame:06d}.png" for frame in (10, 15, 20))
    text = export(track(at(10, 10), at(20, 30)), meta=meta)
    assert lefts(cvat.scan(Source(make(tmp_path, text, images=images)))) == [[10], [20], [30]]


@pytest.mark.parametrize("text", ["<annotations/>", export(), export(track(at(0, 10)))])
def test_an_export_without_images_of_the_folder_is_still_one_of_cvat(tmp_path: Path, text: str) -> None:
    assert registry.readings(make(tmp_path, text))[0].format == "cvat"


def test_huge_frame_numbers_do_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cvat, "MOST_FRAMES", 1000)
    text = export(track(at(0, 10), at(999_999_999, 20)), meta="<size>999999999</size>")
    found = cvat.scan(Source(make(tmp_path, text, images=("frame_000000.png",))))
    assert "image.missing" in {finding.code for finding in found.findings}


@pytest.mark.parametrize("frame", ["", "x", "-1", "9" * 40])
def test_a_frame_that_is_no_number_is_an_error(tmp_path: Path, frame: str) -> None:
    found = video(tmp_path, track(at(0, 10), at(1, 1, outside=1)).replace('frame="0"', f'frame="{frame}"'))
    assert "cvat.track.frame" in {finding.code for finding in found.findings}


def test_tracks_of_several_tasks_are_refused(tmp_path: Path) -> None:
    found = video(
        tmp_path,
        track(at(0, 1)).replace("<track", '<track task_id="1"'),
        track(at(0, 1)).replace("<track", '<track task_id="2"'),
    )
    assert "cvat.track.tasks" in {finding.code for finding in found.findings}
