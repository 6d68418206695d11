"""Without the libraries of an extra: the verb that wants one says what to install, in one line.

What is missing is missing to `import` and to whoever looks for it; a table has a line for every
library of every extra that a user chooses.
"""

import re
import sys
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from segzoo.cli.main import run

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
OF_DEVELOPERS = {"all", "check", "docs", "test"}  # `all` is `train` and our plugins
# Requirement -> what is imported, where the name is another.
MODULES = {
    "model-signing": "model_signing",
    "pillow-heif": "pillow_heif",
    "prometheus-client": "prometheus_client",
    "python-multipart": "python_multipart",
    "pyopenssl": "OpenSSL",
    "ray[data]": "ray",
    "scikit-learn": "sklearn",
}
# A library of an extra: a line that wants it. The photo is there, and so are tiny's run and data.
LINES = {
    ("train", "accelerate"): "train tiny --data arrays:squares.npz -o out steps=1",
    ("train", "torchvision"): "data preview arrays:squares.npz augment=flip -o out.html",
    ("train", "scipy"): "data traits arrays:squares.npz",
    ("train", "scikit-learn"): "data compose-digits digits --count 10",
    ("convert", "h5py"): "convert weights.h5 --to tiny -o out",
    ("convert", "onnx"): "convert weights.onnx --to tiny -o out",
    ("onnx", "onnx"): "export ./run/model -o out.onnx",
    ("onnx", "onnxscript"): "export ./run/model -o out.onnx",
    ("onnx", "onnxruntime"): "predict ./run/model photo.png -o out --runtime onnxruntime",
    ("openvino", "onnx"): "predict ./run/model photo.png -o out --runtime openvino",
    ("openvino", "onnxscript"): "predict ./run/model photo.png -o out --runtime openvino",
    ("openvino", "openvino"): "predict ./run/model photo.png -o out --runtime openvino",
    ("heic", "pillow-heif"): "predict ./run/model photo.heic -o out",
    ("data", "datasets"): "data check hf:folder",
    ("data", "h5py"): "data check nyudv2:folder",
    ("data", "pycocotools"): "data check coco:folder",
    ("serve", "starlette"): "serve tiny=./run/model",
    ("serve", "uvicorn"): "demo tiny=./run/model",
    ("serve", "python-multipart"): "serve tiny=./run/model",
    ("serve", "prometheus-client"): "demo tiny=./run/model",
    ("ray", "ray[data]"): "predict ./run/model photo.png -o out --on ray",
    ("signing", "model-signing"): "verify ./run/model --public-key key.pub",
    ("signing", "pyopenssl"): "verify ./run/model --public-key key.pub",
}
# What is done without, and where that is tested.
DONE_WITHOUT = {
    ("train", "timm"): "optimisers of timm alone: test_optim.py",
    ("train", "matplotlib"): "a run has no curves then: test_curves.py",
    ("data", "numpy"): "the core's own, in a release that datasets can be imported beside",
    ("fast", "isal"): "zlib writes the same pixels: test_png.py",
}
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1"


def requirements():
    for extra, wanted in PROJECT["optional-dependencies"].items():
        if extra not in OF_DEVELOPERS:
            for requirement in wanted:
                yield extra, re.split("[><=]", requirement)[0]


def test_every_library_of_an_extra_has_a_line_or_a_reason():
    assert {*requirements()} == LINES.keys() | DONE_WITHOUT.keys()


@pytest.mark.parametrize(("extra", "requirement"), LINES, ids=map(" ".join, LINES))
def test_what_is_missing_is_said_with_what_installs_it(
    workplace, capsys, monkeypatch, extra, requirement
):
    Image.new("RGB", (8, 8)).save("photo.png")
    for name, content in (
        ("photo.heic", HEIC),
        ("weights.onnx", b"\x08\x07\x12\x07pytorch"),
        ("weights.h5", b"\x89HDF\r\n\x1a\n"),
        ("key.pub", b"key"),
    ):
        (workplace / name).write_bytes(content)
    (workplace / "folder").mkdir()
    missing = MODULES.get(requirement, requirement)
    # What has imported it already goes too: model-signing asks for OpenSSL where it is imported.
    gone = {missing, "model_signing"}
    for module in [name for name in sys.modules if name.split(".")[0] in gone]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, missing, None)
    code = run(LINES[extra, requirement].split())
    said = "".join(capsys.readouterr())
    installing = (f"segzoo-core[{extra}]'", requirement)
    assert any(f"pip install '{name}" in said for name in installing), said
    assert "Traceback" not in said
    assert "defect" not in said
    assert code in (1, 2, 3)
