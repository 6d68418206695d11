"""Parts of the server, without one: who may come in, frames, settings, the description."""

import asyncio
import base64
import io
import json
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest

from segzoo.base import children
from segzoo.cli.main import run
from segzoo.cli.serve import token_of
from segzoo.errors import DataError, UsageError
from segzoo.model.served import Served
from segzoo.predict.outputs import KINDS
from segzoo.predict.preprocess import Preprocess
from segzoo.serve import processes
from segzoo.serve.asked import OUTPUTS, PARAMETERS, AskedFor, UnknownNameError, asked_of
from segzoo.serve.described import openapi
from segzoo.serve.doors import Door
from segzoo.serve.frames import Frame, read_frame, write_frame
from segzoo.serve.settings import is_loopback, named_models, refuse_open_door

TOKEN = "a-token-of-some-length"


def asked(app, *, path="/models", method="GET", **headers):
    """The status and the headers of an answer."""
    scope = {
        "type": "http",
        "path": path,
        "method": method,
        "headers": [
            (k.replace("_", "-").encode(), v.encode("latin-1")) for k, v in headers.items()
        ],
    }
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, None, send))
    return sent[0]["status"], {k.decode(): v.decode() for k, v in sent[0]["headers"]}


async def inside(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("", 401),
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN}", 200),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        ("Bearer", 401),
        (f"Bearer \xe9{TOKEN}", 401),
        (f"Digest {TOKEN}", 401),
        ("Basic " + base64.b64encode(f"anybody:{TOKEN}".encode()).decode(), 200),
        ("Basic " + base64.b64encode(TOKEN.encode()).decode(), 401),
        ("Basic !", 401),
    ],
)
def test_s10_a_token_is_wanted_of_all_but_what_watches(value, status):
    door = Door(inside, token=TOKEN, local=False)
    given = {"authorization": value} if value else {}
    found, headers = asked(door, **given)
    assert found == status
    assert ("www-authenticate" in headers) == (status == 401)
    assert asked(door, path="/health")[0] == asked(door, path="/ready")[0] == 200


def test_s10_tokens_are_compared_in_constant_time():
    source = Path("src/segzoo/serve/doors.py")
    text = (Path(__file__).parents[1] / source).read_text("utf-8")
    assert text.count("self.token)") == 1 and "hmac.compare_digest(given, self.token)" in text


def test_every_answer_has_the_headers_of_a_careful_server():
    status, headers = asked(Door(inside, token="", local=False))
    assert status == 200
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "no.such.host.invalid"])
def test_an_address_of_others_needs_a_token(host, monkeypatch):
    if host.endswith("invalid"):
        monkeypatch.setattr("socket.getaddrinfo", lambda *_: (_ for _ in ()).throw(OSError()))
    with pytest.raises(UsageError, match="no token is set") as error:
        refuse_open_door(host, "")
    assert "SEGZOO_TOKEN" in error.value.next_step
    refuse_open_door(host, TOKEN)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_alone_needs_none(host):
    assert is_loopback(host)
    refuse_open_door(host, "")


@pytest.mark.parametrize("token", ["short", "é" * 20, "a-token-of\nsome-length"])
def test_a_token_that_can_be_tried_out_is_refused(token):
    with pytest.raises(UsageError, match="the token cannot be used"):
        refuse_open_door("127.0.0.1", token)


def test_a_token_comes_from_a_file_or_from_the_environment(tmp_path, monkeypatch):
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    assert token_of(str(file)) == TOKEN
    monkeypatch.setenv("SEGZOO_TOKEN", "another")
    assert (token_of(str(file)), token_of(None)) == (TOKEN, "another")
    file.write_text(" \n")
    with pytest.raises(UsageError, match="no token"):
        token_of(str(file))
    with pytest.raises(UsageError, match="No such file"):
        token_of(str(tmp_path / "none"))


def test_models_have_names_for_requests(tmp_path):
    assert named_models(["lite0", f"cells={tmp_path}"]) == {
        "lite0": "lite0",
        "cells": str(tmp_path),
    }
    with pytest.raises(UsageError, match="cannot be a model's name") as error:
        named_models([f"{tmp_path}/my model"])
    assert error.value.next_step.startswith("Give it a name: mymodel=")
    with pytest.raises(UsageError, match="two models"):
        named_models(["a=lite0", "a=lite0"])


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (["serve", "no_such_model"], 2, "no model 'no_such_model'"),
        (["serve", "lite0", "--host", "0.0.0.0"], 2, "no token is set"),
        (["serve", "lite0", "--port", "70000"], 2, "--port"),
        (["serve", "lite0", "--host", "203.0.113.1", "--token-file", "none"], 2, "No such file"),
        (["serve", "lite0", "--runtime", "onnxruntime", "--precision", "bf16"], 2, "bf16"),
    ],
)
def test_a_command_that_cannot_be_ends_at_once(line, code, said, capsys):
    assert run(line) == code
    assert said in capsys.readouterr().err


def test_a_port_in_use_is_said_before_anything_is_loaded(capsys):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["serve", "lite0", "--port", str(port)]) == 2
    assert f"another program uses this port; found 127.0.0.1 port {port}" in capsys.readouterr().err


# --- what a request asks --------------------------------------------------------------------------


def test_nothing_asked_is_the_first_models_cut_out():
    assert asked_of([], ["a", "b"]) == AskedFor(model="a")
    assert asked_of([("model", ""), ("crop", "")], ["a"]) == AskedFor(model="a")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("output", "mask,mask"),
        ("output", "mask,"),
        ("output", "exe"),
        ("format", "PNG"),
        ("background", "white"),
        ("background", "#fff"),
        ("background", "/etc/passwd"),
        ("edges", "none"),
        ("crop", "1"),
        ("threshold", "1.01"),
        ("threshold", "-0.1"),
        ("threshold", "nan"),
        ("threshold", "1e400"),
        ("threshold", "٠"),
        ("threshold", "0" * 300),
        ("url", "http://169.254.169.254/"),
        ("file", "/etc/passwd"),
    ],
)
def test_what_cannot_be_asked(name, text):
    with pytest.raises(UsageError):
        asked_of([(name, text)], ["a"])


def test_another_model_is_an_error_of_its_own():
    with pytest.raises(UnknownNameError):
        asked_of([("model", "a\n")], ["a"])


def test_the_description_is_made_of_the_same_table():
    document = openapi(["a", "b"], token=True)
    parameters = {
        p["name"]: p["schema"] for p in document["paths"]["/predict"]["post"]["parameters"]
    }
    assert [*parameters] == ["model", *(p.name for p in PARAMETERS)]
    assert parameters["model"]["enum"] == ["a", "b"]
    assert parameters["output"]["items"]["enum"] == [*OUTPUTS]
    assert sorted(OUTPUTS) == sorted(KINDS)
    assert document["security"] == [{"bearer": []}]
    json.dumps(document)


# --- frames ---------------------------------------------------------------------------------------


def test_a_frame_comes_as_it_was_sent():
    pipe = io.BytesIO()
    write_frame(pipe.write, {"kind": "answer", "id": 3}, [b"ab", b"c"])
    write_frame(pipe.write, {"kind": "ready"})
    pipe.seek(0)
    assert read_frame(pipe) == Frame({"kind": "answer", "id": 3}, b"abc")
    assert read_frame(pipe) == Frame({"kind": "ready"})
    assert read_frame(pipe) is None


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">IQ", 1 << 31, 0),
        struct.pack(">IQ", 2, 1 << 60) + b"{}",
        struct.pack(">IQ", 2, 0) + b"[]",
        struct.pack(">IQ", 1, 0) + b"{",
    ],
)
def test_what_is_no_frame_is_refused(data):
    with pytest.raises(DataError):
        read_frame(io.BytesIO(data))


@pytest.mark.parametrize("length", range(0, 16, 3))
def test_a_stream_that_ends_within_a_frame_has_ended(length):
    pipe = io.BytesIO()
    write_frame(pipe.write, {"a": 1}, [b"abc"])
    assert read_frame(io.BytesIO(pipe.getvalue()[:length])) is None


# --- what a machine is worth ---


@pytest.mark.parametrize(("device", "size", "together"), [
    ("cpu", (320, 320), 1),  # one is enough to keep a processor busy
    ("cpu", (200, 200), 3),
    ("cpu", (28, 28), 8),
    ("cpu", None, 1),
    ("cuda:0", (320, 320), 8),
])  # fmt: skip
def test_pictures_run_together_where_that_gains(device, size, together):
    predictor = SimpleNamespace(
        preprocess=Preprocess(size=size, resize="stretch" if size else "none")
    )
    served = Served(predictor, None, None, None, device, "torch", "fp32")
    assert served.worth_together == together


@pytest.mark.parametrize(("workers", "given", "threads"), [
    (1, None, None), (2, None, "4"), (3, None, "2"), (16, None, "1"), (2, "7", "7"),
])  # fmt: skip
def test_workers_share_the_cores(workers, given, threads, monkeypatch):
    """8 of them; what a person says of threads holds for each worker."""
    monkeypatch.setattr(processes, "usable_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    child = children.start_python(
        "import os; print(os.environ.get('OMP_NUM_THREADS'))", processes.threads_of_one(workers)
    )
    assert child.communicate()[0].decode().split() == [str(threads)]
