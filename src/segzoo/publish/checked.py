"""Whether what is to be published, or is on the Hub already, keeps its documented rules."""

import os
import tempfile
from pathlib import Path

from segzoo.base.home import expanded
from segzoo.hub.fetch import fetch, listing, snapshot_of
from segzoo.publish import rules
from segzoo.publish.folder import build_folder
from segzoo.publish.request import PublishRequest
from segzoo.publish.rules import CARD, RESULT_FILE, Verdict
from segzoo.saved.manifest import MANIFEST_NAME
from segzoo.zoo import refs
from segzoo.zoo.refs import Hub

__all__ = ["verdicts_on"]


def verdicts_on(request: PublishRequest) -> list[Verdict]:
    """What comes of each rule. Nothing is sent.

    The source may also be a folder that `build_folder` made, or `hf-hub:user/name[@revision]`,
    which is looked at as it is now. HubError and its kinds; errors of `build_folder`.
    """
    source = request.source
    if isinstance(source, str) and source.startswith(refs.HUB):
        found = refs.parse(source)
        assert isinstance(found, Hub)  # by its beginning
        return rules.judged(_on_the_hub(found))
    if isinstance(source, str | os.PathLike):
        place = Path(expanded(source))
        if (place / CARD).is_file() and (place / MANIFEST_NAME).is_file():
            return rules.judged(rules.sheet_of(place))
    with tempfile.TemporaryDirectory(prefix="segzoo-") as made:
        return rules.judged(rules.sheet_of(build_folder(request, Path(made) / "folder").path))


def _on_the_hub(ref: Hub) -> rules.Sheet:
    """A repository: what its files are called, and those of them that the rules read."""
    snapshot = snapshot_of(ref.repo, ref.revision, fresh=True)
    names = frozenset(listing(snapshot))
    read = [name for name in names if name == CARD or RESULT_FILE.fullmatch(name)]
    return rules.sheet_of(fetch(snapshot, read), names)
