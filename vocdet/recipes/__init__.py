"""Recipes: all settings of a training."""
