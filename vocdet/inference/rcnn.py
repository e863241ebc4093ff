"""Mask R-CNN applied to images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vocdet.data.detections import Detections
from vocdet.data.levels import Levels
from vocdet.inputs.bridge import to_detections
from vocdet.inputs.images import Image, fit_size, resize
from vocdet.models.rcnn.model import SCORE, MaskRcnn
from vocdet.models.rcnn.paste import pasted
from vocdet.runtimes.predictor import thresholds_of

MULTIPLE = 32  # of the canvas sides: the stride of the backbone's last map
CUDA_BATCH = 8  # images per forward pass; on a CPU one at a time is as fast and needs less memory


class RcnnPredictor:
    """Detects objects and their masks in images of any size; see `vocdet.runtimes.predictor.Predictor`."""

    def __init__(self, model: MaskRcnn, thresholds: Sequence[float] | None = None) -> None:
        self._model = model.eval()
        self._batch = CUDA_BATCH if model.mean.device.type == "cuda" else 1
        self.labels = model.spec.labels
        self.levels: Levels | None = None
        self.thresholds: NDArray[np.float32] = thresholds_of(self.labels, thresholds)  # (L,)

    def detect(self, images: Sequence[Image], *, score: float = SCORE) -> list[Detections]:
        """The detections above `score` in each RGB image (H, W, 3) uint8, best first, in pixels of that image.

        They have masks if the model predicts masks.
        """
        detections: list[Detections] = []
        for first in range(0, len(images), self._batch):
            some = images[first : first + self._batch]
            batch, sizes = self._fitted(some)
            detections += self.detect_fitted(batch, sizes, [(i.shape[1], i.shape[0]) for i in some], score=score)
        return detections

    @torch.inference_mode()
    def detect_fitted(
        self, batch: Tensor, sizes: Tensor | None, sides: Sequence[tuple[int, int]], *, score: float = SCORE
    ) -> list[Detections]:
        """The same for a batch (B, 3, H, W) of images at the input size: (height, width) in `sizes` (B, 2).

        `sides` are the original (width, height); without `sizes` every image fills the canvas.
        """
        fitted = [tuple(batch.shape[-2:])] * len(batch) if sizes is None else sizes.tolist()
        detections = []
        for one, (height, width), (w, h) in zip(
            self._model.detect(batch, sizes, score=score), fitted, sides, strict=True
        ):
            scale = (w / width, h / height)
            masks = None
            if one.masks is not None:
                at = one.boxes.float().cpu() * torch.tensor([*scale, *scale])
                masks = pasted(one.masks, at, h, w)
            detections.append(to_detections(one.boxes, one.scores, one.classes, scale=scale, masks=masks))
        return detections

    def _fitted(self, images: Sequence[Image]) -> tuple[Tensor, Tensor]:
        """Images at the input size on a canvas (B, 3, H, W), and the (height, width) of each (B, 2)."""
        spec = self._model.spec
        sizes = [fit_size(image.shape[1], image.shape[0], spec.size, spec.longest) for image in images]
        height, width = (-(-max(size[i] for size in sizes) // MULTIPLE) * MULTIPLE for i in (0, 1))
        canvas = np.zeros((len(images), height, width, 3), np.uint8)  # the network zeroes the padding
        for place, image, size in zip(canvas, images, sizes, strict=True):
            place[: size[0], : size[1]] = resize(image, size)
        return torch.from_numpy(canvas).permute(0, 3, 1, 2), torch.tensor(sizes)
