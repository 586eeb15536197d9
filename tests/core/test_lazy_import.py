"""What importing costs: nothing heavy before it is needed, never the command line's packages."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import omniflow

SOURCE = Path(omniflow.__file__).parent
MODULES = sorted(
    ".".join(("omniflow", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(
        ".__init__"
    )
    for path in SOURCE.rglob("*.py")
)

#: Everything that listing, help, completion and the checking of recipes need.
LIGHT = (
    "omniflow",
    "omniflow.builtins",
    "omniflow.checkpoints",
    "omniflow.draft",
    "omniflow.errors",
    "omniflow.files",
    "omniflow.interfaces",
    "omniflow.options",
    "omniflow.plugins",
    "omniflow.pretrained",
    "omniflow.recipe",
    "omniflow.registry",
    "omniflow.resolve",
    "omniflow.tasks",
)

#: Packages that take seconds.
HEAVY = ("torch", "transformers", "diffusers", "datasets", "huggingface_hub", "pandas", "scipy")
FOREIGN = ("typer", "rich", "click", "omniflow_cli")


def loaded_by(code, packages):
    """Which of the packages are imported in a fresh interpreter after some code."""
    report = f"\nimport json, sys\nprint(json.dumps([p for p in {packages} if p in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", code + report], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_the_package_costs_next_to_nothing():
    assert loaded_by("import omniflow", (*HEAVY, *FOREIGN, "pydantic", "yaml", "pluggy")) == []


def test_everything_before_building_needs_no_torch():
    code = "".join(f"import {module}\n" for module in LIGHT)
    assert loaded_by(code, (*HEAVY, *FOREIGN)) == []


def test_listing_components_and_tasks_needs_no_torch():
    code = """
from omniflow.plugins import load_plugins
from omniflow.tasks import Task
assert "vq" in load_plugins().registry.names("head")
Task.parse("it2t")
"""
    assert loaded_by(code, (*HEAVY, *FOREIGN)) == []


def test_no_module_ever_imports_the_packages_of_the_command_line():
    code = "import importlib\n" + "".join(
        f"importlib.import_module({module!r})\n" for module in MODULES
    )
    assert loaded_by(code, FOREIGN) == []


def test_public_names_are_the_ones_of_their_modules():
    from omniflow.assembly import build, load
    from omniflow.model import OmniFlowModel
    from omniflow.plugins import hookimpl, list_components

    assert (omniflow.build, omniflow.load) == (build, load)
    assert (omniflow.hookimpl, omniflow.list_components) == (hookimpl, list_components)
    assert omniflow.OmniFlowModel is OmniFlowModel
    assert all(getattr(omniflow, name) is not None for name in omniflow.__all__)


def test_functions_are_not_hidden_by_modules_of_their_name():
    # Importing a submodule sets its name on the package, over whatever was there.
    assert not {f"omniflow.{name}" for name in omniflow.__all__} & set(MODULES)


def test_name_that_is_not_offered_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'omniflow' has no attribute 'biuld'"):
        _ = omniflow.biuld


def sources():
    return [
        pytest.param(path, id=str(path.relative_to(SOURCE)))
        for path in sorted(SOURCE.rglob("*.py"))
    ]


@pytest.mark.parametrize("path", sources())
def test_library_never_prints_nor_draws(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prints = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
    }
    assert prints == []
    assert not imported & set(FOREIGN)
