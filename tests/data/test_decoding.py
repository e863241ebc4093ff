"""What a check promises, training reads: one decoder, and nothing but image files is opened."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from vocdet.data.checks.images import image_findings
from vocdet.data.decoding import check_pixels, decode
from vocdet.data.image_files import IMAGE_SUFFIXES, read_header
from vocdet.errors import ImageError
from vocdet.formats import registry
from vocdet.formats.scan import Source
from vocdet.inputs.images import decode_as

NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
SMOOTH = np.asarray(Image.fromarray(NOISE[:6, :8]).resize((64, 48)))
SAVED = {".gif": "GIF", ".ppm": "PPM", ".pgm": "PPM", ".jp2": "JPEG2000", ".avif": "AVIF", ".tif": "TIFF",
         ".tiff": "TIFF", ".png": "PNG", ".jpg": "JPEG", ".bmp": "BMP", ".webp": "WEBP"}  # fmt: skip


@pytest.mark.parametrize("suffix", SAVED)
def test_every_image_file_is_found_and_decoded(tmp_path: Path, suffix: str) -> None:
    assert suffix in IMAGE_SUFFIXES
    path = tmp_path / f"a{suffix}"
    image = Image.fromarray(SMOOTH).convert("L" if suffix == ".pgm" else "RGB")
    image.save(path, format=SAVED[suffix], quality=95)
    expected = np.asarray(image.convert("RGB")).astype(int)
    assert (read_header(path).width, read_header(path).height) == (64, 48)
    assert np.abs(decode(path).astype(int) - expected).mean() < 12
    check_pixels(path)


def test_heic_images_are_decoded_with_their_package(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    Image.fromarray(SMOOTH).save(tmp_path / "a.heic", quality=95)
    assert (read_header(tmp_path / "a.heic").width, read_header(tmp_path / "a.heic").height) == (64, 48)
    assert np.abs(decode(tmp_path / "a.heic").astype(int) - SMOOTH).mean() < 8


def test_heic_images_without_the_package_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vocdet.data import image_files

    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    image_files._decodable.cache_clear()
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    with pytest.raises(ImageError, match="is a HEIF image, for which a decoder is missing") as caught:
        read_header(tmp_path / "a.heic")
    image_files._decodable.cache_clear()
    assert "pip install vocdet[heif]" in caught.value.hint


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_every_orientation_is_known_and_applied_or_not(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"a{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(SMOOTH).save(path, exif=exif, quality=95)
    copy = Image.fromarray(SMOOTH)
    copy.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(copy)).astype(int)
    header = read_header(path)
    assert (header.width, header.height, header.orientation) == (64, 48, orientation)
    for oriented, expected in ((False, SMOOTH.astype(int)), (True, upright)):
        pixels = decode(path, oriented=oriented)
        assert pixels.shape == expected.shape
        assert np.abs(pixels - expected).mean() < 8
    height, width = upright.shape[:2]
    assert np.abs(decode_as(path, width, height, upright=True) - upright).mean() < 8


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_orientation_of_a_png_may_stand_before_or_after_its_pixels(tmp_path: Path, place: str) -> None:
    path = tmp_path / "a.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(NOISE).save(path, exif=exif)
    data = path.read_bytes()
    start = data.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    chunk, rest = data[start:end], data[:start] + data[end:]
    path.write_bytes(rest[:33] + chunk + rest[33:] if place == "before" else rest[:-12] + chunk + rest[-12:])
    assert read_header(path).orientation == 6


def test_the_orientation_of_a_jpeg_is_found_behind_other_segments(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    for tag in range(0x8000, 0x8100):  # many tags, so that the directory is long
        exif[tag] = 1
    exif[0x0112] = 6
    Image.fromarray(NOISE).save(path, exif=exif)
    assert read_header(path).orientation == 6
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xfe" + (60_002).to_bytes(2, "big") + bytes(60_000) + data[2:])  # a comment
    assert read_header(path).orientation == 6


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp"])
@pytest.mark.parametrize("cut", [2, 12, 20, 200])
def test_a_check_and_a_training_agree_on_broken_files(tmp_path: Path, suffix: str, cut: int) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(NOISE).save(path)
    path.write_bytes(path.read_bytes()[:-cut])
    answers = []
    for read in (check_pixels, decode):
        try:
            read(path)
            answers.append("read")
        except ImageError:
            answers.append("refused")
    assert len(set(answers)) == 1


def test_a_png_without_its_end_is_found_by_the_check(tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-12])
    (tmp_path / "a.txt").write_text("0 .5 .5 .5 .5\n")
    (tmp_path / "classes.txt").write_text("dog\n")
    dataset = registry.scan(Source(tmp_path)).dataset
    assert [(finding.severity, finding.code) for finding in image_findings(dataset)] == [("error", "image.corrupt")]


@pytest.mark.parametrize("size", [6 << 30, 600 << 20])
def test_a_picture_with_gigabytes_behind_it_is_refused_at_once(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(NOISE).save(path)
    os.truncate(path, size)  # a sparse file
    for read in (read_header, decode, check_pixels):
        with pytest.raises(ImageError, match=r"bytes, far too many for 64×48 pixels"):
            read(path)


def test_a_picture_with_a_film_behind_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(SMOOTH).save(path, quality=95)
    os.truncate(path, 8 << 20)
    assert np.abs(decode(path).astype(int) - SMOOTH).mean() < 8


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder", "link to a device"])
def test_what_is_no_file_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("a.jpg")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        server = socket.socket(socket.AF_UNIX)
        server.bind("a.jpg")
        server.close()
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        path.symlink_to("/dev/zero")
    opened: list[str] = []
    sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
    for read in (read_header, decode, check_pixels):
        with pytest.raises(ImageError, match="cannot be read: it is a"):
            read(path)
    assert str(path) not in opened


def test_an_image_with_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    header = b"P6 60000 60000 255\n"
    (tmp_path / "a.ppm").write_bytes(header + bytes(1000))
    for read in (read_header, decode):
        with pytest.raises(ImageError, match="has too many pixels"):
            read(tmp_path / "a.ppm")
