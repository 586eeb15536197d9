"""Every command and snippet of the README is run, in its order, in an empty folder."""

import re
import shlex
from pathlib import Path

import pytest

from omniflow_cli.app import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXPERIMENTS = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")

#: What makes a command short enough for a test without changing what it is about.
SHORTER = {
    "train": ["--max-steps", "2", "--batch-size", "4", "--set", "training.eval_batches=1"],
    "generate": ["--limit", "4", "--steps", "2"],
    "sample": ["--steps", "2", "--set", "sampling.max_new_tokens=8"],
}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands():
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]


def shortened(command):
    words = shlex.split(command)
    return [*words, *SHORTER.get(words[1], [])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reader")
    lines = [f"Sentence number {number} of a small book." for number in range(200)]
    (folder / "book.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_the_two_commands_are_targets_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [command.split()[1] for command in commands() if command.startswith("make ")]
    assert targets == ["demo", "test"]
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


def test_every_command_works_in_its_order(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OMNIFLOW_ENABLE_PLUGINS", "")
    ours = [command for command in commands() if command.startswith("omniflow ")]
    assert len(ours) >= 10
    # The experiment is that of the page, whose test carries it out.
    [experiment] = [command for command in ours if command.startswith("omniflow experiment ")]
    assert f"{experiment}\n" in EXPERIMENTS
    for command in ours:
        if command == experiment:
            continue
        words = shortened(command)
        assert main(words[1:]) == 0, f"{command}\n{capsys.readouterr().err}"
    for written in ("predictions.json", "eval_results.json", "from_noise.json"):
        assert (folder / written).stat().st_size > 0
    first, again = (
        folder / "runs" / name / "final/model.safetensors" for name in ("first", "again")
    )
    assert first.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("snippet", blocks("python"))
def test_every_python_snippet_runs(snippet, folder, monkeypatch):
    monkeypatch.chdir(folder)
    exec(compile(snippet, "README.md", "exec"), {})


def test_every_file_that_the_readme_points_at_exists():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_no_document_tells_to_install_the_unrelated_package():
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("src/**/*.md")]:
        for line in document.read_text(encoding="utf-8").splitlines():
            assert not re.search(r"pip install (-\S+ )*['\"]?omniflow['\"]?(\s|\[|=|>|$)", line), (
                line
            )
