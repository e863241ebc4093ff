"""Mask R-CNN at work: images in, detections with masks out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vocdet.data.detections import Detections
from vocdet.inference.frames import batches
from vocdet.inference.thresholds import thresholds_of
from vocdet.inputs.bridge import detections_of
from vocdet.inputs.images import Image, fit_size, resize
from vocdet.models.rcnn.model import SCORE, MaskRcnn
from vocdet.models.rcnn.paste import pasted

MULTIPLE = 32  # of a canvas' sides: the stride of the backbone's last map
ON_CUDA = 8  # images that go through the network together; on a CPU one by one is as fast, and needs less memory


class MaskPredictor:
    """Finds objects and their masks in images of any size."""

    def __init__(self, model: MaskRcnn, thresholds: Sequence[float] | None = None) -> None:
        self._model = model.eval()
        self._together = ON_CUDA if model.mean.device.type == "cuda" else 1
        self.labels = model.spec.labels
        self.thresholds: NDArray[np.float32] = thresholds_of(self.labels, thresholds)  # (L,)

    def detect(self, images: Sequence[Image], *, score: float = SCORE) -> list[Detections]:
        """What is in RGB images (H, W, 3) uint8: every detection above `score`, best first, in their own pixels.

        Masks are in the pixels of each image, as long as the model has any.
        """
        found: list[Detections] = []
        for first in range(0, len(images), self._together):
            some = images[first : first + self._together]
            batch, sizes = self._fitted(some)
            found += self.detect_fitted(batch, sizes, [(i.shape[1], i.shape[0]) for i in some], score=score)
        return found

    @torch.inference_mode()
    def detect_fitted(
        self, batch: Tensor, sizes: Tensor | None, sides: Sequence[tuple[int, int]], *, score: float = SCORE
    ) -> list[Detections]:
        """The same for a batch (B, 3, H, W) of images at the input's size, each (height, width) of `sizes` (B, 2).

        `sides` are the images' own (width, height); without `sizes` each fills the canvas.
        """
        fitted = [tuple(batch.shape[-2:])] * len(batch) if sizes is None else sizes.tolist()
        found = []
        for one, (height, width), (w, h) in zip(
            self._model.detect(batch, sizes, score=score), fitted, sides, strict=True
        ):
            scale = (w / width, h / height)
            masks = None
            if one.masks is not None:
                at = one.boxes.float().cpu() * torch.tensor([*scale, *scale])
                masks = pasted(one.masks, at, h, w)
            found.append(detections_of(one.boxes, one.scores, one.classes, scale=scale, masks=masks))
        return found

    def detect_all(
        self, images: Iterable[Image], *, batch: int = ON_CUDA, score: float = SCORE
    ) -> Iterator[Detections]:
        """Detections for a stream of images, in order."""
        for some in batches(images, batch):
            yield from self.detect(some, score=score)

    def _fitted(self, images: Sequence[Image]) -> tuple[Tensor, Tensor]:
        """Images at the input's size on one canvas (B, 3, H, W), and where each ends (B, 2)."""
        spec = self._model.spec
        sizes = [fit_size(image.shape[1], image.shape[0], spec.size, spec.longest) for image in images]
        height, width = (-(-max(size[i] for size in sizes) // MULTIPLE) * MULTIPLE for i in (0, 1))
        canvas = np.zeros((len(images), height, width, 3), np.uint8)  # what is padded is nothing to the network
        for place, image, size in zip(canvas, images, sizes, strict=True):
            place[: size[0], : size[1]] = resize(image, size)
        return torch.from_numpy(canvas).permute(0, 3, 1, 2), torch.tensor(sizes)
