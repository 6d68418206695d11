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
    """The server as the Hub of this process, which keeps what it gets below tmp_path."""
    for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING"))]:
        monkeypatch.delenv(name)
    for name, value in hub.settings(tmp_path).items():
        monkeypatch.setenv(name, value)
    yield hub
    from huggingface_hub import close_session

    close_session()
