"""Tar shards: against webdataset and tarfile, from a server of this machine, and damaged."""

import functools
import gc
import http.server
import io
import os
import pickle
import tarfile
import threading
import tracemalloc
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from segzoo.data.readers.shards import Shards, ShardStream, open_shards
from segzoo.data.source import open_data
from segzoo.data.tarindex import members, split_name
from segzoo.errors import DatasetError, UnsafeArchiveError, UnsafeFormatError, UsageError

RNG = np.random.default_rng(0)


def png(array: np.ndarray, format: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.fromarray(array).save(content, format)
    return content.getvalue()


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=True)
    return content.getvalue()


PHOTO = png(RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8), "JPEG")
MASK = png(np.array([[0, 255]] * 3, np.uint8))


def pairs(count: int, *, first: int = 0) -> dict[str, bytes]:
    """Members of samples that differ: number n is in its picture's first pixel."""
    found = {}
    for n in range(first, first + count):
        picture = np.full((4, 6, 3), n % 256, np.uint8)
        found[f"{n:05d}.bmp"] = png(picture, "BMP")
        found[f"{n:05d}.png"] = png(np.full((4, 6), 255 * (n % 2), np.uint8))
    return found


def entry(name: str, size: int = 0, **fields) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def tar_of(content, *, format: int = tarfile.USTAR_FORMAT) -> bytes:
    """A tar of {name: bytes}, or of a list of those pairs and of headers alone."""
    result = io.BytesIO()
    with tarfile.open(fileobj=result, mode="w", format=format) as tar:
        for item in content.items() if isinstance(content, dict) else content:
            if isinstance(item, tarfile.TarInfo):
                tar.addfile(item)
            else:
                name, data = item
                tar.addfile(entry(name, len(data)), io.BytesIO(data))
    return result.getvalue()


@pytest.fixture
def shard(tmp_path):
    def write(content, name: str = "x-000.tar") -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else tar_of(content))
        return str(path)

    return write


# --- local shards ---------------------------------------------------------------------------------


def test_samples_have_ids_in_the_order_of_the_tars(shard, tmp_path):
    shard(pairs(3), "b.tar")
    shard(pairs(2, first=3), "a.tar")
    (tmp_path / "notes.txt").write_text("not a shard")
    dataset = open_data(f"shards:{tmp_path}?values=0,255&classes=thing")
    assert isinstance(dataset, Shards)
    ids = ["a/00003", "a/00004", "b/00000", "b/00001", "b/00002"]
    assert [dataset[n]["id"] for n in range(len(dataset))] == ids
    assert [dataset.id_of(n) for n in range(len(dataset))] == ids
    sample = dataset[1]
    assert sample["image"].shape == (4, 6, 3) and sample["image"].max() == 4
    assert sample["target"].dtype == np.uint8 and not sample["target"].any()
    assert dataset[0]["target"].max() == 1
    assert dataset[-1]["id"] == dataset.id_of(-1) == "b/00002"
    assert dataset.info.classes == ("thing",) and dataset.info.pixel_values == (0, 255)
    with pytest.raises(IndexError):
        dataset[5]


def test_the_order_of_extensions_decides(shard):
    path = shard({"k.jpg": PHOTO, "k.npy": npy(np.zeros((4, 6), np.uint8)), "k.png": MASK})
    assert open_shards(path)[0]["image"].shape == (4, 6, 3)
    assert open_shards(path, image="npy,jpg")[0]["image"].shape == (4, 6, 3)
    assert open_shards(path, mask="npy")[0]["target"].shape == (4, 6)
    assert open_shards(path, image="PNG", mask=".npy")[0]["image"].shape == (3, 2, 3)


def test_a_key_ends_at_the_first_dot(shard):
    path = shard({"a/k.image.png": MASK, "a/k.mask.PNG": MASK, "a/k.json": b"{}"})
    sample = open_shards(path, image="image.png", mask="mask.png")[0]
    assert sample["id"] == "x-000/a/k"


def test_masks_in_colours(shard):
    colours = np.array([[[0, 0, 0], [255, 0, 0]]], np.uint8)
    path = shard({"k.jpg": PHOTO, "k.png": png(colours)})
    sample = open_shards(path, palette="#000000,#ff0000")[0]
    assert sample["target"].tolist() == [[0, 1]]
    with pytest.raises(DatasetError, match=r"x-000\.tar/k\.png: the mask is a picture in colours"):
        open_shards(path)[0]
    path = shard({"k.jpg": PHOTO, "k.png": png(np.zeros((1, 2, 4), np.uint8))})
    with pytest.raises(DatasetError, match=r"k\.png: the mask is transparent in parts"):
        open_shards(path, palette="#000000,#ff0000")[0]


def test_members_beside_a_sample_are_passed_over(shard):
    path = shard(
        [
            entry("folder", type=tarfile.DIRTYPE),
            ("README", b"text"),
            ("._k.png", b"of macOS"),
            ("./k.cls", b"3"),
            ("./k.jpg", PHOTO),
            ("./k.txt", b"a caption"),
            ("./k.png", MASK),
        ]
    )
    dataset = open_shards(path)
    assert [dataset.id_of(n) for n in range(len(dataset))] == ["x-000/k"]


def test_patterns(shard, tmp_path):
    for n in range(12):
        shard(pairs(1, first=n), f"x-{n:03d}.tar")
    shard(pairs(1), "y.tar")

    def first(words: str) -> list[str]:
        dataset = open_shards(str(tmp_path / words))
        return [dataset.id_of(n) for n in range(len(dataset))]

    assert first("x-{009..011}.tar") == ["x-009/00009", "x-010/00010", "x-011/00011"]
    assert first("?.tar") == ["y/00000"]
    assert len(first("x-*.tar")) == 12 and len(first("")) == 13
    assert first("x-0{00..01}.tar") == ["x-000/00000", "x-001/00001"]


def test_every_format_of_tar(shard):
    long = "f" * 60 + "/" + "k" * 90  # ustar parts it at the slash, GNU and pax add a header
    for format in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        for key in ("k", long, "ключ" if format != tarfile.USTAR_FORMAT else "key"):
            path = shard(tar_of({f"{key}.jpg": PHOTO, f"{key}.png": MASK}, format=format))
            assert open_shards(path).id_of(0) == f"x-000/{key}"
    gnu = tar_of({"g" * 300 + ".jpg": PHOTO, "g" * 300 + ".png": MASK}, format=tarfile.GNU_FORMAT)
    assert open_shards(shard(gnu)).id_of(0) == "x-000/" + "g" * 300


def test_a_size_and_a_comment_in_pax_records(shard):
    result = io.BytesIO()
    with tarfile.open(
        fileobj=result, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "of git"}
    ) as tar:
        for name, data in (("k.jpg", PHOTO), ("k.png", MASK)):
            info = entry(name, len(data), pax_headers={"size": str(len(data)), "a": "b=c\n"})
            tar.addfile(info, io.BytesIO(data))
    assert len(open_shards(shard(result.getvalue()))) == 1


@settings(max_examples=60)
@given(
    names=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="/\\\0:"), min_size=1, max_size=120)
        .filter(lambda name: name.strip(".") == name)
        .map(lambda name: name + ".bin"),
        max_size=6,
    ),
    sizes=st.lists(st.integers(0, 1200), min_size=6, max_size=6),
    format=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_members_are_those_of_tarfile(names, sizes, format):
    data = tar_of([(n, bytes(s)) for n, s in zip(names, sizes, strict=False)], format=format)
    expected = [
        (info.name, info.offset_data, info.size)
        for info in tarfile.open(fileobj=io.BytesIO(data)).getmembers()
    ]
    assert [tuple(m) for m in members(io.BytesIO(data), shard="x")] == expected


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("k.png", ("k", "png")),
        ("a.b/k.left.PNG", ("a.b/k", "left.png")),
        ("k", ("", "")),
        (".k.png", ("", "")),
        ("a/.k.png", ("", "")),
    ],
)
def test_split_name(name, parts):
    assert split_name(name) == parts


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves it open
def test_the_samples_are_those_of_webdataset(shard):
    content = {}
    for n in range(20):
        content[f"d/{n}.x.jpg"] = png(RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8), "JPEG")
        content[f"d/{n}.y.png"] = png(RNG.integers(0, 2, (5, 7), dtype=np.uint8))
        content[f"d/{n}.cls"] = b"1"
    path = shard(content)
    ours = open_shards(path, image="x.jpg", mask="y.png")
    theirs = list(webdataset.WebDataset(path, shardshuffle=False, empty_check=False).decode("pil"))
    assert len(ours) == len(theirs) == 20
    for sample, other in zip(map(ours.__getitem__, range(20)), theirs, strict=True):
        assert sample["id"] == "x-000/" + other["__key__"]
        assert (sample["image"] == np.asarray(other["x.jpg"])).all()
        assert (sample["target"] == np.asarray(other["y.png"].convert("L"))).all()


def test_a_tar_that_webdataset_wrote(tmp_path):
    image = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    with webdataset.TarWriter(str(tmp_path / "w.tar")) as writer:
        for n in range(3):
            writer.write({"__key__": f"s{n}", "png": image + n, "mask.npy": image[..., 0]})
    dataset = open_shards(str(tmp_path / "w.tar"), mask="mask.npy")
    assert len(dataset) == 3
    assert (dataset[2]["image"] == image + 2).all()
    assert (dataset[2]["target"] == image[..., 0]).all()


def test_it_goes_to_other_processes(shard):
    dataset = open_shards(shard(pairs(8)), values="0,255")
    here = [dataset[n]["id"] for n in range(8)]
    copy = pickle.loads(pickle.dumps(dataset))
    assert [copy[n]["id"] for n in range(8)] == here
    loader = DataLoader(dataset, num_workers=2, collate_fn=lambda samples: samples[0]["id"])
    assert list(loader) == here


def test_no_file_stays_open(shard):
    dataset = open_shards(shard(pairs(2)))
    before = len(os.listdir("/proc/self/fd"))
    dataset[0], dataset[1]
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("count", [2_500, pytest.param(50_000, marks=pytest.mark.slow)])
def test_memory_of_an_index(shard, count):
    path = shard([entry(f"{n:08d}.{e}") for n in range(count) for e in ("jpg", "png")])
    gc.collect()
    tracemalloc.start()
    dataset = open_shards(path)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(dataset) == count
    assert dataset.rows.nbytes + len(dataset.keys) == count * (64 + 8)
    # Beyond: what an array grows by, and while it is made the keys of one shard.
    assert kept < count * 100 + 50_000 and peak < count * 300 + 200_000


# --- bad input ------------------------------------------------------------------------------------

GOOD = {"a.jpg": PHOTO, "a.png": MASK, "b.jpg": PHOTO, "b.png": MASK}
WHOLE = tar_of(GOOD)


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return (open, (str(self.file), "w"))


@pytest.mark.parametrize("name", ["k.pyd", "k.pkl", "k.pickle", "k.pth", "k.mask.PKL.gz", ".pkl"])
def test_a_pickle_is_refused(shard, tmp_path, name):
    canary = tmp_path / "canary"
    content = pickle.dumps(Canary(canary))
    path = shard({"k.jpg": PHOTO, "k.png": MASK, name if name != ".pkl" else "k.pkl": content})
    with pytest.raises(UnsafeFormatError, match=r"x-000\.tar: its member '.*' is a pickle, which"):
        open_data(f"shards:{path}")
    assert not canary.exists()


def test_objects_in_npy_are_refused(shard, tmp_path):
    canary = tmp_path / "canary"
    objects = npy(np.array([Canary(canary)], dtype=object))
    for key, image in (("jpg", PHOTO), ("bmp", png(np.zeros((2, 2, 3), np.uint8), "BMP"))):
        dataset = open_shards(shard({f"k.{key}": image, "k.npy": objects}), mask="npy")
        with pytest.raises(UnsafeFormatError, match=r"x-000\.tar/k\.npy: .*holds Python objects"):
            dataset[0]
    assert not canary.exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"not at all", "not a picture that segzoo reads, or its header is damaged; found a file"),
        (
            npy(np.zeros((4, 6), np.uint8))[:-1],
            "the .npy is cut short; found 23 bytes where its header says 24",
        ),
        (npy(np.zeros((4, 6), np.uint8))[:20], "the .npy is damaged; found EOF: reading array hea"),
        (npy(np.full((4, 6), 0.5)), "the mask holds fractions, not whole numbers; found 0.5 and"),
        (
            npy(np.zeros((4, 6, 2), np.uint8)),
            "this array is not a mask; found uint8 of shape (4, 6, 2), expected numbers (H, W), or",
        ),
    ],
)
def test_arrays_that_are_no_masks(shard, data, message):
    dataset = open_shards(shard({"k.jpg": PHOTO, "k.npy": data}), mask="npy")
    with pytest.raises(DatasetError) as caught:
        dataset[0]
    assert f"x-000.tar/k.npy: {message}" in str(caught.value)


def test_an_array_larger_than_its_file_is_not_made(shard):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "|u1", "fortran_order": False, "shape": (1 << 20, 1 << 20)}
    )
    dataset = open_shards(shard({"k.npy": head.getvalue(), "k.png": MASK}))
    tracemalloc.start()
    with pytest.raises(
        DatasetError, match=r"k\.npy: the picture is too large; found height 1048576"
    ):
        dataset[0]
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_arrays_of_every_order_and_kind(shard):
    array = np.asfortranarray(RNG.integers(0, 3, (4, 6)).astype(np.int32))
    path = shard({"k.jpg": PHOTO, "k.npy": npy(array), "l.jpg": PHOTO, "l.npy": npy(array > 1)})
    dataset = open_shards(path, mask="npy")
    assert (dataset[0]["target"] == array).all() and dataset[0]["target"].flags.writeable
    assert dataset[1]["target"].dtype == np.uint8
    dataset = open_shards(shard({"k.npy": npy(np.full((4, 6), 7.5)), "k.png": MASK}))
    with pytest.raises(DatasetError, match=r"k\.npy: it is not known how bright these floating"):
        dataset[0]


BAD_TARS = {
    "M5 a link": (
        [entry("k.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")],
        UnsafeArchiveError,
        "x-000.tar: its member 'k.png' is refused; found a symbolic link",
    ),
    "M5 a hard link": (
        [entry("k.png", type=tarfile.LNKTYPE, linkname="k.jpg")],
        UnsafeArchiveError,
        "its member 'k.png' is refused; found a hard link",
    ),
    "M5 a device": (
        [entry("k.png", type=tarfile.CHRTYPE)],
        UnsafeArchiveError,
        "its member 'k.png' is refused; found a device",
    ),
    "M5 a pipe": (
        [entry("k.png", type=tarfile.FIFOTYPE)],
        UnsafeArchiveError,
        "its member 'k.png' is refused; found a pipe",
    ),
    "M5 unknown": (
        [entry("k.png", type=b"V")],
        UnsafeArchiveError,
        "its member 'k.png' is refused; found neither file nor folder",
    ),
    "M5 absolute": ({"/k.png": MASK}, UnsafeArchiveError, "its member '/k.png' is refused"),
    "M5 a drive": ({"c:k.png": MASK}, UnsafeArchiveError, "its member 'c:k.png' is refused"),
    "M5 upwards": (
        {"a/../../k.png": MASK},
        UnsafeArchiveError,
        "'a/../../k.png' is refused; found a name that leads out of its folder",
    ),
    "M5 upwards, of Windows": ({r"a\..\k.png": MASK}, UnsafeArchiveError, "is refused"),
    "M7 cut in a header": (WHOLE[:700], DatasetError, "x-000.tar: is cut short; found its end"),
    "M7 cut in a member": (
        WHOLE[: 512 + len(PHOTO) - 5],
        DatasetError,
        "x-000.tar: is cut short; found its end after 'a.jpg'",
    ),
    "M7 cut between members": (
        WHOLE[: 512 * (4 + -(-len(PHOTO) // 512) - 1)],
        DatasetError,
        "is cut short; found its end after 'a.",
    ),
    "M7 empty": (b"", DatasetError, "x-000.tar: is cut short; found its end before any member"),
    "M7 not a tar": (b"PK\x03\x04" * 400, DatasetError, "x-000.tar: is damaged, or not a tar"),
    "M7 damaged": (
        WHOLE[:1536] + b"x" * 100 + WHOLE[1636:],
        DatasetError,
        "x-000.tar: is damaged, or not a tar; found bad checksum after 'a.jpg'",
    ),
    "M7 compressed": (
        b"\x1f\x8b" + bytes(510),
        DatasetError,
        "x-000.tar: is compressed, and samples cannot be found in it without reading all of it. "
        "Unpack it to a plain .tar",
    ),
    "M7 two tars joined": (
        WHOLE + tar_of(pairs(1)),
        DatasetError,
        "x-000.tar: goes on behind the mark of its end",
    ),
    "M7 a key twice": (
        [("a.jpg", PHOTO), ("a.png", MASK), ("b.jpg", PHOTO), ("b.png", MASK), ("a.jpg", PHOTO)],
        DatasetError,
        "x-000.tar/a: its key occurs twice; found .jpg",
    ),
    "M7 a member twice": (
        [("a.jpg", PHOTO), ("a.png", MASK), ("a.png", MASK)],
        DatasetError,
        "x-000.tar/a: it has two members .png; found .jpg, .png, .png",
    ),
    "M7 no mask": (
        {"a.jpg": PHOTO, "a.txt": b"", "b.jpg": PHOTO, "b.png": MASK},
        DatasetError,
        "x-000.tar/a: it has no mask; found .jpg, .txt, expected image=webp,jpg",
    ),
    "M7 no picture": ({"a.png": MASK}, DatasetError, "x-000.tar/a: it has no picture; found .png"),
    "M2 several": (
        {"a.jpg": PHOTO, "b.png": MASK},
        DatasetError,
        "2 samples cannot be used; found ",
    ),
    "no samples": ({"README": b""}, DatasetError, "x-000.tar: there are no samples; expected pict"),
}


@pytest.mark.parametrize("row", BAD_TARS)
def test_bad_tars(shard, row):
    content, kind, message = BAD_TARS[row]
    path = shard(content)
    with pytest.raises(kind) as caught:
        open_shards(path)
    assert message in str(caught.value)


def patched(name: str = "", size: bytes = b"", kind: bytes = b"", data: bytes = b"") -> bytes:
    """A tar of one header, its fields as they are given, its checksum right."""
    block = bytearray(entry(name or "k.png", len(data)).tobuf(tarfile.USTAR_FORMAT)[:512])
    if size:
        block[124:136] = size
    if kind:
        block[156:157] = kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + data + bytes(-len(data) % 512) + bytes(1024)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (patched(size=b"\xff" * 12), "found a size of -1 before any member"),
        (
            patched(size=b"\x80" + b"\xff" * 11),
            "found a size of 309485009821345068724781055 before",
        ),
        (patched(kind=b"L", size=b"00040000000\0"), "found a header of 8388608 bytes before any"),
        (patched(kind=b"x", data=b"9 a=b"), "pax records of a wrong length"),
        (patched(kind=b"x", data=b"7 a=bc!"), "a pax record that is none"),
        (patched(kind=b"x", data=b"6 abc\n"), "a pax record that is none"),
        (patched(kind=b"x", data=b"0 a=b\n" * 9), "pax records of a wrong length"),
        (patched(kind=b"g", data=b"9 path=x\n"), "one name or size for all members"),
        (patched(kind=b"x", data=b"11 size=-1\n") + WHOLE, "goes on behind"),
    ],
)
def test_headers_that_lie(shard, content, message):
    with pytest.raises(DatasetError) as caught:
        open_shards(shard(content))
    assert message in str(caught.value)


def test_a_negative_size_in_pax_records(shard):
    head = patched(kind=b"x", data=b"11 size=-1\n")[:1024]
    with pytest.raises(DatasetError, match="found a size of '-1' before any member"):
        open_shards(shard(head + WHOLE))


def test_a_sparse_file_of_pax_is_refused(shard):
    record = b"22 GNU.sparse.major=1\n"
    head = patched(kind=b"x", data=record)[:1024]
    with pytest.raises(UnsafeArchiveError, match=r"'a\.jpg' is refused; found a sparse file"):
        open_shards(shard(head + WHOLE))


def test_a_member_of_more_than_a_gigabyte_is_not_read(shard, tmp_path):
    path = tmp_path / "x.tar"
    size = (1 << 30) + 512
    with open(path, "wb") as file:  # mostly a hole
        file.write(patched("a.jpg", size=b"%011o\0" % size)[:512])
        file.seek(512 + size)
        file.write(patched("a.png", data=MASK))
    dataset = open_shards(str(path))
    with pytest.raises(DatasetError, match=r"a\.jpg: is too large for a picture; found 1073742336"):
        dataset[0]


@pytest.mark.stress
def test_mutated_tars_give_one_of_our_errors(shard):
    for seed in range(3000):
        rng = np.random.default_rng(seed)
        content = bytearray(WHOLE)
        for _ in range(rng.integers(1, 4)):
            content[rng.integers(0, 4096)] = rng.integers(0, 256)
        path = shard(bytes(content[: rng.integers(1, len(content))]))
        try:
            dataset = open_shards(path)
            [dataset[n] for n in range(len(dataset))]
        except (DatasetError, UnsafeArchiveError, UnsafeFormatError):
            pass


def test_a_picture_that_cannot_be_decoded_is_named(shard):
    dataset = open_shards(shard({"k.jpg": PHOTO[:200], "k.png": MASK}))
    with pytest.raises(DatasetError, match=r"x-000\.tar/k\.jpg: "):
        dataset[0]
    dataset = open_shards(shard({"k.jpg": PHOTO, "k.png": MASK}), values="0,1")
    with pytest.raises(DatasetError, match=r"x-000\.tar/k\.png: the mask holds values .* 255"):
        dataset[0]


def test_a_shard_that_changes_is_an_error(shard):
    path = shard(pairs(2))
    dataset = open_shards(path)
    shard(pairs(3))
    with pytest.raises(DatasetError, match=r"x-000\.tar: has changed since it was opened"):
        dataset[0]
    os.unlink(path)
    with pytest.raises(DatasetError, match=r"x-000\.tar: is not a file"):
        dataset[0]


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (
            "nothing.tar",
            DatasetError,
            "nothing.tar: there are no shards; expected a .tar, a folder",
        ),
        ("*.zip", DatasetError, "there are no shards"),
        ("x-{000..003}.tar", DatasetError, "3 of 4 shards are not there; found no "),
        ("x-{3..1}.tar", UsageError, "counts downwards"),
        ("[ab]/x-000.tar", DatasetError, "two shards have one name; found x-000"),
        ("x-000.tar?mask=json", UsageError, "found no decoder for json, expected extensions such"),
        ("x-000.tar?image=png", UsageError, "image=png&mask=png do not tell one from the other"),
        ("x-000.tar?bad_samples=skip:0.1", UsageError, "bad_samples= is for streams"),
        ("x-000.tar?bad_samples=skip:2", UsageError, "bad_samples='skip:2' cannot be used"),
        ("x-000.tar?bad_samples=some", UsageError, "expected error, or skip:SHARE"),
        ("x-000.tar?values=0,red", UsageError, "values='red' cannot be read"),
    ],
)
def test_words_that_cannot_be_used(shard, tmp_path, words, kind, message):
    shard(pairs(1))
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shard(pairs(1), f"{folder}/x-000.tar")
    with pytest.raises(kind) as caught:
        open_data(f"shards:{tmp_path}/{words}")
    assert message in str(caught.value)


# --- streams --------------------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `content` by path; `promised`: the length that it states, if another."""

    content: dict[str, bytes]
    promised: dict[str, int | None]

    def do_GET(self):
        path = self.path
        if path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", path.removeprefix("/to/"))
            self.end_headers()
            return
        if path not in self.content:
            self.send_error(404)
            return
        self.send_response(200)
        length = self.promised.get(path, len(self.content[path]))
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(self.content[path])

    def log_message(self, *args):
        pass


@contextmanager
def server(content: dict[str, bytes], promised: dict[str, int | None] | None = None):
    handler = type("Own", (Handler,), {"content": content, "promised": promised or {}})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as own:
        thread = threading.Thread(target=functools.partial(own.serve_forever, 0.01))
        thread.start()
        try:
            yield f"http://127.0.0.1:{own.server_port}"
        finally:
            own.shutdown()
            thread.join()


def ids_of(stream) -> list[str]:
    return [sample["id"] for sample in stream]


def test_a_stream_gives_the_samples_of_the_tars(shard, tmp_path):
    content = {f"/x-{n:03d}.tar": tar_of(pairs(3, first=3 * n)) for n in range(3)}
    for name, data in content.items():
        shard(data, name[1:])
    local = open_data(f"shards:{tmp_path}?values=0,255")
    with server(content) as host:
        stream = open_data(f"shards:{host}/x-{{000..002}}.tar?values=0,255")
        assert isinstance(stream, ShardStream)
        for _ in range(2):  # iterating again starts again
            samples = list(stream)
            assert len(samples) == len(local) == 9
            for n, sample in enumerate(samples):
                assert sample["id"] == local.id_of(n)
                assert (sample["image"] == local[n]["image"]).all()
                assert (sample["target"] == local[n]["target"]).all()
        with pytest.raises(UsageError, match="needs a data set whose samples are numbered"):
            open_data(f"shards:{host}/x-000.tar?split=0:2")


def test_redirections_within_the_host_alone():
    with server({"/x.tar": tar_of(pairs(1))}) as host, server({"/x.tar": WHOLE}) as other:
        assert ids_of(open_shards(f"{host}/to//x.tar")) == ["x/00000"]
        other = other.replace("127.0.0.1", "localhost")
        with pytest.raises(DatasetError, match="leads to another host, which is not followed; fou"):
            ids_of(open_shards(f"{host}/to/{other}/x.tar"))
        with pytest.raises(DatasetError, match=r"cannot be read: .*file:///etc/hostname.*not "):
            ids_of(open_shards(f"{host}/to/file:///etc/hostname"))


def test_a_shard_that_is_not_there_is_an_error_even_where_samples_may_be_lost():
    with server({"/x-0.tar": tar_of(pairs(3))}) as host:
        stream = iter(open_shards(f"{host}/x-{{0..1}}.tar", bad_samples="skip:0.5"))
        assert [next(stream)["id"] for _ in range(3)] == ["x-0/00000", "x-0/00001", "x-0/00002"]
        with pytest.raises(DatasetError, match=r"x-1\.tar: cannot be read: HTTP Error 404"):
            next(stream)


def test_a_server_that_is_silent_is_an_error():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.tar"
        stream = open_shards(url)
        stream.timeout = 0.2
        with pytest.raises(DatasetError, match=r"x\.tar: cannot be read: .*timed out"):
            next(iter(stream))


def part(tar: bytes, share: float) -> bytes:
    """The first bytes of a tar, as a share of those before the zeros at its end."""
    return tar[: int(share * len(tar.rstrip(b"\0")))]


def test_m7_a_drop_is_an_error_with_the_count():
    whole = tar_of(pairs(40))
    with server({"/x.tar": part(whole, 0.5)}, {"/x.tar": len(whole)}) as host:
        stream = iter(open_shards(f"{host}/x.tar"))
        got = []
        with pytest.raises(DatasetError) as caught:
            got.extend(sample["id"] for sample in stream)
    assert 17 <= len(got) <= 20
    assert "x.tar: is cut short; found its end " in str(caught.value)
    assert "samples before it, 0 of them lost" in str(caught.value)
    assert "To go on without: bad_samples=skip:0.001" in str(caught.value)


def test_m7_a_drop_within_the_allowance_is_counted_and_told():
    whole = tar_of(pairs(40))
    content = {"/x-0.tar": part(whole, 0.9), "/x-1.tar": tar_of(pairs(2))}
    with server(content, {"/x-0.tar": len(whole)}) as host:
        words = f"{host}/x-{{0..1}}.tar"
        with pytest.warns(RuntimeWarning) as told:
            got = ids_of(open_shards(words, bad_samples="skip:0.3"))
        lost = 42 - len(got)
        assert got[-1] == "x-1/00001" and 3 <= lost <= 6
        assert len(told) == 1
        text = str(told[0].message)
        assert "x-0.tar: is cut short" in text and " of 4" in text and "Samples lost: " in text
        estimate = int(text.partition("Samples lost: ")[2].split()[0])
        assert lost - 1 <= estimate <= lost + 6  # the zeros at a tar's end count as samples
        with pytest.raises(DatasetError, match="is cut short"):
            ids_of(open_shards(words, bad_samples="skip:0.01"))


def test_m7_a_drop_of_unknown_length_is_an_error():
    whole = tar_of(pairs(40))
    with server({"/x.tar": part(whole, 0.9)}, {"/x.tar": None}) as host:
        with pytest.raises(DatasetError, match="is cut short"):
            ids_of(open_shards(f"{host}/x.tar", bad_samples="skip:0.9"))


def test_m7_bad_samples_of_a_stream():
    good = pairs(30)
    content = [
        *list(good.items())[:20],
        ("bad1.jpg", PHOTO[:150]),
        ("bad1.png", MASK),
        *list(good.items())[20:],
        ("bad2.jpg", PHOTO),
        ("00003.bmp", good["00003.bmp"]),
        ("00003.png", good["00003.png"]),
    ]
    with server({"/x.tar": tar_of(content)}) as host:
        with pytest.raises(DatasetError, match=r"bad1\.jpg: .*10 samples before it, 0 of them los"):
            ids_of(open_shards(f"{host}/x.tar"))
        with pytest.warns(RuntimeWarning) as told:
            got = ids_of(open_shards(f"{host}/x.tar", bad_samples="skip:0.1"))
        assert got == [f"x/{n:05d}" for n in range(30)]
        texts = [str(warning.message) for warning in told]
        assert len(texts) == 3
        assert "x.tar/bad1.jpg: " in texts[0] and "Samples lost: 1 of 11 so far" in texts[0]
        assert "x.tar/bad2: it has no mask" in texts[1] and "2 of 32 so far" in texts[1]
        assert "x.tar/00003: its key occurs twice" in texts[2] and "3 of 33" in texts[2]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(DatasetError, match=r"bad2: it has no mask.*31 samples before"):
                ids_of(open_shards(f"{host}/x.tar", bad_samples="skip:0.03"))


def test_what_is_unsafe_is_never_skipped(tmp_path):
    canary = tmp_path / "canary"
    unsafe = {
        "/p.tar": tar_of(pairs(5) | {"k.pkl": pickle.dumps(Canary(canary))}),
        "/l.tar": tar_of([*pairs(5).items(), entry("k.png", type=tarfile.SYMTYPE)]),
        "/n.tar": tar_of(pairs(5) | {"k.npy": npy(np.array([Canary(canary)])), "k.png": MASK}),
    }
    with server(unsafe) as host:
        for name, kind in (
            ("p", UnsafeFormatError),
            ("l", UnsafeArchiveError),
            ("n", UnsafeFormatError),
        ):
            with pytest.raises(kind):
                ids_of(open_shards(f"{host}/{name}.tar", bad_samples="skip:0.9"))
    assert not canary.exists()


def test_a_stream_without_samples_is_an_error():
    with server({"/x.tar": tar_of({"README": b""})}) as host:
        with pytest.raises(DatasetError, match=r"x\.tar: there are no samples"):
            ids_of(open_shards(f"{host}/x.tar"))


def test_a_member_of_a_stream_that_states_a_huge_size():
    lying = patched("a.jpg", size=b"77777777777\0")
    with server({"/x.tar": lying}) as host:
        with pytest.raises(DatasetError, match=r"a\.jpg: is too large for a picture"):
            ids_of(open_shards(f"{host}/x.tar"))


# --- real shards ----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves it open
@pytest.mark.skipif("SEGZOO_TEST_DATA" not in os.environ, reason="SEGZOO_TEST_DATA is not set")
def test_duts_tr():
    folder = Path(os.environ["SEGZOO_TEST_DATA"]) / "duts-tr"
    dataset = open_data(f"shards:{folder}?values=0,255")
    assert len(dataset) == 10_553
    assert dataset.id_of(0) == dataset[0]["id"] == "duts-tr-00/ILSVRC2012_test_00060964"
    assert dataset.id_of(10_552) == "duts-tr-02/sun_awjcsbwqdkiwhuby"
    first, last = dataset[0], dataset[10_552]
    assert first["image"].shape == (320, 240, 3) and first["target"].shape == (320, 240)
    assert set(np.unique(last["target"])) == {0, 1}
    urls = sorted(map(str, folder.glob("*.tar")))
    keys = webdataset.WebDataset(urls, shardshuffle=False, empty_check=False)
    for n, other in enumerate(keys):
        assert dataset.id_of(n).partition("/")[2] == other["__key__"]
        if n % 500 == 0:
            assert (dataset[n]["target"] == np.asarray(Image.open(io.BytesIO(other["png"])))).all()
    assert n == 10_552
