"""bench/gpu.py: its stages end in time and are told apart, and all of it runs on the CPU."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"
SCRIPT = BENCH / "gpu.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="bench/ belongs to a checkout")


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    spec = importlib.util.spec_from_file_location("bench_gpu", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("machine", None)


def python(code):
    return [sys.executable, "-S", "-c", code]


def test_the_plan_fits_into_ten_minutes_and_each_stage_is_there_once(gpu):
    assert sum(stage.seconds for stage in gpu.PLAN) <= gpu.WHOLE == 600
    assert len({stage.name for stage in gpu.PLAN}) == len(gpu.PLAN)


def test_a_stage_that_hangs_is_ended_with_what_it_started(gpu, tmp_path):
    pid = tmp_path / "pid"
    code = (
        "import subprocess, sys, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(99)'])\n"
        f"pathlib.Path({str(pid)!r}).write_text(str(child.pid))\n"
        "print('waiting', flush=True)\n"
        "child.wait()\n"
    )
    found = gpu.run(python(code), 3, tmp_path / "out.json")
    assert found["state"] == "ended after 3 s"
    assert found["last_lines"] == ["waiting"]
    child, deadline = int(pid.read_text()), time.monotonic() + 10
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(child)


def is_running(pid):
    """Whether a process is there, and not only its entry that its parent has not taken."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_stage_that_fails_says_so_and_one_that_works_gives_what_it_found(gpu, tmp_path):
    out = tmp_path / "out.json"
    failed = gpu.run(python("raise SystemExit('no such kernel')"), 60, out)
    assert failed["state"] == "failed with 1"
    assert failed["last_lines"] == ["no such kernel"]
    assert gpu.run(python("pass"), 60, out)["state"] == "failed: it wrote nothing"
    done = gpu.run(python(f"open({str(out)!r}, 'w').write('{{\"steps\": 3}}')"), 60, out)
    assert done == {"state": "done", "seconds": done["seconds"], "steps": 3}


@pytest.mark.slow
def test_without_a_card_it_says_how_to_try_it():
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("no CUDA device is there")
    assert "--dry-run" in done.stderr


@pytest.mark.slow
def test_the_dry_run_goes_through_every_stage_on_the_cpu(gpu, tmp_path):
    out = tmp_path / "gpu.json"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--dry-run", "--seconds", "600", "--out", str(out)],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=3600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(out.read_text("utf-8"))
    stages = result["stages"]
    assert result["dry_run"] is True
    assert [*stages] == [stage.name for stage in gpu.PLAN]
    assert stages["tests"]["skipped"] == stages["tests"]["tests"] > 0  # there is no card
    for model in ("u2netp", "lite0"):
        assert stages[f"train {model}"]["steps"] == 6
        assert stages[f"resume {model}"]["different"] == 0
        assert stages[f"predict {model}"]["batch 1"]["times_strict"]["strict"] == 1
        assert stages[f"step {model}"]["times_strict"] > 0
    assert result["machine"]["versions"]["torch"]
