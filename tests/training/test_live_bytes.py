"""Bytes that come and go, against what can be counted by hand."""

import pytest
import torch
import torch.nn.functional as F

from omniflow.training.live_bytes import LiveBytes
from omniflow.training.shapes_only import CardKernels

DEVICES = ["cpu", "meta"]


@pytest.mark.parametrize("device", DEVICES)
def test_tensors_count_from_their_making_to_their_end(device):
    with LiveBytes(device) as counted:
        first = torch.zeros(100, device=device)
        second = first + 1
        assert counted.live == 800
        del first
        assert (counted.live, counted.peak) == (400, 800)
        third = second * 2
        del second, third
    assert (counted.live, counted.peak) == (0, 800)


@pytest.mark.parametrize("device", DEVICES)
def test_views_and_changes_in_place_take_nothing(device):
    before = torch.zeros(10, 10, device=device)
    with LiveBytes(device) as counted:
        view = before.T[2:].flatten(0)[None]
        before.add_(1)
        assert counted.peak == view.numel() * 4  # flattening a transposed tensor copies it
        assert before[3:].T.unsqueeze(0) is not None
        assert counted.peak == view.numel() * 4


def test_tensors_of_other_devices_do_not_count():
    with LiveBytes("meta") as counted:
        kept = torch.zeros(100)
        there = kept.to("meta")
    assert counted.peak == 400
    assert there.is_meta


@pytest.mark.parametrize("device", DEVICES)
def test_what_a_backward_pass_keeps_is_counted_until_it_is_done(device):
    layer = torch.nn.Linear(10, 20, bias=False, device=device)
    layer.weight.grad = torch.zeros_like(layer.weight)
    inputs = torch.ones(5, 10, device=device)
    with LiveBytes(device) as counted:
        loss = layer(inputs).square().sum()
        # The layer's result is kept to take the square's gradient; the square itself is not.
        assert counted.live == 5 * 20 * 4 + 4
        loss.backward()
        assert counted.live == 4 + 0 * 5
    assert counted.peak > 2 * 5 * 20 * 4


def attention_bytes(*, half):
    query = torch.zeros(2, 4, 100, 8, device="meta", requires_grad=True)
    with CardKernels(half=half), LiveBytes("meta") as counted:
        result = F.scaled_dot_product_attention(query, query, value=query, is_causal=True)
        kept = counted.live
        result.sum().backward()
    assert query.grad.shape == query.shape
    assert result.dtype == (torch.bfloat16 if half else torch.float32)
    return kept


def test_attention_keeps_no_scores():
    rows, width = 2 * 4 * 100, 8
    assert attention_bytes(half=False) == rows * width * 4 + rows * 4
    # In half precision query, key and value are cast first, each for itself.
    assert attention_bytes(half=True) == 4 * rows * width * 2 + rows * 4


@pytest.mark.parametrize("half", [True, False])
def test_layers_are_in_half_precision_and_norms_are_not(half):
    layer = torch.nn.Linear(4, 4, device="meta")
    norm = torch.nn.LayerNorm(4, device="meta")
    inputs = torch.zeros(3, 4, device="meta")
    with CardKernels(half=half):
        between = layer(inputs)
        products = inputs @ inputs.T
        after = norm(between)
        loss = F.mse_loss(after, between)
    lower = torch.bfloat16 if half else torch.float32
    assert {between.dtype, products.dtype} == {lower}
    assert {after.dtype, loss.dtype} == {torch.float32}


def test_autocast_on_the_cpu_chooses_alike():
    layer, norm = torch.nn.Linear(4, 4), torch.nn.LayerNorm(4)
    inputs = torch.zeros(3, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(inputs).dtype == (inputs @ inputs.T).dtype == torch.bfloat16
        assert norm(inputs).dtype == F.mse_loss(layer(inputs), inputs).dtype == torch.float32
