import logging
import os
import warnings

import pytest

from omniflow_cli import logs

OURS = logging.getLogger("omniflow.somewhere")


@pytest.fixture
def told(capsys):
    def run(action, *, is_verbose=False):
        with logs.shown():
            logs.be_verbose(is_verbose)
            action()
        return capsys.readouterr().err.splitlines()

    return run


def test_a_warning_is_a_plain_line_and_told_once(told):
    assert told(lambda: [OURS.warning("%d lines cut", 3) for _ in range(2)]) == [
        "warning: 3 lines cut"
    ]


def test_information_waits_for_verbose(told):
    assert told(lambda: OURS.info("cached")) == []
    assert told(lambda: OURS.info("cached"), is_verbose=True) == ["info: cached"]
    assert told(lambda: OURS.info("cached")) == []


def test_warnings_of_other_libraries_wait_for_verbose(told):
    def complain():
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(False)
            logging.captureWarnings(True)
            warnings.warn("old function", stacklevel=1)

    assert told(complain) == []
    (line, *_) = told(complain, is_verbose=True)
    assert line.startswith("warning: ")
    assert "old function" in line


def test_what_a_person_has_set_stays(monkeypatch):
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "debug")
    monkeypatch.delenv("DIFFUSERS_VERBOSITY", raising=False)
    logs.quieten_libraries()
    assert os.environ["TRANSFORMERS_VERBOSITY"] == "debug"
    assert os.environ["DIFFUSERS_VERBOSITY"] == "error"
