"""Files of tensors that could run code or crash a reader, opened in a process of their own.

This is the only file of segzoo that opens a pickle. PyTorch's files (zip archives and older ones)
are read with `weights_only=True`, Keras's (HDF5, or a zip with one in it) with h5py, ONNX with
onnx, in a child process that has nothing of the user's environment, no network, no new processes,
no files to write but in one temporary folder, and limits on memory, time and what it writes. What
it hands back is a safetensors file, which `segzoo.weights.safetensors` judges like any other from a
stranger.

How the network is closed: by a network namespace of the child's own where the system allows one,
and in any case by an audit hook, which also refuses processes, foreign code and writing. The hook
holds what Python does, not native code that was taken over; limits and namespace hold that too.
"""

import contextlib
import hashlib
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, NoReturn

from segzoo.base import children
from segzoo.base.strictjson import strict_json
from segzoo.errors import (
    DependencyMissingError,
    IntegrityError,
    ResourceError,
    SegzooError,
    UnsafeFormatError,
    WeightsFormatError,
    WeightsValueError,
    printable,
)
from segzoo.weights.header import open_regular
from segzoo.weights.prefixes import AVERAGED
from segzoo.weights.within import open_within

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ONNX", "Foreign", "read_foreign", "refuse_missing_library"]

SECONDS = 300
FACTOR, LEAST = 4, 64 << 20  # tensors may take so much more than the file, and so much anyway
MEMORY = 1 << 30  # bytes for torch itself, besides those of the tensors
MAX_REPORT = 1 << 20  # bytes
MAX_LEFT_OUT = 1000  # names in a report
MAX_MEMBERS = 100_000
CHUNK = 1 << 20  # bytes
TENSORS, REPORT = "tensors.safetensors", "report.json"

ONNX = b"\x08"  # the first field, its format's version, as every exporter writes it
HDF5 = b"\x89HDF\r\n\x1a\n"
ZIP = b"PK\x03\x04"
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch's mark, pickled, before torch 1.6
TAR = (257, b"ustar")
KERAS_WEIGHTS = "model.weights.h5"

# Where programs keep the network's tensors among other things, the likeliest first.
STATES = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
REFUSED = re.compile(r"GLOBAL ([\w.]+)|[Uu]nsupported class ([\w.]+)")
NO_MEMORY = re.compile(r"alloc|out of memory", re.IGNORECASE)
STATE_DICT_ALONE = (
    "Where its code is trusted: torch.save(model.state_dict(), 'state.pth'), and convert that"
)

NEW_NAMESPACES = (0x10000000 | 0x40000000, 0x40000000)  # of users and network; of network alone
# Audit events: https://docs.python.org/3/library/audit_events.html
FORBIDDEN = (
    *("ctypes.", "ftplib.", "http.", "os.chmod", "os.chown", "os.exec", "os.fork", "os.kill"),
    *("os.link", "os.posix_spawn", "os.spawn", "os.startfile", "os.symlink", "os.system"),
    *("os.truncate", "pty.", "shutil.", "smtplib.", "socket.", "sqlite3.", "subprocess."),
    *("telnetlib.", "urllib.", "webbrowser.", "winreg.", "_winapi."),
)
CHANGING = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.utime")  # of paths
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

CHILD = """
sys.dont_write_bytecode = True
from segzoo.weights.pickles import child
child(**json.loads(sys.argv[1]))
"""
ERRORS: Mapping[str, type[SegzooError]] = {
    each.__name__: each
    for each in (UnsafeFormatError, WeightsFormatError, WeightsValueError, ResourceError)
}


class Foreign(NamedTuple):
    """What a file holds.

    sha256: of the file, in hex. kind: what it is, for a person. left_out: names of what is no
    tensor of a network. walls: what kept the process that read it from doing harm; empty for
    safetensors, which need no such process. entry: under which the tensors stand; empty for none.
    """

    tensors: "dict[str, Tensor]"
    sha256: str
    kind: str
    left_out: tuple[str, ...] = ()
    walls: tuple[str, ...] = ()
    entry: str = ""


def read_foreign(
    path: str | PathLike[str],
    *,
    begins: str = "",
    averaged: bool = False,
    seconds: float = SECONDS,
    inside: bool = False,
) -> Foreign:
    """The tensors of a file of PyTorch, Keras, ONNX or safetensors, known by its bytes.

    begins: the first hex digits of its sha256, judged before it is opened (IntegrityError).
    averaged: of a file with several states, the one whose name has "ema" in it, where there is one.
    inside: as in `segzoo.weights.safetensors.read`. seconds: how long reading may take.
    UnsafeFormatError for a file that holds more than tensors or that breaks the process which reads
    it; WeightsFormatError for one that is damaged or of another kind; WeightsValueError;
    ResourceError; DependencyMissingError. Nothing is left behind.
    """
    from segzoo.weights import safetensors as weights

    with open_within(*os.path.split(path)) if inside else open_regular(path) as file:
        before = os.fstat(file.fileno())
        head = file.read(TAR[0] + len(TAR[1]))
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        if not sha256.startswith(begins):
            raise IntegrityError(
                "its sha256 is another one",
                file=path,
                found=sha256,
                expected=f"{begins}...",
                next_step="Fetch it again",
            )
        if head[TAR[0] :] == TAR[1]:
            raise UnsafeFormatError(
                "a tar archive, as torch before 0.1.10 wrote it",
                file=path,
                expected="a file of torch.save from then on",
                next_step="Load and save it again where its code is trusted",
            )
        if not head.startswith((b"\x80", ZIP, HDF5, ONNX)) or head[8:9] == b"{":
            try:
                return Foreign(weights.read(path, sha256=sha256), sha256, "safetensors")
            except WeightsFormatError:
                if head[8:9] == b"{":
                    raise
                raise WeightsFormatError(
                    "no file of weights",
                    file=path,
                    expected="PyTorch's, Keras's, ONNX or safetensors",
                ) from None
        refuse_missing_library(head, path)
        with tempfile.TemporaryDirectory(prefix="segzoo-", ignore_cleanup_errors=True) as folder:
            report = _in_a_child(file, before.st_size, folder, path, seconds, averaged)
            if (after := os.fstat(file.fileno())) and after.st_mtime_ns != before.st_mtime_ns:
                raise WeightsFormatError("the file changed while it was read", file=path)
            try:
                tensors = weights.read(os.path.join(folder, TENSORS), inside=True)
            except SegzooError as error:
                raise _about(error, path) from None
    return Foreign(tensors, sha256, **report)


def refuse_missing_library(head: bytes, path: str | PathLike[str]) -> None:
    """DependencyMissingError where what reads a file, by its first bytes, is not installed."""
    keras = head.startswith(HDF5) or os.fspath(path).endswith(".keras")
    for needed, library, whose in (
        (keras, "h5py", "files of Keras"),
        (head.startswith(ONNX), "onnx", "ONNX files"),
    ):
        if needed and importlib.util.find_spec(library) is None:
            raise DependencyMissingError(
                f"{whose} are read with {library}, which is not installed",
                next_step="Run: pip install 'segzoo-core[convert]'",
            )


def _about(error: SegzooError, path: str | PathLike[str]) -> SegzooError:
    error.file = printable(os.fspath(path))
    return error


# --- the parent -----------------------------------------------------------------------------------


def _in_a_child(
    file: BinaryIO,
    size: int,
    folder: str,
    path: str | PathLike[str],
    seconds: float,
    averaged: bool,
) -> dict[str, Any]:
    """Let a child turn the file into TENSORS in the folder; gives its report."""
    budget = FACTOR * size + LEAST
    arguments = json.dumps({"budget": budget, "seconds": int(seconds) + 1, "averaged": averaged})
    # What an interpreter and torch's libraries need to start, and nothing that could be a secret.
    kept = ("SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {"TMPDIR": folder, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = children.run_python(
            CHILD,
            arguments,
            timeout=seconds,
            environment=environment,
            stdin=file,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
        )
    except subprocess.TimeoutExpired:
        raise UnsafeFormatError(
            f"reading it took longer than {seconds:g} s, and was ended", file=path
        ) from None
    except OSError as error:
        raise ResourceError(
            f"no process could be started to read it: {error.strerror}", file=path
        ) from None
    try:
        with open_within(folder, REPORT) as stream:  # no link to elsewhere
            raw = stream.read(MAX_REPORT + 1)
    except SegzooError:
        raise UnsafeFormatError(
            "it ended the process that read it", file=path, found=_ending(done.returncode)
        ) from None
    report = strict_json(
        raw[:MAX_REPORT], path, what="the report on it", error=UnsafeFormatError, levels=4
    )
    if kind := ERRORS.get(str(report.get("error"))):
        said = {
            key: printable(str(report.get(key, "")))[:300]
            for key in ("problem", "found", "expected", "next_step")
        }
        raise kind(said.pop("problem"), file=path, **said)
    if done.returncode or not all(_are_texts(report.get(name)) for name in ("left_out", "walls")):
        raise UnsafeFormatError(
            "it ended the process that read it", file=path, found=_ending(done.returncode)
        )
    return {
        "kind": printable(str(report.get("kind")))[:100],
        "entry": printable(str(report.get("entry")))[:200],
        "left_out": tuple(printable(item)[:200] for item in report["left_out"]),
        "walls": tuple(printable(item)[:200] for item in report["walls"]),
    }


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    import signal

    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


# --- the child ------------------------------------------------------------------------------------


def child(*, budget: int, seconds: int, averaged: bool) -> None:
    """Read stdin, write TENSORS and REPORT into the current folder: what the child process runs."""
    folder = os.path.realpath(os.getcwd())
    walls = _without_network()  # first: a process with threads cannot do it
    try:
        import torch

        from segzoo.weights import safetensors as weights

        for library in ("h5py", "onnx"):  # the walls would let in them, but not their C libraries
            with contextlib.suppress(ImportError):
                importlib.import_module(library)

        torch.set_num_threads(1)
        walls += _limit(budget, seconds)
        forbid(folder)
        walls.append("no processes, sockets or writing elsewhere, by an audit hook")
        with open(0, "rb", closefd=False) as stream:
            kind, tensors, left_out, entry = _tensors_of(stream, budget, averaged)
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        if size > budget:
            _refuse("its tensors are larger than the file allows", found=f"{size:,} bytes")
        weights.save(tensors, os.path.join(folder, TENSORS))
        report: Mapping[str, object] = {
            "kind": kind,
            "entry": entry,
            "left_out": left_out[:MAX_LEFT_OUT],
            "walls": walls,
        }
    except BaseException as error:
        report = _told(error)
    with open(os.path.join(folder, REPORT), "w", encoding="ascii") as file:
        json.dump(report, file)


def _told(error: BaseException) -> dict[str, str]:
    if type(error).__name__ in ERRORS and isinstance(error, SegzooError):
        parts = ("problem", "found", "expected", "next_step")
        return {"error": type(error).__name__} | {name: getattr(error, name) for name in parts}
    text = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, MemoryError) or NO_MEMORY.search(text):
        return {
            "error": "UnsafeFormatError",
            "problem": "reading it takes more memory than a file of its size may",
        }
    return {"error": "WeightsFormatError", "problem": "it cannot be read", "found": text}


def _refuse(problem: str, *, found: str = "", expected: str = "", next_step: str = "") -> NoReturn:
    raise UnsafeFormatError(problem, found=found[:200], expected=expected, next_step=next_step)


def _without_network() -> list[str]:
    """Leave the machine's network for an empty one, where the system lets us."""
    if not sys.platform.startswith("linux"):
        return []
    import ctypes

    unshare = getattr(ctypes.CDLL(None), "unshare", None)
    if unshare is None or all(unshare(flags) for flags in NEW_NAMESPACES):
        return []
    return ["no network, by a namespace of its own"]


def _limit(budget: int, seconds: int) -> list[str]:
    """Limits of the system, where it has them: on memory, time, files and processes."""
    try:
        import resource
    except ImportError:  # Windows
        return []
    limits = {"RLIMIT_CPU": seconds, "RLIMIT_FSIZE": budget, "RLIMIT_CORE": 0, "RLIMIT_NPROC": 0}
    with contextlib.suppress(OSError, ValueError):  # what torch's libraries map is not the file's
        with open("/proc/self/statm", encoding="ascii") as file:
            mapped = int(file.read().split()[0]) * resource.getpagesize()
        limits["RLIMIT_AS"] = mapped + 2 * budget + MEMORY
    walls = []
    for name, most in limits.items():
        with contextlib.suppress(OSError, ValueError, AttributeError):
            resource.setrlimit(getattr(resource, name), (most, most))
            walls.append(f"{name}={most}")
    return walls


def forbid(folder: str) -> None:
    """From here on, this process may not connect, start another, or write outside `folder`.

    It cannot be taken back: see sys.addaudithook.
    """

    def inside(path: object) -> bool:
        if isinstance(path, int):  # a file that is open already
            return True
        if not isinstance(path, str | bytes | PathLike):
            return False
        return os.path.dirname(os.path.abspath(os.fsdecode(path))) == folder

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = bool(set(mode) & set("wax+")) if isinstance(mode, str) else False
            if not (writes or flags & WRITING) or inside(path):
                return
        elif event in CHANGING:
            if all(map(inside, (a for a in arguments if isinstance(a, str | bytes | PathLike)))):
                return
        elif not event.startswith(FORBIDDEN):
            return
        raise PermissionError(f"{event} is not allowed here")

    sys.addaudithook(hook)


def _tensors_of(
    stream: BinaryIO, budget: int, averaged: bool
) -> "tuple[str, dict[str, Tensor], list[str], str]":
    """The kind of a file, its tensors, the names of what else is in it, and the tensors' entry."""
    head = stream.read(len(LEGACY))
    stream.seek(0)
    if head.startswith(HDF5):
        return "Keras (HDF5)", *_keras(stream, budget), ""
    if head.startswith(ONNX):
        return *_onnx(stream, budget), ""
    if head.startswith(ZIP):
        kind, weights = _judge_zip(stream, budget)
        if weights is not None:
            return kind, *_keras(io.BytesIO(weights), budget), ""
    elif head == LEGACY:
        kind = "PyTorch (before 1.6)"
    else:
        _refuse(
            "a Python pickle that torch.save did not write",
            expected="a file of torch.save",
            next_step="Ask for safetensors, or for its state_dict by torch.save",
        )
    stream.seek(0)
    return kind, *_torch(stream, averaged)


def _keras(stream: BinaryIO, budget: int) -> "tuple[dict[str, Tensor], list[str]]":
    import torch

    from segzoo.weights.keras import read_keras

    arrays, left_out = read_keras(stream, max_bytes=budget)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}, list(left_out)


def _onnx(stream: BinaryIO, budget: int) -> "tuple[str, dict[str, Tensor], list[str]]":
    import torch

    from segzoo.weights.onnx import read_onnx

    arrays, left_out, kind = read_onnx(stream, max_bytes=budget)
    return kind, {name: torch.tensor(array) for name, array in arrays.items()}, list(left_out)


def _torch(stream: BinaryIO, averaged: bool) -> "tuple[dict[str, Tensor], list[str], str]":
    import torch

    try:
        loaded = torch.load(stream, map_location="cpu", weights_only=True)
    except (MemoryError, PermissionError):
        raise
    except Exception as error:
        text = str(error)
        if found := REFUSED.search(text):
            _refuse(
                "it holds more than tensors, and could run code",
                found=found[1] or found[2],
                expected="a state_dict",
                next_step=STATE_DICT_ALONE,
            )
        if NO_MEMORY.search(text):
            raise MemoryError from error
        raise WeightsFormatError(
            "torch cannot read it: it is damaged, or cut short",
            found=" ".join(text.split())[:200] or type(error).__name__,
            next_step="Fetch it again",
        ) from error
    state, inside = _state_of(loaded, averaged)
    tensors = {name: t for name, t in state.items() if isinstance(t, torch.Tensor)}
    others = [str(name) for name in state if name not in tensors]
    if odd := [name for name in tensors if not isinstance(name, str)]:
        raise WeightsFormatError("the name of a tensor is no text", found=repr(odd[0])[:200])
    beside = [str(name) for name in loaded if name != inside] if inside else []
    return tensors, [name[:200] for name in (*beside, *others)], inside[:200]


def _state_of(loaded: Any, averaged: bool) -> tuple[Mapping[Any, Any], str]:
    """The names and tensors of a network in what was loaded, and the name they stand under.

    averaged: those of averaged weights, where there are such.
    """
    import torch

    def is_state(value: object) -> bool:
        return isinstance(value, Mapping) and any(
            isinstance(each, torch.Tensor) for each in value.values()
        )

    if is_state(loaded):
        return loaded, ""
    entries = dict(loaded) if isinstance(loaded, Mapping) else {}
    states = [name for name, value in entries.items() if is_state(value)]
    means = [name for name in states if AVERAGED.search(str(name))]
    usual = [name for name in STATES if name in states]
    names = (averaged and means) or usual[:1] or [n for n in states if n not in means] or means
    if len(names) != 1:
        have = ", ".join(map(str, entries)) or type(loaded).__name__
        raise WeightsFormatError(
            "it holds no state_dict, or several", found=have[:200], expected=", ".join(STATES)
        )
    return entries[names[0]], str(names[0])


def _judge_zip(stream: BinaryIO, budget: int) -> tuple[str, bytes | None]:
    """What kind of zip it is, and the HDF5 file in it where it is Keras's.

    UnsafeFormatError for names that lead elsewhere, for what unpacks to more than `budget` and for
    programs; WeightsFormatError for a zip that is damaged or of no known kind.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            _refuse_members(members, budget)
            names = {member.filename for member in members}
            if KERAS_WEIGHTS in names and "config.json" in names:
                with archive.open(KERAS_WEIGHTS) as file:
                    data = file.read(budget + 1)
                return "Keras (.keras)", data
            _refuse_changed(archive)
    except (UnsafeFormatError, MemoryError):
        raise
    except Exception as error:  # zipfile raises many kinds for damaged archives
        raise WeightsFormatError(
            "the zip archive is damaged, or cut short",
            found=" ".join(str(error).split())[:200] or type(error).__name__,
            next_step="Fetch it again",
        ) from error
    if any(name.endswith("/constants.pkl") for name in names):
        _refuse(
            "a TorchScript archive, which is a program",
            expected="a state_dict",
            next_step=STATE_DICT_ALONE,
        )
    if not any(name.endswith("/data.pkl") for name in names):
        raise WeightsFormatError(
            "a zip archive, but of neither torch nor Keras", found=", ".join(sorted(names))[:200]
        )
    if packed := [member.filename for member in members if member.compress_type]:
        _refuse("a member is compressed, as torch.save never does it", found=ascii(packed[0]))
    return "PyTorch", None


def _refuse_changed(archive: zipfile.ZipFile) -> None:
    """BadZipFile for a member that its checksum denies: torch reads on, and has other values.

    torch can be told to write none, which is 0.
    """
    for member in archive.infolist():
        if member.CRC and not member.compress_type:
            with archive.open(member) as file:
                while file.read(CHUNK):
                    pass


def _refuse_members(members: list[zipfile.ZipInfo], budget: int) -> None:
    faults: tuple[tuple[str, Callable[[zipfile.ZipInfo], bool]], ...] = (
        ("leads out of it", lambda m: _leads_out(m.orig_filename)),
        ("is encrypted", lambda m: bool(m.flag_bits & 1)),
        ("is a link or a device", lambda m: (m.external_attr >> 28) not in (0, 4, 8)),
    )
    for fault, has in faults:
        for member in members:
            if has(member):
                _refuse(f"a member of the zip archive {fault}", found=ascii(member.orig_filename))
    if len({member.filename for member in members}) < len(members) or len(members) > MAX_MEMBERS:
        _refuse("the zip archive has members of one name, or too many")
    total = sum(member.file_size for member in members)
    if total > budget:
        _refuse(
            "the zip archive unpacks to far more than it holds",
            found=f"{total:,} bytes",
            expected=f"at most {budget:,}",
        )


def _leads_out(name: str) -> bool:
    return (
        not name.isprintable()
        or name.startswith("/")
        or "\\" in name
        or ".." in name.split("/")
        or re.match(r"[A-Za-z]:", name) is not None
    )
