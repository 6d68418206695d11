"""Signatures: made and checked with keys that the test makes, with no network at all."""

import base64
import json
import shutil
import sys

import pytest

from segzoo.checks.signing import sign, verify_signature
from segzoo.errors import (
    DependencyMissingError,
    IntegrityError,
    UnsafeFormatError,
    UsageError,
)

NEEDED = "the extra signing is not installed"


@pytest.fixture
def keys(tmp_path):
    return key_pair(tmp_path, "key")


@pytest.fixture
def folder(tmp_path):
    """Something to sign, with a folder in it and what git keeps for itself."""
    place = tmp_path / "folder"
    (place / "training").mkdir(parents=True)
    (place / "config.json").write_text("{}")
    (place / "training" / "metrics.json").write_text("[]")
    (place / ".gitattributes").write_text("*.safetensors filter=lfs")
    return place


def key_pair(place, name, curve="SECP256R1", password=None):
    """The paths of a new private key and of its public one."""
    pytest.importorskip("model_signing", reason=NEEDED)
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(getattr(ec, curve)())
    private, public = place / f"{name}.pem", place / f"{name}.pub"
    lock = form.BestAvailableEncryption(password) if password else form.NoEncryption()
    private.write_bytes(
        key.private_bytes(form.Encoding.PEM, form.PrivateFormat.TraditionalOpenSSL, lock)
    )
    public.write_bytes(
        key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def signed_names(path):
    envelope = json.loads(path.read_text())["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    return [item["name"] for item in statement["predicate"]["resources"]]


def test_a_signed_folder(folder, keys):
    private, public = keys
    assert sign(folder, private) == folder / "model.sig"
    verify_signature(folder, public)
    assert signed_names(folder / "model.sig") == ["config.json", "training/metrics.json"]


def test_the_library_itself_takes_our_signature(folder, keys):
    private, public = keys
    sign(folder, private)
    from model_signing import verifying

    config = verifying.Config().use_elliptic_key_verifier(public_key=str(public))
    config.verify(folder, folder / "model.sig")


def test_signing_again_replaces_the_signature(folder, keys, tmp_path):
    private, public = keys
    sign(folder, private)
    (folder / "config.json").write_text('{"a": 1}')
    sign(folder, private)
    verify_signature(folder, public)
    assert sorted(p.name for p in folder.iterdir()) == [
        ".gitattributes",
        "config.json",
        "model.sig",
        "training",
    ]


@pytest.mark.parametrize("curve", ["SECP256R1", "SECP384R1", "SECP521R1"])
def test_every_curve(curve, folder, tmp_path):
    private, public = key_pair(tmp_path, "key", curve)
    sign(folder, private)
    verify_signature(folder, public)


def test_the_name_and_place_of_the_folder_do_not_matter(folder, keys, tmp_path):
    private, public = keys
    sign(folder, private)
    folder.rename(tmp_path / "moved")
    verify_signature(tmp_path / "moved", public)


def test_what_git_keeps_for_itself_may_change(folder, keys):
    private, public = keys
    sign(folder, private)
    (folder / ".gitattributes").write_text("other")
    verify_signature(folder, public)


def test_the_cache_of_the_hub_is_made_of_links(folder, keys, tmp_path):
    private, public = keys
    sign(folder, private)
    store = tmp_path / "models--user--name"
    snapshot = store / "snapshots" / ("0" * 40)
    (store / "blobs").mkdir(parents=True)
    for number, file in enumerate(p for p in folder.rglob("*") if p.is_file()):
        blob = shutil.copy(file, store / "blobs" / f"{number:040x}")
        link = snapshot / file.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    verify_signature(snapshot, public)
    (snapshot / "config.json").resolve().write_text("other")
    with pytest.raises(IntegrityError):
        verify_signature(snapshot, public)


def test_a_link_out_of_the_folder(folder, keys, tmp_path):
    private, public = keys
    sign(folder, private)
    shutil.move(folder / "config.json", tmp_path / "config.json")
    (folder / "config.json").symlink_to(tmp_path / "config.json")
    with pytest.raises(UnsafeFormatError, match="a link out of its folder"):
        verify_signature(folder, public)


def test_a_folder_with_a_link_is_not_signed(folder, keys):
    (folder / "link").symlink_to("config.json")
    with pytest.raises(UsageError) as caught:
        sign(folder, keys[0])
    assert f"{folder}: the folder cannot be signed: ValueError: Cannot use" in str(caught.value)
    assert not (folder / "model.sig").exists()


CHANGES = {
    "a byte": (lambda f: (f / "config.json").write_text("{ "), "Hash mismatch for 'config.json'"),
    "in a folder": (
        lambda f: (f / "training" / "metrics.json").write_text(""),
        "Hash mismatch for 'training/metrics.json'",
    ),
    "a file more": (lambda f: (f / "new").touch(), "Extra files found in model 'folder': new"),
    "a file less": (
        lambda f: (f / "config.json").unlink(),
        "Missing files in model 'folder': config.json",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_folder(change, folder, keys):
    private, public = keys
    sign(folder, private)
    act, message = CHANGES[change]
    act(folder)
    with pytest.raises(IntegrityError) as caught:
        verify_signature(folder, public)
    text = str(caught.value)
    assert text.startswith(
        f"{folder}/model.sig: the signature is not of this key and these files: ValueError: "
    )
    assert message in text
    assert "\n" not in text


def test_another_key(folder, keys, tmp_path):
    sign(folder, keys[0])
    _, other = key_pair(tmp_path, "other")
    with pytest.raises(IntegrityError, match="The public key hash in the signature's"):
        verify_signature(folder, other)


def test_another_key_under_the_hint_of_the_right_one(folder, keys, tmp_path):
    """What an attacker would do who signs anew and keeps the name of the key."""
    private, public = keys
    hint = json.loads(sign(folder, private).read_text())["verificationMaterial"]
    (folder / "config.json").write_text('{"evil": 1}')
    forged = json.loads(sign(folder, key_pair(tmp_path, "other")[0]).read_text())
    forged["verificationMaterial"] = hint
    (folder / "model.sig").write_text(json.dumps(forged))
    with pytest.raises(IntegrityError, match="InvalidSignature"):
        verify_signature(folder, public)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "\0", '{"dsseEnvelope": {}}', "[" * 9999])
def test_what_is_no_signature(text, folder, keys, capsys):
    (folder / "model.sig").write_text(text)
    with pytest.raises(IntegrityError) as caught:
        verify_signature(folder, keys[1])
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_every_byte_of_a_signature_counts_or_changes_nothing(folder, keys):
    """A flipped bit is refused, but where it is of a field that says nothing of the files."""
    private, public = keys
    good = sign(folder, private).read_bytes()
    start, end = good.index(b'"payload"'), good.index(b'"payloadType"')
    for at in range(start, end - 2, 97):
        bad = bytearray(good)
        bad[at] ^= 1
        (folder / "model.sig").write_bytes(bad)
        with pytest.raises(IntegrityError):
            verify_signature(folder, public)


def test_a_signature_that_is_too_large(folder, keys):
    (folder / "model.sig").write_bytes(bytes(2**20 + 1))
    with pytest.raises(IntegrityError, match="the signature is too large; expected at most"):
        verify_signature(folder, keys[1])


def test_a_folder_that_is_not_signed(folder, keys):
    with pytest.raises(IntegrityError) as caught:
        verify_signature(folder, keys[1])
    assert str(caught.value) == f"{folder}/model.sig: the folder is not signed"


@pytest.mark.parametrize("use", [sign, verify_signature])
@pytest.mark.parametrize("key", ["missing", "text", "other kind", "locked", "curve"])
def test_a_key_that_cannot_be_used(use, key, folder, keys, tmp_path):
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ed25519

    path = tmp_path / "bad"
    if key == "text":
        path.write_text("a key")
    elif key == "other kind":
        made = ed25519.Ed25519PrivateKey.generate()
        pem = form.Encoding.PEM
        path.write_bytes(
            made.private_bytes(pem, form.PrivateFormat.PKCS8, form.NoEncryption())
            if use is sign
            else made.public_key().public_bytes(pem, form.PublicFormat.SubjectPublicKeyInfo)
        )
    elif key == "locked":
        path = key_pair(tmp_path, "locked", password=b"secret")[0]
    elif key == "curve":
        path = key_pair(tmp_path, "curve", "SECP256K1")[0 if use is sign else 1]
    with pytest.raises(UsageError) as caught:
        use(folder, path)
    kind = "private" if use is sign else "public"
    assert str(caught.value).startswith(f"{path}: the {kind} key cannot be used: ")
    assert "openssl" in caught.value.next_step
    assert not (folder / "model.sig").exists()


@pytest.mark.parametrize("use", [sign, verify_signature])
def test_without_the_library(use, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(DependencyMissingError) as caught:
        use(folder, "key")
    assert str(caught.value).startswith("signatures need the library model-signing: ")
    assert caught.value.next_step == "Run: pip install 'segzoo-core[signing]'"
