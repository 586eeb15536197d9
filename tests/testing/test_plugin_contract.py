"""The contract of a plugin finds what is wrong with one, and `doctor --plugins` tells of it."""

import re
import sys

import pytest

from omniflow.errors import UnknownNameError
from omniflow.plugins import installed_plugins
from omniflow.testing import ContractError, check_names, contract_of
from omniflow.testing.contract import checks_of
from omniflow_cli.app import main

CODE = """
import time

import transformers

time.sleep(0.6)

from omniflow import hookimpl


@hookimpl
def omniflow_register(register):
    register(kind="head", name="mlp", target="omniflow_poor.head:Head", summary="Not there")


@hookimpl
def omniflow_run_ended(folder, figures):
    print(figures["bleu"])
"""


@pytest.fixture
def poor(tmp_path, monkeypatch):
    """An installed plugin that does whatever one should not, and yet loads."""
    (tmp_path / "omniflow_poor").mkdir()
    (tmp_path / "omniflow_poor" / "__init__.py").write_text(CODE)
    facts = tmp_path / "omniflow_poor-0.2.dist-info"
    facts.mkdir()
    facts.joinpath("METADATA").write_text(
        "Metadata-Version: 2.1\nName: omniflow-poor\nVersion: 0.2\nRequires-Dist: torch\n"
    )
    facts.joinpath("entry_points.txt").write_text("[omniflow]\npoor = omniflow_poor\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("OMNIFLOW_ENABLE_PLUGINS", "omniflow-poor")
    installed_plugins.cache_clear()
    yield facts
    sys.modules.pop("omniflow_poor", None)
    installed_plugins.cache_clear()


def test_what_is_wrong_is_told_check_by_check(poor, tmp_path_factory):
    test = contract_of("plugin", "omniflow-poor")
    told = {}
    for check in checks_of("plugin"):
        try:
            test(check, tmp_path_factory)
        except (ContractError, KeyError) as error:
            told[check.name] = str(error)
    assert told.keys() == set(check_names("plugin")) - {"it-loads"}
    assert (
        "says OMNIFLOW_API_VERSION = None, expected one of 1"
        in told["it-says-which-api-it-is-written-for"]
    )
    assert "it does not depend on omniflow-zoo" in told["it-requires-omniflow"]
    assert (
        "head 'mlp' is claimed by omniflow-poor 0.2 and omniflow-zoo" in told["its-names-are-free"]
    )
    assert "loading it imports transformers" in told["it-loads-nothing-heavy"]
    assert (
        "No module named 'omniflow_poor.head'" in told["its-components-can-be-imported-and-shown"]
    )
    assert told["its-hooks-follow-a-run"] == "'bleu'"


def test_doctor_tells_of_level_load_time_conflicts_and_imports(poor, capsys):
    poor.joinpath("METADATA").write_text(
        "Metadata-Version: 2.1\nName: omniflow-poor\nVersion: 0.2\nRequires-Dist: omniflow-zoo>=9\n"
    )
    assert main(["doctor", "--plugins"]) == 1
    # However wide the columns of its tables are.
    told = re.sub(" +", " ", capsys.readouterr().out)
    for expected in (
        "plugin API: 1",
        "poor omniflow-poor 0.2 loaded - 1 1 ",
        "note: omniflow-poor 0.2 does not say OMNIFLOW_API_VERSION",
        "note: omniflow-poor 0.2 takes ",
        "claimed twice: head 'mlp' is claimed by omniflow-poor 0.2 and omniflow-zoo",
        "problem: head 'mlp' of omniflow-poor 0.2 cannot be imported",
        "problem: omniflow-poor 0.2 requires omniflow-zoo>=9, found: ",
    ):
        assert expected in told, told


def test_a_plugin_that_is_not_installed_is_looked_up(tmp_path_factory):
    with pytest.raises(UnknownNameError, match="(?s)no installed plugin is called.*pip install -e"):
        contract_of("plugin", "omniflow-nowhere")(checks_of("plugin")[0], tmp_path_factory)
