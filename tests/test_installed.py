"""Which of the modules that a plugin requires are not there."""

import pytest

from segzoo.zoo.installed import missing


@pytest.mark.parametrize(
    ("module", "is_there"),
    [
        ("json", True),
        ("json.tool", True),
        ("no_such", False),
        ("no_such.module", False),  # its parent is absent
        ("json.no_such", False),
        ("json.tool.no_such", False),  # its parent is no package
        ("lacking.part", False),  # its parent lacks something
        ("broken.part", True),  # its fault shows when it is used
        ("__main__", True),
    ],
)
def test_a_module_is_there_or_is_missing(tmp_path, monkeypatch, module, is_there):
    for name, line in (("lacking", "import no_such"), ("broken", "raise ValueError")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(line)
        (tmp_path / name / "part.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert missing({module: "what pip calls it"}) == (
        {} if is_there else {module: "what pip calls it"}
    )
