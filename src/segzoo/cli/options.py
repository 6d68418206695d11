"""Options that verbs share, and records of options."""

import copy
import dataclasses
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Any, TypeAlias, TypeVar, get_args, get_type_hints

import typer

from segzoo.base.records import Json
from segzoo.errors import UsageError, printable

__all__ = [
    "AsJson",
    "BatchSize",
    "Behind",
    "Crop",
    "Device",
    "Edges",
    "EdgesOf",
    "ModelName",
    "Options",
    "Overwrite",
    "Precision",
    "PrecisionOf",
    "Resume",
    "RuntimeName",
    "RuntimeOf",
    "ShardOf",
    "SkipExisting",
    "WeightsFile",
    "Workers",
    "options_of",
    "spelled_out",
]

T = TypeVar("T")

ModelName: TypeAlias = Annotated[
    str, typer.Argument(help="A model's name, name.tag, or a saved folder.")
]
WeightsFile: TypeAlias = Annotated[
    str | None, typer.Option(help="A safetensors file of this model.", metavar="FILE")
]
Device: TypeAlias = Annotated[
    str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps; one not there is an error.")
]
BatchSize: TypeAlias = Annotated[
    int, typer.Option(help="Pictures at once, at most; fewer where memory is short.", min=1)
]
Workers: TypeAlias = Annotated[int, typer.Option(help="Processes that read pictures.", min=0)]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]

Behind: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--background",
        help="Put cut-outs on a colour (white, '#ffcc00') or a picture.",
        metavar="COLOUR|FILE",
    ),
]
Crop: TypeAlias = Annotated[
    bool, typer.Option("--crop", help="Cut every output to the box around what was found.")
]
SkipExisting: TypeAlias = Annotated[
    bool, typer.Option("--skip-existing", help="Leave pictures whose outputs are all there.")
]
Resume: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Note in OUT what is done, and go on where a process that did so was ended.",
    ),
]
ShardOf: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--shard",
        help="Do one of N equal parts, so that N processes or machines do all.",
        metavar="I/N",
    ),
]
Overwrite: TypeAlias = Annotated[
    bool, typer.Option("--overwrite", help="Write outputs anew that are there.")
]


class RuntimeName(StrEnum):
    """What runs the network."""

    torch = "torch"
    onnxruntime = "onnxruntime"
    openvino = "openvino"
    auto = "auto"


class Precision(StrEnum):
    """What the network computes in."""

    fp32 = "fp32"
    bf16 = "bf16"
    int8 = "int8"


RuntimeOf: TypeAlias = Annotated[
    RuntimeName,
    typer.Option("--runtime", help="What runs the network; auto: the fastest here, measured once."),
]
PrecisionOf: TypeAlias = Annotated[
    Precision, typer.Option("--precision", help="What the network computes in.")
]


class Edges(StrEnum):
    """What is done to the edges of a cut-out."""

    clean = "clean"
    raw = "raw"


EdgesOf: TypeAlias = Annotated[
    Edges,
    typer.Option(
        "--edges",
        help="Of cut-outs. clean: follow the picture's edges, and leave out what was behind; "
        "raw: what the network said.",
    ),
]

Options: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        help="Of the architecture, as segzoo info shows it: depth=3, width=16.",
        metavar="NAME=VALUE",
    ),
]


def options_of(items: Sequence[str] | None) -> dict[str, Json]:
    """What --option was given, "depth=3": JSON values, else text. UsageError without a "="."""
    options: dict[str, Json] = {}
    for item in items or ():
        name, equals, text = item.partition("=")
        if not equals:
            raise UsageError(f"cannot read the option {printable(item)!r}", expected="name=value")
        try:
            options[name] = json.loads(text)
        except (ValueError, RecursionError):
            options[name] = text
    return options


def spelled_out(verb: Callable[..., T]) -> Callable[..., T]:
    """A verb as typer wants it, which knows no records: each field is a parameter of its own.

    A record is a dataclass whose fields are annotated for typer. So a verb is given few values, and
    verbs that have options in common have a record in common.
    """
    parameters = inspect.signature(verb, eval_str=True).parameters.values()
    records: dict[str, Any] = {
        p.name: p.annotation for p in parameters if dataclasses.is_dataclass(p.annotation)
    }

    def call(**given: Any) -> T:
        for name, record in records.items():
            values = {field.name: given.pop(field.name) for field in dataclasses.fields(record)}
            given[name] = record(**values)
        return verb(**given)

    spelled: list[inspect.Parameter] = []
    for p in parameters:
        spelled += _parameters_of(records[p.name]) if p.name in records else [_by_name(p)]
    call.__name__, call.__doc__ = verb.__name__, verb.__doc__
    call.__signature__ = inspect.Signature(spelled)  # type: ignore[attr-defined]
    return call


def _parameters_of(record: Any) -> Iterator[inspect.Parameter]:
    """The record's fields as parameters; its docstring is the title of their group in the help."""
    hints, title = get_type_hints(record, include_extras=True), inspect.getdoc(record) or ""
    for parameter in inspect.signature(record).parameters.values():
        plain, about = get_args(hints[parameter.name])
        about = copy.copy(about)  # others may have the same option
        about.rich_help_panel = title.partition("\n")[0].rstrip(".")
        yield _by_name(parameter.replace(annotation=Annotated[plain, about]))


def _by_name(parameter: inspect.Parameter) -> inspect.Parameter:
    """As one that is given by its name, so that it may have no default after one that has."""
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
