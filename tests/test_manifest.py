"""manifest.json: what it lists, its one spelling, and what is refused."""

import hashlib
import json
import os
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segzoo.errors import ConfigError, DataError, IntegrityError, OutputError, SegzooError
from segzoo.saved import manifest

CONTENTS = {
    "config.json": b"{}\n",
    "model.safetensors": bytes(range(256)) * 8,
    ".eval_results/digits.yaml": b"- value: 1.0\n",
    "training/caf\u00e9.json": b"",
}
UNLISTED = {"manifest.json": b"old", "model.sig": b"s", ".gitattributes": b"g"}


@pytest.fixture
def folder(tmp_path):
    for name, data in {**CONTENTS, **UNLISTED}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_every_file_is_listed_but_the_manifest_a_signature_and_what_the_hub_adds(folder):
    found = manifest.write(folder)
    assert set(found.files) == set(CONTENTS)
    for name, data in CONTENTS.items():
        assert found.files[name] == manifest.File(hashlib.sha256(data).hexdigest(), len(data))
    assert manifest.read(folder / "manifest.json") == found
    manifest.check(folder)


def test_the_sums_are_those_of_sha256sum(folder):
    lines = "".join(
        f"{file.sha256}  {name}\n" for name, file in manifest.write(folder).files.items()
    )
    subprocess.run(
        ["sha256sum", "--check", "--strict"], input=lines, text=True, cwd=folder, check=True
    )


def test_the_spelling_is_sorted_ascii_json_with_a_final_newline(folder):
    manifest.write(folder)
    raw = (folder / "manifest.json").read_bytes()
    record = json.loads(raw)
    assert raw.decode("ascii") == json.dumps(record, indent=2, sort_keys=True) + "\n"
    assert record["format_version"] == 1
    compact = json.dumps(record["files"], sort_keys=True, separators=(",", ":"))
    assert record["digest"] == hashlib.sha256(compact.encode()).hexdigest()


def test_the_same_files_give_the_same_bytes_and_others_another_digest(folder):
    first = manifest.write(folder)
    raw = (folder / "manifest.json").read_bytes()
    assert manifest.write(folder) == first
    assert (folder / "manifest.json").read_bytes() == raw
    (folder / "config.json").write_bytes(b"{ }")
    assert manifest.write(folder).digest != first.digest


def test_only_the_files_named_are_listed(folder):
    assert set(manifest.write(folder, ["config.json"]).files) == {"config.json"}
    with pytest.raises(IntegrityError, match=r"model.safetensors: the folder's manifest.json does"):
        manifest.check(folder, ["model.safetensors"])


def test_only_the_files_asked_for_are_checked(folder):
    manifest.write(folder)
    (folder / "model.safetensors").write_bytes(b"other")
    manifest.check(folder, ["config.json"])
    with pytest.raises(IntegrityError):
        manifest.check(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(
            lambda file: file.write_bytes(b"x" + file.read_bytes()[1:]),
            "its sha256 is not the one in manifest.json; found [0-9a-f]{64}, expected [0-9a-f]{64}",
            id="W13 a byte flipped",
        ),
        pytest.param(
            lambda file: file.write_bytes(file.read_bytes()[:-4]),
            "its size is not the one in manifest.json; found 2,044 bytes, expected 2,048 bytes. "
            "Fetch it again",
            id="W3 four bytes short",
        ),
        pytest.param(
            lambda file: file.unlink(),
            "the manifest lists it, but it cannot be read: No such file or directory",
            id="missing",
        ),
        pytest.param(
            lambda file: (file.unlink(), file.mkdir()), "it cannot be read: Is a dir", id="a folder"
        ),
        pytest.param(
            lambda file: (file.unlink(), os.mkfifo(file)), "not a regular file", id="W17 a pipe"
        ),
    ],
)
def test_a_file_that_is_not_as_listed_is_refused(folder, change, words):
    manifest.write(folder)
    change(folder / "model.safetensors")
    with pytest.raises(IntegrityError, match=words) as caught:
        manifest.check(folder)
    assert caught.value.file == str(folder / "model.safetensors")
    assert caught.value.exit_code == 3


def test_every_flipped_bit_of_a_manifest_is_refused(folder):
    manifest.write(folder)
    path = folder / "manifest.json"
    raw = path.read_bytes()
    for place in range(len(raw)):
        for bit in (0, 5):
            path.write_bytes(raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :])
            with pytest.raises((ConfigError, IntegrityError)):
                manifest.read(path)


def test_another_spelling_of_the_same_manifest_is_refused(folder):
    manifest.write(folder)
    path = folder / "manifest.json"
    record = json.loads(path.read_bytes())
    for text in (json.dumps(record), path.read_text() + "\n", path.read_text().rstrip()):
        path.write_text(text)
        with pytest.raises(IntegrityError, match="not spelled as segzoo spells a manifest"):
            manifest.read(path)


def record_of(files: object, **changes: object) -> dict[str, object]:
    compact = json.dumps(files, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(compact.encode()).hexdigest()
    return {"format_version": 1, "files": files, "digest": digest} | changes


ITEM = {"sha256": "0" * 64, "size": 1}
DEEP: list[object] = []
for _ in range(40):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        pytest.param(
            record_of({}, format_version=2), "made by a newer segzoo; found format_ver", id="C3"
        ),
        pytest.param(record_of({}, format_version=0), "format_version is '0', not 1", id="zero"),
        pytest.param(record_of({}, format_version=True), "is 'True', not 1", id="true"),
        pytest.param(record_of({}, more=1), "unknown or missing: more", id="C2 unknown"),
        pytest.param({"files": {}}, "missing: digest, format_version", id="C2 missing"),
        pytest.param(record_of([]), "files is not an object", id="C2 a list"),
        pytest.param(record_of({}, digest="xyz"), "digest is 'xyz', not 64 hex", id="digest"),
        pytest.param(record_of({"a": ITEM | {"url": ""}}), "'a' has no sha256 and size", id="url"),
        pytest.param(record_of({"a": ITEM | {"size": -1}}), "'a' has no sha256 and", id="size -1"),
        pytest.param(record_of({"a": ITEM | {"size": 1.0}}), "'a' has no sha256", id="size 1.0"),
        pytest.param(record_of({"a": ITEM | {"size": True}}), "'a' has no sha", id="size true"),
        pytest.param(record_of({"a": 3}), "'a' has no sha256 and size", id="a number"),
        pytest.param(
            record_of({str(n): 3 for n in range(9)}),
            "'4' has no sha256 and size and 4 more",
            id="9",
        ),
        pytest.param(record_of(DEEP), "nested too deeply; found 42 levels", id="C6 deep"),
        *(
            pytest.param(record_of({name: ITEM}), words, id=f"H9 {name!r}"[:40])
            for name, words in {
                "../x": "'../x' is not a path inside the folder",
                "a/../../x": "is not a path inside",
                "/etc/passwd": "is not a path inside",
                "a//b": "is not a path inside",
                "./a": "is not a path inside",
                "a/": "is not a path inside",
                "": "the name '' is not a path inside",
                "C:\\x": "holds a control character, a backslash or a colon",
                "C:x": "holds a control character, a backslash or a colon",
                "\\\\host\\share": "holds a control character",
                "a\nb": r"the name 'a\\nb' holds a control character",
                "a\0b": "holds a control character",
                "\ud800": "holds a control character",
                "x" * 256: "has more than 255 characters",
                "manifest.json": "is of a file that no manifest lists",
                "model.sig": "is of a file that no manifest lists",
            }.items()
        ),
    ],
)
def test_what_is_not_a_manifest_is_refused(tmp_path, record, words):
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
    with pytest.raises(ConfigError, match=words) as caught:
        manifest.read(path)
    assert caught.value.file == str(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        pytest.param(b"", "the manifest is not valid JSON", id="empty"),
        pytest.param(b"\xff", "the manifest is not UTF-8", id="not UTF-8"),
        pytest.param(b"[]", "the manifest is not a JSON object", id="a list"),
        pytest.param(b'{"a": 1, "a": 2}', "the key 'a' stands twice", id="C6 twice"),
        pytest.param(b'{"a": NaN}', "NaN is not a number of JSON", id="C6 NaN"),
        pytest.param(b" " * (2**20 + 1), "the manifest is too large; expected at", id="C5 large"),
    ],
)
def test_bytes_that_are_no_manifest_are_refused(tmp_path, raw, words):
    path = tmp_path / "manifest.json"
    path.write_bytes(raw)
    with pytest.raises(ConfigError, match=words):
        manifest.read(path)


def test_a_manifest_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        manifest.check(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read: embedded null"):
        manifest.read(f"{tmp_path}/\0")


def test_what_cannot_be_listed_is_not_written(folder):
    (folder / "a:b").write_bytes(b"")
    with pytest.raises(OutputError, match="a file of this name cannot be listed: holds a control"):
        manifest.write(folder)
    with pytest.raises(OutputError, match="cannot be read: No such file"):
        manifest.write(folder, ["absent"])
    assert (folder / "manifest.json").read_bytes() == b"old"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=200)
@given(files=st.dictionaries(st.text(max_size=8), JSON, max_size=3), version=JSON, digest=JSON)
def test_any_json_is_a_manifest_or_one_error(tmp_path_factory, files, version, digest):
    path = tmp_path_factory.mktemp("m") / "manifest.json"
    path.write_text(json.dumps({"files": files, "format_version": version, "digest": digest}))
    with pytest.raises(SegzooError) as caught:
        manifest.read(path)
    assert isinstance(caught.value, ConfigError | DataError)


@settings(max_examples=100)
@given(
    st.dictionaries(
        st.from_regex(r"[a-zA-Z\u00e9._-]{1,9}(/[a-z]{1,5}){0,3}", fullmatch=True).filter(
            lambda name: not {".", ".."} & set(name.split("/"))
        ),
        st.tuples(st.binary(max_size=8), st.integers(0, 10**15)),
        max_size=6,
    )
)
def test_what_is_dumped_is_read_back(tmp_path_factory, contents):
    listed = {
        name: manifest.File(hashlib.sha256(data).hexdigest(), size)
        for name, (data, size) in contents.items()
    }
    path = tmp_path_factory.mktemp("m") / "manifest.json"
    path.write_bytes(manifest.dump(manifest.Manifest(listed, manifest._digest(listed))))
    assert manifest.read(path).files == listed
