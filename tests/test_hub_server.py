"""The server of the tests, asked by the unpatched huggingface_hub client and over plain HTTP."""

import base64
import hashlib
import http.client
import json
from importlib.metadata import version
from itertools import pairwise
from urllib.parse import urlsplit

import pytest
from hub_server.cards import EMPTY, judged
from hub_server.faults import Fault, portal
from hub_server.server import Hub
from hub_server.store import described, goes_to_lfs

WEIGHTS = bytes(range(256)) * 40
CARD = b"---\nlicense: mit\nlibrary_name: segzoo\ntags: [segzoo, u2net]\n---\n# A card\n"
LARGE = {"model.safetensors": WEIGHTS, "t/c.png": b"\0\1"}  # what goes to LFS
FILES = {**LARGE, "config.json": b"{}\n", "README.md": CARD}

# Each script prints JSON as its last line. A case is an expression; what it raises is told, too.
CASES = """
import json, os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from huggingface_hub import *

ALICE, READS, BOB = (HfApi(token=token) for token in os.environ["TOKENS"].split())
NOBODY = HfApi(token=False)
LIES = HfApi(token="hf_nobody")

CARD = b"---\\nlicense: my\\n---"

def add(path, content=b"{}"):
    return [CommitOperationAdd(path, content)]

def told(case):
    try:
        return eval(case)
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        return [type(error).__name__, status, str(error)]

def each(cases):
    with ThreadPoolExecutor(8) as pool:
        print(json.dumps(list(pool.map(told, cases)), default=str))
"""


def ask(hub, home, cases):
    return run(hub, home, f"each({list(cases)!r})")


def run(hub, home, code):
    """What a process says that begins with CASES."""
    tokens = f"{hub.token} {hub.read_token} {hub.other_token}"
    done = hub.run(f"{CASES}\n{code}", home, TOKENS=tokens)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def fetch(hub, method, path, body=None, *, storage=False, token=None, timeout=10, **headers):
    """(status, headers, body) over plain HTTP."""
    address = urlsplit(hub.storage if storage else hub.url)
    line = http.client.HTTPConnection(address.hostname, address.port, timeout=timeout)
    given = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        line.request(method, path, body, given | headers)
        reply = line.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        line.close()


def lfs_path(name, content):
    sha256 = hashlib.sha256(content).hexdigest()
    return f"/lfs/{name}/{sha256}", f"?size={len(content)}"


def send_commit(hub, *lines, **header):
    """POST a commit to alice/m as alice."""
    value = {"summary": "by hand", "description": "", **header}
    body = "\n".join(json.dumps(line) for line in [{"key": "header", "value": value}, *lines])
    return fetch(hub, "POST", "/api/models/alice/m/commit/main", body, token=hub.token)


ROUND = """
api, name = HfApi(), "alice/m"
said = {"who": api.whoami()["name"], "url": str(api.create_repo(name))}
files = json.loads(Path("files.json").read_text())
operations = [CommitOperationAdd(path, Path("in", path)) for path in files]
commit = api.create_commit(name, operations, commit_message="first", commit_description="more")
api.create_tag(name, tag="r1")
api.create_branch(name, branch="next", revision="r1")
said["commit"] = commit.oid
said["again"] = api.create_commit(
    name, [CommitOperationAdd("config.json", Path("in", "config.json"))], commit_message="same"
).oid
said["file"] = hf_hub_download(name, "model.safetensors", revision="r1")
said["snapshot"] = snapshot_download(name)
said["infos"] = [m.id for m in api.list_models(filter=["segzoo", "license:mit"], author="alice")]
said["others"] = [m.id for m in api.list_models(filter="timm")]
info = api.model_info(name, files_metadata=True)
said["info"] = [info.sha, info.library_name, info.card_data.license]
said["tree"] = {e.path: [e.blob_id, e.lfs and e.lfs.sha256, e.size] for e in api.list_repo_tree(
    name, recursive=True) if isinstance(e, RepoFile)}
said["below"] = [e.path for e in api.list_repo_tree(name, "t")]
refs = api.list_repo_refs(name)
said["refs"] = {ref.name: ref.target_commit for ref in refs.branches + refs.tags}
said["titles"] = [c.title for c in api.list_repo_commits(name)]
checked = api.verify_repo_checksums(name, cache_dir=Path(said["snapshot"]).parents[2])
said["checked"] = [checked.checked_count, checked.mismatches, checked.missing_paths]
api.create_commit(name, [CommitOperationDelete("t/", is_folder=True)], commit_message="less")
said["left"] = api.list_repo_files(name)
api.delete_tag(name, tag="r1")
api.delete_branch(name, branch="next")
said["gone"] = [api.revision_exists(name, "r1"), api.revision_exists(name, "next")]
api.delete_repo(name)
said["exists"] = api.repo_exists(name)
print(json.dumps(said))
"""


def test_the_client_creates_commits_tags_downloads_and_lists(hub, tmp_path):
    for path, content in FILES.items():
        target = tmp_path / "in" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    (tmp_path / "files.json").write_text(json.dumps(list(FILES)))
    said = run(hub, tmp_path / "home", f"os.chdir({str(tmp_path)!r})\n{ROUND}")
    commit = said["commit"]
    assert len(commit) == 40 and said["again"] == commit  # nothing had changed
    assert (said["who"], said["url"]) == ("alice", f"{hub.url}/alice/m")
    with open(said["file"], "rb") as file:
        assert file.read() == WEIGHTS
    for path, content in FILES.items():
        with open(f"{said['snapshot']}/{path}", "rb") as file:
            assert file.read() == content
    assert said["infos"] == ["alice/m"] and said["others"] == []
    assert said["info"] == [commit, "segzoo", "mit"]
    assert set(said["tree"]) == {*FILES, ".gitattributes"}
    sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    assert said["tree"]["model.safetensors"][1:] == [sha256, len(WEIGHTS)]
    assert said["tree"]["config.json"][1:] == [None, 3]
    assert said["below"] == ["t/c.png"]
    assert said["refs"] == {"main": commit, "next": commit, "r1": commit}
    assert said["titles"] == ["first", "initial commit"]
    assert said["checked"] == [5, [], []]  # the client's own hashes of what it has fetched
    assert said["left"] == [".gitattributes", "README.md", "config.json", "model.safetensors"]
    assert said["gone"] == [False, False] and said["exists"] is False
    sent = sorted(path for method, path in hub.requests if method == "PUT")
    assert sent == sorted(lfs_path("alice/m", content)[0] for content in LARGE.values())


@pytest.mark.parametrize(
    ("content", "oid"),  # as `git hash-object` gives
    [
        (b"", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
        (b"hello world\n", "3b18e512dba79e4c8300dd08aeb37f8e728b8dad"),
    ],
)
def test_small_files_have_the_ids_of_git(content, oid):
    assert described(content, lfs=False).etag == oid


@pytest.mark.parametrize(
    ("path", "content", "lfs"),
    [
        ("config.json", b"{}", False),
        ("model.safetensors", b"text", True),
        ("model.safetensors", b"", False),
        ("a.png", b"\x89PNG", True),
        ("a.md", b"x" * 511 + "é".encode(), False),  # cut within a character
        ("a.md", b"\0", True),
        ("a.md", b"\0" + b"x" * 510 + "é".encode(), True),
    ],
)
def test_the_hub_says_what_goes_to_lfs(path, content, lfs):
    assert goes_to_lfs(path, content, len(content)) is lfs


# What the Hub refuses

REFUSED = {  # case: (type, status, text); the status is that of the answer
    "NOBODY.model_info('alice/private')": ("RepositoryNotFoundError", 401, "Invalid username"),
    "BOB.model_info('alice/private')": ("RepositoryNotFoundError", 404, "Repository Not Found"),
    "ALICE.model_info('alice/none')": ("RepositoryNotFoundError", 404, "Repository Not Found"),
    "ALICE.model_info('alice/m', revision='r9')": ("RevisionNotFoundError", 404, "rev id: r9"),
    "hf_hub_download('alice/m', 'none.json')": ("RemoteEntryNotFoundError", 404, "Entry Not Found"),
    "LIES.whoami()": ("HfHubHTTPError", 401, "Invalid user token"),
    "LIES.model_info('alice/m')": ("HfHubHTTPError", 401, "Invalid credentials"),
    "NOBODY.create_repo('alice/x')": ("HfHubHTTPError", 401, "Invalid username or password"),
    "READS.create_repo('alice/x')": ("HfHubHTTPError", 403, "You don't have the rights"),
    "BOB.create_repo('alice/x')": ("HfHubHTTPError", 403, "You don't have the rights"),
    "ALICE.create_repo('alice/m')": ("HfHubHTTPError", 409, "You already created"),
    "NOBODY.create_commit('alice/m', add('a'), commit_message='a')": (
        *("HfHubHTTPError", 401),
        "Invalid username or password",
    ),
    "READS.create_commit('alice/m', add('a'), commit_message='a')": (
        *("HfHubHTTPError", 403),
        "you must use a write token",
    ),
    "BOB.create_commit('alice/m', add('a'), commit_message='a')": (
        *("HfHubHTTPError", 403),
        "pass `create_pr=1`",
    ),
    "ALICE.create_commit('alice/m', add('a'), commit_message='a', parent_commit='FIRST')": (
        *("HfHubHTTPError", 412),
        "A commit has happened since",
    ),
    "ALICE.create_commit('alice/m', add('a'), commit_message='a', revision='r9')": (
        *("RevisionNotFoundError", 404),
        "rev id: r9",
    ),
    "ALICE.create_commit('alice/m', add('README.md', CARD), commit_message='a')": (
        *("ValueError", None),
        'Invalid metadata in README.md.\n- "license" must be one of [apache-2.0, mit,',
    ),
    "ALICE.delete_file('none.json', 'alice/m')": (
        *("RemoteEntryNotFoundError", 404),
        "A file with this name doesn't exist",
    ),
    "ALICE.create_tag('alice/m', tag='r1')": ("HfHubHTTPError", 409, "exists already"),
    "ALICE.create_tag('alice/m', tag='r2', revision='r9')": ("RevisionNotFoundError", 404, "r9"),
    "ALICE.create_branch('alice/m', branch='main')": ("HfHubHTTPError", 409, "already exists"),
    "BOB.create_tag('alice/m', tag='r2')": ("HfHubHTTPError", 403, "Forbidden"),
    "NOBODY.hf_hub_download('alice/gated', 'config.json')": (
        *("GatedRepoError", 401),
        "Please log in",
    ),
    "BOB.hf_hub_download('alice/gated', 'config.json')": (
        *("GatedRepoError", 403),
        "you are not in the authorized list",
    ),
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    hub = Hub()
    try:
        first = hub.add("alice/m", {"config.json": b"{}"})
        hub.repos["alice/m"].tags["r1"] = hub.add("alice/m", {"config.json": b"{1}"})
        for name in ("alice/private", "alice/gated"):
            hub.add(name, {"config.json": b"{}"})
        hub.repos["alice/private"].private = True
        hub.repos["alice/gated"].gated = "manual"
        before = dict(hub.repos["alice/m"].branches), dict(hub.repos["alice/m"].tags)
        cases = [case.replace("FIRST", first) for case in REFUSED]
        told = ask(hub, tmp_path_factory.mktemp("home"), cases)
        assert before == (hub.repos["alice/m"].branches, hub.repos["alice/m"].tags)
    finally:
        hub.close()
    return dict(zip(REFUSED, told, strict=True))


@pytest.mark.parametrize("case", REFUSED)
def test_the_client_understands_a_refusal(refused, case):
    kind, status, text = REFUSED[case]
    assert refused[case][:2] == [kind, status]
    assert text in refused[case][2]


def test_a_granted_user_reads_a_gated_repository(hub, tmp_path):
    hub.add("alice/gated", {"config.json": b"{}"})
    hub.repos["alice/gated"].gated = "auto"
    hub.repos["alice/gated"].granted.add("bob")
    path = "/alice/gated/resolve/main/config.json"
    assert fetch(hub, "GET", path, token=hub.other_token)[0] == 200
    status, headers, _ = fetch(hub, "GET", path)
    assert (status, headers["X-Error-Code"]) == (401, "GatedRepo")


def test_a_stranger_makes_a_pull_request_and_the_owner_merges_it(hub, tmp_path):
    hub.add("alice/m", {"config.json": b"{}"})
    head = hub.repos["alice/m"].head.oid
    code = """
made = BOB.create_commit("alice/m", add("a.txt", b"x"), commit_message="a", create_pr=True)
said = [made.pr_url, made.pr_num, made.pr_revision]
said.append(Path(hf_hub_download("alice/m", "a.txt", revision="refs/pr/1")).read_text())
said.append(ALICE.file_exists("alice/m", "a.txt"))
said += [(d.num, d.title, d.author, d.status) for d in ALICE.get_repo_discussions("alice/m")]
ALICE.merge_pull_request("alice/m", 1)
said.append(ALICE.file_exists("alice/m", "a.txt"))
said.append(ALICE.get_discussion_details("alice/m", 1).status)
said.append(BOB.create_pull_request("alice/m", "later").num)
print(json.dumps(said))
"""
    assert run(hub, tmp_path, code) == [
        *(f"{hub.url}/alice/m/discussions/1", 1, "refs/pr/1", "x", False),
        *([1, "a", "bob", "open"], True, "merged", 2),
    ]
    assert hub.repos["alice/m"].head.parent == head


def test_what_no_client_would_send_is_refused(hub):
    hub.add("alice/m", {"model.safetensors": WEIGHTS})
    path, query = lfs_path("alice/m", b"right")
    oid = hashlib.sha256(b"right").hexdigest()
    status, _, said = fetch(hub, "PUT", path, b"wrong", storage=True)
    assert status == 400 and b"did not match" in said
    assert fetch(hub, "PUT", path, b"right", storage=True, token=hub.token)[0] == 400  # a leak
    lfs = {"key": "lfsFile", "value": {"path": "a.pt", "algo": "sha256", "oid": oid, "size": 5}}
    status, headers, _ = send_commit(hub, lfs)
    assert status == 400 and "LFS pointer pointed to a file that does not exist" in str(headers)
    assert fetch(hub, "PUT", path, b"right", storage=True)[0] == 200
    asked = json.dumps({"oid": oid, "size": 6})
    verify = "/alice/m.git/info/lfs/verify"
    assert fetch(hub, "POST", verify, asked, token=hub.token)[0] == 404
    assert send_commit(hub, lfs)[0] == 200
    name = f"{path}/a.pt{query}"
    assert fetch(hub, "GET", name, storage=True)[2] == b"right"
    assert fetch(hub, "GET", name, storage=True, token=hub.token)[0] == 400
    for name, content, text in [
        ("../a.txt", b"x", "Invalid path"),
        ("a.png", b"\0", "binary files"),
        ("README.md", b"---\nlicense: my\n---\n", "Invalid metadata in README.md"),
    ]:
        value = {"path": name, "content": base64.b64encode(content).decode(), "encoding": "base64"}
        status, headers, _ = send_commit(hub, {"key": "file", "value": value})
        assert status == 400 and text in headers["X-Error-Message"]
    assert send_commit(hub, summary="")[0] == 400
    assert fetch(hub, "GET", "/api/collections/alice/m")[0] == 501


@pytest.mark.parametrize(
    ("text", "errors", "warnings"),
    [
        ("---\nlicense: mit\n---\n", [], []),
        ("# no front matter", [], [EMPTY]),
        ("---\nlicense: [\n---\n", ["YAML parse error: while parsing a flow node"], []),
        ("---\ntags: segzoo\n---\n", ['"tags" must be an array'], []),
        ("---\ndatasets: [1]\n---\n", ['"datasets[0]" must be a string'], []),
        ("---\npipeline_tag: [a]\n---\n", ['"pipeline_tag" must be a string'], []),
        ("---\nmodel-index: {}\n---\n", ['"model-index" must be an array'], []),
        (
            "---\nmodel-index: [{name: m, results: [{task: {}, metrics: [{type: iou}]}]}]\n---\n",
            [
                '"model-index[0].results[0].task.type" is required',
                '"model-index[0].results[0].metrics[0].value" is required',
            ],
            [],
        ),
    ],
)
def test_cards_are_judged(hub, text, errors, warnings):
    assert judged(text) == (errors, warnings)
    body = json.dumps({"content": text, "repoType": "model"})
    status, _, said = fetch(hub, "POST", "/api/validate-yaml", body)
    assert status == (400 if errors else 200)
    assert [e["message"] for e in json.loads(said)["errors"]] == errors


# Contents and lists over plain HTTP


def test_a_file_has_the_headers_that_the_client_reads(hub):
    commit = hub.add("alice/m", {"model.safetensors": WEIGHTS, "config.json": b"{}"})
    status, headers, _ = fetch(hub, "HEAD", "/alice/m/resolve/main/config.json")
    assert (status, headers["X-Repo-Commit"], headers["Content-Length"]) == (200, commit, "2")
    assert headers["ETag"] == f'"{described(b"{}", lfs=False).oid}"'
    status, headers, _ = fetch(hub, "HEAD", f"/alice/m/resolve/{commit}/model.safetensors")
    sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    assert (status, headers["X-Linked-ETag"]) == (302, f'"{sha256}"')
    assert headers["X-Linked-Size"] == str(len(WEIGHTS))
    assert headers["Location"].startswith(f"{hub.storage}/lfs/alice/m/{sha256}/model.safetensors")
    status, headers, _ = fetch(hub, "HEAD", "/alice/m/resolve/main/none")
    assert (status, headers["X-Error-Code"]) == (404, "EntryNotFound")
    assert headers["X-Repo-Commit"] == commit


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=10-", 206, 10, len(WEIGHTS)),
        ("bytes=10-19", 206, 10, 20),
        ("bytes=0-999999", 206, 0, len(WEIGHTS)),
        (f"bytes={len(WEIGHTS)}-", 416, 0, 0),
        ("", 200, 0, len(WEIGHTS)),
    ],
)
def test_ranges(hub, asked, status, start, end):
    hub.add("alice/m", {"model.safetensors": WEIGHTS})
    path, query = lfs_path("alice/m", WEIGHTS)
    name = f"{path}/model.safetensors{query}"
    given, headers, body = fetch(hub, "GET", name, storage=True, Range=asked)
    assert (given, body) == (status, WEIGHTS[start:end])
    if status == 206:
        assert headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(WEIGHTS)}"


def test_a_tree_comes_in_pages(hub):
    hub.claim("alice/m", {f"d/{i:04}": 10**12 for i in range(2500)})
    path, sizes = "/api/models/alice/m/tree/main?recursive=true", []
    while path:
        _, headers, body = fetch(hub, "GET", path)
        sizes.append(len(json.loads(body)))
        link = headers.get("Link", "")
        path = link.partition(">")[0].removeprefix(f"<{hub.url}")
    assert sizes == [1000, 1000, 502]  # and the folder, and .gitattributes
    found = json.loads(fetch(hub, "GET", "/api/models/alice/m/tree/main")[2])
    assert [each["path"] for each in found] == [".gitattributes", "d"]


@pytest.mark.stress
def test_a_tree_may_have_a_million_files(hub):
    hub.claim("alice/m", dict.fromkeys((f"{i:06}" for i in range(10**6)), 1))
    assert len(json.loads(fetch(hub, "GET", "/api/models/alice/m/tree/main")[2])) == 1000


# Faults

# Release 1 gives up where 2 asks again, and says less of why.
release_2 = pytest.mark.skipif(
    version("huggingface_hub").startswith("1."), reason="of the client's release 2"
)
MET = {  # repository: what strikes it; {path} is where its weights lie
    "alice/cut": Fault("GET {path}/*", cut=0.5),
    "alice/flip": Fault("GET {path}/*", flip=True),
    "alice/portal": portal("HEAD */resolve/*"),
    "alice/untagged": Fault("HEAD */resolve/*", times=None, headers={"X-Linked-ETag": None}),
    "alice/busy": Fault("GET */tree/*", status=503, times=1),
    "alice/limited": Fault("GET */tree/*", status=429, headers={"Retry-After": "1"}),
}


@pytest.fixture(scope="module")
def met(tmp_path_factory):
    """What the client says of each fault, and the requests that it made."""
    hub = Hub()
    try:
        for name, fault in MET.items():
            hub.add(name, {"model.safetensors": name.encode() * 1000})
            path = lfs_path(name, name.encode() * 1000)[0]
            where = fault.where.format(path=path).replace("*/resolve", f"/{name}/resolve")
            where = where.replace("*/tree", f"/api/models/{name}/tree")
            hub.faults.append(Fault(**{**vars(fault), "where": where}))
        hub.add("alice/evil", {"../x": b"1", "C:\\x": b"2", "\\\\host\\share": b"3"})
        cases = {
            name: f"ALICE.list_repo_files({name!r})"
            if "tree" in fault.where
            else f"Path(hf_hub_download({name!r}, 'model.safetensors')).read_bytes().decode()"
            for name, fault in MET.items()
        }
        cases["listed"] = "ALICE.list_repo_files('alice/evil')"
        cases["alice/evil"] = "snapshot_download('alice/evil')"
        told = ask(hub, tmp_path_factory.mktemp("home"), cases.values())
        return dict(zip(cases, told, strict=True)), hub.requests
    finally:
        hub.close()


@release_2
def test_the_client_resumes_a_download_that_was_cut(met):
    said, requests = met
    assert said["alice/cut"] == "alice/cut" * 1000
    assert sum(method == "GET" and "/alice/cut/" in path for method, path in requests) == 2


def test_the_client_takes_wrong_bytes_of_the_right_size(met):
    """So segzoo must check them itself."""
    assert met[0]["alice/flip"] == ("alice/flip" * 1000)[:-1] + "q"


@release_2
@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("alice/portal", "LocalEntryNotFoundError", "missing the 'X-Repo-Commit' header"),
        ("alice/untagged", "LocalEntryNotFoundError", "does not have an ETag"),
        ("alice/evil", "ValueError", "Invalid"),
    ],
)
def test_the_client_refuses_what_a_fault_has_made(met, name, kind, text):
    assert met[0][name][0] == kind
    assert text in met[0][name][2]


@release_2
@pytest.mark.parametrize("name", ["alice/busy", "alice/limited"])
def test_the_client_asks_again_when_the_hub_is_busy(met, name):
    said, requests = met
    assert said[name] == [".gitattributes", "model.safetensors"]
    assert requests.count(("GET", f"/api/models/{name}/tree/main")) == 2


def test_evil_names_are_in_the_tree(met):
    assert set(met[0]["listed"]) == {".gitattributes", "../x", "C:\\x", "\\\\host\\share"}


def test_a_fault_strikes_as_often_as_it_says(hub):
    hub.faults += [Fault("GET /api/whoami*", status=500), Fault("GET /api/who*", 2, status=502)]
    found = [fetch(hub, "GET", "/api/whoami-v2", token=hub.token)[0] for _ in range(4)]
    assert found == [500, 502, 502, 200]
    hub.faults.append(Fault("*", None, status=503, headers={"Retry-After": "1000000000"}))
    for _ in range(3):
        status, headers, _ = fetch(hub, "POST", "/api/repos/create", "{}")
        assert (status, headers["Retry-After"]) == (503, "1000000000")


def test_a_commit_may_be_made_though_its_answer_is_an_error_or_lost(hub):
    hub.add("alice/m", {"config.json": b"{}"})
    heads = [hub.repos["alice/m"].head.oid]
    for fault in (Fault("*", status=500), Fault("*", status=500, late=True), Fault("*", cut=0.0)):
        hub.faults.append(fault)
        try:
            assert send_commit(hub)[0] == 500
        except http.client.RemoteDisconnected:
            assert fault.cut == 0.0
        heads.append(hub.repos["alice/m"].head.oid)
    assert [a != b for a, b in pairwise(heads)] == [False, True, True]


def test_an_upload_may_be_cut(hub):
    hub.add("alice/m", {})
    path, _ = lfs_path("alice/m", WEIGHTS)
    hub.faults.append(Fault("PUT /lfs/*", cut_upload=0.5))
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        fetch(hub, "PUT", path, WEIGHTS, storage=True)
    assert hashlib.sha256(WEIGHTS).hexdigest() not in hub.repos["alice/m"].blobs
    assert fetch(hub, "PUT", path, WEIGHTS, storage=True)[0] == 200


def test_a_body_may_be_cut(hub):
    hub.add("alice/m", {"config.json": b"0123456789"})
    hub.faults.append(Fault("GET */config.json", cut=0.3))
    with pytest.raises(http.client.IncompleteRead) as caught:
        fetch(hub, "GET", "/alice/m/resolve/main/config.json")
    assert caught.value.partial == b"012"


@pytest.mark.parametrize("part", [0.0, 0.5])
def test_a_stalled_line_stays_open_until_the_server_ends(hub, part):
    hub.add("alice/m", {"config.json": b"0123456789"})
    hub.faults.append(Fault("GET */config.json", stall=part))
    with pytest.raises(TimeoutError):
        fetch(hub, "GET", "/alice/m/resolve/main/config.json", timeout=0.2)


def test_a_stalled_line_may_drip(hub):
    hub.add("alice/m", {"config.json": b"0123456789"})
    hub.faults.append(Fault("GET */config.json", stall=0.5, pace=0.01))
    assert fetch(hub, "GET", "/alice/m/resolve/main/config.json")[2] == b"0123456789"


def test_a_claimed_file_ends_early(hub):
    hub.claim("alice/m", {"model.safetensors": 10**6})
    _, headers, _ = fetch(hub, "HEAD", "/alice/m/resolve/main/model.safetensors")
    assert headers["X-Linked-Size"] == str(10**6)
    path = headers["Location"].removeprefix(hub.storage)
    with pytest.raises(http.client.IncompleteRead):
        fetch(hub, "GET", path, storage=True)


def test_settings_lead_a_client_to_the_server(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", "elsewhere")
    monkeypatch.setenv("HF_TOKEN", "mine")
    found = hub.environment(tmp_path, token=None)
    assert found["HF_ENDPOINT"] == hub.url and found["HF_HUB_OFFLINE"] == "0"
    assert "HF_TOKEN" not in found and "HF_HUB_CACHE" not in found
    assert hub.environment(tmp_path)["HF_TOKEN"] == hub.token


def test_a_mistake_of_the_server_fails_the_test(capsys):
    hub = Hub()
    with pytest.raises(http.client.RemoteDisconnected):
        fetch(hub, "POST", "/api/validate-yaml", "no JSON")
    with pytest.raises(AssertionError, match="JSONDecodeError"):
        hub.close()
