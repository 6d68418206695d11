"""Records of options: what a verb is given when it asks for them."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer

from segzoo.cli.options import options_of, spelled_out


@dataclass(frozen=True, kw_only=True)
class Where:
    out: Annotated[str, typer.Option("--out", "-o", help="A folder.")]
    deep: Annotated[bool, typer.Option("--deep", help="Folders of folders.")] = False


@dataclass(frozen=True, kw_only=True)
class What:
    inputs: Annotated[list[str], typer.Argument(help="Files.")]
    size: Annotated[int, typer.Option(min=1)] = 8


def called(verb, *line):
    app = typer.Typer(rich_markup_mode=None)
    app.command()(verb)
    return app(list(line), standalone_mode=False)


def test_a_verb_is_given_its_records():
    found = []

    @spelled_out
    def verb(model: Annotated[str, typer.Argument()], where: Where, what: What) -> None:
        """Do it."""
        found.append((model, where, what))

    called(verb, "m", "a", "b", "-o", "x", "--deep")
    called(verb, "m", "a", "-o", "x", "--size", "3")
    assert found == [
        ("m", Where(out="x", deep=True), What(inputs=["a", "b"])),
        ("m", Where(out="x"), What(inputs=["a"], size=3)),
    ]
    assert (verb.__name__, verb.__doc__) == ("verb", "Do it.")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["m", "a"], "Missing option '--out'"),
        (["m", "-o", "x"], "Missing argument"),
        (["m", "a", "-o", "x", "--size", "0"], "Invalid value for '--size'"),
        (["m", "a", "-o", "x", "--where", "x"], "No such option: --where"),
    ],
)
def test_a_field_is_required_and_bounded_as_an_option_is(line, message):
    @spelled_out
    def verb(model: Annotated[str, typer.Argument()], where: Where, what: What) -> None:
        raise AssertionError

    with pytest.raises(Exception) as caught:  # the parser's, which names no class to the outside
        called(verb, *line)
    assert message in caught.value.format_message()


def test_two_records_with_one_option_are_refused():
    def verb(one: Where, other: Where) -> None: ...

    with pytest.raises(ValueError, match="duplicate parameter name: 'out'"):
        spelled_out(verb)


def test_an_option_nested_beyond_reading_is_a_text():
    assert options_of(["x=" + "[" * 100_000, "y=[1]"]) == {"x": "[" * 100_000, "y": [1]}
