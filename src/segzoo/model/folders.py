"""Folders that another library saved: which one it was, and what it says of the network.

Which kinds there are is said by plugins (`segzoo.keymap.SavedFolder`).
"""

import contextlib
from pathlib import Path

from segzoo.base.records import Json
from segzoo.errors import ConfigError, SegzooError, UsageError, printable
from segzoo.keymap import SavedFolder
from segzoo.saved import config as configs
from segzoo.zoo import registry

__all__ = ["arguments_in", "kind_of"]


def kind_of(folder: Path) -> SavedFolder | None:
    """What wrote a folder, by the names that its config.json has; None for what nobody knows."""
    with contextlib.suppress(SegzooError):
        settings = configs.read_json(folder / configs.CONFIG_NAME)
        for entry in registry.entries(registry.FOLDERS):
            with contextlib.suppress(SegzooError):
                kind = entry.load_as(SavedFolder)
                if settings.keys() >= {*kind.keys}:
                    return kind
    return None


def arguments_in(folder: Path) -> tuple[str, dict[str, Json]]:
    """The name and options with which a model of ours is the network of another library's folder.

    "num_classes" and "in_channels" are among the options, and the names of "classes" may be.
    UsageError for a folder of no known kind, and of one that holds no network of ours; ConfigError
    for what ours cannot do, all of it.
    """
    kind = kind_of(folder)
    if kind is None:
        raise UsageError(
            "a folder, and no plugin knows what wrote it",
            file=folder,
            next_step="Give the file of its weights, and --to MODEL",
        )
    if not kind.arguments:
        raise UsageError(f"{kind.summary} wrote it, which holds no network of segzoo", file=folder)
    function = registry.resolve(kind.arguments)
    try:
        name, options = function(configs.read_json(folder / configs.CONFIG_NAME))
    except ValueError as error:
        raise ConfigError(printable(str(error))[:500], file=folder) from None
    return name, options
