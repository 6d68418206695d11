"""Data sets of the Hugging Face Hub, and local parquet files, whose rows hold pictures and masks.

    hf:OWNER/NAME?split=train&image=image&mask=label
    hf:OWNER/NAME?streaming=true                    a stream: samples in order, not counted
    hf:rooms.parquet?mask=annotation&values=0,255   a file, or a folder of *.parquet

The library `datasets` finds, fetches and keeps the rows, and prepares a copy of them in its cache
(HF_DATASETS_CACHE, or cache_dir=), but for a stream. Pictures are decoded by segzoo as any other.
It runs no code of a data set. With HF_HUB_OFFLINE=1 only what was fetched before can be read.

What else may be said of masks is as of the reader `folder`: values=, palette=, ignore_index=.
"""

import contextlib
import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Unpack

from segzoo.data.declared import OPTIONS, Declared, Said, declared
from segzoo.data.paired import read_sample
from segzoo.data.sample import Info, Sample
from segzoo.errors import DatasetError, DependencyMissingError, UsageError, printable
from segzoo.spec import Option, ReaderSpec

__all__ = ["SPEC", "RowStream", "Rows", "open_hf"]

SPEC = ReaderSpec(
    summary="data sets of the Hugging Face Hub, and local parquet files",
    open="segzoo.data.readers.hf:open_hf",
    options={
        "split": Option(default="train", help="as the data set names it: train, validation, ..."),
        "image": Option(default="image", help="the column of pictures"),
        "mask": Option(default="label", help="the column of masks"),
        "config": Option(default="", help="which of the data set's configurations"),
        "revision": Option(default="", help="a commit, branch or tag of the data set"),
        "streaming": Option(default=False, help="read while fetching, and keep nothing"),
        "cache_dir": Option(default="", help="where rows are kept, instead of HF_DATASETS_CACHE"),
        **OPTIONS,
    },
    url="https://huggingface.co/docs/datasets/loading",
    requires={"datasets": "segzoo-core[data]"},
)


class Columns(NamedTuple):
    """Where a sample's parts are in a row. name: of the data set, for ids and messages."""

    name: str
    image: str
    mask: str


class Rows:
    """The rows of a data set, in any order. files: that they are in."""

    def __init__(
        self, rows: Any, columns: Columns, meaning: Declared, files: Sequence[str] = ()
    ) -> None:
        self.rows = rows
        self.files = files
        self.columns = columns
        self.meaning = meaning

    @property
    def info(self) -> Info:
        return self.meaning.info

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        name, number = self.id_of(index), range(len(self))[index]
        with _told(name):
            row = self.rows[number]
        return _sample(row, self.columns, self.meaning, name)

    def id_of(self, index: int) -> str:
        return f"{self.columns.name}/{range(len(self))[index]}"


class RowStream:
    """The rows of a data set, one after the other, as they are fetched."""

    def __init__(self, rows: Any, columns: Columns, meaning: Declared) -> None:
        self.rows = rows
        self.columns = columns
        self.meaning = meaning

    @property
    def info(self) -> Info:
        return self.meaning.info

    def __iter__(self) -> Iterator[Sample]:
        rows = iter(self.rows)
        number = 0
        while True:
            with _told(self.columns.name):
                row = next(rows, None)
            if row is None:
                return
            yield _sample(row, self.columns, self.meaning, f"{self.columns.name}/{number}")
            number += 1


def open_hf(
    path: str,
    *,
    split: str = "train",
    image: str = "image",
    mask: str = "label",
    config: str = "",
    revision: str = "",
    streaming: bool = False,
    cache_dir: str = "",
    **said: Unpack[Said],
) -> Rows | RowStream:
    """A data set of the Hub, or, where `path` is there, parquet files; the module says more.

    In a folder, a split is in the files that its name begins: train-00000-of-00002.parquet; where
    no file is named so, "train" is all of them. DatasetError for data that is not there, cannot be
    fetched or lacks a column; UsageError; DependencyMissingError.
    """
    if not path.strip():
        raise UsageError(
            "the reader 'hf' is not told which data set",
            found=repr(path),
            expected="OWNER/NAME of the Hub, or parquet files: a file or a folder",
            next_step="Say hf:OWNER/NAME?image=COLUMN&mask=COLUMN",
        )
    meaning = declared(**said)
    try:
        import datasets
        from datasets.io.parquet import ParquetDatasetReader
    except ImportError as error:
        raise DependencyMissingError(
            "the reader 'hf' needs datasets", next_step="Run: pip install 'segzoo-core[data]'"
        ) from error
    options = {"split": split, "streaming": streaming, "cache_dir": cache_dir or None}
    local, files = os.path.exists(path), list[str]()
    with _told(path), _quiet(datasets):
        if local:  # not by load_dataset, which tells the Hub of every call
            files = _parquet_files(path, split)
            rows = ParquetDatasetReader(files, **options).read()
        else:
            rows = datasets.load_dataset(path, config or None, revision=revision or None, **options)
        for column in (image, mask):
            if column not in (rows.column_names or [column]):
                raise DatasetError(
                    f"there is no column {printable(column)!r}",
                    file=path,
                    found=", ".join(map(printable, rows.column_names)),
                    next_step="Say image=COLUMN&mask=COLUMN",
                )
            if isinstance((rows.features or {}).get(column), datasets.Image):
                rows = rows.cast_column(column, datasets.Image(decode=False))
    columns = Columns(os.path.basename(os.path.normpath(path)) if local else path, image, mask)
    if streaming:
        return RowStream(rows, columns, meaning)
    kept = files if local else [file["filename"] for file in rows.cache_files]
    return Rows(rows, columns, meaning, kept)


def _parquet_files(path: str, split: str) -> list[str]:
    """The file, or those of a split in a folder and the folders below it."""
    if os.path.isfile(path):
        return [path]
    files = sorted(glob.glob(os.path.join(glob.escape(path), "**", "*.parquet"), recursive=True))
    parts = {file: os.path.basename(file).removesuffix(".parquet").split("-")[0] for file in files}
    chosen = [file for file in files if parts[file] == split]
    if not chosen and split == "train" and not {*parts.values()} & {"validation", "val", "test"}:
        chosen = files
    if not chosen:
        raise DatasetError(
            f"there is no parquet file of the split {printable(split)!r}",
            file=path,
            found=", ".join(map(printable, sorted({*parts.values()})[:8])) or "none at all",
            expected=f"{printable(split)}.parquet or {printable(split)}-*.parquet",
        )
    return chosen


def _sample(row: Mapping[str, Any], columns: Columns, meaning: Declared, name: str) -> Sample:
    try:
        image, mask = _content(row[columns.image]), _content(row[columns.mask])
    except KeyError as error:
        problem = f"a row has no {error}"
        raise DatasetError(problem, file=name, found=", ".join(map(printable, row))) from None
    except DatasetError as error:
        error.file = printable(name)
        raise
    return read_sample(
        image, mask, id=name, target=meaning, reading=meaning.reading, names=(name, name)
    )


def _content(value: Any) -> bytes | str:
    """What a row holds of a picture: a file's bytes, or where the file is."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str) and "://" in value:
        raise DatasetError(
            "a row names a picture that is elsewhere",
            found=printable(value),
            next_step="Try revision=refs/convert/parquet, where the Hub keeps rows that hold them",
        )
    if isinstance(value, bytes | str) and value:
        return value
    raise DatasetError(
        "a row holds no picture",
        found=type(value).__name__,
        expected="the bytes of a picture's file",
    )


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """Whatever `datasets` raises, of the network, of files or of a row, as a DatasetError."""
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:
        text = printable(" ".join(str(error).split()))[:300]
        raise DatasetError(
            "datasets cannot read it", file=name, found=f"{type(error).__name__}: {text}"
        ) from error


@contextlib.contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Without the bars of `datasets`, which are switched for a whole process."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
