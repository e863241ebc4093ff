"""Layers that draw random numbers."""

from __future__ import annotations

import torch
from torch import nn


class Seeded(nn.Module):
    """A layer that draws from its `seed` where it was given one, else from torch's one generator.

    Threads that learn parts of a batch would draw from the one generator in any order; so whoever runs them gives
    every such layer a seed before each batch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seed: int | None = None

    def generator(self, device: torch.device) -> torch.Generator | None:
        """A generator made of the seed; None without one."""
        return None if self.seed is None else torch.Generator(device).manual_seed(self.seed)
