"""Accounts, repositories, and their lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from hub_server import cards
from hub_server.access import Reply, Request, known, opened, paged, readable, says, sender, writable
from hub_server.store import Commit, Refusal, Repo, new_repo

if TYPE_CHECKING:
    from hub_server.server import Hub

SIBLINGS = 50_000  # names of files in the description of a repository; its tree has them all


def agents(hub: Hub, request: Request) -> Reply:
    """The programs that a client tells the Hub of; one without a cache of them asks first."""
    return says({"standardEnvVars": [], "harnesses": {}})


def whoami(hub: Hub, request: Request) -> Reply:
    user = known(hub, request)
    token = {"displayName": "a test", "role": "write" if user.write else "read"}
    auth = {"type": "access_token", "accessToken": token}
    return says({"type": "user", "name": user.name, "orgs": [], "auth": auth})


def create_repo(hub: Hub, request: Request) -> Reply:
    user, asked = known(hub, request), request.json()
    owner = asked["organization"] or user.name
    name = f"{owner}/{asked['name']}"
    if not user.write:
        raise Refusal(403, 'You don\'t have the rights to create a model: use a "write" token')
    if owner != user.name:
        raise Refusal(403, f'You don\'t have the rights to create a model under "{owner}"')
    found = {"url": f"{hub.url}/{name}", "name": name}
    if name in hub.repos:
        return says({"error": "You already created this model repo", **found}, 409)
    private = asked.get("private") or asked.get("visibility") == "private"  # by older clients
    hub.repos[name] = new_repo(name, private=bool(private))
    return says(found)


def delete_repo(hub: Hub, request: Request) -> Reply:
    asked = request.json()
    name = f"{asked['organization'] or known(hub, request).name}/{asked['name']}"
    del hub.repos[writable(hub, request, name).id]
    return says({})


def change_settings(hub: Hub, request: Request, repo: str) -> Reply:
    found, asked = writable(hub, request, repo), request.json()
    found.gated = asked.get("gated", found.gated)
    if "visibility" in asked or "private" in asked:
        found.private = asked.get("private", asked.get("visibility") == "private")
    return says({"private": found.private, "gated": found.gated})


def may_read(hub: Hub, request: Request, repo: str) -> Reply:
    opened(hub, request, repo)
    return says({})


def may_write(hub: Hub, request: Request, repo: str) -> Reply:
    writable(hub, request, repo)
    return says({})


def list_models(hub: Hub, request: Request) -> Reply:
    user = sender(hub, request)
    wanted = set(request.query.get("filter", [])) | set(request.query.get("pipeline_tag", []))
    author = request.query.get("author", [None])[0]
    search = request.query.get("search", [""])[0].lower()
    found = []
    for name, repo in sorted(hub.repos.items()):
        if repo.private and (user is None or user.name != repo.owner):
            continue
        info = described(repo, repo.head)
        if wanted <= set(info["tags"]) and author in (None, repo.owner) and search in name.lower():
            found.append(info)
    return paged(hub, request, found)


def model_info(hub: Hub, request: Request, repo: str, revision: str = "main") -> Reply:
    found = readable(hub, request, repo)
    return says(described(found, found.find(revision), blobs=request.flag("blobs")))


DATASET_COMMIT = "d" * 40


def dataset_info(hub: Hub, request: Request, repo: str) -> Reply:
    if repo not in hub.datasets:
        raise Refusal(404, "Repository not found", "RepoNotFound")
    tags = ["task_categories:image-segmentation"]
    tags += ["benchmark:official"] if repo in hub.benchmarks else []
    return says({"id": repo, "sha": DATASET_COMMIT, "private": False, "tags": tags})


def dataset_file(hub: Hub, request: Request, repo: str, revision: str, path: str) -> Reply:
    if revision not in ("main", DATASET_COMMIT) or path not in hub.datasets.get(repo, {}):
        raise Refusal(404, "Entry not found", "EntryNotFound")
    return Reply(hub.datasets[repo][path], 200, {"Content-Type": "text/plain"})


def described(repo: Repo, commit: Commit, *, blobs: bool = False) -> dict[str, Any]:
    card = card_of(repo, commit)
    tags = cards.words(card, "tags")
    for key in ("library_name", "pipeline_tag"):
        tags += cards.words(card, key)
    tags += [f"license:{each}" for each in cards.words(card, "license")]
    tags += [f"dataset:{each}" for each in cards.words(card, "datasets")]
    siblings: list[dict[str, Any]] = []
    for path, file in list(commit.files.items())[:SIBLINGS]:
        lfs = {"sha256": file.sha256, "size": file.size, "pointerSize": 130}
        more = {"size": file.size, "blobId": file.oid} | ({"lfs": lfs} if file.sha256 else {})
        siblings.append({"rfilename": path} | (more if blobs else {}))
    return {
        "_id": "0" * 24,
        "id": repo.id,
        "modelId": repo.id,
        "author": repo.owner,
        "sha": commit.oid,
        "createdAt": repo.created,
        "lastModified": commit.date,
        "private": repo.private,
        "gated": repo.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": tags,
        "cardData": card,
        "siblings": siblings,
        "usedStorage": sum(file.size for file in commit.files.values()),
    } | {key: card[key] for key in ("library_name", "pipeline_tag") if key in card}


def card_of(repo: Repo, commit: Commit) -> dict[str, Any]:
    """Its metadata; a card that a test has put there may be of any kind."""
    file = commit.files.get("README.md")
    if file is None:
        return {}
    try:
        return cards.metadata(repo.blobs.get(file.etag, b"").decode(errors="replace"))
    except yaml.YAMLError:
        return {}
