"""One file at an https address, from a site with faults."""

import hashlib
import shutil

import pytest
from secure_site import Answer, site

from segzoo.base import transfer
from segzoo.errors import (
    HubAccessError,
    HubError,
    HubNotFoundError,
    HubRateLimitError,
    IntegrityError,
    OfflineError,
    ResourceError,
    UnsafeFormatError,
)
from segzoo.hub import asset as assets
from segzoo.hub.asset import Asset, fetched
from segzoo.hub.session import TRIES

__all__ = ["site"]

DATA = bytes(range(256)) * 1000
AT_HAND = "With net.onnx at hand, run: segzoo download net.official --from FILE"


def asset(url, data=DATA):
    return Asset(url, hashlib.sha256(data).hexdigest(), "net.official")


def bytes_of(each, folder, **more):
    with fetched(each, folder, **more) as file:
        found = file.read_bytes()
    assert not any(folder.iterdir())
    return found


def refused(error, each, folder, **more):
    """The message; nothing is left."""
    with pytest.raises(error) as caught, fetched(each, folder, **more):
        raise AssertionError("it was taken")
    assert type(caught.value) is error
    assert not any(folder.iterdir())
    return str(caught.value)


def test_the_declared_bytes_come_with_one_request_and_no_token(site, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    url, told = site.serve("/net.onnx", DATA), []
    with transfer.heard(lambda *words: told.append(words)):
        assert bytes_of(asset(url), tmp_path) == DATA
    [(path, headers)] = site.requests
    assert path == "/net.onnx"
    assert "hf_secret" not in str(headers)
    assert {"authorization", "cookie"}.isdisjoint(headers)
    assert told[-1] == ("net.onnx", len(DATA), len(DATA))


def test_a_redirect_is_followed_where_it_is_https(site, tmp_path):
    site.serve("/there/real", DATA)
    site.serve("/step", Answer(status=307, headers={"Location": f"{site.url}/there/real"}))
    url = site.serve("/net.onnx", Answer(status=302, headers={"Location": "step"}))
    assert bytes_of(asset(url), tmp_path) == DATA
    assert site.asked == ["/net.onnx", "/step", "/there/real"]


@pytest.mark.parametrize("scheme", ["http", "ftp", "file"])
def test_a_redirect_to_anything_but_https_is_refused(scheme, site, tmp_path):
    target = {
        "http": f"{site.plain_url}/net.onnx?signed=secret",
        "ftp": "ftp://127.0.0.1/net.onnx",
        "file": "file:///etc/passwd",
    }[scheme]
    site.answers["/net.onnx?signed=secret"] = [Answer(DATA)]
    url = site.serve("/net.onnx", Answer(status=302, headers={"Location": target}))
    said = refused(UnsafeFormatError, asset(url), tmp_path)
    assert f"is redirected to an address without https; found {scheme}://" in said
    assert "secret" not in said
    assert site.plain_requests == []
    assert site.asked == ["/net.onnx"]


def test_redirects_end(site, tmp_path):
    url = site.serve("/net.onnx", Answer(status=302, headers={"Location": "/net.onnx"}))
    said = refused(UnsafeFormatError, asset(url), tmp_path)
    assert f"is redirected more than {assets.MOST_HOPS} times" in said
    assert len(site.asked) == assets.MOST_HOPS


def test_other_bytes_are_not_kept(site, tmp_path):
    url = site.serve("/net.onnx", DATA[:-1] + b"x")
    said = refused(IntegrityError, asset(url), tmp_path)
    assert "gave other bytes than net.official declares; nothing was kept" in said
    assert hashlib.sha256(DATA).hexdigest() in said
    assert AT_HAND in said


@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_that_is_cut_is_taken_up_again(ranges, site, tmp_path):
    cut = Answer(DATA, cut=100_000, ranges=ranges)
    url = site.serve("/net.onnx", cut, Answer(DATA, ranges=ranges))
    assert bytes_of(asset(url), tmp_path) == DATA
    assert [headers.get("range") for _, headers in site.requests] == [None, "bytes=100000-"]


def test_a_file_that_is_always_cut_at_once_is_given_up(site, tmp_path):
    url = site.serve("/net.onnx", Answer(DATA, cut=0))
    said = refused(OfflineError, asset(url), tmp_path)
    assert "net.official is not in the cache, and the line to 127.0.0.1:" in said
    assert "was cut: " in said
    assert len(site.asked) == TRIES


def test_more_bytes_than_were_said(site, tmp_path):
    url = site.serve("/net.onnx", Answer(DATA, headers={"Content-Length": str(len(DATA) - 9)}))
    refused(IntegrityError, asset(url), tmp_path)  # the client stops where the length says


def test_a_login_page_is_no_file(site, tmp_path):
    page = Answer(b"<html>Welcome", headers={"Content-Type": "text/html; charset=utf-8"})
    said = refused(HubError, asset(site.serve("/net.onnx", page)), tmp_path)
    assert "does not answer with the file net.onnx. Is there a login page of this network?" in said
    assert AT_HAND in said


@pytest.mark.parametrize(
    ("headers", "error", "says"),
    [
        (
            {"Content-Length": "", "Transfer-Encoding": ""},
            HubError,
            "does not answer with the file",
        ),
        ({"Content-Length": str(2**32 + 1)}, UnsafeFormatError, "is too large; found 4294967297"),
        ({"Content-Length": "9" * 18}, UnsafeFormatError, f"is too large; found {'9' * 18}"),
    ],
)
def test_a_length_that_is_missing_or_too_large(headers, error, says, site, tmp_path):
    url = site.serve("/net.onnx", Answer(DATA, headers=headers))
    assert says in refused(error, asset(url), tmp_path)


def test_no_room_is_known_before(site, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    said = refused(ResourceError, asset(site.serve("/net.onnx", DATA)), tmp_path)
    assert "there is no room for net.official; found 100 bytes free, expected 256,000" in said


@pytest.mark.parametrize(
    ("status", "error", "says", "tries"),
    [
        (404, HubNotFoundError, "/net.onnx is not there. With net.onnx at hand", 1),
        (403, HubAccessError, "does not give net.onnx to everybody", 1),
        (418, HubError, "failed with status 418 for net.onnx", 1),
        (429, HubRateLimitError, "wants fewer requests", TRIES),
        (503, HubError, "failed with status 503 for net.onnx", TRIES),
    ],
)
def test_what_a_server_refuses(status, error, says, tries, site, tmp_path):
    url = site.serve("/net.onnx", Answer(b"its own \x1b words", status))
    said = refused(error, asset(url), tmp_path)
    assert says in said and "its own" not in said
    assert len(site.asked) == tries


def test_a_server_that_fails_once(site, tmp_path):
    url = site.serve("/net.onnx", Answer(status=503), DATA)
    assert bytes_of(asset(url), tmp_path) == DATA


def test_a_certificate_that_nobody_trusts(site, tmp_path, monkeypatch):
    from huggingface_hub import close_session

    monkeypatch.delenv("SSL_CERT_FILE")
    close_session()
    said = refused(OfflineError, asset(site.serve("/net.onnx", DATA)), tmp_path)
    assert "cannot be reached: ConnectError: " in said and "certificate verify failed" in said
    assert site.asked == []


def test_without_a_way_to_it(site, tmp_path):
    said = refused(OfflineError, asset("https://127.0.0.1:1/net.onnx"), tmp_path)
    assert said.startswith(
        "net.official is not in the cache, and https://127.0.0.1:1 cannot be reached: ConnectError"
    )
    assert said.endswith(
        f"Where there is a connection, run: segzoo download net.official. {AT_HAND}"
    )


def test_where_connections_are_forbidden(site, tmp_path, monkeypatch):
    each = asset(site.serve("/net.onnx", DATA))
    said = refused(OfflineError, each, tmp_path, local_files_only=True)
    assert "and local_files_only=True forbids connections" in said
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "and HF_HUB_OFFLINE forbids connections" in refused(OfflineError, each, tmp_path)
    assert site.asked == []
