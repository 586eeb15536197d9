"""Every command and snippet of docs/any-to-any.md is run, in its order, in an empty folder."""

import re
import shlex
from pathlib import Path

import pytest

from omniflow.options import signature_options
from omniflow.sampling.settings import SamplingSettings
from omniflow_cli.app import main

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "any-to-any.md").read_text(encoding="utf-8")

#: What makes a command short enough for a test without changing what it is about.
SHORTER = ["--steps", "2", "--device", "cpu", "--set", "sampling.max_new_tokens=8"]
SHORTER_RUN = [
    "--max-steps", "2", "--batch-size", "2", "--device", "cpu", "--no-cache",
    "--set", "training.eval_batches=1", "--set", "training.samples=0",
]  # fmt: skip


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
        code = main([*words[1:], *(SHORTER_RUN if words[1] == "train" else SHORTER)])
        assert code == 0, f"{command}\n{capsys.readouterr().err}"
        if "--output" in words:
            assert Path(words[words.index("--output") + 1]).exists()


@pytest.mark.parametrize("snippet", blocks("python"))
def test_every_python_snippet_runs(snippet, folder, monkeypatch):
    monkeypatch.chdir(folder)
    exec(compile(snippet, "docs/any-to-any.md", "exec"), {})
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
