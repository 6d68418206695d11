"""A data set by its words: the grammar, the parts of a set, and what is said of wrong words."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segzoo.data.sample import Info, Sample
from segzoo.data.source import Subset, held_out, id_of, open_data, parse
from segzoo.errors import DatasetError, DependencyMissingError, PluginError, UsageError
from segzoo.spec import Option, ReaderSpec
from segzoo.zoo import registry


class Numbers:
    """Samples named "a0", "a1", ...; decoding one is counted."""

    info = Info(classes=("zero", "one"))

    def __init__(self, path, *, count=100, prefix="a", **options):
        self.path, self.names, self.options = path, [f"{prefix}{n}" for n in range(count)], options
        self.read = 0

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        self.read += 1
        image = np.zeros((2, 2, 3), np.uint8)
        return Sample(image=image, target=image[..., 0], id=self.names[index])


class Flow:
    def __init__(self, path):
        pass

    def __iter__(self):
        yield from Numbers("")


def fail(path):
    raise ZeroDivisionError("by zero")


def missing(path):
    raise DatasetError("is not there", file=path)


SPECS = {
    "numbers": ReaderSpec(
        summary="numbers",
        open="made_readers:Numbers",
        options={
            "count": Option(default=100, min=1),
            "prefix": Option(default="a"),
            "split": Option(default="train", choices=("train", "test")),
            "share": Option(default=0.5, max=1),
            "flag": Option(default=False),
            "any": Option(default=None),
        },
    ),
    "flow": ReaderSpec(summary="a stream", open="made_readers:Flow"),
    "boom": ReaderSpec(summary="fails", open="made_readers:fail"),
    "lost": ReaderSpec(summary="finds nothing", open="made_readers:missing"),
    "other": ReaderSpec(summary="gives a list of nothing", open="made_readers:object"),
    "needy": ReaderSpec(
        summary="needs", open="made_readers:fail", requires={"no_such.module": "segzoo-core[data]"}
    ),
}


@pytest.fixture(autouse=True)
def readers(monkeypatch):
    """The readers above, beside those that are installed."""
    module = types.ModuleType("made_readers")
    module.__dict__.update(SPECS, Numbers=Numbers, Flow=Flow, fail=fail, missing=missing)
    module.object = lambda path: object()
    monkeypatch.setitem(sys.modules, "made_readers", module)
    installed = registry.entries(registry.READERS)
    made = [
        registry.Entry(name, "made", "1", f"made_readers:{name}", "", registry.READERS)
        for name in SPECS
    ]
    monkeypatch.setattr(registry, "entries", lambda group: (*installed, *made))


# --- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("voc:VOC2012?split=train", ("voc", "VOC2012", {"split": "train"})),
        ("cells", ("folder", "cells", {})),
        ("cells?values=0,255&val=0.2", ("folder", "cells", {"values": "0,255", "val": "0.2"})),
        (r"C:\cells", ("folder", r"C:\cells", {})),
        (r"folder:C:\cells", ("folder", r"C:\cells", {})),
        ("data/12:30/cells", ("folder", "data/12:30/cells", {})),
        ("Oxford-Pet:pets", ("oxford_pet", "pets", {})),
        ("shards:https://host/x.tar", ("shards", "https://host/x.tar", {})),
        ("folder:a?palette=#000000,#ff0000", ("folder", "a", {"palette": "#000000,#ff0000"})),
        ("folder:a?suffix=", ("folder", "a", {"suffix": ""})),
        ("folder:a?x=1=2", ("folder", "a", {"x": "1=2"})),
        ("folder:", ("folder", "", {})),
    ],
)
def test_words(words, expected):
    assert tuple(parse(words)) == expected


@pytest.mark.parametrize("item", ["values", "a=1&a=2"])
def test_words_that_cannot_be_read(item):
    with pytest.raises(UsageError) as raised:
        parse(f"folder:x?{item}")
    assert str(raised.value) == (
        f"cannot read {item.rpartition('&')[2]!r} in 'folder:x?{item}'; "
        "expected reader:path?option=value&option=value, each option once"
    )


def test_options_have_the_type_of_their_default():
    data = open_data("numbers:p?count=3&share=1&flag=yes&any=7&split=test")
    assert len(data) == 3
    assert data.options == {"share": 1.0, "flag": True, "any": "7", "split": "test"}
    assert type(data.options["share"]) is float


def test_a_home_folder_is_found(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert open_data("numbers:~/x").path == "/somewhere/x"


def test_every_wrong_option_is_named():
    with pytest.raises(UsageError) as raised:
        open_data("numbers:p?cuont=3&count=many&share=2&flag=maybe&split=val")
    assert str(raised.value) == (
        "reader 'numbers': 'cuont' is not an option (did you mean 'count'?); it has count, prefix, "
        "split, share, flag, any; count='many' is not of type int; share is 2.0, above 1; "
        "flag='maybe' is not of type bool; split is 'val', not one of 'train', 'test'"
    )


def test_a_reader_without_options_says_so():
    with pytest.raises(UsageError, match=r"'x' is not an option; it has none$"):
        open_data("flow:p?x=1")


def test_a_reader_that_is_not_there():
    with pytest.raises(UsageError, match=r"no reader 'numbrs'\. Did you mean 'numbers'\?$"):
        open_data("numbrs:p")


def test_a_reader_whose_library_is_missing():
    message = (
        r"^the reader 'needy' needs segzoo-core\[data\]\. Run: pip install 'segzoo-core\[data\]'$"
    )
    with pytest.raises(DependencyMissingError, match=message):
        open_data("needy:p")


def test_what_a_reader_raises_on_purpose_is_left_as_it_is():
    with pytest.raises(DatasetError, match=r"^p: is not there$"):
        open_data("lost:p")


def test_a_reader_that_fails():
    message = r"^the reader 'boom' failed on 'p': ZeroDivisionError: by zero$"
    with pytest.raises(PluginError, match=message):
        open_data("boom:p")


def test_a_reader_that_gives_something_else():
    message = r"^the reader 'other' failed on 'p': it returned a object, not a data set$"
    with pytest.raises(PluginError, match=message):
        open_data("other:p")


# --- parts ---------------------------------------------------------------------------------------


def names(words, **options):
    data = open_data(words, **options)
    return [id_of(data, n) for n in range(len(data))]


@pytest.mark.parametrize(
    ("split", "expected"),
    [("0:3", "a0 a1 a2"), ("97:", "a97 a98 a99"), (":2", "a0 a1"), ("-1:", "a99")],
)
def test_a_span(split, expected):
    data = open_data(f"numbers:p?split={split}")
    assert isinstance(data, Subset)
    assert [sample["id"] for sample in map(data.__getitem__, range(len(data)))] == expected.split()
    assert data.info == Numbers.info


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("a:b", "split='a:b' is not FROM:TO, two whole numbers"),
        ("5:5", "split=5:5 takes nothing of 100 samples"),
        ("1:2:3", "is not FROM:TO"),
    ],
)
def test_a_span_of_nothing(split, message):
    with pytest.raises(UsageError, match=message):
        open_data(f"numbers:p?split={split}")


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.99])
def test_two_sides_are_the_whole_and_share_nothing(share):
    words = f"numbers:p?val={share}&seed=2020"
    train, val = names(words), names(words, part="val")
    assert not {*train} & {*val}
    assert sorted(train + val) == sorted(Numbers("").names)
    assert len(val) == round(100 * share)
    assert names(f"{words}&part=val") == val
    assert names(f"{words}&part=val", part="train") == val  # the words say it
    assert names(f"numbers:p?val={share}&seed=2021", part="val") != val


def test_folds_are_the_whole_and_share_nothing():
    folds = [names(f"numbers:p?count=10&fold={n}/3", part="val") for n in range(3)]
    assert sorted(map(len, folds)) == [3, 3, 4]
    whole = sorted(name for fold in folds for name in fold)
    assert whole == sorted(f"a{n}" for n in range(10))
    train = names("numbers:p?count=10&fold=1/3")
    assert sorted(train + folds[1]) == whole


@pytest.mark.parametrize("words", ["val=0.2", "fold=3/5"])
def test_few_samples_change_sides_when_some_are_added(words):
    before = set(names(f"numbers:p?count=1000&{words}", part="val"))
    after = set(names(f"numbers:p?count=1010&{words}", part="val"))
    assert len(before) == 200
    assert len(before ^ after) <= 20


def test_sides_do_not_depend_on_the_order_of_samples(monkeypatch):
    words = "numbers:p?count=50&val=0.3"
    val = names(words, part="val")
    original = Numbers.__init__

    def backwards(self, path, **options):
        original(self, path, **options)
        self.names.reverse()

    monkeypatch.setattr(Numbers, "__init__", backwards)
    assert sorted(names(words, part="val")) == sorted(val)


def test_a_span_is_parted_within_itself():
    train, val = (names("numbers:p?split=10:30&val=0.5", part=side) for side in ("train", "val"))
    assert sorted(train + val) == [f"a{n}" for n in range(10, 30)]


def test_sides_are_the_same_on_every_machine():
    """Written down once, so that a change of the rule is seen."""
    assert names("numbers:p?count=12&val=0.25&seed=2020", part="val") == ["a3", "a7", "a11"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("val=0", "cannot part a set of 100 samples by 'val=0'; expected val between 0 and 1, or"),
        ("val=1", "expected val between 0 and 1, or fold=I/N with I from 0 to N - 1"),
        ("val=nan", "by 'val=nan'"),
        ("val=a", "by 'val=a'"),
        ("fold=5/5", "by 'fold=5/5'"),
        ("fold=0/1", "by 'fold=0/1'"),
        ("fold=0/101", "by 'fold=0/101'"),
        ("fold=-1/5", "by 'fold=-1/5'"),
        ("fold=3", "by 'fold=3'"),
        ("fold=1/2/3", "by 'fold=1/2/3'"),
        ("val=0.5&fold=1/2", "expected val=SHARE or fold=I/N, and part=train or part=val"),
        ("val=0.5&part=test", "expected val=SHARE or fold=I/N, and part=train or part=val"),
        ("val=0.001", "100 samples: too few to be parted so"),
        ("seed=1", r"part= and seed= go with val= or fold=, which 'numbers:p\?seed=1' lacks"),
        ("part=val", "part= and seed= go with"),
    ],
)
def test_parts_that_cannot_be(query, message):
    with pytest.raises(UsageError, match=message):
        open_data(f"numbers:p?{query}")


@pytest.mark.parametrize("query", ["split=0:3", "val=0.5", "fold=0/2"])
def test_a_stream_has_no_parts(query):
    with pytest.raises(UsageError, match="= needs a data set whose samples are numbered, not a st"):
        open_data(f"flow:p?{query}")


def test_a_stream_is_opened():
    assert next(iter(open_data("flow:p")))["id"] == "a0"


@pytest.mark.parametrize(
    ("query", "expected"),
    [("val=0.2", True), ("fold=1/5", True), ("val=0.2&part=val", False), ("", False)],
)
def test_words_that_part_a_set(query, expected):
    assert held_out(f"numbers:p?{query}") is expected


# --- names without decoding ----------------------------------------------------------------------


def test_names_are_asked_for_and_not_decoded(tmp_path):
    class Named(Numbers):
        def id_of(self, index):
            return self.names[index]

    data = Named("")
    assert id_of(Subset(Subset(data, [4, 5]), [1]), 0) == "a5"
    assert data.read == 0
    plain = Numbers("")
    assert id_of(plain, 3) == "a3"
    assert plain.read == 1


def test_pairs_are_named_without_their_files(tmp_path: Path):
    for name in ("images/x.png", "masks/x.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("L", (2, 2)).save(tmp_path / name)
    data = open_data(f"folder:{tmp_path}")
    (tmp_path / "images/x.png").unlink()
    assert id_of(data, 0) == "x"
