"""Pictures of any kind as RGB arrays for a detector."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ImageOps

from vocdet.data.levels import Levels, choose_levels
from vocdet.errors import ArgumentError
from vocdet.inputs.images import Image, decode

if TYPE_CHECKING:
    import torch

Picture: TypeAlias = "str | Path | PIL.Image.Image | NDArray[Any] | torch.Tensor"
Channels = Literal["rgb", "bgr"]

_ARRAY = "give an array (H, W, 3) of uint8, or of floats from 0 to 1"
_TENSOR = "give a tensor (3, H, W) of uint8, or of floats from 0 to 1"


def as_image(picture: Picture, *, channels: Channels = "rgb", levels: Levels | None = None) -> Image:
    """The picture as RGB (H, W, 3) uint8.

    The EXIF orientation of files and PIL images is applied. Arrays are (H, W), (H, W, 1), (H, W, 3) or (H, W, 4),
    tensors the same with the channels first; both hold uint8, or floats from 0 to 1. Transparency is dropped.
    `channels` is the order in arrays and tensors. `levels` are for more than 8 bits a sample; without them, each such
    file and PIL image gets its own, and arrays of uint16 are refused. Raises an `ArgumentError` for anything else, and
    an `ImageError` for a broken file.
    """
    if channels not in ("rgb", "bgr"):
        raise ArgumentError(f"channels is {channels!r}", hint='give `channels="rgb"` or `channels="bgr"`')
    if isinstance(picture, str | Path):
        return decode(Path(picture), oriented=True, levels=levels)
    if isinstance(picture, PIL.Image.Image):
        return _from_pil(picture, levels)
    torch = sys.modules.get("torch")  # without it, nothing is a tensor
    if torch and isinstance(picture, torch.Tensor):
        return _from_tensor(picture, channels, levels)
    if isinstance(picture, np.ndarray):
        return _from_array(picture, channels, _ARRAY, levels)
    if picture is None:
        hint = "check the path: cv2.imread returns None for a file it cannot read"
        raise ArgumentError("the picture is None", hint=hint)
    hint = "give a path, a PIL image, an array (H, W, 3), a tensor (3, H, W), or a list of these"
    raise ArgumentError(f"a picture cannot be of type {type(picture).__name__}", hint=hint)


def _from_pil(picture: PIL.Image.Image, levels: Levels | None) -> Image:
    if not picture.width or not picture.height:
        raise ArgumentError(f"the picture is empty: {picture.width}x{picture.height} pixels", hint="check its crop box")
    oriented = ImageOps.exif_transpose(picture)
    if oriented.mode.startswith("I;16") or (oriented.mode in ("I", "F") and levels):
        deep = np.asarray(oriented.convert("I") if oriented.mode[0] == "I" else oriented)
        return _as_rgb((levels or choose_levels([deep])).apply(deep))  # as for files
    if oriented.mode in ("I", "F", "LAB"):
        hint = "convert it to RGB with 8 bits a channel first"
        raise ArgumentError(f"a PIL image of mode {oriented.mode} has no unambiguous colors", hint=hint)
    return np.asarray(oriented.convert("RGB"), np.uint8)


def _from_tensor(tensor: torch.Tensor, channels: Channels, levels: Levels | None) -> Image:
    values = tensor.detach().cpu()
    if values.is_floating_point():
        values = values.float()  # NumPy has no bfloat16
    array = values.numpy()
    if array.ndim == 3:
        if array.shape[0] > 4 and array.shape[2] in (1, 3, 4):
            problem = f"a tensor of shape {_shape_text(array)} has its channels last"
            raise ArgumentError(problem, hint="give tensor.permute(2, 0, 1)")
        if array.shape[0] not in (1, 3, 4):
            raise ArgumentError(f"a tensor of shape {_shape_text(array)} has {array.shape[0]} channels", hint=_TENSOR)
        array = array.transpose(1, 2, 0)
    elif array.ndim == 4:
        raise ArgumentError(f"a tensor of shape {_shape_text(array)} is a batch", hint="give list(tensor)")
    return _from_array(array, channels, _TENSOR, levels)


def _from_array(array: NDArray[Any], channels: Channels, hint: str, levels: Levels | None) -> Image:
    if array.ndim == 4:
        raise ArgumentError(f"an array of shape {_shape_text(array)} is a batch", hint="give list(array)")
    if array.ndim not in (2, 3):
        raise ArgumentError(f"an array of shape {_shape_text(array)} is not a picture", hint=hint)
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4):
        if array.shape[0] in (1, 3, 4) and array.shape[2] > 4:
            problem = f"an array of shape {_shape_text(array)} has its channels first"
            raise ArgumentError(problem, hint="give array.transpose(1, 2, 0)")
        raise ArgumentError(f"an array of shape {_shape_text(array)} has {array.shape[2]} channels", hint=hint)
    if not array.size:
        raise ArgumentError(f"an array of shape {_shape_text(array)} is empty", hint=hint)
    pixels = _as_rgb(levels.apply(array) if levels and array.dtype == np.uint16 else _bytes(array, hint))
    return np.ascontiguousarray(pixels[..., ::-1]) if channels == "bgr" else pixels


def _bytes(array: NDArray[Any], hint: str) -> NDArray[np.uint8]:
    """The values as uint8; floats from 0 to 1 become 0 to 255, rounded to nearest."""
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f":
        if array.dtype == np.uint16:
            hint = "divide by 256: (array // 256).astype(numpy.uint8)"
        raise ArgumentError(f"a picture cannot be of dtype {array.dtype}", hint=hint)
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ArgumentError(f"a picture of floats contains {low if low != low else high}", hint=hint)
    if low < 0 or high > 1:
        hint = "divide by 255, or give uint8" if low >= 0 and high <= 255 else "undo its normalization"
        raise ArgumentError(f"a picture of floats has values from {low:.6g} to {high:.6g}", hint=hint)
    return np.asarray(np.rint(array * 255), np.uint8)


def _as_rgb(pixels: NDArray[Any]) -> Image:
    """Gray (H, W) or (H, W, 1), RGB, or RGB with an alpha channel, as RGB (H, W, 3)."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(pixels[..., :3], np.uint8)


def _shape_text(array: NDArray[Any]) -> str:
    return str(tuple(int(side) for side in array.shape))
