"""A runtime's library is imported without what segzoo has no use for."""

import os
import subprocess
import sys
from importlib.resources import files

import pytest

from segzoo.errors import DependencyMissingError
from segzoo.predict.runtimes import libraries, offered

pytest.importorskip("openvino")

RUNTIMES = ("onnxruntime", "openvino")

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


RUN = """
import segzoo
from segzoo.predict.runtimes.libraries import import_library
library = import_library("onnxruntime")
library.InferenceSession(open(sys.argv[1], "rb").read(), providers=["CPUExecutionProvider"])
"""


@pytest.mark.parametrize("said", [None, "1"])
def test_onnxruntime_tells_nobody_and_keeps_no_number_of_the_machine(said, tmp_path):
    graph = next(files("segzoo_lite").joinpath("weights").glob("*.fp32.onnx"))
    home = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "USERPROFILE")}
    # Nothing that says that this is a test, where it would not tell anyway.
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    env = {**kept, **home, **({} if said is None else {"ORT_DISABLE_TELEMETRY": said})}
    line = [sys.executable, "-c", f"import sys; {RUN}", str(graph)]
    subprocess.run(line, env=env, check=True)
    assert not [*tmp_path.rglob("deviceid")]


def test_nothing_else_in_segzoo_imports_them(pytestconfig):
    """One place decides what is left out."""
    sources = (pytestconfig.rootpath / "src").rglob("*.py")
    lines = {line.strip() for file in sources for line in file.read_text("utf-8").splitlines()}
    ways = [f"{way} {library}" for way in ("import", "from") for library in RUNTIMES]
    assert {line for line in lines if line.startswith(tuple(ways))} == {
        "from openvino.tools.ovc import convert_model",
        # of what `import_library` has imported by then
        "from onnxruntime.quantization import CalibrationMethod, create_calibrator",
        "from onnxruntime.quantization import QuantType",
        "from onnxruntime.quantization.qdq_quantizer import QDQQuantizer",
        "from onnxruntime.quantization.quant_utils import load_model_with_shape_infer",
    }


def test_a_library_that_is_missing_is_named_with_its_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DependencyMissingError, match=r"pip install 'segzoo-core\[onnx\]'"):
        libraries.import_library("onnxruntime")
    assert set(offered.OFFERED) >= {"onnxruntime", "openvino"}
