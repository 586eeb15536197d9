"""Which token comes next, and whether another one came close.

Matrix products of other sizes differ in their last digits, so that two tokens of nearly the same
score may change places with the size of a batch. What is chosen here says where that could be.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from omniflow.interfaces.text_decoding import TextDecoding

#: Logits that differ by less may change places with the size of the batch: some seventy times what
#: was measured on `tiny` (docs/generation.md). Formats of fewer digits need more.
CLOSE = {torch.float32: 1e-3}
CLOSE_IN_HALF = 0.1

#: The same for sums of probabilities.
CLOSE_SHARE = 1e-4


class TokenChoice(NamedTuple):
    """The next token of every row.

    Args:
        ids: The tokens [rows].
        is_close: Whether it would be another one had the logits been a little different [rows].
    """

    ids: Tensor
    is_close: Tensor


def closeness(dtype: torch.dtype) -> float:
    """How far logits of a decoder in some precision may be off."""
    return CLOSE.get(dtype, CLOSE_IN_HALF)


def likeliest(scores: Tensor, close: float) -> TokenChoice:
    """The token with the highest score; scores [rows, vocabulary]."""
    if scores.shape[1] == 1:
        return TokenChoice(scores.argmax(1), scores.new_zeros(len(scores), dtype=torch.bool))
    best = scores.topk(2, dim=1)
    return TokenChoice(best.indices[:, 0], best.values[:, 0] - best.values[:, 1] < close)


def drawn(logits: Tensor, uniform: Tensor, decoding: TextDecoding, close: float) -> TokenChoice:
    """Tokens drawn from the softmax of logits, cut to `top_k` and `top_p`.

    By the Gumbel trick: adding Gumbel noise to the scores of what may be drawn makes the highest
    one a draw, and the noise of a row belongs to the row alone.

    Args:
        logits: Logits [rows, vocabulary], float32.
        uniform: Draws from [0, 1) of the same shape.
        decoding: Temperature, `top_k` and `top_p`.
        close: How far logits may be off.
    """
    scores = logits / decoding.temperature
    close = close / decoding.temperature
    noisy = scores - (-uniform.log()).log()
    perhaps, surely = _candidates(scores, decoding, close)
    choice = likeliest(noisy.masked_fill(~perhaps, -torch.inf), close)
    # Among the sets that may be meant, the largest and the smallest: where both agree, all do.
    is_sure = surely.gather(1, choice.ids[:, None])[:, 0]
    if is_sure.all():
        return choice
    kept, _ = _candidates(scores, decoding, 0.0)
    exact = noisy.masked_fill(~kept, -torch.inf).argmax(1)
    return TokenChoice(exact, choice.is_close | ~is_sure)


def _candidates(scores: Tensor, decoding: TextDecoding, close: float) -> tuple[Tensor, Tensor]:
    """What may be drawn [rows, vocabulary] twice: all that perhaps, and all that surely may be."""
    perhaps = surely = torch.ones_like(scores, dtype=torch.bool)
    top_k = decoding.top_k
    if 0 < top_k < scores.shape[1]:
        best = scores.topk(top_k + 1, dim=1).values
        perhaps = scores >= best[:, top_k - 1 : top_k] - close
        surely = scores >= best[:, top_k - 1 : top_k]
        if close:
            surely = scores > best[:, top_k : top_k + 1] + close
    if decoding.top_p < 1:
        share = CLOSE_SHARE if close else 0.0
        before = _share_before(scores, perhaps, close)
        perhaps = perhaps & (before < decoding.top_p + share)
        before = _share_before(scores, surely, -close)
        surely = surely & (before < decoding.top_p - share)
        # The likeliest is always among them.
        surely |= scores == scores.max(1, keepdim=True).values
    return perhaps, surely


def _share_before(scores: Tensor, among: Tensor, close: float) -> Tensor:
    """The probability of all tokens whose score is higher by more than `close` [rows, vocabulary].

    Args:
        scores: Scores.
        among: The tokens that share the probability.
        close: Below 0, tokens that are lower by less than it count as well, but not itself.
    """
    probabilities = scores.masked_fill(~among, -torch.inf).softmax(1)
    ordered, order = scores.sort(dim=1, descending=True)
    sums = probabilities.gather(1, order).cumsum(1)
    sums = torch.cat([sums.new_zeros(len(sums), 1), sums], dim=1)
    # Falling scores with their sign changed rise, as the search wants them.
    higher = torch.searchsorted(-ordered, -(scores + close), right=close < 0)
    before = sums.gather(1, higher)
    return before - probabilities if close < 0 else before
