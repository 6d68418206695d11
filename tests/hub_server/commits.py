"""What changes a repository: uploads, commits and pull requests."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hub_server import cards
from hub_server.access import Reply, Request, known, readable, says, writable
from hub_server.store import File, Pull, Refusal, Repo, claimed, goes_to_lfs, now

if TYPE_CHECKING:
    from hub_server.server import Hub

STALE = "A commit has happened since. Please refresh and try again."
NO_POINTER = "Your push was rejected because an LFS pointer pointed to a file that does not exist."
BINARY = "Your push was rejected because it contains binary files."


def validate_card(hub: Hub, request: Request) -> Reply:
    errors, warnings = cards.judged(request.json()["content"])
    said: dict[str, Any] = {
        "errors": [{"message": text} for text in errors],
        "warnings": [{"message": text} for text in warnings],
    }
    return says(said, 400 if errors else 200)


def preupload(hub: Hub, request: Request, repo: str, revision: str) -> Reply:
    found = writable(hub, request, repo, by_pull=request.flag("create_pr"))
    commit = found.find(revision)
    said = []
    for file in request.json()["files"]:
        lfs = goes_to_lfs(file["path"], base64.b64decode(file["sample"]), file["size"])
        old = commit.files.get(file["path"])
        oid = {"oid": old.etag} if old is not None else {}
        mode = "lfs" if lfs else "regular"
        said.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, **oid})
    return says({"files": said, "commitOid": commit.oid})


def lfs_batch(hub: Hub, request: Request, repo: str) -> Reply:
    """Where to put each file; a file that the repository has already gets no actions."""
    found = writable(hub, request, repo, by_pull=True)
    said = []
    for file in request.json()["objects"]:
        oid, size = file["oid"], file["size"]
        answer: dict[str, Any] = {"oid": oid, "size": size, "authenticated": True}
        if oid not in found.blobs:
            href = {"upload": f"{hub.storage}/lfs/{repo}/{oid}"}
            href["verify"] = f"{hub.url}/{repo}.git/info/lfs/verify"
            answer["actions"] = {name: {"href": url, "header": {}} for name, url in href.items()}
        said.append(answer)
    return says({"transfer": "basic", "objects": said})


def lfs_verify(hub: Hub, request: Request, repo: str) -> Reply:
    found, asked = writable(hub, request, repo, by_pull=True), request.json()
    if len(found.blobs.get(asked["oid"], b"")) != asked["size"]:
        raise Refusal(404, "The file was not uploaded")
    return says({})


def commit(hub: Hub, request: Request, repo: str, revision: str) -> Reply:
    by_pull = request.flag("create_pr")
    found = writable(hub, request, repo, by_pull=by_pull)
    head = found.find(revision)
    if not (by_pull or revision in found.branches or revision in found.heads):
        raise Refusal(400, f"{revision} is no branch")
    first, *rest = (json.loads(line) for line in request.body.splitlines())
    header = first["value"]
    if not header.get("summary"):
        raise Refusal(400, '"summary" is required')
    if (parent := header.get("parentCommit")) is not None and parent != head.oid:
        if not by_pull:
            raise Refusal(412, STALE)
        head = found.find(parent)
    files = dict(head.files)
    for operation in rest:
        OPERATIONS[operation["key"]](found, files, operation["value"])
    author = known(hub, request).name
    made = found.commit(
        files,
        title=header["summary"],
        message=header.get("description", ""),
        author=author,
        parent=head.oid,
    )
    said: dict[str, Any] = {"success": True, "commitOid": made.oid, "hookOutput": ""}
    said["commitUrl"] = f"{hub.url}/{repo}/commit/{made.oid}"
    if by_pull:
        found.pulls.append(Pull(len(found.pulls) + 1, made.title, author, made.date))
        found.heads[f"refs/pr/{len(found.pulls)}"] = made.oid
        said["pullRequestUrl"] = f"{hub.url}/{repo}/discussions/{len(found.pulls)}"
    elif revision in found.heads:
        found.heads[revision] = made.oid
    else:
        found.branches[revision] = made.oid
    return says(said)


def add_file(repo: Repo, files: dict[str, File], value: dict[str, Any]) -> None:
    path, content = checked(value["path"]), base64.b64decode(value["content"])
    if path == "README.md":
        errors, _ = cards.judged(content.decode())
        if errors:
            raise Refusal(400, "Invalid metadata in README.md: " + "; ".join(errors))
    if goes_to_lfs(path, content, len(content)):
        raise Refusal(400, f"{BINARY} Offending file: {path}")
    files[path] = repo.put(content, lfs=False)


def add_lfs_file(repo: Repo, files: dict[str, File], value: dict[str, Any]) -> None:
    content = repo.blobs.get(value["oid"])
    if content is None or value.get("size", len(content)) != len(content):
        raise Refusal(400, NO_POINTER)
    files[checked(value["path"])] = claimed(value["oid"], len(content))


def delete_file(repo: Repo, files: dict[str, File], value: dict[str, Any]) -> None:
    if files.pop(value["path"], None) is None:
        raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")


def delete_folder(repo: Repo, files: dict[str, File], value: dict[str, Any]) -> None:
    start = value["path"].rstrip("/") + "/"
    if not (gone := [path for path in files if path.startswith(start)]):
        raise Refusal(404, "A folder with this name doesn't exist", "EntryNotFound")
    for path in gone:
        del files[path]


OPERATIONS: dict[str, Callable[[Repo, dict[str, File], dict[str, Any]], None]] = {
    "file": add_file,
    "lfsFile": add_lfs_file,
    "deletedFile": delete_file,
    "deletedFolder": delete_folder,
}


def checked(path: str) -> str:
    """A path that git takes."""
    if any(part in ("", ".", "..", ".git") for part in path.split("/")):
        raise Refusal(400, f"Invalid path: {path}")
    return path


def list_discussions(hub: Hub, request: Request, repo: str) -> Reply:
    found = readable(hub, request, repo)
    status = request.query.get("status", [None])[0]
    pulls = [discussion(found, p) for p in found.pulls if status in (None, p.status)]
    return says({"count": len(pulls), "start": 0, "discussions": pulls})


def create_discussion(hub: Hub, request: Request, repo: str) -> Reply:
    found, asked = writable(hub, request, repo, by_pull=True), request.json()
    if not asked["pullRequest"]:
        raise Refusal(400, "This server keeps pull requests and no other discussions")
    num = len(found.pulls) + 1
    found.pulls.append(Pull(num, asked["title"], known(hub, request).name, now(), "draft"))
    found.heads[f"refs/pr/{num}"] = found.head.oid
    return says({"num": num, "pullRequest": True})


def discussion_details(hub: Hub, request: Request, repo: str, num: str) -> Reply:
    found = readable(hub, request, repo)
    details = {"changes": {"base": "main"}, "filesWithConflicts": [], "events": [], "diff": ""}
    return says(discussion(found, pull(found, num)) | details)


def merge(hub: Hub, request: Request, repo: str, num: str) -> Reply:
    found = writable(hub, request, repo)
    wanted = pull(found, num)
    head = found.commits[found.heads[f"refs/pr/{num}"]]
    if found.head not in found.history(head):
        raise Refusal(409, "This pull request has conflicts with the base branch")
    wanted.status = "merged"
    found.branches["main"] = head.oid
    return says({})


def pull(repo: Repo, num: str) -> Pull:
    if not 0 < int(num) <= len(repo.pulls):
        raise Refusal(404, "Discussion not found")
    return repo.pulls[int(num) - 1]


def discussion(repo: Repo, pull: Pull) -> dict[str, Any]:
    return {
        "num": pull.num,
        "title": pull.title,
        "author": {"name": pull.author},
        "createdAt": pull.date,
        "status": pull.status,
        "isPullRequest": True,
        "repo": {"name": repo.id, "type": "model"},
    }
