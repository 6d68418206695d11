"""Signatures of published folders: OpenSSF model-signing with an elliptic-curve key, offline.

Hashes and a manifest say that a folder is whole; whoever can replace them all can replace the
manifest too. A signature says whose folder it is, to those who have that person's public key from
elsewhere. It covers the sha256 of every file but itself, and other tools read it too:

    openssl ecparam -name prime256v1 -genkey -noout -out key.pem
    openssl ec -in key.pem -pubout -out key.pub
    model_signing verify key FOLDER --signature FOLDER/model.sig --public-key key.pub
"""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

from segzoo.base import files, ours
from segzoo.errors import DependencyMissingError, IntegrityError, SegzooError, UsageError
from segzoo.saved.manifest import SIGNATURE_NAME
from segzoo.weights.within import within
from segzoo.zoo import registry

__all__ = ["library", "sign", "verify_signature"]

AnyPath = str | PathLike[str]

DIGESTS = re.compile(r": Expected .*")
MAX_SIGNATURE = 1 << 20  # bytes
PRIVATE = "Make one: openssl ecparam -name prime256v1 -genkey -noout -out key.pem"
PUBLIC = "Take it from the private key: openssl ec -in key.pem -pubout -out key.pub"


def sign(folder: AnyPath, private_key: AnyPath) -> Path:
    """Write model.sig over every other file of a folder; gives its path.

    private_key: a PEM file with a key on one of the curves P-256, P-384 and P-521, without a
    passphrase. UsageError for another key, or for a folder with a link or a pipe in it;
    DependencyMissingError without the extra; OutputError when the signature cannot be written.
    """
    config = library().signing.Config().set_hashing_config(_hashing())
    with _at_fault(UsageError, "the private key cannot be used", private_key, PRIVATE):
        config.use_elliptic_key_signer(private_key=os.fspath(private_key))
    target = Path(folder) / SIGNATURE_NAME
    ours.refuse_others([target], next_step="sign another folder")
    with tempfile.TemporaryDirectory() as place:
        made = Path(place) / SIGNATURE_NAME
        with _at_fault(UsageError, "the folder cannot be signed", folder):
            config.sign(Path(folder), made)
        files.write(target, made.read_bytes())
    return target


def verify_signature(folder: AnyPath, public_key: AnyPath) -> None:
    """Check that model.sig is of this key and of the folder's files, no more and no fewer.

    IntegrityError when there is none or it is not; UsageError for a key that cannot be used;
    UnsafeFormatError for a link out of the folder, where those of the Hub's cache are allowed;
    DependencyMissingError without the extra.
    """
    root = Path(folder)
    signature = root / SIGNATURE_NAME
    config = library().verifying.Config()
    with _at_fault(UsageError, "the public key cannot be used", public_key, PUBLIC):
        config.use_elliptic_key_verifier(public_key=os.fspath(public_key))
    if not signature.is_file():
        raise IntegrityError("the folder is not signed", file=signature)
    if signature.stat().st_size > MAX_SIGNATURE:
        raise IntegrityError(
            "the signature is too large", file=signature, expected=f"at most {MAX_SIGNATURE:,}"
        )
    for path in filter(Path.is_symlink, root.rglob("*")):
        within(path.parent, path.name)
    config.set_hashing_config(_hashing().set_allow_symlinks(True))
    with _at_fault(IntegrityError, "the signature is not of this key and these files", signature):
        config.verify(root, signature)


def library() -> Any:
    """The library model_signing. DependencyMissingError when it cannot be imported."""
    try:
        import model_signing.hashing
        import model_signing.signing
        import model_signing.verifying
    except (ImportError, AttributeError) as error:  # the latter of a pyOpenSSL that is too old
        raise DependencyMissingError(
            f"signatures need the library model-signing: {registry.cause(error)}",
            next_step="Run: pip install 'segzoo-core[signing]'",
        ) from None
    return model_signing


def _hashing() -> Any:
    """What is hashed: every file but the signature, and what git keeps for itself."""
    return library().hashing.Config().set_ignored_paths(paths=[SIGNATURE_NAME])


@contextlib.contextmanager
def _at_fault(
    kind: type[SegzooError], problem: str, file: AnyPath, next_step: str = ""
) -> Iterator[None]:
    """One error for whatever the library, or one below it, raises. What it prints goes to stderr.

    Of a file that differs it gives both digests as bytes; that it differs is enough.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except Exception as error:
        why = DIGESTS.sub("", registry.cause(error)).replace("\\", "")
        raise kind(f"{problem}: {why}", file=file, next_step=next_step) from None
