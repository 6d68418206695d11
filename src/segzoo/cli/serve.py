"""segzoo serve: models behind HTTP, for programs."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from segzoo.base.counts import count_of
from segzoo.cli.options import (
    Device,
    Precision,
    PrecisionOf,
    RuntimeName,
    RuntimeOf,
    spelled_out,
)
from segzoo.cli.text import tell
from segzoo.errors import UsageError, printable

if TYPE_CHECKING:
    from segzoo.serve.settings import ServerSettings

TOKEN = "SEGZOO_TOKEN"
MAX_TOKEN_FILE = 4096


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where it is reached."""

    host: Annotated[str, typer.Option(help="An address; one that others reach needs a token.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, typer.Option(help="0 takes any that is free.", min=0, max=65535)] = 8000
    token_file: Annotated[
        str | None,
        typer.Option(
            help=f"A file with the token that requests must carry.  [default: ${TOKEN}]",
            metavar="FILE",
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Running:
    """What runs the models."""

    device: Device = "auto"
    runtime: RuntimeOf = RuntimeName.torch
    precision: PrecisionOf = Precision.fp32
    workers: Annotated[int, typer.Option(help="Processes that run them.", min=1, max=64)] = 1
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Pictures run together, at most.  [default: as segzoo predict]",
            min=1,
            max=256,
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Most:
    """How much it takes on."""

    max_pixels: Annotated[int, typer.Option(help="Refuse pictures with more.", min=1)] = 32_000_000
    max_megabytes: Annotated[
        int, typer.Option(help="Refuse bodies with more.", min=1, max=4096)
    ] = 32
    queue: Annotated[int, typer.Option(help="Pictures that wait or run.", min=1, max=100_000)] = 32
    seconds: Annotated[float, typer.Option(help="For a picture, at most.", min=0.1)] = 60.0


@spelled_out
def serve(
    place: Address,
    running: Running,
    most: Most,
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names, name.tag, or NAME=FOLDER; the first is the default.  [default: the best "
            "on this machine for cut-outs]",
            metavar="[MODEL]...",
            show_default=False,
        ),
    ] = None,
    page: Annotated[
        bool, typer.Option("--page", help="Serve the page of segzoo demo too.")
    ] = False,
    log_requests: Annotated[
        bool, typer.Option("--log-requests", help="A line for each on standard error.")
    ] = False,
) -> None:
    """Serve models over HTTP.

    POST a picture to /predict, and the answer is its cut-out or its mask; /openapi.json says the
    rest. Weights that are not here are fetched once, before it begins to serve. It ends at SIGTERM
    or Ctrl-C, when what was begun is answered.
    """
    from segzoo.serve.extra import need_libraries
    from segzoo.serve.settings import named_models

    need_libraries()
    refs = list(models or ())
    if not refs:
        from segzoo.model.choice import best

        chosen = best()
        tell(f"{printable(chosen.ref)}: {printable(chosen.why)}")
        refs = [chosen.ref]
    start(named_models(refs), place, running, most, page=page, log_requests=log_requests)


def start(
    models: dict[str, str],
    place: Address,
    running: Running,
    most: Most,
    *,
    page: bool = False,
    log_requests: bool = False,
    at_once: bool = True,
) -> None:
    """Serve models by their names until told to end. at_once: as `Networks` says."""
    from segzoo.model import origin
    from segzoo.predict.runtimes import offered
    from segzoo.serve.settings import Limits, Networks, ServerSettings

    for ref in models.values():
        origin.find(ref, pretrained=True)  # an error now, rather than in a worker
    offered.refuse_unoffered(running.runtime.value, running.precision.value)
    networks = Networks(
        models=models,
        at_once=at_once,
        device=running.device,
        runtime=running.runtime.value,
        precision=running.precision.value,
        batch_size=running.batch_size,
        max_pixels=most.max_pixels,
    )
    limit = most.max_megabytes << 20
    limits = Limits(
        bytes=limit, held=8 * limit, queue=most.queue, answer_seconds=float(most.seconds)
    )
    settings = ServerSettings(
        networks=networks,
        limits=limits,
        host=place.host,
        port=place.port,
        workers=running.workers,
        token=token_of(place.token_file),
        page=page,
        log_requests=log_requests,
    )
    run(settings)


def run(settings: "ServerSettings") -> None:
    from segzoo.serve.running import run_server

    names = ", ".join(settings.networks.models)
    few = (
        names
        if len(settings.networks.models) <= 3
        else count_of(len(settings.networks.models), "model")
    )
    tell(f"loading {few}" if settings.networks.at_once else f"{few}, each loaded at its first use")
    run_server(settings, lambda address: tell(f"at {address}  (Ctrl-C ends it)"))
    tell("ended")


def token_of(file: str | None) -> str:
    """The token of a file, or of the environment; "" for none. UsageError for a file without."""
    if file is None:
        return os.environ.get(TOKEN, "")
    try:
        with open(file, encoding="ascii") as stream:
            token = stream.read(MAX_TOKEN_FILE).strip()
    except (OSError, ValueError) as error:
        why = (isinstance(error, OSError) and error.strerror) or "it is not ASCII"
        raise UsageError(f"the token cannot be read: {why}", file=file) from None
    if not token:
        raise UsageError("there is no token in this file", file=file)
    return token
