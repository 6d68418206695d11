"""What a run is: written to run.json when it begins, and compared when it goes on."""

import dataclasses
import json
import platform
from collections.abc import Mapping
from dataclasses import MISSING
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

import torch

from segzoo.base import files, ours
from segzoo.base.records import Json, asdict
from segzoo.base.strictjson import (
    ARRAY,
    OBJECT,
    TEXT,
    TEXT_OR_NULL,
    TEXTS,
    JsonKind,
    judge_kinds,
)
from segzoo.data.fingerprint import fingerprint, hash_of_names
from segzoo.data.sample import Dataset
from segzoo.engine import checkpoint
from segzoo.engine.checkpoint import Checkpoint
from segzoo.engine.settings import Settings
from segzoo.errors import CheckpointError, RunError
from segzoo.saved.config import CONFIG_NAME, read_json
from segzoo.spec import Recipe
from segzoo.zoo.refs import MODEL, RUN

__all__ = [
    "EXACT",
    "MODEL",
    "RUN",
    "about_of",
    "begun_as",
    "changes",
    "how",
    "latest",
    "refuse_used",
    "with_contents",
    "write",
]

EXACT = "to the last bit"
AGAIN = "from its beginning: it had no checkpoint yet"
IF_UNCHANGED = (
    "if no file of its data has changed: so far it kept a hash of the samples' names alone, from "
    "now on of their contents"
)
# What is looked into of run.json, whose folder may be a stranger's. A recipe and settings are
# records, which judge their own fields; of the rest values are compared and shown.
KINDS: Mapping[str, JsonKind] = MappingProxyType(
    {
        **dict.fromkeys(("recipe", "identity", "data", "val", "machine", "settings"), OBJECT),
        "recipe.eval_metric": TEXT,
        **dict.fromkeys(("identity.data", "identity.val", "identity.weights"), TEXT_OR_NULL),
        "identity.metrics": TEXTS,
        "identity.teacher": OBJECT,
        "identity.teacher.model": TEXT,
        "sittings": ARRAY,
    }
)
# A checkpoint's manifest holds the same once more, within what the engine told of it.
WITHIN = "about.about"
KINDS_WITHIN = MappingProxyType(
    {WITHIN: OBJECT} | {f"{WITHIN}.{name}": kind for name, kind in KINDS.items()}
)
# What says which sample comes at which step.
ORDER = ("batch_size", "seed", "sampling")


def about_of(
    recipe: Recipe,
    identity: Mapping[str, Json],
    data: Dataset,
    settings: Settings,
    *,
    device: torch.device,
    world: int,
    val: Dataset | None = None,
) -> dict[str, Json]:
    """What decides the bits of a run, as JSON.

    "recipe", "identity", "data" and "val" are the run's own; "machine" is where and how it runs.
    """
    of_device = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    values = {
        "recipe": asdict(recipe),
        "identity": dict(identity),
        "data": _described(data),
        **({} if val is None else {"val": _described(val)}),
        "machine": {
            **{name: version(name) for name in ("segzoo-core", "accelerate")},
            "torch": str(torch.__version__),  # with its build, which the metadata may lack
            "python": platform.python_version(),
            "machine": platform.machine(),
            "device": of_device,
            "threads": torch.get_num_threads(),
            "processes": world,
            "compile": settings.compile,
            "channels_last": bool(settings.channels_last),
            "checkpointing": settings.checkpointing,
            "deterministic": settings.deterministic,
        },
    }
    plain: dict[str, Json] = json.loads(json.dumps(values))  # as it is read back
    return plain


def _described(data: Dataset) -> dict[str, Json]:
    """How many samples there are, and their fingerprint. names: what earlier runs kept of it."""
    found = fingerprint(data)
    names = {"names": hash_of_names(data)} if found.of == "contents" else {}
    return {"samples": len(data), "sha256": found.sha256, "of": found.of, **names}


def refuse_used(run: Path) -> None:
    """RunError for a folder that holds a run already, which would be lost.

    A folder without a checkpoint is no run: it was ended before there was anything to lose.
    OutputError where a run would write over what segzoo did not write.
    """
    begun = ours.is_ours(run / RUN)
    if not begun:
        names = (*ours.known_by(RUN), CONFIG_NAME, *checkpoint.names(run))
        ours.refuse_others(run / name for name in names)
    elif checkpoint.exists(run):
        raise RunError(
            "holds a run already",
            file=run,
            next_step="Go on with it by --resume, or choose another folder with -o",
        )


def latest(run: Path, *, here: bool) -> tuple[Checkpoint | None, dict[str, Json]]:
    """The newest whole checkpoint of a run, and what the run was then.

    here: whether it goes on in its own folder. Then there may be no checkpoint yet: it was ended
    before the first one, and begins again. CheckpointError when all there are is damaged, or the
    newest says of the run what cannot be; RunError as `begun_as`.
    """
    begun = here and (run / RUN).exists()
    if begun and all(".tmp-" in path.name for path in run.glob("step-*")):
        return None, _with_later_fields(_read(run))
    found = checkpoint.find(run)
    judge_kinds(
        {"about": found.about},
        KINDS_WITHIN,
        found.path / checkpoint.MANIFEST,
        what="what the manifest says of the run",
        error=CheckpointError,
        next_step="Delete this checkpoint to go on from the one before",
    )
    about: dict[str, Json] = _with_later_fields(found.about.get("about") or {})
    since = _read(run)  # a sitting that wrote no checkpoint may know more of the data
    if "of" not in (about.get("data") or {}) and "of" in (since.get("data") or {}):
        about = {**about, **{key: since[key] for key in ("data", "val") if key in since}}
    return found, about


def _with_later_fields(about: dict[str, Json]) -> dict[str, Json]:
    """What a run was, with the fields of a recipe that came after it as they are by default."""
    if "recipe" not in about:
        return about
    fields = {f.name: f.default for f in dataclasses.fields(Recipe) if f.default is not MISSING}
    defaults: dict[str, Json] = json.loads(json.dumps(fields))
    return {**about, "recipe": {**defaults, **about["recipe"]}}


def changes(
    then: Mapping[str, Json], now: Mapping[str, Json], *, file: Path, here: bool, force: bool
) -> list[str]:
    """What differs from the run to be continued, in words.

    In another folder it may have another recipe and other data, but not another network. RunError
    that lists the differences, unless they are forced.
    """
    differences, then = [], with_contents(then, now)
    for key in ("recipe", "identity", "data", "val") if here else ("identity",):
        old, new = then.get(key) or {}, now.get(key) or {}
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name) and (here or name == "model"):
                differences.append(f"{name}: was {old.get(name)!r}, is {new.get(name)!r}")
    if differences and not force:
        raise RunError(
            "the run was begun otherwise",
            file=file,
            found="; ".join(differences)[:1000],
            next_step="Go on as it was begun, begin a new run in another folder, or add "
            "--force-resume, which is written down",
        )
    return differences


def how(then: Mapping[str, Json], now: Mapping[str, Json], *, exact: bool) -> str:
    """How the run goes on, for a person. exact: whether this device gives the same bits again."""
    if exact and then == now:
        return EXACT
    if then != (known := with_contents(then, now)) and exact and known == now:
        return f"{EXACT} {IF_UNCHANGED}"
    then = known
    order = [
        ([about.get("recipe", {}).get(key) for key in ORDER], about.get("data"))
        for about in (then, now)
    ]
    if order[0] == order[1]:
        return "sample by sample, but not to the last bit"
    return "with the weights and the optimiser, but with samples in another order"


def with_contents(then: Mapping[str, Json], now: Mapping[str, Json]) -> Mapping[str, Json]:
    """What a run was, of a version that hashed the names of samples alone.

    Where these are as they are now, with what is known of the data now; else as it is.
    """
    old, new = then.get("data") or {}, now["data"]
    if "of" in old or not old:
        return then
    same = (old.get("samples"), old.get("sha256")) == (new["samples"], new.get("names"))
    if not same and new["of"] in ("names", "nothing"):
        same = (old.get("samples"), old.get("sha256")) == (new["samples"], new["sha256"])
    val = {"val": now["val"]} if "val" in now else {}
    return {**then, "data": new, **val} if same else then


def write(
    run: Path, now: Mapping[str, Json], settings: Settings, sitting: Json, *, here: bool = True
) -> None:
    """Write run.json: what the run is, the settings, and one more of its sittings.

    here: whether it goes on in its own folder; else what lies there is no run, and forgotten.
    """
    sittings = [*(_read(run).get("sittings", []) if here else []), sitting]
    record = {**now, "settings": asdict(settings), "sittings": sittings}
    files.write(run / RUN, json.dumps(record, indent=1).encode())


def begun_as(run: Path) -> dict[str, Json]:
    """What run.json says of a run; what is looked into is of the kinds that it has to be.

    ConfigError for a file that is not there or no JSON object, RunError for values of other kinds.
    """
    found = read_json(run / RUN)
    judge_kinds(
        found,
        KINDS,
        run / RUN,
        what="the record of the run",
        error=RunError,
        next_step="Put back the file as it was written, or begin a new run in another folder",
    )
    return found


def _read(run: Path) -> dict[str, Json]:
    return begun_as(run) if (run / RUN).exists() else {}
