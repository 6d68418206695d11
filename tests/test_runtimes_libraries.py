"""A runtime's library is imported without what segzoo has no use for."""

import subprocess
import sys

import pytest

from segzoo.errors import DependencyMissingError
from segzoo.predict.runtimes import libraries, offered

pytest.importorskip("openvino")

ASKED = """
import sys
from segzoo.predict.runtimes.libraries import import_library
{before}
library = import_library("openvino")
assert library.Core().available_devices
tools = [name for name in sys.modules if name.startswith(("openvino.tools", "openvino_telemetry"))]
print(len(tools), import_library("openvino") is library)
{after}
"""


def told(before="", after=""):
    script = ASKED.format(before=before, after=after)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_openvino_comes_without_what_tells_its_makers():
    assert told() == ["0", "True"]


def test_its_converter_is_there_for_others_in_the_process():
    count, _, name = told(after="import openvino; print(openvino.convert_model.__name__)")
    assert count == "0" and name == "convert_model"
    assert told(after="print(hasattr(library, 'no_such_thing'))")[2] == "False"


def test_what_the_caller_had_imported_stays():
    count, _, same = told(
        before="import openvino; kept = openvino.convert_model",
        after="print(library.convert_model is kept)",
    )
    assert int(count) > 1 and same == "True"


def test_nothing_else_in_segzoo_imports_it(pytestconfig):
    """One place decides what is left out."""
    files = (pytestconfig.rootpath / "src").rglob("*.py")
    lines = [line.strip() for file in files for line in file.read_text("utf-8").splitlines()]
    found = [line for line in lines if line.startswith(("import openvino", "from openvino"))]
    assert found == ["from openvino.tools.ovc import convert_model"]


def test_a_library_that_is_missing_is_named_with_its_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DependencyMissingError, match=r"pip install 'segzoo-core\[onnx\]'"):
        libraries.import_library("onnxruntime")
    assert set(offered.OFFERED) >= {"onnxruntime", "openvino"}
