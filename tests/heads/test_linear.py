"""The linear head starts where the backbone is."""

import pytest
import torch
from torch import nn

from omniflow.heads.linear import LinearHead


class Projecting(nn.Module):
    """As much of a backbone as the linear head looks at."""

    latent_dim = 6

    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.text_projection = nn.Linear(12, self.latent_dim).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_hidden_features_it_starts_as_the_backbones_projection(dtype):
    backbone = Projecting(dtype)
    head = LinearHead(feature_dim=12, latent_dim=6)
    head.initialise_from(backbone, "hidden")
    features = torch.randn(2, 5, 12)
    expected = backbone.text_projection.float()(features)
    assert torch.equal(head(features).latents, expected)
    assert head.projection.weight.requires_grad
    assert head.projection.weight.dtype == torch.float32


def test_training_it_leaves_the_backbone_alone():
    backbone = Projecting()
    head = LinearHead(feature_dim=12, latent_dim=6)
    head.initialise_from(backbone, "hidden")
    before = backbone.text_projection.weight.clone()
    with torch.no_grad():
        head.projection.weight.add_(1.0)
    assert torch.equal(backbone.text_projection.weight, before)


def test_on_x0_it_starts_as_the_identity():
    head = LinearHead(feature_dim=6, latent_dim=6)
    head.initialise_from(Projecting(), "x0")
    features = torch.randn(2, 5, 6)
    assert torch.equal(head(features).latents, features)


@pytest.mark.parametrize(("features", "feature_dim"), [("hidden", 12), ("x0", 6)])
def test_another_width_keeps_the_random_start(features, feature_dim):
    head = LinearHead(feature_dim=feature_dim, latent_dim=9)
    before = head.projection.weight.clone()
    head.initialise_from(Projecting(), features)
    assert torch.equal(head.projection.weight, before)


def test_it_has_no_codes_and_no_losses():
    output = LinearHead(feature_dim=12, latent_dim=6)(torch.randn(1, 2, 12))
    assert output.codes is None
    assert output.losses == {}
