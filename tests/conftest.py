"""Fixtures that several folders share: small real objects, nothing patched."""

import os
import shutil
from pathlib import Path

# Read by Hugging Face libraries at import: tests never reach for the network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest

DATA = Path(__file__).parent / "parity" / "data"


@pytest.fixture(scope="session")
def parity_data():
    """The folder of the golden data."""
    return DATA


@pytest.fixture(scope="session")
def random_backbone(tmp_path_factory):
    """A folder in the published layout with tiny random weights, its T5 included."""
    folder = tmp_path_factory.mktemp("backbone") / "random"
    shutil.copytree(DATA / "pipeline_tiny" / "checkpoint", folder)
    for name in ("tokenizer_3", "text_encoder_3"):
        shutil.copytree(DATA / "pipeline_tiny" / "external" / "flan_t5", folder / name)
    return folder


@pytest.fixture
def registry():
    """The built-in components alone, in a registry of the test's own."""
    from omniflow.plugins import load_plugins

    return load_plugins().registry
