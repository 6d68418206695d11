"""D3: a fault in the data leaves no folder, and a folder without a checkpoint is no run."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from cells import cells_in, pair, record_of, resumed, trained
from PIL import Image

from segzoo.errors import DatasetError, RunError

WORDS = "folder:cells?values=0,255"


@pytest.fixture
def cells(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return cells_in(tmp_path / "cells")


@pytest.mark.parametrize("workers", [0, 1])
def test_d3_a_fault_in_the_first_batch_leaves_no_folder(workers, cells):
    from segzoo.engine.settings import Settings

    settings = Settings(device="cpu", workers=workers, quiet=True)
    whole = (cells / "masks" / "b.png").read_bytes()
    for name in "abcd":
        (cells / "masks" / f"{name}.png").write_bytes(whole[:100])
    with pytest.raises(DatasetError, match="the PNG is damaged"):
        trained(WORDS, settings=settings)
    assert not Path("run").exists()
    for name in "abcd":
        (cells / "masks" / f"{name}.png").write_bytes(whole)
    assert trained(WORDS, settings=settings).result.step == 2


def test_d3_all_ignored_leaves_no_folder_either(cells):
    for name in "abcd":
        Image.fromarray(np.full((32, 32), 255, np.uint8)).save(cells / "masks" / f"{name}.png")
    with pytest.raises(DatasetError, match="no pixel of the first batch counts"):
        trained("folder:cells?classes=a,b&ignore_index=255")
    assert not Path("run").exists()


def without_checkpoints():
    for folder in Path("run").glob("step-*"):
        shutil.rmtree(folder)


def test_d3_a_folder_without_a_checkpoint_is_no_run(cells):
    """As a version left it that wrote before it read, or a kill before the first checkpoint."""
    trained(WORDS)
    before = record_of()
    without_checkpoints()
    pair(cells, "a", seed=99)  # the data are mended meanwhile
    assert resumed().result.step == 2
    assert record_of()["data"] != before["data"]
    assert record_of()["sittings"][-1]["goes_on"] == "from its beginning: it had no checkpoint yet"

    without_checkpoints()
    assert trained(WORDS, steps=1).result.step == 1
    assert len(record_of()["sittings"]) == 1
    with pytest.raises(RunError, match="holds a run already"):
        trained(WORDS)


def test_d3_a_run_that_goes_on_is_not_touched_by_a_fault(cells):
    trained(WORDS, steps=1)
    before = {file: file.read_bytes() for file in Path("run").rglob("*") if file.is_file()}
    (cells / "masks" / "a.png").write_bytes(b"")
    with pytest.raises(DatasetError, match="the file is empty"):
        trained(WORDS, steps=3, run="further", resume="run", changes=["steps=3", "batch_size=4"])
    assert not Path("further").exists()
    after = {file: file.read_bytes() for file in Path("run").rglob("*") if file.is_file()}
    assert after == before
