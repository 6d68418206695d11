"""Rules of the house that a reader of one file cannot see: who imports whom, and what nobody calls.

`src/segzoo` is a house of rooms on levels. A file imports from its own room and from rooms on lower
levels, in functions too. numpy and Pillow begin with `pictures`, torch with `weights`; a room whose
row has no torch never imports it.
"""

import ast
import graphlib
import io
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "src" / "segzoo"
PLUGINS = sorted(p.parent for p in ROOT.glob("plugins/*/pyproject.toml"))

NOTHING = frozenset[str]()
ARRAYS = frozenset({"numpy", "PIL"})
TENSORS = ARRAYS | {"torch"}
FILES_OF_TENSORS = frozenset({"safetensors"})
# What speaks to the Hub.
HUB = frozenset({"huggingface_hub", "filelock"})
# What data sets need for one format each.
FORMATS = frozenset({"datasets", "h5py", "pycocotools", "scipy", "sklearn"})


class Room(NamedTuple):
    level: int
    name: str  # of a folder or file in src/segzoo, with dots; a folder within has a row of its own
    at_top: frozenset[str] = NOTHING  # libraries that its files import when they are imported
    late: frozenset[str] = NOTHING  # libraries that only functions import


ROOMS = (
    Room(0, "errors"),
    Room(1, "base", NOTHING, frozenset({"yaml"})),
    Room(2, "spec"),
    Room(2, "keymap"),
    Room(3, "zoo"),
    Room(3, "saved"),
    Room(3, "pictures", ARRAYS, frozenset({"isal", "pillow_heif"})),
    Room(4, "hub", NOTHING, HUB),
    Room(4, "predict", ARRAYS),
    Room(4, "predict.runtimes", TENSORS, frozenset({"onnxruntime", "openvino"})),
    Room(4, "weights", TENSORS | FILES_OF_TENSORS, frozenset({"h5py", "onnx"})),
    Room(4, "losses", TENSORS),
    Room(4, "metrics", TENSORS, frozenset({"scipy"})),
    Room(
        5,
        "predict.artefacts",
        ARRAYS,
        frozenset({"filelock", "onnx", "onnxruntime", "onnxscript", "torch"}),
    ),
    Room(5, "data", TENSORS, FORMATS | {"torchvision"}),
    Room(6, "model", TENSORS),
    Room(6, "data.readers", ARRAYS, FORMATS),
    Room(7, "checks", TENSORS, frozenset({"model_signing"})),
    Room(7, "export", TENSORS, frozenset({"onnx", "onnxruntime", "openvino"})),
    Room(7, "engine", TENSORS, frozenset({"accelerate", "rich", "timm"})),
    Room(8, "report", ARRAYS, frozenset({"jinja2", "markupsafe", "matplotlib"})),
    Room(8, "testing"),
    Room(9, "runs", TENSORS, frozenset({"rich"})),
    Room(9, "publish", ARRAYS, frozenset({"huggingface_hub", "packaging", "yaml"})),
    Room(9, "compat", ARRAYS),
    Room(
        9,
        "serve",
        ARRAYS | {"prometheus_client", "starlette"},
        frozenset({"python_multipart", "uvicorn"}),
    ),
    Room(10, "automatic", TENSORS),
    Room(11, "cli", frozenset({"typer"}), frozenset({"ray", "rich"})),
    Room(12, "__init__"),
)
ROOM = {room.name: room for room in ROOMS}
# A file that imports upwards, late, and what: `Model.push_to_hub`.
EXCEPTIONS = {("model.loaded", "publish.publish"), ("model.loaded", "publish.request")}
MOST_ENTRIES = 28  # at the top of src/segzoo

# What a plugin's file imports at its top, besides the standard library and files of its own.
PLUGIN_LIBRARIES = {
    "spec": {"segzoo.spec"},
    "published": {"segzoo.spec"},
    "encoders": set(),
    "convert": {"segzoo.keymap"},
    "__init__": set(),
}
PLUGIN_CODE_LIBRARIES = {"torch"}
PLUGINS_ABOUT = {  # a plugin may be about a library
    "segzoo_fcn_vgg16": {"timm"},
    "segzoo_lite": {"timm"},
    "segzoo_smp": {"segmentation_models_pytorch", "timm"},
    "segzoo_torchvision": {"torchvision"},
    "segzoo_transformers": {"transformers"},
}
PLUGINS_ON = {"segzoo_smp": {"segzoo_lite"}}  # a plugin may depend on another's records and maps


class Import(NamedTuple):
    line: int
    module: str  # dotted; `from a import b` is a.b
    at_top: bool  # it runs when its file is imported


def imports(source: str) -> Iterator[Import]:
    """Every import of a file but those for type checkers only.

    Also by `segzoo.base.extras.imported("module", ...)`.
    """

    def walk(node: ast.AST, at_top: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(child.lineno, a.name, at_top) for a in child.names)
            elif isinstance(child, ast.ImportFrom):
                package = "." * child.level + (child.module or "")
                yield from (
                    Import(child.lineno, f"{package}.{a.name}", at_top) for a in child.names
                )
            elif isinstance(child, ast.Call) and ast.unparse(child.func) == "imported":
                yield Import(child.lineno, ast.literal_eval(child.args[0]), at_top)
            elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                yield from walk(ast.Module(child.orelse, []), at_top)
            else:
                function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, at_top and not function)

    yield from walk(ast.parse(source), True)


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(CORE).with_suffix("").parts)


FILES = sorted(CORE.rglob("*.py"))
NAMES = frozenset(map(name_of, FILES))


def file_of(module: str) -> str:
    """The file behind `segzoo.cli.text.table`: the longest name of a file in it, `cli.text`."""
    parts = module.split(".")[1:]
    for end in range(len(parts), 0, -1):
        name = ".".join(parts[:end])
        for candidate in (name, f"{name}.__init__"):
            if candidate in NAMES:
                return candidate
    return "__init__"


def room_of(name: str) -> Room:
    """The room of a file: of `predict.runtimes.torch` the innermost, `predict.runtimes`."""
    parts = name.split(".")
    return next(
        ROOM[place] for end in range(len(parts), 0, -1) if (place := ".".join(parts[:end])) in ROOM
    )


def faults_of(name: str, source: str) -> list[str]:
    """What a file of the core imports although its room forbids it."""
    room, found = room_of(name), []
    for line, module, at_top in imports(source):
        library = module.split(".")[0]
        if library in sys.stdlib_module_names:
            continue
        if library == "segzoo":
            other = file_of(module)
            there = room_of(other)
            allowed = there is room or there.level < room.level
            allowed = allowed or (not at_top and (name, other) in EXCEPTIONS)
        else:
            allowed = library in room.at_top or (not at_top and library in room.late)
        if not allowed:
            found.append(f"{name}, line {line}: {module}")
    return found


@cache
def modules_of(name: str, *, late: bool) -> frozenset[str]:
    """What a file of the core imports; late: in its functions too."""
    source = (CORE / f"{name.replace('.', '/')}.py").read_text("utf-8")
    return frozenset(i.module for i in imports(source) if late or i.at_top)


def imported_by(name: str, *, late: bool) -> set[str]:
    """The files of the core among it."""
    return {file_of(m) for m in modules_of(name, late=late) if m.split(".")[0] == "segzoo"}


def libraries_of(name: str, *, late: bool) -> set[str]:
    return {module.split(".")[0] for module in modules_of(name, late=late)}


def reached(names: set[str], *, late: bool) -> set[str]:
    """These files, and all that they import through others."""
    found, waiting = set(names), [*names]
    while waiting:
        new = imported_by(waiting.pop(), late=late) - found
        found |= new
        waiting += new
    return found


def test_every_file_has_a_room_and_every_room_its_files():
    assert {room_of(name).name for name in NAMES} == set(ROOM)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_file_imports_from_its_room_and_from_lower_ones(file):
    assert faults_of(name_of(file), file.read_text("utf-8")) == []


@pytest.mark.parametrize(("name", "other"), sorted(EXCEPTIONS))
def test_an_exception_is_needed_and_goes_upwards(name, other):
    assert other in imported_by(name, late=True)
    assert room_of(name).level <= room_of(other).level


def test_files_import_each_other_in_no_circle():
    """Within a room too, and in functions too."""
    graph = {
        name: {other for other in imported_by(name, late=True) if (name, other) not in EXCEPTIONS}
        for name in NAMES
    }
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("room", ["cli", "zoo", "saved", "hub"])
def test_looking_reaches_neither_arrays_nor_tensors(room):
    """What `segzoo list` and `--help` import: see test_light.py, which runs them."""
    files = {name for name in NAMES if room_of(name).name == room}
    heavy = {n for n in reached(files, late=False) if libraries_of(n, late=False) & TENSORS}
    assert heavy == set()


@pytest.mark.parametrize("room", ["predict", "data.readers"])
def test_a_runtime_of_ones_own_and_a_reader_reach_no_torch(room):
    files = {name for name in NAMES if room_of(name).name == room}
    with_torch = {n for n in reached(files, late=True) if "torch" in libraries_of(n, late=True)}
    assert with_torch == set()


def test_importing_the_package_imports_nothing_of_it():
    assert imported_by("__init__", late=True) == set()


def test_the_top_of_the_package_is_small():
    files = (f for f in CORE.rglob("*") if f.is_file() and "__pycache__" not in f.parts)
    entries = {file.relative_to(CORE).parts[0] for file in files}
    assert len(entries) <= MOST_ENTRIES, sorted(entries)


@pytest.mark.parametrize("name", sorted(n for n in NAMES if n.endswith(".__init__")))
def test_a_room_says_in_a_line_what_it_is_for(name):
    tree = ast.parse((CORE / f"{name.replace('.', '/')}.py").read_text("utf-8"))
    assert len(tree.body) == 1
    assert len((ast.get_docstring(tree) or "").splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "source", "fault"),
    [
        ("errors", "import numpy", "errors, line 1: numpy"),
        ("spec", "from segzoo.zoo import refs", "spec, line 1: segzoo.zoo.refs"),
        ("errors", "from segzoo.base import files", "errors, line 1: segzoo.base.files"),
        ("base.files", "from . import cache", "base.files, line 1: ..cache"),
        ("zoo.refs", "from segzoo.saved import config", "zoo.refs, line 1: segzoo.saved.config"),
        (
            "weights.header",
            "def f():\n    from segzoo.model.load import load",
            "weights.header, line 2: segzoo.model.load.load",
        ),
        (
            "model.loaded",
            "from segzoo.publish.publish import publish",
            "model.loaded, line 1: segzoo.publish.publish.publish",
        ),
        (
            "saved.config",
            "try:\n    import PIL.Image\nfinally:\n    pass",
            "saved.config, line 2: PIL.Image",
        ),
        (
            "predict.predictor",
            "def f():\n    import torch",
            "predict.predictor, line 2: torch",
        ),
        (
            "predict.predictor",
            "def f():\n    from segzoo.predict.runtimes import torch",
            "predict.predictor, line 2: segzoo.predict.runtimes.torch",
        ),
        (
            "predict.network",
            "def f():\n    return imported('timm.optim', needed='it')",
            "predict.network, line 2: timm.optim",
        ),
        ("hub.session", "import huggingface_hub", "hub.session, line 1: huggingface_hub"),
        ("cli.list", "import rich", "cli.list, line 1: rich"),
        ("cli.list", "import segzoo", "cli.list, line 1: segzoo"),
    ],
)
def test_a_forbidden_import_is_seen(name, source, fault):
    assert faults_of(name, source) == [fault]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("spec", "import dataclasses"),
        ("weights.safetensors", "import torch\nfrom segzoo.weights import header"),
        ("model.load", "def f():\n    from segzoo.weights import safetensors"),
        ("model.load", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import scipy"),
        ("model.loaded", "def f():\n    from segzoo.publish.publish import publish"),
        ("hub.session", "def f():\n    import huggingface_hub"),
        ("cli.list", "def f():\n    import rich"),
    ],
)
def test_an_allowed_import_passes(name, source):
    assert faults_of(name, source) == []


PLUGIN_FILES = [file for plugin in PLUGINS for file in sorted(plugin.glob("src/*/**/*.py"))]


def plugin_faults_of(package: str, stem: str, source: str) -> list[str]:
    code = PLUGIN_CODE_LIBRARIES | PLUGINS_ABOUT.get(package, set())
    allowed = PLUGIN_LIBRARIES.get(stem, code)
    if stem in ("convert", "published"):
        allowed = allowed | PLUGINS_ON.get(package, set())
    return [
        f"{package}.{stem}, line {line}: {module}"
        for line, module, _ in imports(source)
        if module.split(".")[0] not in {*sys.stdlib_module_names, package}
        and not any(f"{module}.".startswith(f"{name}.") for name in allowed)
    ]


@pytest.mark.parametrize("file", PLUGIN_FILES, ids=lambda f: f"{f.parent.name}.{f.stem}")
def test_a_plugin_imports_torch_or_the_spec_and_no_other_plugin(file):
    assert plugin_faults_of(file.parent.name, file.stem, file.read_text("utf-8")) == []


def test_a_plugin_that_imports_another_requires_it():
    for plugin in PLUGINS:
        project = tomllib.loads((plugin / "pyproject.toml").read_text("utf-8"))["project"]
        needed = {re.split("[><= ]", text)[0] for text in project["dependencies"]}
        others = PLUGINS_ON.get(plugin.name.replace("-", "_"), set())
        assert {name.replace("_", "-") for name in others} <= needed


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
    """spec.py may not reach torch through a file beside it; those of data import as little."""
    for file in (f for f in PLUGIN_FILES if f.stem == "spec"):
        own = [
            i.module
            for i in imports(file.read_text("utf-8"))
            if i.module.startswith(file.parent.name)
        ]
        assert {*own} <= {f"{file.parent.name}.{name}" for name in ("published", "encoders")}


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


# A default in a signature that is another project's.
NAMED_BY_OTHERS = {"compat.rembg": ["u2net"]}


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_the_core_names_no_architecture(file):
    names = [name for _, name in names_in(file.read_text("utf-8"))]
    assert names == NAMED_BY_OTHERS.get(name_of(file), [])


def test_the_table_of_what_is_offered_is_read_for_an_error_alone():
    """zoo/offered.json, which `make docs` writes, has such names (docs/adr/0017)."""
    calls = {
        name
        for name in NAMES
        if "plugin_of(" in (CORE / f"{name.replace('.', '/')}.py").read_text("utf-8")
    }
    assert calls == {"zoo.offered", "zoo.registry"}
    assert {n for n in NAMES if "zoo.offered" in imported_by(n, late=True)} == {"zoo.registry"}
    source = (CORE / "zoo" / "registry.py").read_text("utf-8")
    [call] = [
        n
        for n in ast.walk(ast.parse(source))
        if isinstance(n, ast.Call) and ast.unparse(n.func) == "plugin_of"
    ]
    assert ast.unparse(call) == "plugin_of(wanted)"
    after = "\n".join(source.splitlines()[call.lineno :]).partition("\n    usable")[0]
    assert "raise UnknownModelError(" in after and "return" not in after


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
NEEDED = {CORE / "checks/promises.py": "import pickle", CORE / "weights/pickles.py": "torch.load"}


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
