"""The server keeps what it says of itself, by schemathesis on its own OpenAPI."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from serving import running, saved_moody

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("schemathesis") is None, reason="schemathesis is not installed"),
]


def test_schemathesis_finds_nothing(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        folder = saved_moody(tmp_path / "moody", patch)
    with running({"moody": folder, "other": folder}, tmp_path / "home") as server:
        found = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")),
                "run",
                f"http://127.0.0.1:{server.port}/openapi.json",
                "--max-examples=25",
                "--seed=1",
                # Bytes that no schema can tell from a picture are refused for not being one.
                "--exclude-checks=positive_data_acceptance",
            ],
            capture_output=True,
            text=True,
            timeout=900,
            cwd=tmp_path,
        )
    assert found.returncode == 0, found.stdout[-6000:]
