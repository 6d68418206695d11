"""segzoo demo: a page on this machine, to drop pictures on."""

from typing import Annotated

import typer

from segzoo.cli.options import Device, Precision, PrecisionOf, RuntimeName, RuntimeOf
from segzoo.cli.serve import Address, Most, Running, start
from segzoo.cli.text import tell
from segzoo.errors import WeightsMissingError


def demo(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names, name.tag, or NAME=FOLDER; the first is shown first.  [default: all whose "
            "weights are on this machine]",
            metavar="[MODEL]...",
            show_default=False,
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="0 takes any that is free.", min=0, max=65535)] = 7860,
    device: Device = "auto",
    runtime: RuntimeOf = RuntimeName.torch,
    precision: PrecisionOf = Precision.fp32,
) -> None:
    """Show a page to drop pictures on.

    Open the address that it prints: drop, paste or choose a picture, and see the mask and the
    cut-out of any model. It answers to this machine alone, and nothing is fetched.
    """
    from segzoo.serve.extra import need_libraries
    from segzoo.serve.settings import named_models

    need_libraries()
    refs = list(models or ()) or models_here()
    if not refs:
        raise WeightsMissingError(
            "no weights are on this machine", next_step="Run: pip install 'segzoo-core[all]'"
        )
    named = named_models(refs)
    tell("open the address below in a browser, once it is there")
    start(
        named,
        Address(port=port),
        Running(device=device, runtime=runtime, precision=precision),
        Most(),
        page=True,
        at_once=False,
    )


def models_here() -> list[str]:
    """`name.tag` of all weights on this machine, the best for cut-outs first."""
    from segzoo.model.choice import best
    from segzoo.model.origin import is_here
    from segzoo.zoo import registry
    from segzoo.zoo.installed import missing

    found = [
        f"{row.entry.name}.{tag}"
        for row in registry.rows()
        if row.spec is not None and not row.spec.deprecated and not missing(row.spec.requires)
        for tag, record in row.spec.weights.items()
        if not record.retired and is_here(row.entry, row.spec, record)
    ]
    try:
        first = best().ref
    except WeightsMissingError:
        first = ""
    return sorted(found, key=lambda ref: ref != first)
