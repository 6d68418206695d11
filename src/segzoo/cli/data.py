"""segzoo data: is a data set fit to be trained on, how does it look, how is it read and written?"""

import dataclasses
import random
from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from segzoo.base.counts import count_of
from segzoo.base.records import Json, asdict
from segzoo.cli.help import Command, Group, completed
from segzoo.cli.options import AsJson
from segzoo.cli.progress import working
from segzoo.cli.text import columns, print_json, say, table, wrapped_lines
from segzoo.errors import DatasetError, PluginError, UsageError, printable
from segzoo.model.load import find_spec
from segzoo.spec import Option, Preprocess, ReaderSpec, Recipe
from segzoo.zoo import registry

if TYPE_CHECKING:
    from segzoo.data.check import Finding, Report
    from segzoo.data.sample import Dataset, Info, Sample, Stream
    from segzoo.data.traits import Traits

INDENT = 11  # of what belongs to the line above
SHOWN = 40  # values of masks in a table, where nothing says which are classes
WORDS = "reader:path?option=value; a path alone is a folder."
MOST = 64  # samples on a sheet
COMMON = (
    """Every reader also takes split=FROM:TO, and val=SHARE or fold=I/N with seed= and part=."""
)

app = typer.Typer(
    cls=Group,
    help="Check, look at, export and make data sets.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Words = Annotated[str, typer.Argument(help=WORDS, metavar="WORDS")]


# --- check ---------------------------------------------------------------------------------------


@app.command(cls=Command)
def check(
    words: Words,
    against: Annotated[
        list[str] | None,
        typer.Option(help="A set that must share no picture with this one.", metavar="WORDS"),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(help="How many classes.  [default: as the data set says]", min=1)
    ] = None,
    ignore_index: Annotated[
        int | None, typer.Option(help="The value that does not count in masks.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that read; 0 for none.", min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Read a data set once and say what is wrong with it.

    Faults, which end with exit code 3: files that cannot be read, masks of another size or with
    values that are no class, pictures that are in another set too. Notes: classes that never
    occur, masks that are ignored all over, pictures that are there twice. Of a set with val= or
    fold= both parts are judged, and compared.
    """
    from segzoo.data.check import check as check_data
    from segzoo.data.source import held_out, open_data

    with working(f"reading {words}"):
        others = {other: open_data(other) for other in against or ()}
        report = check_data(
            open_data(words),
            num_classes=classes,
            ignore_index=ignore_index,
            val=open_data(words, part="val") if held_out(words) else None,
            others=others,
            workers=workers,
        )
    if as_json:
        print_json({"data": words, "ok": report.ok, **dataclasses.asdict(report)})
    else:
        say(*wrapped_lines(_parts(words, report), columns(), indent=INDENT))
    if not report.ok:
        raise typer.Exit(DatasetError.exit_code)


def _parts(words: str, report: "Report") -> Iterator[str]:
    """The report, and that of the part that is held out."""
    if report.val is None:
        yield from _lines(words, report)
        return
    yield from _lines(f"{words}, its train part", report)
    yield ""
    yield from _lines(f"{words}, its val part", report.val)


def _lines(words: str, report: "Report") -> Iterator[str]:
    yield f"{words}: {count_of(report.samples, 'sample')}"
    if report.sizes is not None:
        sizes = dataclasses.asdict(report.sizes).items()
        yield "size     " + ", ".join(f"{name} {h}x{w}" for name, (h, w) in sizes) + " (H x W)"
        for name, values in (("mean", report.mean), ("std", report.std)):
            yield f"{name:<9}" + " ".join(f"{value:.4f}" for value in values) + " (RGB in 0..1)"
    if report.ignored:
        share = report.ignored / (report.ignored + report.pixels)
        yield f"ignored  {report.ignored:,} pixels, {share:.1%}"
    if report.pixels:
        yield ""
        yield from _classes(report)
    yield ""
    for finding in report.notes:
        yield from _finding("note", finding)
    for finding in report.faults:
        yield from _finding("FAULT", finding)
    count = sum(finding.count for finding in report.faults)
    yield f"{count_of(count, 'fault')}, {count_of(len(report.notes), 'note')}"


def _classes(report: "Report") -> Iterator[str]:
    """How often each class occurs."""
    shown = report.classes if report.num_classes else report.classes[:SHOWN]
    rows = [
        (
            str(found.index),
            found.name if found.name != str(found.index) else "",
            f"{found.pixels:,}",
            f"{found.pixels / report.pixels:.2%}",
            f"{found.pictures:,}",
        )
        for found in shown
    ]
    name = "NAME" if any(row[1] for row in rows) else ""
    header = ("CLASS" if report.num_classes else "VALUE", name, "PIXELS", "SHARE", "PICTURES")
    yield from table(header, rows, right="> >>>")
    if len(shown) < len(report.classes):
        yield f"and {len(report.classes) - len(shown)} more"


def _finding(kind: str, finding: "Finding") -> Iterator[str]:
    """The finding, what to do, and each thing that it is about on a line of its own."""
    step = f". {finding.next_step}" if finding.next_step else ""
    count = f"{finding.count} x " if finding.items or finding.count > 1 else ""
    yield f"{kind:<9}{count}{finding.problem}{step}"
    for item in finding.items:
        yield " " * INDENT + (f"{item.name}: {item.detail}" if item.detail else item.name)
    if finding.items and finding.count > len(finding.items):
        yield " " * INDENT + f"and {finding.count - len(finding.items)} more"


# --- traits --------------------------------------------------------------------------------------


@app.command(cls=Command)
def traits(
    words: Words,
    val: Annotated[
        str | None,
        typer.Option(
            help="What is to be measured on: its pictures are looked for.", metavar="WORDS"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a data set is like, in numbers.

    Sizes, colours, the classes with their shares, how large and thin things are, which way up
    they lie, and pictures that are there twice. It is kept: the next time no picture is read.
    """
    from segzoo.data.looked import look_at
    from segzoo.data.traits import TRAITS
    from segzoo.runs.training import data_of

    with working(f"reading {words}"):
        train, held = data_of(words, val)
        look = look_at(train, held)
    if as_json:
        print_json({"data": words, **asdict(look)})
        return
    say(*class_lines(look.traits), "")
    rows = [(name, f"{look.traits.numbers[name]:g}", about) for name, about in TRAITS.items()]
    say(*table(("TRAIT", "VALUE", "IS"), rows, right=" >"))
    if look.notes:
        say("", *(f"note     {note}" for note in look.notes))


def class_lines(found: "Traits") -> list[str]:
    """A line for each class: its share, and how its things look."""
    rows = [
        (
            c.name,
            f"{c.share:.2%}",
            f"{c.pictures:.0%}",
            f"{c.objects:g}" if c.size else "",
            f"{c.size:.0f}" if c.size else "",
            f"{c.width:.1f}",
        )
        for c in found.classes
    ]
    return table(("CLASS", "SHARE", "PICTURES", "OBJECTS", "SIZE", "WIDTH"), rows, right=" >>>>>")


# --- preview -------------------------------------------------------------------------------------


@app.command(cls=Command)
@completed
def preview(
    words: Words,
    changes: Annotated[
        list[str] | None,
        typer.Argument(
            help="What to change of the recipe: crop=256, augment=flip,rotate ...",
            metavar="KEY=VALUE",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Show samples as this model trains on them.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="One of the model's recipes.  [default: its first]")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", help="Samples.", min=1, max=MOST)] = 12,
    out: Annotated[str, typer.Option("--out", "-o", metavar="FILE.png|FILE.html")] = "preview.png",
    seed: Annotated[int, typer.Option(help="Of which samples, and of what is drawn.")] = 0,
) -> None:
    """Draw a sheet of pictures, masks and overlays.

    A .png is one picture of them all; an .html is a page on which masks are slid over pictures.

    With a model, or with a recipe's values (augment=flip,rotate crop=256), samples are resized,
    cropped and augmented as in training. Without, they are shown as they are stored.
    """
    if not out.lower().endswith((".png", ".html")):
        raise UsageError(
            "the sheet is a PNG or a page",
            found=printable(out),
            expected="-o FILE.png or -o FILE.html",
        )
    if recipe and not model:
        raise UsageError("a recipe is a model's", next_step=f"Add: --model NAME --recipe {recipe}")
    from segzoo.base import files, ours
    from segzoo.data.sample import checked, info_of
    from segzoo.data.source import open_data
    from segzoo.pictures import codec
    from segzoo.report.page import write_page
    from segzoo.report.panels import of_samples
    from segzoo.report.preview_page import page_of_samples

    ours.refuse_others([out], next_step="choose another name with -o")
    with working(f"drawing {words}"):
        dataset = open_data(words)
        info = info_of(dataset)
        numbered, numbers = _chosen(dataset, count, seed)
        ignore_index = info.ignore_index
        if model or changes:
            chosen = _recipe(model, recipe, changes or (), seed=seed, ignore_index=ignore_index)
            samples = _prepared(numbered, numbers, model, chosen, info)
            ignore_index = chosen.ignore_index
        else:
            samples = [checked(numbered[number]) for number in numbers]
        if out.lower().endswith(".html"):
            note = "As a network is given them in the first epoch." if model or changes else ""
            page = page_of_samples(
                samples, words=words, info=info, ignore_index=ignore_index, note=note
            )
            write_page(out, page)
        else:
            sheet = of_samples(samples, info=info, ignore_index=ignore_index)
            files.write(out, ours.signed(codec.encode(sheet), by=ours.SHEET))
    say(f"{out}: {count_of(len(samples), 'sample')}")


def _chosen(dataset: "Dataset | Stream", count: int, seed: int) -> "tuple[Dataset, Sequence[int]]":
    """Some samples and their numbers: drawn from a data set, or the first of a stream."""
    from segzoo.data.sample import Dataset

    if not isinstance(dataset, Dataset):
        first = [*islice(dataset, count)]
        return first, range(len(first))
    numbers = range(len(dataset))
    return dataset, sorted(random.Random(seed).sample(numbers, min(count, len(numbers))))


def _recipe(
    model: str | None,
    name: str | None,
    changes: Sequence[str],
    *,
    seed: int,
    ignore_index: int | None,
) -> Recipe:
    """The recipe of a model, or one that does nothing, with what is changed of it."""
    from segzoo.engine import recipes

    recipe = recipes.DEFAULT
    if model:
        _, recipe = recipes.of_spec(find_spec(model)[1], name)
    recipe = recipes.overridden(dataclasses.replace(recipe, seed=seed), changes)
    if recipe.ignore_index is None:
        recipe = dataclasses.replace(recipe, ignore_index=ignore_index)
    return recipe


def _prepared(
    dataset: "Dataset", numbers: Sequence[int], model: str | None, recipe: Recipe, info: "Info"
) -> "list[Sample]":
    """The samples as a network is given them in the first epoch."""
    from segzoo.data.check import classes_of
    from segzoo.data.loader import Draw, Prepared

    preprocess, in_channels, num_classes = Preprocess(), 3, classes_of(info) or 256
    if model:
        _, spec = find_spec(model)
        preprocess, in_channels = spec.preprocess, spec.in_channels
        num_classes = len(info.classes) or spec.num_classes
        if num_classes == 2:
            num_classes = min(2, spec.num_classes)  # a class and its background
    prepared = Prepared(
        dataset,
        recipe=recipe,
        preprocess=preprocess,
        in_channels=in_channels,
        num_classes=num_classes,
    )
    return [prepared.sample(Draw(0, number, 0)) for number in numbers]


# --- export --------------------------------------------------------------------------------------


class Format(StrEnum):
    """What a data set is written as; `segzoo.data.export` says what is where."""

    coco = "coco"
    coco_polygons = "coco-polygons"
    yolo = "yolo"


@app.command(cls=Command)
@completed
def export(
    words: Words,
    out: Annotated[str, typer.Option("--out", "-o", help="A folder.", metavar="DIR")],
    format: Annotated[
        Format,
        typer.Option("--as", help="coco has runs, which are exact; the others polygons."),
    ] = Format.coco,
    split: Annotated[str, typer.Option(help="What to call it there.", metavar="NAME")] = "train",
    background: Annotated[
        str,
        typer.Option(
            help="The class that is not written.  [default: the one called background]",
            metavar="CLASS",
        ),
    ] = "",
    tolerance: Annotated[
        float, typer.Option(help="Pixels that polygons may leave a border by.", min=0)
    ] = 0.0,
) -> None:
    """Write a data set as COCO or YOLO has it.

    Pictures are written as PNG, and masks as outlines. Another split can follow into the same
    folder: --split val.
    """
    from segzoo.data.export import export as export_data
    from segzoo.data.source import open_data

    with working(f"writing {out}"):
        found = export_data(
            open_data(words),
            out,
            format=format.value,
            split=split,
            background=background,
            tolerance=tolerance,
        )
    classes = ", ".join(map(printable, found.classes))
    say(f"{found.words}: {count_of(found.samples, 'sample')} of {classes}")
    if found.lost:
        say(f"{count_of(found.lost, 'pixel')} that do not count are background there")


# --- compose-digits ------------------------------------------------------------------------------


@app.command("compose-digits", cls=Command)
def compose_digits(
    out: Annotated[str, typer.Argument(help="A folder.", metavar="OUT")],
    count: Annotated[int, typer.Option(help="Pictures, of all parts together.", min=1)] = 5000,
    source: Annotated[
        str,
        typer.Option(
            "--from",
            help="sklearn, MNIST's file of pictures, or an .npz with images and labels.",
            metavar="SOURCE",
        ),
    ] = "sklearn",
    size: Annotated[str, typer.Option(help="Height and width.", metavar="H,W")] = "64,84",
    most: Annotated[int, typer.Option(help="Digits in a picture.", min=1)] = 3,
    overlap: Annotated[
        bool, typer.Option("--overlap", help="Digits may lie over each other.")
    ] = False,
    val: Annotated[float, typer.Option(help="Share for validation.", min=0, max=1)] = 0.1,
    test: Annotated[float, typer.Option(help="Share for the test.", min=0, max=1)] = 0.1,
    seed: Annotated[int, typer.Option(help="The same one makes the same files.", min=0)] = 0,
) -> None:
    """Make a data set of digits, as M2NIST is.

    Pictures of a few digits, with the class of each pixel.

    No digit of the source is in two parts. Classes are 0 to 9, and 10 for the background.
    """
    from segzoo.data.compose import write_digits

    with working(f"making {count_of(count, 'picture')}"):
        paths = write_digits(
            out,
            source=source,
            count=count,
            size=_size(size),
            seed=seed,
            most=most,
            overlap=overlap,
            val=val,
            test=test,
        )
    for path in paths.values():
        say(f"arrays:{path}")


def _size(text: str) -> tuple[int, int]:
    """ "64,84" -> (64, 84)."""
    try:
        height, width = map(int, text.split(","))
    except ValueError:
        raise UsageError(f"--size {printable(text)!r}", expected="height,width: 64,84") from None
    return height, width


# --- readers -------------------------------------------------------------------------------------


@app.command(cls=Command)
def readers(as_json: AsJson = False) -> None:
    """Show what reads data sets, and its options.

    A reader that does not work is shown with its cause; the others are not affected.
    """
    rows, records = [], []
    for entry in registry.entries(registry.READERS):
        origin = f"{entry.distribution} {entry.version}".strip()
        record: dict[str, Json] = {"name": entry.name, "plugin": origin, "problem": ""}
        try:
            spec = entry.load_as(ReaderSpec)
        except PluginError as error:
            record["problem"] = entry.problem or registry.cause(error.__cause__ or error)
            rows += [(entry.name, f"cannot be used: {record['problem']}"), ("", origin)]
        else:
            record |= asdict(spec)
            options = ", ".join(_option(name, option) for name, option in spec.options.items())
            about = (spec.summary, options, spec.license and f"licence: {spec.license}", spec.url)
            rows += [(entry.name * (line is about[0]), line) for line in about if line]
        records.append(record)
    if as_json:
        print_json(records)
    else:
        say(*table(("READER", "WHAT IT READS, ITS OPTIONS, ITS SOURCE"), rows), "", COMMON)


def _option(name: str, option: Option) -> str:
    """An option with its default, if it has one."""
    return name if option.default in (None, "") else f"{name}={option.default}"
