"""Entries of one identity: found in shards or among what is not yet written, and put there."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from omniflow.cache.index import Integers, KeyIndex
from omniflow.cache.limit import read_about
from omniflow.cache.place import ABOUT, SUFFIX
from omniflow.cache.shards import DamagedShardError, Shard, shard_files
from omniflow.errors import OmniFlowError
from omniflow.files import write_json

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

#: Bytes read through mapped files before their pages are let go of.
MAPPED_BYTES = 2**28

#: A folder may change without another time of modification within this.
_CLOCK_TICK_NS = 50_000_000

Write = Callable[[Path, str, Sequence[bytes], "Tensor"], None]


@dataclass
class Counts:
    """What has happened to a cache in this process.

    Args:
        found: Values taken from it.
        computed: Values that it did not have.
        written: Values written to it.
        lost: Values that could not be written.
        damaged: Shards found damaged.
    """

    found: int = 0
    computed: int = 0
    written: int = 0
    lost: int = 0
    damaged: int = 0


class Space:
    """Entries of one identity.

    Args:
        folder: Where its shards lie; made when the first is written.
        digest: The hash of the identity.
        about: What the folder says about itself.
        counts: Where it is counted what happens.
        write: Writes a shard.
    """

    def __init__(
        self,
        folder: Path,
        digest: str,
        about: Mapping[str, Any],
        counts: Counts,
        write: Write,
    ) -> None:
        self.folder = folder
        self.digest = digest
        self.about = dict(about)
        self.counts = counts
        self._write = write
        self._index = KeyIndex()
        self._shards: dict[int, Shard] = {}
        self._seen: set[str] = set()
        self._changed_ns: int | None = None
        self._mapped_bytes = 0
        self._pending: dict[bytes, Tensor] = {}
        self.pending_bytes = 0
        self.pending_since = time.monotonic()
        self._refresh()
        if self._shards and not read_about(folder):
            # Without it nobody would count its shards, or clear them away. It may be read-only.
            with suppress(OmniFlowError):
                write_json(folder / ABOUT, self.about)

    def __len__(self) -> int:
        """Entries that are known, those not yet written among them."""
        return len(self._index) + len(self._pending)

    def gather(self, keys: Sequence[bytes], *, pinned: bool = False) -> tuple[Tensor, list[int]]:
        """The values of some keys, stacked [keys, ...], and the positions of those not there.

        Args:
            keys: Keys; one may occur several times.
            pinned: Whether the values go to page-locked memory, from where a GPU can fetch them
                without anybody waiting.

        Returns:
            The values, undefined where they are not there and with no rows if none is; and the
            positions of the keys that are missing.
        """
        while True:
            shards, rows = self._places(keys)
            waiting = {
                position: self._pending[keys[position]]
                for position in np.flatnonzero(shards < 0).tolist()
                if keys[position] in self._pending
            }
            missing = [i for i in np.flatnonzero(shards < 0).tolist() if i not in waiting]
            if len(missing) == len(keys):
                return torch.empty(0), missing
            try:
                taken = self._taken(shards, rows)
            except _UnusableShardError:
                continue
            return _stacked(len(keys), taken, waiting, pinned=pinned), missing

    def put(self, keys: Sequence[bytes], values: Tensor) -> None:
        """Keep values [keys, ...] until they are written."""
        if not self._pending:
            self.pending_since = time.monotonic()
        rows = values.detach().to("cpu", copy=True).contiguous()
        for key, row in zip(keys, rows, strict=True):
            if key not in self._pending:
                self._pending[key] = row
                self.pending_bytes += row.nbytes

    def flush(self) -> list[Path]:
        """Write what has been put, as one shard for each shape of value, and return the shards.

        Raises:
            OmniFlowError: If that fails; what is not written is still kept.
        """
        groups: dict[tuple[Any, ...], list[bytes]] = {}
        for key, value in self._pending.items():
            groups.setdefault((value.dtype, value.shape), []).append(key)
        written = []
        for keys in groups.values():
            if not read_about(self.folder):
                write_json(self.folder / ABOUT, self.about)
            path = self.folder / f"{uuid.uuid4().hex}{SUFFIX}"
            values = torch.stack([self._pending[key] for key in keys])
            self._write(path, self.digest, keys, values)
            self._add(path)
            for key in keys:
                self.pending_bytes -= self._pending.pop(key).nbytes
            self.counts.written += len(keys)
            written.append(path)
        return written

    def drop(self) -> None:
        """Forget what has been put and is not written."""
        self.counts.lost += len(self._pending)
        self._pending, self.pending_bytes = {}, 0

    def unmap(self) -> None:
        """Let go of the pages of all shards."""
        self._mapped_bytes = 0
        for shard in self._shards.values():
            shard.unmap()

    def _places(self, keys: Sequence[bytes]) -> tuple[Integers, Integers]:
        """Shard and row of every key, after a look at what other processes have written."""
        shards, rows = self._index.find(keys)
        absent = np.flatnonzero(shards < 0).tolist()
        if any(keys[position] not in self._pending for position in absent) and self._refresh():
            return self._index.find(keys)
        return shards, rows

    def _refresh(self) -> bool:
        """Look for shards that were not there before; whether there are any."""
        try:
            changed_ns = self.folder.stat().st_mtime_ns
        except FileNotFoundError:
            return False
        if changed_ns == self._changed_ns:
            return False
        is_settled = time.time_ns() - changed_ns > _CLOCK_TICK_NS
        new = [file for file in shard_files(self.folder) if file.name not in self._seen]
        self._changed_ns = changed_ns if is_settled else None
        return sum([self._add(Path(file.path)) for file in new]) > 0

    def _add(self, path: Path) -> bool:
        """Take in a shard; whether it could be read."""
        self._seen.add(path.name)
        try:
            shard = Shard(path, self.digest)
        except FileNotFoundError:
            return False
        except DamagedShardError as error:
            self._discard(path, error)
            return False
        number = len(self._seen)
        self._shards[number] = shard
        self._index.add(number, shard.keys)
        return True

    def _taken(self, shards: Integers, rows: Integers) -> list[tuple[Integers, Tensor]]:
        """Values by shard, with the positions that they are for."""
        taken = []
        for number in np.unique(shards[shards >= 0]).tolist():
            positions = np.flatnonzero(shards == number)
            values = self._read(number, rows[positions])
            self._mapped_bytes += values.nbytes
            taken.append((positions, values))
        if self._mapped_bytes > MAPPED_BYTES:
            self.unmap()
        return taken

    def _read(self, number: int, rows: npt.NDArray[np.int64]) -> Tensor:
        shard = self._shards[number]
        try:
            return shard.take(rows)
        except FileNotFoundError as error:
            # Merged, or cleared away: its entries may lie elsewhere by now.
            self._forget(number)
            raise _UnusableShardError from error
        except DamagedShardError as error:
            self._forget(number)
            self._discard(shard.path, error)
            raise _UnusableShardError from error

    def _forget(self, number: int) -> None:
        del self._shards[number]
        self._index.remove(number)
        self._changed_ns = None

    def _discard(self, path: Path, error: DamagedShardError) -> None:
        """Remove a damaged shard, so that nobody meets it again."""
        self.counts.damaged += 1
        log.warning("%s; it is removed, and its values are computed anew", error)
        with suppress(OSError):
            path.unlink()


class _UnusableShardError(Exception):
    """A shard cannot be read any more; look for its entries elsewhere."""


def _stacked(
    count: int,
    taken: Sequence[tuple[Integers, Tensor]],
    waiting: Mapping[int, Tensor],
    *,
    pinned: bool,
) -> Tensor:
    """Parts put at their positions of one tensor; as they are if a single one is everything."""
    if len(taken) == 1 and len(taken[0][1]) == count and not pinned:
        return taken[0][1]
    first = taken[0][1][0] if taken else next(iter(waiting.values()))
    values = torch.empty((count, *first.shape), dtype=first.dtype, pin_memory=pinned)
    for positions, part in taken:
        values[torch.from_numpy(positions)] = part
    for position, value in waiting.items():
        values[position] = value
    return values
