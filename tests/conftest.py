"""Fixtures that several tests of the core share."""

from hub_server.fixture import hub

__all__ = ["hub"]
