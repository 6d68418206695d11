"""How far each runtime is from torch, for every model: `make matrix`.

    python bench/matrix.py [--models u2netp lite0] [--anew] [--page]

Of each model, with its default options, the network is exported once and run on pictures of three
sizes, two of them no squares, in onnxruntime in float32, and in OpenVINO in float32 and bfloat16;
in int8 where weights come with it. What is kept is the largest difference of probabilities from
torch; where that is above the limit in float32, of the runtime and of torch itself from torch in
float64. Values are those of the default weights where these come with a plugin, else random ones.

Each model is a process of its own, and a file in bench/results/matrix/, written when it is done:
one that is there is not measured again, but with --anew or by other versions. From these files
docs/matrix.md is written, each time; --page does that alone. Models are taken by their
multiply-adds, the smallest first.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
KEPT = Path(__file__).parent / "results" / "matrix"
PAGE = ROOT / "docs" / "matrix.md"
LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime", "openvino")
WAYS = (
    ("onnxruntime", "fp32"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("onnxruntime", "int8"),
    ("openvino", "int8"),
)
LIMIT = 1800  # seconds for one model

COLUMNS = (
    "onnxruntime fp32",
    "OpenVINO fp32",
    "OpenVINO bf16",
    "onnxruntime int8",
    "OpenVINO int8",
)
HEAD = f"""\
# Runtimes and models

How far each [runtime](runtimes.md) is from torch, written by `make matrix` from
`bench/results/matrix`: the largest difference of probabilities over pictures of 1x1, of 96x160 (two
at once) and of 250x203, as the network sees them. A model of one size sees all of them at that
size. Wanted are 0.0001 in fp32 and 0.01 in bf16. Where more is found in fp32, it is how far the
runtime is from torch in float64, and in brackets how far torch itself is from that in float32:
twice as much is taken for [rounding](runtimes.md#where-logits-are-large). What is above stands in
bold, and is not used by segzoo, in bf16 but where
[little is lost on data](runtimes.md#precision). int8 is judged by that alone. How near bfloat16 is
depends on the values too, not on the network alone.

| model | values | {" | ".join(COLUMNS)} |
|---|---|---:|---:|---:|---:|---:|
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--anew", action="store_true")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        measure(args.one)
        return
    for name in () if args.page else args.models or models():
        kept = row_of(name)
        if kept is not None and kept["versions"] == versions() and not args.anew:
            continue
        started = time.monotonic()
        command = [sys.executable, __file__, "--one", name]
        try:
            done = subprocess.run(command, timeout=LIMIT, check=False).returncode
        except subprocess.TimeoutExpired:
            done = -1
        print(f"{name}: {'done' if done == 0 else done} in {time.monotonic() - started:.0f} s")
        PAGE.write_text(page(), "utf-8")
    PAGE.write_text(page(), "utf-8")


def models() -> list[str]:
    """Every model of the zoo, the one with the fewest multiply-adds first."""
    import segzoo
    from segzoo.model.origin import find_spec

    return sorted(segzoo.list_models(), key=lambda name: (find_spec(name)[1].macs or 1 << 40, name))


def versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in LIBRARIES}


def row_of(name: str) -> Any:
    """What is kept of a model; None for nothing."""
    file = KEPT / f"{name}.json"
    return json.loads(file.read_text("utf-8")) if file.is_file() else None


def measure(name: str) -> None:
    """Compare a model's network in each runtime with torch, and keep what was found."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
    import machine
    import numpy as np
    import torch

    import segzoo
    from segzoo.errors import SegzooError
    from segzoo.model import origin
    from segzoo.predict.artefacts import ready, shipped
    from segzoo.predict.artefacts.export import to_onnx
    from segzoo.predict.artefacts.parity import TOLERANCE, compare, example
    from segzoo.predict.runtimes.torch import TorchRuntime, in_float64

    torch.set_num_threads(1)
    here = machine.describe()
    _, spec = origin.find_spec(name)
    tag = spec.default_weights or ""
    embedded = spec.weights[tag] if tag and spec.weights[tag].bundled else None
    model = segzoo.load(f"{name}.{tag}") if embedded else segzoo.load(name, seed=0)
    row: dict[str, Any] = {
        "model": name,
        "values": f"{name}.{tag}" if embedded else "random",
        "size": model.preprocess.size,
        "versions": versions(),
        "machine": {key: here[key] for key in ("date", "processor", "load_average")},
        "found": {},
    }
    settings: dict[str, Any] = {
        "preprocess": model.preprocess,
        "postprocess": model.postprocess,
        "in_channels": model.in_channels,
    }
    eight = embedded.graphs.get("int8") if embedded else None
    try:
        x = example(model.preprocess, model.in_channels)
        graph = to_onnx(model.network, x, any_size=model.preprocess.size is None, model=name)
    except SegzooError as error:
        row["cannot"] = " ".join(str(error).split())
    else:
        for runtime, precision in WAYS:
            if precision == "int8" and eight is None:
                continue
            content = graph
            if precision == "int8" and eight is not None:
                file = origin.bundled_file(eight.bundled)
                content = shipped.shipped_graph(shipped.Shipped(file, eight.sha256))
            try:
                runs = ready.started(runtime, precision, partial(bytes, content))
                exact = partial(in_float64, model.network) if precision == "fp32" else None
                cases = compare(TorchRuntime(model.network), runs, exact=exact, **settings)
            except SegzooError as error:
                found: Mapping[str, Any] = {"cannot": " ".join(str(error).split())}
            else:
                found = {
                    "difference": float(np.max([case.difference for case in cases])),
                    "rounding": max(case.rounding for case in cases),
                    "within": all(case.within(TOLERANCE[precision]) for case in cases),
                    "cases": [[*case.shape, case.difference, case.rounding] for case in cases],
                }
            row["found"][f"{runtime} {precision}"] = found
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"{name}.json").write_text(json.dumps(row, indent=2) + "\n", "utf-8")


def page() -> str:
    """docs/matrix.md, of what is kept."""
    lines, reasons = [], []
    for name in sorted(models()):
        row = row_of(name)
        if row is None:
            lines.append(f"| `{name}` | not measured yet | | | | | |")
            continue
        cells = [cell(row["found"].get(f"{r} {p}"), p) for r, p in WAYS]
        if "cannot" in row:
            reasons.append(f"- `{name}`: {row['cannot']}")
        reasons += [
            f"- `{name}` in {way}: {found['cannot']}"
            for way, found in row["found"].items()
            if "cannot" in found
        ]
        values = row["values"] if row["values"] == "random" else f"`{row['values']}`"
        lines.append(f"| `{name}` | {values} | {' | '.join(cells)} |")
    text = HEAD + "\n".join(lines) + "\n"
    if reasons:
        text += "\n## What cannot be run, and why\n\n" + "\n".join(reasons) + "\n"
    return text


def cell(found: Any, precision: str) -> str:
    if found is None:
        return ""
    if "cannot" in found:
        return "cannot"
    difference, rounding = found["difference"], found.get("rounding", 0.0)
    limit = {"fp32": 1e-4, "bf16": 1e-2}.get(precision)
    text = short(difference) + (f" ({short(rounding)})" if rounding else "")
    within = found.get("within", limit is None or difference <= limit)
    return text if within or limit is None else f"**{text}**"


def short(difference: float) -> str:
    return f"{difference:.1g}" if difference < 0.1 else f"{difference:.2f}"


if __name__ == "__main__":
    main()
