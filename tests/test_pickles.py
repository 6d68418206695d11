"""Files that could run code: opened in a child that cannot, and survived, whatever they do."""

import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from originals import write_keras2
from safetensors.torch import save_file

from segzoo.errors import (
    DependencyMissingError,
    ResourceError,
    UnsafeFormatError,
    WeightsFormatError,
    WeightsValueError,
)
from segzoo.weights import pickles
from segzoo.weights.pickles import read_foreign

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.count": torch.tensor(7)}
ALONE = "Where its code is trusted: torch.save(model.state_dict(), 'state.pth'), and convert that"


class Canary:
    """Pickled, it is a call that makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch '{self.path}'",)


@pytest.fixture
def canary(tmp_path):
    """What hostile files try to make. It must never be there."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


def rewritten(source, **members):
    """The bytes of a zip with members replaced or added, uncompressed."""
    out = io.BytesIO()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            short = info.filename.rpartition("/")[2]
            new.writestr(info.filename, members.pop(short, None) or old.read(info))
        for name, data in members.items():
            new.writestr(name, data)
    return out.getvalue()


# --- what is read ---------------------------------------------------------------------------------


def test_a_safetensors_file_needs_no_child(tmp_path, monkeypatch):
    save_file(STATE, tmp_path / "a.safetensors")
    monkeypatch.setattr(pickles, "CHILD", "raise SystemExit(1)")
    found = read_foreign(tmp_path / "a.safetensors")
    assert (found.kind, found.walls) == ("safetensors", ())
    assert torch.equal(found.tensors["a.weight"], STATE["a.weight"])


def test_what_is_no_file_of_weights(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    with pytest.raises(WeightsFormatError) as caught:
        read_foreign(tmp_path / "a.png")
    assert str(caught.value) == (
        f"{tmp_path}/a.png: no file of weights; expected PyTorch's, Keras's, ONNX or safetensors"
    )


@pytest.mark.parametrize(("zipped", "kind"), [(True, "PyTorch"), (False, "PyTorch (before 1.6)")])
def test_torch_files_of_both_ages(tmp_path, zipped, kind):
    path = tmp_path / "a.pth"
    content = {"epoch": 3, "state_dict": STATE | {"mask_values": [0, 255]}, "optimizer": {}}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    found = read_foreign(path)
    assert found.tensors.keys() == STATE.keys()
    assert all(torch.equal(found.tensors[name], STATE[name]) for name in STATE)
    assert found.kind == kind
    assert found.left_out == ("epoch", "optimizer", "mask_values")
    assert "no processes, sockets or writing elsewhere, by an audit hook" in found.walls
    if sys.platform == "linux":
        assert "RLIMIT_CPU=301" in found.walls
        assert any(wall.startswith("RLIMIT_AS=") for wall in found.walls)
    assert sorted(os.listdir(tmp_path)) == ["a.pth"]


def test_a_torch_file_without_checksums(tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(STATE, tmp_path / "a.pth")
    finally:
        torch.serialization.set_crc32_options(before)
    assert read_foreign(tmp_path / "a.pth").tensors.keys() == STATE.keys()


# --- W19: hostile files ---------------------------------------------------------------------------


def saved(content, *, zipped=True):
    def write(path, canary):
        state = content(canary) if callable(content) else content
        torch.save(state, path, _use_new_zipfile_serialization=zipped)

    return write


def zipped_with(**members):
    """A file of torch.save in which some members are other bytes."""

    def write(path, canary):
        torch.save(STATE, path)
        path.write_bytes(rewritten(path, **{n.replace("__", "."): d for n, d in members.items()}))

    return write


def raw(data):
    return lambda path, canary: path.write_bytes(data)


def out_of_bounds(path, canary):
    """A tensor that claims more values than its storage has."""
    torch.save({"a": torch.zeros(3)}, path)
    with zipfile.ZipFile(path) as archive:
        [name] = [n for n in archive.namelist() if n.endswith("data.pkl")]
        data = archive.read(name)
    shape = b"K\x03\x85"  # (3,)
    assert data.count(shape) == 1
    path.write_bytes(rewritten(path, **{"data.pkl": data.replace(shape, b"M\xff\xff\x85")}))


def plain_pickle(path, canary):
    path.write_bytes(pickle.dumps({"a": Canary(canary)}))


def tar_file(path, canary):
    """The oldest files of torch, which `weights_only` once let through."""
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            data = pickle.dumps(Canary(canary))
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def changed_value(path, canary):
    """One byte of a value is another, which torch.load does not see."""
    torch.save(STATE, path)
    data = bytearray(path.read_bytes())
    place = data.index(STATE["a.weight"].numpy().tobytes()) + 6
    data[place] ^= 0x40
    path.write_bytes(data)
    assert not torch.equal(torch.load(path)["a.weight"], STATE["a.weight"])


def huge_member(path, canary):
    """300 MB of zeros in 300 kB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("archive/data.pkl", "w", force_zip64=True) as member:
            for _ in range(300):
                member.write(bytes(1 << 20))


def compressed_member(path, canary):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))


def cut(zipped, size):
    def write(path, canary):
        torch.save(STATE, path, _use_new_zipfile_serialization=zipped)
        path.write_bytes(path.read_bytes()[:size])

    return write


def archive_of(*names):
    def write(path, canary):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"x")

    return write


SLOW = pytest.mark.slow  # each row is a process that imports torch: the kinds that differ are quick
GLOBAL = "it holds more than tensors, and could run code; found posix.system, expected a state_dict"
ROWS = {
    "W19-call": (saved(lambda c: {"a": Canary(c)}), UnsafeFormatError, f"{GLOBAL}. {ALONE}"),
    "W19-call-legacy": (
        saved(lambda c: {"a": Canary(c)}, zipped=False),
        UnsafeFormatError,
        f"{GLOBAL}. {ALONE}",
    ),
    "W19-tar": (
        tar_file,
        UnsafeFormatError,
        "a tar archive, as torch before 0.1.10 wrote it; expected a file of torch.save from then "
        "on. Load and save it again where its code is trusted",
    ),
    "W19-plain-pickle": (
        plain_pickle,
        UnsafeFormatError,
        "a Python pickle that torch.save did not write; expected a file of torch.save. "
        "Ask for safetensors, or for its state_dict by torch.save",
    ),
    "W19-out-of-bounds": (out_of_bounds, WeightsFormatError, "torch cannot read it: it is damaged"),
    "W19-odd-opcodes": (  # a list, and then items of a dict set in it
        zipped_with(data__pkl=b"\x80\x02]K\x01K\x02s."),
        WeightsFormatError,
        "torch cannot read it: it is damaged, or cut short; found ",
    ),
    "W19-huge-member": (
        huge_member,
        UnsafeFormatError,
        "the zip archive unpacks to far more than it holds; found 314,572,800 bytes, expected at ",
    ),
    "W19-compressed": (
        compressed_member,
        UnsafeFormatError,
        "a member is compressed, as torch.save never does it; found 'archive/data.pkl'",
    ),
    "W19-changed": (
        changed_value,
        WeightsFormatError,
        "the zip archive is damaged, or cut short; found Bad CRC-32 for file 'weights/data/0'. Fet",
    ),
    "W19-cut": (
        cut(True, 300),
        WeightsFormatError,
        "the zip archive is damaged, or cut short; found File is not a zip file. Fetch it again",
    ),
    "W19-cut-legacy": (
        cut(False, 200),
        WeightsFormatError,
        "torch cannot read it: it is damaged, or cut short; found ",
    ),
    "W19-names": (
        archive_of("archive/data.pkl", "../canary"),
        UnsafeFormatError,
        "a member of the zip archive leads out of it; found '../canary'",
    ),
    "W19-absolute-name": (
        archive_of("/canary"),
        UnsafeFormatError,
        "a member of the zip archive leads out of it; found '/canary'",
    ),
    "W19-torchscript": (
        archive_of("m/data.pkl", "m/constants.pkl", "m/code/__torch__.py"),
        UnsafeFormatError,
        f"a TorchScript archive, which is a program; expected a state_dict. {ALONE}",
    ),
    "W19-other-zip": (
        archive_of("word/document.xml"),
        WeightsFormatError,
        "a zip archive, but of neither torch nor Keras; found word/document.xml",
    ),
    "W19-module": (
        saved(lambda c: torch.nn.Linear(1, 1)),
        UnsafeFormatError,
        "it holds more than tensors, and could run code; found torch.nn.modules.linear.Linear",
    ),
    "W19-expanded": (  # 4 GiB of one value
        saved({"a": torch.zeros(1).expand(2**20, 2**10)}),
        UnsafeFormatError,
        "its tensors are larger than the file allows; found 4,294,967,296 bytes",
    ),
    "no-state": (
        saved({"epoch": 3, "losses": [1.0]}),
        WeightsFormatError,
        "it holds no state_dict, or several; found epoch, losses, expected state_dict, ",
    ),
    "nan": (
        saved({"a": torch.tensor([1.0, float("nan")])}),
        WeightsValueError,
        "tensors that no network can use: 1 with NaN or infinity: a (1)",
    ),
    "html": (
        raw(b"<!DOCTYPE html><html>sign in to download</html>"),
        UnsafeFormatError,
        "not safetensors; found an HTML or XML page",
    ),
}
QUICK = {"W19-call", "W19-changed", "W19-tar", "W19-out-of-bounds"}
QUICK |= {"W19-huge-member", "W19-names", "html"}


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=row, marks=[] if row in QUICK else [SLOW]) for row in ROWS]
)
def test_hostile_files_are_refused(tmp_path, canary, row):
    write, error, text = ROWS[row]
    path = tmp_path / "weights.pth"
    write(path, canary)
    with pytest.raises(error) as caught:
        read_foreign(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: {text}")
    assert "\n" not in message
    assert os.listdir(tmp_path) == ["weights.pth"]


def of_one_call(size):
    """`bytearray(size)`, which `weights_only` allows: so many bytes of a file of less than 1 kB."""
    return b"\x80\x02cbuiltins\nbytearray\nJ" + size.to_bytes(4, "little") + b"\x85R."


def of_pairs(depth):
    """A dict whose key is a pair of pairs of pairs ...: its hash takes 2**depth steps."""
    return b"\x80\x02}K\x01K\x01\x86q\x00" + b"h\x00\x86q\x00" * depth + b"K\x01s."


@pytest.mark.parametrize(
    ("kind", "small", "large", "seconds", "text"),
    [
        (of_one_call, 64 << 20, (2 << 30) - 1, 300, "reading it takes more memory than a file of"),
        pytest.param(of_pairs, 12, 60, 30, "reading it took longer than 30 s, and", marks=SLOW),
    ],
)
def test_what_weights_only_lets_through_meets_a_limit(tmp_path, kind, small, large, seconds, text):
    path = tmp_path / "a.pth"
    zipped_with(data__pkl=kind(small))(path, None)
    assert path.stat().st_size < 2000
    assert len(torch.load(path, weights_only=True)) == (small if kind is of_one_call else 1)
    zipped_with(data__pkl=kind(large))(path, None)
    with pytest.raises(UnsafeFormatError) as caught:
        read_foreign(path, seconds=seconds)
    assert str(caught.value).startswith(f"{path}: {text}")


# --- a child that was taken over ------------------------------------------------------------------

START = """
import json, os, sys
path, arguments = json.loads(sys.argv[1])
sys.path[:] = path
from segzoo.weights import pickles
"""


@pytest.fixture
def pth(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(pickles.LEGACY)
    return path


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import os; os.abort()", "it ended the process that read it; found SIGABRT"),
        ("raise SystemExit(3)", "it ended the process that read it; found exit code 3"),
        ("import time; time.sleep(60)", "reading it took longer than 0.5 s, and was ended"),
        ("open('report.json', 'w').write('{')", "the report on it is not valid JSON"),
        ("open('report.json', 'w').write('{}')", "it ended the process that read it; found exit "),
        (
            "import os; os.symlink('/etc/hostname', 'report.json')",
            "it ended the process that read it; found exit code 0",
        ),
        (
            'open(\'report.json\', \'w\').write(\'{"error": "SystemExit", "problem": "\\\\n" }\')',
            "it ended the process that read it",
        ),
    ],
)
def test_what_ends_the_child_is_one_line_for_the_parent(pth, monkeypatch, code, text):
    monkeypatch.setattr(pickles, "CHILD", code)
    with pytest.raises(UnsafeFormatError) as caught:
        read_foreign(pth, seconds=0.5 if "sleep" in code else 60)
    assert str(caught.value).startswith(f"{pth}: {text}")


def test_tensors_that_are_a_link_are_refused(pth, monkeypatch, tmp_path):
    save_file(STATE, tmp_path / "other.safetensors")
    report = json.dumps({"kind": "x", "left_out": [], "walls": []})
    code = f"import os; os.symlink('{tmp_path}/other.safetensors', 'tensors.safetensors')\n"
    monkeypatch.setattr(pickles, "CHILD", code + f"open('report.json', 'w').write('{report}')")
    with pytest.raises(UnsafeFormatError) as caught:
        read_foreign(pth)
    assert caught.value.problem == "a link out of its folder"
    assert caught.value.file == str(pth)


def test_a_process_that_cannot_be_started(pth, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ResourceError) as caught:
        read_foreign(pth)
    assert str(caught.value) == (
        f"{pth}: no process could be started to read it: No such file or directory"
    )


TRIALS = {
    "os.system": "os.system('true')",
    "subprocess": "__import__('subprocess').run(['true'])",
    "fork": "os.fork()",
    "exec": "os.execv('/bin/true', ['true'])",
    "socket": "__import__('socket').socket()",
    "look-up": "__import__('socket').getaddrinfo('localhost', 80)",
    "foreign code": "__import__('ctypes').CDLL(None)",
    "write elsewhere": "open('../x', 'w')",
    "append elsewhere": "os.open('../x', os.O_WRONLY | os.O_APPEND)",
    "remove": "os.remove('../x')",
    "rename": "os.rename('report.json', '../x')",
    "link": "os.symlink('/etc/passwd', 'x')",
    "mode": "os.chmod('.', 0o777)",
}


def test_the_audit_hook_refuses_what_reading_does_not_need(tmp_path):
    code = START + "pickles.forbid(os.path.realpath(os.getcwd()))\n"
    code += "open('mine', 'w').close(); os.rename('mine', 'yours'); os.remove('yours')\n"
    code += "open(pickles.__file__).read()\n"
    for name, trial in TRIALS.items():
        code += f"try: {trial}\nexcept PermissionError as e: print('{name}:', e)\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, json.dumps([sys.path, {}])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    refused = dict(line.split(": ") for line in done.stdout.splitlines())
    assert refused.keys() == TRIALS.keys()
    assert all(text.endswith("is not allowed here") for text in refused.values())
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")
def test_the_system_limits_the_child(tmp_path):
    """Memory and file sizes; and no address can be reached where a namespace could be had."""
    code = START + (
        "walls = pickles._without_network() + pickles._limit(1 << 20, 9)\n"
        "import socket\n"
        "try: bytearray(4 << 30)\nexcept MemoryError: print('memory')\n"
        "try: open('x', 'wb').write(bytes(2 << 20))\nexcept OSError: print('size')\n"
        "try: socket.create_connection(('127.0.0.1', int(arguments)), 5)\n"
        "except OSError: print('network')\n"
        "print(walls)"
    )
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        done = subprocess.run(
            [sys.executable, "-I", "-c", code, json.dumps([sys.path, server.getsockname()[1]])],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
    *words, walls = done.stdout.splitlines()
    assert words[:2] == ["memory", "size"], done.stderr
    assert (words[2:] == ["network"]) == ("namespace" in walls)


def test_the_second_wall_holds_where_the_first_has_a_hole(tmp_path, canary, monkeypatch):
    """As if `weights_only` let everything through (CVE-2025-32434): the call itself is refused."""
    hole = """
import torch
real = torch.load
torch.load = lambda file, **_: real(file, map_location="cpu", weights_only=False)
"""
    monkeypatch.setattr(pickles, "CHILD", pickles.CHILD.replace("child(**", hole + "child(**"))
    torch.save({"a": Canary(canary)}, tmp_path / "a.pth")
    with pytest.raises(WeightsFormatError) as caught:
        read_foreign(tmp_path / "a.pth")
    assert caught.value.found == "os.system is not allowed here"


def test_the_child_has_nothing_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(
        pickles,
        "CHILD",
        "import json, os; open('report.json', 'w').write(json.dumps("
        "{'error': 'ResourceError', 'problem': ' '.join(sorted(os.environ))}))",
    )
    (tmp_path / "a.pth").write_bytes(pickles.LEGACY)
    with pytest.raises(ResourceError) as caught:
        read_foreign(tmp_path / "a.pth")
    names = set(caught.value.problem.split())
    assert names <= {
        "LC_CTYPE",
        "LD_LIBRARY_PATH",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "TMPDIR",
    }


def test_keras_files_need_h5py(tmp_path, monkeypatch):
    write_keras2(tmp_path / "a.h5", {"conv2d/bias": np.zeros(1, "f4")})
    monkeypatch.setattr(pickles.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyMissingError) as caught:
        read_foreign(tmp_path / "a.h5")
    assert str(caught.value) == (
        "files of Keras are read with h5py, which is not installed. "
        "Run: pip install 'segzoo-core[convert]'"
    )
