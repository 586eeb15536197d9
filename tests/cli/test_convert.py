"""`omniflow convert`: whole commands."""

import json

import pytest
import torch
from safetensors.torch import load_file

WEIGHTS = "transformer/diffusion_pytorch_model"


@pytest.fixture
def checkpoint(parity_data):
    return parity_data / "pipeline_tiny" / "checkpoint"


def test_a_published_folder_becomes_safetensors(omniflow, checkpoint, tmp_path):
    outcome = omniflow("convert", checkpoint, "out")
    assert outcome.code == 0
    lines = [line.split() for line in outcome.out.splitlines()]
    assert lines[0] == ["converted", f"{WEIGHTS}.safetensors"]
    assert ["copied", "vae/config.json"] in lines
    assert "out: 1.5 MB" in outcome.err
    found = load_file(tmp_path / "out" / f"{WEIGHTS}.safetensors")
    expected = torch.load(checkpoint / f"{WEIGHTS}.bin", weights_only=True)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_json_and_precision(omniflow, checkpoint, tmp_path):
    outcome = omniflow("convert", checkpoint, "out", "--dtype", "bf16", "--json")
    assert outcome.code == 0
    told = json.loads(outcome.out)
    assert told["folder"] == "out"
    assert told["converted"] == [f"{WEIGHTS}.safetensors"]
    files = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert len(files) == len(told["converted"] + told["copied"])
    found = load_file(tmp_path / "out" / f"{WEIGHTS}.safetensors")
    assert {tensor.dtype for tensor in found.values()} == {torch.bfloat16}


def test_averages_that_are_not_there_are_told(omniflow, random_backbone, tmp_path):
    outcome = omniflow("convert", random_backbone, "out", "--ema")
    assert outcome.code == 2
    assert "there are no averaged weights" in outcome.err
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(omniflow, checkpoint, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("not to be lost")
    outcome = omniflow("convert", checkpoint, "out")
    assert outcome.code == 2
    assert outcome.err.startswith("error: out: is not empty, expected a new folder")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere", "out"], "error: nowhere: there is no such folder"),
        ([".", "out"], "error: .: not a model in the published layout"),
        (["nowhere"], "missing argument 'OUT'"),
        (
            ["{checkpoint}", "out", "--dtype", "fp8"],
            "error: --dtype: dtype is 'fp8', expected fp32",
        ),
    ],
)
def test_mistakes_are_told_in_one_message(omniflow, checkpoint, tmp_path, arguments, told):
    filled = [argument.replace("{checkpoint}", str(checkpoint)) for argument in arguments]
    outcome = omniflow("convert", *filled)
    assert outcome.code == 2
    assert told in outcome.err
    assert "Traceback" not in outcome.err
    assert not list(tmp_path.iterdir())


def test_help_has_examples_and_needs_no_torch(command):
    script = "import sys; from omniflow_cli.app import main; main(['convert', '--help']); "
    outcome = command("convert", "--help")
    assert "omniflow convert OmniFlow-v0.5 OmniFlow-v0.5-safetensors" in outcome.stdout
    import subprocess
    import sys

    checked = subprocess.run(
        [sys.executable, "-c", script + "sys.exit('torch' in sys.modules)"],
        capture_output=True,
        check=False,
    )
    assert checked.returncode == 0
