import torch
from torch import nn

from omniflow.training.state import optimizer_tensors, restore_optimizer


def step(layer, optimizer, seed):
    torch.manual_seed(seed)
    optimizer.zero_grad()
    layer(torch.randn(4, 3)).square().mean().backward()
    optimizer.step()


def test_a_restored_optimizer_takes_the_same_next_step():
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    for seed in range(3):
        step(layer, optimizer, seed)
    weights = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    memory = {name: tensor.clone() for name, tensor in optimizer_tensors(optimizer).items()}

    other = nn.Linear(3, 2)
    other.load_state_dict(weights)
    restored = torch.optim.AdamW(other.parameters(), lr=0.1)
    restore_optimizer(restored, memory)
    step(layer, optimizer, 9)
    step(other, restored, 9)

    assert torch.equal(layer.weight, other.weight)
    assert torch.equal(layer.bias, other.bias)


def test_the_memory_is_tensors_by_name():
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    assert optimizer_tensors(optimizer) == {}
    step_input = torch.ones(1, 2)
    layer(step_input).sum().backward()
    optimizer.step()
    assert set(optimizer_tensors(optimizer)) == {
        f"optimizer.{position}.{name}"
        for position in (0, 1)
        for name in ("step", "exp_avg", "exp_avg_sq")
    }
