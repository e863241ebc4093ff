"""What several formats read and write with."""
