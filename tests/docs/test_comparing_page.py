"""Every command and snippet of docs/comparing.md is run, in their order."""

import json
import re
import shlex
from pathlib import Path

from omniflow_cli.app import main

PAGE = (Path(__file__).parents[2] / "docs" / "comparing.md").read_text(encoding="utf-8")

#: What makes a command short enough for a test without changing what it is about.
SHORTER = {
    "train": [
        "--max-steps", "2", "--batch-size", "4", "--set", "training.eval_batches=1",
        "--set", "training.log_interval=1", "--device", "cpu",
    ],
    "generate": ["--limit", "4", "--max-new-tokens", "12", "--device", "cpu"],
}  # fmt: skip


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_page_is_true(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMNIFLOW_ENABLE_PLUGINS", "")
    commands = [shlex.split(line) for block in blocks("bash") for line in block.splitlines()]
    shown = {}
    for words in commands:
        assert words[0] == "omniflow"
        capsys.readouterr()
        code = main([*words[1:], *SHORTER.get(words[1], [])])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        shown[" ".join(words)] = captured.out

    (as_json,) = (out for line, out in shown.items() if "--json" in line)
    content = json.loads(as_json)
    mlp, vq = content["runs"]
    assert mlp["trainable"] < mlp["parameters"]
    assert mlp["training_seconds"] > 0
    assert (mlp["codes"], vq["codes"]["codebook_size"]) == (None, 2048)
    # Without WordNet's data METEOR is reported under another name.
    assert {"bleu", "rouge", "perplexity"} <= mlp["metrics"].keys() == vq["metrics"].keys()
    assert {one["metric"] for one in content["differences"]} == mlp["metrics"].keys()
    assert {path.name for path in (tmp_path / "figures").iterdir()} >= {
        "metric-bleu.png", "validation-ppl.png", "train-loss.png", "train-code_perplexity.png",
    }  # fmt: skip
    assert (tmp_path / "table.md").read_text().startswith("| run | parameters |")
    assert 'id="samples"' in (tmp_path / "report.html").read_text()
    assert (tmp_path / "runs" / "mlp" / "samples" / "step-0.json").is_file()
    assert (tmp_path / "runs" / "mlp" / "report.html").is_file()

    (snippet,) = blocks("python")
    exec(compile(snippet, "docs/comparing.md", "exec"), {})
    assert "MLP or VQ" in (tmp_path / "again.html").read_text()
