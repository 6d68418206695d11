"""The reader of the Hub's data sets, on parquet files that `datasets` itself writes.

https://huggingface.co/docs/datasets/loading#parquet; a column of pictures holds their files' bytes
(https://huggingface.co/docs/datasets/image_dataset).
"""

import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from segzoo.data.readers.hf import open_hf
from segzoo.data.sample import Dataset, Stream, checked, info_of
from segzoo.data.source import id_of, open_data
from segzoo.errors import DatasetError, DependencyMissingError, UsageError

HEIGHT, WIDTH = 5, 7
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, HEIGHT, WIDTH, 3), dtype=np.uint8)
MASKS = RNG.integers(0, 4, (6, HEIGHT, WIDTH), dtype=np.uint8)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """`datasets` took its folder from HF_DATASETS_CACHE when it was imported."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()  # for what the tests themselves write
    yield tmp_path / "cache"
    if shown:
        datasets.enable_progress_bars()


def png(values: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(values).save(content, "PNG")
    return content.getvalue()


def write(
    file: Path,
    numbers: range = range(6),
    *,
    masks: np.ndarray = MASKS,
    label: list[dict] | None = None,
) -> Path:
    """A parquet file with columns image and label of the kind Image, as `datasets` writes them."""
    rows = {
        "image": [{"bytes": png(IMAGES[n]), "path": f"{n}.png"} for n in numbers],
        "label": label or [{"bytes": png(masks[n]), "path": None} for n in numbers],
    }
    features = datasets.Features({name: datasets.Image() for name in rows})
    file.parent.mkdir(exist_ok=True)
    if label is None:
        datasets.Dataset.from_dict(rows, features=features).to_parquet(str(file))
    else:  # `datasets` would look for the files that are named
        table = pyarrow.table(rows, schema=features.arrow_schema)
        pyarrow.parquet.write_table(table, file)
    return file


def test_a_file_of_rows(tmp_path, capsys):
    file = write(tmp_path / "rooms.parquet")
    dataset = open_data(f"hf:{file}")
    assert isinstance(dataset, Dataset) and len(dataset) == 6
    for n in range(6):
        sample = checked(dataset[n])
        np.testing.assert_array_equal(sample["image"], IMAGES[n])
        np.testing.assert_array_equal(sample["target"], MASKS[n])
        assert sample["id"] == id_of(dataset, n) == f"rooms.parquet/{n}"
    np.testing.assert_array_equal(dataset[-1]["target"], MASKS[5])
    with pytest.raises(IndexError):
        dataset[6]
    again = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(again[3]["target"], MASKS[3])
    assert "Generating" not in capsys.readouterr().err  # no bars of `datasets`


def test_bars_are_as_they_were(tmp_path):
    file = write(tmp_path / "rooms.parquet")
    datasets.enable_progress_bars()
    open_hf(str(file))
    assert not datasets.are_progress_bars_disabled()


def test_a_stream_is_read_in_order_and_again(tmp_path):
    file = write(tmp_path / "rooms.parquet")
    stream = open_data(f"hf:{file}?streaming=true")
    assert isinstance(stream, Stream) and not hasattr(stream, "__len__")
    for _ in range(2):
        samples = [checked(sample) for sample in stream]
        assert [sample["id"] for sample in samples] == [f"rooms.parquet/{n}" for n in range(6)]
        np.testing.assert_array_equal([sample["target"] for sample in samples], MASKS)
        np.testing.assert_array_equal([sample["image"] for sample in samples], IMAGES)


def test_a_folder_whose_files_are_named_by_split(tmp_path):
    """As the Hub names them: data/train-00000-of-00002.parquet."""
    data = tmp_path / "rooms" / "data"
    data.parent.mkdir()
    write(data / "train-00000-of-00002.parquet", range(2))
    write(data / "train-00001-of-00002.parquet", range(2, 3))
    write(data / "validation-00000-of-00001.parquet", range(3, 6))
    train = open_data(f"hf:{tmp_path}/rooms")
    np.testing.assert_array_equal([train[n]["target"] for n in range(len(train))], MASKS[:3])
    held = open_data(f"hf:{tmp_path}/rooms?split=validation")
    np.testing.assert_array_equal([held[n]["target"] for n in range(len(held))], MASKS[3:])
    with pytest.raises(DatasetError) as caught:
        open_hf(f"{tmp_path}/rooms", split="test")
    assert str(caught.value) == (
        f"{tmp_path}/rooms: there is no parquet file of the split 'test'; "
        "found train, validation, expected test.parquet or test-*.parquet"
    )
    (data / "train-00000-of-00002.parquet").unlink()
    (data / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(DatasetError, match="no parquet file of the split 'train'; found valid"):
        open_hf(f"{tmp_path}/rooms")


def test_a_folder_whose_files_are_named_otherwise(tmp_path):
    write(tmp_path / "rooms" / "a.parquet", range(4))
    write(tmp_path / "rooms" / "b.parquet", range(4, 6))
    assert len(open_data(f"hf:{tmp_path}/rooms")) == 6
    with pytest.raises(DatasetError, match="found none at all"):
        (tmp_path / "empty").mkdir()
        open_hf(f"{tmp_path}/empty")


def test_what_masks_mean_can_be_said(tmp_path):
    masks = np.array([0, 255, 128, 255], np.uint8)[MASKS]
    file = write(tmp_path / "cells.parquet", masks=masks)
    dataset = open_data(f"hf:{file}?values=0,255&classes=outside,cell&ignore_index=128")
    np.testing.assert_array_equal(dataset[0]["target"], np.array([0, 1, 128, 1])[MASKS[0]])
    info = info_of(dataset)
    assert (info.classes, info.ignore_index) == (("outside", "cell"), 128)
    with pytest.raises(DatasetError, match=r"cells\.parquet/0: the mask holds values that the map"):
        open_data(f"hf:{file}?values=0,255")[0]
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)[MASKS]
    file = write(tmp_path / "colours.parquet", masks=colours)
    dataset = open_data(f"hf:{file}?palette=#000000,#ff0000,#00ff00,#0000ff&streaming=yes")
    np.testing.assert_array_equal([sample["target"] for sample in dataset], MASKS)


def test_columns_of_plain_bytes_and_of_paths(tmp_path):
    (tmp_path / "3.png").write_bytes(png(IMAGES[3]))
    rows = {"photo": [str(tmp_path / "3.png")], "answer": [png(MASKS[3])], "row": [3]}
    file = tmp_path / "plain.parquet"
    datasets.Dataset.from_dict(rows).to_parquet(str(file))
    sample = open_data(f"hf:{file}?image=photo&mask=answer")[0]
    np.testing.assert_array_equal(sample["image"], IMAGES[3])
    np.testing.assert_array_equal(sample["target"], MASKS[3])
    with pytest.raises(DatasetError) as caught:
        open_data(f"hf:{file}?image=photo&mask=row")[0]
    assert str(caught.value) == (
        "plain.parquet/0: a row holds no picture; found int, expected the bytes of a picture's file"
    )
    with pytest.raises(DatasetError) as caught:
        open_data(f"hf:{file}?image=photo")
    assert str(caught.value) == (
        f"{file}: there is no column 'label'; found photo, answer, row. "
        "Say image=COLUMN&mask=COLUMN"
    )


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ({"bytes": b"text", "path": None}, "not a picture that segzoo reads"),
        (
            {"bytes": png(MASKS[0])[:-30], "path": None},
            "the PNG is damaged in its chunk b'IDAT': it is cut short",
        ),
        ({"bytes": png(IMAGES[0]), "path": None}, "the mask is a picture in colours"),
        ({"bytes": None, "path": "gone.png"}, "there is no such file"),
        (
            {"bytes": None, "path": "hf://datasets/a/b@c/d.png"},
            "a row names a picture that is elsewhere; found hf://datasets/a/b@c/d.png. "
            "Try revision=refs/convert/parquet, where the Hub keeps rows that hold them",
        ),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_rows_that_hold_no_mask(tmp_path, cell, message, streaming):
    label = [{"bytes": png(MASKS[0]), "path": None}, cell]
    file = write(tmp_path / "rooms.parquet", range(2), label=label)
    dataset = open_hf(str(file), streaming=streaming)
    with pytest.raises(DatasetError) as caught:
        [*dataset] if streaming else dataset[1]
    assert str(caught.value).startswith("rooms.parquet/1: ")
    assert message in str(caught.value)


def test_files_that_are_no_parquet(tmp_path):
    (tmp_path / "rooms.parquet").write_bytes(b"text" * 100)
    for streaming in (False, True):
        with pytest.raises(DatasetError) as caught:
            [*open_hf(str(tmp_path / "rooms.parquet"), streaming=streaming)]
        text = str(caught.value)
        assert "rooms.parquet: datasets cannot read it; found " in text
        assert "\n" not in text


def test_the_hub_is_not_asked_offline_and_home_stays_empty(tmp_path):
    """HF_HUB_OFFLINE is read when `datasets` is imported, so in a process of its own."""
    file = write(tmp_path / "rooms.parquet")
    home = tmp_path / "home"
    home.mkdir()
    program = f"""
import os
from segzoo.data.source import open_data
from segzoo.errors import DatasetError
dataset = open_data("hf:{file}?cache_dir={tmp_path}/kept")
print(len(dataset), dataset[2]["target"].shape)
try:
    open_data("hf:segzoo-nobody/nothing?cache_dir={tmp_path}/kept")
except DatasetError as error:
    print(error)
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "XDG_"))}
    environment |= {"HOME": str(home), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stderr == ""
    count, refused = done.stdout.splitlines()
    assert count == f"6 ({HEIGHT}, {WIDTH})"
    assert refused.startswith("segzoo-nobody/nothing: datasets cannot read it; found Connection")
    assert "offline" in refused.lower()
    assert [*home.rglob("*")] == []


def test_options_and_libraries(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="reader 'hf': streaming='perhaps' is not of type bool"):
        open_data("hf:a/b?streaming=perhaps")
    for name in ("", " "):
        with pytest.raises(UsageError) as told:
            open_data(f"hf:{name}?split=train")
        assert str(told.value) == (
            f"the reader 'hf' is not told which data set; found '{name}', expected OWNER/NAME of "
            "the Hub, or parquet files: a file or a folder. "
            "Say hf:OWNER/NAME?image=COLUMN&mask=COLUMN"
        )
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DependencyMissingError) as caught:
        open_hf(str(tmp_path))
    assert str(caught.value) == (
        "the reader 'hf' needs datasets. Run: pip install 'segzoo-core[data]'"
    )
