"""`omniflow demo`: what is refused before anything is served."""

import socket
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


def test_an_address_that_cannot_be_had_is_told_before_a_model_is_read(omniflow, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for place in (["--host", "192.0.2.1"], ["--host="], ["--port", taken.getsockname()[1]]):
            outcome = omniflow("demo", "--backbone", tmp_path / "none", *place)
            assert outcome.code == 2
            assert outcome.err.startswith("error: nothing can be served at"), outcome.err
            assert "an address of this computer, such as 127.0.0.1" in outcome.err


def test_without_gradio_it_says_what_to_install(omniflow, monkeypatch, random_backbone):
    # As if it were not installed.
    monkeypatch.setitem(sys.modules, "gradio", None)
    outcome = omniflow("demo", "--backbone", random_backbone)
    assert outcome.code == 2
    assert "the page needs the package gradio, which is not installed" in outcome.err
    assert 'pip install "omniflow-zoo[demo]"' in outcome.err
