"""Layers that draw random numbers."""

from __future__ import annotations

import torch
from torch import nn


class Seeded(nn.Module):
    """A layer that draws from its `seed`, or without one from the global generator of torch.

    Threads that train on shards of a batch would draw from the global generator in any order: set a seed before each
    batch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seed: int | None = None

    def generator(self, device: torch.device) -> torch.Generator | None:
        """A generator with the seed; None without a seed."""
        return None if self.seed is None else torch.Generator(device).manual_seed(self.seed)
