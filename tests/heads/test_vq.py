"""The VQ head: codes, loss, use of its codebook."""

import pytest
import torch
import torch.nn.functional as F

from omniflow.heads.vq import VQHead
from omniflow.models.quantiser import code_perplexity


def small(**options):
    return VQHead(feature_dim=12, latent_dim=6, hidden_dim=16, **{"codebook_size": 20, **options})


def test_latents_are_the_entries_that_the_codes_name():
    torch.manual_seed(0)
    head = small().eval()
    output = head(torch.randn(3, 5, 12))
    assert output.codes.shape == (3, 5)
    assert output.codes.dtype == torch.long
    assert torch.equal(output.latents, head.quantiser.codebook[output.codes])


def test_the_loss_is_named_vq_and_weighted_by_the_commitment():
    torch.manual_seed(0)
    head = small(commitment_weight=0.7).eval()
    features = torch.randn(3, 5, 12)
    output = head(features)
    expected = 0.7 * F.mse_loss(head.layers(features), output.latents)
    assert list(output.losses) == ["vq"]
    torch.testing.assert_close(output.losses["vq"], expected)


def test_the_codebook_is_saved_but_not_trained():
    head = small()
    assert "quantiser.codebook" in head.state_dict()
    assert not any(name.startswith("quantiser") for name, _ in head.named_parameters())


def test_defaults_are_those_of_the_original_experiments():
    head = VQHead(feature_dim=12, latent_dim=64)
    assert head.codebook_size == 8192
    assert head.quantiser.codebook.shape == (8192, 64)
    assert head.quantiser.commitment_weight == 0.25
    assert head.layers[0].out_features == 4096


def test_autocast_to_bfloat16_leaves_codebook_and_loss_in_float32():
    torch.manual_seed(0)
    head = small()
    with torch.autocast("cpu", torch.bfloat16):
        output = head(torch.randn(3, 5, 12))
    assert output.latents.dtype == torch.float32
    assert output.losses["vq"].dtype == torch.float32
    codebook = head.quantiser.codebook
    # Entries that bfloat16 cannot hold: nothing on the way was rounded to it.
    assert not torch.equal(codebook, codebook.bfloat16().float())


def test_a_head_cast_to_bfloat16_keeps_its_codebook_exact():
    head = small()
    before = head.quantiser.codebook.clone()
    head.bfloat16()
    assert head.layers[0].weight.dtype == torch.bfloat16
    assert torch.equal(head.quantiser.codebook, before)


@pytest.mark.parametrize("gradient", ["rotation", "straight-through"])
def test_it_does_not_collapse_on_clustered_latents(gradient):
    torch.manual_seed(0)
    clusters, size = 24, 32
    features, latents = torch.randn(clusters, 12), 2.0 * torch.randn(clusters, 6)
    head = VQHead(
        feature_dim=12, latent_dim=6, hidden_dim=64, codebook_size=size, gradient=gradient
    )
    optimiser = torch.optim.AdamW(head.parameters(), lr=3e-3)
    for _ in range(200):
        drawn = torch.randint(clusters, (8, 16))
        output = head(features[drawn] + 0.05 * torch.randn(8, 16, 12))
        loss = F.mse_loss(output.latents, latents[drawn]) + output.losses["vq"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    statistics = head.statistics()
    assert statistics["code_perplexity"] > 0.6 * clusters
    assert statistics["dead_codes"] <= size - 0.6 * clusters
    output = head.eval()(features[None])
    assert code_perplexity(output.codes, size) > 0.6 * clusters
    # A collapsed head would answer with the mean, at the variance of the latents.
    assert F.mse_loss(output.latents[0], latents) < 0.25 * latents.var()
