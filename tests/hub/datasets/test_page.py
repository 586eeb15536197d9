"""Every command of docs/hub-data.md is run on the Hub of the tests, and its table is the code's."""

import re
import shlex
from pathlib import Path

from omniflow.options import options_of
from omniflow_cli.app import main

PAGE = (Path(__file__).parents[3] / "docs" / "hub-data.md").read_text(encoding="utf-8")

SHORTER = {
    "train": ["--max-steps", "1", "--batch-size", "2", "--device", "cpu", "--no-cache",
              "--set", "training.eval_batches=1",
              "--set", "training.samples=0", "--set", "training.bad_records=0"],
}  # fmt: skip


def test_every_command_works(served, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) == 4
    for command in commands:
        words = shlex.split(command)[1:]
        code = main([*words, *SHORTER.get(words[0], [])])
        assert code == 0, f"{command}\n{capsys.readouterr().err}"


def test_options_are_those_of_the_code(registry):
    for option in options_of(registry.get("dataset", "huggingface")):
        if option.name not in ("path", "split"):
            default = {None: "null"}.get(option.default, str(option.default))
            assert f"| `{option.name}` | `{default}` |" in PAGE, option.name
