"""Build what is published, and check it: `make release [TAG=v1.2.3]`.

Every distribution as sdist and wheel into dist/, each wheel built from its sdist, as the package
index's users would. They have one version, which pyproject.toml of the core says; the change log,
the citation and the tag agree with it, or this fails before anything is built. twine looks at what
the index would refuse. Nothing is sent: .github/workflows/release.yml does that, and the end of the
output says what a person does.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECTS = [ROOT, *sorted(file.parent for file in ROOT.glob("plugins/*/pyproject.toml"))]
DIST = ROOT / "dist"


def main() -> None:
    version = project(ROOT)["version"]
    if faults := disagreements(version, *sys.argv[1:2]):
        raise SystemExit("release: " + "\nrelease: ".join(faults))
    shutil.rmtree(DIST, ignore_errors=True)
    for folder in PROJECTS:
        run("build", "--outdir", DIST, folder)
    built = sorted(DIST.iterdir())
    if len(built) != 2 * len(PROJECTS):
        raise SystemExit(f"release: {len(built)} files for {len(PROJECTS)} distributions")
    run("twine", "check", "--strict", *built)
    print(f"""
{len(built)} files of version {version} are in {DIST.name}/, and well. What a person does now:

1. make check, make test-all and make wheels, on the commit that is released.
2. CHANGELOG.md: the date in the place of "(unreleased)".
3. git tag -s v{version}, and push the tag: .github/workflows/release.yml builds all of it again and
   publishes. Before the first time, name that workflow as a trusted publisher of each of the
   {len(PROJECTS)} projects on the package index, and protect the environment "release".""")


def project(folder: Path) -> dict[str, str]:
    found: dict[str, str] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return found


def disagreements(version: str, tag: str | None = None) -> list[str]:
    """Where another version stands than the core's."""
    told = {f"{folder.name}/pyproject.toml": project(folder)["version"] for folder in PROJECTS}
    told["CITATION.cff"] = first(r"^version: (\S+)$", "CITATION.cff")
    told["CHANGELOG.md"] = first(r"^## (\S+)", "CHANGELOG.md")
    if tag:
        told["the tag"] = tag.removeprefix("v")
    return [
        f"{place} says {other}, the core {version}"
        for place, other in told.items()
        if other != version
    ]


def first(pattern: str, name: str) -> str:
    found = re.search(pattern, (ROOT / name).read_text("utf-8"), re.MULTILINE)
    return found[1] if found else "nothing"


def run(module: str, *words: str | Path) -> None:
    if subprocess.run([sys.executable, "-P", "-m", module, *words]).returncode:
        raise SystemExit(f"release: {module} failed")


if __name__ == "__main__":
    main()
