"""What tokens cost under a language model, without ever holding all of its logits."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

#: Logits that are held at once: 64 MB of them in float32.
HELD_LOGITS = 2**24


def token_costs(
    states: Tensor, weight: Tensor, targets: Tensor, *, held_logits: int = HELD_LOGITS
) -> tuple[Tensor, Tensor]:
    """Cost of each target in nats, float32 [targets], and whether it is the likeliest.

    The same as the cross entropy of `states @ weight.T`, whose rows are made some at a time. Those
    of a frozen matrix are made once: the gradient of the states is taken while they are there, so
    that nothing of the vocabulary's width waits for the backward pass.

    Args:
        states: What predicts each target [targets, width].
        weight: The language model's last matrix [vocabulary, width].
        targets: Ids [targets].
        held_logits: Rows are made so many that they have about this many logits.
    """
    if weight.requires_grad and torch.is_grad_enabled():
        log_probabilities = _log_probabilities(states, weight)
        costs = -log_probabilities.gather(1, targets[:, None])[:, 0]
        return costs, log_probabilities.argmax(1) == targets
    rows = max(1, held_logits // len(weight))
    costs, is_likeliest = _FrozenHeadCosts.apply(states, weight, targets, rows)  # type: ignore[no-untyped-call]
    return costs, is_likeliest


class _FrozenHeadCosts(torch.autograd.Function):
    """`token_costs` for a matrix that is not trained."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, targets: Tensor, rows: int
    ) -> tuple[Tensor, Tensor]:
        costs = states.new_empty(len(states), dtype=torch.float32)
        is_likeliest = states.new_empty(len(states), dtype=torch.bool)
        gradients = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        for start in range(0, len(states), rows):
            part = slice(start, start + rows)
            chosen = targets[part, None]
            log_probabilities = _log_probabilities(states[part], weight)
            costs[part] = -log_probabilities.gather(1, chosen)[:, 0]
            is_likeliest[part] = log_probabilities.argmax(1) == chosen[:, 0]
            if gradients is not None:
                # Of the logits: probabilities, less 1 at the target.
                of_logits = log_probabilities.exp_()
                of_logits.scatter_add_(1, chosen, of_logits.new_full(chosen.shape, -1.0))
                gradients[part] = of_logits.to(weight.dtype) @ weight
        ctx.save_for_backward(*(() if gradients is None else (gradients,)))
        ctx.mark_non_differentiable(is_likeliest)
        return costs, is_likeliest

    @staticmethod
    def backward(ctx: Any, *of_results: Tensor) -> tuple[Tensor, None, None, None]:
        (gradients,) = ctx.saved_tensors
        return (gradients * of_results[0][:, None]).to(gradients.dtype), None, None, None


def _log_probabilities(states: Tensor, weight: Tensor) -> Tensor:
    return F.log_softmax(F.linear(states, weight).float(), dim=-1)
