"""segzoo predict: masks, cut-outs and overlays of pictures, one or a million."""

import contextlib
import dataclasses
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from segzoo.base.formats import left_out
from segzoo.base.records import Json
from segzoo.cli import jobs
from segzoo.cli.depends import depends_on, listed
from segzoo.cli.done import Done, Head, named
from segzoo.cli.jobs import STDIO
from segzoo.cli.onray import InPool, by_ray, refuse_devices, require_ray
from segzoo.cli.options import (
    AsJson,
    Behind,
    Crop,
    Device,
    Edges,
    EdgesOf,
    ModelName,
    Options,
    Overwrite,
    Precision,
    PrecisionOf,
    Resume,
    RuntimeName,
    RuntimeOf,
    ShardOf,
    SkipExisting,
    WeightsFile,
    options_of,
    spelled_out,
)
from segzoo.cli.outcomes import Outcomes
from segzoo.cli.shards import WHOLE, shard_of
from segzoo.cli.text import tell
from segzoo.cli.watching import Claims, arrivals
from segzoo.cli.working import work
from segzoo.cli.writing import Writer, ready
from segzoo.errors import (
    UsageError,
    printable,
)
from segzoo.model.served import Request, serve
from segzoo.zoo import refs

if TYPE_CHECKING:
    from segzoo.model.served import Served
    from segzoo.predict.outputs import Background
    from segzoo.predict.predictor import Predictor


class Engine(StrEnum):
    """What many pictures are done on."""

    ray = "ray"


class Decode(StrEnum):
    """How much of a picture's file is decoded."""

    auto = "auto"
    full = "full"


class Heads(StrEnum):
    """Which of a network's outputs."""

    final = "final"
    all = "all"


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What is written, and where."""

    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            help="A folder, made if need be; for one picture and kind also a file ending in .png, "
            "or - for standard output.",
        ),
    ]
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--as",
            help="mask, cutout, color, overlay, probability or confidence; repeat it or give a "
            "comma list. One kind is written to OUT/NAME.png, several to OUT/KIND/NAME.png.  "
            "[default: mask; cutout with --background]",
            metavar="KIND",
        ),
    ] = None
    background: Behind = None
    edges: EdgesOf = Edges.clean
    crop: Crop = False
    heads: Annotated[
        Heads, typer.Option(help="all: side outputs too, in OUT/head-0 (final), OUT/head-1, ...")
    ] = Heads.final
    threshold: Annotated[
        float | None,
        typer.Option(help="Probability above which a mask is foreground.", min=0.0, max=1.0),
    ] = None
    skip_existing: SkipExisting = False
    overwrite: Overwrite = False
    resume: Resume = False
    shard: ShardOf = None


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """What is looked at."""

    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Pictures, folders, quoted globs ('photos/**/*.jpg'), or - for standard input.",
            metavar="INPUT...",
        ),
    ]
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look into folders of folders; keep them.")
    ] = False
    peak: Annotated[
        float | None,
        typer.Option(
            help="The largest value in pictures of more than 8 bits: 4095 of 12 bits.  "
            "[default: the model's, or of their type]",
            min=0,
            show_default=False,
        ),
    ] = None
    max_pixels: Annotated[
        int | None,
        typer.Option(
            help="Refuse pictures with more; of TIFFs, read them in parts.  [default: 89 million]",
            min=1,
            show_default=False,
        ),
    ] = None
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Go on with what comes into the folders, until Ctrl-C."),
    ] = False
    decode: Annotated[
        Decode,
        typer.Option(
            help="auto: of a JPEG much larger than what the network sees, no more than that needs, "
            "where no output shows the picture. full: every pixel."
        ),
    ] = Decode.auto


@dataclass(frozen=True, kw_only=True)
class Network:
    """Which network looks at them."""

    weights: WeightsFile = None
    option: Options = None
    random_init: Annotated[
        bool,
        typer.Option("--random-init", help="Run without weights, and print the sizes on the way."),
    ] = False
    seed: Annotated[int, typer.Option(help="Of --random-init.")] = 0
    device: Device = "auto"
    runtime: RuntimeOf = RuntimeName.torch
    precision: PrecisionOf = Precision.fp32


@dataclass(frozen=True, kw_only=True)
class Together:
    """How much of them it looks at together."""

    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Pictures run together, at most.  [default: 8; on a CPU as many as have 131,072 "
            "pixels of the network's input together, where it has a size, else 1]",
            min=1,
            show_default=False,
        ),
    ] = None
    tile: Annotated[
        int | None,
        typer.Option(
            help="Run larger pictures in windows of this many pixels a side; takes less memory.",
            min=1,
            metavar="PIXELS",
        ),
    ] = None
    overlap: Annotated[
        int | None,
        typer.Option(
            help="Of the windows of --tile.  [default: a quarter of it]",
            min=0,
            metavar="PIXELS",
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Which processes do it."""

    on: Annotated[
        Engine | None,
        typer.Option(help="ray: by processes of Ray, on this machine, or where RAY_ADDRESS says."),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes of --on.  [default: one for each CPU]",
            min=1,
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Told:
    """What is told while it works."""

    as_json: AsJson = False
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress bar, no notes; errors alone.")
    ] = False


@spelled_out
def predict(
    model: ModelName,
    outputs: Outputs,
    pictures: Pictures,
    network: Network,
    together: Together,
    pool: Pool,
    told: Told,
) -> None:
    """Segment pictures: masks, cut-outs, overlays.

    One PNG of each kind for each picture, at its upright size.

    A picture that cannot be read costs itself alone: a line in OUT/errors.jsonl, and exit code 1 at
    the end. Files appear when they are complete. A folder's own folders are kept (-r). For names
    that begin with a hyphen, put -- before the model.
    """
    refuse_both(
        skip_existing=outputs.skip_existing, overwrite=outputs.overwrite, resume=outputs.resume
    )
    if network.random_init and network.weights is not None:
        raise UsageError("give --weights or --random-init, not both")
    refs.parse(model)  # before the pictures: the two may have been exchanged
    kinds = _kinds(outputs)
    folders = folders_of(pictures, outputs.out)
    total = sum(len(folder.names) for folder in folders)
    heads = outputs.heads is Heads.all
    layout = jobs.layout_of(outputs.out, kinds, total=total, heads=heads, as_json=told.as_json)

    def chosen() -> "tuple[Served, dict[str, Json]]":
        return served_of(model, network, total=total, heads=heads, quiet=told.quiet)

    carry_out(
        folders, layout, chosen, outputs, pictures, together, told, network=network, pool=pool
    )


def served_of(
    model: str, network: Network, *, total: int, heads: bool = False, quiet: bool
) -> "tuple[Served, dict[str, Json]]":
    """The predictor of what a line names, and what the JSON says of it first."""
    served = _serve(model, network, total=total, heads=heads, quiet=quiet)
    return served, {"model": model, "weights": _weights_name(served, network.weights)}


def refuse_both(*, skip_existing: bool, overwrite: bool, resume: bool = False) -> None:
    """UsageError where outputs that are there should be left and written anew."""
    if skip_existing and overwrite:
        raise UsageError("give --skip-existing or --overwrite, not both")
    if resume and (skip_existing or overwrite):
        other = "--skip-existing" if skip_existing else "--overwrite"
        raise UsageError(
            f"give --resume or {other}, not both",
            next_step="--resume leaves what is done, and writes anew what is not",
        )


def carry_out(
    folders: Sequence[jobs.InputFolder],
    layout: jobs.Layout,
    chosen: "Callable[[], tuple[Served, dict[str, Json]]]",
    outputs: Outputs,
    pictures: Pictures,
    together: Together,
    told: Told,
    *,
    network: Network | None = None,
    pool: Pool = Pool(),
    writer_of: type[Writer] = Writer,
) -> None:
    """Predict the pictures of the folders and write what the layout says, here or by `pool`.

    chosen: gives the predictor, and what the JSON says of it first; called when nothing stands in
    the way of the outputs. network: what was said of it, where a line can; the sizes of a random
    one are told, too. writer_of: of what is written.
    """
    from segzoo.predict.outputs import SHOWING

    behind = _background(outputs, pictures)
    if pictures.watch and layout.is_file:
        raise UsageError(
            "--watch has many outputs", found=f"-o {layout.out}", next_step="Give a folder with -o"
        )
    layout = _noted(layout, outputs, pictures, pool)
    if pool.on is not None:
        require_ray()
    folders = _with_parts(folders, layout, outputs, pictures)
    everything, folders = folders, _part(folders, layout)
    if outputs.out != STDIO:
        jobs.refuse_shared(everything, layout)
        going_on = outputs.resume and Done(layout).begun
        jobs.refuse_clashes(
            folders,
            layout,
            overwrite=outputs.overwrite or going_on,
            skip_existing=outputs.skip_existing,
        )
    others = jobs.others_of(folders)
    if others and not told.quiet:
        tell(left_out(others))
    with ready(layout):
        served, head = chosen()
        if pool.on is not None:
            refuse_devices(served)
        predictor = _predictor(served, outputs, pictures, together)
        head |= {"left_out": dict(others), "device": served.device}
        head |= {"runtime": served.runtime, "precision": served.precision}
        total = 0 if pictures.watch else sum(len(folder.names) for folder in folders)
        outcomes = Outcomes(
            layout,
            total,
            head,
            as_json=told.as_json,
            quiet=told.quiet,
            sizes=network is not None and network.random_init,
        )
        writer = writer_of(
            layout=layout,
            predictor=predictor,
            background=behind,
            edges=outputs.edges.value,
            crop=outputs.crop,
        )
        pixels = pictures.decode is Decode.full or bool(SHOWING & {*layout.kinds})

        def head_of_done() -> Head:
            settings = _settings(served, writer, outputs, network, pixels=pixels)
            return Head(settings, *listed(map(named, jobs.jobs_of(everything))))

        with _noting(layout, head_of_done, resume=outputs.resume) as done, outcomes:
            if pictures.watch:
                _watch(writer, outcomes, outputs, pictures, pixels=pixels)
            else:
                todo = jobs.jobs_of(folders)
                todo = todo if done is None else done.left(todo, outcomes)
                if pool.on is None or done is None:
                    skip = outputs.skip_existing
                    work(todo, writer, outcomes, skip_existing=skip, pixels=pixels, done=done)
                else:
                    request = InPool(pool.workers, outputs.skip_existing, pixels)
                    by_ray(todo, writer, outcomes, request, done)
    if outcomes.failed:
        raise typer.Exit(outcomes.exit_code)


# --- settings ------------------------------------------------------------------------------------


def _kinds(outputs: Outputs) -> tuple[str, ...]:
    from segzoo.predict.outputs import KINDS

    if outputs.kinds is None:
        return ("mask",) if outputs.background is None else ("cutout",)
    kinds = tuple(dict.fromkeys(kind.strip() for text in outputs.kinds for kind in text.split(",")))
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"--as '{printable(kind)}' is no output", expected=", ".join(KINDS))
    if outputs.background is not None and "cutout" not in kinds:
        raise UsageError("--background is about cut-outs", next_step="Add --as cutout")
    return kinds


def _background(outputs: Outputs, pictures: Pictures) -> "Background | None":
    from segzoo.predict.outputs import background_of

    if outputs.background is None:
        return None
    return background_of(outputs.background, max_pixels=_max_pixels(pictures))


def _noted(layout: jobs.Layout, outputs: Outputs, pictures: Pictures, pool: Pool) -> jobs.Layout:
    """The layout with what --shard, --resume and --on say. UsageError where they cannot be."""
    if pool.on is None and pool.workers is not None:
        raise UsageError("--workers are of --on ray", next_step="Give both, or none")
    given = {
        "--on ray": pool.on is not None,
        "--shard": outputs.shard is not None,
        "--resume": outputs.resume,
    }
    if not any(given.values()):
        return layout
    option = next(name for name, is_given in given.items() if is_given)
    if layout.is_file or layout.beside or pictures.inputs == [STDIO]:
        raise UsageError(
            f"{option} is about a folder of outputs",
            next_step="Give pictures, and a folder with -o",
        )
    if pictures.watch:
        raise UsageError(
            f"give --watch or {option}, not both",
            next_step="With --skip-existing --watch goes on with what is not there",
        )
    return layout._replace(shard=shard_of(outputs.shard), resumable=True)


def _with_parts(
    folders: Sequence[jobs.InputFolder], layout: jobs.Layout, outputs: Outputs, pictures: Pictures
) -> Sequence[jobs.InputFolder]:
    """The pictures with which of them are read in parts, where what is asked for can be.

    UsageError for one that would be written to a PNG.
    """
    from segzoo.predict.large import KINDS

    whole = layout.beside or layout.heads or outputs.crop or pictures.watch
    if whole or not KINDS >= {*layout.kinds}:
        return folders
    found = jobs.with_parts(folders, _max_pixels(pictures))
    if layout.is_file and any(folder.in_parts for folder in found):
        raise UsageError(
            "what is found in so large a picture is written as a TIFF in tiles",
            found=f"-o {printable(layout.out)}",
            next_step="Give a folder with -o",
        )
    return found


def _part(folders: Sequence[jobs.InputFolder], layout: jobs.Layout) -> Sequence[jobs.InputFolder]:
    return folders if layout.shard == WHOLE else jobs.part_of(folders, layout.shard)


def _settings(
    served: "Served", writer: Writer, outputs: Outputs, network: Network | None, *, pixels: bool
) -> dict[str, Json]:
    """What the outputs depend on. pixels: whether every pixel of a picture's file is decoded."""
    return depends_on(
        served,
        writer.predictor,
        weights=network.weights if network else None,
        seed=network.seed if network and network.random_init else None,
        behind=writer.background,
        written={
            "as": list(writer.layout.kinds),
            "heads": outputs.heads.value,
            "edges": writer.edges,
            "crop": writer.crop,
            "every pixel decoded": pixels,
        },
    )


@contextlib.contextmanager
def _noting(
    layout: jobs.Layout, head: Callable[[], Head], *, resume: bool
) -> Iterator[Done | None]:
    """Where it is noted what is done, if it is; head: what the outputs depend on."""
    if not layout.resumable:
        yield None
        return
    with Done(layout) as done:
        done.begin(head(), resume=resume)
        yield done


def _max_pixels(pictures: Pictures) -> int:
    from segzoo.pictures.codec import MAX_PIXELS

    return MAX_PIXELS if pictures.max_pixels is None else pictures.max_pixels


def folders_of(pictures: Pictures, out: str) -> list[jobs.InputFolder]:
    """The pictures that are asked for; out: the folder of the outputs, never an input."""
    if pictures.inputs == [STDIO]:
        if pictures.watch:
            raise UsageError("--watch is about folders", found="standard input")
        return [jobs.STDIN]
    if pictures.watch and not all(map(os.path.isdir, pictures.inputs)):
        other = next(text for text in pictures.inputs if not os.path.isdir(text))
        raise UsageError("--watch is about folders", found=printable(other))
    return jobs.find(
        pictures.inputs, recursive=pictures.recursive, out=out, may_be_empty=pictures.watch
    )


def serve_aloud(request: Request, *, quiet: bool) -> "Served":
    """`serve`, whose warnings are told in a line each, and what takes its time."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", UserWarning)
        served = serve(request if quiet else dataclasses.replace(request, tell=tell))
    for text in dict.fromkeys(str(warning.message) for warning in heard):
        tell(text)
    return served


def _serve(ref: str, network: Network, *, total: int, heads: bool, quiet: bool) -> "Served":
    request = Request(
        ref=ref,
        pretrained=network.weights is None and not network.random_init,
        weights=network.weights,
        device=network.device,
        seed=network.seed,
        options=options_of(network.option),
        runtime=network.runtime.value,
        precision=network.precision.value,
        pictures=total,
        all_heads=heads,
    )
    served = serve_aloud(request, quiet=quiet)
    if network.random_init and (served.weights is not None or served.config.files):
        raise UsageError(f"{printable(ref)} names weights, --random-init wants none")
    return served


def _weights_name(served: "Served", file: str | None) -> str | None:
    """name.tag, or the file that was given, or None for random values and a saved folder."""
    tags = (tag for tag, record in served.spec.weights.items() if record is served.weights)
    return file or next((f"{served.config.model}.{tag}" for tag in tags), None)


def _predictor(
    served: "Served", outputs: Outputs, pictures: Pictures, together: Together
) -> "Predictor":
    predictor = served.predictor
    preprocess, postprocess = predictor.preprocess, predictor.postprocess
    if pictures.peak is not None:
        preprocess = dataclasses.replace(preprocess, peak=pictures.peak)
    if outputs.threshold is not None:
        postprocess = dataclasses.replace(postprocess, threshold=outputs.threshold)
    return dataclasses.replace(
        predictor,
        preprocess=preprocess,
        postprocess=postprocess,
        batch_size=together.batch_size or served.worth_together,
        max_pixels=_max_pixels(pictures),
        tile=together.tile,
        overlap=together.overlap,
    )


# --- work ----------------------------------------------------------------------------------------


def _watch(
    writer: Writer, outcomes: Outcomes, outputs: Outputs, pictures: Pictures, *, pixels: bool
) -> None:
    """Work on what is in the folders, and on what comes, until Ctrl-C."""
    claims = Claims(writer.layout, overwrite=outputs.overwrite, skip_existing=outputs.skip_existing)

    def found() -> list[jobs.InputFolder]:
        folders = folders_of(pictures, outputs.out)
        beside = writer.layout.beside
        return jobs.put_beside(folders, beside) if beside else folders

    with contextlib.suppress(KeyboardInterrupt):
        for new in arrivals(found):
            outcomes.total += len(new)
            work(
                claims.allowed(new, outcomes), writer, outcomes, skip_existing=False, pixels=pixels
            )
            outcomes.so_far()
