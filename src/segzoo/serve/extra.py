"""Whether what a server needs is installed."""

from segzoo.base.extras import imported

__all__ = ["need_libraries"]


def need_libraries() -> None:
    """DependencyMissingError, with the line that installs them, where one is missing."""
    imported("starlette", needed="the server needs starlette", extra="serve")
    imported("uvicorn", needed="the server needs uvicorn", extra="serve")
    imported("python_multipart", needed="the server needs python-multipart", extra="serve")
    imported("prometheus_client", needed="the server needs prometheus-client", extra="serve")
