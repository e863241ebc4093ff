"""The images of a dataset: found by name, with their size, orientation and depth."""
