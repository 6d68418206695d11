"""The cache of decoded samples: equal to reading them, built once, damaged, on a full disk."""

import multiprocessing
import os
import pickle
import resource
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from segzoo.data import decoded
from segzoo.data.decoded import Decoded
from segzoo.data.paired import Pair, Paired
from segzoo.data.resizing import resize_sample
from segzoo.data.sample import Info, Sample
from segzoo.data.source import Subset
from segzoo.errors import DatasetError, OutputError, ResourceError, UsageError
from segzoo.spec import Preprocess

STRETCH = Preprocess(size=(16, 16), resize="stretch")


class Arrays:
    """Samples of every kind, made of their number; counts how often it is asked."""

    info = Info(classes=("a", "b"), palette=((0, 0, 0), (1, 2, 3)), ignore_index=255)

    def __init__(self, length: int = 9, *, shift: int = 0) -> None:
        self.length = length
        self.shift = shift
        self.asked = 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        self.asked += 1
        rng = np.random.default_rng(index + self.shift)
        height, width = 5 + index, 20 - index
        kind = ("u1", "i1", "u2", "i2", "i4", "i8")[index % 6]
        shape = (2, height, width) if index % 4 == 3 else (height, width)
        sample = Sample(
            image=rng.integers(0, 256, (height, width, (1, 3, 4)[index % 3]), dtype=np.uint8),
            target=rng.integers(0, 100, shape).astype(kind),
            id=f"пример/{index}\udcff",
        )
        if index % 2:
            sample["weight"] = rng.random((height, width), np.float32)
        return sample


def same(one: Sample, other: Sample) -> bool:
    return one.keys() == other.keys() and all(
        (one[key] == other[key]) if key == "id" else _equal(one[key], other[key]) for key in one
    )


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and bool((one == other).all())


def built(folder, dataset=None, **changes) -> Decoded:
    options = {"size": (16, 16), "preprocess": STRETCH, "folder": folder, "key": "arrays"}
    return Decoded(Arrays() if dataset is None else dataset, **{**options, **changes})


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("size", [None, (16, 16), (3, 40)])
def test_samples_are_those_that_are_resized_without_it(tmp_path, size):
    plain, cached = Arrays(), built(tmp_path, size=size)
    assert len(cached) == 9 and cached.info is Arrays.info
    for index in range(9):
        assert same(cached[index], resize_sample(plain[index], size, STRETCH))
        assert cached[index]["image"].flags.writeable and cached[index]["target"].flags.writeable
    assert len(files_in(tmp_path)) == 1 and files_in(tmp_path)[0].endswith(".decoded")


def test_a_second_run_reads_the_file(tmp_path):
    first = built(tmp_path)
    again = Arrays()
    second = built(tmp_path, again)
    assert again.asked == decoded.PROBES
    before = again.asked
    assert all(same(first[n], second[n]) for n in range(9))
    assert again.asked == before


def test_the_default_folder_is_in_segzoos_cache():
    cached = Decoded(Arrays(), size=None, preprocess=STRETCH, key="k")
    assert Path(cached.file).parent == Path(os.environ["SEGZOO_HOME"]) / "decoded"


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "other"},
        {"size": (16, 17)},
        {"size": None},
        {"preprocess": Preprocess(antialias="none")},
        {"preprocess": Preprocess(border="zero")},
        {"preprocess": Preprocess(interpolation="nearest")},
        {"dataset": Arrays(10)},
        {"dataset": Arrays(shift=1)},
        {"dataset": Subset(Arrays(), range(8))},
    ],
)
def test_other_samples_have_another_file(tmp_path, changes):
    assert built(tmp_path).file != built(tmp_path, **changes).file


def test_what_does_not_matter_has_the_same_file(tmp_path):
    other = Preprocess(size=(8, 8), resize="stretch", mean=(0.5,), multiple_of=16)
    assert built(tmp_path).file == built(tmp_path, preprocess=other).file


# --- what a data set's content is -----------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    for n in range(20):
        Image.fromarray(np.full((4, 4, 3), n, np.uint8)).save(root / f"{n}.bmp")
        Image.fromarray(np.full((4, 4), n % 2, np.uint8)).save(root / f"{n}.png")
    return root


def paired(root: Path, **options) -> Paired:
    pairs = [Pair(str(n), f"{n}.bmp", f"{n}.png") for n in range(20)]
    return Paired(root, pairs, info=Info(), **options)


def test_a_changed_file_is_noticed(tmp_path, folder):
    before = built(tmp_path, paired(folder), key="").file
    assert built(tmp_path, paired(folder), key="").file == before
    Image.fromarray(np.full((4, 4), 1, np.uint8)).save(folder / "4.png")
    assert 4 not in {19 * n // 7 for n in range(8)}  # not a probe
    os.utime(folder / "4.png", ns=(1, 10**18))
    after = built(tmp_path, paired(folder), key="")
    assert after.file != before and after[4]["target"].all()


def test_another_map_of_labels_is_noticed(tmp_path, folder):
    plain = built(tmp_path, paired(folder))
    mapped = built(tmp_path, paired(folder, target=lambda values: 1 - values))
    assert plain.file != mapped.file


def test_parts_of_a_set(tmp_path, folder):
    whole = paired(folder)
    first, second = (Subset(whole, range(*span)) for span in ((0, 10), (10, 20)))
    files = {built(tmp_path, part).file for part in (whole, first, second)}
    assert len(files) == 3
    cached = built(tmp_path, second)
    assert [cached[n]["id"] for n in range(10)] == [cached.id_of(n) for n in range(10)]
    assert cached.id_of(0) == "10"


def test_a_file_that_is_gone_is_named(tmp_path, folder):
    (folder / "7.png").unlink()
    with pytest.raises(DatasetError, match=r"7\.png: cannot be read: No such file"):
        built(tmp_path, paired(folder))


def test_a_set_without_files_needs_a_key(tmp_path):
    with pytest.raises(UsageError) as caught:
        built(tmp_path, key="")
    assert str(caught.value) == (
        "a Arrays does not say which files it reads, so that a cache of it could not notice a "
        "change. Give it files=[paths], or give key= and another one for other content"
    )
    named = Arrays()
    named.files = [__file__]
    assert len(built(tmp_path, named, key="")) == 9


# --- processes ------------------------------------------------------------------------------------


def test_it_goes_to_other_processes(tmp_path):
    cached = built(tmp_path)
    cached[0]  # mapped
    copy = pickle.loads(pickle.dumps(cached))
    assert len(pickle.dumps(cached)) < 5000
    assert all(same(copy[n], cached[n]) for n in range(9))
    loader = DataLoader(cached, num_workers=2, collate_fn=lambda samples: samples[0]["id"])
    assert list(loader) == [cached[n]["id"] for n in range(9)]


class Slow(Arrays):
    """Writes a line for each sample that is read, and takes its time."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        self.log = log

    def __getitem__(self, index: int) -> Sample:
        with open(self.log, "a") as log:
            log.write(f"{index}\n")
        time.sleep(0.02)
        return super().__getitem__(index)


def read_all(folder: Path, log: Path) -> None:
    cached = built(folder, Slow(log))
    assert all(same(cached[n], resize_sample(Arrays()[n], (16, 16), STRETCH)) for n in range(9))


def test_one_process_builds_while_others_wait(tmp_path):
    folder, log = tmp_path / "cache", tmp_path / "log"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=read_all, args=(folder, log)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert len(log.read_text().split()) == 4 * decoded.PROBES + 9
    assert len(files_in(folder)) == 1


def test_a_killed_builder_leaves_no_lock_and_no_half_file(tmp_path):
    folder, log = tmp_path / "cache", tmp_path / "log"
    worker = multiprocessing.get_context("fork").Process(target=read_all, args=(folder, log))
    worker.start()
    while not log.exists() or len(log.read_text().split()) < decoded.PROBES + 4:
        time.sleep(0.005)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert not [name for name in files_in(folder) if name.endswith(".decoded")]
    assert any(name.endswith(".lock") for name in files_in(folder))
    started = time.monotonic()
    cached = built(folder)
    assert time.monotonic() - started < 5
    assert same(cached[8], resize_sample(Arrays()[8], (16, 16), STRETCH))


def test_without_locks_everyone_builds(tmp_path, monkeypatch):
    import fcntl

    def refuse(*_):
        raise OSError("no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert len(built(tmp_path)) == 9
    monkeypatch.setitem(sys.modules, "fcntl", None)
    assert len(built(tmp_path, key="other")) == 9


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda data: b"", "it is cut short"),
        (lambda data: data[:-1], "it is cut short, or another kind of file"),
        (lambda data: data[: len(data) // 2], "it is cut short, or another kind of file"),
        (lambda data: data[10:], "it is cut short, or another kind of file"),
        (lambda data: b"x" * len(data), "it is cut short, or another kind of file"),
        (lambda data: data[:-56] + b"xx" + data[-54:], "it is cut short, or another"),
        (lambda data: data[:-100] + b"xx" + data[-98:], "its index is damaged"),
    ],
)
def test_a_damaged_file_is_made_anew(tmp_path, damage, told):
    file = Path(built(tmp_path).file)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    with pytest.warns(RuntimeWarning, match=rf"\.decoded: cannot be used, .* anew: {told}"):
        cached = built(tmp_path)
    assert file.read_bytes() == whole
    assert same(cached[3], resize_sample(Arrays()[3], (16, 16), STRETCH))


def test_a_damaged_sample_is_read_again(tmp_path):
    file = Path(built(tmp_path).file)
    whole = bytearray(file.read_bytes())
    whole[20] ^= 1
    file.write_bytes(whole)
    cached = built(tmp_path)
    other = pickle.loads(pickle.dumps(cached))
    assert same(cached[1], resize_sample(Arrays()[1], (16, 16), STRETCH))
    with pytest.warns(RuntimeWarning, match="sample 0 is damaged; it is decoded again, and the"):
        assert same(cached[0], resize_sample(Arrays()[0], (16, 16), STRETCH))
    assert not file.exists()
    assert same(other[0], resize_sample(Arrays()[0], (16, 16), STRETCH))  # which has no file now
    assert same(built(tmp_path)[0], resize_sample(Arrays()[0], (16, 16), STRETCH))


@pytest.mark.stress
def test_any_changed_byte_is_noticed(tmp_path):
    file = Path(built(tmp_path).file)
    whole = file.read_bytes()
    for place in range(0, len(whole), 7):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.warns(RuntimeWarning, match="anew"):
            cached = built(tmp_path)
            for n in range(9):
                assert same(cached[n], resize_sample(Arrays()[n], (16, 16), STRETCH))


# --- disks ----------------------------------------------------------------------------------------


class Wide(Arrays):
    """Samples of 300 kB."""

    def __getitem__(self, index: int) -> Sample:
        image = np.zeros((300, 300, 3), np.uint8)
        return Sample(image=image, target=image[..., 0], id=str(index))


@pytest.mark.parametrize("limit", [1, 5_000, 20_000, 1_000_000, 1_799_000, 3_240_700])
def test_a_full_disk_leaves_nothing(tmp_path, limit):
    """A limit on the size of files fails a write as a full disk does, at any point."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(ResourceError) as caught:
            built(tmp_path, Wide(9), size=None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files_in(tmp_path) == []
    whole = Path(built(tmp_path, Wide(9), size=None).file).stat().st_size
    assert limit < whole == 9 * (300 * 300 * 4 + len('["0"]')) + 9 * 72 + 56
    assert str(caught.value) == (
        f"{tmp_path}: the disk is too small for the decoded samples; found no more room, expected "
        f"{whole} bytes. Give a folder on a larger disk, or train without the cache"
    )


def test_a_disk_that_cannot_hold_it_is_not_filled(tmp_path, monkeypatch):
    monkeypatch.setattr(decoded.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    dataset = Arrays()
    with pytest.raises(
        ResourceError, match=r"found 1000 bytes free, expected \d+ bytes\. Give a f"
    ):
        built(tmp_path, dataset)
    assert dataset.asked == decoded.PROBES + 1
    assert files_in(tmp_path) == []


def test_a_sample_that_fails_leaves_nothing(tmp_path):
    class Failing(Arrays):
        def __getitem__(self, index: int) -> Sample:
            if index == 6 and self.asked > decoded.PROBES:
                raise DatasetError("cannot be decoded", file="6.png")
            return super().__getitem__(index)

    with pytest.raises(DatasetError, match=r"6\.png: cannot be decoded"):
        built(tmp_path, Failing())
    assert files_in(tmp_path) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file: cannot be written: File exists"):
        built(tmp_path / "file")
    with pytest.raises(OutputError, match=r"cannot be written"):
        built("/proc/1/nothing")


def test_a_home_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEGZOO_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError, match=r"the cache cannot be made: .*\. Give a folder of your"):
        built(None)


def test_an_empty_set(tmp_path):
    assert len(built(tmp_path, Arrays(0))) == 0
