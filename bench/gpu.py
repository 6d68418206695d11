"""Everything that wants a CUDA card, in under ten minutes, each stage with a time limit of its own.

    python bench/gpu.py [--device cuda] [--only NAME ...] [--out FILE]
    python bench/gpu.py --dry-run

The stages are those of `gpu_stages.py`: the tests marked gpu; u2netp and lite0 trained and measured
in bfloat16 on pictures that are drawn here; a deterministic training that is stopped and goes on to
the same bits; prediction at batches of 1 and 64 and training steps, beside plain PyTorch in strict
float32, with the share of the card's limit. Each is a process of its own: one that fails or hangs
is ended with all that it started, told, and the next one begins. The result is written after each
stage, to bench/results/gpu.json. It ends with 1 when a stage has failed.

--dry-run goes the same way on the CPU with tiny sizes: it shows that the script works, and its
figures mean nothing. They are written only where --out says.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import machine

STAGES = Path(__file__).with_name("gpu_stages.py")
WHOLE = 600  # seconds, of all stages together
LINES = 15  # of what a stage that failed has said


class Stage(NamedTuple):
    """name: which one. arguments: of gpu_stages.py. seconds: after which it is ended."""

    name: str
    arguments: tuple[str, ...]
    seconds: int


# What tells most for its time comes first; the sum is what the whole may take.
PLAN = (
    Stage("tests", ("tests",), 120),
    Stage("train u2netp", ("train", "u2netp"), 75),
    Stage("train lite0", ("train", "lite0"), 60),
    Stage("resume u2netp", ("resume", "u2netp"), 60),
    Stage("resume lite0", ("resume", "lite0"), 45),
    Stage("predict u2netp", ("predict", "u2netp"), 60),
    Stage("predict lite0", ("predict", "lite0"), 50),
    Stage("step u2netp", ("step", "u2netp"), 65),
    Stage("step lite0", ("step", "lite0"), 55),
)


def run(command: Sequence[str], seconds: float, out: Path) -> dict[str, Any]:
    """What a stage wrote to `out`, with its "state": done, failed, or ended after its seconds."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(seconds)
            state = "done" if code == 0 else f"failed with {code}"
        except subprocess.TimeoutExpired:
            state = f"ended after {seconds:g} s"
        finally:
            _end(process)
        said.seek(0)
        lines = said.read().decode(errors="replace").splitlines()
    found: dict[str, Any] = json.loads(out.read_text("utf-8")) if out.exists() else {}
    if state == "done" and not found:
        state = "failed: it wrote nothing"
    told = {} if state == "done" else {"last_lines": lines[-LINES:]}
    return {"state": state, "seconds": round(time.perf_counter() - start, 1)} | found | told


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a stage with the processes that it started, which are a group of their own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def measured(stages: Sequence[Stage], args: argparse.Namespace, here: dict[str, Any]) -> bool:
    """Run the stages, and write the result after each. Whether all of them were done."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, stage in enumerate(stages):
            out = Path(folder) / f"{number}.json"
            command = [sys.executable, str(STAGES), *stage.arguments]
            command += ["--device", args.device, "--out", str(out)]
            command += ["--tiny"] * args.dry_run
            found = run(command, args.seconds or stage.seconds, out)
            results[stage.name] = found
            print(f"\n{stage.name}: {found['state']}, {found['seconds']} s", flush=True)
            for name, value in found.items():
                if name not in ("state", "seconds"):
                    _show(name, value)
            _save({"dry_run": args.dry_run, "stages": results}, args.out, here)
    return all(found["state"] == "done" for found in results.values())


def _show(name: str, value: Any) -> None:
    if isinstance(value, dict):
        for inner, each in value.items():
            _show(f"{name}, {inner}", each)
    elif name == "last_lines":
        print("\n".join(f"  | {line}" for line in value))
    else:
        print(f"  {name.replace('_', ' ')}: {value}")


def _save(result: dict[str, Any], out: Path | None, here: dict[str, Any]) -> None:
    if out is not None:
        out.write_text(json.dumps({"machine": here} | result, indent=2) + "\n", "utf-8")
    elif not result["dry_run"]:
        machine.save("gpu", result, machine=here)


def _card(device: str) -> dict[str, Any]:
    """What the card is; SystemExit with the reason where there is none."""
    import torch

    if device == "cpu":
        return {}
    if not torch.cuda.is_available():
        raise SystemExit(
            f"no CUDA device is there (torch {torch.__version__}). "
            "To try the script itself on the CPU: python bench/gpu.py --dry-run"
        )
    about = torch.cuda.get_device_properties(device)
    return {
        "card": about.name,
        "card_memory_gib": round(about.total_memory / 2**30, 1),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes, on the CPU")
    parser.add_argument("--only", nargs="+", choices=[s.name for s in PLAN], metavar="NAME")
    parser.add_argument("--seconds", type=float, help="of each stage, instead of its own limit")
    parser.add_argument("--out", type=Path, help="instead of bench/results/gpu.json")
    args = parser.parse_args()
    args.device = "cpu" if args.dry_run else args.device
    stages = [stage for stage in PLAN if args.only is None or stage.name in args.only]
    here = machine.describe() | _card(args.device)
    place = here.get("card", "a rehearsal on the CPU, whose figures mean nothing")
    print(f"{place}; torch {here['versions']['torch']}")
    start = time.perf_counter()
    fine = measured(stages, args, here)
    print(f"\n{time.perf_counter() - start:.0f} s in all")
    raise SystemExit(0 if fine else 1)


if __name__ == "__main__":
    main()
