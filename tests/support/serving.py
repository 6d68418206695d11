"""A server of segzoo's in a process of its own, and a client that says what it likes."""

import contextlib
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

import segzoo
from segzoo.base.records import asdict
from segzoo.publish.space import app_text
from segzoo.serve.settings import Limits, Networks, ServerSettings

SUPPORT = Path(__file__).parent
MODELS = "moody=moody:MOODY,shrinking=shrinking_spec:ANY"  # of $SEGZOO_MODELS
RUN = """
import json, sys
from segzoo.base.records import from_dict
from segzoo.base.terminal import to_stderr
from segzoo.serve.running import run_server
from segzoo.serve.settings import ServerSettings
settings = from_dict(ServerSettings, json.loads(sys.argv[1]))
run_server(settings, lambda address: to_stderr("at " + address))
"""


class Said(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def pixels(self) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(self.body)))


@dataclass
class Running:
    """A server that runs. lines: what it has written on standard error."""

    process: subprocess.Popen[str]
    port: int = 0
    lines: list[str] = field(default_factory=list)

    def ask(
        self,
        path: str,
        body: Any = None,
        *,
        method: str = "",
        timeout: float = 60,
        **headers: str,
    ) -> Said:
        """headers: their names with _ for -."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method or ("GET" if body is None else "POST"), path, body, named)
            answer = connection.getresponse()
            return Said(answer.status, answer.headers, answer.read())

    def predict(self, picture: bytes, query: str = "", **headers: str) -> Said:
        return self.ask(f"/predict{query}", picture, **{"Content_Type": "image/png", **headers})

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def metric(self, name: str) -> float:
        """The value of a line of /metrics."""
        text = self.ask("/metrics").body.decode()
        [value] = re.findall(rf"^{re.escape(name)} (\S+)$", text, re.M)
        return float(value)

    def peak_bytes(self) -> int:
        """The most memory that the process of the server itself has had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


def saved_moody(folder: Path, monkeypatch: Any, name: str = "moody") -> str:
    """A saved model of moods, or another one; what the server is to load."""
    monkeypatch.setenv("SEGZOO_MODELS", MODELS)
    segzoo.load(name, seed=0).save_pretrained(folder)
    return f"local-dir:{folder}"


@contextlib.contextmanager
def running(
    models: Mapping[str, str],
    home: Path,
    *,
    limits: Limits | None = None,
    networks: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    **settings: Any,
) -> Iterator[Running]:
    """A server of these models, until the block ends."""
    made = ServerSettings(
        networks=Networks(models=models, **(networks or {})),
        limits=limits or Limits(),
        port=0,
        **settings,
    )
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, json.dumps(asdict(made))],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **_surroundings(home), **(environment or {})},
    )
    found = Running(process)
    begun = threading.Event()

    def listen() -> None:
        for line in process.stderr:
            found.lines.append(line)
            if match := re.match(r"at http://.*:(\d+)$", line):
                found.port = int(match[1])
                begun.set()
        begun.set()

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        assert begun.wait(120) and found.port, "".join(found.lines)
        yield found
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(60)
        finally:
            process.kill()
        listener.join()
        process.stderr.close()


@contextlib.contextmanager
def on_gradio(
    models: Mapping[str, str], folder: Path, home: Path, max_pixels: int
) -> Iterator[Running]:
    """The program of a Space, with these models, on Gradio's server; until the block ends."""
    said = {name: json.dumps(reference) for name, reference in models.items()}
    text = app_text(said).replace("max_pixels=32_000_000", f"max_pixels={max_pixels}")
    assert f"{max_pixels}" in text
    (folder / "app.py").write_text(text)
    process = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **_surroundings(home), "PYTHONUNBUFFERED": "1"},
    )
    try:
        for line in process.stdout:
            if match := re.search(r"local URL: +http://127\.0\.0\.1:(\d+)", line):
                break
        found = Running(process, int(match[1]))
        until = time.monotonic() + 120
        while found.ask("/ready").status != 200:
            assert time.monotonic() < until
            time.sleep(0.2)
        yield found
    finally:
        process.kill()
        process.wait(60)
        process.stdout.close()


def _surroundings(home: Path) -> dict[str, str]:
    return {
        "SEGZOO_MODELS": MODELS,
        "SEGZOO_HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")]),
    }


def png(pixels: Any = None, *, corner: tuple[int, int, int] | None = None, side: int = 16) -> bytes:
    """A picture as a file. pixels: (H, W, 3); else dark with a bright square in the middle."""
    if pixels is None:
        pixels = np.full((side, side + 4, 3), 20, np.uint8)
        pixels[side // 4 : -side // 4, side // 4 : -side // 4] = 230
    pixels = np.array(pixels, np.uint8)
    if corner is not None:
        pixels[0, 0] = corner
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def form(
    fields: Mapping[str, str], picture: bytes | None, *, name: str = "file"
) -> tuple[bytes, str]:
    """A multipart form, and its content type."""
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    if picture is not None:
        head = f'--edge\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\n\r\n'
        parts.append(head.encode() + picture + b"\r\n")
    return b"".join([*parts, b"--edge--\r\n"]), "multipart/form-data; boundary=edge"
