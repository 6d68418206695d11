"""segzoo new: a plugin of one's own, to begin with."""

import shlex
from typing import Annotated

import typer

from segzoo.base.counts import count_of
from segzoo.cli.text import say


def new(
    name: Annotated[str, typer.Argument(help="What the model is called, such as my-net.")],
    folder: Annotated[
        str, typer.Option(help="Where the plugin's folder is made.", metavar="DIR")
    ] = ".",
) -> None:
    """Write a plugin that works, ready to be changed.

    NAME becomes the folder and the distribution segzoo-NAME; the model has underscores for hyphens.
    """
    from segzoo.zoo.scaffold import new_plugin

    plugin = new_plugin(name, folder)
    place = shlex.quote(str(plugin.folder))
    package = f"{place}/src/segzoo_{plugin.model}"
    data = '--data "folder:PICTURES?values=0,255&val=0.2"'
    text = f"""\
{plugin.folder}: {count_of(len(plugin.files), "file")}. What to do next:

    pip install -e {place}
    segzoo list
    segzoo check {plugin.model}
    segzoo train {plugin.model} {data} steps=20

The network is in {package}/model.py and blocks.py, what segzoo knows of it in
{package}/spec.py."""
    say(*text.split("\n"))
