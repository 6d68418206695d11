"""The server, asked over its port: what it answers, and what it does with those who mean harm.

The rows S1 to S10 are those of bad requests; `bench/serve.py` has them all at once, for minutes.
"""

import base64
import contextlib
import io
import os
import shutil
import socket
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import moody
import numpy as np
import pytest
from PIL import Image
from serving import SUPPORT, form, png, running, saved_moody

import segzoo
from segzoo.predict import outputs
from segzoo.serve.settings import Limits

LIMITS = Limits(
    bytes=1 << 20,
    held=4 << 20,
    queue=12,
    connections=40,
    head_seconds=1.0,
    body_seconds=1.0,
    answer_seconds=6.0,
    drain_seconds=10.0,
)
NETWORKS = {"max_pixels": 1_000_000, "batch_size": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        return saved_moody(tmp_path_factory.mktemp("saved") / "moody", patch)


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    models = {"moody": folder, "other": folder}
    with running(models, home, limits=LIMITS, networks=NETWORKS) as found:
        yield found


@pytest.fixture
def lively(server):
    """The server, once a worker is up again that a test before may have ended."""
    until = time.monotonic() + 60
    while server.ask("/ready").status != 200:
        assert time.monotonic() < until
        time.sleep(0.1)
    return server


@pytest.fixture
def prediction(folder, monkeypatch):
    monkeypatch.setenv("SEGZOO_MODELS", "moody=moody:MOODY")
    return segzoo.load(folder).predict(png())


def pixels_of(file):
    return np.asarray(Image.open(io.BytesIO(file)))


def together(tasks):
    """What each of some functions gives, all called at once."""
    with ThreadPoolExecutor(len(tasks)) as pool:
        return [future.result() for future in [pool.submit(task) for task in tasks]]


# --- what it answers ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*outputs.KINDS])
def test_an_output_is_what_the_command_line_writes(lively, prediction, kind):
    said = lively.predict(png(), f"?output={kind}")
    assert (said.status, said.headers["Content-Type"]) == (200, "image/png")
    assert (said.pixels == pixels_of(outputs.encode(outputs.render(kind, prediction)))).all()


@pytest.mark.parametrize("kind", ["mask", "cutout", "color", "overlay"])
def test_webp_has_the_same_pixels(lively, kind):
    said = lively.predict(png(), f"?output={kind}&format=webp")
    assert said.headers["Content-Type"] == "image/webp"
    assert said.body[8:12] == b"WEBP"
    as_png = lively.predict(png(), f"?output={kind}").pixels
    as_png = np.repeat(as_png[..., None], 3, -1) if as_png.ndim == 2 else as_png
    assert (said.pixels == as_png).all()


def test_a_form_asks_as_an_address_does(lively):
    fields = {"output": "cutout", "background": "#00ff00", "crop": "true", "threshold": ""}
    body, kind = form(fields, png())
    said = lively.ask("/predict", body, Content_Type=kind)
    asked = lively.predict(png(), "?output=cutout&background=00ff00&crop=true")
    assert said.body == asked.body
    assert said.pixels.shape == (8, 12, 3)


def test_the_threshold_is_of_the_mask(lively):
    half = np.full((4, 4, 3), 140, np.uint8)  # 12 * 140 / 255 - 6: a probability of 0.64
    masks = [lively.predict(png(half), f"?output=mask&threshold={t}").pixels for t in (0.6, 0.7)]
    assert [mask.min() for mask in masks] == [255, 0]


def test_json_has_several_outputs_and_what_each_step_took(lively):
    said = lively.predict(png(), "?output=mask,cutout&model=other", Accept="application/json")
    found = said.json
    assert (found["model"], found["size"]) == ("other", [16, 20])
    assert found["found"] == {"foreground": 8 * 12}
    assert [*found["pictures"]] == ["mask", "cutout"]
    mask = pixels_of(base64.b64decode(found["pictures"]["mask"]["base64"]))
    assert (mask == lively.predict(png(), "?output=mask").pixels).all()
    seconds = found["seconds"]
    assert [*seconds] == ["queue", "load", "decode", "wait", "network", "finish", "total"]
    steps = sum(value for name, value in seconds.items() if name != "total")
    assert 0 < steps <= seconds["total"] + 1e-3
    assert "network;dur=" in said.headers["Server-Timing"]


def test_what_a_camera_noted_of_the_place_does_not_come_back(lively):
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "N"
    exif[0x010F] = "a camera"
    content = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 200, 200)).save(content, "JPEG", exif=exif)
    said = lively.predict(content.getvalue())
    assert "exif" not in Image.open(io.BytesIO(said.body)).info


def test_models_health_and_metrics(lively):
    first, second = lively.ask("/models").json["models"]
    assert (first["name"], first["loaded"], first["num_classes"]) == ("moody", True, 1)
    assert second["name"] == "other"
    assert lively.ask("/health").json == {"status": "alive"}
    before = lively.metric('segzoo_pictures_total{model="moody"}')
    lively.predict(png())
    assert lively.metric('segzoo_pictures_total{model="moody"}') == before + 1
    assert lively.metric("segzoo_pictures_pending") == 0
    assert lively.metric("segzoo_worker_resident_bytes") > 1 << 24


def test_the_server_itself_opens_no_picture(lively):
    """What does is the worker: neither numpy nor torch is in the server's process."""
    loaded = Path(f"/proc/{lively.process.pid}/maps").read_text()
    assert "python" in loaded
    assert [name for name in ("numpy", "_imaging", "torch") if name in loaded] == []


def test_pictures_that_wait_run_together(lively):
    name = 'segzoo_pictures_together_bucket{le="1.0"}'
    lively.predict(png())
    alone, all = lively.metric(name), lively.metric("segzoo_pictures_together_count")
    asleep = [lambda: lively.predict(png(corner=moody.NAPS, side=32))]  # another size
    several = [lambda: (time.sleep(moody.NAP / 3), lively.predict(png()))[1]] * 4
    assert {said.status for said in together(asleep + several)} == {200}
    assert lively.metric("segzoo_pictures_together_count") == all + 5
    assert lively.metric(name) <= alone + 2


# --- bad requests ---------------------------------------------------------------------------------


BOUND = "multipart/form-data; boundary=edge"
PARTS = b"".join(
    b'--edge\r\nContent-Disposition: form-data; name="a%d"\r\n\r\n\r\n' % n for n in range(9000)
)
REQUESTS = {
    "s3 the type is not a picture's": ("/predict", b"x", "text/plain", 415),
    "s3 what curl sends by itself": (
        "/predict",
        b"x=1&" * 9,
        "application/x-www-form-urlencoded",
        415,
    ),
    "s3 a million fields": (
        "/predict",
        b"a=1&" * 250_000,
        "application/x-www-form-urlencoded",
        415,
    ),
    "s3 ten thousand parts": ("/predict", PARTS, BOUND, 400),
    "s3 a form without a file": ("/predict", form({"model": "moody"}, None)[0], BOUND, 400),
    "s3 a form with an empty file": ("/predict", form({}, b"")[0], BOUND, 400),
    "s3 a file in another field": ("/predict", form({}, png(), name="image")[0], BOUND, 400),
    "s3 no boundary": ("/predict", form({}, png())[0], "multipart/form-data", 400),
    "s3 a form that is cut short": ("/predict", form({}, png())[0][:60], BOUND, 400),
    "s3 a name of a part that is no text": (
        "/predict",
        b"--edge\r\n\xff\xfe\r\n\r\n--edge--",
        BOUND,
        400,
    ),
    "s3 a body that is compressed": ("/predict", png(), "image/png; x", 200),
    "no picture": ("/predict", b"", "image/png", 400),
    "a text": ("/predict", b"hello", "image/png", 422),
    "a picture that is cut short": ("/predict", png()[:-30], "image/png", 422),
    "a script": ("/predict", b"<svg onload=alert(1)>", "image/svg+xml", 422),
    "s4 a path": ("/predict?model=../../etc/passwd", png(), "image/png", 404),
    "s4 a line end": ("/predict?model=moody%0a", png(), "image/png", 404),
    "s4 another model": ("/predict?model=u2net", png(), "image/png", 404),
    "s4 a model in a form": ("/predict", form({"model": "hf-hub:a/b"}, png())[0], BOUND, 404),
    "s4 a long name": (f"/predict?model={'a' * 30_000}", png(), "image/png", 422),
    "s6 an address": ("/predict?url=http://169.254.169.254/", png(), "image/png", 422),
    "s6 an address in a form": ("/predict", form({"url": "http://a/"}, png())[0], BOUND, 422),
    "a parameter twice": ("/predict?crop=true&crop=true", png(), "image/png", 422),
    "a parameter in two places": (
        "/predict?crop=true",
        form({"crop": "true"}, png())[0],
        BOUND,
        422,
    ),
    "a file behind the cut-out": ("/predict?background=/etc/passwd", png(), "image/png", 422),
    "a number that is none": ("/predict?threshold=nan", png(), "image/png", 422),
    "other digits": ("/predict?threshold=%D9%A0", png(), "image/png", 422),
    "16 bits as WebP": ("/predict?output=probability&format=webp", png(), "image/png", 422),
    "two outputs as a picture": ("/predict?output=mask,cutout", png(), "image/png", 422),
    "s9 another path": ("/static/../../etc/passwd", None, "", 404),
    "s9 dots": ("/%2e%2e/%2e%2e/etc/passwd", None, "", 404),
    "s9 a null": ("/models%00", None, "", 404),
    "s9 an absolute path": ("//etc/passwd", None, "", 404),
    "s9 a folder": ("/models/", None, "", 404),
    "another method": ("/predict", None, "", 405),
}


@pytest.mark.parametrize("row", REQUESTS)
def test_a_bad_request_is_told_why(lively, row):
    path, body, kind, status = REQUESTS[row]
    headers = {"Content_Type": kind} if kind else {}
    said = lively.ask(path, body, **headers)
    assert said.status == status
    if status >= 400 and said.headers.get("Content-Type", "").startswith("application/"):
        assert said.json["status"] == status
        assert said.json["detail"] and said.json["request"] == said.headers["X-Request-ID"]
    assert not [h for h in said.headers if h.lower().startswith("access-control")]
    assert lively.ask("/health").status == 200


def received(connection):
    """All that a server says until it closes."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(1 << 16):
            found += part
    return found


HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"


def test_s4_a_name_of_megabytes_is_not_even_read(lively):
    before = lively.peak_bytes()
    with lively.connect() as connection, contextlib.suppress(ConnectionError):
        connection.sendall(b"POST /predict?model=" + b"a" * 5_000_000 + b" HTTP/1.1\r\n\r\n")
        assert received(connection)[:12] in (b"HTTP/1.1 400", b"")
    assert lively.ask("/health").status == 200
    assert lively.peak_bytes() - before < 1 << 22


def test_s1_a_body_that_is_declared_too_large_is_not_received(lively):
    with lively.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 1000000000\r\n\r\n")
        assert b" 413 " in connection.recv(200)


def test_s1_a_body_without_an_end_is_refused_on_its_way(lively):
    lively.predict(png())
    before = lively.peak_bytes()
    with lively.connect() as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"\0" * 65536 + b"\r\n"
        with contextlib.suppress(ConnectionError, TimeoutError):
            for _ in range(4096):  # 256 MiB
                connection.sendall(chunk)
        assert b" 413 " in received(connection)[:200]
    assert lively.peak_bytes() - before < 16 << 20


def test_s1_a_length_that_lies(lively):
    body = png()
    with lively.connect() as connection:  # what is too much is no request
        short = b"Content-Length: %d\r\n\r\n" % (len(body) - 20)
        connection.sendall(HEAD + short + body)
        assert b"HTTP/1.1 422" in connection.recv(1 << 16)
    with lively.connect() as connection:  # what is missing does not come
        long = b"Content-Length: %d\r\n\r\n" % (len(body) + 20)
        connection.sendall(HEAD + long + body)
        assert b"HTTP/1.1 408" in received(connection)


def test_s2_who_is_slow_is_told_so_and_others_are_served(lively):
    idle = [lively.connect() for _ in range(60)]
    drips = [lively.connect() for _ in range(10)]
    try:
        for connection in drips[:5]:
            connection.sendall(b"GET /health HT")
        for connection in drips[5:]:
            connection.sendall(HEAD + b"Content-Length: 100\r\n\r\nab")
        assert lively.predict(png()).status == 200
        time.sleep(1.3)
        for connection in [*idle, *drips]:
            assert received(connection)[9:12] == b"408"
    finally:
        for connection in [*idle, *drips]:
            connection.close()
    assert lively.predict(png()).status == 200


def huge_png():
    """20000 x 20000 in some bytes."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    head = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    body = zlib.compress(b"\0" * 1_000_000)
    data = (
        struct.pack(">I", len(body))
        + b"IDAT"
        + body
        + struct.pack(">I", zlib.crc32(b"IDAT" + body))
    )
    return b"\x89PNG\r\n\x1a\n" + head + data


def test_s5_a_small_file_of_a_huge_picture_costs_nothing(lively):
    bomb = huge_png()
    before = lively.metric("segzoo_worker_resident_bytes")
    said = together([lambda: lively.predict(bomb)] * 20)
    assert {answer.status for answer in said} <= {413, 503}
    assert any("pixels" in answer.json["detail"] for answer in said if answer.status == 413)
    assert lively.metric("segzoo_worker_resident_bytes") - before < 64 << 20
    assert lively.predict(png()).status == 200


def test_s7_more_than_the_queue_holds_is_told_to_come_again(lively):
    said = together([lambda: lively.predict(png(corner=moody.NAPS))] * 40)
    assert {answer.status for answer in said} == {200, 503}
    assert {a.headers["Retry-After"] for a in said if a.status == 503} == {"2"}
    assert sum(a.status == 200 for a in said) >= LIMITS.queue


def test_s7_who_leaves_is_not_worked_for(lively):
    before = lively.metric('segzoo_pictures_total{model="moody"}')
    for _ in range(LIMITS.queue):
        with lively.connect() as connection:
            body = png(corner=moody.NAPS)
            connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    began = time.monotonic()
    while lively.metric("segzoo_pictures_pending"):
        assert time.monotonic() - began < 10 * moody.NAP
        time.sleep(0.05)
    assert lively.metric('segzoo_pictures_total{model="moody"}') == before


def test_s8_a_network_that_fails_costs_its_picture(lively):
    said = lively.predict(png(corner=moody.FAILS))
    assert said.status == 500
    assert said.json["request"] == said.headers["X-Request-ID"]
    assert lively.predict(png()).status == 200


def test_s8_a_worker_that_dies_comes_back(lively):
    restarts = lively.metric("segzoo_worker_restarts_total")
    said = lively.predict(png(corner=moody.DIES))
    assert (said.status, said.headers["Retry-After"]) == (503, "2")
    while lively.ask("/ready").status != 200:
        time.sleep(0.1)
    assert lively.predict(png()).status == 200
    assert lively.metric("segzoo_worker_restarts_total") == restarts + 1


@pytest.mark.slow  # another start of a worker
def test_a_worker_that_is_stuck_is_replaced(lively):
    assert lively.predict(png(corner=moody.SLEEPS)).status == 504
    while lively.ask("/ready").status != 200:
        time.sleep(0.1)
    assert lively.predict(png()).status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "localhost.evil.example"}, 421),
        ({"Host": "["}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
    ],
)
def test_s10_a_foreign_page_gets_nothing(lively, headers, status):
    said = lively.predict(png(), **headers)
    assert said.status == status
    assert not [h for h in said.headers if h.lower().startswith("access-control")]


def test_s10_ones_own_page_may_ask(lively):
    own = f"http://127.0.0.1:{lively.port}"
    assert lively.predict(png(), Origin=own, Sec_Fetch_Site="same-origin").status == 200


def test_nothing_of_a_request_is_written_down(server):
    server.predict(b"secret-bytes", "?model=secret-name")
    assert "secret" not in "".join(server.lines)


@pytest.mark.slow  # a server of its own
def test_a_model_that_is_removed_meanwhile(tmp_path, monkeypatch):
    """What is in memory answers on; what was to be loaded later is missed by name alone."""
    gone = [saved_moody(tmp_path / name, monkeypatch) for name in ("early", "late", "stays")]
    models = dict(zip(("early", "late", "stays"), gone, strict=True))
    with running(models, tmp_path / "home", networks={"at_once": False}) as server:
        assert server.predict(png(), "?model=early").status == 200
        for name in ("early", "late"):
            shutil.rmtree(tmp_path / name)
        assert server.predict(png(), "?model=early").status == 200
        said = server.predict(png(), "?model=late")
        assert said.status == 500
        assert said.json["detail"].startswith("the model 'late' cannot be loaded: ")
        assert str(tmp_path) not in said.json["detail"]
        assert server.predict(png(), "?model=stays").status == 200
        assert [m["loaded"] for m in server.ask("/models").json["models"]] == [True, False, True]


BLOCK = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError("torch was imported")

sys.meta_path.insert(0, Block())
"""


@pytest.mark.slow  # an export, and two servers
def test_a_model_that_is_made_ready_is_served_without_torch(tmp_path, monkeypatch):
    folder = saved_moody(tmp_path / "saved", monkeypatch, "shrinking")  # whose spec needs no torch
    networks = {"runtime": "onnxruntime", "device": "cpu"}
    with running({"m": folder}, tmp_path / "home", networks=networks) as server:
        first = server.predict(png(), "?output=probability").pixels
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(BLOCK)
    path = os.pathsep.join([str(site), str(SUPPORT)])
    blocked = {"PYTHONPATH": path}
    with running(
        {"m": folder}, tmp_path / "home", networks=networks, environment=blocked
    ) as server:
        assert server.ask("/models").json["models"][0]["runtime"] == "onnxruntime"
        assert (server.predict(png(), "?output=probability").pixels == first).all()
    with pytest.raises(AssertionError, match="torch was imported"):
        with running({"m": folder}, tmp_path / "home", environment=blocked):
            pass


def test_s7_sigterm_answers_what_was_begun(lively):
    """The last test here: it ends the server."""
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(lively.predict, png(corner=moody.NAPS)) for _ in range(4)]
        while lively.metric("segzoo_pictures_pending") < 4:
            time.sleep(0.01)
        assert lively.end() == 0
        assert [answer.result().status for answer in answers] == [200] * 4
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", lively.port), timeout=5)
