"""Fixtures that several tests of the core share."""

import os

from hub_server.fixture import hub, hub_here
from stopped import stopped, workplace
from undrawn import undrawn

__all__ = ["hub", "hub_here", "stopped", "undrawn", "workplace"]

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # where a test imports onnxruntime itself
