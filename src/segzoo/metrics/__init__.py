"""Metrics: one definition each, on the level of a data set, with its source."""
