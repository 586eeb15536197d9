"""How the text decoder rates texts, given their latents: shifted by one, padding ignored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from omniflow.objectives.flow_losses import IGNORED, decoder_loss

if TYPE_CHECKING:
    from omniflow.interfaces.backbone import Backbone, TokenBatch


@dataclass(frozen=True)
class TokenSums:
    """Teacher-forced scores of each text [batch]: target tokens, their nll in nats, and hits."""

    count: Tensor
    nll: Tensor
    correct: Tensor


def score_tokens(backbone: Backbone, latents: Tensor, tokens: TokenBatch) -> TokenSums:
    """Rate each text under the decoder: every token but BOS is a target, padding never is.

    Args:
        backbone: Whose text decoder rates them.
        latents: Text latents [batch, tokens, latent_dim].
        tokens: The texts as ids.
    """
    logits = backbone.decode_logits(latents, tokens.input_ids.to(latents.device))[:, :-1]
    labels = tokens.labels[:, 1:].to(latents.device)
    is_target = labels != IGNORED
    nll = F.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none"
    ).view_as(labels)
    hits = (logits.argmax(-1) == labels) & is_target
    return TokenSums(is_target.sum(1), nll.sum(1), hits.sum(1))


def count_targets(tokens: TokenBatch) -> float:
    """How many tokens the decoder's cross entropy is the mean of."""
    return float((tokens.labels[:, 1:] != IGNORED).sum())


def cross_entropy(backbone: Backbone, latents: Tensor, tokens: TokenBatch) -> Tensor:
    """Mean negative log-likelihood of the target tokens."""
    logits = backbone.decode_logits(latents, tokens.input_ids.to(latents.device))
    return decoder_loss(logits, tokens.labels.to(latents.device))
