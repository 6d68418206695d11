"""Rules of the house that a reader of one file cannot see: who imports whom, and what nobody calls.

A file imports, at its top, from lower layers alone. numpy and Pillow begin at layer 3 and torch at
layer 8; below those lines not even a function imports them.
"""

import ast
import io
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "src" / "segzoo"
PLUGINS = sorted(p.parent for p in ROOT.glob("plugins/*/pyproject.toml"))

NOTHING = frozenset[str]()
ARRAYS = frozenset({"numpy", "PIL"})
TENSORS = ARRAYS | {"torch"}
TERMINAL = frozenset({"typer"})
# What speaks to the Hub needs, and imports in a function.
HUB = frozenset({"huggingface_hub", "httpx2", "filelock"})
# What readers of data sets need for one format each, and import in a function.
FORMATS = frozenset({"datasets", "h5py", "pycocotools", "scipy", "sklearn"})


class Layer(NamedTuple):
    number: int
    files: str  # under src/segzoo, without .py, with dots for folders
    libraries: frozenset[str]  # besides the standard library
    lower: frozenset[int] | None = None  # which lower layers; None for all of them


LAYERS = (
    Layer(0, "errors spec palettes", NOTHING),
    Layer(1, "registry cache files keymap licenses strictjson transfer", NOTHING),
    Layer(2, "config header hubcache manifest refs scaffold", NOTHING),
    # numpy and Pillow begin here
    Layer(3, "origin", NOTHING),
    Layer(3, "pictures resample labels hubline card", ARRAYS),
    Layer(4, "hub", ARRAYS),
    Layer(5, "upload", ARRAYS),
    Layer(4, "preprocess data.__init__ data.sample data.tarindex data.matlab data.archive", ARRAYS),
    Layer(5, "tiling outputs data.source data.paired data.declared data.compose", ARRAYS),
    Layer(6, "privacy claims predictor data.layout data.fingerprint data.readers.__init__", ARRAYS),
    Layer(7, "data.statistics report.__init__", ARRAYS),
    Layer(
        7,
        " ".join(
            f"data.readers.{name}"
            for name in "ade20k arrays camvid cityscapes coco drive folder hf nyudv2 oxford_pet "
            "shards sunrgbd voc".split()
        ),
        ARRAYS,
    ),
    # torch begins here
    Layer(8, "weights build profile process runtimes.__init__ runtimes.torch", TENSORS),
    Layer(8, "hdf5 pickles", TENSORS),
    Layer(9, "model blame features golden signing mapping", TENSORS),
    Layer(10, "backbones", TENSORS),
    Layer(10, "kit", TENSORS),
    Layer(11, "promises verify", TENSORS),
    Layer(12, "testing doctor", TENSORS),
    Layer(13, "metrics.__init__ metrics.measure data.draws data.warp data.named", TENSORS),
    Layer(14, "losses metrics.semantic metrics.saliency metrics.boundary", TENSORS),
    Layer(14, "metrics.overlapping metrics.bootstrap", TENSORS),
    Layer(14, "data.views data.pixel_weight data.resizing", TENSORS),
    Layer(15, "data.augment", TENSORS),
    Layer(16, "data.loader data.decoded data.check report.confusion engine.settings", TENSORS),
    Layer(17, "engine.__init__ engine.signals engine.flags engine.ema", TENSORS),
    Layer(17, "engine.guard engine.reduce engine.recompute engine.lock", TENSORS),
    Layer(17, "engine.maps engine.optim engine.schedule engine.recipes engine.trackers", TENSORS),
    Layer(17, "engine.checkpoint engine.optimizer_state engine.launch report.panels", TENSORS),
    Layer(18, "engine.evaluate engine.state engine.lookout engine.batch", TENSORS),
    Layer(19, "engine.journal engine.failures engine.record", TENSORS),
    Layer(20, "engine.train report.curves report.evaluation_report", TENSORS),
    # names become objects here; whatever is heavy is imported when it is used
    Layer(21, "api", NOTHING, frozenset({0, 1, 2, 3})),
    Layer(22, "subject convert", TENSORS),
    Layer(23, "begun report.opening", TENSORS),
    Layer(24, "training", TENSORS),
    Layer(25, "evaluation publish", TENSORS),
    Layer(26, "pruning", TENSORS),
    Layer(
        27, "cli.__init__ cli.text cli.jobs cli.options cli.transfers", TERMINAL, frozenset({0, 1})
    ),
    Layer(
        28,
        "cli.list cli.info cli.predict cli.check cli.doctor cli.train cli.eval cli.prune "
        "cli.data cli.features cli.new cli.convert cli.publish cli.verify cli.download cli.cache",
        TERMINAL,
        frozenset({0, 1, 21, 27}),
    ),
    Layer(29, "cli.main", TERMINAL, frozenset({0, 1, 27, 28})),
    Layer(30, "__init__", NOTHING, frozenset()),
)
LAYER_OF = {name: layer for layer in LAYERS for name in layer.files.split()}
TORCH_LINE = 8
BESIDE: set[tuple[str, str]] = set()  # of one layer, and still allowed

# What a plugin's file imports at its top, besides the standard library and files of its own.
PLUGIN_LIBRARIES = {
    "spec": {"segzoo.spec"},
    "published": {"segzoo.spec"},
    "convert": {"segzoo.keymap"},
    "__init__": set(),
}
PLUGIN_CODE_LIBRARIES = {"torch"}
PLUGINS_ABOUT = {  # a plugin may be about a library
    "segzoo_fcn_vgg16": {"timm"},
    "segzoo_lite": {"timm"},
    "segzoo_smp": {"segmentation_models_pytorch", "timm"},
}


class Import(NamedTuple):
    line: int
    module: str  # dotted; `from a import b` is a.b
    at_top: bool  # it runs when its file is imported


def imports(source: str) -> Iterator[Import]:
    """Every import of a file but those for type checkers only."""

    def walk(node: ast.AST, at_top: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(child.lineno, a.name, at_top) for a in child.names)
            elif isinstance(child, ast.ImportFrom):
                package = "." * child.level + (child.module or "")
                yield from (
                    Import(child.lineno, f"{package}.{a.name}", at_top) for a in child.names
                )
            elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                yield from walk(ast.Module(child.orelse, []), at_top)
            else:
                function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, at_top and not function)

    yield from walk(ast.parse(source), True)


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(CORE).with_suffix("").parts)


def file_of(module: str) -> str:
    """The file behind `segzoo.cli.text.table`: the longest name of a file in it, `cli.text`."""
    parts = module.split(".")[1:]
    for end in range(len(parts), 0, -1):
        name = ".".join(parts[:end])
        for candidate in (name, f"{name}.__init__"):
            if candidate in LAYER_OF:
                return candidate
    return "__init__"


def faults_of(name: str, source: str) -> list[str]:
    """What a file of the core imports although its layer forbids it."""
    layer, found = LAYER_OF[name], []
    for line, module, at_top in imports(source):
        library = module.split(".")[0]
        if library in sys.stdlib_module_names:
            continue
        if library == "segzoo":
            other = file_of(module)
            number = LAYER_OF[other].number
            allowed = number < layer.number and (layer.lower is None or number in layer.lower)
            allowed = allowed or (name, other) in BESIDE or not at_top
        else:
            late = layer.number >= TORCH_LINE
            late = late or (name.startswith("data.") and library in FORMATS)
            late = late or (name in ("hub", "hubline", "card", "upload") and library in HUB)
            allowed = library in layer.libraries or (not at_top and late)
        if not allowed:
            found.append(f"{name}, line {line}: {module}")
    return found


FILES = sorted(CORE.rglob("*.py"))


def test_every_file_has_a_layer_and_every_layer_its_files():
    assert sorted(map(name_of, FILES)) == sorted(LAYER_OF)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_file_imports_from_lower_layers_alone(file):
    assert faults_of(name_of(file), file.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("name", "source", "fault"),
    [
        ("errors", "import numpy", "errors, line 1: numpy"),
        ("spec", "from segzoo.model import load as api", "spec, line 1: segzoo.model.load"),
        ("spec", "from segzoo.errors import UsageError", "spec, line 1: segzoo.errors.UsageError"),
        ("spec", "from . import errors", "spec, line 1: ..errors"),
        ("config", "try:\n    import PIL.Image\nfinally:\n    pass", "config, line 2: PIL.Image"),
        ("predictor", "def f():\n    import torch", "predictor, line 2: torch"),
        (
            "api",
            "from segzoo.weights.safetensors import read",
            "api, line 1: segzoo.weights.safetensors.read",
        ),
        ("cli.list", "import rich", "cli.list, line 1: rich"),
        ("cli.list", "from segzoo.cli.main import app", "cli.list, line 1: segzoo.cli.main.app"),
        ("__init__", "from segzoo.model import load as api", "__init__, line 1: segzoo.model.load"),
    ],
)
def test_a_forbidden_import_is_seen(name, source, fault):
    assert faults_of(name, source) == [fault]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("spec", "import dataclasses"),
        ("weights", "import torch\nfrom segzoo import header"),
        ("api", "def f():\n    from segzoo.weights import safetensors as weights"),
        ("api", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("cli.list", "def f():\n    import rich"),
    ],
)
def test_an_allowed_import_passes(name, source):
    assert faults_of(name, source) == []


PLUGIN_FILES = [file for plugin in PLUGINS for file in sorted(plugin.glob("src/*/**/*.py"))]


def plugin_faults_of(package: str, stem: str, source: str) -> list[str]:
    code = PLUGIN_CODE_LIBRARIES | PLUGINS_ABOUT.get(package, set())
    allowed = PLUGIN_LIBRARIES.get(stem, code)
    return [
        f"{package}.{stem}, line {line}: {module}"
        for line, module, _ in imports(source)
        if module.split(".")[0] not in {*sys.stdlib_module_names, package}
        and not any(f"{module}.".startswith(f"{name}.") for name in allowed)
    ]


@pytest.mark.parametrize("file", PLUGIN_FILES, ids=lambda f: f"{f.parent.name}.{f.stem}")
def test_a_plugin_imports_torch_or_the_spec_and_no_other_plugin(file):
    assert plugin_faults_of(file.parent.name, file.stem, file.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("stem", "source"),
    [
        ("spec", "import torch"),
        ("spec", "from segzoo.model.load import load"),
        ("model", "from segzoo.spec import ModelSpec"),
        ("model", "import other_plugin.blocks"),
        ("__init__", "import torch"),
    ],
)
def test_a_plugins_forbidden_import_is_seen(stem, source):
    assert len(plugin_faults_of("my_plugin", stem, source)) == 1


def test_a_spec_imports_its_own_package_lightly():
    """spec.py may not reach torch through a file beside it; published.py imports as little."""
    for file in (f for f in PLUGIN_FILES if f.stem == "spec"):
        own = [
            i.module
            for i in imports(file.read_text("utf-8"))
            if i.module.startswith(file.parent.name)
        ]
        assert {*own} <= {f"{file.parent.name}.published"}


# --- the core holds no architecture's name -------------------------------------------------------


def model_names() -> set[str]:
    """The names that our plugins offer, and the families of the field in general."""
    names = {"unet", "unetpp", "fcn", "deeplab", "segformer"}
    for plugin in PLUGINS:
        project = tomllib.loads((plugin / "pyproject.toml").read_text("utf-8"))["project"]
        names |= set(project["entry-points"]["segzoo.models"])
    return names


def words_of_code(source: str) -> Iterator[tuple[int, str]]:
    """Names, strings and comments with their lines; docstrings, which may hold examples, not."""
    docstrings = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                docstrings.add((first.lineno, first.col_offset))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kinds = (tokenize.NAME, tokenize.STRING, tokenize.COMMENT)
        if token.type in kinds and token.start not in docstrings:
            yield token.start[0], token.string


def names_in(source: str) -> list[tuple[int, str]]:
    pattern = re.compile(rf"(?<![a-z])({'|'.join(sorted(model_names()))})(?![a-z])", re.IGNORECASE)
    return [
        (line, match[0]) for line, word in words_of_code(source) for match in pattern.finditer(word)
    ]


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_the_core_names_no_architecture(file):
    assert names_in(file.read_text("utf-8")) == []


def test_an_architectures_name_is_seen_in_code_but_not_in_a_docstring():
    assert names_in('def f():\n    """Load u2net."""\n') == []
    assert names_in('x = "u2net"  # or FCN\nunet_width = 3') == [
        (1, "u2net"),
        (1, "FCN"),
        (2, "unet"),
    ]
    assert names_in("magnet, confcn = 1, 2") == []


# --- what no file does: run data as code ---------------------------------------------------------

FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}
FORBIDDEN_ATTRIBUTES = {"extractall", "torch.load", "yaml.load", "numpy.load", "np.load"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FORBIDDEN_KEYWORDS = {"shell", "allow_pickle", "trust_remote_code"}
# The kit pickles a model of its own and reads it back, all in memory. `segzoo convert` opens other
# people's pickles, as tensors alone and in a process of its own.
NEEDED = {CORE / "promises.py": "import pickle", CORE / "pickles.py": "torch.load"}


def is_read(node: ast.Name) -> bool:
    """Whether the name is looked up, and not given to something of one's own."""
    return isinstance(node.ctx, ast.Load)


def dangers_in(source: str) -> list[str]:
    found = [
        f"line {line}: import {module}"
        for line, module, _ in imports(source)
        if module.split(".")[0] in FORBIDDEN_MODULES or module in FORBIDDEN_ATTRIBUTES
    ]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if name in FORBIDDEN_ATTRIBUTES | FORBIDDEN_CALLS or node.attr in FORBIDDEN_ATTRIBUTES:
                found.append(f"line {node.lineno}: {name}")
        elif isinstance(node, ast.Name) and node.id in FORBIDDEN_CALLS and is_read(node):
            found.append(f"line {node.lineno}: {node.id}")
        elif isinstance(node, ast.keyword) and node.arg in FORBIDDEN_KEYWORDS:
            if not (isinstance(node.value, ast.Constant) and node.value.value is False):
                found.append(f"line {node.lineno}: {node.arg}={ast.unparse(node.value)}")
    return found


@pytest.mark.parametrize("file", [*FILES, *PLUGIN_FILES], ids=lambda f: f"{f.parent.name}.{f.stem}")
def test_no_file_runs_data_as_code(file):
    dangers = dangers_in(file.read_text("utf-8"))
    assert [what for what in dangers if what.partition(": ")[2] != NEEDED.get(file)] == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from pickle import loads",
        "from torch import load",
        "torch.load(file)",
        "torch.load(file, weights_only=True)",
        "archive.extractall(folder)",
        "eval('1')",
        "exec(code)",
        "yaml.load(text)",
        "np.load(file, allow_pickle=True)",
        "subprocess.run(line, shell=True)",
        "os.system(line)",
    ],
)
def test_a_danger_is_seen(source):
    assert dangers_in(source)


def test_what_only_looks_dangerous_passes():
    assert dangers_in("network.eval()\nre.compile('a')\njson.load(f)\nload(f, shell=False)") == []
