"""Guidance: which rows of the network are evaluated, and how their predictions are combined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Row:
    """One evaluation of the network.

    Args:
        inputs: The given modalities that it sees.
        weight: Its share in the guided prediction; the weights of all rows add up to 1.
    """

    inputs: frozenset[str]
    weight: float


def guidance_rows(given: Sequence[str], guidance: float | Mapping[str, float]) -> list[Row]:
    """The rows that a guided prediction needs, fewest inputs first; none of weight 0.

    A number s is classifier-free guidance: `v_none + s (v_all - v_none)`. A mapping is the rule of
    OmniFlow (arXiv 2412.01169, section on multi-modal guidance), `v_all + sum over inputs j of
    (alpha_j - 1) (v_only_j - v_none)`; with one input, alpha is s. Guidance 1 is one row.

    Args:
        given: The given modalities.
        guidance: One scale, or a weight alpha by modality; modalities left out weigh 1.
    """
    everything, nothing = frozenset(given), frozenset[str]()
    weights = {nothing: 0.0, everything: 0.0}
    if isinstance(guidance, Mapping):
        weights[everything] += 1.0
        for name, alpha in guidance.items():
            only = frozenset({name})
            weights[only] = weights.get(only, 0.0) + (alpha - 1.0)
            weights[nothing] -= alpha - 1.0
    else:
        weights[everything] += guidance
        weights[nothing] += 1.0 - guidance
    rows = [Row(inputs, weight) for inputs, weight in weights.items() if weight != 0.0]
    return sorted(rows, key=lambda row: (len(row.inputs), sorted(row.inputs)))


def combine(predictions: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted sum of the rows' predictions, each [batch, ...], in float32."""
    total = weights[0] * predictions[0].float()
    for prediction, weight in zip(predictions[1:], weights[1:], strict=True):
        total = total + weight * prediction.float()
    return total
