"""Which row of which shard an entry is: arrays, sorted once, for a million entries and more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from omniflow.cache.key import KEY_BYTES

Integers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]


class KeyIndex:
    """Keys to places; 28 bytes an entry, and a search for a whole batch at once."""

    def __init__(self) -> None:
        self._high: Words = np.empty(0, np.uint64)
        self._low: Words = np.empty(0, np.uint64)
        self._shards: Integers = np.empty(0, np.int64)
        self._rows: Integers = np.empty(0, np.int64)
        self._added: list[tuple[int, Words]] = []

    def __len__(self) -> int:
        """Number of places; an entry that lies in two shards counts twice."""
        self._settle()
        return len(self._high)

    def add(self, shard: int, keys: npt.NDArray[np.uint8]) -> None:
        """Take in the keys of a shard [entries, 16], in the order of its rows."""
        self._added.append((shard, np.ascontiguousarray(keys).view(np.uint64)))

    def remove(self, shard: int) -> None:
        """Forget everything in a shard."""
        self._settle()
        self._keep(self._shards != shard)

    def find(self, keys: Sequence[bytes]) -> tuple[Integers, Integers]:
        """Shard and row of every key; -1 for a key that is nowhere."""
        self._settle()
        wanted = np.frombuffer(b"".join(keys), np.uint64).reshape(-1, KEY_BYTES // 8)
        high, low = wanted[:, 0], wanted[:, 1]
        places = np.searchsorted(self._high, high)
        is_found = np.zeros(len(keys), bool)
        sought = np.arange(len(keys))
        while len(sought):
            sought = sought[places[sought] < len(self._high)]
            sought = sought[self._high[places[sought]] == high[sought]]
            is_hit = self._low[places[sought]] == low[sought]
            is_found[sought[is_hit]] = True
            # Keys that share their first half lie side by side, in no order.
            sought = sought[~is_hit]
            places[sought] += 1
        shards, rows = np.full(len(keys), -1, np.int64), np.full(len(keys), -1, np.int64)
        shards[is_found] = self._shards[places[is_found]]
        rows[is_found] = self._rows[places[is_found]]
        return shards, rows

    def _settle(self) -> None:
        """Sort what was added in among the rest."""
        if not self._added:
            return
        added, self._added = self._added, []
        words = [keys.reshape(-1, KEY_BYTES // 8) for _, keys in added]
        self._high = np.concatenate([self._high, *(keys[:, 0] for keys in words)])
        self._low = np.concatenate([self._low, *(keys[:, 1] for keys in words)])
        numbers = [np.full(len(keys), shard) for (shard, _), keys in zip(added, words, strict=True)]
        self._shards = np.concatenate([self._shards, *numbers])
        self._rows = np.concatenate([self._rows, *(np.arange(len(keys)) for keys in words)])
        self._keep(np.argsort(self._high, kind="stable"))

    def _keep(self, which: npt.NDArray[np.bool_] | Integers) -> None:
        self._high, self._low = self._high[which], self._low[which]
        self._shards, self._rows = self._shards[which], self._rows[which]
