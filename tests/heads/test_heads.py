"""What every built-in head has in common."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file

from omniflow.errors import ConfigError
from omniflow.heads.linear import LinearHead
from omniflow.heads.mlp import MLPHead
from omniflow.heads.norm_mlp import NormMLPHead
from omniflow.heads.norm_vq import NormVQHead
from omniflow.heads.vq import VQHead

FEATURE_DIM, LATENT_DIM = 12, 6

MAKERS = {
    "linear": lambda: LinearHead(feature_dim=FEATURE_DIM, latent_dim=LATENT_DIM),
    "mlp": lambda: MLPHead(feature_dim=FEATURE_DIM, latent_dim=LATENT_DIM, hidden_dim=16),
    "mlp with dropout": lambda: MLPHead(
        feature_dim=FEATURE_DIM, latent_dim=LATENT_DIM, hidden_dim=16, dropout=0.5
    ),
    "vq": lambda: VQHead(
        feature_dim=FEATURE_DIM, latent_dim=LATENT_DIM, hidden_dim=16, codebook_size=20
    ),
    "vq by rotation": lambda: VQHead(
        feature_dim=FEATURE_DIM,
        latent_dim=LATENT_DIM,
        hidden_dim=16,
        codebook_size=20,
        gradient="rotation",
    ),
    "norm-mlp": lambda: NormMLPHead(
        feature_dim=FEATURE_DIM, latent_dim=LATENT_DIM, hidden_dim=16, layers=3
    ),
    "norm-vq": lambda: NormVQHead(
        feature_dim=FEATURE_DIM, latent_dim=LATENT_DIM, hidden_dim=16, codebook_size=20
    ),
}


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


def trained(head, optimiser, steps):
    for _ in range(steps):
        output = head(torch.randn(4, 5, FEATURE_DIM))
        loss = output.latents.square().mean() + sum(output.losses.values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def test_head_treats_positions_alike(make):
    torch.manual_seed(0)
    head = make().eval()
    features = torch.randn(2, 5, FEATURE_DIM)
    order = torch.tensor([3, 0, 4, 1, 2])
    expected = head(features).latents
    assert expected.shape == (2, 5, LATENT_DIM)
    torch.testing.assert_close(head(features[:, order]).latents, expected[:, order])


def test_head_names_the_losses_that_it_adds(make):
    head = make()
    assert set(head.loss_names) == head(torch.randn(2, 5, FEATURE_DIM)).losses.keys()


def test_gradients_reach_every_parameter(make):
    torch.manual_seed(0)
    head = make()
    output = head(torch.randn(4, 5, FEATURE_DIM))
    (output.latents * torch.randn_like(output.latents)).sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_evaluation_is_deterministic(make):
    head = make().eval()
    features = torch.randn(2, 5, FEATURE_DIM)
    assert torch.equal(head(features).latents, head(features).latents)


def test_head_runs_without_reading_values(make):
    head = make().to("meta")
    features = torch.randn(2, 5, FEATURE_DIM, device="meta", requires_grad=True)
    output = head(features)
    sum(output.losses.values(), output.latents.sum()).backward()
    assert features.grad.shape == features.shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_latents_have_the_dtype_that_the_head_has(make, dtype):
    head = make().to(dtype)
    assert head(torch.randn(2, 5, FEATURE_DIM, dtype=dtype)).latents.dtype == dtype


def test_saved_head_continues_bit_for_bit(make, tmp_path):
    torch.manual_seed(0)
    head = make()
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-2)
    trained(head, optimiser, 5)
    save_file(head.state_dict(), tmp_path / "head.safetensors")
    # A copy: `load_state_dict` would share the moments.
    optimiser_state = copy.deepcopy(optimiser.state_dict())
    resumed = make()
    resumed.load_state_dict(load_file(tmp_path / "head.safetensors"))
    features = torch.randn(2, 5, FEATURE_DIM)
    assert torch.equal(resumed.eval()(features).latents, head.eval()(features).latents)

    again = torch.optim.AdamW(resumed.parameters(), lr=1e-2)
    again.load_state_dict(optimiser_state)
    random_state = torch.get_rng_state()
    for one, steps_with in ((head, optimiser), (resumed, again)):
        torch.set_rng_state(random_state)
        trained(one.train(), steps_with, 5)
    for name, value in head.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize(
    ("head", "options", "expected"),
    [
        (MLPHead, {"hidden_dim": 0}, "hidden_dim is 0, expected a whole number >= 1"),
        (MLPHead, {"dropout": 1.0}, r"dropout is 1.0, expected a number in \[0, 1\)"),
        (MLPHead, {"dropout": -0.1}, r"dropout is -0.1, expected a number in \[0, 1\)"),
        (NormMLPHead, {"hidden_dim": 0}, "hidden_dim is 0, expected a whole number >= 1"),
        (NormMLPHead, {"layers": 1}, "layers is 1, expected a whole number >= 2"),
        (NormMLPHead, {"dropout": 1.0}, r"dropout is 1.0, expected a number in \[0, 1\)"),
        (NormVQHead, {"codebook_size": 1}, "codebook_size is 1, expected a whole number >= 2"),
        (VQHead, {"hidden_dim": 0}, "hidden_dim is 0, expected a whole number >= 1"),
        (VQHead, {"codebook_size": -4}, "codebook_size is -4, expected a whole number >= 2"),
        (VQHead, {"commitment_weight": -1.0}, "commitment_weight is -1.0, expected a number >= 0"),
        (VQHead, {"decay": 1.0}, r"decay is 1.0, expected a number in \[0, 1\)"),
        (VQHead, {"revive_after": -2.0}, "revive_after is -2.0, expected a number >= 0"),
        (VQHead, {"gradient": "none"}, "gradient is 'none', expected straight-through or rotation"),
    ],
)
def test_options_out_of_range_are_refused(head, options, expected):
    with pytest.raises(ConfigError, match=expected):
        head(feature_dim=FEATURE_DIM, latent_dim=LATENT_DIM, **options)
