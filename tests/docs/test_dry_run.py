"""What docs/dry-run.md shows: its commands run, and its figures are those that they print."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from omniflow_cli.app import main

MEASURING = """
import resource, sys
from omniflow_cli.app import main
code = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""

#: Of the published models, and of the experiment with a VQ head and a refiner.
FROZEN = 3_107_482_784 + 1_578_633_856
TRAINED = 64 * 4096 + 4096 + 4096 * 64 + 64 + 49_728

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


def measured(*arguments, cwd):
    """What a command prints, and the bytes in memory at its peak."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURING, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OMNIFLOW_ENABLE_PLUGINS": ""},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, int(done.stderr.splitlines()[-1]) * 1024


def test_a_run_is_tried_before_it_starts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tried, _ = commands()
    assert main([*shlex.split(tried)[1:], "--device", "cpu", "--batch-size", "4"]) == 0
    assert "verdict" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The report on the published sizes, and the bytes that it took."""
    folder = tmp_path_factory.mktemp("published")
    _, counted = commands()
    said, peak = measured(*shlex.split(counted)[1:], "--json", cwd=folder)
    assert list(folder.iterdir()) == []
    return json.loads(said), peak


def test_the_published_sizes_are_counted_and_not_allocated(published):
    content, peak = published
    assert content["parameters"] == FROZEN + TRAINED
    assert content["trainable"] == TRAINED
    parts = {part["name"]: part for part in content["parts"]}
    assert parts["transformer"]["parameters"] == 3_107_482_784
    # Beside the parameters: tables of positions, as wide as a token, for images and sounds.
    values = 3_107_482_784 + 2 * 192**2 * 1536
    assert parts["transformer"]["bytes_bf16"] == parts["transformer"]["bytes"] == 2 * values
    assert parts["transformer"]["bytes_fp32"] == 4 * values
    full, half = content["memory"]
    assert (full["precision"], half["precision"]) == ("fp32", "bf16")
    assert full["weights"] > 9.5e9
    # Logits of 16 texts of 256 tokens over 32,001 words, in float32, more than once.
    assert full["activations"] > 2 * 16 * 256 * 32_001 * 4
    assert content["timing"] is None
    assert peak < 1.5e9


def test_the_figures_are_those_of_the_page(published):
    content, _ = published
    shown = next(row for row in table("recipe | trained") if row["recipe"] == "`vq-plus-refiner`")
    assert shown["trained"] == f"{content['trainable']:,}"
    for estimate in content["memory"]:
        activations = shown[f"activations {estimate['precision']}"]
        assert gigabytes(activations) == pytest.approx(estimate["activations"], rel=0.03)
        total = shown[f"in all {estimate['precision']}"]
        assert gigabytes(total) == pytest.approx(estimate["total"], rel=0.03)
    for part in content["parts"][:2]:
        assert f"{part['parameters']:,} " in PAGE
