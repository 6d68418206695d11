"""Numbers of files that come from elsewhere have bounds, in the records themselves."""

import dataclasses
import json
import resource
import shutil
import typing
from pathlib import Path

import pytest
from forked import forked

import segzoo
from segzoo.cli.main import run
from segzoo.engine.settings import Settings
from segzoo.errors import PictureTooLargeError
from segzoo.saved.config import Config
from segzoo.spec import Postprocess, Preprocess, Recipe
from segzoo.zoo import registry

NO_DEFECT = {0, 2, 3, 5, 6}  # every exit code but that of a defect of segzoo

BOUNDS = [
    (Preprocess, {"size": (8192, 8192), "resize": "stretch"}, {"size": (8, 8193)}),
    (Preprocess, {"size": (8192, 1), "resize": "letterbox"}, {"size": (8193, 8)}),
    (Preprocess, {"margin": 4096}, {"margin": 4097}),
    (Preprocess, {"multiple_of": 4096}, {"multiple_of": 4097}),
    (Preprocess, {"remainder": 4096}, {"remainder": 4097}),
    (Postprocess, {"scale": 16}, {"scale": 17}),
]
LIMITS = {"size": "a side above 8192", "scale": "above 16"}


@pytest.mark.parametrize(("kind", "most", "more"), BOUNDS, ids=lambda v: str(v)[:40])
def test_a6_the_spec_has_bounds(kind, most, more):
    kind(**most)
    [(name, value)] = more.items()
    with pytest.raises(ValueError) as error:
        kind(**{**most, **more})
    assert str(error.value).startswith(f"{kind.__name__}: {name}={value} ")
    assert str(error.value).endswith(LIMITS.get(name, "above 4096"))


def test_a6_a_recipe_has_them_too():
    base = Recipe(steps=1, batch_size=1, optimizer=("sgd", {}), lr=0.1)
    dataclasses.replace(base, size=(8192, 8192), crop=(8192, 1))
    for name in ("size", "crop"):
        with pytest.raises(ValueError, match=f"{name}=.* has a side above 8192"):
            dataclasses.replace(base, **{name: (8193, 1)})


def test_a6_the_model_is_blamed_for_its_size(monkeypatch, workplace):
    """It was the picture's fault, of 64x84 pixels."""
    preprocess = Preprocess(size=(8192, 8192), resize="stretch")
    spec = dataclasses.replace(registry.resolve("tiny:TINY"), preprocess=preprocess)

    def full(*_):
        raise MemoryError

    monkeypatch.setattr("segzoo.predict.stages.prepare", full)
    with pytest.raises(PictureTooLargeError) as error:
        segzoo.load(spec).predict("photo.png")
    assert str(error.value) == (
        "photo.png: memory ran out while it was read. "
        "It is the model that makes 8192x8192 of every picture"
    )


EXTREME = (-1, 0, 2**62, 10**19, 1e308, 1e-320)


def numbers_in(value: object, hint: object, path: tuple = ()) -> typing.Iterator[tuple]:
    """Where numbers stand in a record's JSON, by its annotations, also those that are null."""
    args = typing.get_args(hint)
    if hint in (int, float) or (set(args) & {int, float} and type(None) in args):
        yield path
    elif dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        for name, each in hints.items():
            if isinstance(value, dict) and name in value:
                yield from numbers_in(value[name], each, (*path, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            kind = args[0] if typing.get_origin(hint) is tuple else typing.Any
            yield from numbers_in(item, kind, (*path, number))
    elif type(value) in (int, float):
        yield path
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from numbers_in(item, typing.Any, (*path, name))


def changed(value, path, new):
    if not path:
        return new
    if isinstance(value, dict):
        return {k: changed(v, path[1:], new) if k == path[0] else v for k, v in value.items()}
    return [changed(v, path[1:], new) if n == path[0] else v for n, v in enumerate(value)]


def tried(file: Path, records, line, tmp_path) -> dict[str, int]:
    """The exit codes of a command line by what was in the file; with a GiB of memory at most."""

    kept = tmp_path / "kept"
    shutil.copytree("run", kept)

    def work() -> int:
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + (1 << 30), mapped + (1 << 30)))
        for name, record in records:
            shutil.rmtree("run")
            shutil.copytree(kept, "run")
            file.write_text(json.dumps(record))
            code = run(line)
            with open(tmp_path / "codes", "a") as stream:
                stream.write(json.dumps([name, code]) + "\n")
        return 0

    child = forked(work, tmp_path / "log")
    assert child.wait(400) == 0, child.said
    return dict(map(json.loads, (tmp_path / "codes").read_text().splitlines()))


def test_a6_every_number_of_a_config(workplace):
    """Whatever a stranger writes there, it is an error that says what is wrong, and soon."""
    file = workplace / "run" / "model" / "config.json"
    (file.parent / "manifest.json").unlink()
    record = json.loads(file.read_text())
    record["preprocess"] |= {"size": [64, 64], "resize": "stretch"}
    record |= {"palette": [[1, 2, 3]]}
    paths = [*numbers_in(record, Config)]
    assert {p[-1] for p in paths} >= {"margin", "multiple_of", "remainder", "scale", "threshold"}
    records = [
        (f"{path}={value}", changed(record, path, value)) for path in paths for value in EXTREME
    ]
    line = ["predict", "./run/model", "photo.png", "-o", "out", "--overwrite", "-q"]
    codes = tried(file, records, line, workplace)
    assert {name: code for name, code in codes.items() if code not in NO_DEFECT} == {}
    assert len(codes) == len(records) and 0 in codes.values()


@pytest.mark.slow
@pytest.mark.parametrize(("part", "kind"), [("recipe", Recipe), ("settings", Settings)])
def test_a6_every_number_of_a_run(workplace, part, kind):
    file = workplace / "run" / "run.json"
    record = json.loads(file.read_text())
    paths = [*numbers_in(record[part], kind)]
    assert len(paths) > 8
    records = [
        (f"{path}={value}", changed(record, (part, *path), value))
        for path in paths
        for value in EXTREME
    ]
    line = ["train", "--resume", "run", "--device", "cpu", "--max-minutes", "0", "-q"]
    line += ["--force-resume"]
    codes = tried(file, records, line, workplace)
    assert {name: code for name, code in codes.items() if code not in NO_DEFECT} == {}
    assert len(codes) == len(records) and 0 in codes.values()
