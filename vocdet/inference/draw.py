"""Draw boxes, masks, labels and scores; arrange images on a sheet."""

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
from vocdet.inference.draw_masks import Color, cut_masks, luminance, scaled_masks, tint
from vocdet.inputs.images import Image
from vocdet.mask_crops import MaskCrops

# Sasha Trubetskoy's "list of 20 simple, distinct colors", the most accessible ones first: visible on dark and on
# light, and distinct for most people with color blindness.
PALETTE: tuple[Color, ...] = (
    (255, 225, 25), (0, 130, 200), (245, 130, 48), (220, 190, 255), (60, 180, 75), (230, 25, 75), (70, 240, 240),
    (240, 50, 230), (210, 245, 60), (170, 110, 40), (250, 190, 212), (0, 128, 128), (170, 255, 195), (145, 30, 180),
    (255, 215, 180), (128, 128, 0), (255, 250, 200), (128, 0, 0), (128, 128, 128), (0, 0, 128),
)  # fmt: skip
GOLDEN = (math.sqrt(5) - 1) / 2  # step of the hue beyond the palette: never repeats a color
FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "msyh.ttc", "arialuni.ttf", "Arial Unicode.ttf", "arial.ttf")
MIN_TEXT = 12  # pixels: the smallest legible text
LINE = 300  # pixels of the mean image side for each pixel of line width
TEXT = 40  # and for each pixel of text height
PAPER: Color = (255, 255, 255)


def color(label: int) -> Color:
    """The RGB color of a label: always the same, and different from its neighbors'."""
    if label < len(PALETTE):
        return PALETTE[label]
    rest = label - len(PALETTE)
    red, green, blue = colorsys.hsv_to_rgb(rest * GOLDEN % 1, 0.65 + 0.35 * (rest % 2), 1 - 0.3 * (rest % 3) / 2)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw(image: Image, detections: Detections, labels: Sequence[str], *, side: int = 0) -> Image:
    """A copy of the image (H, W, 3) with its detections, the best on top; `side` is that of `draw_boxes`."""
    order = range(len(detections) - 1, -1, -1)
    texts = [f"{_id_text(detections, i)}{labels[detections.labels[i]]} {detections.scores[i]:.0%}" for i in order]
    masks = None if detections.masks is None else cut_masks(detections.masks.take(list(order)), *image.shape[:2])
    names = [int(detections.labels[i]) for i in order]
    return draw_boxes(image, detections.boxes[::-1], names, texts, masks, side=side)


def _id_text(detections: Detections, row: int) -> str:
    """The id of an object that is followed, before its label."""
    return f"#{detections.ids[row]} " if detections.ids is not None and detections.ids[row] > 0 else ""


def draw_line(drawn: Image, start: tuple[int, int], end: tuple[int, int], text: str) -> None:
    """Draw a line to count at into `drawn` in place, with a text at its first end."""
    width = max(2, round(sum(drawn.shape[:2]) / 2 / LINE))
    cv2.line(drawn, start, end, (0, 0, 0), width + 2)
    cv2.line(drawn, start, end, PAPER, width)
    chip = _chip(text, max(MIN_TEXT, round(sum(drawn.shape[:2]) / 2 / TEXT)), PAPER)
    _paste(drawn, chip, start[0] + width, start[1] + width)


def draw_objects(image: Image, objects: Objects, labels: Sequence[str], *, side: int = 0) -> Image:
    """A copy of the image with its annotated objects; difficult ones are marked. `side` is that of `draw_boxes`."""
    texts = [
        f"{labels[label]} (difficult)" if difficult else labels[label]
        for label, difficult in zip(objects.label, objects.difficult, strict=True)
    ]
    masks = cut_masks(objects.segmentation, *image.shape[:2]) if len(objects.segmentation.rows) else None
    return draw_boxes(image, objects.box, [int(label) for label in objects.label], texts, masks, side=side)


def draw_boxes(
    image: Image,
    boxes: Boxes,
    labels: Sequence[int],
    texts: Sequence[str],
    masks: MaskCrops | None = None,
    *,
    side: int = 0,
) -> Image:
    """A copy of the image with boxes (N, 4) in the colors of their labels, and a text at each top left corner.

    Masks are below the boxes, later objects on top. An image whose longer side has more than `side` pixels is shrunk
    before, so that its texts stay legible; 0: it is not.
    """
    if 0 < side < max(image.shape[:2]):
        scale = side / max(image.shape[:2])
        height, width = (max(1, round(scale * one)) for one in image.shape[:2])
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        boxes, masks = boxes * scale, None if masks is None else scaled_masks(masks, scale)
    drawn = np.ascontiguousarray(image).copy()
    height, width = drawn.shape[:2]
    mean = (height + width) / 2
    line, size = max(1, round(mean / LINE)), max(MIN_TEXT, round(mean / TEXT))
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
    """A copy of the image with a text in its lower left corner."""
    drawn = np.ascontiguousarray(image).copy()
    _paste(drawn, _chip(text, max(MIN_TEXT, round(sum(drawn.shape[:2]) / 2 / TEXT)), PAPER), 0, len(drawn))
    return drawn


def side_by_side(left: Image, right: Image) -> Image:
    """Two images side by side, below the captions "ground truth" and "detections"."""
    captions, width = ("ground truth", "detections"), left.shape[1] + right.shape[1]
    return contact_sheet((left, right), captions=captions, columns=2, width=width)


def contact_sheet(
    pictures: Sequence[Image], *, captions: Sequence[str] = (), columns: int = 0, width: int = 1600
) -> Image:
    """Images in rows on a sheet of `width` pixels, each fitted into a cell, below its caption.

    `columns` 0 makes the sheet about square.
    """
    if not pictures or (captions and len(captions) != len(pictures)):
        raise ValueError(f"{len(pictures)} pictures, {len(captions)} captions")
    columns = columns or math.ceil(math.sqrt(len(pictures)))
    cell = width // columns
    size = max(MIN_TEXT, round(cell / TEXT))
    head = max(len(_chip(caption, size, PAPER)) for caption in captions) if captions else 0
    rows = []
    for start in range(0, len(pictures), columns):
        fitted = [
            _fit_width(picture, cell - 4) for picture in pictures[start : start + columns]
        ]  # 4: the gap between cells
        row = np.full((head + 4 + max(len(one) for one in fitted), width, 3), PAPER, np.uint8)
        for i, one in enumerate(fitted):
            if captions:
                _paste(row, _chip(captions[start + i], size, PAPER), i * cell + 2, 0)
            _paste(row, one, i * cell + 2, head + 2)
        rows.append(row)
    return np.concatenate(rows)


def _fit_width(picture: Image, width: int) -> Image:
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    shrinks = width < picture.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, height), interpolation=method), np.uint8)


def _paste(canvas: Image, patch: Image, x: int, y: int) -> None:
    """Paste a patch: shifted inside the canvas, and cropped where it is larger."""
    height, width = canvas.shape[:2]
    x, y = max(0, min(x, width - patch.shape[1])), max(0, min(y, height - patch.shape[0]))
    window = canvas[y : y + patch.shape[0], x : x + patch.shape[1]]
    window[:] = patch[: window.shape[0], : window.shape[1]]


@lru_cache(maxsize=1024)  # a video repeats a few texts
def _chip(text: str, size: int, paper: Color) -> Image:
    """A text on a background (h, w, 3), in black or white, whichever contrasts more."""
    ink = 0 if luminance(paper) > 110 else 255
    cover = (_built_in if hasattr(cv2, "FontFace") else _installed)(text, size)[..., None] / 255  # (h, w, 1)
    chip = np.rint(np.array(paper) * (1 - cover) + ink * cover).astype(np.uint8)
    chip.setflags(write=False)
    return chip


def _built_in(text: str, size: int) -> NDArray[np.uint8]:
    """Coverage (h, w) 0 to 255 of a text in the font of OpenCV 5, which has most scripts of the world."""
    face, margin = cv2.FontFace("sans"), size // 3
    x, y, w, h = cv2.getTextSize((0, 0), text, (0, 0), face, size, 500)
    cover = np.zeros((max(h, round(1.25 * size)) + 2, x + w + 2 * margin, 3), np.uint8)
    cv2.putText(cover, text, (margin, 1 - y), (255, 255, 255), face, size, 500)
    return cover[..., 0]


def _installed(text: str, size: int) -> NDArray[np.uint8]:
    """The same with OpenCV 4, in an installed font that has all the letters; else ? replaces missing ones."""
    font = next((font for font in _fonts(size) if _known_glyphs(text, font) == text), None)
    font, text = (font, text) if font else (_fonts(size)[0], _known_glyphs(text, _fonts(size)[0]))
    margin = size // 3
    cover = PIL.Image.new("L", (math.ceil(font.getlength(text)) + 2 * margin, round(1.25 * size) + 2))
    ImageDraw.Draw(cover).text((margin, size + 1), text, 255, font, anchor="ls")
    return np.asarray(cover)


@lru_cache(maxsize=16)
def _fonts(size: int) -> tuple[ImageFont.FreeTypeFont, ...]:
    """The installed fonts, followed by that of Pillow, which has only ASCII."""
    fonts = []
    for name in FONTS:
        with contextlib.suppress(OSError):
            fonts.append(ImageFont.truetype(name, size))
    own = ImageFont.load_default(size)
    return (*fonts, own) if isinstance(own, ImageFont.FreeTypeFont) else tuple(fonts)


def _known_glyphs(text: str, font: ImageFont.FreeTypeFont) -> str:
    """The text with ? for every letter that the font lacks."""
    missing = bytes(font.getmask("\uffff"))  # no letter has this code
    return "".join("?" if bytes(font.getmask(letter)) == missing else letter for letter in text)
