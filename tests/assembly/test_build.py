import json
import shutil

import pytest
import torch
from safetensors import safe_open

import omniflow
from omniflow import build
from omniflow.errors import (
    CheckpointError,
    ConfigError,
    MistakesError,
    OmniFlowError,
    PluginError,
    UnknownNameError,
    UsageError,
)
from omniflow.interfaces import Head, HeadOutput
from omniflow.plugins import load_plugins
from omniflow.registry import Component, Origin


@pytest.fixture
def folder_backbone(random_backbone):
    return {"name": "folder", "path": str(random_backbone)}


@pytest.fixture
def small_vq(folder_backbone):
    return build(
        backbone=folder_backbone,
        head="vq",
        refiner="mlp",
        options={"head.codebook_size": 8, "head.hidden_dim": 16},
    )


def predictions(model):
    torch.manual_seed(5)
    latents = torch.randn(3, model.backbone.latent_tokens, model.backbone.latent_dim)
    with torch.no_grad():
        return model(latents, torch.tensor([0.0, 400.0, 1000.0])).latents


class TinyHead(Head):
    """A head of the test's own.

    Args:
        width: Anything.
    """

    def __init__(self, *, feature_dim: int, latent_dim: int, width: int = 3) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(feature_dim, latent_dim)

    def forward(self, features):
        return HeadOutput(latents=self.layer(features))


def test_a_saved_model_comes_back_bit_for_bit(small_vq, tmp_path):
    small_vq.save_pretrained(tmp_path / "model")
    loaded = omniflow.load(tmp_path / "model")
    assert torch.equal(predictions(loaded), predictions(small_vq))
    assert not loaded.training


def test_only_trained_parts_are_saved(small_vq, tmp_path):
    small_vq.save_pretrained(tmp_path / "model")
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as file:
        prefixes = {name.split(".")[0] for name in file.keys()}  # noqa: SIM118
    assert prefixes == {"head", "refiner"}
    trainable = sum(parameter.numel() for parameter in small_vq.trainable_parameters())
    assert trainable == small_vq.summary()["trainable"] > 0


def test_the_same_call_builds_the_same_model(folder_backbone):
    first, second = (build(backbone=folder_backbone, head="linear") for _ in range(2))
    assert torch.equal(predictions(first), predictions(second))


def test_building_leaves_the_global_random_state_alone(folder_backbone):
    torch.manual_seed(0)
    expected = torch.randn(3)
    torch.manual_seed(0)
    build(backbone=folder_backbone, head={"name": "mlp", "hidden_dim": 8})
    assert torch.equal(torch.randn(3), expected)


def test_the_linear_head_starts_as_the_backbones_own_projection(folder_backbone):
    for features in ("hidden", "x0"):
        model = build(backbone=folder_backbone, head={"name": "linear", "features": features})
        torch.manual_seed(5)
        latents = torch.randn(2, model.backbone.latent_tokens, model.backbone.latent_dim)
        timesteps = torch.tensor([100.0, 700.0])
        with torch.no_grad():
            own = model.backbone.text_features(latents, timesteps).x0
            torch.testing.assert_close(model(latents, timesteps).latents, own)


def test_another_latent_width_gets_a_projection_and_the_summary_says_so(folder_backbone):
    model = build(
        backbone=folder_backbone,
        head={"name": "mlp", "hidden_dim": 8, "latent_dim": 24},
        refiner="mlp",
    )
    assert predictions(model).shape[-1] == model.backbone.latent_dim == 16
    assert "projection" in model.summary()["notes"][0]
    assert model.projection.weight.shape == (16, 24)


def test_mistakes_are_found_before_any_weight_is_read(random_backbone, tmp_path):
    gutted = tmp_path / "gutted"
    shutil.copytree(random_backbone, gutted)
    weights = next((gutted / "transformer").glob("diffusion_pytorch_model*"))
    weights.write_bytes(b"not weights")
    with pytest.raises(ConfigError, match=r"head.codebook_size is 1"):
        build(
            backbone={"name": "folder", "path": str(gutted)},
            head="vq",
            options={"head.codebook_size": 1},
        )


def test_all_mistakes_are_reported_together():
    with pytest.raises(MistakesError) as caught:
        build(head="vqq", refiner="mlpp", options={"training.lr": "fast"})
    message = str(caught.value)
    for expected in ("'vqq'", "did you mean: vq", "'mlpp'", "option lr of training is 'fast'"):
        assert expected in message


def test_a_recipe_by_name_can_be_overridden(folder_backbone):
    model = build(
        "vq-plus-refiner",
        backbone=folder_backbone,
        options={"head.codebook_size": 4, "head.hidden_dim": 8},
    )
    assert model.head.codebook_size == 4
    assert model.features == "x0"
    assert model.parts.refiner.name == "mlp"


def test_unknown_options_suggest_the_nearest(folder_backbone):
    with pytest.raises(UnknownNameError, match="did you mean: codebook_size"):
        build(backbone=folder_backbone, head="vq", options={"head.codebok_size": 4})


def test_a_model_names_the_plugin_that_it_lacks(folder_backbone, tmp_path):
    registry = load_plugins().registry
    origin = Origin("omniflow-acme", "0.3")
    registry.add([Component("head", "acme", TinyHead, "A head", origin)])
    model = build(backbone=folder_backbone, head="acme", registry=registry)
    model.save_pretrained(tmp_path / "model")
    again = omniflow.load(tmp_path / "model", registry=registry)
    assert torch.equal(predictions(again), predictions(model))
    with pytest.raises(PluginError, match="pip install omniflow-acme==0.3"):
        omniflow.load(tmp_path / "model", registry=load_plugins().registry)


def test_a_class_that_is_no_head_is_refused(folder_backbone):
    registry = load_plugins().registry
    registry.add([Component("head", "odd", dict, "No head", Origin("omniflow-odd", "1"))])
    with pytest.raises(PluginError, match="a subclass of omniflow.interfaces.Head"):
        build(backbone=folder_backbone, head="odd", registry=registry)


@pytest.fixture
def saved(small_vq, tmp_path):
    small_vq.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def spoil_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "no model in this folder"),
        (lambda f: (f / "config.json").write_text("{"), "not readable as JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "not a model of ours"),
        (lambda f: spoil_config(f, format="other/1"), "its format is 'other/1'"),
        (lambda f: (f / "model.safetensors").unlink(), "there is no such file"),
        (
            lambda f: (f / "model.safetensors").write_bytes(
                (f / "model.safetensors").read_bytes()[:-64]
            ),
            "not a whole safetensors file",
        ),
        (lambda f: (f / "model.safetensors").write_bytes(b"hello"), "not a whole safetensors file"),
        (
            lambda f: spoil_config(f, backbone_identity={"id": "x", "hash": "0" * 64}),
            "it was trained on backbone x",
        ),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_words(saved, spoil, message):
    spoil(saved)
    with pytest.raises(CheckpointError, match=message):
        omniflow.load(saved)


def test_tensors_of_another_model_are_refused(saved, folder_backbone, tmp_path):
    other = build(backbone=folder_backbone, head={"name": "mlp", "hidden_dim": 8})
    other.save_pretrained(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", saved / "model.safetensors")
    with pytest.raises(CheckpointError, match="missing: head.quantiser"):
        omniflow.load(saved)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="there is no such folder"):
        omniflow.load(tmp_path / "nowhere")


def test_saving_never_takes_the_place_of_a_persons_folder(small_vq, tmp_path, monkeypatch):
    (tmp_path / "thesis.txt").write_text("years of work")
    monkeypatch.chdir(tmp_path)
    for place in ("", ".", "..", str(tmp_path)):
        with pytest.raises(UsageError):
            small_vq.save_pretrained(place)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("a")
    with pytest.raises(UsageError, match="holds other things than a model"):
        small_vq.save_pretrained("notes")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert (tmp_path / "notes" / "a.txt").read_text() == "a"
    small_vq.save_pretrained("model")
    small_vq.save_pretrained("model")


def test_weights_of_another_saving_are_refused(saved, small_vq, tmp_path):
    with torch.no_grad():
        small_vq.refiner.down.bias.add_(1)
    small_vq.save_pretrained(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", saved / "model.safetensors")
    with pytest.raises(CheckpointError, match="not those that config.json was written with"):
        omniflow.load(saved)


def test_a_head_of_another_shape_is_told_by_name(folder_backbone):
    class Short(TinyHead):
        def forward(self, features):
            return HeadOutput(latents=self.layer(features)[:, :1])

    registry = load_plugins().registry
    registry.add([Component("head", "short", Short, "Short", Origin("omniflow-short", "1"))])
    model = build(backbone=folder_backbone, head="short", registry=registry)
    with pytest.raises(OmniFlowError, match="head short returns latents of shape"):
        predictions(model)
