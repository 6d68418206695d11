"""What a reference means, and what is refused before anything is opened or asked."""

from pathlib import Path

import pytest

from segzoo.errors import UsageError
from segzoo.zoo.refs import Folder, Hub, Named, parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("ref", "meaning"),
    [
        ("tiny", Named("tiny")),
        ("tiny.first", Named("tiny", "first")),
        ("acme-seg/tiny", Named("acme-seg/tiny")),
        ("acme.seg/tiny", Named("acme.seg/tiny")),
        ("acme-seg/tiny.first", Named("acme-seg/tiny", "first")),
        ("pkg.spec:TINY", Named("pkg.spec:TINY")),
        ("local-dir:saved", Folder(Path("saved"))),
        ("local-dir:a.b/saved", Folder(Path("a.b/saved"))),
        ("hf-hub:alice/tiny", Hub("alice/tiny")),
        ("hf-hub:alice/tiny@main", Hub("alice/tiny", "main")),
        ("hf-hub:alice/tiny@v1.0", Hub("alice/tiny", "v1.0")),
        ("hf-hub:alice/tiny@refs/pr/1", Hub("alice/tiny", "refs/pr/1")),
        (f"hf-hub:alice/tiny@{COMMIT}", Hub("alice/tiny", COMMIT)),
        ("hf-hub:_a/U2.Net-p_1", Hub("_a/U2.Net-p_1")),
    ],
)
def test_every_kind(ref, meaning):
    assert parse(ref) == meaning


def test_a_folder_is_one_that_is_there_and_has_a_separator(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "saved").mkdir()
    (tmp_path / "SEGZOO_MODELS" / "tiny").mkdir(parents=True)
    assert parse("./saved") == Folder(Path("saved"))
    assert parse(str(tmp_path / "saved")) == Folder(tmp_path / "saved")
    assert parse("saved") == Named("saved")
    assert parse("./other") == Named("./other")
    assert parse("SEGZOO_MODELS/tiny") == Folder(Path("SEGZOO_MODELS/tiny"))
    monkeypatch.setenv("SEGZOO_MODELS", "tiny=tiny:TINY")
    assert parse("SEGZOO_MODELS/tiny") == Named("SEGZOO_MODELS/tiny")


def test_a_revision_beside_the_reference():
    assert parse("hf-hub:alice/tiny", "v1") == Hub("alice/tiny", "v1")
    assert parse("hf-hub:alice/tiny@v1", "v1") == Hub("alice/tiny", "v1")
    with pytest.raises(UsageError, match="two revisions are asked for; found v1 and v2"):
        parse("hf-hub:alice/tiny@v1", "v2")
    for ref in ("tiny", "local-dir:saved"):
        with pytest.raises(UsageError, match="has no revisions; found revision=v1, expected"):
            parse(ref, "v1")


@pytest.mark.parametrize(
    "repo",
    [
        "",
        "tiny",
        "a/b/c",
        "../x",
        "a/..",
        "a/b..c",
        "a--b/c",
        "a/b--c",
        "-a/b",
        "a/b.",
        "a/b c",
        "a/b\n",
        "a/%2e%2e",
        "C:/x",
        "a\\b/c",
        "a/b?x=1",
        "a/b#c",
        "//host/share",
        "a/" + "b" * 97,
        "ä/b",
    ],
)
def test_a_repository_that_no_path_and_no_address_can_hold(repo):
    with pytest.raises(UsageError) as caught:
        parse(f"hf-hub:{repo}")
    assert "is not the name of a repository; expected hf-hub:user/name or" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "revision", ["", "..", "../x", "a/../b", "/a", "a//b", "a/", "a.", ".a", "a/.b", "a b", "a\x00"]
)
def test_a_revision_that_no_path_can_hold(revision):
    with pytest.raises(UsageError, match="is not a revision; expected a branch, a tag or a commit"):
        parse(f"hf-hub:alice/tiny@{revision}")
