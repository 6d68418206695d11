"""The fixtures `hub`, a server of its own for each test that asks for one, and `hub_here`."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server.server import Hub


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def hub_here(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The server as the Hub of this process, which keeps what it gets below tmp_path.

    The client reads its settings when it is imported, and another test may have done that. What it
    kept of them is set to what it would read now.
    """
    for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING"))]:
        monkeypatch.delenv(name)
    for name, value in hub.settings(tmp_path).items():
        monkeypatch.setenv(name, value)
    from huggingface_hub import close_session, constants

    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    agents = str(tmp_path / "agents.json")
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", agents, raising=False)  # since 1.x
    close_session()
    yield hub
    close_session()
