"""Loss arithmetic of the joint flow training: given predictions, nothing random.

The terms are those of the original training script (OmniFlow, arXiv 2412.01169): velocities for
image and audio, clean latents with a term for their direction for text, and the text decoder's
cross entropy. A mean runs over all elements, those of samples that are left out included, so that
leaving samples out makes the loss smaller and not noisier.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

#: How much a sample counts by its noise level; names as in the original.
Weighting = Literal["logit_normal", "sigma_sqrt", "cosmap"]

#: Weight of each term in the original; the direction and the decoder follow the text's.
ORIGINAL_WEIGHTS = {"image": 1.0, "text": 1.0, "audio": 1.0, "direction": 0.1, "ce": 0.1}

#: Latents shorter than this are not stretched to length 1 by the direction term.
DIRECTION_EPS = 1e-4

#: Label of a token that nothing predicts.
IGNORED = -100


def level_weights(levels: Tensor, weighting: Weighting) -> Tensor:
    """Weight of each sample by its noise level: [batch] to [batch].

    `logit_normal` weighs all alike (the draw of the levels is the weighting), `sigma_sqrt` by
    sigma^-2, `cosmap` by 2 / (pi (1 - 2 sigma + 2 sigma^2)) (Stable Diffusion 3, section 3.1).

    Args:
        levels: Noise levels sigma; above 0 for `sigma_sqrt`.
        weighting: Which of the three.
    """
    if weighting == "sigma_sqrt":
        return levels.float() ** -2
    if weighting == "cosmap":
        return 2 / (math.pi * (1 - 2 * levels.float() + 2 * levels.float() ** 2))
    return torch.ones_like(levels, dtype=torch.float32)


def velocity_loss(
    predicted: Tensor, *, clean: Tensor, noise: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Mean squared error of a predicted velocity; the true one is noise minus data.

    Args:
        predicted: Predicted velocity [batch, ...].
        clean: Data, same shape.
        noise: Noise, same shape.
        weights: Weight of each sample [batch], 0 to leave it out; 1 when None.
    """
    return weighted_error(predicted, noise.float() - clean.float(), weights)


def weighted_error(predicted: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean squared error over all elements, in float32, with a weight for each sample.

    Args:
        predicted: Prediction [batch, ...].
        target: What it should be, same shape; not trained.
        weights: Weight of each sample [batch], 0 to leave it out; 1 when None.
    """
    squared = (predicted.float() - target.detach().float()) ** 2
    return squared.mean() if weights is None else (_spread(weights, squared) * squared).mean()


def direction_loss(predicted: Tensor, clean: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean squared difference of text latents [batch, tokens, dim] brought to length 1.

    Args:
        predicted: Predicted clean latents.
        clean: True latents, same shape; not trained.
        weights: Weight of each sample [batch]; 1 when None.
    """
    return weighted_error(_directions(predicted), _directions(clean), weights)


def decoder_loss(
    logits: Tensor, labels: Tensor, *, weights: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Next-token cross entropy of the text decoder, over the tokens that are not ignored.

    Args:
        logits: Teacher-forced logits [batch, tokens, vocabulary]; position j predicts token j + 1.
        labels: Token ids [batch, tokens], -100 where there is nothing to predict.
        weights: Weight of each sample [batch]; 1 when None. Tokens of a sample of weight 0 still
            count in the denominator.
        smoothing: Share of the target that is spread evenly over the vocabulary.
    """
    log_probabilities = F.log_softmax(logits[:, :-1].float(), dim=-1)
    targets = labels[:, 1:]
    is_target = targets != IGNORED
    chosen = targets.masked_fill(~is_target, 0)[..., None]
    cost = -log_probabilities.gather(-1, chosen)[..., 0]
    if smoothing:
        cost = (1 - smoothing) * cost - smoothing * log_probabilities.mean(-1)
    cost = cost.masked_fill(~is_target, 0.0)
    if weights is not None:
        cost = _spread(weights, cost) * cost
    return cost.sum() / is_target.sum().clamp(min=1)


def total_loss(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The weighted sum of the terms; a term without a weight counts once.

    `direction` and `ce` belong to the text and are weighted by `text` as well.
    """
    parts = []
    for name, term in terms.items():
        of_text = weights.get("text", 1.0) if name in ("direction", "ce") else 1.0
        parts.append(of_text * weights.get(name, 1.0) * term.float())
    return torch.stack(parts).sum()


def decoder_weight(levels: Tensor) -> Tensor:
    """A weight for the decoder's loss that falls with the text's noise level: [batch] to [batch].

    0.5 (cos(pi * clip(sigma / 0.6, 0, 1)) + 1); the original defines it and never uses it.
    """
    return 0.5 * (torch.cos(math.pi * (levels.float() / 0.6).clamp(0, 1)) + 1)


def _directions(latents: Tensor) -> Tensor:
    return F.normalize(latents.float(), dim=-1, eps=DIRECTION_EPS)


def _spread(weights: Tensor, like: Tensor) -> Tensor:
    """Weights [batch] as they broadcast over [batch, ...]."""
    return weights.float().view(-1, *[1] * (like.dim() - 1))
