"""What the server keeps: repositories, chains of commits, files with the ids that git gives."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

LFS_SUFFIXES = (
    *(".bin", ".ckpt", ".h5", ".keras", ".npy", ".npz", ".onnx"),
    *(".pickle", ".pkl", ".pt", ".pth", ".safetensors"),
    *(".gz", ".tar", ".tgz", ".zip"),
)
LARGE = 10 * 2**20  # bytes; from here on a file goes to LFS, whatever its name
SAMPLE = 512  # bytes that a client shows of a file before it sends it
ATTRIBUTES = "".join(f"*{s} filter=lfs diff=lfs merge=lfs -text\n" for s in LFS_SUFFIXES).encode()
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n"


class Refusal(Exception):
    """An answer with an error status, and the X-Error-Code that the client reads, if any."""

    def __init__(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass(frozen=True)
class User:
    name: str
    write: bool = True  # the right of the token, not of the person


@dataclass(frozen=True)
class File:
    """`oid` is git's id of the blob, for an LFS file of its pointer."""

    oid: str
    size: int
    sha256: str | None = None  # of an LFS file

    @property
    def etag(self) -> str:
        return self.sha256 or self.oid


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    files: Mapping[str, File]
    title: str
    message: str
    author: str
    date: str

    @cached_property
    def folders(self) -> frozenset[str]:
        found: set[str] = set()
        for name in self.files:
            folder = name.rpartition("/")[0]
            while folder and folder not in found:
                found.add(folder)
                folder = folder.rpartition("/")[0]
        return frozenset(found)

    @cached_property
    def names(self) -> list[str]:
        """Of all files and folders, sorted."""
        return sorted([*self.files, *self.folders])


@dataclass
class Pull:
    num: int
    title: str
    author: str
    date: str
    status: str = "open"


@dataclass
class Repo:
    id: str
    private: bool = False
    gated: str | bool = False  # False, "auto" or "manual"
    granted: set[str] = field(default_factory=set)  # users that may read a gated repository
    blobs: dict[str, bytes] = field(default_factory=dict)  # by etag
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: list[Pull] = field(default_factory=list)
    heads: dict[str, str] = field(default_factory=dict)  # of pull requests, by refs/pr/N
    created: str = field(default_factory=lambda: now())

    @property
    def owner(self) -> str:
        return self.id.partition("/")[0]

    @property
    def head(self) -> Commit:
        return self.commits[self.branches["main"]]

    def find(self, revision: str) -> Commit:
        """The commit that a branch, a tag, a pull request or a full id means."""
        short = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        for names in (self.heads, self.branches, self.tags):
            if short in names:
                return self.commits[names[short]]
        if revision in self.commits:
            return self.commits[revision]
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def put(self, content: bytes, *, lfs: bool) -> File:
        file = described(content, lfs=lfs)
        self.blobs[file.etag] = content
        return file

    def commit(
        self,
        files: Mapping[str, File],
        *,
        title: str,
        message: str = "",
        author: str,
        parent: str | None,
    ) -> Commit:
        """Make a commit of these files and no others; no branch is moved."""
        date = now()
        tree = git_id("tree", "".join(f"{n} {f.oid}\n" for n, f in sorted(files.items())).encode())
        text = f"tree {tree}\nparent {parent}\nauthor {author} {date}\nnumber {len(self.commits)}\n"
        oid = git_id("commit", f"{text}\n{title}\n\n{message}".encode())
        self.commits[oid] = Commit(oid, parent, dict(files), title, message, author, date)
        return self.commits[oid]

    def history(self, commit: Commit) -> Iterable[Commit]:
        """Newest first."""
        yield commit
        while commit.parent is not None:
            commit = self.commits[commit.parent]
            yield commit


def new_repo(name: str, *, private: bool = False) -> Repo:
    repo = Repo(name, private=private)
    files = {".gitattributes": repo.put(ATTRIBUTES, lfs=False)}
    first = repo.commit(files, title="initial commit", author=repo.owner, parent=None)
    repo.branches["main"] = first.oid
    return repo


def git_id(kind: str, content: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content).hexdigest()


def described(content: bytes, *, lfs: bool) -> File:
    if not lfs:
        return File(git_id("blob", content), len(content))
    return claimed(hashlib.sha256(content).hexdigest(), len(content))


def claimed(sha256: str, size: int) -> File:
    """An LFS file as its pointer describes it."""
    return File(git_id("blob", POINTER.format(sha256, size).encode()), size, sha256)


def goes_to_lfs(path: str, sample: bytes, size: int) -> bool:
    """Whether the Hub wants a file in LFS: by its suffix, its size, or because it is no text."""
    if size == 0:
        return False  # the storage takes no empty object
    return path.endswith(LFS_SUFFIXES) or size >= LARGE or not is_text(sample[:SAMPLE])


def is_text(sample: bytes) -> bool:
    try:
        sample.decode()
    except UnicodeDecodeError as error:  # a character may be cut at the end of the sample
        return error.start >= SAMPLE - 3 and b"\0" not in sample
    return b"\0" not in sample


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
