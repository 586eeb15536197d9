import pytest
import torch
from torch import nn

from omniflow.errors import CheckpointError
from omniflow.training.state import optimizer_tensors, restore_optimizer


def step(layer, optimizer, seed):
    torch.manual_seed(seed)
    optimizer.zero_grad()
    layer(torch.randn(4, 3)).square().mean().backward()
    optimizer.step()


def adam(layer, *, in_groups=False):
    named = list(layer.named_parameters())
    groups = [{"params": [pair]} for pair in reversed(named)] if in_groups else named
    return torch.optim.AdamW(groups, lr=0.1)


@pytest.mark.parametrize("in_groups", [False, True])
def test_a_restored_optimizer_takes_the_same_next_step(in_groups):
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    optimizer = adam(layer)
    for seed in range(3):
        step(layer, optimizer, seed)
    weights = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    memory = {name: tensor.clone() for name, tensor in optimizer_tensors(optimizer).items()}

    other = nn.Linear(3, 2)
    other.load_state_dict(weights)
    restored = adam(other, in_groups=in_groups)
    restore_optimizer(restored, memory)
    step(layer, optimizer, 9)
    step(other, restored, 9)

    assert torch.equal(layer.weight, other.weight)
    assert torch.equal(layer.bias, other.bias)


def test_the_memory_is_tensors_by_name():
    layer = nn.Linear(2, 2)
    optimizer = adam(layer)
    assert optimizer_tensors(optimizer) == {}
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert set(optimizer_tensors(optimizer)) == {
        f"optimizer.{parameter}.{name}"
        for parameter in ("weight", "bias")
        for name in ("step", "exp_avg", "exp_avg_sq")
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [("optimizer.0.exp_avg", torch.ones(2)), ("optimizer.weight.exp_avg", torch.ones(3, 2))],
)
def test_the_memory_of_other_parameters_is_refused(name, value):
    optimizer = adam(nn.Linear(3, 2))
    with pytest.raises(CheckpointError, match=r"fits no parameter, expected a checkpoint of this"):
        restore_optimizer(optimizer, {name: value})
