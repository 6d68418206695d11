"""Which plugin of ours offers a model that is not installed, for an error's sentence."""

import json
from importlib import resources

__all__ = ["plugin_of"]


def plugin_of(model: str) -> str:
    """The distribution of this project that offers a model, by `make docs`; empty for none."""
    text = resources.files("segzoo.zoo").joinpath("offered.json").read_text("utf-8")
    offered: dict[str, list[str]] = json.loads(text)
    return next((plugin for plugin, models in offered.items() if model in models), "")
