"""A web site on loopback that speaks TLS with a certificate of its own, and one that does not.

Nothing of segzoo is patched: the certificate is put where the HTTP library looks for those that it
trusts.
"""

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Answer", "Site", "site"]


@dataclass
class Answer:
    """To one request. cut: bytes after which the line is cut. ranges: whether a part can be had."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    ranges: bool = True


class Site:
    """`answers` has what a path is answered with, one after the other; the last stays.

    `requests` has (path, headers in lower case) of each that came, `plain_requests` those of the
    site without TLS.
    """

    def __init__(self, folder: Path) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.plain_requests: list[str] = []
        self.certificate = folder / "certificate.pem"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*_certified(folder, self.certificate))
        self._servers = [Server(self, context), Server(self, None)]
        self.url, self.plain_url = (
            f"http{'s' * server.is_secure}://127.0.0.1:{server.server_port}"
            for server in self._servers
        )
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.02,)) for server in self._servers
        ]
        for thread in self._threads:
            thread.start()

    def serve(self, path: str, *answers: Answer | bytes) -> str:
        """Answer a path so from now on; gives its address."""
        self.answers[path] = [a if isinstance(a, Answer) else Answer(a) for a in answers]
        return self.url + path

    @property
    def asked(self) -> list[str]:
        """The paths of the requests since the last time."""
        found = [path for path, _ in self.requests]
        self.requests.clear()
        return found

    def close(self) -> None:
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


class Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, site: Site, context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.site, self.context = site, context

    @property
    def is_secure(self) -> bool:
        return self.context is not None

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.context is None:
            super().finish_request(request, client_address)
            return
        with self.context.wrap_socket(request, server_side=True) as secure:  # in a thread
            super().finish_request(secure, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client may leave, or refuse the certificate


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        site = self.server.site
        self.close_connection = True
        if not self.server.is_secure:
            site.plain_requests.append(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        site.requests.append((self.path, headers))
        answers = site.answers.get(self.path, [Answer(b"none", 404)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        body, status = answer.body, answer.status
        if status == 200 and answer.ranges and "range" in headers:
            start = int(headers["range"].removeprefix("bytes=").removesuffix("-"))
            body, status = body[start:], 206
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **answer.headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: answer.cut])

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _certified(folder: Path, certificate: Path) -> tuple[Path, Path]:
    """A certificate for this machine that nobody else has signed, and its key, in files."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = folder / "key.pem"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, private


@pytest.fixture
def site(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """A site that this process trusts, and may connect to."""
    made = Site(tmp_path_factory.mktemp("site"))
    monkeypatch.setenv("SSL_CERT_FILE", str(made.certificate))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    from huggingface_hub import close_session, constants

    from segzoo.hub import session

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(session, "MAX_WAIT", 0.02)
    close_session()
    yield made
    close_session()
    made.close()
