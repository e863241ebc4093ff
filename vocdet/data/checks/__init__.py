"""What `check` looks for in a dataset that was read."""
