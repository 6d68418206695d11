"""The table of addresses: what is asked, and the function that answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote

from hub_server import commits, contents, repos
from hub_server.access import Reply, Request
from hub_server.store import Refusal

if TYPE_CHECKING:
    from hub_server.server import Hub

REPO = r"(?P<repo>[^/]+/[^/]+)"
REVISION = r"(?P<revision>[^/]+)"
MODEL = f"/api/models/{REPO}"
NUM = r"(?P<num>\d+)"
ROUTES: list[tuple[str, str, Callable[..., Reply]]] = [
    ("GET", "/api/whoami-v2", repos.whoami),
    ("GET", "/api/agent-harnesses", repos.agents),
    ("POST", "/api/repos/create", repos.create_repo),
    ("DELETE", "/api/repos/delete", repos.delete_repo),
    ("POST", "/api/validate-yaml", commits.validate_card),
    ("GET", "/api/models", repos.list_models),
    ("GET", f"/api/datasets/{REPO}", repos.dataset_info),
    ("GET", f"/datasets/{REPO}/resolve/{REVISION}/(?P<path>.+)", repos.dataset_file),
    ("GET", MODEL, repos.model_info),
    ("GET", f"{MODEL}/revision/{REVISION}", repos.model_info),
    ("PUT", f"{MODEL}/settings", repos.change_settings),
    ("GET", f"{MODEL}/auth-check", repos.may_read),
    ("GET", f"{MODEL}/auth-check/write", repos.may_write),
    ("GET", f"{MODEL}/tree/{REVISION}", contents.tree),
    ("GET", f"{MODEL}/tree/{REVISION}/(?P<folder>.+)", contents.tree),
    ("POST", f"{MODEL}/paths-info/{REVISION}", contents.paths_info),
    ("GET", f"{MODEL}/commits/{REVISION}", contents.list_commits),
    ("GET", f"{MODEL}/refs", contents.refs),
    ("POST", f"{MODEL}/tag/{REVISION}", contents.create_tag),
    ("DELETE", f"{MODEL}/tag/{REVISION}", contents.delete_tag),
    ("POST", f"{MODEL}/branch/{REVISION}", contents.create_branch),
    ("DELETE", f"{MODEL}/branch/{REVISION}", contents.delete_branch),
    ("POST", f"{MODEL}/preupload/{REVISION}", commits.preupload),
    ("POST", f"{MODEL}/commit/{REVISION}", commits.commit),
    ("GET", f"{MODEL}/discussions", commits.list_discussions),
    ("POST", f"{MODEL}/discussions", commits.create_discussion),
    ("GET", f"{MODEL}/discussions/{NUM}", commits.discussion_details),
    ("POST", f"{MODEL}/discussions/{NUM}/merge", commits.merge),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", commits.lfs_batch),
    ("POST", rf"/{REPO}\.git/info/lfs/verify", commits.lfs_verify),
    ("PUT", rf"/lfs/{REPO}/(?P<oid>[0-9a-f]{{64}})", contents.upload),
    ("GET", rf"/lfs/{REPO}/(?P<oid>[0-9a-f]{{64}})/(?P<path>.+)", contents.stored),
    ("GET", f"/{REPO}/resolve/{REVISION}/(?P<path>.+)", contents.resolve),
]


def answer(hub: Hub, request: Request) -> Reply:
    """Raises Refusal."""
    method = "GET" if request.method == "HEAD" else request.method
    for wanted, pattern, function in ROUTES:
        if method == wanted and (found := re.fullmatch(pattern, request.path)):
            named = {name: unquote(value) for name, value in found.groupdict().items()}
            return function(hub, request, **named)
    raise Refusal(501, f"This server does not know {request.method} {request.path}")
