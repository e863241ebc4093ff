"""Trained models as files that run without vocdet, and the check that they do the same."""
