"""Every command of docs/training.md is run, and its tables are those of the code."""

import re
import shlex
from pathlib import Path
from typing import get_args, get_type_hints

import yaml

from omniflow.draft import Draft
from omniflow.plugins import load_plugins
from omniflow.recipe import TRAINED_PARTS, TrainingOptions
from omniflow.resolve import resolve
from omniflow.training.schedule import SCHEDULES
from omniflow_cli.app import main

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "training.md").read_text(encoding="utf-8")

#: What makes a command short enough for a test without changing what it is about.
SHORTER = [
    "--max-steps", "2", "--batch-size", "2", "--device", "cpu", "--set", "dataset.size=8",
    "--set", "training.eval_batches=1", "--set", "training.samples=0",
]  # fmt: skip


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def rows(title):
    """The first column of the table with this title."""
    table = PAGE.split(f"| {title} |", 1)[1].split("\n\n", 1)[0]
    return re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)


def test_every_command_works_in_its_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    commands = [line for block in blocks("bash") for line in block.splitlines()]
    assert len(commands) == 3
    for command in commands:
        code = main([*shlex.split(command)[1:], *SHORTER])
        assert code == 0, f"{command}\n{capsys.readouterr().err}"
    assert '"skipped_steps"' in Path("joint/metrics.jsonl").read_text()
    assert '"since_best"' in Path("run/metrics.jsonl").read_text()


def test_the_recipe_is_one():
    [block] = blocks("yaml")
    draft = Draft.from_mapping(yaml.safe_load(block))
    training = resolve(draft, load_plugins().registry).training
    assert training.lr_scale == {"refiner": 0.5}
    assert training.lr_schedule == "linear"


def test_the_tables_are_those_of_the_code():
    hints = get_type_hints(TrainingOptions)
    assert rows("schedule") == list(get_args(hints["lr_schedule"])) == list(SCHEDULES)
    assert rows("`precision`") == list(get_args(hints["precision"]))
    assert ", ".join(f"`{part}`" for part in TRAINED_PARTS) in " ".join(PAGE.split())


def test_every_file_that_the_page_points_at_exists():
    for link in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", PAGE):
        assert (DOCS / link).exists(), link
