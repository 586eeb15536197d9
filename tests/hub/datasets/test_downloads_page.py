"""Every command of docs/downloads.md is run on the Hub of the tests, and its tables are true."""

import re
import shlex
from pathlib import Path

from omniflow.connection.patience import Patience
from omniflow.downloads.models import MODELS
from omniflow.downloads.names import hub_names
from omniflow_cli.app import main

PAGE = (Path(__file__).parents[3] / "docs" / "downloads.md").read_text(encoding="utf-8")

SHORTER = {
    "train": ["--max-steps", "1", "--batch-size", "2", "--device", "cpu", "--no-cache",
              "--set", "training.eval_batches=1",
              "--set", "training.samples=0", "--set", "training.bad_records=0"],
}  # fmt: skip


def test_every_command_works(served, nltk_index, parity_data, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NLTK_DATA", str(tmp_path / "nltk_data"))
    published = parity_data / "pipeline_tiny"
    served.add("jacklishufan/OmniFlow-v0.5", published / "checkpoint")
    served.add("google/flan-t5-large", published / "external" / "flan_t5")
    served.add("cvssp/audioldm2", published / "external" / "audioldm2")
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) == 9
    for command in commands:
        words = shlex.split(command, comments=True)[1:]
        code = main([*words, *SHORTER.get(words[0], [])])
        assert code == 0, f"{command}\n{capsys.readouterr().err}"
    for written in (
        "data/coco/manifest.json", "corpora/audiocaps/manifest.json", "few/llava-cc3m/images.zip",
        "nltk_data/corpora/wordnet", "models/audioldm2/vae/config.json",
    ):  # fmt: skip
        assert (tmp_path / written).exists(), written


def test_names_and_figures_are_those_of_the_code(registry):
    for name in hub_names(registry):
        assert f"`{name}`" in PAGE
    for name, model in MODELS.items():
        assert f"`{name}`" in PAGE
        assert model.hub_id.removesuffix("-v0.9") in PAGE
    assert f"up to {Patience.attempts - 1} times in a row" in PAGE
    assert f"up to {Patience.longest_asked_s / 60:.0f} minutes" in PAGE
