"""Bad requests in the numbers that a hostile client would send, and no connection that goes out.

`test_serve.py` has the same rows in numbers that take no time.
"""

import contextlib
import os
import statistics
import struct
import time
import zlib
from collections import Counter

import pytest
from serving import SUPPORT, png, running, saved_moody

pytestmark = pytest.mark.slow  # a server of its own, asked thousands of times

# In every process of the server: where it connects to, or asks for the address of.
WATCH = """
import os, sys

def hook(event, args):
    if event in ("socket.connect", "socket.sendto"):
        said = args[1]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        said = args[0]
    else:
        return
    handle = os.open(os.environ["WATCHED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{event} {said!r}\\n".encode())
    os.close(handle)

sys.addaudithook(hook)
"""
HEAD = (
    b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    return tmp_path_factory.mktemp("watched") / "lines"


@pytest.fixture(scope="module")
def server(tmp_path_factory, watched):
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(WATCH)
    path = os.pathsep.join([str(site), str(SUPPORT)])
    with pytest.MonkeyPatch.context() as patch:
        folder = saved_moody(tmp_path_factory.mktemp("saved") / "moody", patch)
    home = tmp_path_factory.mktemp("home")
    environment = {"PYTHONPATH": path, "WATCHED": str(watched)}
    with running({"moody": folder}, home, environment=environment) as found:
        assert found.predict(png()).status == 200
        yield found
        assert found.metric("segzoo_worker_restarts_total") == 0


def post(body, kind=b"image/png"):
    return HEAD % (kind, len(body)) + body


def answers(server, requests):
    """The statuses of requests that are all sent before any answer is read; 0 for none."""
    with contextlib.ExitStack() as stack:
        connections = []
        for request in requests:
            connections.append(stack.enter_context(server.connect()))
            with contextlib.suppress(ConnectionError):
                connections[-1].sendall(request)
        said = []
        for connection in connections:
            with contextlib.suppress(ConnectionError):
                said.append(connection.recv(4096))
    return Counter(int(line[9:12] or 0) for line in said)


def seconds(server, count=20):
    took = []
    for _ in range(count):
        began = time.monotonic()
        assert server.predict(png()).status == 200
        took.append(time.monotonic() - began)
    return statistics.median(took)


def test_s2_a_thousand_idle_connections_and_slow_ones(server):
    alone = seconds(server)
    with contextlib.ExitStack() as stack:
        for n in range(1000):
            connection = stack.enter_context(server.connect())
            if n % 10 == 0:
                connection.sendall(b"GET /health HT")
            elif n % 10 == 1:
                connection.sendall(post(bytes(1000))[:-900])
        assert seconds(server) < 2 * alone + 0.1
        assert server.ask("/health").status == 200


def test_s3_a_hundred_thousand_parts_and_a_million_fields(server):
    before = server.peak_bytes()
    part = b'--edge\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
    parts = post(part * 100_000 + b"--edge--\r\n", b"multipart/form-data; boundary=edge")
    fields = post(b"a=1&" * 1_000_000, b"application/x-www-form-urlencoded")
    assert answers(server, [parts]) == {400: 1}
    assert answers(server, [fields]) == {415: 1}
    assert server.peak_bytes() - before < 32 << 20


def test_s5_a_thousand_bombs_at_once(server):
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(50_000_000))
    bomb = b"\x89PNG\r\n\x1a\n"
    for chunk in (header, data):
        bomb += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    assert 40_000 < len(bomb) < 60_000
    before = server.metric("segzoo_worker_resident_bytes")
    said = answers(server, [post(bomb)] * 1000)
    assert said.keys() <= {413, 503} and said[413] > 0
    assert server.metric("segzoo_worker_resident_bytes") - before < 64 << 20
    assert server.predict(png()).status == 200


def test_s7_five_hundred_pictures_at_once(server):
    said = answers(server, [post(png())] * 500)
    assert said.keys() <= {200, 503} and said[200] > 0
    assert said.total() == 500
    assert server.predict(png()).status == 200


def test_s6_no_connection_goes_out(server, watched):
    """The last test here: what it says is of all that was asked before."""
    for query in ("?url=http://169.254.169.254/", "?file=http://127.0.0.1:1/"):
        assert server.predict(png(), query).status == 422
    picture = (
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://169.254.169.254/"/></svg>'
    )
    assert server.predict(picture).status == 422
    lines = watched.read_text().splitlines()
    assert lines  # the hook is there: the server asked for the address that it listens at
    assert [line for line in lines if "127.0.0.1" not in line and " '/" not in line] == []
