"""Beam search over many texts at once, each as if it were alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from omniflow.interfaces.text_decoding import TextDecoding
from omniflow.models.decoder_steps import DecoderSteps

#: Log probability of a beam that there is not yet.
NOWHERE = -1e9


@dataclass
class _Search:
    """The search for one text.

    Args:
        beams: Tokens of the texts that are followed, best first.
        scores: Their log probabilities.
        finished: Score and tokens of finished texts, best first, at most as many as beams.
        is_doubtful: Whether a decision was close.
    """

    beams: list[list[int]]
    scores: list[float]
    finished: list[tuple[float, list[int]]] = field(default_factory=list)
    is_doubtful: bool = False


def beam_search(
    steps: DecoderSteps,
    prefix: Tensor,
    decoding: TextDecoding,
    *,
    ends: frozenset[int],
    close: float,
) -> tuple[list[list[int]], list[int]]:
    """The best text found for each prefix, and which of them another batch could change.

    The rules are those of transformers' `generate` with `early_stopping=False`: texts that end are
    set apart with their log probability divided by length ** length_penalty; a search is over when
    the best beam, at its length, scores no better than the worst of `num_beams` finished ones.

    Args:
        steps: A decoder with room for `num_beams` rows a prefix.
        prefix: What texts follow [batch, n, hidden].
        decoding: Number of beams, length penalty and longest text.
        ends: Tokens that end a text.
        close: How far logits may be off.

    Returns:
        New ids of each text, and the numbers of those for which a decision was close; these are
        not to be used.
    """
    width = decoding.num_beams
    searches = [
        _Search([[] for _ in range(width)], [0.0] + [NOWHERE] * (width - 1)) for _ in prefix
    ]
    live = list(range(len(searches)))
    logits = steps.read(prefix.repeat_interleave(width, dim=0))
    for length in range(1, decoding.max_new_tokens + 1):
        is_last = length == decoding.max_new_tokens
        sources = _advance(
            [searches[text] for text in live], logits, decoding, ends, close, length, is_last
        )
        kept, still = [], []
        for place, text in enumerate(live):
            search = searches[text]
            if is_last or _is_over(search, decoding, length, close, is_alone=len(searches) == 1):
                continue
            still.append(text)
            kept += [place * width + source for source in sources[place]]
        live = still
        if not live:
            break
        steps.keep(torch.tensor(kept, device=logits.device))
        last = [beam[-1] for text in live for beam in searches[text].beams]
        logits = steps.read_tokens(torch.tensor(last, device=logits.device))
    for search in searches:
        _judge_end(search, close)
    texts = [search.finished[0][1] if search.finished else [] for search in searches]
    return texts, [number for number, search in enumerate(searches) if search.is_doubtful]


def _advance(
    searches: list[_Search],
    logits: Tensor,
    decoding: TextDecoding,
    ends: frozenset[int],
    close: float,
    length: int,
    is_last: bool,
) -> list[list[int]]:
    """Take every search one token further; gives which beam each of its new ones came from."""
    width, vocabulary = decoding.num_beams, logits.shape[1]
    scores = torch.tensor([search.scores for search in searches], device=logits.device)
    totals = logits.log_softmax(1).view(len(searches), width, vocabulary) + scores[..., None]
    # Enough to go on with when each of the best ends the text, and one more to look at.
    wanted = min(width * (len(ends) + 1) + 1, width * vocabulary)
    best = totals.flatten(1).topk(wanted, dim=1)
    sources = []
    for search, values, places in zip(
        searches, best.values.tolist(), best.indices.tolist(), strict=True
    ):
        candidates = [
            (value, place // vocabulary, place % vocabulary)
            for value, place in zip(values, places, strict=True)
        ]
        sources.append(_extend(search, candidates, decoding, ends, close, length, is_last))
    return sources


def _extend(
    search: _Search,
    candidates: list[tuple[float, int, int]],
    decoding: TextDecoding,
    ends: frozenset[int],
    close: float,
    length: int,
    is_last: bool,
) -> list[int]:
    """Set apart what ends among the best, and follow the best of the rest."""
    width = decoding.num_beams
    for value, source, token in candidates[:width]:
        if is_last or token in ends:
            text = [*search.beams[source], token]
            search.finished.append((value / length**decoding.length_penalty, text))
    search.finished.sort(key=lambda entry: -entry[0])
    del search.finished[width:]
    going = [candidate for candidate in candidates if candidate[2] not in ends]
    search.is_doubtful |= _is_close(candidates, going, width, ends, close, is_last=is_last)
    chosen = going[:width]
    search.beams = [[*search.beams[source], token] for _, source, token in chosen]
    search.scores = [value for value, _, _ in chosen]
    return [source for _, source, _ in chosen]


def _is_close(
    candidates: list[tuple[float, int, int]],
    going: list[tuple[float, int, int]],
    width: int,
    ends: frozenset[int],
    close: float,
    *,
    is_last: bool,
) -> bool:
    """Whether one more or one less may have been followed or set apart."""
    inside, outside = candidates[width - 1 : width + 1]
    edge = inside[0] - outside[0] < close
    # Which of the best end is of consequence only where one of those at the edge does.
    if edge and (is_last or any(near[2] in ends for near in _near(candidates, width, close))):
        return True
    if is_last or len(going) <= width:
        return False
    return bool(going[width - 1][0] - going[width][0] < close)


def _near(
    candidates: list[tuple[float, int, int]], width: int, close: float
) -> list[tuple[float, int, int]]:
    """Candidates that may be on either side of the edge between the best and the rest."""
    inside, outside = candidates[width - 1][0], candidates[width][0]
    return [one for one in candidates if outside - close < one[0] < inside + close]


def _is_over(
    search: _Search, decoding: TextDecoding, length: int, close: float, *, is_alone: bool
) -> bool:
    """Whether nothing better is to be expected, or the search is left to be done alone."""
    if search.is_doubtful and not is_alone:
        return True
    if len(search.finished) < decoding.num_beams:
        return False
    reach = search.scores[0] / length**decoding.length_penalty
    worst = search.finished[-1][0]
    search.is_doubtful |= abs(reach - worst) < close
    if search.is_doubtful and not is_alone:
        return True
    return bool(reach <= worst)


def _judge_end(search: _Search, close: float) -> None:
    """The two best may change places."""
    if len(search.finished) > 1:
        best, second = search.finished[0][0], search.finished[1][0]
        search.is_doubtful |= best - second < close
