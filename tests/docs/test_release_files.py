"""What a release is made with agrees with the repository."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from omniflow.version import __version__

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def workflow(name):
    return yaml.safe_load((ROOT / ".github/workflows" / name).read_text(encoding="utf-8"))


def test_the_citation_names_this_release_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (__version__, "Apache-2.0")
    assert citation["references"][0]["identifiers"][0]["value"] == "arXiv:2412.01169"


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_workflows_run_targets_of_the_makefile(file):
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    steps = [step for job in content["jobs"].values() for step in job["steps"]]
    targets = re.findall(r"^make (\w+)", "\n".join(step.get("run", "") for step in steps), re.M)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets or file.name == "release.yml"
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
    # Nothing runs for hours unnoticed, and every permission is asked for.
    assert all(job["timeout-minutes"] <= 60 for job in content["jobs"].values())
    assert content["permissions"] == {"contents": "read"}


@pytest.mark.parametrize(("name", "job"), [("test.yml", "test"), ("release.yml", "build")])
def test_every_supported_python_is_tried(name, job):
    matrix = workflow(name)["jobs"][job]["strategy"]["matrix"]["python"]
    assert matrix == ["3.11", "3.12", "3.13"]
    assert PYPROJECT["project"]["requires-python"] == f">={matrix[0]}"


def test_publishing_takes_no_token():
    publish = workflow("release.yml")["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["steps"][-1]["uses"].startswith("pypa/gh-action-pypi-publish@")
    assert "secrets." not in (ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8")


def test_the_source_distribution_takes_everything_that_is_ours():
    included = set(PYPROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"])
    for name in included:
        assert (ROOT / name).exists(), name
    documents = {file.name for file in ROOT.glob("*.md")}
    assert documents <= included
