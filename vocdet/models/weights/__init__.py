"""Weights from files: published checkpoints, other libraries, and how they fit a network."""
