"""Build every wheel, and test them together where no source is in reach: `make wheels`.

Runs in the development environment. The wheels are those of the core, of each plugin and of what
`segzoo new` writes. They are installed, without their dependencies, into an environment of their
own, which sees the third-party packages of the development environment and not its editable
installs. There pip checks what they require, and their tests run. So it shows here when a file is
not in its wheel, when a dependency is not declared, or when a wheel is not the same twice.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLUGINS = sorted(file.parent.relative_to(ROOT) for file in ROOT.glob("plugins/*/pyproject.toml"))
PROJECTS = [Path("."), *PLUGINS]
QUICK = "not slow and not stress and not gpu and not browser and not network and not ray"
# The core's tests that look at what is installed; `make test` runs all of them on the sources.
CORE_TESTS = ("test_new.py", "test_cli_new.py", "test_cli.py", "test_light.py", "test_api.py")
NEW = "wheel-net"  # the plugin that `segzoo new` writes
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def main() -> None:
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder).resolve()
        python = environment(work)
        run(*PIP, "install", "--quiet", "--target", work / "hatch", "hatchling")
        wheels = build(work, "wheels", *(ROOT / project for project in PROJECTS))
        for wheel, project in zip(wheels, PROJECTS, strict=True):
            refuse_missing_files(wheel, ROOT / project / "src")

        # The same tree at another path, with other times of its files; later without its sources.
        place = work / "place"
        away = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "__pycache__")
        shutil.copytree(ROOT, place, copy_function=shutil.copy, ignore=away)
        again = build(work, "again", *(place / project for project in PROJECTS))
        for one, other in zip(wheels, again, strict=True):
            if one.read_bytes() != other.read_bytes():
                raise SystemExit(f"wheels: {one.name} is not the same when it is built again")

        install(python, *wheels)
        run(python.with_name("segzoo"), "new", NEW, "--folder", place / "plugins")
        install(python, *build(work, "new", place / "plugins" / NEW))
        for project in [*PROJECTS, Path("plugins", NEW)]:
            shutil.rmtree(place / project / "src")
        pip_check(python)
        run(python.with_name("segzoo"), "list")
        core = [f"tests/{name}" for name in CORE_TESTS]
        pytest = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", QUICK)
        run(python, *pytest, "plugins", *core, cwd=place)
    print(f"wheels: all well, after {time.monotonic() - start:.0f} s")


def run(*command: str | Path, cwd: Path | None = None, **variables: str) -> None:
    """Run a command that sees none of this process's Python settings; its failure ends ours."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "SEGZOO"))}
    if subprocess.run(command, cwd=cwd, env=kept | variables).returncode:
        raise SystemExit(f"wheels: this failed: {' '.join(map(str, command))}")


def environment(work: Path) -> Path:
    """An environment with links to the packages of this one that are not ours; its interpreter."""
    libraries = work / "libraries"
    libraries.mkdir()
    for folder in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for item in Path(folder).iterdir():
            if "segzoo" not in item.name and item.suffix != ".pth" and item.name != "__pycache__":
                (libraries / item.name).symlink_to(item)
    venv.create(work / "environment", symlinks=True)
    (site,) = work.glob("environment/lib/*/site-packages")
    (site / "libraries.pth").write_text(f"{libraries}\n")
    return work / "environment/bin/python"


def build(work: Path, name: str, *projects: Path) -> list[Path]:
    """A wheel of each project, in this order."""
    wheels: list[Path] = []
    for project in projects:
        folder = work / name / project.name
        arguments = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, project)
        run(*PIP, "wheel", *arguments, PYTHONPATH=str(work / "hatch"))
        wheels += folder.glob("*.whl")
    return wheels


def install(python: Path, *wheels: Path) -> None:
    run(*PIP, "--python", python, "install", "--quiet", "--no-deps", "--no-index", *wheels)


def refuse_missing_files(wheel: Path, source: Path) -> None:
    """A wheel has the files of its source folder: no fewer, no more."""
    found = {file for file in source.rglob("*") if file.is_file() and file.suffix != ".pyc"}
    wanted = {str(file.relative_to(source)) for file in found}
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    if packed != wanted:
        raise SystemExit(f"wheels: {wheel.name} and its source differ in {packed ^ wanted}")


def pip_check(python: Path) -> None:
    """What our distributions require is there. Others' quarrels are shown, and not ours."""
    command = [*PIP, "--python", str(python), "check"]
    said = subprocess.run(command, capture_output=True, text=True).stdout
    print(said, end="")
    ours = [line for line in said.splitlines() if line.startswith("segzoo")]
    if ours or not said:
        raise SystemExit("wheels: pip check found that requirements are not met")


if __name__ == "__main__":
    main()
