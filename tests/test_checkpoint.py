"""Checkpoints: whole or not there, at every moment, on a full disk, and from a stranger."""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from segzoo.engine.checkpoint import begin, clean, find, prune, publish, write_json, write_tensors
from segzoo.errors import CheckpointError, OutputError, UsageError, WeightsFormatError

NO_PATH = "is not the plain name of a file"


def save(run: Path, step: int, *, value: float | None = None) -> Path:
    """A checkpoint in which everything tells its step."""
    value = float(step) if value is None else value
    folder = begin(run, step)
    write_tensors(folder, "model", {"weight": torch.full((5, 3), value), "count": torch.tensor(7)})
    write_tensors(folder, "random-00000", {"torch": torch.arange(9, dtype=torch.uint8)})
    write_json(folder, "progress", {"step": step, "value": value})
    return publish(folder, about={"world": 1, "hash": "abc"})


def unexpected(text: str) -> None:
    pytest.fail(f"a warning: {text}")


def newest(run: Path) -> int:
    """The step of the newest checkpoint, which holds what was saved."""
    found = find(run, warn=unexpected)
    assert found.json("progress")["step"] == found.step
    assert (found.tensors("model")["weight"] == found.json("progress")["value"]).all()
    return found.step


def folders(run: Path) -> list[str]:
    return sorted(path.name for path in run.iterdir())


def program(code: str, *arguments: object, **options) -> str:
    """What a program prints in a process of its own."""
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
        **options,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


# --- what is saved comes back ---------------------------------------------------------------------

NOISE = torch.randn(4, 6, 3, 5, generator=torch.Generator().manual_seed(0))
SHARED = torch.arange(12.0)
TENSORS = {
    "float32": NOISE,
    "float64": NOISE.double(),
    "float16": NOISE.half(),
    "bfloat16": NOISE.bfloat16(),
    "float8": NOISE.to(torch.float8_e4m3fn),
    "complex64": NOISE.to(torch.complex64) * 1j,
    "conjugate": (NOISE.to(torch.complex64) * 1j).conj(),
    "int64": torch.tensor([-(2**63), 2**63 - 1]),
    "uint8": torch.get_rng_state(),
    "bool": NOISE > 0,
    "scalar": torch.tensor(3.5),
    "scalar.bfloat16": torch.tensor(3.5, dtype=torch.bfloat16),
    "empty": torch.empty(0),
    "empty.sides": torch.empty(3, 0, 2, dtype=torch.int64),
    "channels_last": NOISE.contiguous(memory_format=torch.channels_last),
    "transposed": NOISE.transpose(0, 3),
    "expanded": torch.ones(1).expand(4, 3),
    "shared": SHARED,
    "shared.part": SHARED[3:7],
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "not finite": torch.tensor([float("nan"), float("inf"), -0.0]),
    "running_var": torch.tensor([-1.0]),
}


def test_every_kind_of_tensor_comes_back_bit_by_bit(tmp_path):
    folder = begin(tmp_path, 3)
    write_tensors(folder, "model", TENSORS)
    write_tensors(folder, "nothing", {})
    path = publish(folder, about={})
    found = find(tmp_path)
    back = found.tensors("model")
    assert back.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        ours = tensor.detach().resolve_conj().contiguous()
        assert (back[name].dtype, back[name].shape) == (tensor.dtype, tensor.shape), name
        assert back[name].is_contiguous()
        flat = back[name].reshape(-1).view(torch.uint8)
        assert torch.equal(flat, ours.reshape(-1).view(torch.uint8)), name
    back["shared"].fill_(0)
    assert back["shared.part"].tolist() == [3, 4, 5, 6]
    assert found.tensors("nothing") == {}
    theirs = load_file(path / "model.safetensors")  # the format's own library
    assert theirs.keys() == TENSORS.keys()
    assert torch.equal(theirs["channels_last"], NOISE)


def test_json_and_about_come_back(tmp_path):
    value = {"best": None, "lr": 0.1 + 0.2, "deep": [[1, {"a": [True, "é\ud800"]}]], "-0": -0.0}
    folder = begin(tmp_path, 12)
    write_json(folder, "progress", value)
    path = publish(folder, about={"step": 12, "world": 2, "versions": {"torch": "2"}})
    assert path == tmp_path / "step-00000012"
    found = find(tmp_path)
    assert (found.path, found.step) == (path, 12)
    assert found.json("progress") == value
    assert str(found.json("progress")["-0"]) == "-0.0"
    assert found.about == {"step": 12, "world": 2, "versions": {"torch": "2"}}


def test_the_form_of_a_checkpoint(tmp_path):
    """Files outlive a version of segzoo: names and forms are a promise."""
    path = save(tmp_path, 120)
    files = ["model.safetensors", "progress.json", "random-00000.safetensors"]
    assert folders(path) == ["manifest.json", *files]
    assert json.loads((path / "manifest.json").read_text()) == {
        "format": 1,
        "step": 120,
        "files": {
            name: {
                "size": (path / name).stat().st_size,
                "sha256": hashlib.sha256((path / name).read_bytes()).hexdigest(),
            }
            for name in files
        },
        "about": {"world": 1, "hash": "abc"},
    }


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": float("nan")}, "Out of range float values are not JSON compliant"),
        ({"a": {1, 2}}, "Object of type set is not JSON serializable"),
        ({"a": torch.zeros(1)}, "Object of type Tensor is not JSON serializable"),
        ({1: 2, "1": 3}, "the file is not valid JSON: the key '1' stands twice"),
        ({"a": 2**127}, "the file is not valid JSON: a number has 39 digits"),
        ({"a": [[[[[[[[[[[[[[[[0]]]]]]]]]]]]]]]]}, "the file is nested too deeply"),
        ({"a": "x" * 2**24}, "the file is too long; expected at most 16,777,216 bytes"),
    ],
)
def test_what_is_not_json_is_refused_and_the_folder_is_gone(value, message, tmp_path):
    folder = begin(tmp_path, 1)
    with pytest.raises(UsageError) as caught:
        write_json(folder, "progress", value)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(folder / "progress.json"))
    assert folders(tmp_path) == []


@pytest.mark.parametrize(
    ("tensor", "found"),
    [
        (torch.zeros(2, dtype=torch.complex128), "torch.complex128, torch.strided, on cpu"),
        (torch.eye(2).to_sparse(), "torch.float32, torch.sparse_coo, on cpu"),
        (torch.zeros(2, device="meta"), "torch.float32, torch.strided, on meta"),
    ],
    ids=["complex128", "sparse", "meta"],
)
def test_what_safetensors_cannot_hold_is_refused_and_the_folder_is_gone(tensor, found, tmp_path):
    folder = begin(tmp_path, 1)
    with pytest.raises(UsageError) as caught:
        write_tensors(folder, "model", {"weight": tensor})
    assert str(caught.value) == f"a checkpoint cannot hold 'weight'; found {found}"
    assert folders(tmp_path) == []


def test_a_name_that_could_not_be_read_again_is_refused(tmp_path):
    folder = begin(tmp_path, 1)
    with pytest.raises(WeightsFormatError, match="a tensor's name is not allowed"):
        write_tensors(folder, "model", {"../weight": torch.zeros(1)})
    assert folders(tmp_path) == []


# --- finding --------------------------------------------------------------------------------------


def test_the_newest_is_computed(tmp_path):
    for step in (5, 123_456_789, 40, 99_999_999):
        save(tmp_path, step)
        os.utime(tmp_path / f"step-{step:08d}", (0, 0))  # clocks say nothing
    for name in ("step-7", "step-0000000130", "step-00000200.bak", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "step-00000300").write_text("a file")
    (tmp_path / "step-00000400").symlink_to(tmp_path / "step-00000005")
    assert newest(tmp_path) == 123_456_789
    assert find(tmp_path, step=40).step == 40


def test_a_checkpoint_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        find(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: there is no whole checkpoint; found none. Begin the run anew"
    )
    with pytest.raises(CheckpointError) as caught:
        find(tmp_path, step=3)
    assert str(caught.value) == f"{tmp_path}: there is no checkpoint of step 3; found none"
    save(tmp_path, 2)
    save(tmp_path, 10)
    with pytest.raises(CheckpointError) as caught:
        find(tmp_path, step=3)
    assert str(caught.value) == f"{tmp_path}: there is no checkpoint of step 3; found 2, 10"
    with pytest.raises(CheckpointError) as caught:
        find(tmp_path / "none")
    assert str(caught.value) == f"{tmp_path / 'none'}: cannot be read: No such file or directory"


def test_a_file_that_the_manifest_does_not_name_is_an_error(tmp_path):
    """T4: a missing file of random numbers is never passed over."""
    path = save(tmp_path, 4)
    (path / "random-00001.safetensors").write_bytes((path / "model.safetensors").read_bytes())
    found = find(tmp_path)
    names = "model.safetensors, progress.json, random-00000.safetensors"
    with pytest.raises(CheckpointError) as caught:
        found.tensors("random-00001")
    assert str(caught.value) == (
        f"{path}: the checkpoint has no 'random-00001.safetensors'; found {names}"
    )
    for name in ("manifest", "../progress"):
        with pytest.raises(
            CheckpointError, match=f"the checkpoint has no '{re.escape(name)}.json'"
        ):
            found.json(name)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link_out(path: Path) -> None:
    away = path.parents[2] / "away"
    shutil.copy(path, away)
    path.unlink()
    path.symlink_to(away)


def rewrite(**changes) -> object:
    def change(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def entry(**changes) -> object:
    return rewrite(files={"model.safetensors": {"size": 1, "sha256": "0" * 64} | changes})


MODEL, MANIFEST, RNG = "model.safetensors", "manifest.json", "random-00000.safetensors"


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        pytest.param(*row[1:], id=f"{row[0]}-{index}")
        for index, row in enumerate(
            [
                ("T4", MODEL, Path.unlink, "{}: the file cannot be opened: No such file"),
                ("T4", RNG, Path.unlink, "{}: the file cannot be opened: No such file"),
                ("T4", MODEL, lambda p: flip(p, -1), "{}: its sha256 is not the manifest's"),
                ("T4", MODEL, lambda p: flip(p, 9), "{}: its sha256 is not the manifest's"),
                ("T4", RNG, lambda p: flip(p, -1), "{}: its sha256 is not the manifest's"),
                ("T4", MODEL, cut, "{}: the file has another size than in the manifest; found"),
                ("T4", MANIFEST, Path.unlink, "{}: the file cannot be opened: No such file"),
                ("T4", MANIFEST, cut, "{}: the file is not valid JSON: "),
                ("T4", MANIFEST, lambda p: p.write_bytes(b""), "{}: the file is not valid JSON: "),
                ("T4", MODEL, lambda p: (p.unlink(), p.mkdir()), "{}: not a file of weights"),
                ("T4", MODEL, pipe, "{}: not a file of weights; found a named pipe"),
                ("T4", MANIFEST, pipe, "{}: not a file of weights; found a named pipe"),
                ("T4", MODEL, link_out, "{}: a link out of its folder"),
                ("T4", MANIFEST, link_out, "{}: a link out of its folder"),
                (
                    "T4",
                    MANIFEST,
                    rewrite(format=2),
                    "{}: the manifest is of another format; found 2, expected 1. Update segzoo",
                ),
                ("T4", MANIFEST, rewrite(format="x"), "{}: the manifest is of another format"),
                (
                    "T4",
                    MANIFEST,
                    rewrite(step=7),
                    "{}: the manifest is of another step; found 7, expected 20",
                ),
                ("T4", MANIFEST, rewrite(files=[]), "{}: the manifest lacks step, files or about"),
                ("T4", MANIFEST, rewrite(about=1), "{}: the manifest lacks step, files or about"),
                (
                    "T4",
                    MANIFEST,
                    entry(sha256="0"),
                    "{}: the manifest's 'model.safetensors' is mal",
                ),
                ("T4", MANIFEST, entry(size="1"), "{}: the manifest's 'model.safetensors' is malf"),
                ("T4", MANIFEST, rewrite(files={"../x": {"size": 1, "sha256": "0" * 64}}), NO_PATH),
                (
                    "T4",
                    MANIFEST,
                    rewrite(files={"/etc/passwd": {"size": 1, "sha256": "0" * 64}}),
                    NO_PATH,
                ),
                ("T4", MANIFEST, rewrite(files={"..": {"size": 1, "sha256": "0" * 64}}), NO_PATH),
                (
                    "T4",
                    MANIFEST,
                    lambda p: p.write_bytes(b"[" * 10**5),
                    "{}: the file is nested too",
                ),
                (
                    "T4",
                    MANIFEST,
                    lambda p: p.write_bytes(b" " * (2**24 + 1)),
                    "{}: the file is too long; expected at most 16,777,216 bytes",
                ),
            ]
        )
    ],
)
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(file, damage, message, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    save(run, 10)
    path = save(run, 20)
    damage(path / file)
    message = message.format(path / file)
    warned = []
    assert find(run, warn=warned.append).step == 10
    [warning] = warned
    assert warning.startswith(f"a damaged checkpoint is passed over: {path}")
    assert message in warning
    with pytest.raises(CheckpointError) as caught:
        find(run, step=20)
    assert message in str(caught.value)
    assert warning.endswith(str(caught.value))
    shutil.rmtree(run / "step-00000010")
    with pytest.warns(UserWarning, match="^a damaged checkpoint is passed over: "):
        with pytest.raises(CheckpointError) as caught:
            find(run)
    assert str(caught.value) == (
        f"{run}: there is no whole checkpoint; found 1 damaged. Begin the run anew"
    )


def test_damage_after_the_checkpoint_was_found_is_seen(tmp_path):
    path = save(tmp_path, 1)
    found = find(tmp_path)
    flip(path / MODEL, -1)
    with pytest.raises(CheckpointError, match="its sha256 is not the declared one"):
        found.tensors("model")
    flip(path / "progress.json", 2)
    with pytest.raises(CheckpointError, match="its sha256 is not the manifest's"):
        found.json("progress")
    (path / "random-00000.safetensors").unlink()
    with pytest.raises(CheckpointError, match="the file cannot be opened: No such file"):
        found.tensors("random-00000")


# --- at every moment ------------------------------------------------------------------------------


class Watch:
    """Calls `look` before and after each call that changes what is on the disk."""

    CALLS = ("mkdir", "rename", "fsync", "unlink", "rmdir")

    def __init__(self, monkeypatch, look) -> None:
        self.look, self.count = look, 0
        for name in self.CALLS:
            monkeypatch.setattr(os, name, self.wrapped(getattr(os, name)))

    def wrapped(self, call):
        def watched(*args, **kwargs):
            look, self.look = self.look, lambda: None  # not while it looks itself
            look()
            result = call(*args, **kwargs)
            look()
            self.look, self.count = look, self.count + 1
            return result

        return watched


@pytest.mark.parametrize("steps", [(1, 2, 3, 4), (1, 2, 2, 2), (3, 1)], ids=str)
def test_at_every_moment_the_last_checkpoint_is_there(steps, tmp_path, monkeypatch):
    """T1: a kill between two changes of the disk loses nothing; `clean` removes what it leaves."""
    run, copy = tmp_path / "run", tmp_path / "copy"
    run.mkdir()
    save(run, 0)
    saved = [0]

    def look():
        assert newest(run) in (max(saved), max(*saved, step))
        shutil.copytree(run, copy)
        clean(copy)
        assert newest(copy) == newest(run)
        assert all(re.fullmatch(r"step-\d{8}", name) for name in folders(copy))
        shutil.rmtree(copy)

    step = 0
    with monkeypatch.context() as patch:
        watch = Watch(patch, look)
        for step in steps:
            save(run, step)
            saved.append(step)
            prune(run, keep_last=1, keep=())
    assert folders(run) == [f"step-{max(steps):08d}"]
    assert watch.count > 20 * len(steps)


def test_a_name_is_given_only_to_what_is_on_the_disk(tmp_path, monkeypatch):
    """Power may fail at any moment: files first, then the manifest, the folder, the name."""
    events = []
    fsync, rename = os.fsync, os.rename

    def watched_fsync(descriptor: int) -> None:
        fsync(descriptor)
        events.append(("fsync", os.fstat(descriptor).st_ino))

    def watched_rename(source, target, **kwargs) -> None:
        rename(source, target, **kwargs)
        events.append(("rename", Path(target).name))

    save(tmp_path, 8)
    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "rename", watched_rename)
    path = save(tmp_path, 8)
    inode = {name: (path / name).stat().st_ino for name in folders(path)}
    run = ("fsync", tmp_path.stat().st_ino)
    names = "model.safetensors", "random-00000.safetensors", "progress.json", "manifest.json"
    assert events[:5] == [
        *(("fsync", inode[name]) for name in names),
        ("fsync", path.stat().st_ino),
    ]
    (_, old), first, (_, new), second, (_, gone) = events[5:]
    assert re.fullmatch(r"step-00000008\.old-[0-9a-f]{32}", old)
    assert new == "step-00000008"
    assert re.fullmatch(r"step-00000008\.tmp-[0-9a-f]{32}", gone)
    assert first == second == run


def test_a_checkpoint_is_replaced(tmp_path):
    save(tmp_path, 5, value=1.0)
    save(tmp_path, 5, value=2.0)
    assert folders(tmp_path) == ["step-00000005"]
    assert find(tmp_path).json("progress")["value"] == 2.0


def test_a_damaged_checkpoint_is_replaced(tmp_path):
    cut(save(tmp_path, 5) / MODEL)
    save(tmp_path, 5, value=2.0)
    assert newest(tmp_path) == 5


def test_what_several_processes_wrote_is_published(tmp_path):
    folder = begin(tmp_path, 6)
    code = """
import sys, torch
from pathlib import Path
from segzoo.engine.checkpoint import write_tensors
write_tensors(Path(sys.argv[1]), "random-00001", {"torch": torch.tensor(1)})
"""
    program(code, folder)
    write_tensors(folder, "random-00000", {"torch": torch.tensor(0)})
    publish(folder, about={"world": 2})
    found = find(tmp_path)
    assert [found.tensors(f"random-0000{rank}")["torch"].item() for rank in (0, 1)] == [0, 1]


# --- pruning and cleaning -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep_last", "keep", "left"),
    [
        (1, (), [50]),
        (0, (), [50]),
        (2, (), [40, 50]),
        (2, (10, 30, 999), [10, 30, 40, 50]),
        (1, (50,), [50]),
        (9, (), [10, 20, 30, 40, 50]),
    ],
)
def test_the_newest_and_the_kept_stay(keep_last, keep, left, tmp_path):
    for step in (10, 20, 30, 40, 50):
        save(tmp_path, step)
    prune(tmp_path, keep_last=keep_last, keep=keep)
    assert folders(tmp_path) == [f"step-{step:08d}" for step in left]


def test_a_damaged_one_is_not_the_newest(tmp_path):
    for step in (10, 20, 30):
        save(tmp_path, step)
    (tmp_path / "step-00000030" / RNG).unlink()
    prune(tmp_path, keep_last=1, keep=())
    assert folders(tmp_path) == ["step-00000020", "step-00000030"]


def test_litter_is_removed_and_nothing_else(tmp_path):
    save(tmp_path, 10)
    save(tmp_path, 20).rename(tmp_path / f"step-00000020.old-{'a' * 32}")
    for step, at in (("10", "b"), ("20", "c")):
        old = tmp_path / f"step-000000{step}.old-{at * 32}"
        shutil.copytree(tmp_path / "step-00000010", old)
    (begin(tmp_path, 30) / "half").write_bytes(b"half")
    (tmp_path / "mine.tmp-1").mkdir()
    (tmp_path / "metrics.jsonl").write_text("")
    assert newest(tmp_path) == 20
    clean(tmp_path)
    assert folders(tmp_path) == ["metrics.jsonl", "mine.tmp-1", "step-00000010", "step-00000020"]
    assert newest(tmp_path) == 20


def test_a_run_that_goes_back_leaves_the_later_ones_behind(tmp_path):
    for step in (10, 20, 30):
        save(tmp_path, step)
    save(tmp_path, 40).rename(tmp_path / f"step-00000040.old-{'a' * 32}")
    clean(tmp_path, after=20)
    assert folders(tmp_path) == ["step-00000010", "step-00000020"]


# --- disks that are full, read-only or gone -------------------------------------------------------

SAVE = """
import resource, sys, torch
from pathlib import Path
from segzoo.engine.checkpoint import begin, find, publish, write_json, write_tensors
from segzoo.errors import OutputError, ResourceError
run = Path(sys.argv[1])

def save(step, size):
    try:
        folder = begin(run, step)
        write_json(folder, "progress", {"step": step})
        write_tensors(folder, "model", {"weight": torch.zeros(size)})
        publish(folder, about={})
    except (OutputError, ResourceError) as error:
        print(type(error).__name__, error.exit_code, error, sep="|")
"""

FULL = (
    r"ResourceError\|5\|{run}/step-00000002\.tmp-[0-9a-f]{{32}}/model\.safetensors: "
    r"cannot be written: {cause}; found [\d,]+ bytes free, expected at least {needed}\. "
    r"Free some space and resume the run\n"
)


def test_a_limit_on_files_leaves_the_old_checkpoint_and_no_litter(tmp_path):
    """T3"""
    limited = """
save(1, 10)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
save(2, 100_000)
"""
    printed = program(SAVE + limited, tmp_path)
    pattern = FULL.format(run=re.escape(str(tmp_path)), cause="File too large", needed="400,090")
    assert re.fullmatch(pattern, printed), printed
    assert folders(tmp_path) == ["step-00000001"]
    assert find(tmp_path, warn=unexpected).step == 1


def test_a_full_disk_leaves_the_old_checkpoint_and_no_litter(tmp_path):
    """T3, on a file system of 1 MiB that nobody else sees."""
    shell = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = 'mount -t tmpfs -o size=1m none "$1"'
    code = SAVE + "save(1, 100_000)\nsave(2, 200_000)\nsave(3, 100_000)\n"
    code += "print(sorted(path.name for path in run.iterdir()), find(run).step)\n"
    run = f'{mount} && exec "$2" -c "$3" "$1"'
    try:
        subprocess.run([*shell, mount, "sh", tmp_path], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine lets nobody mount a file system of their own")
    printed = subprocess.run(
        [*shell, run, "sh", tmp_path, sys.executable, code],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    pattern = FULL.format(
        run=re.escape(str(tmp_path)), cause="No space left on device", needed="800,090"
    )
    pattern += r"\['step-00000001', 'step-00000003'\] 3\n"
    assert re.fullmatch(pattern, printed), printed
    free = int(re.search(r"found ([\d,]+) bytes", printed)[1].replace(",", ""))
    assert 600_000 < free < 2**20 - 400_000  # what there is when the half one is deleted


def test_a_folder_that_may_not_be_written(tmp_path):
    save(tmp_path, 1)
    tmp_path.chmod(0o555)
    code = SAVE + "\nimport os\nos.chdir(run)\nrun = Path()\n"
    if os.geteuid() == 0:
        code += "os.seteuid(65534)\n"  # nothing is forbidden to root
    printed = program(code + "save(2, 10)\n", tmp_path)
    tmp_path.chmod(0o755)
    pattern = (
        r"OutputError\|2\|step-00000002\.tmp-[0-9a-f]{32}: cannot be written: Permission denied\n"
    )
    assert re.fullmatch(pattern, printed), printed
    assert folders(tmp_path) == ["step-00000001"]


def test_a_folder_that_is_deleted_meanwhile(tmp_path):
    """T11"""
    run = tmp_path / "run"
    run.mkdir()
    folder = begin(run, 1)
    write_json(folder, "progress", {})
    shutil.rmtree(run)
    gone = "cannot be written: No such file or directory"
    for write in (
        lambda: write_tensors(folder, "model", {"weight": torch.zeros(2)}),
        lambda: publish(folder, about={}),
        lambda: begin(run, 2),
    ):
        with pytest.raises(OutputError) as caught:
            write()
        assert str(caught.value).startswith(f"{run}/step-0000000")
        assert caught.value.problem == gone
    assert not run.exists()


# --- kills ----------------------------------------------------------------------------------------

NURSERY = """
import os, sys, torch
from pathlib import Path
from segzoo.engine.checkpoint import begin, prune, publish, write_json, write_tensors
run = Path(sys.argv[1])

def train(step):
    os.write(1, b"%d\\n" % os.getpid())
    while True:
        folder = begin(run, step)
        for name in ("model", "average", "optimizer"):
            write_tensors(folder, name, {"weight": torch.full((100, 300), float(step))})
        write_json(folder, "progress", {"step": step, "value": step})
        publish(folder, about={"step": step})
        os.write(1, b"%d\\n" % step)
        prune(run, keep_last=2)
        step += 1

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        train(int(line))
    os.waitpid(child, 0)
    print("dead", flush=True)
"""


@pytest.mark.stress
def test_kills_at_random_moments_of_writing(tmp_path):
    """T1: 200 processes that do nothing but write checkpoints, each going on from the last."""
    chance = random.Random(0)
    left = {"tmp": 0, "old": 0}
    save(tmp_path, 0)
    step = 0
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as nursery:
        for _ in range(200):
            nursery.stdin.write(f"{step}\n")
            nursery.stdin.flush()
            child, published = int(nursery.stdout.readline()), step
            time.sleep(chance.uniform(0, 0.1))
            os.kill(child, signal.SIGKILL)
            while (line := nursery.stdout.readline()) != "dead\n":
                published = int(line)
            for kind in left:
                left[kind] += any(f".{kind}-" in name for name in folders(tmp_path))
            step = newest(tmp_path)
            assert step in (published, published + 1)
            clean(tmp_path)
            assert newest(tmp_path) == step
            assert all(re.fullmatch(r"step-\d{8}", name) for name in folders(tmp_path))
            assert len(folders(tmp_path)) <= 3
        nursery.stdin.close()
    assert left["tmp"] > 100  # most of the kills met a checkpoint that was being written
    print(f"{step} checkpoints; left behind: {left}")
