"""Discovery: every kind of broken plugin, installed beside the good ones, harms only itself.

The plugins are real distributions on the import path: tests/broken_plugins. Rows P1 to P7 and C7 of
the table of bad input stand in the ids.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from importlib import metadata
from pathlib import Path

import fake_plugins
import pytest
from fake_plugins import BROKEN

from segzoo.cli.main import run
from segzoo.errors import (
    AmbiguousModelError,
    PluginError,
    UnknownModelError,
    UsageError,
)
from segzoo.model.load import find_spec, load
from segzoo.zoo import registry

ROOT = Path(__file__).parents[1]
TOGETHER = BROKEN / "together"
OURS = {
    "u2net": "segzoo-u2net/u2net",
    "u2netp": "segzoo-u2net/u2netp",
}

# What is wrong with each model of tests/broken_plugins/together, as `segzoo list` says it.
PROBLEMS = {
    "P1-RuntimeError broken-runtime/broken_runtime": (
        "RuntimeError: the licence server does not answer"
    ),
    "P1-ImportError broken-dependency/broken_dependency": (
        "ModuleNotFoundError: No module named 'no_such_library'"
    ),
    "P1-SyntaxError broken-syntax/broken_syntax": (
        "SyntaxError: '(' was never closed (broken_syntax.py, line 1)"
    ),
    "P1-AssertionError broken-assert/broken_assert": "AssertionError: arithmetic has changed",
    "P1-unprintable broken-silent/broken_silent": "Unprintable: its message cannot be shown",
    "P2-exit broken-exit/broken_exit": "it called sys.exit(3)",
    "P2-BaseException broken-base/broken_base": "Quit: not even an Exception",
    "P3-a broken-twin-a/broken_twin": "shares its name; ask for it as broken-twin-a/broken_twin",
    "P3-b broken-twin-b/broken_twin": "shares its name; ask for it as broken-twin-b/broken_twin",
    "P4-group broken-group/broken_group": (
        "needs a newer segzoo: it is written for the contract 'segzoo.models.2'"
    ),
    "P4-field broken-field/broken_field": (
        "needs a newer segzoo: ModelSpec has no field 'prompts'"
    ),
    "P4-record broken-record/broken_record": (
        "needs a newer segzoo: cannot import name 'PromptSpec' from 'segzoo.spec'"
    ),
    "P5-type broken-type/broken_type": "TypeError: broken_type:SPEC is a dict, not a ModelSpec",
    "P5-value broken-value/broken_value": (
        "ValueError: ModelSpec: num_classes='one' is not of type int; "
        "in_channels=True is not of type int"
    ),
    "P7-attribute broken-attribute/broken_attribute": (
        "AttributeError: module 'broken_attribute' has no attribute 'SPEC'"
    ),
    "P7-module broken-module/broken_module": (
        "ModuleNotFoundError: No module named 'broken_module'"
    ),
    "P7-name broken-name/Broken-Name": "the name 'Broken-Name' does not match [a-z][a-z0-9_]*",
    "P7-line broken-line/e e": (
        "malformed entry point 'e e = =': expected name = module:ATTRIBUTE"
    ),
    # these work
    "P5-builders broken-builders/builder_number": "",
    "P6-prints broken-print/broken_print": "",
    "P6-torch broken-torch/broken_torch": "",
    "P7-metadata broken_metadata/broken_metadata": "",
    "ours segzoo-u2net/u2net": "",
    "ours segzoo-u2net/u2netp": "",
}
CASES = [
    pytest.param(*key.split(" ", 1), problem, id=key.replace(" ", "-"))
    for key, problem in PROBLEMS.items()
]


@pytest.fixture(scope="module")
def together():
    """Every row of `list` with all broken plugins installed, by full name."""
    import torch  # noqa: F401  # so that the one that imports it is not slow

    with pytest.MonkeyPatch.context() as monkeypatch:
        fake_plugins.install(monkeypatch, TOGETHER)
        rows: dict[str, list] = {}
        for row in registry.rows():
            rows.setdefault(row.entry.full_name, []).append(row)
        return rows


# --- all of them at once


@pytest.mark.parametrize(("row_id", "full_name", "problem"), CASES)
def test_a_row_says_what_is_wrong(together, row_id, full_name, problem):
    (row,) = together[full_name]
    assert row.problem == problem
    works = not problem or problem.startswith("shares its name")
    assert (row.spec is not None) == works


@pytest.mark.parametrize(
    ("row_id", "full_name", "problem"),
    [case for case in CASES if case.values[2] and not case.values[2].startswith("shares")],
)
def test_using_it_is_a_plugin_error(monkeypatch, row_id, full_name, problem):
    fake_plugins.install(monkeypatch, TOGETHER)
    entry = next(e for e in registry.entries() if e.full_name == full_name)
    with pytest.raises(PluginError) as caught:
        entry.load()
    name = full_name.partition("/")[2]
    assert str(caught.value) == (
        f"model '{name}' of {entry.distribution} 1.0 cannot be used: {problem}. "
        f"Run: segzoo check {full_name}"
    )
    assert caught.value.exit_code == 2


def test_a_slow_spec_is_named_with_its_time(together):
    """Row P6."""
    (row,) = together["broken-slow/broken_slow"]
    assert re.fullmatch(r"slow: its spec took [1-9]\d*\.\d s to import", row.problem)
    assert row.spec is not None
    assert row.seconds > 1.2


def test_a_name_declared_twice_counts_once(together):
    """Row P7."""
    first, second = sorted(together["broken-line/broken_line"], key=lambda row: row.problem)
    assert first.spec is not None
    assert second.problem == "broken-line declares the name twice"


def test_the_good_ones_are_as_they_were(together, monkeypatch):
    expected = {row.entry.full_name: (row.entry, row.spec) for row in registry.rows()}
    assert set(OURS.values()) <= set(expected)
    for full_name, (entry, spec) in expected.items():
        (row,) = together[full_name]
        assert (row.entry, row.spec, row.problem) == (entry, spec, "")
    fake_plugins.install(monkeypatch, TOGETHER)
    for name, full_name in OURS.items():
        assert registry.find(name).full_name == full_name


def test_looking_runs_no_plugin(monkeypatch):
    fake_plugins.install(monkeypatch, TOGETHER)
    names = {entry.name for entry in registry.entries()}
    assert {"broken_runtime", "broken_exit", "e e"} <= names
    assert not [name for name in sys.modules if name.startswith("broken_")]


def test_the_command_line_with_all_of_them():
    """Rows P1 to P7: one line each with its cause and what to run; the rest as without them."""
    alone = fake_plugins.run("list")
    result = fake_plugins.run("list", sites=(TOGETHER,))
    assert (alone.returncode, result.returncode) == (0, 0)
    for line in alone.stdout.splitlines()[1:]:
        assert " ".join(line.split()) in " ".join(result.stdout.split())
    for case in CASES:
        _, full_name, problem = case.values
        if problem:
            assert f"{full_name} 1.0: {problem}\n" in result.stderr
        if problem and not problem.startswith("shares"):
            assert f"    run: segzoo check {full_name}\n" in result.stderr
    assert "thank you" not in result.stdout
    assert "Traceback" not in result.stderr


def test_json_stays_json_whatever_a_plugin_prints():
    """Row P6."""
    slow = "broken-slow,broken-torch"
    result = fake_plugins.run("list", "--json", sites=(TOGETHER,), SEGZOO_DISABLE=slow)
    rows = {row["plugin"]: row for row in json.loads(result.stdout)}
    assert rows["broken-print"]["problem"] == ""
    assert rows["broken-exit"]["check"] == "segzoo check broken-exit/broken_exit"
    assert "thank you for installing broken-print" in result.stderr


def test_names_alone_import_no_plugin():
    """Row P6: neither the sleeper nor the one that imports torch is met."""
    code = """
import sys
from segzoo.cli.main import run
assert run(["list", "--names"]) == 0
assert not {"broken_slow", "broken_torch", "broken_print", "torch"} & set(sys.modules)
"""
    result = fake_plugins.run(code=code, sites=(TOGETHER,))
    assert (result.returncode, result.stderr) == (0, "")
    assert "broken_slow" in result.stdout.split()


# --- one name, several owners


def test_a_clone_of_ours(monkeypatch):
    """Row P3: none has precedence; the full name always works."""
    fake_plugins.install(monkeypatch, BROKEN / "clone")
    with pytest.raises(AmbiguousModelError) as caught:
        registry.find("u2netp")
    assert str(caught.value) == (
        "'u2netp' is provided by acme-seg/u2netp and segzoo-u2net/u2netp. "
        "Ask for one by its full name"
    )
    assert caught.value.exit_code == 2
    assert registry.find("acme-seg/u2netp").load().summary == "not the real one"
    assert registry.find("segzoo-u2net/u2netp").load().num_parameters == 1_131_181
    assert registry.find("u2net").distribution == "segzoo-u2net"
    problems = {row.entry.full_name: row.problem for row in registry.rows()}
    assert problems["acme-seg/u2netp"] == "shares its name; ask for it as acme-seg/u2netp"
    assert problems["segzoo-u2net/u2netp"] == "shares its name; ask for it as segzoo-u2net/u2netp"
    assert problems["segzoo-u2net/u2net"] == ""


def test_setting_the_clone_aside_ends_the_ambiguity(monkeypatch):
    fake_plugins.install(monkeypatch, BROKEN / "clone")
    monkeypatch.setenv("SEGZOO_DISABLE", "Acme_Seg")
    assert registry.find("u2netp").distribution == "segzoo-u2net"
    problems = {row.entry.full_name: row.problem for row in registry.rows()}
    assert problems["acme-seg/u2netp"] == "set aside by SEGZOO_DISABLE"
    assert problems["segzoo-u2net/u2netp"] == ""


def test_a_plugin_may_offer_two_versions_of_the_contract(monkeypatch, tmp_path):
    fake_plugins.make(tmp_path, "two-faced", {"two_faced": "two_faced:SPEC"}, code="SPEC = None")
    points = tmp_path / "two_faced-1.0.dist-info" / "entry_points.txt"
    points.write_text("[segzoo.models.2]\ntwo_faced = two_faced.new:SPEC\n" + points.read_text())
    fake_plugins.install(monkeypatch, tmp_path)
    assert registry.find("two_faced").value == "two_faced:SPEC"
    assert [e.value for e in registry.entries() if e.name == "two_faced"] == [
        "two_faced.new:SPEC",
        "two_faced:SPEC",
    ]


# --- setting aside


def test_set_aside(monkeypatch):
    fake_plugins.install(monkeypatch, TOGETHER)
    monkeypatch.setenv("SEGZOO_DISABLE", " broken_print , broken.slow,")
    row = next(r for r in registry.rows() if r.entry.distribution == "broken-print")
    assert (row.spec, row.problem) == (None, "set aside by SEGZOO_DISABLE")
    assert "broken_slow" not in sys.modules
    with pytest.raises(PluginError) as caught:
        registry.find("broken_print").load()
    assert str(caught.value).startswith(
        "model 'broken_print' of broken-print 1.0 cannot be used: set aside by SEGZOO_DISABLE"
    )


def test_what_cannot_be_contained_can_be_set_aside(tmp_path):
    """Row P2: os._exit ends the process; SECURITY.md says so, and this is the way out."""
    code = "import os\nos._exit(7)\n"
    fake_plugins.make(tmp_path, "broken-crash", {"broken_crash": "broken_crash:SPEC"}, code=code)
    assert fake_plugins.run("list", sites=(tmp_path,)).returncode == 7
    assert fake_plugins.run("list", "--names", sites=(tmp_path,)).returncode == 0
    result = fake_plugins.run("list", sites=(tmp_path,), SEGZOO_DISABLE="broken-crash")
    assert result.returncode == 0
    assert "broken-crash/broken_crash 1.0: set aside by SEGZOO_DISABLE" in result.stderr
    security = " ".join((ROOT / "SECURITY.md").read_text("utf-8").split())
    assert "`os._exit`" in security
    assert "SEGZOO_DISABLE=" in security


def test_the_user_can_always_interrupt(monkeypatch, tmp_path):
    """Row P2: a signal is the user's, and passes through; a plugin's own interrupt is not."""
    code = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    fake_plugins.make(tmp_path, "broken-key", {"broken_key": "broken_key:SPEC"}, code=code)
    fake_plugins.install(monkeypatch, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        registry.find("broken_key").load()
    with pytest.raises(KeyboardInterrupt):
        list(registry.rows())


# --- models from the environment


def test_models_from_the_environment(monkeypatch):
    monkeypatch.setenv("SEGZOO_MODELS", "tiny=tiny:TINY, other = tiny:TINY,Bad=tiny:TINY,x=y,,")
    problems = {e.name: e.problem for e in registry.entries() if e.distribution == "SEGZOO_MODELS"}
    assert problems == {
        "tiny": "",
        "other": "",
        "Bad": "malformed item 'Bad=tiny:TINY' of SEGZOO_MODELS: expected name=module:ATTRIBUTE",
        "x": "malformed item 'x=y' of SEGZOO_MODELS: expected name=module:ATTRIBUTE",
    }
    assert registry.find("tiny").load().summary == "a model for tests"
    assert registry.find("segzoo-models/tiny").full_name == "SEGZOO_MODELS/tiny"


def test_a_model_from_the_environment_has_no_precedence(monkeypatch):
    monkeypatch.setenv("SEGZOO_MODELS", "u2netp=tiny:TINY")
    with pytest.raises(AmbiguousModelError, match="by SEGZOO_MODELS/u2netp and segzoo-u2net/u2n"):
        registry.find("u2netp")


def test_an_import_path_instead_of_a_name():
    entry = registry.from_import_path("tiny:TINY")
    assert (entry.name, entry.full_name) == ("tiny", "tiny:TINY")
    assert entry.load().summary == "a model for tests"
    with pytest.raises(PluginError) as caught:
        registry.from_import_path("tiny:SIGMOID").load()
    assert str(caught.value) == (
        "model 'sigmoid' of tiny:SIGMOID cannot be used: "
        "TypeError: tiny:SIGMOID is a TaskDefaults, not a ModelSpec. "
        "Run: segzoo check tiny:SIGMOID"
    )
    with pytest.raises(UsageError) as refused:
        registry.from_import_path("tiny")
    assert str(refused.value) == "'tiny' is not a model; expected a name or module:ATTR"


@pytest.mark.parametrize("path", ["", "os", "os:", ":path", "os path:join", "os:a-b", "a/b:c"])
def test_what_is_no_import_path(path):
    with pytest.raises(ValueError, match=rf"^{re.escape(repr(path))} is not 'module:attribute'$"):
        registry.resolve(path)


def test_an_import_path_may_name_a_part_of_a_class():
    assert registry.resolve("segzoo.zoo.registry:Entry.load") is registry.Entry.load


# --- names


@pytest.mark.parametrize(
    "name", ["u2netp", "U2NetP", " u2netp ", "segzoo-u2net/u2netp", "Segzoo.U2Net/U2NETP"]
)
def test_ways_to_write_a_name(name):
    assert registry.find(name).full_name == "segzoo-u2net/u2netp"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("u2nettp", "no model 'u2nettp'. Did you mean 'u2netp' or 'u2net'?"),
        ("u2netp_", "no model 'u2netp_'. Did you mean 'u2netp' or 'u2net'?"),
        ("zebra", "no model 'zebra'. See: segzoo list"),
        (
            "nobody/u2netp",
            "no model 'nobody/u2netp'. Did you mean 'u2netp' or 'u2net'? A model on the Hub is "
            "written hf-hub:nobody/u2netp",
        ),
        ("./src2", "no model './src2'. There is no such folder either"),
        ("segzoo-u2net/", "no model 'segzoo-u2net/'. See: segzoo list"),
        ("", "no model ''. See: segzoo list"),
        ("a\nb\x1b[31m", r"no model 'a\\nb\\x1b[31m'. See: segzoo list"),
        ("x" * 10_000, f"no model '{'x' * 100}'. See: segzoo list"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_unknown_names(name, message, monkeypatch):
    """Row C1."""
    only_u2net = [d for d in metadata.distributions() if d.metadata["Name"] == "segzoo-u2net"]
    monkeypatch.setattr(metadata, "distributions", lambda: only_u2net)
    with pytest.raises(UnknownModelError) as caught:
        registry.find(name)
    assert str(caught.value) == message
    assert caught.value.exit_code == 2


def test_with_nothing_installed():
    code = f"""
import sys
sys.path.insert(0, {str(Path(registry.__file__).parents[2])!r})
from segzoo.zoo import registry
print(registry.entries(), list(registry.rows()))
for name in ("my_net", "u2netp"):
    try:
        registry.find(name)
    except registry.UnknownModelError as error:
        print(error)
"""
    command = [sys.executable, "-I", "-S", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [
        "() []",
        "no model 'my_net'. No model is installed; run: pip install 'segzoo-core[all]'",
        "no model 'u2netp' is installed; segzoo-u2net offers it. "
        "Run: pip install --upgrade segzoo-u2net",
    ]


STRANGE = [
    "__import__('os').system('touch canary')",
    "$import os",
    "${os:system('touch canary')}",
    "hf://evil/x",
    "https://192.0.2.1/model",
    "file:///etc/passwd",
    "!!python/object/apply:os.system ['touch canary']",
    "../../etc/passwd",
    "u2netp; touch canary",
]


def test_a_folder_that_is_written_as_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "saved").mkdir()
    with pytest.raises(UnknownModelError) as caught:
        registry.find("saved")
    assert str(caught.value) == (
        "no model 'saved'. There is a folder of that name; for the model in it write ./saved"
    )


@pytest.mark.parametrize("name", STRANGE)
def test_names_that_look_like_code_or_addresses(name, monkeypatch, tmp_path, capsys):
    """Row C7: they are names that no model has."""
    monkeypatch.chdir(tmp_path)
    for find in (registry.find, find_spec):
        with pytest.raises(UnknownModelError) as caught:
            find(name)
        assert str(caught.value).startswith(f"no model {name!r}. ")
    with pytest.raises(UnknownModelError, match=r"^no model "):
        load(name)
    for verb in ("info", "check"):
        assert run([verb, name]) == 2
        assert capsys.readouterr().err.startswith(f"segzoo: no model {name!r}. ")
    assert list(tmp_path.iterdir()) == []


def test_names_that_look_like_code_reach_nothing():
    """Row C7: no command, no connection, no file of the system, as Python's own audit sees it."""
    code = f"""
import sys
from segzoo.model.load import find_spec
from segzoo.zoo import registry
from segzoo.errors import UnknownModelError
seen = []
def watch(event, args):
    if event.startswith(("socket.", "os.system", "os.exec", "os.posix_spawn", "subprocess.")):
        seen.append(event)
    if event == "open" and str(args[0]).startswith("/etc/"):
        seen.append(str(args[0]))
sys.addaudithook(watch)
for name in {STRANGE!r}:
    for find in (registry.find, find_spec):
        try:
            find(name)
        except UnknownModelError:
            continue
        seen.append(name)
print(seen)
"""
    result = fake_plugins.run(code=code)
    assert (result.stdout, result.returncode) == ("[]\n", 0), result.stderr


# --- damaged and unusual metadata


def test_entry_points_that_python_itself_cannot_read(monkeypatch):
    """Row P7: not UTF-8, and a line without an equals sign."""
    fake_plugins.install(monkeypatch, BROKEN / "unreadable")
    problems = {e.full_name: e.problem for e in registry.entries() if "broken" in e.full_name}
    assert problems == {
        "broken-equals/broken_equals": "",
        "broken-equals/no_value": (
            "malformed entry point 'no_value': expected name = module:ATTRIBUTE"
        ),
        "broken-latin/broken_latin": "",
        "broken-latin/caf\ufffd": "the name 'caf\ufffd' does not match [a-z][a-z0-9_]*",
    }
    assert registry.find("broken_latin").load().summary.startswith("installed by tools")
    assert registry.find("u2netp").full_name == "segzoo-u2net/u2netp"


def test_the_first_copy_on_the_path_counts(monkeypatch, tmp_path):
    for version in ("2.0", "1.0"):
        site = tmp_path / version
        fake_plugins.make(site, "two-copies", {"copied": "two_copies:SPEC"}, version=version)
    fake_plugins.install(monkeypatch, tmp_path / "1.0", tmp_path / "2.0")
    assert registry.find("copied").version == "2.0"


def test_a_copy_without_models_hides_an_older_one_with_models(monkeypatch, tmp_path):
    fake_plugins.make(tmp_path / "old", "two-copies", {"copied": "two_copies:SPEC"})
    fake_plugins.make(tmp_path / "new", "two-copies", {})
    fake_plugins.install(monkeypatch, tmp_path / "old", tmp_path / "new")
    with pytest.raises(UnknownModelError):
        registry.find("copied")


def test_what_pip_left_of_an_old_version_does_not_count(monkeypatch, tmp_path):
    fake_plugins.make(tmp_path, "left-over", {"left_over": "left_over:SPEC"})
    info = tmp_path / "left_over-1.0.dist-info"
    shutil.copytree(info, tmp_path / "~eft_over-0.9.dist-info")
    fake_plugins.install(monkeypatch, tmp_path)
    assert [e.version for e in registry.entries() if e.name == "left_over"] == ["1.0"]


def test_comments_extras_and_other_groups(monkeypatch, tmp_path):
    fake_plugins.make(tmp_path, "talkative", {})
    (tmp_path / "talkative-1.0.dist-info" / "entry_points.txt").write_text(
        "# of segzoo.models\n[console_scripts]\nx = y:z\n"
        "[ segzoo.models ]\n; a comment\n\n  talks =  talkative.spec:TALKS [extra]  \n"
    )
    fake_plugins.install(monkeypatch, tmp_path)
    (entry,) = [e for e in registry.entries() if e.distribution == "talkative"]
    assert (entry.name, entry.value, entry.problem) == ("talks", "talkative.spec:TALKS", "")


def test_metadata_without_a_folder(monkeypatch):
    """What other finders than Python's own give, a frozen application's say."""

    class Frozen(metadata.Distribution):
        def __init__(self, name):
            self.name_ = name

        def read_text(self, filename):
            return {
                "METADATA": f"Metadata-Version: 2.1\nName: {self.name_}\nVersion: 3\n",
                "entry_points.txt": f"[segzoo.models]\n{self.name_} = tiny:TINY\n",
            }.get(filename)

        def locate_file(self, path):
            raise NotImplementedError

    monkeypatch.setattr(metadata, "distributions", lambda: [Frozen("one"), Frozen("two")])
    assert [e.full_name for e in registry.entries()] == ["one/one", "two/two"]


# --- causes


def cause_of(error: BaseException) -> str:
    return registry.cause(error)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RuntimeError("two\nlines \x1b[31m red"), r"RuntimeError: two lines \x1b[31m red"),
        (RuntimeError(), "RuntimeError: no message"),
        (RuntimeError("x" * 10**6), f"RuntimeError: {'x' * 500}"),
        (SystemExit(), "it called sys.exit()"),
        (SystemExit("bye"), "it called sys.exit(bye)"),
        (TypeError("f() got an unexpected keyword argument 'a'"), "TypeError: f() got an unexp"),
        (ImportError("no name", name="torch"), "ImportError: no name"),
        (UsageError("a sentence", next_step="Do it"), "a sentence"),
    ],
)
def test_a_cause_is_one_line(error, text):
    assert cause_of(error).startswith(text)
    assert cause_of(error).isprintable()
    assert len(cause_of(error)) < 600


def test_threads_that_load_at_once_leave_stdout_alone(monkeypatch, tmp_path):
    """The second begins while the first is at it, and ends after it, unless they take turns."""
    (tmp_path / "turns.py").write_text(
        "from threading import Event\nfirst_in, second_in, first_out = Event(), Event(), Event()\n"
    )
    fake_plugins.make(
        tmp_path,
        "turn-one",
        {"turn_one": "turn_one:SPEC"},
        code="import turns\nfrom tiny import TINY as SPEC\nturns.first_in.set()\n"
        "turns.second_in.wait(0.3)\n",
    )
    fake_plugins.make(
        tmp_path,
        "turn-two",
        {"turn_two": "turn_two:SPEC"},
        code="import turns\nfrom tiny import TINY as SPEC\nturns.second_in.set()\n"
        "turns.first_out.wait(0.3)\n",
    )
    fake_plugins.install(monkeypatch, tmp_path)
    import turns

    one, two = registry.find("turn_one"), registry.find("turn_two")
    before = sys.stdout
    first, second = threading.Thread(target=one.load), threading.Thread(target=two.load)
    first.start()
    assert turns.first_in.wait(10)
    second.start()
    first.join()
    turns.first_out.set()
    second.join()
    assert sys.stdout is before


def test_these_tests_leave_nothing_behind():
    assert not [name for name in sys.modules if name.startswith("broken_")]
    assert not [path for path in sys.path if os.fspath(BROKEN) in path]


def test_what_is_installed_meanwhile_is_seen(tmp_path, monkeypatch):
    """And what is removed: a notebook that was open before goes on."""
    monkeypatch.syspath_prepend(tmp_path)
    assert "late" not in {entry.name for entry in registry.entries()}
    info = tmp_path / "late-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: late\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[segzoo.models]\nlate = late:SPEC\n")
    assert "late" in {entry.name for entry in registry.entries()}
    shutil.rmtree(info)
    assert "late" not in {entry.name for entry in registry.entries()}
