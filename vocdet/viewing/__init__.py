"""The viewer of a dataset in the browser."""
