"""Backbones, heads and the checkpoint that rebuilds them."""
