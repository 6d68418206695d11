"""Whatever byte of a saved model is changed, it is refused; and whatever a header says, one error.

A flip is of one random bit of one random byte. The weights of a saved model are protected by its
config and by its manifest, the config by the manifest, and the manifest by its one spelling.
"""

import os
import random
import time

import pytest
import tiny
import torch

import segzoo
from segzoo.base import cache
from segzoo.checks.verify import verify
from segzoo.errors import SegzooError
from segzoo.model import golden
from segzoo.saved import manifest
from segzoo.weights.safetensors import save

READ_BY_LOAD = ("model.safetensors", "config.json", "manifest.json")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGZOO_MODELS", "tiny=tiny:TINY")
    model = segzoo.load("tiny", seed=3)
    place = model.save_pretrained(tmp_path / "saved")
    golden.write(model.network, model.config, place / "golden.safetensors")
    manifest.write(place)
    return place


def refuses_load(folder, *, stamped=False):
    try:
        segzoo.load(str(folder), verify=not stamped)
    except SegzooError as error:
        assert "\n" not in str(error)
        return True
    return False


def refuses_verify(folder):
    return not all(result.ok for result in verify(str(folder)))


def flips(folder, names, count, seed):
    """Flip a bit, hand over, flip it back; gives where it was, as "file byte bit"."""
    chance = random.Random(seed)
    contents = {name: (folder / name).read_bytes() for name in names}
    for _ in range(count):
        name = chance.choice(names)
        data = bytearray(contents[name])
        at, bit = chance.randrange(len(data)), chance.randrange(8)
        data[at] ^= 1 << bit
        (folder / name).write_bytes(data)
        yield f"{name} {at} {bit}"
        (folder / name).write_bytes(contents[name])


def accepted(folder, count, seed):
    """The flips, of `count`, that load or verify let pass."""
    return [
        place
        for place in flips(folder, READ_BY_LOAD, count, seed)
        if not (refuses_load(folder) and refuses_verify(folder))
    ]


def test_every_flipped_bit_is_refused(folder):
    assert accepted(folder, 300, 1) == []
    assert not refuses_load(folder)
    assert not refuses_verify(folder)


@pytest.mark.stress
def test_ten_thousand_flipped_bits_are_refused(folder):
    assert accepted(folder, 10_000, 2) == []


def test_a_flipped_golden_is_refused_by_verify(folder):
    for place in flips(folder, ["golden.safetensors"], 30, 4):
        assert refuses_verify(folder), place


def test_a_stamp_spares_no_flip(folder, monkeypatch):
    """The file that a load stamped, changed where it lies, with its time of change put back."""
    monkeypatch.setattr(cache, "SETTLED_SECONDS", 0.0)
    path = folder / "model.safetensors"
    good = path.read_bytes()
    for place in flips(folder, [path.name], 20, 5):
        bad = path.read_bytes()
        path.write_bytes(good)
        segzoo.load(str(folder))
        before = path.stat()
        assert cache.read_stamp(path, before) is not None
        time.sleep(0.02)  # a tick of the file system's clock
        path.write_bytes(bad)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        after = path.stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        assert refuses_load(folder, stamped=True), place


# Headers. What `judge_header` and `read` make of mutated ones is in their own tests; here is what
# a user meets: a file of weights from somewhere, with no hash, for a network that it should fit.

PIECES = (
    b"9" * 25,
    b"-1",
    b"1e3",
    b"null",
    b"[[[[[[",
    b'"',
    b"}",
    b",",
    b"\\u0000",
    b"\xff",
    b"F64",
    b" ",
)


def mutated(data, chance):
    """The file with one to three changes in its header, whose length is mostly set right again."""
    length = int.from_bytes(data[:8], "little")
    header, body = bytearray(data[8 : 8 + length]), data[8 + length :]
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(header))
        match chance.randrange(4):
            case 0:
                header[at] = chance.randrange(256)
            case 1:
                header[at] = chance.choice(b"0123456789")
            case 2:
                header[at : at + chance.randrange(6)] = chance.choice(PIECES)
            case 3:
                other = chance.randrange(len(header))
                header[at : at + 9] = header[other : other + 9]
    stated = len(header) if chance.random() < 0.9 else chance.choice([0, 1, length, 2**24, 2**63])
    return stated.to_bytes(8, "little") + header + body


def fuzz(path, count):
    """How many mutated files were taken; each then gave a network that works."""
    save(tiny.tiny(), path)
    data, chance, taken = path.read_bytes(), random.Random(6), 0
    x = torch.zeros(1, 3, 8, 8)
    for _ in range(count):
        path.write_bytes(mutated(data, chance))
        try:
            model = segzoo.load(tiny.TINY, weights=path)
        except SegzooError as error:
            assert "\n" not in str(error)
            continue
        taken += 1
        assert torch.isfinite(model(x)).all()
    return taken


def test_mutated_headers_give_one_error_family(tmp_path):
    assert 0 < fuzz(tmp_path / "a", 2_000) < 600


@pytest.mark.stress
def test_a_hundred_thousand_mutated_headers(tmp_path):
    assert 0 < fuzz(tmp_path / "a", 100_000) < 30_000
