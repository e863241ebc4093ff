"""The terms of each annotation format, so that a finding uses those of the user's files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

import numpy as np

from vocdet.data.dataset import Dataset


@dataclass(frozen=True, slots=True)
class SourceTerms:
    """What a format calls the parts of its files."""

    object: str  # what describes one object
    file: str  # what describes one image
    size: str = ""  # where the size of the image is stated
    # Whether annotations refer to images with their EXIF orientation applied; "": the images of a dataset decide.
    shown: Literal["always", "usually", ""] = ""

    @property
    def redraw(self) -> str:
        """The hint for an object that must be wrong."""
        return f"redraw it, or delete its {self.object}"

    def replace_image(self, hint: str) -> str:
        """The hint for an image that cannot be read, where `hint` says how to get a readable one."""
        return f"{hint}, or delete it and its {self.file}"


VOC = SourceTerms("<object>", "XML", "<size>")
COCO = SourceTerms("annotation", "annotations", "width and height")
YOLO = SourceTerms("line", "label file", shown="usually")
LABELME = SourceTerms("shape", "JSON file", "imageWidth and imageHeight", "always")
CSV = SourceTerms("row", "rows", "the columns of width and height", "usually")
CVAT = SourceTerms("shape", "<image>", "width and height", "usually")
VIA = SourceTerms("region", "entry", shown="usually")
ANY = SourceTerms("annotation", "annotations")

_BY_LIST = {"annotations": COCO, "shapes": LABELME, "regions": VIA, "<image>": CVAT}
_TERMS_OF = {".xml": VOC, ".txt": YOLO, ".csv": CSV}


def terms_of(dataset: Dataset, image: int | np.integer) -> SourceTerms:
    """The terms of the format that an image was annotated in; `ANY` if it is unknown."""
    if dataset.entries:
        return _BY_LIST.get(dataset.entries, ANY)
    return _TERMS_OF.get(PurePosixPath(dataset.images.sources[image]).suffix.lower(), ANY)
