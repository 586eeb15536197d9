"""Exceptions to exit codes and messages."""

import json
import signal
import subprocess
import sys

import pytest

from omniflow.errors import ConfigError, TrainingError
from omniflow.training.interrupts import InterruptedRunError
from omniflow_cli.exits import exit_code_of


def raising(error):
    def action():
        raise error

    return action


def test_a_command_that_ends_well_is_0():
    assert exit_code_of(lambda: None) == 0


def test_a_mistake_is_2_and_rendered_in_full(capsys):
    error = ConfigError("lr", 2.0, expected="a number in (0, 1)", where="--lr", notes=["a note"])
    assert exit_code_of(raising(error)) == 2
    expected = "error: --lr: lr is 2.0, expected a number in (0, 1)\n  a note\n"
    assert capsys.readouterr().err == expected


def test_a_fault_of_the_run_is_1(capsys):
    assert exit_code_of(raising(TrainingError("loss is not finite at step 3"))) == 1
    assert capsys.readouterr().err == "error: loss is not finite at step 3\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_where_its_state_is(number, code, capsys):
    assert (
        exit_code_of(raising(InterruptedRunError(number, "runs/a/checkpoints/step-7", 7))) == code
    )
    told = capsys.readouterr().err
    assert "state saved in runs/a/checkpoints/step-7" in told
    assert "--resume auto" in told


def test_ctrl_c_is_130(capsys):
    assert exit_code_of(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_130_that_the_parser_returns_is_told_as_ctrl_c(capsys):
    assert exit_code_of(lambda: 130) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_anything_else_is_an_internal_fault_on_one_line(capsys):
    assert exit_code_of(raising(RuntimeError("no such\nmoon"))) == 1
    assert capsys.readouterr().err == (
        "error: internal fault: RuntimeError: no such moon "
        "(set OMNIFLOW_DEBUG=1 for the traceback)\n"
    )


def test_the_traceback_comes_when_asked_for(capsys, monkeypatch):
    monkeypatch.setenv("OMNIFLOW_DEBUG", "1")
    assert exit_code_of(raising(RuntimeError("no such moon"))) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_fault_is_json_too_when_asked_for(capsys):
    assert exit_code_of(raising(RuntimeError("no such moon")), as_json=True) == 1
    assert "RuntimeError" in json.loads(capsys.readouterr().out)["problem"]


@pytest.mark.parametrize("line", ["list-components", "train --help"])
def test_a_reader_that_leaves_early_is_no_fault(line):
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "omniflow_cli", *line.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0
