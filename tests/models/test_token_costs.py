"""Costs of tokens in chunks, against the plain cross entropy of all logits."""

import pytest
import torch
import torch.nn.functional as F

from omniflow.models.token_costs import token_costs
from omniflow.training.live_bytes import LiveBytes


def inputs(targets=37, width=8, vocabulary=50, dtype=torch.float32):
    generator = torch.manual_seed(0)
    states = torch.randn(targets, width, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(vocabulary, width, generator=generator).to(dtype)
    return states, weight, torch.randint(vocabulary, (targets,), generator=generator)


def plain(states, weight, targets):
    logits = F.linear(states, weight).float()
    return F.cross_entropy(logits, targets, reduction="none"), logits.argmax(-1) == targets


@pytest.mark.parametrize("rows", [1, 5, 36, 37, 1000])
def test_costs_hits_and_gradients_are_those_of_all_logits(rows):
    states, weight, targets = inputs()
    weights = torch.rand(len(targets))
    expected, expected_hits = plain(states, weight, targets)
    (gradient,) = torch.autograd.grad((expected * weights).sum(), states)
    costs, hits = token_costs(states, weight, targets, held_logits=rows * len(weight))
    assert costs.dtype == torch.float32
    assert torch.equal(hits, expected_hits)
    # Sums in another order.
    torch.testing.assert_close(costs, expected, atol=1e-5, rtol=1e-5)
    (found,) = torch.autograd.grad((costs * weights).sum(), states)
    torch.testing.assert_close(found, gradient, atol=1e-5, rtol=1e-5)


def test_a_matrix_that_is_trained_gets_its_gradient():
    states, weight, targets = inputs()
    weight.requires_grad_()
    expected = torch.autograd.grad(plain(states, weight, targets)[0].mean(), (states, weight))
    costs, _ = token_costs(states, weight, targets, held_logits=100)
    found = torch.autograd.grad(costs.mean(), (states, weight))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("autocast", [True, False])
def test_half_precision_costs_what_it_costs_with_all_logits(autocast):
    states, weight, targets = inputs(dtype=torch.float32 if autocast else torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        expected, _ = plain(states, weight, targets)
        costs, _ = token_costs(states, weight, targets, held_logits=250)
    torch.testing.assert_close(costs, expected, atol=1e-5, rtol=1e-5)
    (gradient,) = torch.autograd.grad(expected.sum(), states)
    (found,) = torch.autograd.grad(costs.sum(), states)
    assert found.dtype == states.dtype
    # bfloat16 has three digits.
    torch.testing.assert_close(found, gradient, atol=0.02, rtol=0.02)


def test_nothing_to_predict_costs_nothing():
    states, weight, targets = inputs(targets=0)
    costs, hits = token_costs(states, weight, targets)
    assert (costs.shape, hits.shape) == ((0,), (0,))
    costs.sum().backward()
    assert states.grad.shape == states.shape


def peak(compute):
    states, weight, targets = (part.to("meta") for part in inputs(1000, 16, 5000))
    states = states.detach().requires_grad_()
    with LiveBytes("meta") as counted:
        compute(states, weight, targets).sum().backward()
    return counted.peak


def test_all_logits_are_never_held():
    chunk = 20 * 5000
    costs = peak(lambda *given: token_costs(*given, held_logits=chunk)[0])
    all_logits = 1000 * 5000 * 4
    assert peak(lambda *given: plain(*given)[0]) > 2 * all_logits
    # Two copies of a chunk, the gradient of the states, and small change.
    assert costs < 3 * chunk * 4 + 4 * 1000 * 16 * 4
    assert costs < all_logits / 10
