"""Write what the pages take from elsewhere: `make docs`.

docs/models.md is made from what the plugins of this repository declare, docs/results.md from what
lies in results/, docs/benchmarks.md from what lies in bench/results/, and docs/bridges.md from what
bench/bridges.py has found there, docs/files.md from what each file of the core says first, and the
core's table of what our plugins offer from their pyproject.toml. In docs/write-a-plugin.md each
block that begins with ```LANGUAGE file=PATH shows that file: of this repository, or of what
`segzoo new my-net` writes. A test compares the pages with what this would write.
"""

import ast
import contextlib
import io
import json
import re
import runpy
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from segzoo.base.files import write
from segzoo.cli.main import run
from segzoo.cli.text import amount
from segzoo.engine import recipes
from segzoo.spec import Json, Preprocess, Recipe, asdict
from segzoo.zoo.scaffold import new_plugin

ROOT = Path(__file__).parents[1]
TUTORIAL, MODELS = ROOT / "docs/write-a-plugin.md", ROOT / "docs/models.md"
RESULTS, FILES = ROOT / "docs/results.md", ROOT / "docs/files.md"
BENCHMARKS = ROOT / "docs/benchmarks.md"
OFFERED = ROOT / "src/segzoo/zoo/offered.json"
BRIDGES = ROOT / "docs/bridges.md"
SHOWN = re.compile(r"^```(\w+) file=(\S+)\n.*?^```$", re.MULTILINE | re.DOTALL)
NEW = "my-net"
SOME = 8  # choices of an option that are written out

# What a model's numbers come from, where it is not the repository that its spec names.
FOLLOWS = {
    "digit_unet": "article 1",
    "fcn_vgg16": "article 5; its pixels with `pixels=0..255`",
    "lite0": "no article; a decoder of our own on timm's encoder",
    "lite2": "no article; a decoder of our own on timm's encoder",
    "unet_canvas": "article 4; as printed there with `placement=top_left`",
    "unet_dice": "article 2, its Keras code",
    "unet_paper": "the paper; with `released=True` ports of the network that its authors released",
    "unet_slim": "article 2, its TF-slim code `UNet_1X`",
    "unet_slim_3x": "article 2, its TF-slim code `UNet_3X`",
    "unet_strided": "article 2, its PyTorch code",
}

HEAD = """\
# Models

What the plugins of this repository declare, written by `make docs`; a test keeps it true.
`segzoo info MODEL --full` shows the same of any installed model, and its stages beside.

Parameters are those of the default options. MACs are multiply-accumulates of convolutions and
matrix products, for one input of the size that stands beside them: the one that the model is
declared for, else what it makes of a picture of 256x256. What the weights reach stands with them.
"""

ARTICLES = """
## Articles

Five articles, in Chinese, that the zoo began with. Models, losses, preprocessing and recipes follow
them; where one is wrong, the model's files say what was kept and what was mended.

1. Twilight737, "Keras-Unet", blog.csdn.net: a U-Net for digits (M2NIST).
2. "unet code", bianchenghao.cn/76332.html: U-Nets in Keras, PyTorch and TF-slim.
3. "What to watch in semantic segmentation with Keras": pictures and masks changed alike, colours
   and classes, several outputs, warm-up. No model of its own.
4. "PyTorch projects: semantic segmentation with U-Net, UNet++, U2-Net": `unet_canvas`, and what
   `unetpp`, `u2net` and `u2netp` are trained on there (their recipes).
5. "Semantic segmentation": FCN on a frozen VGG16, for the Oxford-IIIT Pet pictures.
"""

FILES_HEAD = """\
# The files of the core

Written by `make docs` from the first sentence of each file; a test keeps it true. The levels of the
rooms, and what each may import, are a table in `tests/test_layers.py`.
"""


# --- files shown in a page ------------------------------------------------------------------------


def tutorial() -> str:
    """The page with the files that its blocks name, as they are now."""
    with tempfile.TemporaryDirectory() as folder:
        new_plugin(NEW, folder)

        def block(match: re.Match[str]) -> str:
            language, name = match.groups()
            home = Path(folder) if name.startswith(f"{NEW}/") else ROOT
            return f"```{language} file={name}\n{(home / name).read_text('utf-8')}```"

        return SHOWN.sub(block, TUTORIAL.read_text("utf-8"))


# --- docs/models.md -------------------------------------------------------------------------------


def models() -> str:
    """The page, from what is installed of this repository's plugins."""
    return "".join(parts())


def parts() -> Iterator[str]:
    plugins = {
        plugin: [info_of(f"{plugin}/{name}") for name in names]
        for plugin, names in offered_names().items()
    }

    yield HEAD
    yield "\n| model | parameters | MACs | input | tasks | weights |\n|---|---:|---:|---|---|---|\n"
    for model in (model for group in plugins.values() for model in group):
        cells = (
            f"[`{model['name']}`](#{model['name']})",
            f"{model['num_parameters']:,}",
            amount(model["stages"][-1]["macs"]),
            "x".join(map(str, model["input"])),
            ", ".join(model["tasks"]),
            ", ".join(f"`{tag}`" for tag in model["weights"]) or "none",
        )
        yield f"| {' | '.join(cells)} |\n"
    for plugin, group in plugins.items():
        yield f"\n## [{plugin}](../plugins/{plugin}/README.md)\n"
        for model in group:
            yield f"\n### {model['name']}\n\n{sentence(model['summary'])}\n\n"
            for name, text in facts_of(model):
                yield f"- {name}: {text}\n"
    yield ARTICLES


def offered_names() -> dict[str, list[str]]:
    """The plugins of this repository, each with the names of its models."""
    found = {}
    for file in sorted(ROOT.glob("plugins/*/pyproject.toml")):
        project = tomllib.loads(file.read_text("utf-8"))["project"]
        found[project["name"]] = sorted(project["entry-points"]["segzoo.models"])
    return found


def info_of(model: str) -> dict[str, Json]:
    """What `segzoo info` tells of a model."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = run(["info", model, "--json"])
    if code:
        raise SystemExit(code)
    found: dict[str, Json] = json.loads(printed.getvalue())
    return found


def facts_of(model: dict[str, Json]) -> Iterator[tuple[str, str]]:
    """What stands below a model's heading: a name, and what is to be said."""
    if paper := model["paper"]:
        arxiv = f", [arXiv:{paper['arxiv']}](https://arxiv.org/abs/{paper['arxiv']})"
        where = f"{paper['authors']}, {paper['title']!r}, {paper['year']}"
        yield "paper", where + (arxiv if paper["arxiv"] else "")
    if source := FOLLOWS.get(model["name"]) or source_of(paper):
        yield "numbers from", source
    yield "input", ", ".join(input_of(model))
    for name, weights in model["backbone"].items():
        yield f"backbone `{name}`", weights_of(weights)
    for name, option in model["options"].items():
        yield f"option `{name}`", option_of(option)
    for task, defaults in model["tasks"].items():
        yield f"task `{task}`", f"loss `{defaults['loss']}`; {mask_of(defaults['postprocess'])}"
    for name, recipe in model["recipes"].items():
        yield f"recipe `{name}`", recipe_of(recipe)
    for tag, weights in model["weights"].items():
        yield f"weights `{model['name']}.{tag}`", weights_of(weights)


def source_of(paper: Json) -> str:
    """The repository that a spec names, as a link."""
    if not paper or not paper["code"]:
        return ""
    name = paper["code"].removeprefix("https://github.com/").replace("/tree/", " at ")
    whose = "" if paper["code_by"] else "the authors', "
    return f"[{name}]({paper['code']}) ({whose}{paper['code_license'] or 'licence not stated'})"


def input_of(model: dict[str, Json]) -> Iterator[str]:
    """Which pictures the network takes, and what it makes of their sizes."""
    preprocess = model["preprocess"]
    channels = model["in_channels"]
    yield "gray" if channels == 1 else f"{channels} channels ({preprocess['mode']})"
    step, rest = preprocess["multiple_of"], preprocess["remainder"]
    if preprocess["size"]:
        yield f"resized to {'x'.join(map(str, preprocess['size']))} ({preprocess['resize']})"
    elif step > 1:
        yield f"sides of {step} n{f' + {rest}' if rest else ''}"
    else:
        yield "any size"
    if preprocess["margin"]:
        yield f"a margin of {preprocess['margin']}"
    scale = next(iter(model["tasks"].values()))["postprocess"]["scale"]
    if scale > 1:
        yield f"output {scale} times as high and wide"
    said = ("mode", "size", "resize", "multiple_of", "remainder", "margin")
    defaults = asdict(Preprocess())
    for field, value in preprocess.items():
        if field not in said and value != defaults[field]:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            yield f"{field} {shown}"


def option_of(option: dict[str, Json]) -> str:
    allowed = ""
    if choices := option["choices"]:
        rest = f" and {len(choices) - SOME} more" if len(choices) > SOME else ""
        allowed = f", one of {', '.join(f'`{choice}`' for choice in choices[:SOME])}{rest}"
    elif option["min"] is not None or option["max"] is not None:
        bounds = (("from", option["min"]), ("to", option["max"]))
        allowed = "," + "".join(f" {word} {bound}" for word, bound in bounds if bound is not None)
    return f"`{option['default']}`{allowed}. {option['help']}".rstrip()


def mask_of(postprocess: dict[str, Json]) -> str:
    """How logits become a mask."""
    threshold = postprocess["threshold"]
    chosen = "the most likely class" if threshold is None else f"above {threshold:g}"
    stretched = ", stretched to 0..1" if postprocess["normalize"] == "minmax" else ""
    stretched += ", then resized as 8-bit levels" if postprocess["resize"] == "levels" else ""
    return f"{postprocess['activation']}{stretched}, {chosen}"


def recipe_of(recipe: dict[str, Json]) -> str:
    """What it says differently from a recipe that says as little as possible, as changes of it."""
    least = Recipe(epochs=None, steps=1, batch_size=1, optimizer=("", {}), lr=1)
    usual = dict(recipes.described(least))
    said = recipes.described(recipes.from_json(recipe))
    changes = ", ".join(f"`{k}={v}`" for k, v in said if usual.get(k) != v and k != "expect")
    if expect := recipe["expect"]:
        reached = f"{expect['metric']} {expect['value']:g} on {expect['data']}"
        return f"{changes}; {reached} ({expect['source']})"
    return changes


def weights_of(weights: dict[str, Json]) -> str:
    data = ", ".join(f"{d['name']} (licence {d['license']})" for d in weights["trained_on"])
    metrics = [f"{m['name']} {m['value']:g} on {m['split']}" for m in weights["metrics"]]
    fetched = ["fetched at the first use"] if weights["url"] else []
    return "; ".join([f"licence {weights['license']}, trained on {data}", *fetched, *metrics])


def sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


# --- docs/results.md ------------------------------------------------------------------------------


def results() -> str:
    made: str = runpy.run_path(str(ROOT / "results/rows.py"))["page"]()
    return made


# --- docs/benchmarks.md ---------------------------------------------------------------------------


def benchmarks() -> str:
    made: str = runpy.run_path(str(ROOT / "docs/benchmarks.py"))["page"]()
    return made


# --- docs/files.md --------------------------------------------------------------------------------


def files() -> str:
    """The page: every file of the core under its room, with the first sentence of its docstring."""
    return "".join(rooms())


def rooms() -> Iterator[str]:
    yield FILES_HEAD
    core = ROOT / "src/segzoo"
    top = [file for file in sorted(core.glob("*.py")) if file.name != "__init__.py"]
    yield "\n" + "".join(line_of(file, core) for file in top)
    for face in sorted(core.rglob("*/__init__.py")):
        room = face.parent
        yield f"\n## {room.relative_to(core)}\n\n{first_sentence(face)}\n\n"
        beside = [file for file in sorted(room.glob("*.py")) if file != face]
        yield "".join(line_of(file, room) for file in beside)


def line_of(file: Path, room: Path) -> str:
    path = file.relative_to(ROOT)
    return f"- [`{file.relative_to(room)}`](../{path}): {first_sentence(file)}\n"


def first_sentence(file: Path) -> str:
    """The first sentence of a file's docstring, which may run over lines."""
    says = ast.get_docstring(ast.parse(file.read_text("utf-8")))
    if says is None:
        raise SystemExit(f"{file} has no docstring")
    text = " ".join(says.partition("\n\n")[0].split()).rstrip(":")
    return re.split(r"(?<=[.?!]) (?=[A-Z])", text)[0]


# --- docs/bridges.md ------------------------------------------------------------------------------

BRIDGES_HEAD = """\
# Networks of other libraries

Three plugins bridge to a library: its networks are models here, listed without importing it, and
what it saves is [converted](convert.md). Whether they are the same networks was measured: the
library makes one with random values and statistics, and saves it as it saves its own;
`segzoo convert` makes a model of that; and both are given the same picture. The difference is the
largest of all logits. `bench/bridges.py` makes the numbers, `make docs` this page.

| model | library | encoders compared | parameters | largest logit | difference |
|---|---|---|---:|---:|---:|
"""
BRIDGES_END = """
Parameters and logits are those of the first encoder, with five classes. Of UPerNet's encoders the
smallest are here; the tests of the plugin compare names and shapes of all, and logits of larger
ones.

The files that the libraries' authors publish were **not tried**: there was no way to them. What is
known of them stands with each plugin:
[segzoo-torchvision](../plugins/segzoo-torchvision/README.md),
[segzoo-smp](../plugins/segzoo-smp/README.md) and
[segzoo-transformers](../plugins/segzoo-transformers/README.md), which says too why BiRefNet is not
among them.
"""
LIBRARIES = {"tv": "torchvision", "smp": "segmentation_models_pytorch", "hf": "transformers"}


def bridges() -> str:
    found = json.loads((ROOT / "bench/results/parity_of_bridges.json").read_text("utf-8"))
    return BRIDGES_HEAD + "".join(bridge_rows(found)) + BRIDGES_END


def bridge_rows(found: dict[str, Any]) -> Iterator[str]:
    """A row for each model, of all its encoders."""
    for model in dict.fromkeys(row["model"] for row in found["rows"]):
        rows = [row for row in found["rows"] if row["model"] == model]
        library = LIBRARIES[model.partition("_")[0]]
        encoders = ", ".join(f"`{row['encoder']}`" for row in rows)
        most = max(row["difference"] for row in rows)
        said = f"{most:.0e}" if most else "0"
        yield (
            f"| `{model}` | {library} {found['versions'][library]} | {encoders} | "
            f"{rows[0]['parameters']:,} | {rows[0]['largest_logit']} | {said} |\n"
        )


# --- src/segzoo/zoo/offered.json ------------------------------------------------------------------


def offered() -> str:
    return f"{json.dumps(offered_names(), indent=2)}\n"


PAGES = {
    TUTORIAL: tutorial,
    MODELS: models,
    RESULTS: results,
    BENCHMARKS: benchmarks,
    FILES: files,
    BRIDGES: bridges,
    OFFERED: offered,
}

if __name__ == "__main__":
    for path, made in PAGES.items():
        write(path, made().encode())
