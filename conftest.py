"""What holds for every test, the core's and the plugins'.

A test sees a cache folder of its own, no settings of the person who runs it, and no network beyond
this machine. After the tests stands what a `-m` left out, by marker.
"""

import ipaddress
import itertools
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Ctrl-C means what it means in front, also where a shell runs the tests in the background.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MARKERS = ("slow", "stress", "gpu", "gradio", "browser", "site", "network", "ray")
SETTINGS = ("SEGZOO_HOME", "SEGZOO_MODELS", "SEGZOO_DISABLE")
THREADS = "1"  # sums of floats alike on every machine; tests run side by side, a core for each

LEFT_OUT = pytest.StashKey[Counter[str]]()


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders that are not there yet, beside those of the tests.

    A new folder of pytest costs a look at all that lie beside it, and each test has a home.
    """
    folder = tmp_path_factory.mktemp("segzoo-homes")
    return (folder / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def isolated(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, homes: Iterator[Path]
) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    home = next(homes)
    home.mkdir(mode=0o700)
    monkeypatch.setenv("SEGZOO_HOME", str(home))
    if request.node.get_closest_marker("network") is None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        forbid_network(monkeypatch)
    if request.node.get_closest_marker("ray") is not None and find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'segzoo-core[ray]'")
    if request.node.get_closest_marker("gpu") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("this machine has no CUDA device")


def forbid_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sockets of this process reach this machine alone."""

    def guarded(name: str) -> Any:
        original = getattr(socket.socket, name)

        def call(self: socket.socket, *args: Any) -> Any:
            address = args[-1]  # of connect(address), sendto(data, address)
            if self.family in (socket.AF_INET, socket.AF_INET6):
                refuse_strangers(address[0])
            return original(self, *args)

        return call

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, guarded(name))
    look_up = socket.getaddrinfo

    def guarded_look_up(host: str | bytes | None, *args: Any, **kwargs: Any) -> Any:
        refuse_strangers(host)
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)


def refuse_strangers(host: str | bytes | None) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    try:
        near = name in (None, "", "localhost") or ipaddress.ip_address(name or "").is_loopback
    except ValueError:  # a host's name, and not this one's
        near = False
    if not near:
        pytest.fail(f"a test without the marker 'network' asked for {name}")


def pytest_configure() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", THREADS)  # read by torch when it is imported
    # A machine that has other work makes a test slow and not wrong; speed is measured in bench/.
    settings.register_profile("segzoo", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("segzoo")


def pytest_report_header() -> str:
    from importlib.metadata import version

    return ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "pillow"))


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        counts = item.config.stash.setdefault(LEFT_OUT, Counter())
        names = [m for m in MARKERS if item.get_closest_marker(m)]
        if names:
            counts[names[0]] += 1  # a test with two markers counts once


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Of several processes, each leaves out the same: one tells it to the one that reports."""
    told = getattr(session.config, "workeroutput", None)
    if told is not None:
        told["left_out"] = dict(session.config.stash.get(LEFT_OUT, Counter()))


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_testnodedown(node: Any) -> None:
    told = getattr(node, "workeroutput", {})
    node.config.stash[LEFT_OUT] = Counter(told.get("left_out", {}))


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    counts = terminalreporter.config.stash.get(LEFT_OUT, Counter())
    if counts and terminalreporter.config.option.markexpr:
        parts = ", ".join(f"{counts[name]} {name}" for name in MARKERS if counts[name])
        terminalreporter.write_line(f"left out: {parts}; `make test-all` runs them")
