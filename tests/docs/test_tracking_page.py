"""Every command and snippet of docs/tracking.md is run, and its tables are those of the code."""

import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from omniflow.hooks import LIFECYCLE, Hooks
from omniflow.plugins import PluginSource, load_plugins
from omniflow.recipe import TRACKERS
from omniflow.registry import Origin
from omniflow_cli.app import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tracking.md").read_text(encoding="utf-8")

#: What makes a command short enough for a test without changing what it is about.
SHORTER = {
    "train": ["--set", "training.eval_batches=1", "--batch-size", "4", "--device", "cpu"],
    # It would serve for ever.
    "tensorboard": ["--inspect"],
}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_every_command_works_in_its_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMNIFLOW_ENABLE_PLUGINS", "")
    commands = [shlex.split(line) for block in blocks("bash") for line in block.splitlines()]
    assert [words[0] for words in commands] == ["pip", "omniflow", "omniflow", "tensorboard"]
    for words in commands[1:3]:
        assert main([*words[1:], *SHORTER["train"]]) == 0, capsys.readouterr().err
    shown = subprocess.run(
        [sys.executable, "-m", "tensorboard.main", *commands[3][1:], *SHORTER["tensorboard"]],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        check=True,
    )
    assert "train/loss" in shown.stdout
    assert "validation/ppl" in shown.stdout
    # The files are read in no order: the last step read may be the first run's.
    assert re.search(r"max_step +30", shown.stdout)


def test_the_trackers_are_those_of_the_recipe_and_their_extras_exist():
    named = re.findall(r"^\| `(\w+)` \| `omniflow-zoo\[(\w+)\]`", PAGE, flags=re.MULTILINE)
    assert named == [(name, name) for name in TRACKERS]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name in TRACKERS:
        assert re.search(rf'^{name} = \["{name}>=', project, flags=re.MULTILINE)


def test_the_hooks_and_their_arguments_are_those_of_the_code():
    told = dict(re.findall(r"^\| `(omniflow_\w+)` \| `([^`]+)` \|", PAGE, flags=re.MULTILINE))
    taken = {
        name: ", ".join(list(inspect.signature(getattr(Hooks, name)).parameters)[1:])
        for name in LIFECYCLE
    }
    assert told == taken


@pytest.mark.parametrize("snippet", blocks("python"))
def test_the_hook_of_the_page_is_a_plugin(snippet, tmp_path):
    namespace = {}
    exec(snippet.replace("/tmp/", f"{tmp_path}/"), namespace)
    source = PluginSource(
        "page", Origin("omniflow-page", "1"), lambda: SimpleNamespace(**namespace)
    )
    [subscriber] = load_plugins([source], environ={}, strict=True).registry.subscribers
    ending = {"folder": tmp_path, "how": "finished", "step": 3, "error": "", "figures": {}}
    subscriber.call("omniflow_run_ended", ending)
    assert (tmp_path / "runs.txt").read_text().split()[1:] == ["finished", "3"]


def test_every_file_that_the_page_points_at_exists():
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link
