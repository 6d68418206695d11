"""The fixture `hub`: a server of its own for each test that asks for one."""

from collections.abc import Iterator

import pytest
from hub_server.server import Hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    # What the client reads of the environment when it is imported, which may have been before.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    server = Hub()
    try:
        yield server
    finally:
        server.close()
