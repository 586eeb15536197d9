"""Every command and snippet of docs/any-to-any.md is run, in its order, in an empty folder."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from omniflow.options import signature_options
from omniflow.sampling.settings import SamplingSettings
from omniflow_cli.app import main

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "any-to-any.md").read_text(encoding="utf-8")

#: What makes a command short enough for a test without changing what it is about.
SHORTER = ["--steps", "2", "--device", "cpu", "--set", "sampling.max_new_tokens=8"]


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def commands():
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line.startswith("omniflow ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reader")


def test_every_command_works_in_its_order(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert len(commands()) >= 12
    for command in commands():
        words = shlex.split(command)
        is_training = words[1] == "train"
        shorter = ["--max-steps", "2", "--device", "cpu"] if is_training else SHORTER
        code = main([*words[1:], *shorter])
        assert code == 0, f"{command}\n{capsys.readouterr().err}"
        if "--output" in words:
            assert Path(words[words.index("--output") + 1]).exists()


@pytest.mark.parametrize("snippet", blocks("python"))
def test_every_python_snippet_runs(snippet, folder):
    done = subprocess.run(
        [sys.executable, "-c", snippet],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "two.html").stat().st_size > 0


def test_the_table_of_settings_is_that_of_the_class():
    rows = [
        f"| `{option.name}` | `{option.default}` | {option.help} |"
        for option in signature_options(SamplingSettings)
    ]
    assert "\n".join(rows) in PAGE


def test_every_file_that_the_page_points_at_exists():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", PAGE)
    assert links
    for link in links:
        assert (DOCS / link).exists(), link
