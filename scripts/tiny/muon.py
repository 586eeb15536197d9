"""Muon: momentum whose matrices are made orthogonal before they are added to the weights.

Keller Jordan et al., https://kellerjordan.github.io/posts/muon/; the size of a step is matched to
that of AdamW (Liu et al., arXiv 2502.16982). All matrices of one shape are worked on together,
which halves the time of `torch.optim.Muon` on many small ones. Processes that train together share
the matrices out between them.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from .plumbing import multiplies_bfloat16

#: Of the quintic Newton-Schulz iteration.
COEFFICIENTS = (3.4445, -4.775, 2.0315)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal, of matrices that all have gradients.

    Args:
        matrices: Two-dimensional parameters.
        momentum: Share of the average that stays.
        weight_decay: Share of the weights lost a step, times the learning rate.
    """

    def __init__(
        self, matrices: Iterable[Tensor], *, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        shapes: dict[tuple[int, ...], list[Tensor]] = {}
        for matrix in matrices:
            shapes.setdefault(tuple(matrix.shape), []).append(matrix)
        groups = [{"params": alike} for alike in shapes.values()]
        super().__init__(groups, {"lr": 1.0, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Move every matrix by 0.2 lr on root mean square."""
        for group in self.param_groups:
            matrices, lr = group["params"], group["lr"]
            gradients = torch.stack([matrix.grad for matrix in matrices])
            state = self.state[matrices[0]]
            average = state.setdefault("average", torch.zeros_like(gradients))
            average.lerp_(gradients, 1 - group["momentum"])
            updates = shared_orthogonal(torch.lerp(gradients, average, group["momentum"]))
            size = 0.2 * max(updates.shape[1:]) ** 0.5
            torch._foreach_mul_(matrices, 1 - lr * group["weight_decay"])
            torch._foreach_add_(matrices, list(updates.unbind()), alpha=-lr * size)


def shared_orthogonal(matrices: Tensor) -> Tensor:
    """`orthogonal` of all [count, rows, columns], of which each process does its part."""
    if not dist.is_initialized():
        return orthogonal(matrices)
    mine = slice(dist.get_rank(), None, dist.get_world_size())
    found = torch.zeros_like(matrices)
    found[mine] = orthogonal(matrices[mine])
    dist.all_reduce(found)
    return found


def orthogonal(matrices: Tensor, steps: int = 5) -> Tensor:
    """About the nearest orthogonal matrix of each [count, rows, columns]; few digits will do."""
    a, b, c = COEFFICIENTS
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    found = matrices.mT if is_tall else matrices
    found = found.bfloat16() if multiplies_bfloat16() else found
    found = found / (found.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = found @ found.mT
        found = a * found + (b * square + c * square @ square) @ found
    return (found.mT if is_tall else found).float()
