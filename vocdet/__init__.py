"""Train a small, fast detector of your own from a folder of annotated images."""

__version__ = "0.1.0"
