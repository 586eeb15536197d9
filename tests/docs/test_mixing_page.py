"""Every command of docs/mixing.md is run, with the files that it shows."""

import json
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from omniflow.mixing import MIXING_KEYS
from omniflow_cli.app import main

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "mixing.md").read_text(encoding="utf-8")

#: What makes a command short enough for a test without changing what it is about.
SHORTER = [
    "--max-steps", "1", "--batch-size", "4", "--device", "cpu", "--no-cache",
    "--set", "training.eval_batches=1",
    "--set", "training.samples=0", "--set", "training.bad_records=0",
]  # fmt: skip


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """The folder of somebody who has the files of the page."""
    from datasets import Dataset

    folder = tmp_path_factory.mktemp("reader")
    recipe, tables = blocks("yaml")
    (folder / "mixed.yaml").write_text(recipe)
    (folder / "data.yml").write_text(tables)
    [splits] = blocks("json")
    (folder / "data_config.json").write_text(splits)
    names = [f"pet{number}.png" for number in range(6)]
    for number, name in enumerate(names):
        Image.new("RGB", (64, 64), (40 * number, 99, 20)).save(folder / name)
    for file, column in (("pets.csv", "image"), ("pets_original.csv", "img_file")):
        rows = [f"a pet of number {number},{name}" for number, name in enumerate(names)]
        (folder / file).write_text("\n".join([f"caption,{column}", *rows]))
    lines = [f"line number {number}" for number in range(20)]
    (folder / "lines.txt").write_text("\n".join(lines))
    Dataset.from_dict({"text": [*lines, "short"]}).save_to_disk(folder / "lines" / "subset")
    return folder


def test_every_command_works(reader, monkeypatch, capsys):
    monkeypatch.chdir(reader)
    commands = [line for block in blocks("bash") for line in block.splitlines()]
    assert len(commands) == 4
    told = {}
    for command in commands:
        code = main([*shlex.split(command)[1:], *SHORTER])
        told[command] = capsys.readouterr()
        assert code == 0, f"{command}\n{told[command].err}"
    mixed, tried, _, decoder = told.values()
    assert "mixing csv 66.67 % (4 samples), scenes 33.33 % (100 samples)" in mixed.err
    assert re.search(r"photos +train +83\.33 % ", tried.out)
    assert "text  validation" not in " ".join(tried.out.split())
    assert "layout: text2img" in (reader / "runs/joint/recipe.yaml").read_text()
    assert "1 records left out" in decoder.err
    lines = (reader / "runs/mixed/metrics.jsonl").read_text().splitlines()
    last = [json.loads(line) for line in lines if '"train"' in line][-1]
    assert last["samples_csv"] + last["samples_scenes"] == 4
    assert last["records_unserved"] == 0


def test_options_are_those_of_the_code():
    assert re.findall(r"^\| `(\w+)` \| `null` \|", PAGE, flags=re.MULTILINE) == [
        "weight", "validation_weight", "tasks", "label",
    ]  # fmt: skip
    assert set(MIXING_KEYS) == {"weight", "validation_weight", "tasks", "label"}
