"""Whose turn it is: several datasets drawn in proportion to their weights, from any position on."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import torch

from omniflow.seeds import mixed_seed
from omniflow.training.shuffling import Recent

#: Turns that are dealt in one go, and shuffled among themselves.
BLOCK = 256

#: Keep phases and the order of turns apart from other draws.
_PHASES, _ORDER = 0x7A5E, 0x0DE8

T = TypeVar("T")


class WeightedTurns:
    """Turns of several sources, as many for each as its weight says.

    Every source has a clock that ticks in proportion to its weight, from a start that the seed
    decides. Turns are taken in the order of the ticks and shuffled within blocks. So of the first n
    turns a source has its share of n, give or take one turn, its share of one for every source but
    two, and what one block's shuffle does, for every n; and what came before any position is known
    without having been there.

    Args:
        weights: One a source, above 0; their sum does not matter.
        seed: Decides the order.
    """

    def __init__(self, weights: Sequence[float], seed: int) -> None:
        largest = max(weights)
        total = math.fsum(weight / largest for weight in weights)
        self.shares = [weight / largest / total for weight in weights]
        self._phases = [
            ((mixed_seed(seed ^ _PHASES, source) >> 11) + 0.5) / 2**52
            for source in range(len(weights))
        ]
        self._seed = mixed_seed(seed, _ORDER)
        self._blocks: Recent[list[tuple[int, int]]] = Recent(4)

    def turn(self, position: int) -> tuple[int, int]:
        """Whose turn it is at a position, and how many turns that source has had before."""
        number, offset = divmod(position, BLOCK)
        return self._blocks.get(number, lambda: self._dealt(number))[offset]

    def counts(self, positions: int) -> list[int]:
        """How many of the first positions are each source's."""
        number, offset = divmod(positions, BLOCK)
        counts = self._before(number * BLOCK)
        for place in range(number * BLOCK, number * BLOCK + offset):
            counts[self.turn(place)[0]] += 1
        return counts

    def _dealt(self, number: int) -> list[tuple[int, int]]:
        """The turns of a block, in order."""
        had = self._before(number * BLOCK)
        counts = list(had)
        ticks = [(self._time(source, count), source) for source, count in enumerate(counts)]
        heapq.heapify(ticks)
        sources = []
        for _ in range(BLOCK):
            _, source = ticks[0]
            sources.append(source)
            counts[source] += 1
            heapq.heapreplace(ticks, (self._time(source, counts[source]), source))
        generator = torch.Generator().manual_seed(mixed_seed(self._seed, number))
        turns = []
        for place in torch.randperm(BLOCK, generator=generator).tolist():
            source = sources[place]
            turns.append((source, had[source]))
            had[source] += 1
        return turns

    def _before(self, turns: int) -> list[int]:
        """How many of the first ticks are each source's."""
        # At this time no more than so many clocks have ticked, whatever is lost in rounding.
        time = turns - len(self.shares) + math.fsum(self._phases) - 1
        counts = [
            max(0, math.floor(time * share - phase) + 1)
            for share, phase in zip(self.shares, self._phases, strict=True)
        ]
        for _ in range(turns - sum(counts)):
            counts[min(range(len(counts)), key=lambda k: (self._time(k, counts[k]), k))] += 1
        return counts

    def _time(self, source: int, count: int) -> float:
        """When a source's clock ticks, it having ticked so many times before."""
        share = self.shares[source]
        return (count + self._phases[source]) / share if share else math.inf


def interleaved(
    sources: Mapping[int, Iterator[T]], weights: Sequence[float]
) -> Iterator[tuple[int, T]]:
    """Everything that the sources have, once, in proportion to their weights while they last.

    Args:
        sources: Iterators by number.
        weights: One a number, above 0.
    """
    waiting = [(0.5 / weights[number], number) for number in sources]
    heapq.heapify(waiting)
    counts = dict.fromkeys(sources, 0)
    while waiting:
        _, number = heapq.heappop(waiting)
        for item in sources[number]:
            yield number, item
            counts[number] += 1
            heapq.heappush(waiting, ((counts[number] + 0.5) / weights[number], number))
            break
