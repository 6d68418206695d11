"""The fixture `hub`: a server of its own for each test that asks for one."""

from collections.abc import Iterator

import pytest
from hub_server.server import Hub


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    try:
        yield server
    finally:
        server.close()
