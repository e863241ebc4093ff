"""Images with more than 8 bits a sample keep their contrast."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vocdet.data.decoding import decode
from vocdet.data.levels import Levels, choose_levels


def ramp(low: float, high: float, dtype: type[np.generic]) -> NDArray[np.generic]:
    return np.linspace(low, high, 64 * 48).reshape(48, 64).astype(dtype)


@pytest.mark.parametrize(
    ("low", "high", "dtype", "levels"),
    [
        (0, 65535, np.uint16, (0, 65535)),
        (0, 4000, np.uint16, (0, 4095)),
        (0, 1000, np.uint16, (0, 1023)),
        (0, 16000, np.uint16, (0, 16383)),
        (0, 255, np.uint16, (0, 255)),
        (0, 4000, np.int16, (0, 4095)),
        (0, 1, np.float32, (0, 1)),
    ],
)
def test_values_that_fill_their_bits_get_all_of_them(
    low: float, high: float, dtype: type[np.generic], levels: tuple[float, float]
) -> None:
    found = choose_levels([ramp(low, high, dtype)])
    assert (found.low, found.high) == levels


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (29_000, 31_000, np.uint16),  # a thermal camera, in hundredths of a kelvin
        (100, 400, np.uint16),
        (-1000, 3000, np.int16),
        (-3.5, 12.25, np.float32),
        (250.0, 330.0, np.float64),
        (1_000_000, 1_200_000, np.int32),
    ],
)
def test_values_in_a_window_get_the_window(low: float, high: float, dtype: type[np.generic]) -> None:
    pixels = ramp(low, high, dtype)
    levels = choose_levels([pixels])
    shown = levels.apply(pixels)
    assert levels.low <= low
    assert levels.high >= high
    assert shown.min() < 20
    assert shown.max() > 235


def test_all_images_share_their_levels_and_outliers_do_not_count() -> None:
    cold, hot = ramp(29_000, 29_500, np.uint16), ramp(30_500, 31_000, np.uint16)
    cold[0, 0], hot[0, 0] = 0, 65535  # dead pixels
    levels = choose_levels([cold, hot])
    assert 28_000 < levels.low < 29_010
    assert 30_990 < levels.high < 32_000


def test_values_without_meaning_do_not_count_and_are_black() -> None:
    pixels = ramp(10, 20, np.float32)
    pixels[:5] = np.nan
    pixels[5:8] = -3.4e38
    levels = choose_levels([pixels])
    assert 11 < levels.low < 12
    assert not levels.apply(pixels)[:8].any()
    assert choose_levels([np.full((4, 4), 7.0, np.float32)]).apply(np.full((4, 4), 7.0, np.float32)).max() <= 255


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.float32])
def test_levels_are_applied_to_every_type_alike(dtype: type[np.generic]) -> None:
    least = 0 if dtype is np.uint16 else -100
    pixels = np.array([[least, 0, 50, 100, 200]]).astype(dtype)
    assert Levels(0, 100).apply(pixels).tolist() == [[0, 0, 128, 255, 255]]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_deep_files_are_decoded_with_their_levels(tmp_path: Path, suffix: str, channels: int) -> None:
    path = tmp_path / f"a{'.ppm' if suffix == '.pgm' and channels == 3 else suffix}"
    pixels = np.repeat(ramp(0, 4095, np.uint16)[..., None], channels, axis=2).squeeze()
    assert cv2.imwrite(str(path), pixels)
    image = decode(path, levels=Levels(0, 4095))
    assert image.shape == (48, 64, 3)
    assert image[..., 0].tolist() == Levels(0, 4095).apply(ramp(0, 4095, np.uint16)).tolist()


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3])
def test_signed_and_float_tiffs_are_decoded(tmp_path: Path, dtype: type[np.generic], channels: int) -> None:
    pixels = np.repeat(ramp(-1000, 1000, dtype)[..., None], channels, axis=2).squeeze()
    assert cv2.imwrite(str(tmp_path / "a.tif"), pixels)
    image = decode(tmp_path / "a.tif")
    assert image[0, 0, 0] < 20
    assert image[-1, -1, 0] > 235


def test_colors_of_deep_files_keep_their_order(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 3), np.uint16)
    pixels[..., 0] = 65535  # red
    Image.fromarray((pixels >> 8).astype(np.uint8)).save(tmp_path / "8.png")
    assert cv2.imwrite(str(tmp_path / "16.png"), pixels[..., ::-1])
    assert decode(tmp_path / "16.png", levels=Levels(0, 65535)).tolist() == decode(tmp_path / "8.png").tolist()
