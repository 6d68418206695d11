"""What a repository has: trees, references, commits, and the bytes of files."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

from hub_server.access import Reply, Request, opened, paged, readable, says, writable
from hub_server.store import Commit, Refusal, Repo

if TYPE_CHECKING:
    from hub_server.server import Hub


def tree(hub: Hub, request: Request, repo: str, revision: str, folder: str = "") -> Reply:
    commit = readable(hub, request, repo).find(revision)
    names, start = commit.names, f"{folder}/" if folder else ""
    if folder and folder not in commit.folders:
        raise Refusal(404, f"{folder} does not exist on {revision!r}", "EntryNotFound")
    if start:
        names = [name for name in names if name.startswith(start)]
    if not request.flag("recursive"):
        names = [name for name in names if "/" not in name[len(start) :]]
    return paged(hub, request, names, lambda name: entry(commit, name))


def entry(commit: Commit, name: str) -> dict[str, Any]:
    file = commit.files.get(name)
    if file is None:
        oid = hashlib.sha1(name.encode()).hexdigest()
        return {"type": "directory", "oid": oid, "size": 0, "path": name}
    found: dict[str, Any] = {"type": "file", "oid": file.oid, "size": file.size, "path": name}
    if file.sha256:
        found["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 130}
    return found


def paths_info(hub: Hub, request: Request, repo: str, revision: str) -> Reply:
    commit = readable(hub, request, repo).find(revision)
    asked = parse_qs(request.body.decode())["paths"]
    return says([entry(commit, n) for n in asked if n in commit.files or n in commit.folders])


def list_commits(hub: Hub, request: Request, repo: str, revision: str) -> Reply:
    found = readable(hub, request, repo)
    return paged(hub, request, list(found.history(found.find(revision))), commit_said)


def commit_said(commit: Commit) -> dict[str, Any]:
    authors = [{"user": commit.author}]
    said = {"id": commit.oid, "title": commit.title, "message": commit.message}
    return {**said, "date": commit.date, "authors": authors}


def refs(hub: Hub, request: Request, repo: str) -> Reply:
    found = readable(hub, request, repo)

    def said(names: dict[str, str], start: str) -> list[dict[str, str]]:
        return [{"name": n, "ref": f"{start}{n}", "targetCommit": oid} for n, oid in names.items()]

    pulls = {"pullRequests": said(found.heads, "")} if request.flag("include_prs") else {}
    branches, tags = said(found.branches, "refs/heads/"), said(found.tags, "refs/tags/")
    return says({"branches": branches, "tags": tags, "converts": [], **pulls})


def create_tag(hub: Hub, request: Request, repo: str, revision: str) -> Reply:
    found, name = writable(hub, request, repo), request.json()["tag"]
    if name in found.tags:
        raise Refusal(409, "Tag reference exists already")
    found.tags[name] = found.find(revision).oid
    return says({})


def delete_tag(hub: Hub, request: Request, repo: str, revision: str) -> Reply:
    return forget(writable(hub, request, repo).tags, revision)


def create_branch(hub: Hub, request: Request, repo: str, revision: str) -> Reply:
    found, asked = writable(hub, request, repo), request.json()
    if revision in found.branches:
        raise Refusal(409, "Reference already exists")
    found.branches[revision] = found.find(asked.get("startingPoint", "main")).oid
    return says({})


def delete_branch(hub: Hub, request: Request, repo: str, revision: str) -> Reply:
    if revision == "main":
        raise Refusal(400, "The default branch cannot be deleted")
    return forget(writable(hub, request, repo).branches, revision)


def forget(names: dict[str, str], name: str) -> Reply:
    if name not in names:
        raise Refusal(404, f"Invalid rev id: {name}", "RevisionNotFound")
    del names[name]
    return says({})


def resolve(hub: Hub, request: Request, repo: str, revision: str, path: str) -> Reply:
    found = opened(hub, request, repo)
    commit = found.find(revision)
    file = commit.files.get(path)
    if file is None:
        raise Refusal(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit.oid)
    said = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
    if file.sha256 is None:
        return part(request, found.blobs[file.oid], file.size, said | {"ETag": f'"{file.oid}"'})
    said |= {"X-Linked-ETag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
    location = f"{hub.storage}/lfs/{repo}/{file.sha256}/{quote(path.rpartition('/')[2])}"
    location += f"?size={file.size}"
    return Reply(b"", 302, said | {"Location": location})


def stored(hub: Hub, request: Request, repo: str, oid: str, path: str) -> Reply:
    content = at_storage(hub, request, repo).blobs.get(oid, b"")
    size = int(request.query["size"][0])  # which differs from the content's where it is claimed
    return part(request, content, size, {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"})


def part(request: Request, content: bytes, size: int, headers: dict[str, str]) -> Reply:
    """The content, or the one range of it that is asked for."""
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if asked is None:
        return Reply(content, 200, headers, size)
    start, end = int(asked[1]), min(int(asked[2] or size), size - 1)
    if start >= size:
        return Reply(b"", 416, {"Content-Range": f"bytes */{size}"})
    headers = headers | {"Content-Range": f"bytes {start}-{end}/{size}"}
    return Reply(content[start : end + 1], 206, headers, end + 1 - start)


def upload(hub: Hub, request: Request, repo: str, oid: str) -> Reply:
    found = at_storage(hub, request, repo)
    if hashlib.sha256(request.body).hexdigest() != oid:
        text = "The Content-SHA256 you specified did not match what we received"
        error = f"<Error><Code>XAmzContentSHA256Mismatch</Code><Message>{text}</Message></Error>"
        return Reply(error.encode(), 400, {"Content-Type": "application/xml"})
    found.blobs[oid] = request.body
    return Reply(headers={"ETag": f'"{oid}"'})


def at_storage(hub: Hub, request: Request, repo: str) -> Repo:
    if not request.storage or "authorization" in request.headers:
        raise Refusal(400, "Only one auth mechanism allowed: the signed address or a token")
    return hub.repos[repo]
