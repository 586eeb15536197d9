import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omniflow.objectives.noise_coupling import coupled, matched


@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 10_000))
def test_matching_only_reorders_the_noise_of_each_sample(batch, tokens, seed):
    generator = torch.Generator().manual_seed(seed)
    clean, noise = torch.randn(2, batch, tokens, 4, generator=generator)
    paired = matched(noise, clean)
    for row in range(batch):
        rank = lambda tensor: tensor[tensor[:, 0].argsort()]  # noqa: E731
        assert torch.equal(rank(paired[row]), rank(noise[row]))


def test_each_token_finds_the_noise_that_points_its_way():
    clean = torch.eye(4)[None]
    shuffled = torch.eye(4)[torch.tensor([2, 0, 3, 1])][None]
    assert torch.equal(matched(shuffled, clean), clean)


def test_the_largest_product_is_paired_first():
    clean = torch.tensor([[[1.0, 0.0], [10.0, 0.0]]])
    noise = torch.tensor([[[3.0, 0.0], [1.0, 0.0]]])
    assert matched(noise, clean)[0, :, 0].tolist() == [1.0, 3.0]


def test_matched_noise_lies_nearer_and_independent_noise_does_not():
    torch.manual_seed(0)
    clean = torch.randn(64, 16, 64)
    products = {
        coupling: (coupled(torch.randn(64, 16, 64), clean, coupling) * clean).sum(-1).mean().item()
        for coupling in ("independent", "matched")
    }
    assert abs(products["independent"]) < 1
    assert products["matched"] > 8


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_latents_keep_their_type(dtype):
    clean = torch.randn(2, 3, 4).to(dtype)
    assert coupled(torch.randn(2, 3, 4), clean, "matched").dtype == dtype
