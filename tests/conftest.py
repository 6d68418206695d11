"""Fixtures that several tests of the core share."""

from hub_server.fixture import hub, hub_here

__all__ = ["hub", "hub_here"]
