"""Gradient checkpointing: the same run to the last bit, with less kept in memory."""

import pytest
import torch

import omniflow.training.trial
from omniflow.assembly import assemble, assemble_shapes, construct_component
from omniflow.draft import Draft
from omniflow.errors import ConfigError
from omniflow.interfaces.recomputing import Recomputing
from omniflow.resolve import resolve
from omniflow.training.recomputing import recompute_activations
from omniflow.training.splits import open_datasets
from omniflow.training.trainer import train
from omniflow.training.trial import Trial


@pytest.mark.parametrize("objective", ["text-decoder", "flow"])
def test_a_run_is_the_same_to_the_last_bit(short_recipe, runs, small_registry, tmp_path, objective):
    for name in (True, False):
        recipe = short_recipe(objective, gradient_checkpointing=name)
        train(recipe, output_dir=tmp_path / str(name), registry=small_registry)
    # The codebook, which learns in the forward pass, is among the tensors.
    runs.assert_same(tmp_path / "True", tmp_path / "False")


def trial_of(recipe, registry, model):
    objective = construct_component(registry, "objective", recipe.objective)
    train_set, validation = (
        open_datasets(recipe, registry, split, objective.modalities)
        for split in ("train", "validation")
    )
    return Trial(model, objective, recipe.training, train_set, validation)


def test_a_step_holds_less(short_recipe, small_registry):
    held = {}
    for recomputes in (False, True):
        recipe = short_recipe("flow", gradient_checkpointing=recomputes, batch_size=8)
        model = assemble(recipe, small_registry, device=torch.device("cpu"))
        trial = trial_of(recipe, small_registry, model)
        held[recomputes] = trial.measured_step().activations
    # Of two blocks, one at a time.
    assert held[True] < 0.8 * held[False]


def test_what_a_card_would_hold_is_less_in_half_precision_too(registry, monkeypatch):
    # There is one task to draw.
    monkeypatch.setattr(omniflow.training.trial, "META_STEPS", 1)
    held = {}
    for recomputes in (False, True):
        said = {
            "objective": {"name": "flow", "tasks": ["t2i"]},
            "dataset": {"name": "scenes", "size": 12},
            "training": {"batch_size": 2, "gradient_checkpointing": recomputes},
        }
        recipe = resolve(Draft.from_mapping(said), registry)
        trial = trial_of(recipe, registry, assemble_shapes(recipe, registry))
        held[recomputes] = trial.shapes_of_steps("bf16").activations
    assert held[True] < 0.8 * held[False]


def test_a_model_without_anything_to_recompute_is_refused(short_recipe, small_registry):
    model = assemble(short_recipe(), small_registry, device=torch.device("cpu"))
    model.backbone.transformer = torch.nn.Linear(1, 1)
    with pytest.raises(ConfigError, match="backbone small has nothing that can recompute"):
        recompute_activations(model)


def test_a_published_model_recomputes_its_transformer_and_its_text_decoder(
    random_backbone, registry
):
    model = omniflow.build(backbone={"name": "folder", "path": str(random_backbone)}, head="mlp")
    recompute_activations(model)
    assert model.backbone.transformer.gradient_checkpointing
    vae = model.backbone.text_vae
    assert isinstance(vae, Recomputing)

    def gradient():
        kept = []
        torch.manual_seed(0)
        latents = torch.randn(2, vae.latent_tokens, vae.latent_dim, requires_grad=True)
        ids = torch.randint(3, 20, (2, 7))
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: kept.append(tensor.nbytes) or tensor, lambda tensor: tensor
        ):
            loss = vae.decode_hidden(latents, ids).square().mean()
        loss.backward()
        return loss, latents.grad, sum(kept)

    loss, slope, kept = gradient()
    vae.gradient_checkpointing = False
    plain_loss, plain_slope, plain_kept = gradient()
    assert torch.equal(loss, plain_loss)
    assert torch.equal(slope, plain_slope)
    assert kept < 0.5 * plain_kept
    assert "forward" not in vars(vae.model.layers[0])
