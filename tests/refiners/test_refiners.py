"""The built-in refiners."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from omniflow.errors import ConfigError
from omniflow.refiners.mlp import MLPRefiner
from omniflow.refiners.none import NoRefiner
from omniflow.refiners.norm_mlp import NormMLPRefiner


def trained(refiner, optimiser, steps=3):
    for _ in range(steps):
        latents = torch.randn(2, 5, 6)
        loss = F.mse_loss(refiner(latents), latents.sin())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def test_no_refiner_returns_what_it_gets():
    refiner = NoRefiner(latent_dim=6)
    latents = torch.randn(2, 5, 6)
    assert refiner(latents) is latents
    assert list(refiner.parameters()) == []


@pytest.mark.parametrize("layers", [2, 3, 4])
def test_the_mlp_refiner_starts_as_the_identity(layers):
    latents = torch.randn(2, 5, 6)
    assert torch.equal(MLPRefiner(latent_dim=6, layers=layers)(latents), latents)


def test_the_mlp_refiner_has_the_size_that_it_says():
    assert sum(p.numel() for p in MLPRefiner(latent_dim=64).parameters()) == 49_728
    assert "49 728" in MLPRefiner.__doc__


def test_the_mlp_refiner_computes_its_formula():
    torch.manual_seed(0)
    refiner = MLPRefiner(latent_dim=6, hidden_dim=8)
    trained(refiner, torch.optim.SGD(refiner.parameters(), lr=0.5))
    latents = torch.randn(2, 5, 6)
    gate = latents @ refiner.gate_and_up.weight[:8].T + refiner.gate_and_up.bias[:8]
    up = latents @ refiner.gate_and_up.weight[8:].T + refiner.gate_and_up.bias[8:]
    hidden = gate * torch.sigmoid(gate) * up
    expected = latents + hidden @ refiner.down.weight.T + refiner.down.bias
    assert not torch.equal(expected, latents)
    torch.testing.assert_close(refiner(latents), expected)


@pytest.mark.parametrize("layers", [2, 3])
def test_gradients_reach_every_parameter_after_the_first_step(layers):
    torch.manual_seed(0)
    refiner = MLPRefiner(latent_dim=6, hidden_dim=8, layers=layers)
    # The zeros of the last layer keep gradients from those before it until it has moved.
    trained(refiner, torch.optim.SGD(refiner.parameters(), lr=0.1), steps=1)
    F.mse_loss(refiner(torch.randn(2, 5, 6)), torch.zeros(2, 5, 6)).backward()
    for name, parameter in refiner.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_the_mlp_refiner_treats_positions_alike():
    torch.manual_seed(0)
    refiner = MLPRefiner(latent_dim=6, hidden_dim=8)
    trained(refiner, torch.optim.SGD(refiner.parameters(), lr=0.5))
    latents = torch.randn(2, 5, 6)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(refiner(latents[:, order]), refiner(latents)[:, order])


def test_the_mlp_refiner_learns_a_correction():
    torch.manual_seed(0)
    refiner = MLPRefiner(latent_dim=6, hidden_dim=32)
    latents = torch.randn(8, 5, 6)
    before = F.mse_loss(refiner(latents), latents.sin())
    trained(refiner, torch.optim.AdamW(refiner.parameters(), lr=1e-2), steps=200)
    assert F.mse_loss(refiner(latents), latents.sin()) < 0.4 * before


def test_a_saved_refiner_gives_identical_latents(tmp_path):
    refiner = MLPRefiner(latent_dim=6, hidden_dim=8, layers=3)
    trained(refiner, torch.optim.SGD(refiner.parameters(), lr=0.5))
    save_file(refiner.state_dict(), tmp_path / "refiner.safetensors")
    loaded = MLPRefiner(latent_dim=6, hidden_dim=8, layers=3)
    loaded.load_state_dict(load_file(tmp_path / "refiner.safetensors"))
    latents = torch.randn(2, 5, 6)
    assert torch.equal(loaded(latents), refiner(latents))


def test_the_refiner_with_norms_computes_its_formula():
    torch.manual_seed(0)
    refiner = NormMLPRefiner(latent_dim=6, hidden_dim=8).eval()
    for parameter in refiner.parameters():
        torch.nn.init.normal_(parameter)
    first, first_norm, _, _, last, last_norm = refiner.perceptron.layers
    latents = torch.randn(2, 5, 6)
    hidden = F.gelu(F.layer_norm(first(latents), (8,), first_norm.weight, first_norm.bias))
    correction = F.layer_norm(last(hidden), (6,), last_norm.weight, last_norm.bias)
    torch.testing.assert_close(refiner(latents), latents + correction)
    assert not torch.equal(refiner.train()(latents), refiner.eval()(latents))


@pytest.mark.parametrize("refiner", [NoRefiner, MLPRefiner, NormMLPRefiner])
def test_a_refiner_runs_without_reading_values(refiner):
    latents = torch.randn(2, 5, 6, device="meta", requires_grad=True)
    refiner(latent_dim=6).to("meta")(latents).sum().backward()
    assert latents.grad.shape == latents.shape


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"hidden_dim": 0}, "hidden_dim is 0, expected a whole number >= 1"),
        ({"layers": 1}, "layers is 1, expected a whole number >= 2"),
    ],
)
def test_options_out_of_range_are_refused(options, expected):
    with pytest.raises(ConfigError, match=expected):
        MLPRefiner(latent_dim=6, **options)
