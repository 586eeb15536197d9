"""Which records have an n-gram, for more n-grams than fit into memory at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: N-grams of a table: 16 bytes each, and as much again while more are added.
LIMIT = 6_000_000

#: N-grams that are collected before they are added to a table.
BLOCK = 1_000_000

_LARGEST = 2**64 - 1


@dataclass(frozen=True)
class NgramTable:
    """N-grams, in the order of their keys.

    Args:
        keys: Each once [ngrams].
        counts: How many records have it [ngrams].
        owners: Number of the first of these [ngrams].
    """

    keys: NDArray[np.uint64]
    counts: NDArray[np.uint32]
    owners: NDArray[np.uint32]

    @classmethod
    def empty(cls) -> NgramTable:
        """No n-grams."""
        return cls(np.empty(0, np.uint64), np.empty(0, np.uint32), np.empty(0, np.uint32))

    def with_more(self, keys: NDArray[np.uint64], owners: NDArray[np.uint32]) -> NgramTable:
        """The table with n-grams of later records, one entry a record and n-gram."""
        new, first, counts = np.unique(keys, return_index=True, return_counts=True)
        places = np.searchsorted(self.keys, new)
        is_known = np.zeros(len(new), bool)
        if len(self.keys):
            is_known = self.keys[np.minimum(places, len(self.keys) - 1)] == new
        old_counts = self.counts.copy()
        old_counts[places[is_known]] += counts[is_known].astype(np.uint32)
        added, places = ~is_known, places[~is_known]
        return NgramTable(
            np.insert(self.keys, places, new[added]),
            np.insert(old_counts, places, counts[added].astype(np.uint32)),
            np.insert(self.owners, places, owners[first[added]]),
        )

    def lower_half(self) -> NgramTable:
        """The n-grams with the smaller keys; at least one."""
        half = max(1, len(self.keys) // 2)
        # Copies, which keep nothing else in memory.
        return NgramTable(
            self.keys[:half].copy(), self.counts[:half].copy(), self.owners[:half].copy()
        )


def ngram_tables(
    records: Callable[[], Iterator[NDArray[np.uint64]]], *, limit: int = LIMIT, block: int = BLOCK
) -> Iterator[NgramTable]:
    """All n-grams of some records, each in one of the tables, whose keys ascend.

    What does not fit into a table is left for the next one, for which the records are gone through
    again.

    Args:
        records: Gives the different keys of every record, always in the same order.
        limit: The most n-grams of a table.
        block: So many are collected before they are added.
    """
    low = 0
    while low <= _LARGEST:
        table, high = _table_from(records(), low, limit, block)
        yield table
        low = high + 1


def _table_from(
    records: Iterator[NDArray[np.uint64]], low: int, limit: int, block: int
) -> tuple[NgramTable, int]:
    """The table of the keys from `low` on that fit, and the largest key that would be in it."""
    table, high = NgramTable.empty(), _LARGEST
    for keys, owners in _blocks(records, block):
        inside = (keys >= np.uint64(low)) & (keys <= np.uint64(high))
        table = table.with_more(keys[inside], owners[inside])
        while len(table.keys) > limit:
            table = table.lower_half()
            high = int(table.keys[-1])
    return table, high


def _blocks(
    records: Iterator[NDArray[np.uint64]], block: int
) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.uint32]]]:
    """The keys of several records, with whose they are."""
    waiting: list[NDArray[np.uint64]] = []
    first = size = 0
    for number, keys in enumerate(records):
        waiting.append(keys)
        size += len(keys)
        if size >= block:
            yield _joined(waiting, first)
            waiting, first, size = [], number + 1, 0
    if waiting:
        yield _joined(waiting, first)


def _joined(
    waiting: list[NDArray[np.uint64]], first: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    numbers = np.arange(first, first + len(waiting), dtype=np.uint32)
    return np.concatenate(waiting), np.repeat(numbers, [len(keys) for keys in waiting])
