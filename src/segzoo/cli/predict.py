"""segzoo predict: masks, cut-outs and overlays of pictures, one or a million."""

import contextlib
import dataclasses
import json
import os
import sys
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self

import typer

from segzoo.base.formats import endings, left_out
from segzoo.base.records import Json
from segzoo.cli import jobs
from segzoo.cli.jobs import Job, Layout
from segzoo.cli.options import Options, options_of
from segzoo.cli.text import progress_bar
from segzoo.errors import (
    OutputError,
    PluginError,
    ResourceError,
    SegzooError,
    UsageError,
    printable,
)
from segzoo.model.load import load

if TYPE_CHECKING:
    from segzoo.model.loaded import Model
    from segzoo.predict.outputs import Background
    from segzoo.predict.prediction import Prediction
    from segzoo.predict.predictor import Predictor
    from segzoo.predict.stages import Source

STDIO = "-"
ERRORS = "errors.jsonl"
WRITERS = 4  # threads; PNG is compressed without holding the interpreter
PROBE_BYTES = 1 << 16  # written and removed before the work begins


class Heads(StrEnum):
    """Which of a network's outputs."""

    final = "final"
    all = "all"


def predict(
    model: Annotated[str, typer.Argument(help="A model's name, name.tag, or a saved folder.")],
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Pictures, folders, quoted globs ('photos/**/*.jpg'), or - for standard input.",
            metavar="INPUT...",
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            help="A folder, made if need be; for one picture and kind also a file ending in .png, "
            "or - for standard output.",
        ),
    ],
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--as",
            help="mask, cutout, color, overlay or probability; repeat it or give a comma list. "
            "One kind is written to OUT/NAME.png, several to OUT/KIND/NAME.png.  [default: mask]",
            metavar="KIND",
        ),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            help="Put cut-outs on a colour (white, '#ffcc00') or a picture; implies --as cutout.",
            metavar="COLOUR|FILE",
        ),
    ] = None,
    crop: Annotated[
        bool, typer.Option("--crop", help="Cut every output to the box around what was found.")
    ] = False,
    heads: Annotated[
        Heads, typer.Option(help="all: side outputs too, in OUT/head-0 (final), OUT/head-1, ...")
    ] = Heads.final,
    threshold: Annotated[
        float | None,
        typer.Option(help="Probability above which a mask is foreground.", min=0.0, max=1.0),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look into folders of folders; keep them.")
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave pictures whose outputs are all there.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write outputs anew that are there.")
    ] = False,
    weights: Annotated[
        str | None, typer.Option(help="A safetensors file of this model.", metavar="FILE")
    ] = None,
    option: Options = None,
    random_init: Annotated[
        bool,
        typer.Option("--random-init", help="Run without weights, and print the sizes on the way."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of --random-init.")] = 0,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps; one not there is an error.")
    ] = "auto",
    batch_size: Annotated[int, typer.Option(help="Pictures run together, at most.", min=1)] = 8,
    tile: Annotated[
        int | None,
        typer.Option(
            help="Run larger pictures in windows of this many pixels a side; takes less memory.",
            min=1,
            metavar="PIXELS",
        ),
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(
            help="Of the windows of --tile.  [default: a quarter of it]",
            min=0,
            metavar="PIXELS",
            show_default=False,
        ),
    ] = None,
    peak: Annotated[
        float | None,
        typer.Option(
            help="The largest value in pictures of more than 8 bits: 4095 of 12 bits.  "
            "[default: the model's, or of their type]",
            min=0,
            show_default=False,
        ),
    ] = None,
    max_pixels: Annotated[
        int | None,
        typer.Option(
            help="Refuse pictures with more.  [default: 89 million]", min=1, show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress bar, no notes; errors alone.")
    ] = False,
) -> None:
    """Segment pictures: one PNG of each kind for each picture, at its upright size.

    A picture that cannot be read costs itself alone: a line in OUT/errors.jsonl, and exit code 1 at
    the end. Files appear when they are complete. A folder's own folders are kept (-r). For names
    that begin with a hyphen, put -- before the model.
    """
    if skip_existing and overwrite:
        raise UsageError("give --skip-existing or --overwrite, not both")
    if random_init and weights is not None:
        raise UsageError("give --weights or --random-init, not both")
    from segzoo.pictures import codec
    from segzoo.predict import outputs

    max_pixels = codec.MAX_PIXELS if max_pixels is None else max_pixels
    wanted = _kinds(kinds, background)
    behind = None
    if background is not None:
        behind = outputs.background_of(background, max_pixels=max_pixels)
    if inputs == [STDIO]:
        folders = [jobs.Folder("", "", ("stdin",))]
        todo = iter([Job(STDIO, "stdin")])
    else:
        folders = jobs.find(inputs, recursive=recursive, out=out)
        todo = jobs.jobs_of(folders)
    total = sum(len(folder.names) for folder in folders)
    layout = _layout(out, wanted, total=total, heads=heads is Heads.all, as_json=as_json)
    if out != STDIO:
        jobs.refuse_clashes(folders, layout, overwrite=overwrite, skip_existing=skip_existing)
    others = jobs.others_of(folders)
    if others and not quiet:
        _say(left_out(others))
    with _ready(layout):
        network = _load(
            model,
            random_init=random_init,
            weights=weights,
            device=device,
            seed=seed,
            **options_of(option),
        )
        predictor = network.predictor(
            batch_size=batch_size, max_pixels=max_pixels, tile=tile, overlap=overlap
        )
        if peak is not None:
            preprocess = dataclasses.replace(predictor.preprocess, peak=peak)
            predictor = dataclasses.replace(predictor, preprocess=preprocess)
        if threshold is not None:
            postprocess = dataclasses.replace(predictor.postprocess, threshold=threshold)
            predictor = dataclasses.replace(predictor, postprocess=postprocess)
        head: dict[str, Json] = {"model": model, "weights": _weights_name(network, weights)}
        head["left_out"] = dict(others)
        head["device"] = next((str(p.device) for p in network.parameters()), "cpu")
        report = _Report(layout, total, head, as_json=as_json, quiet=quiet, sizes=random_init)
        writer = _Writer(layout=layout, predictor=predictor, background=behind, crop=crop)
        with report:
            _run(todo, writer, report, skip_existing=skip_existing)
    if report.failed:
        raise typer.Exit(report.exit_code)


# --- settings ------------------------------------------------------------------------------------


def _kinds(given: list[str] | None, background: str | None) -> tuple[str, ...]:
    from segzoo.predict.outputs import KINDS

    if given is None:
        return ("mask",) if background is None else ("cutout",)
    kinds = tuple(dict.fromkeys(kind.strip() for text in given for kind in text.split(",")))
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"--as '{printable(kind)}' is no output", expected=", ".join(KINDS))
    if background is not None and "cutout" not in kinds:
        raise UsageError("--background is about cut-outs", next_step="Add --as cutout")
    return kinds


def _layout(out: str, kinds: tuple[str, ...], *, total: int, heads: bool, as_json: bool) -> Layout:
    """Where outputs go. UsageError or OutputError when that cannot be there."""
    suffix = os.path.splitext(out)[1].lower()
    is_file = out == STDIO or (suffix == ".png" and not os.path.isdir(out))
    if is_file and (total > 1 or len(kinds) > 1 or heads):
        raise UsageError(
            f"-o {printable(out)} holds one picture",
            found=f"{total} inputs, {len(kinds)} kinds{', all heads' * heads}",
            expected="one input, one kind and the final head",
            next_step="Give a folder with -o",
        )
    if out == STDIO and as_json:
        raise UsageError("--json and -o - both write to standard output")
    if not is_file and not os.path.isdir(out):
        if os.path.lexists(out):
            raise OutputError("this is a file, not a folder", file=out)
        if suffix in endings():
            raise UsageError(
                f"outputs are PNG files, not {suffix}", file=out, next_step="Give -o a .png"
            )
    return Layout(out, kinds, is_file=is_file, heads=heads)


def _load(ref: str, *, random_init: bool, **asked: Any) -> "Model":
    """asked: of `segzoo.load`."""
    pretrained = asked["weights"] is None and not random_init
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", UserWarning)
        model = load(ref, pretrained=pretrained, **asked)
    for warning in heard:
        _say(str(warning.message))
    if random_init and (model.weights is not None or model.config.files):
        raise UsageError(f"{printable(ref)} names weights, --random-init wants none")
    return model


def _weights_name(model: "Model", file: str | None) -> str | None:
    """name.tag, or the file that was given, or None for random values and a saved folder."""
    tags = (tag for tag, record in model.spec.weights.items() if record is model.weights)
    return file or next((f"{model.config.model}.{tag}" for tag in tags), None)


@contextlib.contextmanager
def _ready(layout: Layout) -> Iterator[None]:
    """The folder of the outputs, made and proved to be writable; gone again if nothing is in it."""
    if layout.out == STDIO:
        yield
        return
    folder, made = layout.folder, []
    while not os.path.lexists(folder):
        made.append(folder)
        folder = os.path.dirname(folder)
    try:
        _probe(layout)
        yield
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # there is something in it
                os.rmdir(folder)


def _probe(layout: Layout) -> None:
    """OutputError or ResourceError when nothing can be written: no permission, no space."""
    from segzoo.base import files

    path = os.path.join(layout.folder, f".segzoo-probe-{os.getpid()}")
    try:
        files.make_folder(layout.folder)
        files.write(path, bytes(PROBE_BYTES))
    except (OutputError, ResourceError) as error:
        error.file = printable(layout.out)
        raise
    os.unlink(path)


# --- work ----------------------------------------------------------------------------------------


def _run(todo: Iterator[Job], writer: "_Writer", report: "_Report", *, skip_existing: bool) -> None:
    """Predict, write and report every job, in order, with a bounded number on their way."""
    layout, predictor = writer.layout, writer.predictor
    predicted: deque[Job] = deque()
    writing: deque[tuple[Job, Future[_Record]]] = deque()

    def sources() -> "Iterator[Source]":
        for job in todo:
            if skip_existing and all(map(os.path.exists, layout.paths(job))):
                report.skip(job)
            else:
                predicted.append(job)
                yield sys.stdin.buffer.read() if job.source == STDIO else job.source

    def settle() -> None:
        job, future = writing.popleft()
        try:
            report.write(job, future.result())
        except SegzooError as error:
            if isinstance(error, OutputError | ResourceError):
                _probe(layout)  # a full disk stops the work; a name that is too long does not
            report.fail(job, error)
            if isinstance(error, PluginError) and report.hopeless(predictor.batch_size):
                raise

    with (
        contextlib.closing(predictor.stream(sources(), all_heads=layout.heads)) as stream,
        ThreadPoolExecutor(WRITERS, thread_name_prefix="segzoo-write") as pool,
    ):
        try:
            for _, result in stream:
                job = predicted.popleft()
                writing.append((job, pool.submit(writer, job, result)))
                if len(writing) > WRITERS:
                    settle()
        except KeyboardInterrupt:
            while writing:
                settle()
            raise
        while writing:
            settle()


class _Record(NamedTuple):
    """What became of a picture: sizes, the files written, and pixels of each class.

    tiles: windows down and across; network_input and logits are those of the largest one.
    """

    size: tuple[int, int]
    tiles: tuple[int, int]
    network_input: tuple[int, int, int]
    logits: tuple[int, int, int]
    outputs: dict[str, str]
    classes: dict[str, int]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Writer:
    """Writes the outputs of one picture; runs in several threads."""

    layout: Layout
    predictor: "Predictor"
    background: "Background | None"
    crop: bool

    def __call__(self, job: Job, result: "Prediction | SegzooError") -> _Record:
        """The record of a written prediction; raises the error that a job has instead."""
        if isinstance(result, SegzooError):
            raise result
        from segzoo.predict.network import logits_size
        from segzoo.predict.outputs import encode, render, subject_box
        from segzoo.predict.preprocess import network_size

        predictor, notes = self.predictor, result.picture.notes
        box = subject_box(result) if self.crop else None
        if self.crop and box is None:
            notes = (*notes, "nothing was found, so it is not cropped")
        written = {}
        heads = (result, *result.heads) if self.layout.heads else (result,)
        for number, head in enumerate(heads):
            for kind in self.layout.kinds:
                output = render(
                    kind, head, palette=predictor.palette, background=self.background, box=box
                )
                path = self.layout.path(job, kind, number)
                _put(path, encode(output))
                written[f"head-{number}/{kind}" if self.layout.heads else kind] = path
        height, width = result.mask.shape
        grid = predictor.grid(height, width)
        h, w = grid.largest if grid else network_size(height, width, predictor.preprocess)
        return _Record(
            size=(height, width),
            tiles=(len(grid.rows), len(grid.columns)) if grid else (1, 1),
            network_input=(predictor.in_channels, h, w),
            logits=(
                predictor.num_classes,
                *logits_size(h, w, predictor.preprocess, predictor.postprocess),
            ),
            outputs=written,
            classes=result.present,
            notes=notes,
        )


def _put(path: str, content: bytes) -> None:
    from segzoo.base import files

    if path == STDIO:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
    else:
        files.make_folder(os.path.dirname(path) or ".")
        files.write(path, content)


class _Report:
    """Tells a person, a program and errors.jsonl what became of each picture.

    As JSON it is one object, written as the work goes on, so that a million records need no memory.
    """

    def __init__(
        self,
        layout: Layout,
        total: int,
        head: dict[str, Json],
        *,
        as_json: bool,
        quiet: bool,
        sizes: bool,
    ) -> None:
        self.layout, self.total, self.head = layout, total, head
        self.as_json, self.quiet, self.sizes = as_json, quiet, sizes
        self.written = self.skipped = self.failed = 0
        self.first_error: SegzooError | None = None
        self.errors = "" if layout.is_file else os.path.join(layout.out, ERRORS)
        self.bar: Any = None

    def __enter__(self) -> Self:
        if self.errors:
            with contextlib.suppress(OSError):
                os.unlink(self.errors)  # of an earlier run
        if self.as_json:
            self._print(json.dumps(self.head)[:-1] + ', "pictures": [')
        elif not self.quiet and self.total > 1 and sys.stderr.isatty():
            self.bar = progress_bar()
            self.bar.add_task("", total=self.total)
            self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()
        if self.as_json:
            counts = {"written": self.written, "skipped": self.skipped, "failed": self.failed}
            self._print(f"], {json.dumps(counts)[1:]}")
        if kind is None:
            self._summarize()
        elif issubclass(kind, KeyboardInterrupt) and self.errors:
            done = self.written + self.skipped
            _say(
                f"interrupted; {done} of {self.total} pictures are done, "
                "--skip-existing goes on from there"
            )

    @property
    def exit_code(self) -> int:
        """That of a lone picture's error; 1 when some of several failed."""
        return self.first_error.exit_code if self.first_error and self.total == 1 else 1

    def hopeless(self, batch_size: int) -> bool:
        """Whether a whole batch has failed before any picture went well."""
        return self.written == 0 and self.failed >= batch_size

    def write(self, job: Job, record: _Record) -> None:
        self.written += 1
        for note in () if self.quiet else record.notes:
            _say(f"{printable(job.source)}: {note}")
        if self.sizes and not self.as_json:
            text = (
                f"{printable(job.source)}: picture {record.size}, input {record.network_input}, "
                f"logits {record.logits}, mask {record.size}"
            )
            if record.tiles != (1, 1):
                down, across = record.tiles
                text += f" ({down}x{across} windows; input and logits are the largest one's)"
            _say(text) if self.layout.out == STDIO else self._print(text)
        self._tell(job, record._asdict())

    def fail(self, job: Job, error: SegzooError) -> None:
        self.failed += 1
        self.first_error = self.first_error or error
        what = {"error": type(error).__name__, "message": str(error)}
        if self.errors:
            try:
                with open(self.errors, "a", encoding="ascii") as file:
                    file.write(json.dumps({"input": job.source} | what) + "\n")
            except OSError as cause:
                raise OutputError(
                    f"cannot be written: {cause.strerror}", file=self.errors
                ) from None
        self._tell(job, what)

    def skip(self, job: Job) -> None:
        self.skipped += 1
        self._tell(job, {"skipped": True})

    def _tell(self, job: Job, what: dict[str, Json]) -> None:
        if self.bar is not None:
            self.bar.advance(self.bar.task_ids[0])
        if self.as_json:
            comma = ", " * (self.written + self.failed + self.skipped > 1)
            self._print(comma + json.dumps({"input": job.source} | what))

    def _summarize(self) -> None:
        if self.failed and self.total == 1:
            _say(str(self.first_error))
        elif self.failed:
            _say(
                f"{self.failed} of {self.total} pictures failed; "
                f"see {printable(self.errors)}. The first: {self.first_error}"
            )
        elif not self.quiet and not self.as_json and self.layout.out != STDIO:
            skipped = f", {self.skipped} were there" * bool(self.skipped)
            _say(
                f"{self.written} picture{'s' * (self.written != 1)} -> "
                f"{printable(self.layout.out)}{skipped}"
            )

    def _print(self, text: str) -> None:
        """On stdout, for as long as somebody reads it: the work does not depend on that."""
        try:
            print(text, flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(text: str) -> None:
    print(f"segzoo: {text}", file=sys.stderr)
