"""Runs over a grid of values, one after another, and what they came to side by side."""
