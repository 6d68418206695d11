"""Trainings without curves.png: most of the time of a short one, where nothing is asked of it."""

import pytest

from segzoo.runs import training

__all__ = ["undrawn"]


@pytest.fixture
def undrawn(monkeypatch):
    monkeypatch.setattr(training, "_drawing", lambda: None)
