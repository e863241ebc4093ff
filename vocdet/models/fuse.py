"""A model made ready for inference."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

from vocdet.models.folding import fold_norms

M = TypeVar("M", bound=nn.Module)


def fused(model: M) -> M:
    """A copy in eval mode in which every batch norm that follows a convolution is folded into it."""
    model = copy.deepcopy(model).eval()
    fold_norms(model)
    return model
