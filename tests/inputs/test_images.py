"""Image files of every kind become the same arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from vocdet.errors import ImageError
from vocdet.inputs.images import decode, decode_as, resize


def quarters() -> NDArray[np.uint8]:
    """20 high, 40 wide: red, green, blue and black."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:10, :20], pixels[:10, 20:], pixels[10:, :20] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    return pixels


def close(a: NDArray[np.uint8], b: NDArray[np.uint8], most: int = 2) -> bool:
    return a.shape == b.shape and int(np.abs(a.astype(int) - b).max()) <= most


def corners(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The middles of the four quarters: JPEG is not exact where colors meet."""
    return image[5::10, 10::20]


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        *(("RGB", suffix) for suffix in (".png", ".jpg", ".bmp", ".webp", ".tif")),
        ("RGBA", ".png"), ("RGBA", ".tif"), ("P", ".png"), ("CMYK", ".jpg"), ("CMYK", ".tif"),
    ],
)  # fmt: skip
def test_every_kind_of_color_becomes_rgb(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(quarters()).convert(mode).save(path, quality=95)
    assert close(corners(decode(path)), corners(quarters()), most=12)


def test_gray_stays_gray(tmp_path: Path) -> None:
    gray = np.linspace(0, 255, 800).astype(np.uint8).reshape(20, 40)
    Image.fromarray(gray).save(tmp_path / "8.png")
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "16.png")
    Image.fromarray(gray > 127).save(tmp_path / "1.png")
    expected = np.repeat(gray[..., None], 3, axis=2)
    assert np.array_equal(decode(tmp_path / "8.png"), expected)
    assert close(decode(tmp_path / "16.png"), expected, most=1)
    assert np.array_equal(decode(tmp_path / "1.png"), np.where(expected > 127, 255, 0))


@pytest.mark.parametrize("name", ["Überraschung 猫.png", "a b'c\"d.png", "ünï.PNG", "x" * 200 + ".png"])
def test_files_of_any_name_are_opened(tmp_path: Path, name: str) -> None:
    Image.fromarray(quarters()).save(tmp_path / name, format="PNG")
    assert np.array_equal(decode(tmp_path / name), quarters())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_orientation_is_applied_only_on_request(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"a{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(quarters()).save(path, exif=exif)
    with Image.open(path) as image:
        stored, upright = np.asarray(image), np.asarray(ImageOps.exif_transpose(image))
    assert close(decode(path), stored)
    assert close(decode(path, oriented=True), upright)
    # the size in the annotation tells how the annotator saw it
    assert close(decode_as(path, stored.shape[1], stored.shape[0]), stored)
    assert close(decode_as(path, upright.shape[1], upright.shape[0]), stored if orientation < 5 else upright)


def test_an_image_whose_size_changed_is_an_error(tmp_path: Path) -> None:
    Image.fromarray(quarters()).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="is 40x20 pixels, not 20x40") as caught:
        decode_as(tmp_path / "a.png", 20, 40)
    assert caught.value.place is not None
    assert caught.value.place.path == tmp_path / "a.png"


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9])
def test_a_truncated_file_is_one_error(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"a{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ImageError, match="is not an image that can be decoded") as caught:
        decode(path)
    assert caught.value.hint == "export it again, or remove it"


@pytest.mark.parametrize("oriented", [False, True])
def test_what_is_no_image_is_one_error(tmp_path: Path, oriented: bool) -> None:
    (tmp_path / "a.jpg").write_text("<html>404</html>")
    with pytest.raises(ImageError, match="is not an image"):
        decode(tmp_path / "a.jpg", oriented=oriented)
    for path in (tmp_path, tmp_path / "missing.jpg"):
        with pytest.raises(ImageError, match="cannot be read"):
            decode(path, oriented=oriented)


def test_resizing_averages_when_it_shrinks_much() -> None:
    checks = np.indices((64, 96)).sum(0)[..., None].repeat(3, 2) % 2 * 255
    small = resize(checks.astype(np.uint8), (8, 12))
    assert small.shape == (8, 12, 3)
    assert np.abs(small.astype(int) - 127).max() <= 1  # taking single pixels would give black or white
    image = quarters()
    assert resize(image, (20, 40)) is image


@pytest.mark.parametrize("at_least", [(20, 40), (10, 20), (9, 14), (3, 5), (2, 40)])
def test_a_jpeg_may_be_decoded_smaller_but_not_below_the_requested_size(
    tmp_path: Path, at_least: tuple[int, int]
) -> None:
    Image.fromarray(quarters()).save(tmp_path / "a.jpg", quality=95)
    small = decode_as(tmp_path / "a.jpg", 40, 20, at_least=at_least)
    height, width = small.shape[:2]
    shrunk = 20 // height
    assert (height, width) == (-(-20 // shrunk), -(-40 // shrunk))
    assert height >= at_least[0]
    assert width >= at_least[1]
    assert height < 2 * at_least[0] or width < 2 * at_least[1] or shrunk == 8
    whole = np.asarray(Image.fromarray(quarters()).resize((width, height), Image.Resampling.BOX))
    assert np.abs(small.astype(int) - whole).mean() < 12


def test_only_a_jpeg_comes_smaller(tmp_path: Path) -> None:
    Image.fromarray(quarters()).save(tmp_path / "a.png")
    assert np.array_equal(decode_as(tmp_path / "a.png", 40, 20, at_least=(2, 4)), quarters())


def test_odd_sides_are_rounded_up_and_turned_images_are_still_known(tmp_path: Path) -> None:
    pixels = np.asarray(Image.fromarray(quarters()).resize((43, 27)))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    assert decode_as(tmp_path / "a.jpg", 43, 27, at_least=(10, 10)).shape == (14, 22, 3)
    assert decode_as(tmp_path / "a.jpg", 27, 43, at_least=(10, 10)).shape == (22, 14, 3)
    with pytest.raises(ImageError, match="is 43x27 pixels, not 47x27"):
        decode_as(tmp_path / "a.jpg", 47, 27, at_least=(10, 10))
