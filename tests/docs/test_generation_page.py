"""Every command and snippet of docs/generation.md is run, in its order, in an empty folder."""

import json
import re
import shlex
from pathlib import Path

import pytest

from omniflow.evaluation.predictions import read_predictions
from omniflow.generation.make import Made
from omniflow.generation.records import MOST_IN_VAIN
from omniflow.generation.slots import slots_of
from omniflow.models.decode_rows import LEAVING
from omniflow.models.token_choice import CLOSE, CLOSE_IN_HALF
from omniflow_cli.app import main

PAGE = (Path(__file__).parents[2] / "docs" / "generation.md").read_text(encoding="utf-8")

#: What makes a command short enough for a test without changing what it is about.
SHORTER = {
    "train": ["--max-steps", "1", "--batch-size", "2", "--device", "cpu", "--no-cache",
              "--set", "training.eval_batches=1", "--set", "training.samples=0"],
    "generate": ["--limit", "2", "--steps", "1", "--max-new-tokens", "8", "--device", "cpu"],
}  # fmt: skip


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_every_command_works_in_its_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # Processes of the launcher find the package and take their share of the machine.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    commands = [line for block in blocks("bash") for line in block.splitlines()]
    assert len(commands) >= 9
    for command in commands:
        words = shlex.split(command)[1:]
        code = main([*words, *SHORTER.get(words[0], [])])
        assert code == 0, f"{command}\n{capsys.readouterr().err}"
    made = {path.name for path in tmp_path.iterdir()}
    named = {"predictions.json", "from_noise.json", "steps.json", "drawn.json", "beams.json"}
    assert named <= made
    assert not [name for name in made if "partial" in name]
    first, shared = (
        read_predictions(tmp_path / name) for name in ("predictions.json", "shared.json")
    )
    texts = [[record.prediction for record in file.records] for file in (first, shared)]
    assert texts[0] == texts[1]
    manifest = json.loads((tmp_path / "pictures" / "manifest.json").read_text())
    for record in manifest["records"]:
        assert (tmp_path / "pictures" / record["image"]).is_file()
        assert (tmp_path / "pictures" / record["audio"]).is_file()


@pytest.mark.parametrize("snippet", blocks("python"))
def test_every_snippet_runs(snippet, capsys):
    exec(compile(snippet, "docs/generation.md", "exec"), {})
    assert "TokenScores(count=" in capsys.readouterr().out


def test_the_file_shown_is_one(tmp_path):
    [shown] = blocks("json")
    (tmp_path / "p.json").write_text(shown)
    [record] = read_predictions(tmp_path / "p.json").records
    assert record.tokens.count == 5


def test_figures_are_those_of_the_code():
    assert slots_of("cpu") == 4
    assert set(CLOSE.values()) == {0.001}
    assert CLOSE_IN_HALF == 0.1
    assert LEAVING == 0.75
    assert f"none of the first {MOST_IN_VAIN}" in PAGE
    assert {"text", "image", "audio"} <= set(Made.__dataclass_fields__)
