"""Plugins as real distributions: built and installed by pip, found, used and removed."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from omniflow.plugins import installed_plugins
from omniflow_cli.app import main

EXAMPLES = Path(__file__).parents[2] / "plugins_example"


PLUGINS = ("omniflow-adaptive-head", "omniflow-run-diary", "omniflow-subtitles")


def pip_install(target: Path, *sources: Path) -> None:
    """Install distributions into a folder of their own, with no network."""
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--no-build-isolation", "--no-index", "--target", target, *sources),
        ],
        check=True,
    )


def omniflow(*arguments: str, plugins: Path, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "omniflow_cli", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(plugins)},
        check=False,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugins")
    # Copies: a build leaves files in its folder.
    copies = [shutil.copytree(EXAMPLES / name, folder / name) for name in PLUGINS]
    pip_install(folder / "site", *copies)
    return folder / "site"


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("broken")
    source = folder / "source"
    (source / "omniflow_broken").mkdir(parents=True)
    (source / "omniflow_broken" / "__init__.py").write_text("raise RuntimeError('no such moon')\n")
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "omniflow-broken"\nversion = "0.3"\n'
        '[project.entry-points.omniflow]\nbroken = "omniflow_broken"\n'
        '[tool.hatch.build.targets.wheel]\npackages = ["omniflow_broken"]\n'
    )
    pip_install(folder / "site", source)
    return folder / "site"


@pytest.mark.parametrize("name", PLUGINS)
def test_an_example_passes_its_own_tests(name, installed, monkeypatch):
    monkeypatch.syspath_prepend(installed)
    monkeypatch.setenv("PYTHONPATH", str(installed))
    monkeypatch.delenv("OMNIFLOW_ENABLE_PLUGINS", raising=False)
    installed_plugins.cache_clear()

    class Outcomes:
        passed = 0

        def pytest_runtest_logreport(self, report):
            self.passed += report.when == "call" and report.passed

    outcomes, tests = Outcomes(), EXAMPLES / name / "tests"
    arguments = ["-q", "--import-mode=importlib", "-p", "no:cacheprovider", "-p", "no:xdist"]
    code = pytest.main([*arguments, "--rootdir", str(tests), str(tests)], plugins=[outcomes])
    installed_plugins.cache_clear()
    assert code == 0
    assert outcomes.passed >= 8


def test_a_plugin_brings_dataset_encoder_metric_and_hook_to_one_run(
    installed, tmp_path, monkeypatch, capsys
):
    """Trained with the dataset and the encoder, scored by the metric, entered in the ledger."""
    monkeypatch.syspath_prepend(installed)
    monkeypatch.setenv("OMNIFLOW_ENABLE_PLUGINS", "omniflow-subtitles")
    monkeypatch.chdir(tmp_path)
    installed_plugins.cache_clear()
    lines = (f"{n}\n00:00:{n:02},000 --> 00:00:{n + 1:02},000\nline {n}\n" for n in range(1, 50))
    Path("film.srt").write_text("\n".join(lines))
    train = [
        "train", "--head", "mlp", "--set", "head.hidden_dim=16", "--dataset", "subtitles",
        "--set", "dataset.path=.", "--encoder", "mel-statistics", "--max-steps", "1",
        "--batch-size", "4", "--set", "training.eval_batches=1", "--set", "training.samples=0",
        "--device", "cpu", "--output-dir", "runs/film",
    ]  # fmt: skip
    assert main(train) == 0, capsys.readouterr().err
    with Path("runs/runs.csv").open(newline="") as file:
        [line] = csv.DictReader(file)
    assert (line["run"], line["dataset"], line["how"]) == ("film", "subtitles", "finished")
    assert line["best"].startswith("step=")
    record = {"id": "1", "task": "t2t", "prediction": "line one", "references": ["line two"]}
    Path("predictions.json").write_text(json.dumps([record]))
    scored = ["evaluate", "predictions.json", "--metrics", "wer", "--output-json", "eval.json"]
    assert main(scored) == 0, capsys.readouterr().err
    assert "0.5" in capsys.readouterr().out
    installed_plugins.cache_clear()


def test_an_installed_plugin_is_listed_and_shown_with_its_options(installed, tmp_path):
    listed = omniflow(
        "list-components", "--kind", "head", "--json", plugins=installed, cwd=tmp_path
    )
    origins = {entry["name"]: entry for entry in json.loads(listed.stdout)}
    assert origins["adaptive"]["distribution"] == "omniflow-adaptive-head"
    assert origins["adaptive"]["version"] == "0.1.0"

    shown = omniflow("show", "head", "adaptive", plugins=installed, cwd=tmp_path)
    assert shown.returncode == 0
    for expected in ("hidden_dim", "frequencies", "1024", "omniflow-adaptive-head 0.1.0"):
        assert expected in shown.stdout


def test_a_plugins_head_trains_and_its_model_asks_for_the_plugin_when_it_is_gone(
    installed, tmp_path
):
    trained = omniflow(
        "train", "--head", "adaptive", "--set", "head.hidden_dim=16", "--max-steps", "2",
        "--batch-size", "4", "--set", "training.eval_batches=1", "--set", "training.samples=0",
        "--output-dir", "run",
        plugins=installed, cwd=tmp_path,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    config = json.loads((tmp_path / "run" / "best" / "config.json").read_text())
    assert {
        "kind": "head",
        "name": "adaptive",
        "distribution": "omniflow-adaptive-head",
        "version": "0.1.0",
    } in config["components"]

    # The other plugin registers nothing and has followed the run.
    diary = (tmp_path / "run" / "diary.md").read_text().splitlines()
    assert "# Step 0 of 2: head adaptive, refiner none" in diary
    assert any(line.startswith("- step 0: best so far, ") and " ppl " in line for line in diary)
    assert diary[-1].startswith("- step 2: finished")

    removed = omniflow(
        "generate", "--checkpoint", "run", "--limit", "1", "--output", "predictions.json",
        plugins=tmp_path / "nothing", cwd=tmp_path,
    )  # fmt: skip
    assert removed.returncode == 2
    assert "pip install omniflow-adaptive-head==0.1.0" in removed.stderr
    assert "Traceback" not in removed.stderr


def test_a_plugin_whose_import_raises_leaves_everything_else_working(broken, tmp_path):
    listed = omniflow("list-components", "--kind", "head", "--json", plugins=broken, cwd=tmp_path)
    assert listed.returncode == 0
    assert {"linear", "mlp", "vq"} <= {entry["name"] for entry in json.loads(listed.stdout)}

    told = omniflow("doctor", plugins=broken, cwd=tmp_path)
    assert "omniflow-broken" in told.stdout
    assert "no such moon" in told.stdout
    assert "OMNIFLOW_DISABLE_PLUGINS=omniflow-broken" in told.stdout
