"""How the text decoder rates texts, given their latents: shifted by one, padding ignored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from omniflow.objectives.flow_losses import IGNORED

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
    is_target = _is_target(tokens)
    nll, is_hit = _costs(backbone, latents, tokens)
    rows = is_target.nonzero()[:, 0].to(nll.device)
    count = is_target.sum(1).to(nll.device)

    def by_text(figures: Tensor) -> Tensor:
        return figures.new_zeros(len(count)).index_add(0, rows, figures)

    return TokenSums(count, by_text(nll), by_text(is_hit.long()))


def count_targets(tokens: TokenBatch) -> float:
    """How many tokens the decoder's cross entropy is the mean of."""
    return float(_is_target(tokens).sum())


def cross_entropy(backbone: Backbone, latents: Tensor, tokens: TokenBatch) -> Tensor:
    """Mean negative log-likelihood of the target tokens; 0 where there is none.

    `decoder_loss` of all logits, without making those at padding.
    """
    nll, _ = _costs(backbone, latents, tokens)
    return nll.sum() / max(1, len(nll))


def _costs(backbone: Backbone, latents: Tensor, tokens: TokenBatch) -> tuple[Tensor, Tensor]:
    """`Backbone.token_costs` of all targets, row by row."""
    device, is_target = latents.device, _is_target(tokens)
    # Looked for on the CPU: how many there are is known without waiting for the device.
    rows, columns = is_target.nonzero(as_tuple=True)
    targets = tokens.labels[:, 1:][is_target].to(device)
    positions = (rows * tokens.input_ids.shape[1] + columns).to(device)
    return backbone.token_costs(latents, tokens.input_ids.to(device), positions, targets)


def _is_target(tokens: TokenBatch) -> Tensor:
    return tokens.labels[:, 1:] != IGNORED
