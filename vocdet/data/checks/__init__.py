"""The checks of a dataset that has been read."""
