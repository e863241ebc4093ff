"""torchvision's detectors, with random weights: for their speed and size, beside their published average precision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models import detection, get_model, get_model_weights, list_models

from vocdet.data.detections import Detections
from vocdet.data.levels import Levels
from vocdet.errors import ArgumentError
from vocdet.inputs.images import Image
from vocdet.runtimes.predictor import thresholds_of
from vocdet.wording import did_you_mean, listed

_SCORE = 0.05  # of a detection: random weights score all labels alike, and NMS would sort thousands of boxes


class PublishedPredictor:
    """Detects with an architecture of torchvision; see `vocdet.runtimes.predictor.Predictor`."""

    def __init__(self, name: str, *, device: str = "cpu") -> None:
        known = list_models(module=detection)
        if name not in known:
            hint = did_you_mean(name, known) or f"give one of {listed(known, most=20)}"
            raise ArgumentError(f"torchvision has no detector {name!r}", hint=hint)
        meta = get_model_weights(name).DEFAULT.meta
        self.name, self.device = name, device
        self.labels: tuple[str, ...] = tuple(dict.fromkeys(meta["categories"]))
        self.levels: Levels | None = None
        self.thresholds: NDArray[np.float32] = thresholds_of(self.labels, None)
        self.bytes = round(1e6 * meta["_file_size"])
        self.ap: float = meta["_metrics"]["COCO-val2017"]["box_map"] / 100
        self.model = get_model(name, weights=None, weights_backbone=None).eval().to(device)
        if hasattr(self.model, "score_thresh"):
            self.model.score_thresh = _SCORE
        transform = self.model.transform
        first, second = (transform.fixed_size or (transform.max_size, transform.min_size[0]))[::-1]
        self.size: tuple[int, int] = (first, second)  # pixels: height and width, or the shorter side and the longest

    @torch.inference_mode()
    def detect(self, images: Sequence[Image], *, score: float = _SCORE) -> list[Detections]:
        """The detections above `score` in each RGB image (H, W, 3) uint8."""
        batch = [torch.from_numpy(image).permute(2, 0, 1).to(self.device) / 255 for image in images]
        found = []
        for one in self.model(batch) if batch else ():
            rows = one["scores"] > score
            columns = (one[key][rows].cpu().numpy() for key in ("boxes", "scores", "labels"))
            found.append(Detections(*columns))
        return found

    @property
    def separable(self) -> bool:
        """Whether the network is one block between resizing and decoding."""
        return hasattr(self.model, "head")

    @torch.inference_mode()
    def network(self, batch: Tensor) -> object:
        """The outputs of a separable network for a batch (B, 3, H, W) at its input size."""
        return self.model.head(list(self.model.backbone(batch.to(self.device)).values()))
