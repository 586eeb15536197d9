"""Every command and snippet of docs/hub.md is run, shortened, in their order."""

import re
import shlex
from pathlib import Path

from omniflow_cli.app import main

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "hub.md").read_text(encoding="utf-8")

#: What makes a command short enough for a test without changing what it is about.
SHORTER = {
    "train": [
        "--max-steps", "1", "--batch-size", "2", "--set", "training.eval_batches=1",
        "--set", "training.samples=0", "--device", "cpu",
    ],
    "generate": ["--limit", "2", "--max-new-tokens", "8", "--device", "cpu"],
}  # fmt: skip


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_page_is_true(uploads, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMNIFLOW_ENABLE_PLUGINS", "")
    [commands] = blocks("bash")
    for line in commands.splitlines():
        program, *words = shlex.split(line, comments=True)
        assert program == "omniflow"
        assert main([*words, *SHORTER.get(words[0], [])]) == 0, f"{line}\n{capsys.readouterr().err}"
    card = (uploads.hub.folder("acme/first") / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert "| bleu |" in card

    scope = {}
    for snippet in blocks("python"):
        exec(compile(snippet, "docs/hub.md", "exec"), scope)
    assert uploads.hub.private.keys() == {"acme/second"}
    assert Path("models/again/model.safetensors").read_bytes() == (
        Path("models/first/model.safetensors").read_bytes()
    )

    # The card's own snippets are true as well.
    code = re.search(r"^```python\n(.*?)^```", card, flags=re.MULTILINE | re.DOTALL)
    exec(compile(code[1], "README.md", "exec"), {})


def test_every_file_that_the_page_points_at_exists():
    for link in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", PAGE):
        assert (DOCS / link).exists(), link
