"""The folder to the Hub in one commit, and what a plugin's spec says of it then."""

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segzoo.errors import UsageError
from segzoo.hub.upload import Repository
from segzoo.model import configured
from segzoo.model.load import find_spec
from segzoo.publish import card
from segzoo.publish.facts import Facts
from segzoo.publish.folder import build_folder
from segzoo.publish.request import PublishRequest
from segzoo.saved import config as configs
from segzoo.spec import Weights

__all__ = ["Published", "publish", "record_of"]

MOST = 4  # metrics of a data set in the record for a spec; the card has all


@dataclass(frozen=True)
class Published:
    """A publication. commit: of 40 hex digits. created: whether a commit was made for it.

    url: of the commit, or of the pull request. lines: what a plugin's spec takes.
    """

    repo: str
    commit: str
    tag: str
    created: bool
    url: str
    record: Weights
    lines: str


def publish(request: PublishRequest) -> Published:
    """Build the folder and send it to the Hub in one commit, then tag that.

    The token is huggingface_hub's: HF_TOKEN, or what `hf auth login` keeps.

    Repeated with the same folder it makes no commit; a tag is never moved. HubError and its kinds
    for what the Hub or the way to it has against it: then there is no commit, or all of it. Errors
    of `build_folder`.
    """
    repo, tag = request.repo, request.tag
    if tag and request.create_pr:
        raise UsageError(
            "only what was merged can have a tag",
            next_step="Merge the pull request, then publish again with the tag",
        )
    with tempfile.TemporaryDirectory(prefix="segzoo-") as place:
        folder = build_folder(request, Path(place) / "folder")
        there = Repository(repo)
        there.create(private=request.private)
        commit, created, url = there.put(
            folder.path,
            folder.manifest,
            message=f"Publish {folder.facts.config.model}" + (f" as {tag}" if tag else ""),
            tag=tag,
            create_pr=request.create_pr,
            replace_card=request.replace_card,
        )
        if tag:
            there.tag(tag, commit)
    record = record_of(folder.facts, repo, commit)
    return Published(repo, commit, tag, created, url, record, card.lines_for_spec(record))


def record_of(facts: Facts, repo: str, commit: str) -> Weights:
    """What a plugin's spec says of published weights, where the spec does not say it already."""
    config = facts.config
    entry, spec = find_spec(f"{config.distribution}/{config.model}")
    usual = configured.config_of(entry, spec, None)
    custom = spec.preprocess.custom  # code, which the config does not name
    own = dataclasses.replace(config.preprocess, custom=custom)
    different: dict[str, Any] = {
        name: value
        for name, value in {
            "num_classes": config.num_classes,
            "in_channels": config.in_channels,
            "task": config.task,
            "preprocess": own,
            "postprocess": config.postprocess,
        }.items()
        if value != getattr(usual, name)
    }
    return Weights(
        repo=repo,
        revision=commit,
        file=configs.WEIGHTS_NAME,
        sha256=config.files[configs.WEIGHTS_NAME],
        dtype=config.dtype,
        options={k: v for k, v in config.options.items() if v != usual.options[k]},
        classes=config.classes,
        palette=config.palette,
        trained_on=config.trained_on,
        metrics=tuple(
            dataclasses.replace(m, value=round(m.value, 4))
            for number, m in enumerate(facts.metrics)
            if sum(before.split == m.split for before in facts.metrics[:number]) < MOST
        ),
        license=config.license,
        source=facts.source,
        recipe=facts.train,
        notes=facts.notes,
        **different,
    )
