"""How likely a text decoder finds the records' own texts, given the latents that were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from omniflow.generation.slots import in_slots
from omniflow.interfaces import Sample, TokenScores
from omniflow.objectives.flow_losses import IGNORED
from omniflow.objectives.token_scores import score_tokens

if TYPE_CHECKING:
    from omniflow.interfaces import Backbone

#: Tokens of a text that are computed at least; more by doubling.
SHORTEST = 32


def rate_texts(
    backbone: Backbone,
    latents: Tensor,
    samples: Mapping[int, Sample],
    max_length: int,
    *,
    slots: int | None,
) -> list[TokenScores | None]:
    """Rate the texts of some records, as far as they have one.

    Args:
        backbone: Whose decoder rates them.
        latents: Text latents [samples, tokens, latent_dim].
        samples: The records by number.
        max_length: Longest text in tokens that is rated.
        slots: Rows of a computation, see `in_slots`.
    """
    numbers = list(samples)
    texts = {
        position: sample.text
        for position, sample in enumerate(samples.values())
        if sample.text is not None
    }
    found: list[TokenScores | None] = [None] * len(samples)
    if slots is None:
        rated = _rated_together(backbone, latents[list(texts)], list(texts.values()), max_length)
        for position, scores in zip(texts, rated, strict=True):
            found[position] = scores
        return found
    for width, positions in _by_width(backbone, texts, max_length).items():

        def compute(
            chosen: Sequence[int], width: int = width, positions: Sequence[int] = positions
        ) -> list[TokenScores]:
            rows = [positions[place] for place in chosen]
            said = [texts[row] for row in rows]
            return _rated_at_width(backbone, latents[rows], said, max_length, width)

        rated = in_slots([numbers[position] for position in positions], compute, slots=slots)
        for position, scores in zip(positions, rated, strict=True):
            found[position] = scores
    return found


def _rated_together(
    backbone: Backbone, latents: Tensor, texts: Sequence[str], max_length: int
) -> list[TokenScores]:
    if not texts:
        return []
    sums = score_tokens(backbone, latents, backbone.tokenise(texts, max_length=max_length))
    columns = zip(sums.count.tolist(), sums.nll.tolist(), sums.correct.tolist(), strict=True)
    return [TokenScores(count=count, nll=nll, correct=hits) for count, nll, hits in columns]


def _by_width(
    backbone: Backbone, texts: Mapping[int, str], max_length: int
) -> dict[int, list[int]]:
    """Positions of texts by the width that they are computed at: a function of their length."""
    widths: dict[int, list[int]] = {}
    if not texts:
        return widths
    tokens = backbone.tokenise(list(texts.values()), max_length=max_length)
    lengths = (tokens.labels != IGNORED).sum(1).tolist()
    for position, length in zip(texts, lengths, strict=True):
        width = SHORTEST
        while width < length:
            width *= 2
        widths.setdefault(width, []).append(position)
    return widths


def _rated_at_width(
    backbone: Backbone, latents: Tensor, texts: Sequence[str], max_length: int, width: int
) -> list[TokenScores]:
    """Scores of texts padded to a width; what is behind a text is not looked at."""
    tokens = backbone.tokenise(texts, max_length=max_length)
    missing = width - tokens.input_ids.shape[1]
    # Attention is causal: whatever stands behind a text changes nothing in it.
    input_ids = F.pad(tokens.input_ids, (0, missing), value=int(tokens.input_ids[0, 0]))
    labels = F.pad(tokens.labels, (0, missing), value=IGNORED)[:, 1:]
    logits = backbone.decode_logits(latents, input_ids.to(latents.device))[:, :-1].float()
    targets = labels.clamp(min=0).to(logits.device)
    costs = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    hits = logits.argmax(-1) == targets
    scores = []
    for row, row_costs, row_hits in zip(labels, costs.view_as(targets), hits, strict=True):
        places = torch.nonzero(row != IGNORED)[:, 0]
        scores.append(
            TokenScores(
                count=len(places),
                nll=float(row_costs[places].sum()),
                correct=int(row_hits[places].sum()),
            )
        )
    return scores
