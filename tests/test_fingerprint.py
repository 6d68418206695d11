"""What tells data sets apart: contents, read once; what a run that goes on makes of a change."""

import ast
import json
import os
import shutil
from importlib import util
from pathlib import Path

import numpy as np
import pytest
from cells import LOUD, cells_in, pair, record_of, resumed, trained

from segzoo.data import fingerprint as module
from segzoo.data.decoded import Decoded
from segzoo.data.fingerprint import Fingerprint, fingerprint, hash_of_names
from segzoo.data.readers.arrays import open_arrays
from segzoo.data.readers.folder import open_folder
from segzoo.data.sample import Sample
from segzoo.data.source import Subset, open_data
from segzoo.engine.record import RUN
from segzoo.errors import DatasetError, RunError
from segzoo.spec import Preprocess

RANDOM = np.random.default_rng(1)


@pytest.fixture
def cells(tmp_path, monkeypatch):
    """A folder of four pairs; the test runs beside it."""
    monkeypatch.chdir(tmp_path)
    return cells_in(tmp_path / "cells")


def test_b1_the_contents_count_and_the_place_does_not(cells, tmp_path):
    first = fingerprint(open_folder(cells))
    assert first.of == "contents"
    shutil.copytree(cells, tmp_path / "elsewhere")
    assert fingerprint(open_folder(tmp_path / "elsewhere")) == first
    changed = {first.sha256}
    for file in (cells / "masks" / "b.png", cells / "images" / "b.png"):
        with open(file, "r+b") as stream:  # of the same length, one bit
            stream.seek(-20, os.SEEK_END)
            byte = stream.read(1)
            stream.seek(-20, os.SEEK_END)
            stream.write(bytes([byte[0] ^ 1]))
        changed.add(fingerprint(open_folder(cells)).sha256)
    assert len(changed) == 3
    os.rename(cells / "images/c.png", cells / "images/z.png")
    os.rename(cells / "masks/c.png", cells / "masks/z.png")
    changed.add(fingerprint(open_folder(cells)).sha256)
    assert len(changed) == 4


def test_b1_the_bytes_are_read_once(cells, monkeypatch):
    """Also by another process, and by the set's own part; a change of any kind is seen."""
    read = []
    original = module._sha256
    monkeypatch.setattr(module, "_sha256", lambda file: read.append(file) or original(file))
    monkeypatch.setattr(module.cache, "SETTLED_SECONDS", -1)
    first = fingerprint(open_folder(cells))
    assert len(read) == 8
    assert fingerprint(open_folder(cells)) == first
    assert len(read) == 8
    other = cells / "images" / "a.png"
    data, times = other.read_bytes(), (os.stat(other).st_atime_ns, os.stat(other).st_mtime_ns)
    other.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(other, ns=times)  # size and time as before: the inode's own time tells
    assert fingerprint(open_folder(cells)) != first
    assert len(read) == 16


def test_b1_a_file_that_changed_just_now_is_read_again(cells, monkeypatch):
    read = []
    original = module._sha256
    monkeypatch.setattr(module, "_sha256", lambda file: read.append(file) or original(file))
    for _ in range(2):
        fingerprint(open_folder(cells))
    assert len(read) == 16


def test_b1_of_parts_and_of_what_is_kept_decoded(cells, tmp_path):
    whole = open_folder(cells)
    part = Subset(whole, [1, 3])
    assert fingerprint(part) == fingerprint(Subset(whole, [1, 3]))
    assert len({fingerprint(d).sha256 for d in (whole, part, Subset(whole, [3, 1]))}) == 3
    kept = Decoded(part, size=None, preprocess=Preprocess(), folder=tmp_path / "kept")
    assert fingerprint(kept) == fingerprint(part)
    with open(cells / "images" / "a.png", "ab") as stream:  # of a sample that is not in the part
        stream.write(b"x")
    assert fingerprint(Subset(open_folder(cells), [1, 3])) == fingerprint(part)


def test_b1_of_arrays_it_is_their_values(tmp_path):
    images = RANDOM.integers(0, 256, (3, 8, 9), dtype=np.uint8)
    for name, more in (("one", 0), ("two", 1)):
        np.savez(tmp_path / f"{name}.npz", images=images, masks=images % 2 + more)
    found = [fingerprint(open_arrays(tmp_path / f"{name}.npz")) for name in ("one", "two")]
    assert [f.of for f in found] == ["contents"] * 2
    assert found[0].sha256 != found[1].sha256


class Own:
    def __init__(self, **given):
        self.__dict__ |= given

    def __len__(self):
        return 2

    def __getitem__(self, index) -> Sample:
        raise AssertionError("samples are not read for this")


def test_b1_of_a_set_of_ones_own_it_is_what_it_tells(tmp_path):
    assert fingerprint(Own()) == Fingerprint("nothing", "")
    named = Own(id_of=lambda index: f"s{index}")
    assert fingerprint(named) == Fingerprint("names", hash_of_names(named))
    (tmp_path / "all.bin").write_bytes(b"1")
    assert fingerprint(Own(files=[tmp_path / "all.bin"])).of == "contents"
    (tmp_path / "all.bin").unlink()
    with pytest.raises(DatasetError, match=r"all\.bin: cannot be read: No such file"):
        fingerprint(Own(files=[tmp_path / "all.bin"]))


def test_b1_of_very_large_sets_it_is_sizes_and_times(cells, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    first = fingerprint(open_folder(cells))
    assert first.of == "sizes and times"
    assert fingerprint(open_folder(cells)) == first
    os.utime(cells / "images" / "a.png", (1, 1))
    assert fingerprint(open_folder(cells)) != first


def test_b1_every_reader_of_ours_says_its_files():
    """A class of samples that does not is known by its names alone."""
    folder = Path(util.find_spec("segzoo.data.readers").origin).parent
    found = {}
    for file in sorted(folder.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            body = node.body if isinstance(node, ast.ClassDef) else []
            methods = {f.name for f in body if isinstance(f, ast.FunctionDef)}
            if {"__len__", "id_of"} <= methods:
                text = ast.unparse(node)
                found[node.name] = "self.files" in text or "files_at" in methods
    assert len(found) >= 6
    assert [name for name, says in found.items() if not says] == []


def test_words_of_open_data_tell_their_part(cells):
    parts = [open_data(f"folder:{cells}?val=0.5", part=part) for part in ("train", "val")]
    assert len({fingerprint(part).sha256 for part in parts}) == 2


# --- a run that goes on ---------------------------------------------------------------------------

WORDS = "folder:cells?values=0,255"
FIRST_TWO = f"{WORDS}&split=0:2"


def test_b1_a_change_before_a_resumption_is_noticed(cells):
    trained(WORDS, val=FIRST_TWO)
    assert record_of()["data"]["of"] == record_of()["val"]["of"] == "contents"
    resumed()
    pair(cells, "d", seed=99)  # in the training set alone
    with pytest.raises(RunError, match=r"was begun otherwise; found sha256: was '[0-9a-f]{64}'"):
        resumed()
    resumed(force_resume=True)


def test_b1_a_change_of_the_set_to_measure_on_too(cells):
    shutil.copytree(cells, "val")
    trained(WORDS, val="folder:val?values=0,255")
    pair(Path("val"), "a", seed=99)
    with pytest.raises(RunError, match="was begun otherwise; found sha256"):
        resumed()


def older(run):
    """The run as a version left it that hashed names alone."""

    def without(record):
        data = record["data"]
        record["data"] = {"samples": data["samples"], "sha256": data["names"]}
        record.pop("val", None)

    for path in (Path(run, RUN), *Path(run).glob("step-*/manifest.json")):
        content = json.loads(path.read_text("utf-8"))
        without(content if path.name == RUN else content["about"]["about"])
        path.write_text(json.dumps(content))


def test_b1_a_run_from_before_goes_on_with_a_note(cells, capfd):
    trained(WORDS, val=FIRST_TWO)
    older("run")
    capfd.readouterr()
    resumed(settings=LOUD)
    said = "goes on from step 2, to the last bit if no file of its data has changed: so far it kept"
    assert said in " ".join(capfd.readouterr().err.split())
    assert record_of()["data"]["of"] == "contents"
    pair(cells, "d", seed=99)  # and from now on a change is noticed
    with pytest.raises(RunError, match="was begun otherwise; found sha256"):
        resumed()


def test_b1_names_that_changed_before_that_are_still_noticed(cells):
    trained(WORDS)
    older("run")
    for place in ("images", "masks"):
        os.rename(cells / place / "c.png", cells / place / "z.png")
    with pytest.raises(RunError, match="was begun otherwise"):
        resumed()
