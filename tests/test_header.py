"""The header of a safetensors file: rows W1 to W8, W12, W15 and W17 of the bad inputs, and fuzz."""

import io
import json
import os
import pickle
import random
import socket
import subprocess
import sys
import time
import zipfile

import pytest

from segzoo.errors import (
    SegzooError,
    UnsafeFormatError,
    WeightsFormatError,
    WeightsMissingError,
)
from segzoo.weights.header import (
    BYTES_PER_VALUE,
    TensorInfo,
    judge_header,
    open_regular,
    read_header,
)


def framed(text, body=b""):
    """A file: the length of the header, the header, the tensors' bytes."""
    text = text.encode() if isinstance(text, str) else text
    return len(text).to_bytes(8, "little") + text + body


def entry(shape=(1,), begin=0, end=4, dtype="F32"):
    return {"dtype": dtype, "shape": [*shape], "data_offsets": [begin, end]}


def named(**entries):
    return json.dumps(entries)


def objects(count, text):
    return "{" + ",".join(f'"{i}":{text}' for i in range(count)) + "}"


def judged(data):
    return read_header(io.BytesIO(data), "weights.safetensors")


GOOD = framed(
    named(__metadata__={"made": "here"}, a=entry((2, 3), 0, 24), b=entry((), 24, 26, "BF16")),
    bytes(26),
)


def test_a_header_is_read():
    header = judged(GOOD)
    assert header.tensors == {
        "a": TensorInfo("F32", (2, 3), 0, 24),
        "b": TensorInfo("BF16", (), 24, 26),
    }
    assert header.metadata == {"made": "here"}
    assert header.file_size == len(GOOD)
    assert header.data_start == len(GOOD) - 26
    assert header.raw == GOOD[:-26]


def test_empty_tensors_and_no_tensors_are_allowed():
    empty = framed(named(a=entry((0, 3), 0, 0), b=entry((1,)), c=entry((0,), 4, 4)), bytes(4))
    assert [*judged(empty).tensors] == ["a", "b", "c"]
    assert judged(framed("{}")).tensors == {}


def test_trailing_spaces_pad_a_header():
    assert judged(framed("{}      ")).data_start == 16


@pytest.mark.parametrize("length", [0x0280, 0x8B1F])
def test_a_length_that_looks_like_another_kind_of_file(length):
    """640 begins like a pickle, 35,615 like gzip."""
    assert judged(framed("{}".ljust(length))).data_start == 8 + length


def test_every_dtype_of_the_table_is_known():
    for dtype, size in BYTES_PER_VALUE.items():
        header = judged(framed(named(a=entry((3,), 0, 3 * size, dtype)), bytes(3 * size)))
        assert header.tensors["a"].dtype == dtype


F32_2 = entry((2,), 0, 8)
BAD = {
    "W1 empty": (b"", "truncated header; found a file of 0 bytes, expected more than 8 bytes"),
    "W1 3 bytes": (b"abc", "truncated header; found a file of 3 bytes"),
    "W1 8 bytes": (bytes(8), "truncated header; found a file of 8 bytes"),
    "W1 length only": (
        (100).to_bytes(8, "little"),
        "truncated header; found a file of 8 bytes, expected more than 8 bytes",
    ),
    "W2 2^63": (
        (2**63).to_bytes(8, "little") + b"{}",
        "the header is too long; found 9,223,372,036,854,775,808 bytes, expected at most 8,388,608",
    ),
    "W2 100,000,001": (
        (100_000_001).to_bytes(8, "little") + b"{}",
        "the header is too long; found 100,000,001 bytes",
    ),
    "W2 longer than the file": (
        (1000).to_bytes(8, "little") + b"{}",
        "truncated header; found 2 bytes after its length, expected 1,000. Fetch it again",
    ),
    "W3 4 short": (
        GOOD[:-4],
        "4 bytes are missing; found 22 bytes of tensors, expected 26. Fetch it again",
    ),
    "W3 4 over": (
        GOOD + bytes(4),
        "4 bytes are left over; found 30 bytes of tensors, expected 26. Fetch it again",
    ),
    "W4 overlap": (
        framed(named(a=F32_2, b=entry((2,), 4, 12)), bytes(12)),
        "tensor 'b' overlaps the one before it; found byte 4, expected byte 8",
    ),
    "W4 same place": (
        framed(named(a=F32_2, b=F32_2), bytes(8)),
        "tensor 'b' overlaps the one before it; found byte 0, expected byte 8",
    ),
    "W4 gap": (
        framed(named(a=F32_2, b=entry((1,), 12, 16)), bytes(16)),
        "tensor 'b' leaves a hole before it; found byte 12, expected byte 8",
    ),
    "W4 negative": (
        framed(named(a=entry((2,), -8, 0)), bytes(8)),
        "tensor 'a': bad data_offsets; found [-8, 0], expected [begin, end], 0 <= begin <= end",
    ),
    "W4 reversed": (
        framed(named(a=entry((2,), 8, 0)), bytes(8)),
        "tensor 'a': bad data_offsets; found [8, 0]",
    ),
    "W4 three offsets": (
        framed(json.dumps({"a": {**F32_2, "data_offsets": [0, 4, 8]}}), bytes(8)),
        "tensor 'a': bad data_offsets; found [0, 4, 8]",
    ),
    "W4 offset true": (
        framed(json.dumps({"a": {**F32_2, "data_offsets": [False, 8]}}), bytes(8)),
        "tensor 'a': bad data_offsets; found [False, 8]",
    ),
    "W4 offset 8.0": (
        framed(json.dumps({"a": {**F32_2, "data_offsets": [0, 8.0]}}), bytes(8)),
        "tensor 'a': bad data_offsets; found [0, 8.0]",
    ),
    "W4 size": (
        framed(named(a=entry((3,), 0, 8)), bytes(8)),
        "tensor 'a': its place has another size; found 8 bytes, expected 12 for F32 [3]",
    ),
    "W5 2^62 x 2^62": (
        framed(named(a=entry((2**62, 2**62), 0, 4)), bytes(4)),
        "tensor 'a': bad shape; found [4611686018427387904, 4611686018427387904], "
        "expected up to 64 integers from 0 to 2147483648",
    ),
    "W5 0 x 2^40": (
        framed(named(a=entry((0, 2**40), 0, 0))),
        "tensor 'a': bad shape; found [0, 1099511627776]",
    ),
    "W5 0 x 2^30 x 2^30": (
        framed(named(a=entry((0, 2**30, 2**30), 0, 0))),
        "tensor 'a': bad shape; found [0, 1073741824, 1073741824], "
        "expected at most 1099511627776 values",
    ),
    "W5 65 sides": (
        framed(named(a=entry((1,) * 65, 0, 4)), bytes(4)),
        "tensor 'a': bad shape; found [1, 1, 1",
    ),
    "W5 negative side": (
        framed(named(a=entry((-1, -1), 0, 4)), bytes(4)),
        "tensor 'a': bad shape; found [-1, -1]",
    ),
    "W5 shape is a string": (
        framed(json.dumps({"a": {**F32_2, "shape": "2"}}), bytes(8)),
        "tensor 'a': bad shape; found 2, expected up to 64 integers",
    ),
    "W6 not UTF-8": (framed(b'{"\xff": 1}'), "the header is not UTF-8; found byte 0xff at 2"),
    "W6 not JSON": (
        framed("{'a': 1}"),
        "the header is not valid JSON: Expecting property name enclosed in double quotes",
    ),
    "W6 unclosed": (framed('{"a": 1'), "the header is not valid JSON"),
    "W6 a list": (framed("[1, 2]  "), "the header is not JSON; found b'[1, 2]  ', expected '{'"),
    "W6 leading space": (framed(" {}"), "the header is not JSON; found b' {}', expected '{' first"),
    "W6 nested 100,000 deep": (
        framed('{"a":' + "[" * 100_000 + "]" * 100_000 + "}"),
        "the header is nested too deeply; found",
    ),
    "W6 nested objects": (
        framed('{"a":' * 10_000 + "1" + "}" * 10_000),
        "the header is nested too deeply; found",
    ),
    "W6 metadata number": (
        framed('{"__metadata__": {"epoch": 3}}'),
        "'__metadata__' holds 'epoch'; found int, expected a string",
    ),
    "W6 metadata list": (
        framed('{"__metadata__": []}'),
        "'__metadata__' is not a JSON object; found list",
    ),
    "W6 duplicate tensor": (
        framed(named(a=F32_2)[:-1] + "," + named(a=F32_2)[1:], bytes(8)),
        "the header is not valid JSON: the key 'a' stands twice",
    ),
    "W6 duplicate dtype": (
        framed('{"a": {"dtype": "F32", "dtype": "F32"}}'),
        "the header is not valid JSON: the key 'dtype' stands twice",
    ),
    "W6 NaN": (framed('{"a": NaN}'), "the header is not valid JSON: NaN is not a number of JSON"),
    "W6 5,000 digits": (
        framed('{"a": ' + "9" * 5000 + "}"),
        "the header is not valid JSON: a number has 5,000 digits",
    ),
    "W6 not an entry": (
        framed('{"a": 3}'),
        "tensor 'a': its entry has other keys; found 3, expected data_offsets, dtype, shape",
    ),
    "W6 another key": (
        framed(json.dumps({"a": {**F32_2, "code": "import os"}}), bytes(8)),
        "tensor 'a': its entry has other keys; found code, data_offsets, dtype, shape, expected",
    ),
    "W7 300,000 tensors": (
        framed(objects(300_000, "{}")),
        "the header holds too many objects; found 300,000, expected at most 20,001",
    ),
    "W7 130,000 whole entries": (
        framed(objects(130_000, '{"dtype":"F32","shape":[],"data_offsets":[0,0]}')),
        "the header has too many tensors; found 130,000, expected at most 20,000",
    ),
    "W7 strings": (
        framed('{"a": [' + ",".join(['""'] * 400_001) + "]}"),
        "the header holds too many strings; found 400,002, expected at most 400,000",
    ),
    "W7 numbers": (
        framed('{"a": [' + ",".join("0" * 400_002) + "]}"),
        "the header holds too many items; found 400,001, expected at most 400,000",
    ),
    "W8 Q99": (
        framed(named(a=entry(dtype="Q99")), bytes(4)),
        "tensor 'a': unknown dtype; found Q99, expected one of F64, F32, F16, BF16, I64, I32, I16,"
        " I8, U8, U16, U32, U64, BOOL, C64, F8_E4M3, F8_E5M2",
    ),
    "W8 of the format only": (
        framed(named(a=entry(dtype="F8_E8M0")), bytes(4)),
        "tensor 'a': unknown dtype; found F8_E8M0, expected one of F64",
    ),
    "W8 not a string": (
        framed(json.dumps({"a": {**F32_2, "dtype": ["F32"]}}), bytes(8)),
        "tensor 'a': unknown dtype; found ['F32'], expected one of F64",
    ),
    "W15 path": (
        framed(json.dumps({"../../x": F32_2}), bytes(8)),
        "a tensor's name is not allowed; found '../../x' (7 characters), "
        "expected 1 to 1,024 printable characters, not a path",
    ),
    "W15 path inside": (
        framed(json.dumps({"a/..": F32_2}), bytes(8)),
        "a tensor's name is not allowed; found 'a/..'",
    ),
    "W15 absolute": (
        framed(json.dumps({"/etc/passwd": F32_2}), bytes(8)),
        "a tensor's name is not allowed; found '/etc/passwd'",
    ),
    "W15 NUL": (
        framed(json.dumps({"a\0b": F32_2}), bytes(8)),
        "a tensor's name is not allowed; found 'a\\x00b' (3 characters)",
    ),
    "W15 lone surrogate": (
        framed(json.dumps({"\ud800": F32_2}), bytes(8)),
        "a tensor's name is not allowed; found '\\ud800' (1 characters)",
    ),
    "W15 empty": (
        framed(json.dumps({"": F32_2}), bytes(8)),
        "a tensor's name is not allowed; found '' (0 characters)",
    ),
    "W15 1 MB": (
        framed(json.dumps({"x" * 10**6: F32_2}), bytes(8)),
        f"a tensor's name is not allowed; found '{'x' * 77}...' (1,000,000 characters)",
    ),
}


@pytest.mark.parametrize("row", BAD)
def test_a_bad_header_is_refused(row):
    data, message = BAD[row]
    start = time.process_time()
    with pytest.raises(WeightsFormatError) as caught:
        judged(data)
    assert time.process_time() - start < 2  # 0.05 at rest; safetensors' reader took 11 for W7
    assert str(caught.value).startswith(f"weights.safetensors: {message}")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


def test_names_with_dots_and_slashes_that_lead_nowhere_are_allowed():
    names = ["encoder.0.conv/kernel", "a..b", "...", "größe"]
    places = {n: entry((), 4 * i, 4 * i + 4) for i, n in enumerate(names)}
    assert [*judged(framed(json.dumps(places), bytes(16))).tensors] == names


def test_escaped_quotes_and_brackets_in_metadata_do_not_count():
    metadata = {"tags": '{"a": "\\\\"}' * 50_000, "[[[[": "{{{{"}
    header = judged(framed(json.dumps({"__metadata__": metadata})))
    assert header.metadata == metadata


class Counted(io.BytesIO):
    """A file that counts the bytes read from it."""

    total = 0

    def read(self, size=-1):
        data = super().read(size)
        self.total += len(data)
        return data


@pytest.mark.parametrize("body", [26, 10_000_000])
def test_only_the_header_is_read(body):
    text = named(a=entry((body // 2,), 0, body, "F16"))
    file = Counted(framed(text, bytes(body)))
    read_header(file, "a")
    assert file.total <= 512 + 8 + len(text)


def test_w2_reads_almost_nothing_of_a_file_with_an_absurd_length():
    file = Counted((2**63).to_bytes(8, "little") + bytes(10_000_000))
    with pytest.raises(WeightsFormatError):
        read_header(file, "a")
    assert file.total <= 512


class Canary:
    """Unpickled, it leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def zipped(data):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", data)
    return file.getvalue()


OTHER_KINDS = {
    "W12 pickle 2": (
        lambda canary: pickle.dumps(canary, protocol=2),
        "found a Python pickle, which can run code, expected a safetensors file. "
        "Save its tensors as safetensors, where the file is trusted",
    ),
    "W12 pickle 5": (
        lambda canary: pickle.dumps(canary, protocol=5),
        "found a Python pickle, which can run code",
    ),
    "W12 torch zip": (
        lambda canary: zipped(pickle.dumps(canary)),
        "found a zip archive, as torch.save writes it with a pickle inside, expected a safetensors",
    ),
    "W12 gzip": (
        lambda canary: b"\x1f\x8b\x08\0" + bytes(100),
        "found a gzip archive, expected a safetensors file. Unpack it first; segzoo reads "
        "safetensors only",
    ),
    "W12 HTML": (
        lambda canary: b"\n\n  <!DOCTYPE html><html><title>404</title></html>",
        "found an HTML or XML page, expected a safetensors file. Download the file itself, not its "
        "page",
    ),
    "W12 html": (lambda canary: b"<HTML><body>" + bytes(40), "found an HTML or XML page"),
    "W12 XML": (
        lambda canary: b'\xef\xbb\xbf<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        "found an HTML or XML page",
    ),
    "W12 git-LFS": (
        lambda canary: (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n"
        ),
        "found a git-LFS pointer, expected a safetensors file. Run git lfs pull where the file was "
        "cloned",
    ),
}


@pytest.mark.parametrize("row", OTHER_KINDS)
def test_another_kind_of_file_is_known_by_its_bytes(row, tmp_path):
    make, message = OTHER_KINDS[row]
    path = tmp_path / "model.safetensors"
    path.write_bytes(make(Canary(tmp_path / "canary")))
    with open_regular(path) as file, pytest.raises(UnsafeFormatError) as caught:
        read_header(file, path)
    assert str(caught.value).startswith(f"{path}: not safetensors; {message}")
    assert caught.value.exit_code == 3
    assert not (tmp_path / "canary").exists()


def test_the_canary_sings(tmp_path):
    pickle.loads(pickle.dumps(Canary(tmp_path / "canary"))).close()
    assert (tmp_path / "canary").exists()


def test_a_link_to_a_file_is_followed(tmp_path):
    (tmp_path / "file").write_bytes(GOOD)
    (tmp_path / "link").symlink_to("file")
    with open_regular(tmp_path / "link") as file:
        assert file.read() == GOOD


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        pytest.param(os.mkdir, "a folder", id="W17 folder"),
        pytest.param(os.mkfifo, "a named pipe", id="W17 pipe"),
        pytest.param(lambda path: os.symlink("/dev/zero", path), "a device", id="W17 device"),
        pytest.param(
            lambda path: socket.socket(socket.AF_UNIX).bind(path), "a socket", id="W17 socket"
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_is_not_a_file_is_not_opened(make, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    make("thing")
    with pytest.raises(UnsafeFormatError) as caught:
        open_regular("thing")
    assert str(caught.value) == f"thing: not a file of weights; found {kind}, expected a file"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("gone", "gone: the file does not exist"),
        ("file/below", "file/below: the file cannot be opened: Not a directory"),
        ("n" * 300, f"{'n' * 300}: the file cannot be opened: File name too long"),
        ("a\0b", "a\\x00b: the file cannot be opened: embedded null byte"),
        ("loop", "loop: the file cannot be opened: Too many levels of symbolic links"),
    ],
)
def test_a_file_that_cannot_be_opened(path, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(WeightsMissingError) as caught:
        open_regular(path)
    assert str(caught.value) == message
    assert caught.value.exit_code == 2


def test_a_file_cut_while_its_header_is_read():
    class Cut(io.BytesIO):
        def read(self, size=-1):
            return super().read(size)[: 512 if size == 512 else 100]

    with pytest.raises(WeightsFormatError, match="the file became shorter while it was read"):
        read_header(Cut(framed("{}".ljust(1000))), "a")


def test_a_file_that_cannot_be_read():
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise OSError(5, "Input/output error")

    with pytest.raises(WeightsFormatError) as caught:
        read_header(Broken(), "a")
    assert str(caught.value) == "a: cannot be read: Input/output error"


@pytest.mark.parametrize("row", ["W5", "W7"])
def test_a_hostile_header_costs_little_memory(row):
    """Peak memory of a process that judges it, over one that only imports."""
    make = {
        "W5": 'b\'{"a":{"dtype":"F32","shape":[4000000000,9],"data_offsets":[0,9]}}\'',
        "W7": "b'{' + b','.join(b'\"%d\":{\"a\":[\"\"]}' % i for i in range(250_000)) + b'}'",
    }[row]
    program = f"""
import io, resource
from segzoo.weights.header import read_header
from segzoo.errors import WeightsFormatError
text = {make}
data = io.BytesIO(len(text).to_bytes(8, "little") + text)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_header(data, "x")
except WeightsFormatError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64 * 1024  # KiB


def test_judge_header_needs_the_size_of_the_whole_file():
    raw = framed("{}")
    with pytest.raises(WeightsFormatError, match="1 bytes are left over"):
        judge_header(raw, len(raw) + 1, "a")


TOKENS = [b'"', b"{", b"}", b"[", b"]", b":", b",", b"-1", b"1e9", b"null", b"true", b"\\u0000"]
TOKENS += [b"9" * 30, b"\xff", b"\0", b'"F16"', b'"shape"', b"__metadata__", b"[[[[[[[[", b" "]


def mutated(data, chance):
    """`data` with one to four bytes, pieces or lengths changed."""
    data = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data))
        match chance.randrange(6):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                data[at : at + chance.randint(1, 8)] = b""
            case 2:
                data[at:at] = chance.choice(TOKENS)
            case 3:
                data[at : at + 1] = chance.choice(TOKENS)
            case 4:
                data[:8] = chance.choice([0, 1, 2, 7, 255, 2**23, 2**32, 2**63]).to_bytes(
                    8, "little"
                )
            case 5:
                data[at:at] = data[at : at + chance.randint(1, 40)]
        data = data or bytearray(b"\0")
    return bytes(data)


def fuzz(count):
    chance = random.Random(2)
    kept = 0
    for _ in range(count):
        try:
            judged(mutated(GOOD, chance))
            kept += 1
        except SegzooError as error:
            assert "\n" not in str(error)
    return kept


def test_mutated_headers():
    assert fuzz(3_000) < 1_000  # some bytes of tensors and metadata may change freely


@pytest.mark.stress
def test_a_hundred_thousand_mutated_headers():
    assert fuzz(100_000) < 33_000
