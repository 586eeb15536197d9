"""doctor, and an `omniflow` that is not ours."""

import json
import re

import pytest

from omniflow.registry import Origin
from omniflow.version import __version__
from omniflow_cli import plugin_facts


@pytest.fixture
def stranger(tmp_path):
    """A site folder that holds metadata of an unrelated distribution called omniflow."""
    facts = tmp_path / "site" / "omniflow-9.9.dist-info"
    facts.mkdir(parents=True)
    facts.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: omniflow\nVersion: 9.9\n")
    return tmp_path / "site"


def test_doctor_tells_versions_device_plugins_and_hub(omniflow, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    outcome = omniflow("doctor", "--json")
    assert "hf_secret" not in outcome.out
    found = json.loads(outcome.out)
    assert found["versions"]["omniflow-zoo"] == __version__
    assert {"torch", "transformers", "diffusers", "datasets"} <= found["versions"].keys()
    assert found["device"]["cores"] >= 1
    assert found["hub"]["HF_HOME"] == str(tmp_path / "cache")
    assert found["hub"]["token"] == "yes"
    builtin = found["plugins"][0]
    assert (builtin["distribution"], builtin["status"]) == ("omniflow-zoo", "loaded")
    assert outcome.code == (1 if found["problems"] else 0)


def test_no_token_is_told_as_none(omniflow, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert json.loads(omniflow("doctor", "--json").out)["hub"]["token"] == "no"
    (tmp_path / "token").write_text("hf_secret")
    assert json.loads(omniflow("doctor", "--json").out)["hub"]["token"] == "yes"


def test_all_is_well_in_plain_lines_where_nothing_is_wrong(omniflow):
    outcome = omniflow("doctor")
    assert outcome.out.splitlines()[-1] == "all is well"
    assert outcome.code == 0
    # What is pasted into a report says what its figures are.
    columns = ["plugin", "distribution", "status", "API", "components", "run hooks", "load time"]
    assert re.search(" +".join(columns), outcome.out)


def test_the_unrelated_distribution_beside_ours_is_a_problem(omniflow, stranger, monkeypatch):
    monkeypatch.syspath_prepend(stranger)
    outcome = omniflow("doctor")
    assert outcome.code == 1
    assert "problem: the unrelated distribution omniflow 9.9 is installed" in outcome.out
    assert "pip uninstall omniflow" in outcome.out


def test_a_package_of_another_folder_is_a_problem(omniflow, stranger, monkeypatch):
    """As when a wheel is installed and a source tree lies in front of it on the path."""
    facts = stranger / "omniflow_zoo-0.0.dist-info"
    facts.mkdir()
    facts.joinpath("METADATA").write_text(
        "Metadata-Version: 2.1\nName: omniflow-zoo\nVersion: 0.0\n"
    )
    facts.joinpath("RECORD").write_text("omniflow/__init__.py,,\n")
    monkeypatch.syspath_prepend(stranger)
    outcome = omniflow("doctor")
    assert outcome.code == 1
    assert f"omniflow-zoo is installed in {stranger / 'omniflow'}" in outcome.out


def test_a_stranger_in_the_place_of_our_package_ends_every_command_with_a_message(
    command, tmp_path
):
    (tmp_path / "elsewhere" / "omniflow").mkdir(parents=True)
    (tmp_path / "elsewhere" / "omniflow" / "__init__.py").write_text("")
    done = command("--help", check=False, PYTHONPATH=str(tmp_path / "elsewhere"))
    assert done.returncode == 1
    assert "is imported as 'omniflow' and is not part of omniflow-zoo" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_password_in_the_endpoint_is_not_shown():
    from omniflow.hub_access import without_secrets

    assert without_secrets("https://me:hf_secret@mirror.example/a@b") == (
        "https://***@mirror.example/a@b"
    )
    assert without_secrets("https://mirror.example") == "https://mirror.example"


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ("OmniFlow_Zoo>=9", "omniflow-acme 1 requires OmniFlow_Zoo>=9, found"),
        (
            "omniflow-zoo (>>1)",
            "omniflow-acme 1 requires 'omniflow-zoo (>>1)', which cannot be read",
        ),
        ("omniflow-zoo>=9; extra == 'dev'", None),
        ("omniflow-zoo>=0", None),
        ("torch>=99", None),
    ],
)
def test_requirements_on_this_library_are_read_as_pip_reads_them(requirement, expected):
    told = plugin_facts._unmet_by(requirement, Origin("omniflow-acme", "1"))
    assert told == expected or told.startswith(expected)
