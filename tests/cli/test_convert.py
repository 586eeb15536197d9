"""`omniflow convert`: whole commands."""

import json
import re
import shlex
from pathlib import Path

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
        (["best_step1000.pt", "out"], "error: best_step1000.pt: there is no such file"),
        (
            ["{checkpoint}", "out", "--without-refiner"],
            "error: --without-refiner: has no use here, expected it beside a checkpoint of the",
        ),
        (
            ["{checkpoint}/vae/config.json", "out", "--ema"],
            "error: --ema: has no use here, expected it beside a folder in the published layout",
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


@pytest.fixture(scope="module")
def research_checkpoint(random_backbone, tmp_path_factory):
    """A head without hidden secrets, as the research script saves one."""
    vae = json.loads((random_backbone / "text_vae/config.json").read_text())["vae_config"]
    width = vae["vae_dim"]
    layers = torch.nn.Sequential(
        torch.nn.Linear(width, 8), torch.nn.LayerNorm(8), torch.nn.GELU(), torch.nn.Dropout(0.1),
        torch.nn.Linear(8, width), torch.nn.LayerNorm(width),
    )  # fmt: skip
    head = {f"upsampler.{name}": tensor for name, tensor in layers.state_dict().items()}
    file = tmp_path_factory.mktemp("research") / "best_step1000.pt"
    torch.save({"global_step": 1000, "text_decoder_head": head, "optimizer": {}}, file)
    return file


def test_a_research_checkpoint_becomes_a_model_that_generates(
    omniflow, research_checkpoint, random_backbone, tmp_path
):
    # As docs/published-models.md has it.
    page = (Path(__file__).parents[2] / "docs/published-models.md").read_text(encoding="utf-8")
    documented = re.search(r"^omniflow (convert best_step1000.pt .+)$", page, re.MULTILINE)[1]
    (tmp_path / "OmniFlow-v0.5").symlink_to(random_backbone)
    (tmp_path / "best_step1000.pt").symlink_to(research_checkpoint)
    outcome = omniflow(*shlex.split(documented))
    assert outcome.code == 0, outcome.err
    lines = [line.split(maxsplit=1) for line in outcome.out.splitlines()]
    assert lines[0][0] == "head"
    assert "norm-mlp hidden_dim=8 layers=2" in lines[0][1]
    assert ["left", "out  optimizer"] in lines
    assert "my-head: 328 parameters of step 1000" in outcome.err
    made = omniflow(
        "sample", "--task", "t2t", "--prompt", "a red circle", "--checkpoint", "my-head",
        "--steps", "1", "--set", "sampling.max_new_tokens=2", "--output", "text.txt",
    )  # fmt: skip
    assert made.code == 0, made.err
    assert (tmp_path / "text.txt").exists()


def test_the_backbone_of_a_research_checkpoint_is_omniflow_v05_by_default(
    omniflow, research_checkpoint, tmp_path
):
    outcome = omniflow("convert", research_checkpoint, "my-head")
    assert outcome.code == 2
    assert "jacklishufan/OmniFlow-v0.5" in outcome.err
    refused = omniflow("convert", research_checkpoint, "my-head", "--backbone", "tny")
    assert refused.code == 2
    assert refused.err.startswith("error: --backbone: no backbone is called 'tny'")
    assert "did you mean: tiny" in refused.err
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
