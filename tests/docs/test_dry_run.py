"""What docs/dry-run.md shows: its commands run, and its figures are those that they print."""

import json
import re
import shlex
from pathlib import Path

import pytest

from omniflow_cli.app import main

PAGE = (Path(__file__).parents[2] / "docs" / "dry-run.md").read_text(encoding="utf-8")


def commands():
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def table(title):
    """Rows below a line of titles, as texts by column."""
    lines = PAGE.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {title} |"))
    header, _, *rows = [line for line in lines[start:] if line.startswith("|") or not line]
    names = [cell.strip() for cell in header.strip("|").split("|")]
    rows = rows[: rows.index("")]
    return [
        dict(zip(names, (cell.strip() for cell in row.strip("|").split("|")), strict=True))
        for row in rows
    ]


def gigabytes(cell):
    return float(cell.removesuffix(" GB")) * 1e9


def test_every_command_works_and_the_figures_are_those_of_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tried, counted = commands()
    assert main([*shlex.split(tried)[1:], "--device", "cpu", "--batch-size", "4"]) == 0
    assert "verdict" in capsys.readouterr().out
    assert main([*shlex.split(counted)[1:], "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert list(tmp_path.iterdir()) == []
    shown = next(row for row in table("recipe | trained") if row["recipe"] == "`vq-plus-refiner`")
    assert shown["trained"] == f"{content['trainable']:,}"
    for estimate in content["memory"]:
        activations = shown[f"activations {estimate['precision']}"]
        assert gigabytes(activations) == pytest.approx(estimate["activations"], rel=0.03)
        total = shown[f"in all {estimate['precision']}"]
        assert gigabytes(total) == pytest.approx(estimate["total"], rel=0.03)
    for part in content["parts"][:2]:
        assert f"{part['parameters']:,} " in PAGE
