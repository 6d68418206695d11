"""What there is on this machine, and what is wrong with it: plain data for `segzoo doctor`.

Nothing is downloaded, started or changed. A library or a plugin that is broken is a finding, never
an error of this module; so torch is imported late, and under a guard.
"""

import importlib
import importlib.util
import json
import os
import platform
import re
import shlex
import sys
import tomllib
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from segzoo.base import cache
from segzoo.base.cores import usable_cores
from segzoo.base.extras import PAIRED
from segzoo.base.records import Json, asdict
from segzoo.errors import UsageError, printable
from segzoo.predict.artefacts.measured import measured_here
from segzoo.zoo import installed, registry
from segzoo.zoo.registry import GROUP, SET_ASIDE, Row

__all__ = ["Finding", "StaleInstall", "examine", "stale_installs"]

CORE = "segzoo-core"
NAMESAKE = "segzoo"  # another project's distribution, which unpacks into a package of the same name
RUNTIMES = ("torch", "onnxruntime", "openvino")
# What the extras need, and the module by whose import its compiled parts show whether they work.
OPTIONAL = {
    "accelerate": "accelerate",
    "torchvision": "torchvision.transforms.v2",
    "scipy": "scipy.ndimage",
    "scikit-learn": "sklearn",
    "onnx": "onnx",
    "isal": "isal",
    "pillow-heif": "pillow_heif",
    "pycocotools": "pycocotools.mask",
    "model-signing": "model_signing",
}
# The import of these makes a folder or starts a program, which the doctor does not.
UNTOUCHED = ("datasets", "h5py", "matplotlib", "pyopenssl", "timm")
MODULES = {
    "huggingface-hub": "huggingface_hub",
    "pillow": "PIL",
    "pyyaml": "yaml",
}  # where the names differ
MINIMUM = re.compile(r"([\w.-]+)>=([\d.]+)")


class Finding(NamedTuple):
    """Something that is broken, missing for something, or worth knowing; and what to do."""

    state: Literal["broken", "missing", "note"]
    what: str
    next_step: str


class StaleInstall(NamedTuple):
    """An editable install whose pyproject.toml offers other models than its metadata."""

    distribution: str
    folder: str
    declared: dict[str, str]
    installed: dict[str, str]

    @property
    def what(self) -> str:
        names = sorted(self.declared.keys() | self.installed.keys())
        changes = [
            f"{name} = {self.declared.get(name, 'nothing')} "
            f"(installed: {self.installed.get(name, 'nothing')})"
            for name in names
            if self.declared.get(name) != self.installed.get(name)
        ]
        return (
            f"{self.distribution} was changed since it was installed; its pyproject.toml says "
            f"{', '.join(changes)}"
        )

    @property
    def next_step(self) -> str:
        return f"Run: pip install -e {shlex.quote(self.folder)}"


def examine() -> dict[str, Json]:
    """Versions, devices, runtimes, caches and plugins, and findings; JSON values throughout.

    "findings" is a list of {"state", "what", "next_step"}; something is wrong when one of them has
    the state "broken".
    """
    findings = [*_unreadable_metadata(), *_libraries(), *_extras(), *_namesake()]
    devices, no_cuda = _devices()
    caches = _caches(findings)
    rows = list(registry.rows())
    findings += _of_plugins(rows)
    findings += [Finding("note", s.what, s.next_step) for s in stale_installs()]
    return {
        "versions": {
            "python": f"{platform.python_version()} ({sys.executable})",
            "platform": _platform(),
            **{name: _version(name) for name in (CORE, *(n for n, _ in _requirements()))},
        },
        "devices": devices,
        "no_cuda": no_cuda,
        "runtimes": {name: _version(name) for name in RUNTIMES},
        "speeds": [asdict(speed) for speed in measured_here()],
        "optional": {name: _version(name) for name in (*OPTIONAL, *UNTOUCHED)},
        "caches": caches,
        "plugins": [_plugin(row) for row in rows],
        "findings": [finding._asdict() for finding in findings],
    }


def stale_installs() -> list[StaleInstall]:
    """Editable installs that `pip install -e` has to be run for again."""
    found = []
    for distribution in metadata.distributions():
        try:
            folder = _source(distribution)
            if folder is None:
                continue
            with open(folder / "pyproject.toml", "rb") as file:
                project = tomllib.load(file)["project"]
            declared = dict(project.get("entry-points", {}).get(GROUP, {}))
            installed = {e.name: e.value for e in distribution.entry_points if e.group == GROUP}
            name = distribution.metadata["Name"]
        except Exception:  # not a project, or damaged: others are to say so
            continue
        if declared != installed:
            found.append(StaleInstall(name, str(folder), declared, installed))
    return found


def _source(distribution: metadata.Distribution) -> Path | None:
    """The folder that an editable install points to, as pip notes it in direct_url.json."""
    noted = json.loads(distribution.read_text("direct_url.json") or "{}")
    if not noted.get("dir_info", {}).get("editable"):
        return None
    return Path(unquote(urlsplit(noted["url"]).path))


def _platform() -> str:
    """System, machine and C library; platform.platform() starts a process to tell the same."""
    libc = "".join(platform.libc_ver())
    return " ".join(filter(None, (platform.system(), platform.release(), platform.machine(), libc)))


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _requirements() -> Iterator[tuple[str, str]]:
    """What the core cannot do without: distributions and their lowest versions."""
    for requirement in metadata.requires(CORE) or ():
        if match := MINIMUM.fullmatch(requirement):
            yield match[1], match[2]


def _libraries() -> Iterator[Finding]:
    """What of the core's own libraries is missing, too old or broken."""
    for name, minimum in _requirements():
        version = _version(name)
        if version is None:
            yield Finding("broken", f"{name} is not installed", f"Run: pip install {name}")
            continue
        if _numbers(version) < _numbers(minimum):
            next_step = f"Run: pip install --upgrade {name}"
            yield Finding("broken", f"{name} {version} is older than {minimum}", next_step)
        if cause := _broken(MODULES.get(name, name)):
            what = f"{name} {version} cannot be imported: {cause}"
            yield Finding("broken", what, f"Run: pip install --force-reinstall {name}")


def _extras() -> Iterator[Finding]:
    """What of the extras is installed and broken; of torchvision, beside which torch.

    What fails for torch's own fault is not told: that is (`_libraries`).
    """
    torchs_own = _broken("torch")
    for name, module in OPTIONAL.items():
        version = _version(name)
        if version is None or (cause := _broken(module)) in ("", torchs_own):
            continue
        what, both = f"{name} {version} cannot be imported: {cause}", name
        if name in PAIRED:
            what, both = f"{what}; torch is {_version('torch')}", "torch torchvision"
        yield Finding("broken", what, f"Run: pip install --force-reinstall {both}")


def _broken(module: str) -> str:
    """Why a module cannot be imported; "" where it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return registry.cause(error)
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    """The release of a version: "2.13.0+cpu" -> (2, 13, 0)."""
    return tuple(int(n) for n in re.split(r"[^\d.]", version)[0].split(".") if n)


def _unreadable_metadata() -> Iterator[Finding]:
    """Distributions whose entry points Python cannot read: `import torch` fails for one of them."""
    for distribution in metadata.distributions():
        try:
            distribution.entry_points  # noqa: B018  # it is read when it is asked for
        except Exception as error:
            folder = printable(str(getattr(distribution, "_path", "a distribution")))
            what = f"{folder}: its entry points cannot be read: {registry.cause(error)}"
            yield Finding("broken", what, "Uninstall that distribution, or mend entry_points.txt")


def _namesake() -> Iterator[Finding]:
    version = _version(NAMESAKE)
    if version is not None:
        yield Finding(
            "broken",
            f"the distribution 'segzoo' {version} is another project, for genome annotation, and "
            "writes into the same folder",
            f"Run: pip uninstall -y segzoo && pip install --force-reinstall --no-deps {CORE}",
        )


def _devices() -> tuple[list[dict[str, Json]], str]:
    """The processor and every accelerator that torch can use, and why CUDA is not among them."""
    cpu: dict[str, Json] = {
        "device": "cpu",
        "name": platform.machine(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
    }
    try:
        import torch

        from segzoo.predict.runtimes.torch import devices

        found, no_cuda = devices()
    except KeyboardInterrupt:
        raise
    except BaseException:  # told by `_libraries`
        return [cpu], "torch cannot be imported"
    cpu["threads"] = torch.get_num_threads()
    accelerators: list[dict[str, Json]] = []
    for device in found:
        if device.startswith("cuda"):
            properties = torch.cuda.get_device_properties(device)
            memory = properties.total_memory
            accelerators.append({"device": device, "name": properties.name, "memory": memory})
        elif device == "mps":
            accelerators.append({"device": device, "name": "Apple GPU"})
    return [*accelerators, cpu], no_cuda


def _caches(findings: list[Finding]) -> list[dict[str, Json]]:
    """What is kept between runs: where, and how many bytes."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    hub = os.environ.get("HF_HOME") or os.path.join(base, "huggingface")
    hub = os.environ.get("HF_HUB_CACHE") or os.path.join(hub, "hub")
    folders = {"Hugging Face Hub": os.path.expanduser(hub)}
    try:
        folders = {"segzoo": str(cache.home()), **folders}
    except UsageError as error:
        what = f"{error.file}: {error.problem}" if error.file else error.problem
        findings.append(Finding("broken", what, error.next_step))
    return [
        {"name": name, "path": path, "exists": os.path.isdir(path), "bytes": _size(path)}
        for name, path in folders.items()
    ]


def _size(folder: str) -> int:
    """Bytes of the files under a folder; links are not followed, what cannot be read is 0."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except OSError:
                continue
    return total


def _plugin(row: Row) -> dict[str, Json]:
    return {
        "model": row.entry.name,
        "plugin": row.entry.distribution,
        "version": row.entry.version,
        "state": _state(row),
        "seconds": round(row.seconds, 3),
        "problem": row.problem,
    }


def _state(row: Row) -> str:
    if row.spec is not None:
        return "note" if row.problem else "ok"
    return "set aside" if row.entry.problem == SET_ASIDE else "broken"


def _of_plugins(rows: list[Row]) -> Iterator[Finding]:
    """Models that cannot be used, or have something to be said of; libraries that they lack."""
    for row in rows:
        name, check = row.entry.full_name, f"Run: segzoo check {row.entry.full_name}"
        state = _state(row)
        if state == "broken":
            yield Finding("broken", f"{name}: {row.problem}", check)
        elif state == "note":
            yield Finding("note", f"{name}: {row.problem}", check)
        for module, requirement in installed.missing(row.spec.requires).items() if row.spec else ():
            yield Finding("missing", f"{module}, for {name}", f"Run: pip install '{requirement}'")
    if not rows:
        next_step = f"Run: pip install '{CORE}[all]'"
        yield Finding("missing", "no plugin is installed, so there is no model", next_step)
