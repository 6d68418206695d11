"""What conftest.py promises of every test."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
STRANGER = "192.0.2.1"  # an address for documentation (RFC 5737) that nobody has


def test_a_test_has_a_cache_folder_of_its_own(tmp_path_factory):
    home = Path(os.environ["SEGZOO_HOME"])
    assert home.is_relative_to(tmp_path_factory.getbasetemp())
    assert list(home.iterdir()) == []


def test_a_test_sees_no_settings_of_a_person():
    assert "SEGZOO_MODELS" not in os.environ
    assert "SEGZOO_DISABLE" not in os.environ
    assert os.environ["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(
    "call",
    [
        lambda: socket.create_connection((STRANGER, 80), timeout=1),
        lambda: socket.socket().connect((STRANGER, 80)),
        lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"", (STRANGER, 53)),
        lambda: socket.getaddrinfo(STRANGER, 80),
        lambda: socket.getaddrinfo(b"example.org", 80),
    ],
)
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_the_network_is_forbidden(call):
    with pytest.raises(pytest.fail.Exception, match="without the marker 'network' asked for"):
        call()


def test_this_machine_is_not_the_network():
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(("localhost", server.getsockname()[1]), timeout=5) as client:
            assert client.getpeername()[0] == "127.0.0.1"


@pytest.fixture
def project(tmp_path):
    """Runs pytest with our conftest.py on a few marked tests; gives what it printed."""
    shutil.copy(CONFTEST, tmp_path)
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "def test_quick(): pass\n"
        "@pytest.mark.parametrize('n', range(3))\n"
        "@pytest.mark.slow\n"
        "def test_slow(n): pass\n"
        "@pytest.mark.slow\n"
        "@pytest.mark.gpu\n"
        "def test_slow_on_a_gpu(): pass\n"
        "@pytest.mark.network\n"
        "def test_far(): pass\n"
    )
    names = ("slow", "stress", "gpu", "browser", "site", "network")
    markers = "".join(f"  {name}: as such\n" for name in names)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\nmarkers =\n{markers}")

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "pytest", *arguments],
            cwd=tmp_path,
            env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout

    return run


def test_what_is_left_out_is_named_and_counted(project):
    quick = "not slow and not stress and not gpu and not browser and not site and not network"
    *_, left_out, closing = project("-m", quick).splitlines()
    assert left_out == "left out: 4 slow, 1 network; `make test-all` runs them"
    assert "1 passed, 5 deselected" in closing


def test_without_a_gpu_its_tests_are_skipped_with_the_reason(project):
    printed = project("-rs")
    assert "this machine has no CUDA device" in printed
    assert "5 passed, 1 skipped" in printed.splitlines()[-1]
    assert "left out" not in printed
