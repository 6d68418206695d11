"""Whether weights are what was published, and still mean what they meant.

    from segzoo.checks.verify import verify

    for result in verify("hf-hub:user/name"):
        print(result.line)

A proof is a function below whose docstring is the rule. `FOLDER`, `HUB` and `RECORD` are the proofs
of a saved or published folder, of one on the Hub, and of weights that a plugin declares, in order.
Nothing is taken from an earlier run: every byte is read again. Without a network, what is cached is
verified.
"""

import contextlib
import hashlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from segzoo.base.counts import count_of
from segzoo.checks import signing
from segzoo.checks.results import Broken, Result, Skipped, judged, one_thread
from segzoo.errors import (
    HubNotFoundError,
    IntegrityError,
    OfflineError,
    SegzooError,
    UsageError,
    WeightsMissingError,
    printable,
)
from segzoo.hub.cache import Snapshot
from segzoo.model import golden, origin
from segzoo.saved import config as configs
from segzoo.saved import manifest
from segzoo.saved.config import Config
from segzoo.spec import ModelSpec, Weights
from segzoo.weights import safetensors as weights
from segzoo.weights.header import read_header
from segzoo.weights.within import open_within
from segzoo.zoo import refs
from segzoo.zoo.refs import Folder, Hub, Named

if TYPE_CHECKING:
    from segzoo.model.loaded import Model

__all__ = ["FOLDER", "HUB", "RECORD", "Proof", "Subject", "declared", "prove", "verify"]


@dataclass(frozen=True)
class Subject:
    """What is verified. Its config and model are read when a proof asks for them, and once.

    ref: what `segzoo.load` takes for it. home: the folder of its files. file, golden: the names of
    its weights and of its golden there. commit: of the Hub, whose cache may lack files of it.
    record, spec: of weights that a plugin declares, whose file must have this sha256.
    local_files_only: as of `segzoo.load`.
    public_key: the key of the one who should have signed it.
    """

    ref: str
    home: Path
    file: str = configs.WEIGHTS_NAME
    golden: str = golden.GOLDEN_NAME
    commit: str = ""
    record: Weights | None = None
    spec: ModelSpec | None = None
    sha256: str = ""
    local_files_only: bool = False
    public_key: str | PathLike[str] | None = None

    @cached_property
    def config(self) -> Config:
        return configs.read(self.home / configs.CONFIG_NAME)

    @cached_property
    def model(self) -> "Model":
        from segzoo.model.load import load

        # Whether its values are finite is another proof.
        return load(
            self.ref,
            local_files_only=self.local_files_only,
            verify=True,
            allow_nonfinite=True,
        )

    @property
    def hashes(self) -> Mapping[str, str]:
        """The sha256 that files should have: the plugin's word, or the config's."""
        return {self.file: self.sha256} if self.record else self.config.files


class Proof(NamedTuple):
    """One row. `prove` gives what it found; or raises Broken, a SegzooError or Skipped.

    fix: what helps when the error does not say. after: proofs without which it cannot be tried.
    """

    name: str
    prove: Callable[[Subject], str]
    fix: str
    after: tuple[Callable[[Subject], str], ...] = ()


def manifest_holds(subject: Subject) -> str:
    """Every file has the hash and size of the manifest, whose digest is that of its list."""
    home = subject.home
    if not (home / manifest.MANIFEST_NAME).exists():
        raise Skipped(f"there is no {manifest.MANIFEST_NAME}")
    found = manifest.read(home / manifest.MANIFEST_NAME)
    used = {configs.CONFIG_NAME, subject.file, subject.golden}
    here = {name for name in used | found.files.keys() if (home / name).exists()}
    checked = here if subject.commit else here | found.files.keys()
    manifest.check(home, sorted(checked))
    return f"{len(checked)} of {count_of(len(found.files), 'file')}, digest {found.digest}"


def commit_is_this(subject: Subject) -> str:
    """Every file is that of the commit, as the Hub's own ids say: else it was not fetched."""
    return subject.commit


def config_is_good(subject: Subject) -> str:
    """The config is one that segzoo can use."""
    config = subject.config
    return f"{config.model}, made with {config.distribution} {config.version}".strip()


def hashes_hold(subject: Subject) -> str:
    """Every file whose sha256 is declared has it."""
    if not subject.hashes:
        raise Skipped("none is declared")
    for name, expected in subject.hashes.items():
        path = subject.home / name
        with open_within(subject.home, name) as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        if actual != expected:
            raise IntegrityError(
                "its sha256 is not the declared one",
                file=path,
                found=actual,
                expected=expected,
                next_step="Fetch it again",
            )
    return ", ".join(f"{name} {sha256}" for name, sha256 in subject.hashes.items())


def header_is_good(subject: Subject) -> str:
    """The header of the weights keeps every rule, and covers the file exactly."""
    path = subject.home / subject.file
    with open_within(subject.home, subject.file) as file:
        header = read_header(file, path)
    return f"{count_of(len(header.tensors), 'tensor')}, {header.file_size:,} bytes"


def values_are_finite(subject: Subject) -> str:
    """No value of the weights is NaN or infinite, and no variance negative."""
    stored = weights.read(subject.home / subject.file, verify=True, inside=True)
    return count_of(sum(tensor.numel() for tensor in stored.values()), "value")


def plugin_is_here(subject: Subject) -> str:
    """The plugin that the config names is installed and offers the model."""
    entry, _, _ = origin.saved(subject.home)
    return f"{entry.full_name} {entry.version}".strip()


def weights_fit(subject: Subject) -> str:
    """The weights are this network's: every name, shape and type, no more and no fewer."""
    return f"{sum(p.numel() for p in subject.model.parameters()):,} parameters"


def golden_holds(subject: Subject) -> str:
    """The network gives the logits that it gave when it was published."""
    path = subject.home / subject.golden
    if not path.exists():
        raise Skipped(f"there is no {subject.golden}")
    off = golden.deviation(subject.model.network, path)
    if off > golden.TOLERANCE:
        raise Broken(f"off by {off:.2g}, allowed {golden.TOLERANCE:g}")
    return f"off by {off:.2g} at most, allowed {golden.TOLERANCE:g}"


def signature_holds(subject: Subject) -> str:
    """The signature is of the key that was given, and of these files."""
    if subject.public_key is not None:
        signing.verify_signature(subject.home, subject.public_key)
        return "by the key that was given"
    if (subject.home / manifest.SIGNATURE_NAME).exists():
        raise Skipped("to check it, give the signer's public key")
    raise Skipped("it is not signed")


def record_is_complete(subject: Subject) -> str:
    """Weights, and pretrained backbones, say their licence, data with licences, and source."""
    assert subject.record is not None and subject.spec is not None
    records = {"the weights": subject.record}
    records |= {f"backbone {name!r}": record for name, record in subject.spec.backbone.items()}
    faults = []
    for name, record in records.items():
        missing = [field for field in ("trained_on", "source") if not getattr(record, field)]
        missing += [f"license of {data.name}" for data in record.trained_on if not data.license]
        faults += [f"{name}: no {', '.join(missing)}"] if missing else []
    if faults:
        raise Broken("; ".join(faults))
    data = ", ".join(f"{data.name} ({data.license})" for data in subject.record.trained_on)
    return f"{subject.record.license}; trained on {data}"


HASHES = Proof("hashes are as declared", hashes_hold, "fetch it again", (config_is_good,))
HEADER = Proof("the header is in order", header_is_good, "fetch it again")
VALUES = Proof("every value is finite", values_are_finite, "train again", (header_is_good,))
FIT = Proof(
    "the weights fit the network",
    weights_fit,
    "publish them again",
    (hashes_hold, header_is_good, plugin_is_here),
)
GOLDEN = Proof(
    "the golden's logits come back",
    golden_holds,
    "use the versions that it was made with, or make it anew if the network was changed on purpose",
    (weights_fit,),
)

FOLDER: tuple[Proof, ...] = (
    Proof("files are as the manifest says", manifest_holds, "fetch it again"),
    Proof("the config can be used", config_is_good, "save the model again"),
    HASHES,
    HEADER,
    VALUES,
    Proof("the plugin is installed", plugin_is_here, "install it", (config_is_good,)),
    FIT,
    GOLDEN,
    Proof("it is signed", signature_holds, "ask who published it"),
)

HUB = (Proof("files are those of the commit", commit_is_this, "fetch it again"), *FOLDER)

RECORD: tuple[Proof, ...] = (
    Proof(
        "licence, data and source are stated",
        record_is_complete,
        "write them in the spec; 'not stated' where a licence is not",
    ),
    HASHES,
    HEADER,
    VALUES,
    FIT,
    GOLDEN,
)


def verify(
    ref: str,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    public_key: str | PathLike[str] | None = None,
) -> tuple[Result, ...]:
    """Every proof of a reference, in order.

    ref, revision, local_files_only: as in `segzoo.load`; a name without a tag is its default
    weights. public_key: a PEM file; a folder must then be signed by its owner.

    Weights that are broken are results. What cannot be found or reached raises, as in
    `segzoo.load`; so does DependencyMissingError when a key is given without the library for it.
    """
    if public_key is not None:
        signing.library()  # or DependencyMissingError, before anything is fetched
    subject = _subject(ref, revision, local_files_only, public_key)
    return prove(subject, RECORD if subject.record else HUB if subject.commit else FOLDER)


def declared(name: str, tag: str | None = None, *, local_files_only: bool = False) -> Subject:
    """The weights that a plugin declares; tag: None for the default ones.

    Raises what `load` raises.
    """
    from segzoo.model.load import find_spec

    entry, spec = find_spec(name, tag=tag)
    record = origin.record_of(entry, spec, tag=tag, pretrained=True)
    assert record is not None
    reading = {"local_files_only": local_files_only, "verify": True}
    file, sha256 = origin.weights_file(entry, spec, record, **reading)
    tag = next(tag for tag, each in spec.weights.items() if each is record)
    beside = golden.beside(file).name
    if record.repo and record.revision:
        beside = golden.GOLDEN_NAME
        _bring(Snapshot(record.repo, record.revision), [beside], local_files_only)
    return Subject(
        f"{name}.{tag}",
        file.parent,
        file.name,
        beside,
        record=record,
        spec=spec,
        sha256=sha256,
        local_files_only=local_files_only,
    )


def prove(subject: Subject, proofs: tuple[Proof, ...]) -> tuple[Result, ...]:
    """The result of each proof, in order."""
    results: list[Result] = []
    fallen: dict[Callable[[Subject], str], str] = {}  # broken, or without their ground
    # What plugins print is not our output.
    with contextlib.redirect_stdout(sys.stderr), one_thread():
        for proof in proofs:
            ground = next((fallen[each] for each in proof.after if each in fallen), None)
            if ground is None:
                result = judged(proof.name, partial(_tried, proof, subject), proof.fix)
            else:
                result = Result(proof.name, True, skipped=f"after: {ground}")
            if ground is not None or not result.ok:
                fallen[proof.prove] = proof.name
            results.append(result)
    return tuple(results)


def _tried(proof: Proof, subject: Subject) -> str:
    try:
        return proof.prove(subject)
    except SegzooError as error:
        fix, error.next_step = error.next_step, ""
        raise Broken(str(error), fix) from None


def _folder_of(snapshot: Snapshot, local_files_only: bool) -> Path:
    """The folder of a commit, every file read again: config, weights and what there is beside."""
    from segzoo.hub.fetch import fetch, is_allowed

    needed = [configs.CONFIG_NAME, configs.WEIGHTS_NAME]
    home = fetch(snapshot, needed, local_files_only=local_files_only, verify=True)
    beside = [manifest.MANIFEST_NAME, manifest.SIGNATURE_NAME, golden.GOLDEN_NAME]
    _bring(snapshot, beside, local_files_only)
    with contextlib.suppress(SegzooError):  # whether the manifest can be used is a proof
        listed = manifest.read(home / manifest.MANIFEST_NAME).files
        others = sorted(filter(is_allowed, listed.keys() - {*needed, *beside}))
        _bring(snapshot, others, local_files_only)
    return home


def _bring(snapshot: Snapshot, names: list[str], local_files_only: bool) -> None:
    """Fetch what there is of these files, and what of it can be had; read again what is cached."""
    from segzoo.hub.fetch import fetch

    for name in names:
        try:
            fetch(snapshot, [name], local_files_only=local_files_only, verify=True)
        except HubNotFoundError:
            continue
        except OfflineError:
            local_files_only = True  # and wait for no further one


def _subject(
    ref: str,
    revision: str | None,
    local_files_only: bool,
    public_key: str | PathLike[str] | None,
) -> Subject:
    match refs.parse(ref, revision):
        case Hub(repo, wanted):
            from segzoo.hub.fetch import snapshot_of

            snapshot = snapshot_of(repo, wanted, local_files_only=local_files_only)
            home, commit = _folder_of(snapshot, local_files_only), snapshot.commit
        case Folder(path):
            home, commit = path, ""
        case Named(name, tag):
            if public_key is not None:
                raise UsageError(
                    f"{printable(ref)} is a plugin's, and not signed by itself",
                    expected="a folder, or a model on the Hub",
                )
            return declared(name, tag, local_files_only=local_files_only)
    if not home.is_dir():
        raise WeightsMissingError("there is no such folder", file=home)
    return Subject(f"{refs.LOCAL_DIR}{home}", home, commit=commit, public_key=public_key)
