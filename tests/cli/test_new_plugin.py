"""new-plugin: what is written works as it is, and what is refused says why."""

import json
import subprocess
import sys
import tomllib

import pytest

from omniflow.plugins import installed_plugins
from omniflow_cli.plugin_files import BRINGS, NewPlugin


def install(project, site, monkeypatch):
    """Make a written plugin importable here, with the metadata that pip would write."""
    facts = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    metadata = site / f"{facts['name'].replace('-', '_')}-{facts['version']}.dist-info"
    metadata.mkdir(parents=True)
    requires = "".join(f"Requires-Dist: {each}\n" for each in facts["dependencies"])
    metadata.joinpath("METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {facts['name']}\nVersion: {facts['version']}\n{requires}"
    )
    entries = "".join(f"{name} = {to}\n" for name, to in facts["entry-points"]["omniflow"].items())
    metadata.joinpath("entry_points.txt").write_text(f"[omniflow]\n{entries}")
    for folder in (site, project / "src"):
        monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", f"{site}:{project / 'src'}")
    monkeypatch.delenv("OMNIFLOW_ENABLE_PLUGINS", raising=False)
    installed_plugins.cache_clear()


def test_what_is_written_is_linted_and_formatted_for_every_kind(tmp_path):
    plugins = [
        NewPlugin(name, kinds)
        for name in ("x", "a-rather-long-name-for-a-plugin1")
        for kinds in (*((each,) for each in BRINGS), BRINGS)
    ]
    for number, plugin in enumerate(plugins):
        for path, text in plugin.files().items():
            assert "<<" not in text, path
            file = tmp_path / str(number) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", "."],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout


def test_a_written_plugin_passes_its_own_tests_for_every_kind(
    omniflow, own_tests, tmp_path, monkeypatch
):
    kinds = [flag for kind in BRINGS for flag in ("--kind", kind)]
    assert omniflow("new-plugin", "everything", *kinds).code == 0
    project = tmp_path / "omniflow-everything"
    install(project, tmp_path / "site", monkeypatch)
    # Whole models are trained by the tests of plugins_example/, and of docs/plugins.md.
    assert own_tests(project, "-k", "not trains-in-a-model") > 90

    told = json.loads(omniflow("doctor", "--plugins", "--json").out)
    assert told["problems"] == []
    [own] = [each for each in told["plugins"] if each["name"] == "everything"]
    assert (own["status"], own["api"], own["components"]) == ("loaded", 1, len(BRINGS) - 1)
    assert own["hooks"] == ["omniflow_run_ended"]
    assert {each["kind"]: each["options"][:1] for each in told["components"]} == {
        "backbone": ["path"],
        "head": ["hidden_dim"],
        "refiner": ["hidden_dim"],
        "encoder": ["size"],
        "dataset": ["largest"],
        "objective": ["max_length"],
        "metric": ["lowercase"],
    }
    plain = omniflow("doctor", "--plugins").out
    assert "omniflow-everything 0.1.0" in plain
    assert plain.splitlines()[-1] == "all is well"


def test_the_distribution_is_named_once_whether_or_not_it_was_said(omniflow, tmp_path):
    said = json.loads(omniflow("new-plugin", "omniflow-birds", "--kind", "metric", "--json").out)
    assert (said["distribution"], said["name"]) == ("omniflow-birds", "birds")
    assert set(said["files"]) == {
        str(path.relative_to(tmp_path / "omniflow-birds"))
        for path in (tmp_path / "omniflow-birds").rglob("*")
        if path.is_file()
    }
    assert "src/omniflow_birds/metric.py" in said["files"]


def test_classes_are_called_after_name_and_kind():
    assert NewPlugin("multi-head", ("head",)).class_name("head") == "MultiHead"
    assert NewPlugin("fsq", ("head",)).class_name("head") == "FsqHead"
    assert NewPlugin("head", ("head",)).class_name("head") == "HeadHead"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["My Head"], "did you mean: my-head"),
        (["MyHead"], "did you mean: my-head"),
        (["my_head"], "did you mean: my-head"),
        (["../evil"], "did you mean: evil"),
        (["9lives"], "did you mean: lives"),
        (["zoo"], "a plugin cannot be called 'zoo'"),
        (["class"], "did you mean: my-class"),
        (["null"], "did you mean: my-null"),
        (["x", "--output-dir", "x" * 300], "cannot be written (File name too long)"),
        (["omniflow-"], "a plugin cannot be called 'omniflow-'"),
        (["x" * 40], "at most 32"),
        (["头"], "a plugin cannot be called '头', expected small letters"),
        (["x", "--kind", "haed"], "did you mean: head"),
        (["vq"], "there is a head 'vq' already, of omniflow-zoo"),
        (["x", "--output-dir", "full"], "--output-dir: full is there already"),
        (["full"], "omniflow-full is there already, expected a new folder"),
        (["x", "--output-dir", "."], "is, or holds, the folder that this runs in"),
    ],
)
def test_what_cannot_be_written_is_refused_and_nothing_is_touched(
    arguments, expected, omniflow, tmp_path
):
    for name in ("full", "omniflow-full"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    outcome = omniflow("new-plugin", *arguments)
    assert outcome.code == 2
    assert expected in outcome.err
    assert sorted(tmp_path.rglob("*")) == before
