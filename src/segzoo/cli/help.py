"""What `--help` shows: options in groups, examples; and what the Tab key completes."""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import ArgumentInfo

from segzoo.cli.text import say
from segzoo.errors import PluginError, UsageError

__all__ = ["COMPLETIONS", "EXAMPLES", "Command", "Group", "Interrupted", "completed", "explain"]

# By the words of a verb; two lines at most; MODEL is any that `segzoo list` shows.
EXAMPLES: dict[str, tuple[str, ...]] = {
    "": (
        "segzoo cutout photo.jpg",
        "segzoo predict MODEL photo.jpg -o out",
    ),
    "auto": ("segzoo auto cells -o run", "segzoo auto folder:cells --minutes 10 --plan-only"),
    "cache": ("segzoo cache list", "segzoo cache prune"),
    "cache list": ("segzoo cache list",),
    "cache prune": ("segzoo cache prune user/name",),
    "cache size": ("segzoo cache size --json",),
    "check": ("segzoo check MODEL", "segzoo check my_plugin.spec:MY_NET --slow"),
    "compare": ("segzoo compare MODEL run/model --data folder:test",),
    "convert": ("segzoo convert weights.pth --to MODEL -o converted",),
    "cutout": (
        "segzoo cutout photo.jpg",
        "segzoo cutout photos -r -o out --background white --crop",
    ),
    "data": ("segzoo data check folder:cells", "segzoo data preview folder:cells"),
    "data check": (
        "segzoo data check 'folder:cells?val=0.2'",
        "segzoo data check folder:train --against folder:test",
    ),
    "data compose-digits": ("segzoo data compose-digits digits --count 1000",),
    "data export": (
        "segzoo data export 'folder:cells?values=0,255&classes=cell' --as yolo -o cells-yolo",
    ),
    "data preview": (
        "segzoo data preview folder:cells -o cells.html",
        "segzoo data preview folder:cells crop=256 augment=flip,rotate",
    ),
    "data readers": ("segzoo data readers",),
    "data traits": ("segzoo data traits 'folder:cells?val=0.2'",),
    "demo": ("segzoo demo", "segzoo demo MODEL cells=run/model"),
    "doctor": ("segzoo doctor", "segzoo doctor --json"),
    "download": ("segzoo download hf-hub:user/name@v1",),
    "eval": (
        "segzoo eval run/model --data 'folder:cells?val=0.2' -o figures",
        "segzoo eval MODEL --data folder:photos --metric boundary",
    ),
    "export": (
        "segzoo export MODEL -o model.onnx",
        "segzoo export run/model --format openvino -o model.xml",
    ),
    "features": ("segzoo features MODEL --size 320",),
    "help": ("segzoo help train", "segzoo help data check"),
    "info": ("segzoo info MODEL", "segzoo info run/model"),
    "list": ("segzoo list --pretrained", "segzoo list --hub cells"),
    "new": ("segzoo new my-net",),
    "pick": ("segzoo pick --task saliency --budget 100ms --license permissive",),
    "predict": (
        "segzoo predict MODEL photo.jpg -o out",
        "segzoo predict run/model photos -r -o out --as mask,overlay",
    ),
    "prune": ("segzoo prune run/model --data folder:val",),
    "publish": (
        "segzoo publish run user/cells --license Apache-2.0 "
        "--trained-on cells=CC-BY-4.0 --dry-run folder",
        "segzoo publish MODEL --space space",
    ),
    "serve": (
        "segzoo serve MODEL cells=run/model --port 8000",
        "SEGZOO_TOKEN=... segzoo serve MODEL --host 0.0.0.0",
    ),
    "label": (
        "segzoo label MODEL photos -o labelled",
        "segzoo label run/model photos -r -o labelled --skip-existing",
    ),
    "reproduce": ("segzoo reproduce MODEL.TAG --data sets -o run",),
    "report": ("segzoo report run", "segzoo report figures -o figures.html"),
    "train": (
        "segzoo train MODEL --data 'folder:cells?val=0.2' epochs=50 lr=3e-4 -o run",
        "segzoo train --resume run",
    ),
    "verify": ("segzoo verify MODEL.TAG", "segzoo verify hf-hub:user/name"),
    "warm": ("segzoo warm MODEL", "segzoo warm MODEL --runtime openvino --precision bf16"),
}


# How some versions of typer show what a value is; ours, where a verb does not say it itself.
TYPE = re.compile(r"<(?:(int|float)(?: range)?|str|list\[str\])>")


class Command(TyperCommand):
    """A verb whose help has its options in groups, and examples."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        arguments = (p for p in self.get_params(ctx) if p.param_type_name == "argument")
        return ["[OPTIONS]", *map(_usage_of, arguments)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _format_parameters(self, ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        _format_examples(ctx, formatter)


class Interrupted(Exception):
    """Ctrl-C, by a name that typer does not make a silent exit code of.

    told: whether a line has said so already.
    """

    def __init__(self, *, told: bool = False) -> None:
        super().__init__()
        self.told = told


class Group(TyperGroup):
    """Several verbs; alone it shows its help, on standard output."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted from None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            say(*ctx.get_help().split("\n"))
            ctx.exit()
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _format_parameters(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        _format_examples(ctx, formatter)


def explain(
    context: typer.Context,
    verb: Annotated[
        list[str] | None, typer.Argument(help="Such as train, or data check.", metavar="[VERB]...")
    ] = None,
) -> None:
    """Show the help of a verb."""
    here = context.find_root()
    for word in verb or ():
        command = here.command.get_command(here, word) if isinstance(here.command, Group) else None
        if command is None:
            raise UsageError(f"no verb '{' '.join(verb or ())}'", next_step="Run: segzoo help")
        here = typer.Context(command, info_name=word, parent=here)
    say(*here.get_help().split("\n"))


def _usage_of(argument: Any) -> str:
    """ "MODEL", "INPUT...", "[GLOB]..."; a name that says all of that itself stays."""
    name: str = argument.metavar or argument.name.upper()
    if "[" in name:
        return name
    name = name.removesuffix("...")
    several = "..." if argument.nargs != 1 else ""
    return f"{name}{several}" if argument.required else f"[{name}]{several}"


def _format_parameters(command: Any, ctx: Any, formatter: Any) -> None:
    """A section for each group of parameters, in the order of their first ones."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is not None:
            is_argument = parameter.param_type_name == "argument"
            group = getattr(parameter, "rich_help_panel", None) or "Options"
            name = parameter.metavar if is_argument else TYPE.sub(_kind, record[0])
            sections.setdefault("Arguments" if is_argument else group, []).append((name, record[1]))
    for title, records in sections.items():
        with formatter.section(title):
            formatter.write_dl(records)


def _kind(match: re.Match[str]) -> str:
    return "NUMBER" if match[1] else "TEXT"


def _format_examples(ctx: Any, formatter: Any) -> None:
    path = " ".join(ctx.command_path.split()[1:])
    if lines := EXAMPLES.get(path):
        with formatter.section("Examples"):
            for line in lines:
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")


# --- completion -----------------------------------------------------------------------------------


def _models(incomplete: str) -> Iterator[str]:
    """Names of models; after a full stop the tags of weights of the one that is named."""
    from segzoo.zoo import registry

    name, dot, _ = incomplete.partition(".")
    if not dot:
        yield from (e.name for e in registry.entries() if e.name.startswith(incomplete))
        return
    try:
        tags = registry.find(name).load().weights
    except (PluginError, UsageError):  # Tab says nothing; the verb itself will
        return
    yield from (text for text in (f"{name}.{tag}" for tag in tags) if text.startswith(incomplete))


def _kinds(incomplete: str) -> Iterator[str]:
    """Kinds of outputs, also the next one of a list with commas."""
    from segzoo.predict.outputs import KINDS

    before, comma, last = incomplete.rpartition(",")
    yield from (f"{before}{comma}{kind}" for kind in KINDS if kind.startswith(last))


# By the name of a verb's parameter.
COMPLETIONS: dict[str, Callable[[str], Iterator[str]]] = {
    "arguments": _models,
    "kinds": _kinds,
    "model": _models,
    "other": _models,
    "models": _models,
    "patterns": _models,
    "ref": _models,
    "source": _models,
    "weights": _models,
    "to": _models,
}


def completed(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The verb, whose parameters know what they are completed to, and arguments how to be shown."""
    for parameter in inspect.signature(verb, eval_str=True).parameters.values():
        for about in getattr(parameter.annotation, "__metadata__", ()):
            if isinstance(about, ArgumentInfo) and about.metavar is None:
                about.metavar = parameter.name.upper()
            if parameter.name in COMPLETIONS:
                about.autocompletion = COMPLETIONS[parameter.name]
    return verb
