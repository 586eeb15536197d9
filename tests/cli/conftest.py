"""Whole commands in this process: `omniflow("train", "--head", "vq")` in an empty folder."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass

import pytest

from omniflow.plugins import installed_plugins
from omniflow_cli.app import main


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def built_ins_only(monkeypatch):
    """Whatever plugins are installed here, tests see the built-in components alone."""
    monkeypatch.setenv("OMNIFLOW_ENABLE_PLUGINS", "")
    monkeypatch.delenv("OMNIFLOW_DISABLE_PLUGINS", raising=False)
    monkeypatch.delenv("OMNIFLOW_DEBUG", raising=False)
    installed_plugins.cache_clear()
    yield
    installed_plugins.cache_clear()


@pytest.fixture
def omniflow(tmp_path, monkeypatch, capsys):
    """Run a command line in `tmp_path`, in this process."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def command(tmp_path):
    """Start a command line in `tmp_path`, in a process of its own."""

    def run(*arguments, check=True, **environment):
        return subprocess.run(
            [sys.executable, "-m", "omniflow_cli", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            check=check,
        )

    return run


@pytest.fixture(scope="session")
def small_head():
    """Flags that make training on `random_backbone` a matter of seconds."""
    return [
        "--head", "mlp", "--set", "head.hidden_dim=8", "--batch-size", "4", "--max-length", "16",
        "--set", "training.eval_batches=1", "--set", "training.samples=0",
        "--set", "dataset.size=40", "--device", "cpu",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def saved_model(random_backbone, tmp_path_factory):
    """A saved model with a small head on the random backbone."""
    from omniflow import build

    folder = tmp_path_factory.mktemp("saved") / "model"
    backbone = {"name": "folder", "path": str(random_backbone)}
    build(head="mlp", backbone=backbone, options={"head.hidden_dim": 8}).save_pretrained(folder)
    return folder


@pytest.fixture
def copied_model(saved_model, tmp_path):
    """A copy of the saved model that a test may damage."""
    shutil.copytree(saved_model, tmp_path / "model")
    return tmp_path / "model"
