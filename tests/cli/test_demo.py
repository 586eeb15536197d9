"""`omniflow demo`: what is refused before anything is served."""

import sys

import pytest


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--port", "http"], "error: --port: port is 'http', expected a whole number from 1 to"),
        (["--port", "65536"], "error: --port: port is '65536', expected"),
        (["--backbone", "tny"], "error: --backbone: no backbone is called 'tny'"),
        (["--checkpoint", "none"], "error: --checkpoint none: there is no such folder"),
        (["--device", "tpu"], "error: --device: training.device is 'tpu'"),
    ],
)
def test_mistakes_are_told_in_one_message(omniflow, arguments, told):
    outcome = omniflow("demo", *arguments)
    assert outcome.code == 2
    assert outcome.err.startswith(told), outcome.err
    assert "Traceback" not in outcome.err


def test_without_gradio_it_says_what_to_install(omniflow, monkeypatch, random_backbone):
    # As if it were not installed.
    monkeypatch.setitem(sys.modules, "gradio", None)
    outcome = omniflow("demo", "--backbone", random_backbone)
    assert outcome.code == 2
    assert "the page needs the package gradio, which is not installed" in outcome.err
    assert 'pip install "omniflow-zoo[demo]"' in outcome.err
