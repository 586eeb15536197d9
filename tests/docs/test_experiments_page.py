"""Every command of docs/experiments.md is run, shortened, and its table of recipes is the list."""

import re
import shlex
from pathlib import Path

from omniflow.draft import Draft
from omniflow.plugins import load_plugins
from omniflow.recipe import shipped_recipes
from omniflow.resolve import resolve
from omniflow_cli.app import main

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "experiments.md").read_text(encoding="utf-8")

#: What makes an experiment short enough for a test without changing what it is about.
SHORTER = [
    "--seeds", "1", "--max-steps", "1", "--batch-size", "2", "--max-length", "16", "--limit", "2",
    "--steps", "1", "--set", "dataset.size=8", "--set", "training.eval_batches=1", "--jobs", "1",
    "--set", "head.hidden_dim=8", "--device", "cpu", "--metrics", "rouge", "--resamples", "40",
]  # fmt: skip


def test_every_command_works_in_its_order(tmp_path, monkeypatch, capsys, random_backbone):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMNIFLOW_ENABLE_PLUGINS", "")
    [block] = re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    commands = [shlex.split(line)[1:] for line in block.splitlines()]
    assert len(commands) == 5
    for words in commands:
        is_experiment = words[0] == "experiment"
        more = [*SHORTER, "--backbone", str(random_backbone)] if is_experiment else []
        shortened = [word.replace("seed-0", "seed-1") for word in words]
        assert main([*shortened, *more]) == 0, f"{words}\n{capsys.readouterr().err}"
    for folder in ("four", "codes"):
        text = Path("experiments", folder, "results.md").read_text()
        assert "vq less baseline" in text
    assert "at noise level 0.75" in text
    assert Path("two.html").is_file()


def test_the_recipes_are_those_that_are_shipped():
    table = PAGE.split("| recipe | head | refiner | |", 1)[1].split("\n\n", 1)[0]
    rows = re.findall(r"^\| `(\S+)`.*? \| (\S.*?) \| (\S.*?) \|", table, flags=re.MULTILINE)
    assert {name for name, *_ in rows} == {
        name for name in shipped_recipes() if not name.startswith("tiny-")
    } | {"tiny-baseline"}
    registry = load_plugins().registry
    for name, head, refiner in rows:
        recipe = resolve(Draft.from_file(name), registry)
        if not name.startswith("tiny-"):
            assert (f"`{recipe.head.name}`", f"`{recipe.refiner.name}`") == (head, refiner)


def test_every_file_that_the_page_points_at_exists():
    for link in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", PAGE):
        assert (DOCS / link).exists(), link
