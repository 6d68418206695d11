"""`segzoo check`: a line for each promise, and the whole error of a plugin that does not load."""

import json

import fake_plugins
import pytest
from fake_plugins import BROKEN

from segzoo.cli.main import run
from segzoo.model.load import load
from segzoo.testing import PROMISES


@pytest.fixture(autouse=True)
def plugins(monkeypatch):
    fake_plugins.install(monkeypatch, BROKEN / "contract", BROKEN / "together")


def check(capsys, *arguments):
    """The exit code, and the lines of stdout and of stderr."""
    code = run(["check", *arguments])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()


def test_a_good_model(capsys):
    code, lines, errors = check(capsys, "contract_specs:GOOD")
    assert (code, errors) == (0, [])
    assert lines[0] == "contract_specs:GOOD"
    assert lines[1] == "ok       the spec loads without torch"
    assert "skipped  training lowers the loss: slow; asked for with slow=True or --slow" in lines
    assert lines[-1] == "20 kept, 0 broken, 4 skipped"
    assert len(lines) == len(PROMISES) + 2


def test_a_good_model_with_everything(capsys):
    code, lines, _ = check(capsys, "contract_specs:GOOD", "--slow", "--gpu")
    assert code == 0
    assert "ok       training lowers the loss" in lines


def test_a_broken_promise(capsys):
    code, lines, _ = check(capsys, "contract_specs:COUNT")
    assert code == 1
    assert (
        "FAIL     the parameter count is as declared: it has 125 parameters, declared are 124: "
        "write num_parameters=125 in the spec" in lines
    )
    assert lines[-1] == "19 kept, 1 broken, 4 skipped"


def test_an_installed_model_has_its_full_name_and_version(capsys):
    code, lines, _ = check(capsys, "broken_metadata")
    assert (code, lines[0]) == (0, "broken_metadata/broken_metadata")
    code, lines, errors = check(capsys, "builder_shape")
    assert (code, lines[0]) == (1, "broken-builders/builder_shape 1.0")
    assert errors == []


def test_as_json(capsys):
    code, lines, _ = check(capsys, "contract_specs:COUNT", "--json")
    report = json.loads("\n".join(lines))
    assert code == 1
    assert (report["model"], report["ok"]) == ("contract_specs:COUNT", False)
    assert (report["error"], report["notes"]) == ([], [])
    assert [p["promise"] for p in report["promises"]] == [p.name for p in PROMISES]
    assert [p["detail"] for p in report["promises"] if not p["ok"]] == [
        "it has 125 parameters, declared are 124"
    ]


def test_json_stays_json_whatever_the_plugin_prints(capsys):
    """Row P6."""
    code, lines, errors = check(capsys, "broken_print", "--json")
    (broken,) = [p for p in json.loads("\n".join(lines))["promises"] if not p["ok"]]
    assert code == 1
    assert broken["promise"] == "the spec loads quickly and silently"
    assert "thank you for installing broken-print" in errors


# --- plugins that do not load: rows P1 to P7


def test_a_plugin_that_raises_shows_its_whole_error(capsys):
    code, lines, errors = check(capsys, "broken_runtime")
    file = BROKEN / "together" / "broken_runtime.py"
    assert (code, errors) == (1, [])
    assert lines == [
        "broken_runtime",
        "FAIL     model 'broken_runtime' of broken-runtime 1.0 cannot be used: "
        "RuntimeError: the licence server does not answer",
        f"         at {file}:1 in <module>: "
        'raise RuntimeError("the licence server does not answer")',
        "         RuntimeError: the licence server does not answer",
        f"0 kept, 1 broken, {len(PROMISES) - 1} skipped",
    ]


def test_a_syntax_error_shows_its_line(capsys):
    code, lines, _ = check(capsys, "broken_syntax")
    file = BROKEN / "together" / "broken_syntax.py"
    assert code == 1
    assert f"         at {file}:1 SPEC = ModelSpec(" in lines
    assert "         SyntaxError: '(' was never closed" in lines


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "broken-group/broken_group",
            "FAIL     model 'broken_group' of broken-group 1.0 cannot be used: needs a newer "
            "segzoo: it is written for the contract 'segzoo.models.2'",
        ),
        (
            "broken-line/e e",
            "FAIL     model 'e e' of broken-line 1.0 cannot be used: malformed entry point "
            "'e e = =': expected name = module:ATTRIBUTE",
        ),
    ],
)
def test_an_entry_that_cannot_be_loaded(capsys, name, line):
    code, lines, _ = check(capsys, name)
    assert (code, lines[1]) == (1, line)


def test_a_plugin_that_does_not_load_as_json(capsys):
    code, lines, _ = check(capsys, "broken_exit", "--json")
    report = json.loads("\n".join(lines))
    assert (code, report["ok"]) == (1, False)
    assert report["error"][0].endswith("cannot be used: it called sys.exit(3)")
    assert report["error"][-1] == "         SystemExit: 3"


def test_a_name_of_several_lists_them(capsys):
    """Row P3."""
    code, lines, errors = check(capsys, "broken_twin")
    assert (code, lines) == (2, [])
    assert errors == [
        "segzoo: 'broken_twin' is provided by broken-twin-a/broken_twin and "
        "broken-twin-b/broken_twin. Ask for one by its full name"
    ]


def test_an_unknown_name(capsys):
    code, lines, errors = check(capsys, "builder_shapes")
    assert (code, lines) == (2, [])
    assert errors == [
        "segzoo: no model 'builder_shapes'. Did you mean 'builder_shape', 'builder_raises' or "
        "'builder_exits'?"
    ]


# --- the folder of a saved model


@pytest.fixture
def saved(monkeypatch, tmp_path):
    monkeypatch.setenv("SEGZOO_MODELS", "good=contract_specs:GOOD")
    return load("good", seed=0).save_pretrained(tmp_path / "saved")


def test_a_folder(capsys, saved, monkeypatch):
    expected = [
        "ok       the saved model loads",
        "ok       a picture gives a mask of its size",
        "2 kept, 0 broken, 0 skipped",
    ]
    monkeypatch.chdir(saved.parent)
    for name in (str(saved), f"local-dir:{saved}", "./saved", "saved"):
        assert check(capsys, name) == (0, [name, *expected], [])


def test_a_damaged_folder(capsys, saved):
    (saved / "model.safetensors").unlink()
    code, lines, _ = check(capsys, str(saved))
    assert code == 1
    assert lines[1].startswith("FAIL     the saved model loads: ")
    assert "model.safetensors" in lines[1]
    assert lines[2] == ("skipped  a picture gives a mask of its size: after: the saved model loads")


def test_a_folder_without_a_model(capsys, tmp_path):
    code, lines, _ = check(capsys, str(tmp_path))
    assert code == 1
    assert "config.json: there is no such file" in lines[1]


# --- an editable install that was not renewed


@pytest.fixture
def editable(monkeypatch, tmp_path):
    """A distribution installed with `pip install -e`, whose project was changed since."""
    site, project = tmp_path / "site", tmp_path / "my net"
    code = "from contract_specs import GOOD as SPEC\n"
    fake_plugins.make(site, "my-net", {"my_net": "my_net:SPEC"}, code=code)
    noted = {"url": project.as_uri(), "dir_info": {"editable": True}}
    (site / "my_net-1.0.dist-info" / "direct_url.json").write_text(json.dumps(noted))
    project.mkdir()

    def offer(**models):
        lines = [f'{name} = "{value}"\n' for name, value in models.items()]
        (project / "pyproject.toml").write_text(
            '[project]\nname = "my-net"\n[project.entry-points."segzoo.models"]\n' + "".join(lines)
        )

    offer(my_net="my_net:SPEC", my_small_net="my_net:SMALL")
    fake_plugins.install(monkeypatch, site)
    return project, offer


def test_a_stale_install_is_noted(capsys, editable):
    project, offer = editable
    code, lines, _ = check(capsys, "my_net")
    assert code == 0
    assert lines[-2] == (
        "note     my-net was changed since it was installed; its pyproject.toml says "
        f"my_small_net = my_net:SMALL (installed: nothing). Run: pip install -e '{project}'"
    )
    offer(my_net="my_net:SPEC")
    assert not [line for line in check(capsys, "my_net")[1] if line.startswith("note")]


def test_a_model_that_moved(capsys, editable):
    project, offer = editable
    offer(my_net="my_net.spec:SPEC")
    _, lines, _ = check(capsys, "my_net")
    assert lines[-2] == (
        "note     my-net was changed since it was installed; its pyproject.toml says "
        f"my_net = my_net.spec:SPEC (installed: my_net:SPEC). Run: pip install -e '{project}'"
    )


@pytest.mark.parametrize("name", ["my_small_net", "My-Small-Net", "my-net/my_small_net"])
def test_a_model_that_only_the_project_knows(capsys, editable, name):
    project, _ = editable
    code, _, errors = check(capsys, name)
    assert code == 2
    assert errors == [
        f"segzoo: no model {name!r}. my-net was changed since it was installed; its "
        "pyproject.toml says my_small_net = my_net:SMALL (installed: nothing). "
        f"Run: pip install -e '{project}'"
    ]
