"""The scripts that the documents name start, and their smallest run works."""

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPTS = Path(__file__).parents[2] / "scripts"


def run(script, *arguments, stdin=""):
    return subprocess.run(
        [sys.executable, str(SCRIPTS / script), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "script",
    [
        "make_tiny.py",
        "bench/any_to_any.py",
        "bench/dataset_size.py",
        "bench/generation_speed.py",
        "bench/heads_and_refiners.py",
        "bench/loop_overhead.py",
        "bench/processes.py",
        "bench/quantiser.py",
        "bench/quantiser_speed.py",
        "bench/training_step.py",
        "samples_picture.py",
        "terminal_picture.py",
    ],
)
def test_every_script_explains_itself(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    monkeypatch.syspath_prepend(str((SCRIPTS / script).parent))
    with pytest.raises(SystemExit, match="^0$"):
        runpy.run_path(str(SCRIPTS / script), run_name="__main__")
    assert "usage:" in capsys.readouterr().out


def test_the_picture_holds_what_the_command_printed(tmp_path):
    done = run("terminal_picture.py", "make demo", str(tmp_path / "a.svg"), stdin="bleu  0.99\n")
    assert done.returncode == 0, done.stderr
    picture = (tmp_path / "a.svg").read_text(encoding="utf-8").replace("&#160;", " ")
    assert "$ make demo" in picture
    assert "bleu  0.99" in picture


def test_the_picture_of_samples_has_a_row_for_each_task(tmp_path, monkeypatch):
    picture = str(tmp_path / "samples.png")
    script = SCRIPTS / "samples_picture.py"
    words = [str(script), picture, "--samples", "1", "--steps", "2"]
    monkeypatch.setattr(sys, "argv", words)
    runpy.run_path(str(script), run_name="__main__")
    with Image.open(picture) as picture:
        # Three rows of what is given, and nine tasks.
        assert picture.height == 4 * (96 + 8) + 4 * (64 + 8) + 4 * (78 + 8)
        assert np.asarray(picture.convert("L")).std() > 10
