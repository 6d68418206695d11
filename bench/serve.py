"""How many pictures a second `segzoo serve` answers, alone and under attack, beside `rembg s`.

    python bench/serve.py                                  # each model ten minutes under attack
    U2NET_HOME=FOLDER python bench/serve.py --runtime onnxruntime --rembg PYTHON
                                                           # of an environment with rembg[cli]

Clients send photos one after the other, as many at once as --clients says: first for cut-outs with
plain edges, as rembg's are, then with clean ones, alone; then with attackers beside them: bodies
without an end, a megabyte of zeros, pictures of 400 megapixels in a few bytes, forms of thousands
of parts, connections that say nothing or a byte a second. What is counted: answers a second, the
median and the 99th percentile of the seconds of each, memory of the server (its peak too) and of
its workers, restarts. `rembg s` is asked alone, before and after, with the weights of u2netp that
$U2NET_HOME has. Written to bench/results/serve.json with the machine.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from machine import describe, save

ROOT = Path(__file__).parents[1]
PHOTOS = sorted((ROOT / "demo/photos").glob("*.jpg"))
PLAIN = "/predict?edges=raw"  # the mask as the network gives it, which is what `rembg s` answers
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"


def form_of(photo: bytes, model: str = "") -> tuple[bytes, dict[str, str]]:
    """A form with a photo; `rembg s` is told its model in a field, and segzoo takes it so too."""
    head = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=edge"}
    field = b'--edge\r\nContent-Disposition: form-data; name="model"\r\n\r\n%s\r\n' % model.encode()
    return (field if model else b"") + head + photo + b"\r\n--edge--\r\n", kind


class Load:
    """Honest clients for so many seconds."""

    def __init__(self, port: int, path: str, clients: int, seconds: float, model: str = "") -> None:
        self.port, self.path, self.seconds, self.model = port, path, seconds, model
        self.took: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.until = time.monotonic() + seconds
        threads = [threading.Thread(target=self._client, args=(n,)) for n in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _client(self, number: int) -> None:
        photos = [form_of(photo.read_bytes(), self.model) for photo in PHOTOS]
        while time.monotonic() < self.until:
            body, headers = photos[number % len(photos)]
            number += 1
            began = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
            try:
                with contextlib.closing(connection):
                    connection.request("POST", self.path, body, headers)
                    answer = connection.getresponse()
                    answer.read()
                    self.statuses[answer.status] += 1
                    if answer.status == 200:
                        self.took.append(time.monotonic() - began)
                    else:
                        time.sleep(0.2)
            except OSError:
                self.statuses[0] += 1

    def record(self) -> dict[str, object]:
        took = np.array(self.took or [np.nan])
        return {
            "answers_per_second": round(len(self.took) / self.seconds, 3),
            "p50_seconds": round(float(np.percentile(took, 50)), 4),
            "p99_seconds": round(float(np.percentile(took, 99)), 4),
            "statuses": dict(sorted(self.statuses.items())),
        }


class Attack:
    """Attackers until the block ends."""

    def __init__(self, port: int, kinds: int) -> None:
        self.port, self.ended = port, threading.Event()
        attacks = [self.endless, self.bombs, self.parts, self.idle, self.drip]
        self.threads = [threading.Thread(target=self.again, args=(a,)) for a in attacks * kinds]

    def __enter__(self) -> "Attack":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join()

    def again(self, attack: Callable[[], None]) -> None:
        while not self.ended.is_set():
            with contextlib.suppress(OSError):
                attack()
            self.ended.wait(0.2)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def endless(self) -> None:
        with self.connect() as connection:
            connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
            for _ in range(1024):
                connection.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")
                if self.ended.is_set():
                    return

    def bombs(self) -> None:
        chunk = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
        data = zlib.compress(bytes(1_000_000))
        body = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
        body += struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", len(data)) + b"IDAT" + data
        body += struct.pack(">I", zlib.crc32(b"IDAT" + data))
        with self.connect() as connection:
            connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            connection.recv(4096)

    def parts(self) -> None:
        part = b'--edge\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request("POST", "/predict", part * 100_000, form_of(b"")[1])
            connection.getresponse().read()

    def idle(self) -> None:
        with contextlib.ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(self.connect())
            self.ended.wait(12)

    def drip(self) -> None:
        with self.connect() as connection:
            connection.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n")
            for _ in range(40):
                connection.sendall(b"x")
                if self.ended.wait(1):
                    return


@contextlib.contextmanager
def server(
    command: list[str], ready: str, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server's process, once something is heard on its port or said on its standard error."""
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    try:
        port = 0
        assert process.stderr is not None
        for line in process.stderr:
            if match := re.search(ready, line):
                port = int(match[1])
                break
        threading.Thread(target=process.stderr.read, daemon=True).start()
        if not port:
            raise SystemExit(f"{' '.join(command)} did not start")
        yield process, port
    finally:
        process.terminate()
        process.wait(60)


def memory(process: "subprocess.Popen[str]", port: int) -> dict[str, object]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    found = dict(re.findall(r"^(\w+) (\S+)$", text, re.MULTILINE))
    return {
        "server_mib": round(float(found["process_resident_memory_bytes"]) / 2**20),
        "server_peak_mib": peak(process.pid),
        "worker_mib": round(float(found["segzoo_worker_resident_bytes"]) / 2**20),
        "worker_restarts": int(float(found["segzoo_worker_restarts_total"])),
    }


def peak(pid: int) -> int:
    """The most memory that a process has had, in MiB; 0 where Linux does not tell."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        if match := re.search(r"VmHWM:\s+(\d+) kB", status):
            return round(int(match[1]) / 1024)
    return 0


def of_segzoo(model: str, options: argparse.Namespace) -> dict[str, object]:
    segzoo = [sys.executable, "-P", "-m", "segzoo.cli.main"]
    if options.runtime != "torch":  # else each worker makes the artefact, and keeps torch's memory
        subprocess.run([*segzoo, "warm", model, "--runtime", options.runtime], check=True)
    command = [*segzoo, "serve", model, "--port", "0"]
    command += ["--runtime", options.runtime, "--workers", str(options.workers)]
    found: dict[str, object] = {"runtime": options.runtime, "workers": options.workers}
    with server(command, r"at http://127\.0\.0\.1:(\d+)") as (process, port):
        Load(port, "/predict", 1, 3)
        found["plain edges"] = Load(port, PLAIN, options.clients, options.alone).record()
        alone = Load(port, "/predict", options.clients, options.alone).record()
        found["alone"], found["memory_alone"] = alone, memory(process, port)
        if options.seconds:
            with Attack(port, options.attackers):
                load = Load(port, "/predict", options.clients, options.seconds)
            attacked = load.record()
            found["attacked"], found["memory_attacked"] = attacked, memory(process, port)
            found["p99_attacked_over_alone"] = round(
                float(str(attacked["p99_seconds"])) / float(str(alone["p99_seconds"])), 2
            )
    return found


def of_rembg(python: str, options: argparse.Namespace) -> dict[str, object]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = "import sys; from rembg.cli import main; sys.argv[0] = 'rembg'; main()"
    command = [python, "-P", "-c", code, "s", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    with server(
        command, rf"running on http://127\.0\.0\.1:({port})", MODEL_CHECKSUM_DISABLED="1"
    ) as (
        _,
        port,
    ):
        path = "/api/remove"
        Load(port, path, 1, 3, "u2netp")
        return Load(port, path, options.clients, options.alone, "u2netp").record()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600, help="under attack")
    parser.add_argument("--alone", type=float, default=30, help="without")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--attackers", type=int, default=2, help="of each kind")
    parser.add_argument("--runtime", default="torch")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--models", nargs="*", default=["lite0", "u2netp"])
    parser.add_argument("--rembg", default="", help="a Python that has rembg[cli]")
    parser.add_argument("--note", default="", help="what else the machine did meanwhile")
    options = parser.parse_args()
    found: dict[str, object] = {"note": options.note}
    if options.rembg:
        found["rembg s, u2netp"] = of_rembg(options.rembg, options)
    machine = describe()
    for model in options.models:
        found[model] = of_segzoo(model, options)
        print(model, json.dumps(found[model], indent=2), flush=True)
    if options.rembg:
        found["rembg s, u2netp, again"] = of_rembg(options.rembg, options)
        print("rembg", json.dumps(found["rembg s, u2netp, again"], indent=2), flush=True)
    print(save("serve", found, machine=machine))


if __name__ == "__main__":
    main()
