"""docs/hub: what huggingface.js takes of us has its types, and shows the code that cards show."""

import ast
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from test_card import FACTS

from segzoo.publish import card

TYPESCRIPT = Path(__file__).parents[1] / "docs/hub/segzoo.ts"
PACKAGES = ("typescript", "@huggingface/tasks")
SHOW = (
    "import { segzoo, entry } from './segzoo.js';"
    "console.log(JSON.stringify([segzoo({ id: 'alice/sky-net' }), entry.segzoo]));"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of npm's with the TypeScript and what it is checked against."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("npm and node are not installed")
    folder = tmp_path_factory.mktemp("npm")
    (folder / "package.json").write_text('{"type": "module", "private": true}')
    line = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"npm cannot install {', '.join(PACKAGES)}: {done.stderr[-200:]}")
    shutil.copy(TYPESCRIPT, folder)
    return folder


def compiled(folder):
    options = ["--strict", "--module", "nodenext", "--target", "es2022", "--skipLibCheck"]
    line = ["node", "node_modules/typescript/bin/tsc", *options, "segzoo.ts"]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.network
def test_the_typescript_has_the_types_of_huggingface_js(folder):
    done = compiled(folder)
    assert done.returncode == 0, done.stdout
    text = (folder / "segzoo.ts").read_text()
    for before, after in (("model.id", "model.name"), ("filter: false", 'filter: "no"')):
        (folder / "segzoo.ts").write_text(text.replace(before, after))
        assert compiled(folder).returncode != 0, "a wrong type is not seen"
    (folder / "segzoo.ts").write_text(text)


@pytest.mark.network
def test_the_snippet_is_the_code_of_a_card(folder):
    assert compiled(folder).returncode == 0
    line = ["node", "--input-type=module", "-e", SHOW]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    (code,), entry = json.loads(done.stdout)
    assert entry["prettyLabel"] == "segzoo" and entry["filter"] is False
    of_card = card.readme(FACTS).partition("```python\n")[2].partition("```")[0]
    assert ast.dump(ast.parse(code)) == ast.dump(
        ast.parse(of_card.replace("sky-net@r1", "sky-net"))
    )
