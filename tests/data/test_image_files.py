from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from vocdet.data.checks.images import image_findings
from vocdet.data.decoding import check_pixels
from vocdet.data.division.identical import identical_images
from vocdet.data.image_files import SUFFIXES, read_header, read_orientation
from vocdet.errors import ImageError
from vocdet.formats.scan import Source
from vocdet.formats.voc.read import read, scan

MakeVoc = Callable[..., Path]


@pytest.mark.parametrize("kind", SUFFIXES)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_format_that_is_read_says_its_size(tmp_path: Path, kind: str, mode: str) -> None:
    path = tmp_path / "a.img"
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    Image.new(mode, (100, 80)).save(path, format=kind)
    header = read_header(path)
    assert (header.format, header.width, header.height) == (kind, 100, 80)
    check_pixels(path)
    assert read_orientation(path) == 1


def test_the_size_is_the_stored_one_and_the_orientation_apart(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (100, 80)).save(tmp_path / "a.jpg", exif=exif)
    assert (read_header(tmp_path / "a.jpg").width, read_orientation(tmp_path / "a.jpg")) == (100, 6)
    exif[0x0112] = 77
    Image.new("RGB", (100, 80)).save(tmp_path / "a.jpg", exif=exif)
    assert read_orientation(tmp_path / "a.jpg") == 1


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is empty"),
        (b"<html>404</html>", "is not an image, or is broken from its first bytes"),
        (b"\xff\xd8\xff\xe0", "is not an image, or is broken from its first bytes"),
        (b"<svg width='9' height='9'/>", "is not an image, or is broken from its first bytes"),
    ],
)
def test_a_file_that_is_not_an_image(tmp_path: Path, data: bytes, problem: str) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(ImageError, match=problem):
        read_header(tmp_path / "a.jpg")


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_samples_of_more_than_8_bits_are_read_and_known(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (100, 80)).save(tmp_path / "a.tif")
    header = read_header(tmp_path / "a.tif")
    assert (header.width, header.height, header.deep) == (100, 80, True)
    check_pixels(tmp_path / "a.tif")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be read: no such file or directory"):
        read_header(tmp_path / "a.jpg")


def test_more_pixels_than_any_camera_are_refused(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        import zlib

        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = (60_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(png)
    with pytest.raises(ImageError, match="has too many pixels"):
        read_header(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
def test_an_image_that_was_cut_short_is_found(make_voc: MakeVoc, suffix: str) -> None:
    root = make_voc({"a": [], "b": []}, suffix=suffix)
    path = root / "JPEGImages" / f"a{suffix}"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    findings = image_findings(scan(Source(root)).dataset)
    assert [(finding.severity, finding.code, finding.place.path) for finding in findings] == [
        ("error", "image.corrupt", path)
    ]


def test_a_name_that_does_not_fit_the_content(make_voc: MakeVoc) -> None:
    root = make_voc({"a": []})
    Image.new("RGB", (100, 80)).save(root / "JPEGImages" / "a.jpg", format="PNG")
    (finding,) = image_findings(read(root).dataset)
    assert (finding.severity, finding.problem) == ("warning", "is a PNG file by its content, not what .jpg says")
    assert finding.hint == "rename it to a.png: other tools trust the name"


def test_an_orientation_the_annotation_does_not_follow(make_voc: MakeVoc) -> None:
    root = make_voc({"a": [], "b": []})
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (100, 80)).save(root / "JPEGImages" / "a.jpg", exif=exif)
    exif[0x0112] = 8
    Image.new("RGB", (80, 100)).save(root / "JPEGImages" / "b.jpg", exif=exif)  # its <size> is as it is shown
    first, second = image_findings(read(root).dataset)
    assert (first.code, first.place.path.name) == ("image.orientation", "a.jpg")
    assert (second.place.path.name, second.problem) == (
        "b.jpg", "its EXIF orientation (8) is applied: the image is read as shown, 100×80"
    )  # fmt: skip


def test_good_images_are_counted_and_not_mentioned(make_voc: MakeVoc) -> None:
    seen: list[tuple[int, int]] = []
    assert image_findings(read(make_voc({"a": [], "b": []})).dataset, lambda *counts: seen.append(counts)) == []
    assert seen == [(1, 2), (2, 2)]


def test_copies_are_found_by_content(make_voc: MakeVoc) -> None:
    root = make_voc({stem: [] for stem in "abcde"})
    for copy, original in (("d", "a"), ("e", "a"), ("c", "b")):
        (root / "JPEGImages" / f"{copy}.jpg").write_bytes((root / "JPEGImages" / f"{original}.jpg").read_bytes())
    assert identical_images(read(root).dataset) == [[0, 3, 4], [1, 2]]


def test_the_raccoons_that_were_photographed_once_and_saved_twice(shared: Path) -> None:
    dataset = read(shared / "data" / "raccoon").dataset
    assert [[dataset.images.stems[row] for row in group] for group in identical_images(dataset)] == [
        ["raccoon-11", "raccoon-116"],
        ["raccoon-120", "raccoon-83"],
        ["raccoon-52", "raccoon-74"],
        ["raccoon-65", "raccoon-98"],
    ]
