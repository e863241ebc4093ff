"""Every kind of picture becomes the same RGB array, and what is not a picture is an error with its cure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import torch

from vocdet.api.pictures import as_image
from vocdet.data.levels import Levels
from vocdet.errors import ArgumentError, ImageError
from vocdet.inputs.images import decode

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
GRAY = RGB[..., 0]
GRAY_RGB = np.stack([GRAY] * 3, axis=2)
RGBA = np.dstack([RGB, GRAY])
ORIENTATION = 0x0112

SAME: dict[str, tuple[Any, Any]] = {
    "uint8": (RGB, RGB),
    "not contiguous": (RGB[:, ::-1], RGB[:, ::-1]),
    "float64": (RGB / 255, RGB),
    "float32": ((RGB / 255).astype(np.float32), RGB),
    "gray": (GRAY, GRAY_RGB),
    "gray with an axis": (GRAY[..., None], GRAY_RGB),
    "gray float": (GRAY / 255, GRAY_RGB),
    "RGBA": (RGBA, RGB),
    "PIL": (PIL.Image.fromarray(RGB), RGB),
    "PIL gray": (PIL.Image.fromarray(GRAY), GRAY_RGB),
    "PIL RGBA": (PIL.Image.fromarray(RGBA), RGB),
    "PIL black and white": (PIL.Image.fromarray(GRAY > 127), np.where(GRAY_RGB > 127, 255, 0)),
    "PIL palette": (PIL.Image.fromarray(RGB[:, :1]).convert("P", palette=PIL.Image.Palette.ADAPTIVE), RGB[:, :1]),
    "PIL 16 bits": (PIL.Image.fromarray(GRAY.astype(np.uint16) * 257), GRAY_RGB),
    "tensor": (torch.from_numpy(RGB).permute(2, 0, 1), RGB),
    "tensor gray": (torch.from_numpy(GRAY.copy()), GRAY_RGB),
    "tensor gray with an axis": (torch.from_numpy(GRAY.copy())[None], GRAY_RGB),
    "tensor RGBA": (torch.from_numpy(RGBA).permute(2, 0, 1), RGB),
    "tensor float": (torch.from_numpy(RGB).permute(2, 0, 1) / 255, RGB),
    "tensor with a gradient": ((torch.from_numpy(RGB).permute(2, 0, 1) / 255).requires_grad_(), RGB),
}


@pytest.mark.parametrize("kind", SAME)
def test_every_kind_of_picture_is_read(kind: str) -> None:
    picture, expected = SAME[kind]
    image = as_image(picture)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert np.array_equal(image, expected)


def test_half_precision_is_read_exactly() -> None:
    values = torch.tensor([0.0, 0.25, 0.5, 1.0]).reshape(1, 2, 2)
    for dtype in (torch.float16, torch.bfloat16):
        assert as_image(values.to(dtype))[..., 0].tolist() == [[0, 64], [128, 255]]


def test_opencv_frames_are_bgr() -> None:
    frame = RGB[..., ::-1]
    assert np.array_equal(as_image(frame, channels="bgr"), RGB)
    assert np.array_equal(as_image(np.dstack([frame, GRAY]), channels="bgr"), RGB)
    assert np.array_equal(as_image(torch.from_numpy(frame.copy()).permute(2, 0, 1), channels="bgr"), RGB)
    assert np.array_equal(as_image(GRAY, channels="bgr"), GRAY_RGB)
    assert np.array_equal(as_image(PIL.Image.fromarray(RGB), channels="bgr"), RGB)  # it knows its order itself


def test_a_file_is_read_as_predict_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    PIL.Image.fromarray(RGB).save(path)
    for picture in (path, str(path)):
        assert np.array_equal(as_image(picture, channels="bgr"), decode(path, oriented=True))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_to_files_and_pil_images_alike(orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = orientation
    PIL.Image.fromarray(RGB).save(path, exif=exif)
    opened = PIL.Image.open(path)
    upright = as_image(opened)
    assert upright.shape[:2] == ((8, 6) if orientation > 4 else (6, 8))
    jpeg = tmp_path / "photo.jpg"
    PIL.Image.fromarray(np.repeat(np.repeat(RGB, 16, 0), 16, 1)).save(jpeg, exif=exif, quality=100, subsampling=0)
    from_file, from_pil = as_image(jpeg), as_image(PIL.Image.open(jpeg))
    assert from_file.shape == from_pil.shape
    assert np.abs(from_file.astype(int) - from_pil).max() <= 4  # two JPEG decoders round differently
    small = cv2.resize(from_file, upright.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - upright).mean() < 4


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_deep_pictures_are_scaled_as_in_training(dtype: Any) -> None:
    levels = Levels(29_000, 31_000)
    deep = np.array([[28_000, 29_000], [30_000, 31_500]], dtype)
    expected = [[0, 0], [128, 255]]
    assert as_image(PIL.Image.fromarray(deep), levels=levels)[..., 1].tolist() == expected
    if dtype is np.uint16:
        assert as_image(deep, levels=levels)[..., 1].tolist() == expected
        assert as_image(torch.from_numpy(deep)[None], levels=levels)[..., 1].tolist() == expected


def filled(*shape: int, value: float = 0.0, dtype: Any = np.float64) -> Any:
    return np.full(shape, value, dtype)


WRONG: dict[str, tuple[Callable[[], Any], str, str]] = {
    "255 as float": (lambda: filled(4, 4, 3, value=200.5), "values from 200.5 to 200.5", "divide by 255"),
    "normalized": (lambda: filled(4, 4, 3, value=-1.8), "values from -1.8 to -1.8", "undo its normalization"),
    "slightly above 1": (lambda: filled(4, 4, 3, value=1.001), "values from 1.001 to 1.001", "divide by 255"),
    "NaN": (lambda: filled(4, 4, 3, value=np.nan), "contains nan", "floats from 0 to 1"),
    "infinite": (lambda: filled(4, 4, 3, value=np.inf), "contains inf", "floats from 0 to 1"),
    "int64": (lambda: filled(4, 4, 3, dtype=np.int64), "dtype int64", "uint8"),
    "bool": (lambda: filled(4, 4, dtype=np.bool_), "dtype bool", "uint8"),
    "uint16": (lambda: filled(4, 4, dtype=np.uint16), "dtype uint16", "array // 256"),
    "object": (lambda: filled(4, 4, dtype=object), "dtype object", "uint8"),
    "complex": (lambda: filled(4, 4, dtype=np.complex64), "dtype complex64", "uint8"),
    "a batch": (lambda: filled(2, 4, 4, 3), "(2, 4, 4, 3) is a batch", "list(array)"),
    "one axis": (lambda: filled(12), "(12,) is not a picture", "(H, W, 3)"),
    "five axes": (lambda: filled(1, 1, 2, 2, 3), "(1, 1, 2, 2, 3) is not a picture", "(H, W, 3)"),
    "two channels": (lambda: filled(4, 4, 2, dtype=np.uint8), "(4, 4, 2) has 2 channels", "(H, W, 3)"),
    "channels first": (lambda: filled(3, 40, 30, dtype=np.uint8), "(3, 40, 30) has its channels first", "transpose"),
    "no rows": (lambda: filled(0, 4, 3, dtype=np.uint8), "(0, 4, 3) is empty", "(H, W, 3)"),
    "no columns": (lambda: filled(4, 0, dtype=np.uint8), "(4, 0) is empty", "(H, W, 3)"),
    "tensor channels last": (lambda: torch.zeros(40, 30, 3), "(40, 30, 3) has its channels last", "permute"),
    "tensor two channels": (lambda: torch.zeros(2, 4, 4), "(2, 4, 4) has 2 channels", "(3, H, W)"),
    "tensor batch": (lambda: torch.zeros(2, 3, 4, 4), "(2, 3, 4, 4) is a batch", "list(tensor)"),
    "tensor of 255": (lambda: torch.full((3, 4, 4), 255.0), "values from 255 to 255", "divide by 255"),
    "tensor of int64": (lambda: torch.zeros(3, 4, 4, dtype=torch.int64), "dtype int64", "(3, H, W)"),
    "None": (lambda: None, "the picture is None", "cv2.imread"),
    "a number": (lambda: 7, "type int", "give a path"),
    "bytes": (lambda: b"\xff\xd8", "type bytes", "give a path"),
    "empty PIL": (lambda: PIL.Image.new("RGB", (0, 4)), "empty: 0x4", "crop"),
    "PIL of 32 bits": (lambda: PIL.Image.new("F", (4, 4)), "mode F", "RGB"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_not_a_picture_is_an_error_with_the_value_and_the_cure(kind: str) -> None:
    make, problem, cure = WRONG[kind]
    with pytest.raises(ArgumentError) as caught:
        as_image(make())
    assert problem in caught.value.problem
    assert cure in caught.value.hint


def test_an_unknown_order_of_channels_is_an_error() -> None:
    with pytest.raises(ArgumentError, match="channels is 'RGB'"):
        as_image(RGB, channels="RGB")  # type: ignore[arg-type]


@pytest.mark.parametrize(("content", "problem"), [(b"", "not an image"), (b"no image at all", "not an image")])
def test_a_broken_file_is_an_error_with_its_name(content: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=problem) as caught:
        as_image(path)
    assert caught.value.place is not None
    assert caught.value.place.path == path


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        as_image(tmp_path / "missing.jpg")
