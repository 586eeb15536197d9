"""Who may know whom: the floors of pyproject.toml, and components among themselves."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter", reason="the checks of who imports whom come with [dev]")

import grimp

from omniflow.plugins import load_plugins
from omniflow.registry import KINDS

CHECK = "from importlinter.cli import lint_imports_command; lint_imports_command()"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("omniflow", exclude_type_checking_imports=True, cache_dir=None)


def test_nothing_knows_anything_above_it():
    # In a process of its own: the checker switches off every logger there is.
    checked = subprocess.run(
        [sys.executable, "-c", CHECK, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
    assert "0 broken" in checked.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_components_of_one_kind_do_not_know_one_another(graph, kind):
    modules = sorted(
        {
            component.target.partition(":")[0]
            for component in load_plugins().registry.components(kind)
        }
    )
    assert set(modules) <= graph.modules
    acquainted = [
        f"{importer} -> {imported}"
        for importer, imported in itertools.permutations(modules, 2)
        if graph.chain_exists(importer=importer, imported=imported)
    ]
    assert acquainted == []


def test_components_are_known_to_nobody_but_their_registration(graph):
    # Whoever needs one finds it by name; the base of a component is a helper, not a component.
    modules = {
        component.target.partition(":")[0] for component in load_plugins().registry.components()
    }
    known = {
        f"{importer} -> {module}"
        for module in modules
        for importer in graph.find_modules_that_directly_import(module)
        if importer.rpartition(".")[0] != module.rpartition(".")[0]
    }
    assert known == set()
