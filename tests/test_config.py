import dataclasses
import json

import pytest

from segzoo.errors import ConfigError
from segzoo.saved import config as configs
from segzoo.saved.config import Config
from segzoo.spec import Dataset, Postprocess, Preprocess

CONFIG = Config(
    model="tiny",
    distribution="acme-seg",
    version="1.2",
    options={"width": 4, "names": ["a", "b"], "nested": {"x": None}},
    in_channels=3,
    num_classes=2,
    task="multiclass",
    preprocess=Preprocess(size=(32, 48), resize="stretch", mean=(0.5,), std=(0.25,)),
    postprocess=Postprocess(activation="softmax", threshold=None),
    classes=("sky", "Straße"),
    palette=((0, 0, 0), (255, 128, 1)),
    dtype="float16",
    license="Apache-2.0",
    trained_on=(Dataset(name="Skies", license="CC-BY-4.0"),),
    files={"model.safetensors": "0" * 64},
)


def written(tmp_path, change=None, text=None):
    path = tmp_path / "config.json"
    data = json.loads(configs.dump(CONFIG))
    if change:
        change(data)
    path.write_text(json.dumps(data) if text is None else text)
    return path


def test_a_config_comes_back_as_it_was(tmp_path):
    assert configs.read(written(tmp_path)) == CONFIG


def test_the_text_says_which_plugin_made_it():
    data = json.loads(configs.dump(CONFIG))
    assert data["library"] == "segzoo"
    assert data["format_version"] == 1
    assert data["model"] == "tiny"
    assert data["plugin"] == {"distribution": "acme-seg", "version": "1.2"}
    assert "custom" not in data["preprocess"]


def test_other_tools_find_the_classes_as_they_know_them(tmp_path):
    data = json.loads(configs.dump(CONFIG))
    assert data["id2label"] == {"0": "sky", "1": "Straße"}
    assert "id2label" not in json.loads(
        configs.dump(dataclasses.replace(CONFIG, classes=(), palette=()))
    )
    path = written(tmp_path, lambda data: data.pop("id2label"))
    assert configs.read(path) == CONFIG  # one that another program wrote


def set_to(*path, value):
    def change(data):
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


#   row   change of a good config.json                                 what the message says
REFUSED = [
    ("C3", set_to("format_version", value=2), "made by a newer segzoo; found format_version 2"),
    ("C3", set_to("format_version", value=2), "Run: pip install --upgrade segzoo-core"),
    ("C3", set_to("format_version", value=True), "bad format_version; found True, expected 1"),
    ("C2", set_to("num_classes", value="2"), "num_classes='2' is not of type int"),
    ("C2", set_to("num_classes", value=True), "num_classes=True is not of type int"),
    ("C2", set_to("num_classes", value=1.5), "num_classes=1.5 is not of type int"),
    ("C2", set_to("num_classes", value=0), "num_classes=0 is outside 1..256"),
    ("C2", set_to("num_classes", value=10**9), "num_classes=1000000000 is outside 1..256"),
    ("C2", set_to("in_channels", value=-1), "in_channels=-1 is outside 1..1024"),
    ("C2", set_to("task", value="detection"), "task='detection' is not one of 'binary'"),
    ("C2", set_to("preprocess", "size", value=[0, 3]), "has a side below 1"),
    ("C2", set_to("preprocess", "tricks", value=1), "unknown field 'tricks': needs a newer segzoo"),
    ("C2", set_to("surprise", value=1), "unknown field 'surprise': needs a newer segzoo"),
    ("C7", set_to("model", value="__import__('os').system('x')"), "does not match"),
    ("C7", set_to("model", value="$import os"), "does not match"),
    ("C7", set_to("model", value="hf://evil/x"), "does not match"),
    ("C7", set_to("model", value="file:///etc/passwd"), "does not match"),
    ("C7", set_to("model", value="../../etc/passwd"), "does not match"),
    ("C7", set_to("preprocess", "custom", value="os:system"), "names code, which a config may not"),
    ("C7", set_to("plugin", "distribution", value="a --index-url x"), "not a distribution's name"),
    ("C7", set_to("plugin", "version", value="1; rm -rf"), "is not a version"),
    ("-", set_to("plugin", value="acme"), "bad plugin; expected its distribution and version"),
    ("-", set_to("library", value="timm"), "this is not a model saved by segzoo"),
    ("-", set_to("palette", value=[[0, 0, 0], [0, 0, 256]]), "palette has a value outside 0..255"),
    ("-", set_to("palette", value=[[0, 0, 0]]), "palette has 1 entry for 2 classes"),
    ("-", set_to("files", "model.safetensors", value="x"), "is not 64 hex digits"),
    ("-", lambda data: data.pop("task"), "missing field 'task'"),
    ("-", set_to("id2label", value={"0": "sky"}), "id2label and classes do not say the same"),
    ("-", set_to("id2label", value=["sky", "Straße"]), "id2label and classes do not say the"),
    ("-", set_to("id2label", "1", value="sea"), "id2label and classes do not say the same"),
    ("-", set_to("dtype", value="int8"), "dtype='int8' is not one of 'float32', 'float16'"),
    ("-", set_to("license", value="a\nb"), "license is not one line of at most 500 characters"),
    ("-", set_to("license", value="a" * 501), "license is not one line of at most 500 char"),
    ("-", set_to("license", value=3), "license=3 is not"),
    ("-", set_to("trained_on", 0, "url", value="\x1b[2J"), "trained_on[0].url is not one line"),
    ("-", set_to("trained_on", 0, "path", value="x"), "unknown field 'path'"),
]


@pytest.mark.parametrize(("row", "change", "says"), REFUSED)
def test_a_wrong_config_is_refused(tmp_path, row, change, says):
    path = written(tmp_path, change)
    with pytest.raises(ConfigError) as caught:
        configs.read(path)
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


#   row   the file                                              what the message says
UNREADABLE = [
    ("C5", '{"a": "' + "x" * (1 << 20) + '"}', "the file is too large; expected at most 1 MiB"),
    ("C6", '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "the config is nested too deeply"),
    ("C6", '{"a": ' + "9" * 5000 + "}", "a number has 5,000 digits"),
    ("C6", '{"a": NaN}', "NaN is not a number of JSON"),
    ("C6", '{"a": -Infinity}', "-Infinity is not a number of JSON"),
    ("C6", '{"a": 1e999}', "the number 1e999 is out of range"),
    ("C6", '{"a": 1, "a": 2}', "the key 'a' stands twice"),
    ("-", "[1]", "the config is not a JSON object; found list"),
    ("-", "", "the config is not valid JSON"),
    ("-", "<html>", "the config is not valid JSON"),
    ("-", "!!python/object/apply:os.system [x]", "the config is not valid JSON"),
]


@pytest.mark.parametrize(("row", "text", "says"), UNREADABLE, ids=lambda v: str(v)[:20])
def test_a_file_that_is_no_plain_json_is_refused(tmp_path, row, text, says):
    path = written(tmp_path, text=text)
    with pytest.raises(ConfigError, match=r"config\.json: ") as caught:
        configs.read(path)
    assert says in str(caught.value)


def test_missing_folder_and_bytes_that_are_not_text(tmp_path):
    with pytest.raises(ConfigError, match="there is no such file"):
        configs.read(tmp_path / "config.json")
    with pytest.raises(ConfigError, match="there is no such file"):
        configs.read(tmp_path)  # a folder
    (tmp_path / "config.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(ConfigError, match="the config is not UTF-8"):
        configs.read(tmp_path / "config.json")


def test_code_of_the_plugin_is_not_written(tmp_path):
    custom = dataclasses.replace(CONFIG.preprocess, custom="acme:normalise")
    text = configs.dump(dataclasses.replace(CONFIG, preprocess=custom))
    assert "acme:normalise" not in text
