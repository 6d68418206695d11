"""Fixtures that several tests of the core share."""

from hub_server.fixture import hub, hub_here
from stopped import stopped, workplace

__all__ = ["hub", "hub_here", "stopped", "workplace"]
