"""Plugins that are installed for one test: folders of modules and dist-info on the import path.

install(monkeypatch, BROKEN / "together")            # in this process
run("list", "--json", sites=[BROKEN / "together"])   # in a process of its own
"""

import os
import subprocess
import sys
from pathlib import Path

BROKEN = Path(__file__).parents[1] / "broken_plugins"

SEGZOO = """
import sys
from segzoo.cli.main import main

sys.argv[0] = "segzoo"
main()
"""


def install(monkeypatch, *sites: Path) -> None:
    """Put folders in front of the import path; what is imported from them is forgotten after."""
    for site in sites:
        monkeypatch.syspath_prepend(site)
        for file in site.rglob("*.py"):
            module = ".".join(file.relative_to(site).with_suffix("").parts)
            module = module.removesuffix(".__init__")
            # Undoing these two removes the module, whatever the test has imported by then.
            monkeypatch.delitem(sys.modules, module, raising=False)
            monkeypatch.setitem(sys.modules, module, None)
            del sys.modules[module]


def make(
    site: Path, name: str, entries: dict[str, str], *, version: str = "1.0", code: str = ""
) -> None:
    """Write a distribution into a folder: its metadata, and a module of its name with `code`."""
    module = name.replace("-", "_")
    info = site / f"{module}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [f"{model} = {value}\n" for model, value in entries.items()]
    (info / "entry_points.txt").write_text("[segzoo.models]\n" + "".join(lines))
    if code:
        (site / f"{module}.py").write_text(code)


def run(
    *arguments: str, sites: tuple[Path, ...] = (), code: str = SEGZOO, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `segzoo ARGUMENTS`, or other code, in an interpreter that sees the folders."""
    path = os.pathsep.join([*map(str, sites), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"} | environment,
    )
