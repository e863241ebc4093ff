"""CSV: one row an object."""
