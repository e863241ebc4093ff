"""What is decided once a dataset: the orientation of its images, the size of resized ones, the range of deep ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from vocdet.data.dataset import Dataset
from vocdet.errors import ImageError, ManyErrors
from vocdet.formats import registry
from vocdet.formats.scan import Scan, Source
from vocdet.inputs.images import decode_image
from vocdet.workflows.check import check_dataset
from vocdet.workflows.convert import WrittenFormat, convert
from vocdet.workflows.crops import CropOptions, write_crops
from vocdet.workflows.fix import apply_fixes, plan_fixes

Format = Literal["voc", "coco", "yolo", "labelme"]
FORMATS: tuple[Format, ...] = ("voc", "coco", "yolo", "labelme")
BOX = (20, 30, 80, 70)  # of the red object in the image as it is shown


def shown(size: tuple[int, int] = (160, 120)) -> Image.Image:
    """An image with a red object at `BOX`."""
    pixels = np.full((size[1], size[0], 3), 90, np.uint8)
    pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]] = (255, 0, 0)
    return Image.fromarray(pixels)


def save(path: Path, image: Image.Image, orientation: int) -> None:
    """Save an image so that its EXIF orientation shows it like this."""
    exif = Image.Exif()
    exif[0x0112] = {6: 8, 8: 6}.get(orientation, orientation)  # the inverse
    image.getexif()[0x0112] = exif[0x0112]
    stored = ImageOps.exif_transpose(image)
    exif[0x0112] = orientation
    stored.getexif().clear()
    stored.save(path, quality=95, exif=exif)


def annotate(root: Path, to: Format, stem: str, size: tuple[int, int] | None, box: Sequence[float] = BOX) -> None:
    """An annotation of an object at `box` in the image `stem` of `size`; None: it states no size."""
    if to == "voc":
        sides = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>" if size else ""
        corners = "".join(
            f"<{tag}>{side}</{tag}>" for tag, side in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        )
        object_ = f"<object><name>red</name><bndbox>{corners}</bndbox></object>"
        name = next((path.name for path in root.iterdir() if path.stem == stem), f"{stem}.jpg")
        text = f"<annotation><filename>{name}</filename>{sides}{object_}</annotation>"
        (root / f"{stem}.xml").write_text(text)
    elif to == "yolo":
        assert size is not None
        center = (box[0] + box[2]) / 2 / size[0], (box[1] + box[3]) / 2 / size[1]
        sides_ = (box[2] - box[0]) / size[0], (box[3] - box[1]) / size[1]
        (root / f"{stem}.txt").write_text(f"0 {center[0]} {center[1]} {sides_[0]} {sides_[1]}\n")
        (root / "classes.txt").write_text("red\n")
    elif to == "labelme":
        points = [[box[0], box[1]], [box[2], box[3]]]
        shape: dict[str, Any] = {
            "label": "red",
            "points": points,
            "shape_type": "rectangle",
            "group_id": None,
            "flags": {},
        }
        sides_of = {"imageWidth": size and size[0], "imageHeight": size and size[1]}
        content: dict[str, Any] = {
            "version": "5.0.1",
            "flags": {},
            "shapes": [shape],
            "imagePath": f"{stem}.jpg",
            "imageData": None,
        }
        (root / f"{stem}.json").write_text(json.dumps(content | sides_of))
    else:
        path = root / "coco.json"
        whole = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "red"}]}
        whole = json.loads(path.read_text()) if path.exists() else whole
        number = len(whole["images"]) + 1
        sizes = {"width": size[0], "height": size[1]} if size else {}
        whole["images"].append({"id": number, "file_name": f"{stem}.jpg"} | sizes)
        bbox = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
        one = {
            "id": number,
            "image_id": number,
            "category_id": 1,
            "bbox": bbox,
            "area": bbox[2] * bbox[3],
            "iscrowd": 0,
        }
        whole["annotations"].append(one)
        path.write_text(json.dumps(whole))


def found_in(root: Path, to: Format) -> Scan:
    return registry.scan(Source(root, format=to))


def redness(dataset: Dataset, row: int = 0) -> float:
    """The share of red pixels in the box of an image's object."""
    sample = dataset[row]
    left, top, right, bottom = np.rint(sample.objects.box[0]).astype(int).tolist()
    pixels = decode_image(sample)[top:bottom, left:right].astype(int)
    return float(((pixels[..., 0] > 150) & (pixels[..., 1] < 100)).mean())


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(160, 120), (140, 140)])
def test_boxes_are_those_of_the_image_as_it_is_shown(
    tmp_path: Path, to: Format, orientation: int, size: tuple[int, int]
) -> None:
    root = tmp_path / "in"
    root.mkdir()
    save(root / "a.jpg", shown(size), orientation)
    annotate(root, to, "a", size)
    found = found_in(root, to)
    assert redness(found.dataset) > 0.9
    clear = orientation == 1 or (orientation >= 5 and size[0] != size[1] and to != "yolo") or to == "labelme"
    assert [finding.code for finding in found.findings] == ([] if clear else ["image.turned"])
    write_crops(Source(root, format=to), tmp_path / "crops", CropOptions(margin=0))
    (crop,) = (tmp_path / "crops").rglob("*.jpg")
    colors = np.asarray(Image.open(crop)).astype(int)[10:50, 12:48]
    assert (colors[..., 0] > 150).mean() > 0.9


@pytest.mark.parametrize("to", ["voc", "coco"])
@pytest.mark.parametrize("orientation", [2, 3, 4, 6])
def test_images_whose_size_shows_it_decide_for_the_others(
    tmp_path: Path, to: Literal["voc", "coco"], orientation: int
) -> None:
    square = (140, 140) if orientation == 6 else (160, 120)
    save(tmp_path / "a.jpg", shown(square), orientation)
    annotate(tmp_path, to, "a", square)
    for stem in ("b", "c"):  # annotated as they are stored
        save(tmp_path / f"{stem}.jpg", shown(), 6)
        annotate(tmp_path, to, stem, (120, 160), (30, 80, 70, 140))
    dataset = found_in(tmp_path, to).dataset
    assert dataset.images.upright.tolist() == [False] * 3
    assert redness(dataset, 1) > 0.9
    (finding,) = [one for one in found_in(tmp_path, to).findings if one.code == "image.turned"]
    assert finding.problem == (
        f"1 image has an EXIF orientation ({orientation}): boxes are taken as those of images as stored, without it, "
        "as in 2 images whose size shows it"
    )


@pytest.mark.parametrize("to", ["voc", "coco"])
def test_without_a_size_boxes_show_where_they_fit(tmp_path: Path, to: Literal["voc", "coco"]) -> None:
    save(tmp_path / "a.jpg", shown((160, 90)), 6)
    annotate(tmp_path, to, "a", None, (20, 30, 150, 70))  # wider than the stored image
    save(tmp_path / "b.jpg", shown((160, 90)), 3)
    annotate(tmp_path, to, "b", None)
    images = found_in(tmp_path, to).dataset.images
    assert (images.widths.tolist(), images.heights.tolist()) == ([160, 160], [90, 90])
    assert images.upright.tolist() == [True, True]


@pytest.mark.parametrize("to", ["voc", "coco", "yolo", "labelme", "csv"])
@pytest.mark.parametrize("source", ["voc", "coco"])
def test_what_vocdet_writes_says_what_its_boxes_refer_to(
    tmp_path: Path, source: Literal["voc", "coco"], to: WrittenFormat
) -> None:
    root = tmp_path / "in"
    root.mkdir()
    save(root / "a.jpg", shown(), 3)
    annotate(root, source, "a", (160, 120), (80, 50, 140, 90))  # as stored
    for stem in ("b", "c"):
        save(root / f"{stem}.jpg", shown(), 6)
        annotate(root, source, stem, (120, 160), (30, 80, 70, 140))
    convert(Source(root, format=source), tmp_path / "out", to)
    for stem in ("b", "c"):  # without the images that showed it
        for file in (tmp_path / "out").rglob(f"{stem}.*"):
            if to in ("voc", "yolo", "labelme"):
                file.unlink()
    dataset = registry.scan(Source(tmp_path / "out", format=to)).dataset
    rows = [row for row, stem in enumerate(dataset.images.stems) if stem == "a"]
    assert [redness(dataset, row) for row in rows] == [pytest.approx(1, abs=0.1)]


class FindsRed:
    """A detector that finds exactly the red object."""

    labels, thresholds, levels = ("red",), np.array([0.5], np.float32), None

    def detect(self, images: Sequence[NDArray[np.uint8]], *, score: float = 0.0) -> list[object]:
        from vocdet.data.detections import Detections

        found: list[object] = []
        for image in images:
            ys, xs = np.nonzero((image[..., 0] > 150) & (image[..., 1] < 100))
            box = np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], np.float64)
            found.append(Detections(box, np.array([0.9], np.float32), np.array([0])))
        return found


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_detector_is_right_on_its_own_annotations(tmp_path: Path, orientation: int) -> None:
    from vocdet.workflows.predict import predict

    photos = tmp_path / "photos"
    photos.mkdir()
    save(photos / "a.jpg", shown(), orientation)
    save(photos / "b.jpg", shown((140, 140)), orientation)
    list(predict(FindsRed(), [str(photos)], out=tmp_path / "out", also=["voc"]))  # type: ignore[arg-type]
    dataset = registry.scan(Source(tmp_path / "out", format="voc")).dataset
    assert [redness(dataset, row) > 0.9 for row in range(2)] == [True, True]
    for sample in dataset:
        assert sample.objects.box.tolist() == FindsRed().detect([decode_image(sample)])[0].boxes.tolist()  # type: ignore[attr-defined]


def resized(root: Path, to: Format, before: tuple[int, int], after: tuple[int, int], stems: str = "abc") -> None:
    """Images that were resized after their annotation."""
    for stem in stems:
        shown(before).resize(after).save(root / f"{stem}.jpg", quality=95)
        annotate(root, to, stem, before)


@pytest.mark.parametrize("to", ["voc", "coco", "labelme"])
@pytest.mark.parametrize("after", [(80, 60), (320, 240), (100, 100), (160, 160), (107, 80)])
def test_boxes_of_resized_images_are_refused_or_scaled(
    tmp_path: Path, to: Literal["voc", "coco", "labelme"], after: tuple[int, int]
) -> None:
    root = tmp_path / "in"
    root.mkdir()
    resized(root, to, (160, 120), after)
    with pytest.raises(ManyErrors, match="its boxes are not in pixels of the image"):
        convert(Source(root, format=to), tmp_path / "out", "yolo")
    report = convert(Source(root, format=to), tmp_path / "out", "yolo", rescale=True)
    assert [finding.code for finding in report.warnings] == ["image.rescaled"]
    numbers = np.array((tmp_path / "out" / "labels" / "a.txt").read_text().split(), np.float64)
    assert numbers[1:].tolist() == pytest.approx([50 / 160, 50 / 120, 60 / 160, 40 / 120], abs=0.005)
    dataset = registry.scan(Source(tmp_path / "out")).dataset
    assert redness(dataset) > 0.8


def test_images_that_were_not_scaled_alike_are_not_rescaled(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    for stem, after in (("a", (100, 60)), ("b", (90, 120))):
        resized(root, "voc", (160, 120), after, stem)
    with pytest.raises(ManyErrors) as caught:
        convert(Source(root), tmp_path / "out", "yolo", rescale=True)
    hints = {error.hint for error in caught.value.errors if "the size is" in error.problem}
    assert hints == {"restore the image that was annotated, or annotate this one"}


def test_a_size_that_the_boxes_contradict_is_only_a_wrong_size(tmp_path: Path) -> None:
    shown().save(tmp_path / "a.jpg")
    annotate(tmp_path, "voc", "a", (50, 50))  # the box reaches to 80, 70
    annotate(tmp_path, "voc", "b", (120, 160))  # width and height swapped
    shown().save(tmp_path / "b.jpg")
    findings = found_in(tmp_path, "voc").findings
    assert [(finding.code, finding.severity) for finding in findings] == [("image.size_mismatch", "warning")] * 2


def test_masks_and_keypoints_are_scaled_with_their_boxes(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    resized(root, "coco", (160, 120), (80, 60), "ab")
    path = root / "coco.json"
    content = json.loads(path.read_text())
    first, second = content["annotations"]
    first["segmentation"] = [[20, 30, 80, 30, 80, 70, 20, 70]]
    first["keypoints"], first["num_keypoints"] = [20, 30, 2, 80, 70, 1], 2
    mask = np.zeros((120, 160), np.uint8)
    mask[30:70, 20:80] = 1
    runs = np.diff(np.flatnonzero(np.diff(mask.ravel("F"), prepend=2, append=2)))
    second["segmentation"] = {"size": [120, 160], "counts": runs.tolist()}
    path.write_text(json.dumps(content))
    convert(Source(root, format="coco"), tmp_path / "out", "coco", rescale=True)
    written = json.loads((tmp_path / "out" / "annotations" / "instances.json").read_text())
    one, other = written["annotations"]
    assert (one["bbox"], one["segmentation"]) == ([10, 15, 30, 20], [[10, 15, 40, 15, 40, 35, 10, 35]])
    assert one["keypoints"] == [10, 15, 2, 40, 35, 1]
    assert (one["area"], other["segmentation"]["size"]) == (600, [60, 80])
    dataset = registry.scan(Source(tmp_path / "out", format="coco")).dataset
    assert [finding.severity for finding in check_dataset(Source(tmp_path / "out", format="coco")).errors] == []
    assert dataset.objects.box.tolist() == [[10, 15, 40, 35]] * 2


@pytest.mark.parametrize("after", [(80, 60), (320, 240), (100, 100)])
def test_a_repair_scales_boxes_and_states_the_size_of_the_image(tmp_path: Path, after: tuple[int, int]) -> None:
    resized(tmp_path, "voc", (160, 120), after)
    report = check_dataset(Source(tmp_path))
    assert len([one for one in report.errors if one.code == "image.size_mismatch"]) == 3
    apply_fixes(plan_fixes(report))
    again = check_dataset(Source(tmp_path))
    assert again.errors == ()
    x, y = after[0] / 160, after[1] / 120
    expected = [round(side * factor) for side, factor in zip(BOX, (x, y, x, y), strict=True)]
    assert again.dataset.objects.box.tolist() == [expected] * 3


def deep(root: Path, low: float, high: float, dtype: type[np.generic], suffix: str = ".png") -> None:
    """Images whose object has the highest values."""
    for stem in "abc":
        pixels: NDArray[Any] = np.full((120, 160), low, dtype)
        pixels[:, 80:] = low + (high - low) / 4
        pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]] = high
        assert cv2.imwrite(str(root / f"{stem}{suffix}"), pixels)
        annotate(root, "voc", stem, (160, 120))


@pytest.mark.parametrize(
    ("low", "high", "dtype", "suffix"),
    [
        (200, 4000, np.uint16, ".png"),
        (29_000, 31_000, np.uint16, ".png"),
        (10, 1000, np.uint16, ".tif"),
        (-800, 900, np.int16, ".tif"),
        (0.1, 0.2, np.float32, ".tif"),
    ],
)
def test_deep_images_keep_their_contrast_and_are_named(
    tmp_path: Path, low: float, high: float, dtype: type[np.generic], suffix: str
) -> None:
    deep(tmp_path, low, high, dtype, suffix)
    found = found_in(tmp_path, "voc")
    pixels = decode_image(found.dataset[0])
    assert pixels[50, 50].min() > 220
    assert pixels[5, 5].max() < 40
    assert [(finding.code, finding.severity, finding.count) for finding in found.findings] == [
        ("image.depth", "warning", 3)
    ]
    levels = found.dataset.levels
    assert levels is not None
    assert f"the values {levels} are read as black to white" in found.findings[0].problem


def test_deep_images_that_fill_their_range_need_no_word(tmp_path: Path) -> None:
    deep(tmp_path, 0, 65535, np.uint16)
    found = found_in(tmp_path, "voc")
    assert found.findings == ()
    assert found.dataset.levels is not None
    assert (found.dataset.levels.low, found.dataset.levels.high) == (0, 65535)


def test_errors_of_images_are_raised_alike_by_all_readers(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    annotate(tmp_path, "voc", "a", (160, 120))
    with pytest.raises(ImageError, match="is empty"):
        registry.read(Source(tmp_path))


def test_pictures_in_other_formats_are_named(tmp_path: Path) -> None:
    shown().save(tmp_path / "a.jpg")
    annotate(tmp_path, "voc", "a", (160, 120))
    annotate(tmp_path, "voc", "b", (160, 120))
    (tmp_path / "b.cr2").write_bytes(b"II*\0raw")
    (tmp_path / "c.psd").write_bytes(b"8BPS")
    findings = registry.scan(Source(tmp_path)).findings
    assert [(one.code, one.severity, one.count) for one in findings] == [
        ("image.missing", "error", 1),
        ("image.format", "warning", 2),
    ]
    assert findings[0].problem == "its image b.cr2 has an unsupported format"
    assert findings[1].problem == "2 pictures in formats that vocdet does not read are left out: b.cr2, c.psd"


@pytest.mark.parametrize("suffix", [".cr2", ".heic", ".txt"])
@pytest.mark.parametrize("without_images", [False, True])
def test_images_that_cannot_be_read_are_never_taken_for_missing_ones(
    tmp_path: Path, suffix: str, *, without_images: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vocdet.data import image_files

    monkeypatch.setattr(image_files, "_decodable", lambda *, heif: ["JPEG"])
    annotate(tmp_path, "voc", "a", (160, 120))
    (tmp_path / f"a{suffix}").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    found = registry.scan(Source(tmp_path, format="voc"), without_images=without_images)
    errors = [finding.code for finding in found.findings if finding.severity == "error"]
    if suffix == ".txt" and without_images:
        assert (errors, found.dataset.images.files) == ([], ("a.jpg",))
    else:
        assert errors == ["image.corrupt" if suffix == ".heic" else "image.missing"]
        assert all((tmp_path / file).exists() for file in found.dataset.images.files)


def test_deep_images_are_compared_by_what_they_show(tmp_path: Path) -> None:
    from vocdet.data.division.similar import similar_images

    rng = np.random.default_rng(0)
    first, second = (rng.integers(0, 4096, (8, 10)).astype(np.float32) for _ in range(2))
    for stem, pixels in (("a", first), ("b", second), ("c", first)):
        large = cv2.resize(pixels, (160, 120)).astype(np.uint16)
        assert cv2.imwrite(str(tmp_path / f"{stem}.png"), large + (stem == "c"))  # hardly brighter
        annotate(tmp_path, "voc", stem, (160, 120))
    assert similar_images(found_in(tmp_path, "voc").dataset) == [[0, 2]]


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_image_folders_are_read_as_they_are_shown(tmp_path: Path, orientation: int) -> None:
    from vocdet.formats.image_folder import read_image_folder

    (tmp_path / "red").mkdir()
    save(tmp_path / "red" / "a.jpg", shown(), orientation)
    dataset = read_image_folder(tmp_path)
    assert (dataset[0].width, dataset[0].height) == (160, 120)
    pixels = decode_image(dataset[0])[BOX[1] + 5 : BOX[3] - 5, BOX[0] + 5 : BOX[2] - 5]
    assert pixels[..., 0].min() > 150


@pytest.mark.parametrize("to", ["voc", "coco", "labelme"])
def test_a_resized_image_is_one_error_and_can_be_left_out(
    tmp_path: Path, to: Literal["voc", "coco", "labelme"]
) -> None:
    root = tmp_path / "in"
    root.mkdir()
    resized(root, to, (160, 120), (60, 45), "ab")  # the boxes reach beyond these images
    shown().save(root / "c.jpg", quality=95)
    annotate(root, to, "c", (160, 120))
    errors = check_dataset(Source(root, format=to)).errors
    assert [finding.code for finding in errors] == ["image.size_mismatch"] * 2
    report = convert(Source(root, format=to, skip_bad=True), tmp_path / "out", "coco")
    assert report.dataset.images.stems == ("c",)
    assert (report.left_out.images, str(report.left_out)) == (2, "2 images")
    assert check_dataset(Source(tmp_path / "out")).errors == ()


def test_what_was_decided_is_cached(tmp_path: Path) -> None:
    from vocdet.formats import scan_file

    deep(tmp_path, 29_000, 31_000, np.uint16)
    save(tmp_path / "d.jpg", shown(), 3)
    annotate(tmp_path, "voc", "d", (160, 120))
    found = found_in(tmp_path, "voc")
    scan_file.save(tmp_path / "columns", found)
    loaded = scan_file.load(tmp_path / "columns")
    assert loaded.dataset.levels == found.dataset.levels
    assert loaded.dataset.images.exif.tolist() == [1, 1, 1, 3]
    assert loaded.dataset.images.upright.tolist() == [False, False, False, True]
    assert loaded.dataset.fingerprint() == found.dataset.fingerprint()
