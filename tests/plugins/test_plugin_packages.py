"""Plugins as real distributions: built and installed by pip, found, used and removed."""

import csv
import importlib
import json
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


@pytest.fixture
def with_plugins(monkeypatch, tmp_path, capsys):
    """Run commands in this process and an empty folder, with the plugins of a site."""
    monkeypatch.chdir(tmp_path)

    def use(site, *, only=None):
        monkeypatch.syspath_prepend(site)
        monkeypatch.setenv("PYTHONPATH", str(site))
        monkeypatch.delenv("OMNIFLOW_ENABLE_PLUGINS", raising=False)
        if only is not None:
            monkeypatch.setenv("OMNIFLOW_ENABLE_PLUGINS", only)
        installed_plugins.cache_clear()

        def run(*arguments):
            capsys.readouterr()
            code = main(list(arguments))
            told = capsys.readouterr()
            assert code == 0, told.err
            return told.out

        return run

    yield use
    installed_plugins.cache_clear()


@pytest.mark.parametrize("name", PLUGINS)
def test_an_example_passes_its_own_tests(name, installed, with_plugins, own_tests):
    with_plugins(installed)
    assert own_tests(EXAMPLES / name) >= 8


def test_a_plugin_brings_dataset_encoder_metric_and_hook_to_one_run(installed, with_plugins):
    """Trained with the dataset and the encoder, scored by the metric, entered in the ledger."""
    run = with_plugins(installed, only="omniflow-subtitles")
    lines = (f"{n}\n00:00:{n:02},000 --> 00:00:{n + 1:02},000\nline {n}\n" for n in range(1, 50))
    Path("film.srt").write_text("\n".join(lines))
    run(
        "train", "--head", "mlp", "--set", "head.hidden_dim=16", "--dataset", "subtitles",
        "--set", "dataset.path=.", "--encoder", "mel-statistics", "--max-steps", "1",
        "--batch-size", "4", "--set", "training.eval_batches=1", "--set", "training.samples=0",
        "--device", "cpu", "--output-dir", "runs/film",
    )  # fmt: skip
    with Path("runs/runs.csv").open(newline="") as file:
        [line] = csv.DictReader(file)
    assert (line["run"], line["dataset"], line["how"]) == ("film", "subtitles", "finished")
    assert line["best"].startswith("step=")
    record = {"id": "1", "task": "t2t", "prediction": "line one", "references": ["line two"]}
    Path("predictions.json").write_text(json.dumps([record]))
    assert "0.5" in run("evaluate", "predictions.json", "--metrics", "wer")


def test_an_installed_plugin_is_listed_and_shown_with_its_options(installed, with_plugins):
    run = with_plugins(installed)
    listed = json.loads(run("list-components", "--kind", "head", "--json"))
    [adaptive] = [entry for entry in listed if entry["name"] == "adaptive"]
    assert (adaptive["distribution"], adaptive["version"]) == ("omniflow-adaptive-head", "0.1.0")
    shown = run("show", "head", "adaptive")
    for expected in ("hidden_dim", "frequencies", "1024", "omniflow-adaptive-head 0.1.0"):
        assert expected in shown

    told = json.loads(run("doctor", "--plugins", "--json"))
    assert told["problems"] == told["notes"] == []
    assert [
        (each["distribution"], each["status"], each["api"], each["components"], len(each["hooks"]))
        for each in told["plugins"]
        if each["distribution"] in PLUGINS
    ] == [
        ("omniflow-adaptive-head", "loaded", 1, 1, 0),
        ("omniflow-run-diary", "loaded", 1, 0, 3),
        ("omniflow-subtitles", "loaded", 1, 3, 3),
    ]


def test_a_plugins_head_trains_and_its_model_asks_for_the_plugin_when_it_is_gone(
    installed, with_plugins, monkeypatch, capsys
):
    run = with_plugins(installed)
    run(
        "train", "--head", "adaptive", "--set", "head.hidden_dim=16", "--max-steps", "2",
        "--batch-size", "4", "--set", "training.eval_batches=1", "--set", "training.samples=0",
        "--output-dir", "run",
    )  # fmt: skip
    config = json.loads(Path("run/best/config.json").read_text())
    assert {
        "kind": "head",
        "name": "adaptive",
        "distribution": "omniflow-adaptive-head",
        "version": "0.1.0",
    } in config["components"]

    # The other plugin registers nothing and has followed the run.
    diary = Path("run/diary.md").read_text().splitlines()
    assert "# Step 0 of 2: head adaptive, refiner none" in diary
    assert any(line.startswith("- step 0: best so far, ") and " ppl " in line for line in diary)
    assert diary[-1].startswith("- step 2: finished")

    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(installed)])
    importlib.invalidate_caches()
    installed_plugins.cache_clear()
    generate = ["generate", "--checkpoint", "run", "--limit", "1", "--output", "predictions.json"]
    assert main(generate) == 2
    told = capsys.readouterr().err
    assert "pip install omniflow-adaptive-head==0.1.0" in told
    assert "Traceback" not in told


def test_a_plugin_whose_import_raises_leaves_everything_else_working(broken, with_plugins, capsys):
    run = with_plugins(broken)
    listed = json.loads(run("list-components", "--kind", "head", "--json"))
    assert {"linear", "mlp", "vq"} <= {entry["name"] for entry in listed}
    for command in (["doctor"], ["doctor", "--plugins"]):
        assert main(command) == 1
        told = capsys.readouterr().out
        for expected in (
            "omniflow-broken 0.3", "no such moon", "OMNIFLOW_DISABLE_PLUGINS=omniflow-broken",
        ):  # fmt: skip
            assert expected in told
