"""Fixtures that several tests of the core share."""

from hub_server.fixture import hub, hub_here
from stopped import stopped, workplace
from undrawn import undrawn

__all__ = ["hub", "hub_here", "stopped", "undrawn", "workplace"]
