"""Boxes, masks, labels and scores on pictures; pictures side by side."""

from __future__ import annotations

import colorsys
import contextlib
import math
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ImageDraw, ImageFont

from vocdet.boxes import Boxes
from vocdet.data.dataset import Objects
from vocdet.data.detections import Detections
from vocdet.inference.draw_masks import Color, cut_masks, luminance, tint
from vocdet.inputs.images import Image
from vocdet.mask_crops import MaskCrops

# Sasha Trubetskoy's "list of 20 simple, distinct colors": those that most people tell apart and that can be seen
# on dark and on light come first.
PALETTE: tuple[Color, ...] = (
    (255, 225, 25), (0, 130, 200), (245, 130, 48), (220, 190, 255), (60, 180, 75), (230, 25, 75), (70, 240, 240),
    (240, 50, 230), (210, 245, 60), (170, 110, 40), (250, 190, 212), (0, 128, 128), (170, 255, 195), (145, 30, 180),
    (255, 215, 180), (128, 128, 0), (255, 250, 200), (128, 0, 0), (128, 128, 128), (0, 0, 128),
)  # fmt: skip
GOLDEN = (math.sqrt(5) - 1) / 2  # a turn of the hue that never comes back to a colour it had
FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "msyh.ttc", "arialuni.ttf", "Arial Unicode.ttf", "arial.ttf")
SMALLEST_TEXT = 12  # pixels: what can be read
LINE = 300  # a line is one pixel wide for so many of the mean of width and height
TEXT = 40  # and a letter one pixel high for so many
PAPER: Color = (255, 255, 255)


def color(label: int) -> Color:
    """The colour of a label: always the same, and another than its neighbours'."""
    if label < len(PALETTE):
        return PALETTE[label]
    rest = label - len(PALETTE)
    red, green, blue = colorsys.hsv_to_rgb(rest * GOLDEN % 1, 0.65 + 0.35 * (rest % 2), 1 - 0.3 * (rest % 3) / 2)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw(image: Image, found: Detections, labels: Sequence[str]) -> Image:
    """A copy of the picture with what was found in it, the best on top."""
    order = range(len(found) - 1, -1, -1)
    texts = [f"{labels[found.labels[i]]} {found.scores[i]:.0%}" for i in order]
    masks = None if found.masks is None else cut_masks(found.masks.take(list(order)), *image.shape[:2])
    return draw_boxes(image, found.boxes[::-1], [int(found.labels[i]) for i in order], texts, masks)


def draw_truth(image: Image, objects: Objects, labels: Sequence[str]) -> Image:
    """A copy of the picture with its annotated objects; a difficult one says so."""
    texts = [
        f"{labels[label]} (difficult)" if difficult else labels[label]
        for label, difficult in zip(objects.label, objects.difficult, strict=True)
    ]
    masks = cut_masks(objects.segmentation, *image.shape[:2]) if len(objects.segmentation.rows) else None
    return draw_boxes(image, objects.box, [int(label) for label in objects.label], texts, masks)


def draw_boxes(
    image: Image, boxes: Boxes, labels: Sequence[int], texts: Sequence[str], masks: MaskCrops | None = None
) -> Image:
    """A copy of the picture with boxes in their labels' colours, each with a text at its top left corner.

    Under them lie the masks, where there are any. Of all, the last are on top.
    """
    drawn = np.ascontiguousarray(image).copy()
    height, width = drawn.shape[:2]
    mean = (height + width) / 2
    line, size = max(1, round(mean / LINE)), max(SMALLEST_TEXT, round(mean / TEXT))
    if masks is not None:
        tint(drawn, masks, [color(label) for label in labels], line)
    corners = np.clip(np.rint(boxes), 0, (width, height, width, height)).astype(int)
    for (xmin, ymin, xmax, ymax), label in zip(corners.tolist(), labels, strict=True):
        cv2.rectangle(drawn, (xmin, ymin), (max(xmax - 1, xmin), max(ymax - 1, ymin)), color(label), line)
    for (xmin, ymin, _, ymax), label, text in zip(corners.tolist(), labels, texts, strict=True):
        chip = _chip(text, size, color(label))
        h = len(chip)
        _paste(drawn, chip, xmin, ymin - h if ymin >= h else min(ymin, ymax - h))
    return drawn


def caption(image: Image, text: str) -> Image:
    """A copy of the picture with a text in its lower left corner."""
    drawn = np.ascontiguousarray(image).copy()
    _paste(drawn, _chip(text, max(SMALLEST_TEXT, round(sum(drawn.shape[:2]) / 2 / TEXT)), PAPER), 0, len(drawn))
    return drawn


def side_by_side(left: Image, right: Image, *, captions: tuple[str, str] = ("annotated", "found")) -> Image:
    """Two pictures beside each other, as high as the higher one, each under its caption."""
    return contact_sheet((left, right), captions=captions, columns=2, width=left.shape[1] + right.shape[1])


def contact_sheet(
    pictures: Sequence[Image], *, captions: Sequence[str] = (), columns: int = 0, width: int = 1600
) -> Image:
    """Pictures in rows on one sheet of `width` pixels, each fitted into a cell, under its caption if there are any.

    `columns` 0 takes as many as make the sheet about square.
    """
    if not pictures or (captions and len(captions) != len(pictures)):
        raise ValueError(f"{len(pictures)} pictures, {len(captions)} captions")
    columns = columns or math.ceil(math.sqrt(len(pictures)))
    cell = width // columns
    size = max(SMALLEST_TEXT, round(cell / TEXT))
    head = max(len(_chip(caption, size, PAPER)) for caption in captions) if captions else 0
    rows = []
    for start in range(0, len(pictures), columns):
        fitted = [_fit(picture, cell - 4) for picture in pictures[start : start + columns]]  # 4: a gap between cells
        row = np.full((head + 4 + max(len(one) for one in fitted), width, 3), PAPER, np.uint8)
        for i, one in enumerate(fitted):
            if captions:
                _paste(row, _chip(captions[start + i], size, PAPER), i * cell + 2, 0)
            _paste(row, one, i * cell + 2, head + 2)
        rows.append(row)
    return np.concatenate(rows)


def _fit(picture: Image, width: int) -> Image:
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    shrinks = width < picture.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, height), interpolation=method), np.uint8)


def _paste(canvas: Image, patch: Image, x: int, y: int) -> None:
    """Lay a patch on a canvas: moved inside where it sticks out, cut where it is larger."""
    height, width = canvas.shape[:2]
    x, y = max(0, min(x, width - patch.shape[1])), max(0, min(y, height - patch.shape[0]))
    window = canvas[y : y + patch.shape[0], x : x + patch.shape[1]]
    window[:] = patch[: window.shape[0], : window.shape[1]]


@lru_cache(maxsize=1024)  # a film shows the same few texts again and again
def _chip(text: str, size: int, paper: Color) -> Image:
    """A text on its colour, (h, w, 3), in black or white, whichever can be read."""
    ink = 0 if luminance(paper) > 110 else 255
    cover = (_built_in if hasattr(cv2, "FontFace") else _installed)(text, size)[..., None] / 255  # (h, w, 1)
    chip = np.rint(np.array(paper) * (1 - cover) + ink * cover).astype(np.uint8)
    chip.setflags(write=False)
    return chip


def _built_in(text: str, size: int) -> NDArray[np.uint8]:
    """How far ink covers each pixel, (h, w) 0 to 255, in the font inside OpenCV 5: it has most scripts of the world."""
    face, margin = cv2.FontFace("sans"), size // 3
    x, y, w, h = cv2.getTextSize((0, 0), text, (0, 0), face, size, 500)
    cover = np.zeros((max(h, round(1.25 * size)) + 2, x + w + 2 * margin, 3), np.uint8)
    cv2.putText(cover, text, (margin, 1 - y), (255, 255, 255), face, size, 500)
    return cover[..., 0]


def _installed(text: str, size: int) -> NDArray[np.uint8]:
    """The same with OpenCV 4: in an installed font that has all of the letters, else with ? for those it lacks."""
    font = next((font for font in _fonts(size) if _known(text, font) == text), None)
    font, text = (font, text) if font else (_fonts(size)[0], _known(text, _fonts(size)[0]))
    margin = size // 3
    cover = PIL.Image.new("L", (math.ceil(font.getlength(text)) + 2 * margin, round(1.25 * size) + 2))
    ImageDraw.Draw(cover).text((margin, size + 1), text, 255, font, anchor="ls")
    return np.asarray(cover)


@lru_cache(maxsize=16)
def _fonts(size: int) -> tuple[ImageFont.FreeTypeFont, ...]:
    """The fonts that are there, Pillow's own last: it has no letter beyond ASCII."""
    found = []
    for name in FONTS:
        with contextlib.suppress(OSError):
            found.append(ImageFont.truetype(name, size))
    own = ImageFont.load_default(size)
    return (*found, own) if isinstance(own, ImageFont.FreeTypeFont) else tuple(found)


def _known(text: str, font: ImageFont.FreeTypeFont) -> str:
    """The text with ? for every letter that the font would show as an empty frame."""
    missing = bytes(font.getmask("\uffff"))  # no letter has this code
    return "".join("?" if bytes(font.getmask(letter)) == missing else letter for letter in text)
