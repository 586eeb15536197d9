"""Parts of a batch of the joint flow training: samples that serve one task, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from omniflow.interfaces import HEAD_LOSSES
from omniflow.interfaces.backbone import TokenBatch
from omniflow.objectives.flow_levels import FlowPlan
from omniflow.objectives.flow_losses import IGNORED
from omniflow.objectives.token_scores import count_targets


@dataclass(frozen=True)
class FlowPart:
    """Samples of a batch that go through the transformer together.

    Args:
        positions: Which samples of the batch.
        plan: Their task, and the level of every stream of theirs.
    """

    positions: Sequence[int]
    plan: FlowPlan


def part_counts(part: FlowPart, tokens: TokenBatch | None) -> dict[str, float]:
    """Samples for each error of what a part makes, tokens for the cross entropy.

    Args:
        part: The part.
        tokens: The texts of the whole batch.
    """
    counts = dict.fromkeys(part.plan.made, float(len(part.positions)))
    if "text" in counts:
        counts |= dict.fromkeys(("direction", HEAD_LOSSES), counts["text"])
        if tokens is not None:
            counts["ce"] = count_targets(token_rows(tokens, part.positions))
    return counts


def token_rows(tokens: TokenBatch, positions: Sequence[int]) -> TokenBatch:
    """The texts at some positions, padded to the longest of these."""
    rows = torch.tensor(positions)
    labels = tokens.labels[rows]
    width = int((labels != IGNORED).sum(1).max())
    return TokenBatch(
        prompt_ids=tokens.prompt_ids[rows],
        is_empty=tokens.is_empty[rows],
        input_ids=tokens.input_ids[rows, :width],
        labels=labels[:, :width],
        cut=tokens.cut,
    )


def summed_counts(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What the parts count together, by term."""
    counts: dict[str, float] = {}
    for part in parts:
        for name, count in part.items():
            counts[name] = counts.get(name, 0.0) + count
    return counts


def mean_terms(
    terms: Sequence[Mapping[str, Tensor]], counts: Sequence[Mapping[str, float]]
) -> dict[str, Tensor]:
    """The terms of a batch from those of its parts: means, each weighed by what it is a mean of.

    Args:
        terms: Means over each part.
        counts: Samples or tokens of each part by term; those of the head's losses as `HEAD_LOSSES`.
    """
    if len(terms) == 1:
        return dict(terms[0])
    found: dict[str, list[tuple[Tensor, float]]] = {}
    for of_part, count in zip(terms, counts, strict=True):
        for name, term in of_part.items():
            found.setdefault(name, []).append((term, count.get(name, count.get(HEAD_LOSSES, 0.0))))
    means = {}
    for name, weighed in found.items():
        total = sum(count for _, count in weighed) or 1.0
        parts = [term * (count / total) for term, count in weighed]
        means[name] = sum(parts[1:], parts[0])
    return means
