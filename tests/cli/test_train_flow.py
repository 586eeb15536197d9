"""`omniflow train --objective flow` as a command of its own."""

import json
import shutil

import pytest
from safetensors.torch import load_file

from omniflow import load


@pytest.fixture(scope="session")
def whole_backbone(random_backbone, parity_data, tmp_path_factory):
    """The random backbone with the encoders and the audio VAE that it lacks."""
    folder = tmp_path_factory.mktemp("whole") / "backbone"
    shutil.copytree(random_backbone, folder)
    external = parity_data / "pipeline_tiny" / "external"
    shutil.copytree(external / "clip_vit_l", folder / "text_encoder")
    shutil.copytree(external / "languagebind_audio", folder / "audio_encoder")
    shutil.copytree(external / "audioldm2" / "vae", folder / "audio_vae")
    return folder


SMALL = [
    "--objective", "flow", "--max-steps", "2", "--batch-size", "2", "--device", "cpu",
    "--set", "dataset.size=20", "--set", "training.eval_batches=1", "--set", "training.samples=0",
    "--output-dir", "run",
]  # fmt: skip


def test_it_goes_on_training_the_transformer_on_every_modality(omniflow, whole_backbone, tmp_path):
    done = omniflow("train", "--backbone", whole_backbone, *SMALL, "--log-interval", "1", "--json")
    outcome = json.loads(done.out)
    assert outcome["steps"] == 2
    assert {"loss", "image", "text", "audio", "it2a_audio"} <= outcome["last"].keys()
    assert "head linear, refiner none, backbone folder" in done.err
    saved = load_file(tmp_path / "run/final/model.safetensors")
    assert {name.split(".")[0] for name in saved} == {"transformer", "head"}
    recipe = (tmp_path / "run/recipe.yaml").read_text()
    assert "ema_decay: 0.999" in recipe


def test_a_configuration_starts_a_transformer_of_its_own(omniflow, whole_backbone, tmp_path):
    config = json.loads((whole_backbone / "transformer/config.json").read_text())
    (tmp_path / "mine.json").write_text(json.dumps({**config, "num_layers": 1}))
    tasks = ["--set", "objective.tasks=[t2i, i2t]", "--ema-decay", "0"]
    outcome = omniflow(
        "train", "--backbone", whole_backbone, "--backbone-config", "mine.json", *SMALL, *tasks
    )
    assert outcome.code == 0, outcome.err
    assert "validation loss" in outcome.out
    (tmp_path / "mine.json").unlink()
    model = load(tmp_path / "run")
    assert len(model.backbone.transformer.transformer_blocks) == 1


def test_the_folder_is_named_after_the_objective(omniflow, whole_backbone, tmp_path):
    few = [argument for argument in SMALL if argument not in ("--output-dir", "run")]
    tasks = ["--set", "objective.tasks=[t2t]"]
    assert omniflow("train", "--backbone", whole_backbone, *few, *tasks).code == 0
    assert (tmp_path / "runs/flow/final/model.safetensors").is_file()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "--backbone-config: mine.json: there is no such file"),
        ("[", "--backbone-config: mine.json: not readable as JSON"),
        ("[1]", "--backbone-config: mine.json holds a list, expected a JSON object"),
        ('{"num_layers": 0}', "num_layers is 0"),
    ],
)
def test_a_configuration_that_is_none_is_refused(
    omniflow, whole_backbone, tmp_path, content, message
):
    if content is not None:
        (tmp_path / "mine.json").write_text(content)
    outcome = omniflow(
        "train", "--backbone", whole_backbone, "--backbone-config", "mine.json", *SMALL
    )
    assert outcome.code == 2
    assert message in outcome.err
    assert not (tmp_path / "run").exists()
