"""What a measurement was made on, and where its result is written. Every bench script uses it."""

import json
import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
DISTRIBUTIONS = (
    "segzoo-core",
    "torch",
    "onnxruntime",
    "openvino",
    "isal",
    "ray",
    "rembg",
    "numpy",
    "pillow",
    "safetensors",
    "typer",
    "rich",
    "timm",
    "segmentation-models-pytorch",
    "scikit-image",
    "scipy",
    "pymatting",
    "numba",
)


def describe() -> dict[str, Any]:
    """The machine, its load at this moment, and the versions of what was measured."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(_memory() / 2**30, 1),
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in DISTRIBUTIONS},
    }


def sources(checkout: Path) -> str:
    """A PYTHONPATH to the code of a checkout: of segzoo, and of the plugins that came with it."""
    folders = [checkout / "src", *sorted(checkout.glob("plugins/*/src"))]
    return os.pathsep.join(str(folder.resolve()) for folder in folders)


def save(name: str, result: dict[str, Any], *, machine: dict[str, Any]) -> Path:
    """Write bench/results/NAME.json. machine: `describe()` as it was before the measurement.

    Of a path on this machine its last part is kept.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    given = (Path(word).name if os.path.isabs(word) else word for word in sys.argv[1:])
    command = " ".join(["python", f"bench/{Path(sys.argv[0]).name}", *given])
    text = json.dumps({"command": command, "machine": machine} | result, indent=2)
    path.write_text(text + "\n", "utf-8")
    return path


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
