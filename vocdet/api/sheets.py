"""Datasets as pictures, for notebooks."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image

from vocdet.data.dataset import Dataset
from vocdet.errors import ImageError
from vocdet.inference.draw import contact_sheet, draw_objects
from vocdet.inputs.images import decode_image

SHEET_IMAGES = 9  # on a sheet
WIDTH = 960  # pixels of a sheet


def dataset_png(dataset: Dataset) -> bytes:
    """A PNG of some images of a dataset, evenly chosen, with their annotations; broken images are left out."""
    rows = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), SHEET_IMAGES)).astype(int))
    pictures, captions = [], []
    for row in rows.tolist():
        sample = dataset[row]
        try:
            image = decode_image(sample)
        except ImageError:
            continue
        pictures.append(draw_objects(image, sample.objects, dataset.labels))
        captions.append(sample.stem)
    sheet = contact_sheet(pictures, captions=captions, width=WIDTH) if pictures else np.full((1, 1, 3), 255, np.uint8)
    return png(PIL.Image.fromarray(sheet))


def png(picture: PIL.Image.Image) -> bytes:
    """A picture as the bytes of a PNG."""
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()
