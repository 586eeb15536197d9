"""Latents to tokens, many texts at once, each as if it were alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from omniflow.interfaces.text_decoding import TextDecoding
from omniflow.models.beam_search import beam_search
from omniflow.models.decoder_steps import DecoderSteps
from omniflow.models.token_choice import TokenChoice, closeness, drawn, likeliest

if TYPE_CHECKING:
    from omniflow.models.text_vae import TextVAE

#: Finished texts leave the batch when at most this share of it is left: moving the others has its
#: price.
LEAVING = 0.75


@torch.no_grad()
def decode_rows(
    vae: TextVAE, latents: Tensor, decoding: TextDecoding, seeds: Sequence[int] = ()
) -> list[list[int]]:
    """Texts that follow [latents, BOS]: new ids, the end included where there is one.

    A text is the same whatever is decoded beside it. In a batch, one for which two tokens came so
    close that the batch's size could decide between them is decoded again alone.

    Args:
        vae: The text VAE.
        latents: Text latents [batch, n, vae_dim].
        decoding: How tokens are picked.
        seeds: One a text, where tokens are drawn.
    """
    seeds = list(seeds) if decoding.is_random else [0] * len(latents)
    if len(latents) < 2:
        return _made(vae, latents, decoding, seeds)[0] if len(latents) else []
    texts, doubtful = _made(vae, latents, decoding, seeds)
    for row in doubtful:
        [texts[row]], _ = _made(vae, latents[row : row + 1], decoding, [seeds[row]])
    return texts


def _made(
    vae: TextVAE, latents: Tensor, decoding: TextDecoding, seeds: Sequence[int]
) -> tuple[list[list[int]], list[int]]:
    """The texts of a batch, and the numbers of those that are to be decoded alone."""
    prefix = vae.decoder_prefix(latents)
    steps = DecoderSteps(
        vae.model,
        vae.lm_head,
        rows=len(prefix) * decoding.num_beams,
        capacity=prefix.shape[1] + decoding.max_new_tokens,
    )
    close = closeness(prefix.dtype)
    ends = frozenset(vae.eos_token_ids)
    if decoding.num_beams > 1:
        return beam_search(steps, prefix, decoding, ends=ends, close=close)
    return _one_by_one(steps, prefix, decoding, seeds, ends=ends, close=close)


def _one_by_one(
    steps: DecoderSteps,
    prefix: Tensor,
    decoding: TextDecoding,
    seeds: Sequence[int],
    *,
    ends: frozenset[int],
    close: float,
) -> tuple[list[list[int]], list[int]]:
    """Greedy decoding, or draws."""
    texts: list[list[int]] = [[] for _ in seeds]
    doubtful: list[int] = []
    is_alone = len(seeds) == 1
    # `row` of the batch holds text `rows[row]`; finished ones stay until enough can leave.
    rows, live = list(range(len(seeds))), set(range(len(seeds)))
    draws = _Draws(seeds) if decoding.is_random else None
    logits = steps.read(prefix)
    for length in range(1, decoding.max_new_tokens + 1):
        choice = _choice(logits, draws, rows, decoding, close)
        ids, is_close = choice.ids.tolist(), choice.is_close.tolist()
        for text, token, is_doubtful in zip(rows, ids, is_close, strict=True):
            if text not in live:
                continue
            texts[text].append(token)
            if is_doubtful and not is_alone:
                doubtful.append(text)
                live.discard(text)
            elif token in ends:
                live.discard(text)
        if not live or length == decoding.max_new_tokens:
            break
        following = choice.ids
        if len(live) <= LEAVING * len(rows):
            kept = torch.tensor(
                [row for row, text in enumerate(rows) if text in live], device=following.device
            )
            steps.keep(kept)
            following = following[kept]
            rows = [text for text in rows if text in live]
        logits = steps.read_tokens(following)
    return texts, doubtful


def _choice(
    logits: Tensor, draws: _Draws | None, rows: Sequence[int], decoding: TextDecoding, close: float
) -> TokenChoice:
    if draws is None:
        return likeliest(logits, close)
    uniform = draws.next(rows, logits.shape[1]).to(logits.device)
    return drawn(logits, uniform, decoding, close)


class _Draws:
    """Uniform draws for every step of every text: of its own seed, on the CPU."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def next(self, texts: Sequence[int], count: int) -> Tensor:
        """Draws [texts, count] of the next step of some texts."""
        uniform = torch.empty(len(texts), count)
        for row, text in zip(uniform, texts, strict=True):
            row.uniform_(generator=self._generators[text])
        return uniform
