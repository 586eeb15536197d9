"""What help and lists cost: nothing heavy is imported for them."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "diffusers", "datasets", "evaluate", "accelerate", "numpy"}

SCRIPT = """
import sys
from omniflow_cli.app import main
code = main(sys.argv[1:])
print("imported:", *sorted({name.partition(".")[0] for name in sys.modules}))
sys.exit(code)
"""


def imported_by(*arguments, cwd=None):
    """The top-level modules that a command line leaves imported."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "train --help",
        "generate --help",
        "sample --help",
        "evaluate --help",
        "doctor --help",
        "list-components",
        "list-components --kind head --json",
        "list-recipes",
        "show recipe vq",
    ],
)
def test_help_and_lists_import_nothing_heavy(line):
    assert not imported_by(*line.split()) & HEAVY


@pytest.mark.parametrize("line", ["--help", "list-components"])
def test_the_quickest_commands_spare_pydantic_too(line):
    assert "pydantic" not in imported_by(*line.split())


def test_scoring_texts_needs_no_torch(tmp_path):
    predictions = tmp_path / "predictions.json"
    predictions.write_text('[{"id": "1", "prediction": "a b c d", "references": ["a b c d"]}]')
    imported = imported_by("evaluate", predictions, "--metrics", "bleu,rouge")
    assert not imported & {"torch", "transformers", "diffusers", "datasets", "evaluate"}


def test_a_wrong_name_is_told_without_importing_torch(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "train", "--recipe", "nothing"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2
    assert not set(done.stdout.split()) & HEAVY
