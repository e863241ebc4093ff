"""Any detector on tiles of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vocdet.data.detections import Detections
from vocdet.data.levels import Levels
from vocdet.data.tiles import Tiles
from vocdet.inference.tiling import merged
from vocdet.runtimes.predictor import Predictor

if TYPE_CHECKING:
    from vocdet.inputs.images import Image  # loads OpenCV, which metrics do not need

TILES = 8  # per forward pass


class TiledPredictor:
    """Detects objects in tiles of images of any size; see `vocdet.runtimes.predictor.Predictor`.

    `tiles.whole` adds a pass over the whole image, for objects that are larger than a tile.
    """

    def __init__(self, inner: Predictor, tiles: Tiles) -> None:
        self.inner, self.tiles = inner, tiles

    @property
    def labels(self) -> tuple[str, ...]:
        """Those of the detector."""
        return self.inner.labels

    @property
    def thresholds(self) -> NDArray[np.float32]:
        """Those of the detector."""
        return self.inner.thresholds

    @property
    def levels(self) -> Levels | None:
        """Those of the detector."""
        return self.inner.levels

    @levels.setter
    def levels(self, levels: Levels | None) -> None:
        self.inner.levels = levels

    def detect(self, images: Sequence[Image], *, score: float | None = None) -> list[Detections]:
        """The detections above `score` in each image, best first, in pixels of that image."""
        options = {} if score is None else {"score": score}
        results = []
        for image in images:
            height, width = image.shape[:2]
            windows = self.tiles.views(width, height)
            views = [np.ascontiguousarray(image[y0:y1, x0:x1]) for x0, y0, x1, y1 in windows.tolist()]
            found: list[Detections] = []
            for first in range(0, len(views), TILES):
                found += self.inner.detect(views[first : first + TILES], **options)
            results.append(merged(found, windows, (width, height)))
        return results


@dataclass(frozen=True, slots=True)
class TileChoice:
    """Whether to detect on tiles."""

    size: int | None = None  # pixels of the image; 0: whole images; None: as the detector was trained
    overlap: float = 0.2
    whole: bool = True  # one more pass over the whole image

    def __post_init__(self) -> None:
        self.tiles()  # invalid values are reported before anything is loaded

    def tiles(self) -> Tiles | None:
        """The tiles that were chosen."""
        return Tiles(self.size, self.overlap, self.whole) if self.size else None

    def apply(self, detector: Predictor) -> Predictor:
        """The detector on these tiles."""
        if self.size is None:
            return detector
        inner, tiles = detector.inner if isinstance(detector, TiledPredictor) else detector, self.tiles()
        return TiledPredictor(inner, tiles) if tiles else inner
