"""A Hub on loopback that an unpatched huggingface_hub client takes for the real one.

Two addresses: the Hub itself, and the storage that files of LFS are redirected to. The storage
refuses a request that carries a token, as signed addresses do; so a token that leaks is seen.
"""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from hub_server.access import Reply, Request
from hub_server.api import answer
from hub_server.faults import DRIPS, Fault
from hub_server.store import File, Refusal, Repo, User, claimed, goes_to_lfs, new_repo

CHUNK = 2**16


class Hub:
    """A running server. Its state may be read and changed while it runs.

    `token` writes as alice, `read_token` only reads as her, `other_token` is bob's; more can be put
    into `users`. `requests` has (method, path) of each request in the order of their coming.
    """

    token = "hf_alice_writes"
    read_token = "hf_alice_reads"
    other_token = "hf_bob_writes"

    def __init__(self) -> None:
        self.users = {
            self.token: User("alice"),
            self.read_token: User("alice", write=False),
            self.other_token: User("bob"),
        }
        self.repos: dict[str, Repo] = {}
        self.datasets: dict[str, dict[str, bytes]] = {}  # files by name; all at one commit
        self.benchmarks: set[str] = set()  # the data sets that are registered as such
        self.requests: list[tuple[str, str]] = []
        self.faults: list[Fault] = []
        self.failures: list[str] = []  # tracebacks of the server's own mistakes
        self.page = 1000  # entries in one answer of a listing
        self.lock = threading.RLock()
        self.closing = threading.Event()
        self._servers = [Server(self), Server(self)]
        self.url, self.storage = (f"http://127.0.0.1:{s.server_port}" for s in self._servers)
        serving = [server.serve_forever for server in self._servers]
        self._threads = [threading.Thread(target=each, args=(0.02,)) for each in serving]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End all connections, also those that a fault holds open."""
        self.closing.set()
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            thread.join()
            server.hang_up()
            server.server_close()  # waits for the threads of its connections
        assert not self.failures, "\n".join(self.failures)

    def settings(self, home: Path, *, token: str | None = token) -> dict[str, str]:
        """The environment variables that lead a client here, with caches below `home`."""
        found = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home / "huggingface"),
            "SEGZOO_HOME": str(home / "segzoo"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        return found | ({} if token is None else {"HF_TOKEN": token})

    def environment(self, home: Path, *, token: str | None = token) -> dict[str, str]:
        """The whole environment of a subprocess: this one's, with these settings of the client."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        return kept | self.settings(home, token=token)

    def run(
        self, code: str, home: Path, *, token: str | None = token, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run Python code in a process of its own that sees this server as the Hub."""
        environment = self.environment(home, token=token) | more
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    def add(self, name: str, files: Mapping[str, bytes], *, title: str = "Add files") -> str:
        """Commit files to main without HTTP, whatever their names; gives the commit's id."""
        repo = self.repos.setdefault(name, new_repo(name))
        put = {
            path: repo.put(content, lfs=goes_to_lfs(path, content, len(content)))
            for path, content in files.items()
        }
        return self._commit(repo, put, title)

    def claim(self, name: str, sizes: Mapping[str, int]) -> str:
        """Commit names of LFS files with sizes, but nothing that they could be served from."""
        repo = self.repos.setdefault(name, new_repo(name))
        of = {
            size: claimed(hashlib.sha256(str(size).encode()).hexdigest(), size)
            for size in set(sizes.values())
        }
        return self._commit(repo, {path: of[size] for path, size in sizes.items()}, "Claim files")

    def _commit(self, repo: Repo, files: Mapping[str, File], title: str) -> str:
        with self.lock:
            head = repo.head
            commit = repo.commit(
                {**head.files, **files}, title=title, author=repo.owner, parent=head.oid
            )
            repo.branches["main"] = commit.oid
            return commit.oid


class Server(ThreadingHTTPServer):
    request_queue_size = 64  # connections that may wait at once
    daemon_threads = False  # so that server_close waits for them

    def __init__(self, hub: Hub) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.hub = hub
        self.connections: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # it has ended by itself
                pass

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may leave when it likes
            self.hub.failures.append(traceback.format_exc())


class Handler(BaseHTTPRequestHandler):
    """One connection: reads requests, has them answered, and plays the faults."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes
    server: Server

    def handle_one(self) -> None:
        hub = self.server.hub
        address = urlsplit(self.path)
        hub.requests.append((self.command, address.path))
        fault = self.fault(address.path)
        body = self.body(fault.cut_upload)
        if body is None:
            self.close_connection = True
            return
        request = Request(
            self.command,
            address.path,
            parse_qs(address.query, keep_blank_values=True),
            {k.lower(): v for k, v in self.headers.items()},
            body,
            self.server is hub._servers[1],
        )
        if fault.status is None or fault.late:
            try:
                with hub.lock:
                    reply = answer(hub, request)
            except Refusal as refusal:
                reply = refused(refusal)
        else:
            reply = Reply(b'{"error": "a fault of the test"}')
        if fault.status is not None:
            reply.status = fault.status
        self.send(altered(reply, fault), fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_one

    def fault(self, path: str) -> Fault:
        hub = self.server.hub
        with hub.lock:
            for each in hub.faults:
                if each.strikes(self.command, path):
                    each.times = None if each.times is None else each.times - 1
                    return each
        return Fault("")

    def body(self, part: float | None) -> bytes | None:
        """The request's body; None where the line is to be cut within it."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return None if part is not None else b"".join(pieces)
        length = int(self.headers.get("Content-Length", 0))
        wanted = length if part is None else int(length * part)
        body = self.rfile.read(wanted)
        return body if part is None and len(body) == length else None  # a client may hang up too

    def send(self, reply: Reply, fault: Fault) -> None:
        part = next((p for p in (fault.cut, fault.stall) if p is not None), None)
        if part == 0.0:
            self.drop(b"", fault)
            return
        if fault.drip is not None:
            self.drip(*DRIPS[fault.drip], fault.pace or 0.1)
            return
        self.send_response(reply.status)
        length = len(reply.body) if reply.length is None else reply.length
        for name, value in {"Content-Length": str(length), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        end = len(reply.body) if part is None else int(len(reply.body) * part)
        for start in range(0, end, CHUNK):
            self.wfile.write(reply.body[start : min(start + CHUNK, end)])
        if part is not None:
            self.drop(reply.body[end:], fault)
        elif length != len(reply.body):  # a file that is only claimed
            self.close_connection = True

    def drip(self, start: bytes, again: bytes, pace: float) -> None:
        self.close_connection = True
        self.wfile.write(start)
        while not self.server.hub.closing.wait(pace):
            self.wfile.write(again)

    def drop(self, rest: bytes, fault: Fault) -> None:
        """Cut the line, or hold it: silent, or with a byte now and then."""
        self.close_connection = True
        if fault.stall is None:
            return
        if fault.pace is None:
            self.server.hub.closing.wait()
            return
        for byte in rest:
            self.wfile.write(bytes([byte]))
            if self.server.hub.closing.wait(fault.pace):
                return

    def log_message(self, format: str, *args: Any) -> None:
        pass


def refused(refusal: Refusal) -> Reply:
    headers = {"X-Error-Message": str(refusal), **refusal.headers}
    if refusal.code is not None:
        headers["X-Error-Code"] = refusal.code
    body = json.dumps({"error": str(refusal)}).encode()
    return Reply(body, refusal.status, {"Content-Type": "application/json", **headers})


def altered(reply: Reply, fault: Fault) -> Reply:
    body = reply.body if fault.body is None else fault.body
    if fault.flip and body:
        body = body[:-1] + bytes([body[-1] ^ 1])
    headers = {k: v for k, v in reply.headers.items() if k.lower() not in lowered(fault.headers)}
    headers |= {k: v for k, v in fault.headers.items() if v is not None}
    length = reply.length if fault.body is None else None
    return Reply(body, reply.status, headers, length)


def lowered(headers: Mapping[str, str | None]) -> set[str]:
    return {name.lower() for name in headers}
