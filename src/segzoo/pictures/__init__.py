"""Pixels, and what their values mean."""
