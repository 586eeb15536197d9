"""What is said of the Hub's refusals, and what is never shown."""

import pytest

from omniflow.errors import UsageError
from omniflow.hub_access import reaching_hub, without_secrets

TOKEN = "hf_thisIsNobodysTokenAtAll"


def test_tokens_and_passwords_are_not_shown(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    shown = without_secrets(f"Bearer {TOKEN} to https://me:secret@mirror.example/a@b failed")
    assert shown == "Bearer *** to https://***@mirror.example/a@b failed"


@pytest.mark.parametrize("is_offline", [False, True])
def test_a_failure_is_told_without_them_and_with_what_to_do(monkeypatch, is_offline):
    from huggingface_hub import constants

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "ENDPOINT", "http://me:secret@127.0.0.1:1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", is_offline)
    with pytest.raises(UsageError) as caught, reaching_hub("acme/a", None, kind="dataset"):
        raise OSError(f"no answer to {TOKEN}")
    told = str(caught.value)
    assert told.startswith("http://***@127.0.0.1:1: acme/a cannot be fetched (no answer to ***)")
    assert ("HF_HUB_OFFLINE is set" in told) == is_offline
    assert ("HF_ENDPOINT=URL asks a mirror" in told) != is_offline
