"""Every command of docs/cache.md is run, in its order, in an empty folder."""

import re
import shlex
from pathlib import Path

import pytest

from omniflow.options import signature_options
from omniflow.recipe import TrainingOptions
from omniflow_cli.app import main

PAGE = (Path(__file__).parents[2] / "docs" / "cache.md").read_text(encoding="utf-8")

#: What makes a command short enough for a test without changing what it is about.
SHORTER = {
    "train": [
        "--max-steps", "2", "--device", "cpu", "--set", "training.eval_batches=1",
        "--set", "training.samples=0",
    ],
}  # fmt: skip


def commands():
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def test_every_command_works_in_its_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMNIFLOW_CACHE", str(tmp_path / "cache"))
    assert len(commands()) >= 6
    for command in commands():
        words = shlex.split(command)[1:]
        code = main([*words, *SHORTER.get(words[0], [])])
        assert code == 0, f"{command}\n{capsys.readouterr().err}"
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("name", ["cache", "cache_dir", "cache_limit_gb"])
def test_the_defaults_are_those_of_the_class(name):
    [option] = [o for o in signature_options(TrainingOptions) if o.name == name]
    shown = {None: "null", True: "true"}.get(option.default, str(option.default))
    assert f"| `training.{name}` | `{shown}` |" in PAGE
