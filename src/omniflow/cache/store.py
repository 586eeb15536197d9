"""The cache of a process: its spaces, when they are written, and how large all may become."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniflow.cache.key import space_digest
from omniflow.cache.limit import evict, sweep
from omniflow.cache.merging import merge_small
from omniflow.cache.place import FORMAT, GIGABYTE
from omniflow.cache.shards import write_shard
from omniflow.cache.space import Counts, Space, Write
from omniflow.errors import OmniFlowError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

#: Bytes of values that are gathered in memory before they are written as one shard.
SHARD_BYTES = 2**26

#: Values that are older than this are written however few they are.
FLUSH_AFTER_S = 120.0

#: Room on the disk that the cache leaves to checkpoints and everybody else.
RESERVED_BYTES = GIGABYTE


class CacheStore:
    """A folder of frozen values, shared with every process that uses it.

    Nothing is locked: a shard is written beside its place and renamed, and never changed. What is
    put is gathered in memory and written at every `SHARD_BYTES`, after `FLUSH_AFTER_S`, and by
    `close`; a process that is killed before computes it again.

    Args:
        folder: The cache; made when something is written.
        limit_bytes: Bytes that it may take, the longest unused going first; None for any number.
        is_strict: Whether values that cannot be written are an error. Otherwise a warning is
            logged once, and nothing more is written.
        write: Writes a shard.

    Raises:
        UsageError: If the folder is a file.
    """

    def __init__(
        self,
        folder: Path,
        *,
        limit_bytes: int | None = None,
        is_strict: bool = False,
        write: Write = write_shard,
    ) -> None:
        if folder.exists() and not folder.is_dir():
            raise UsageError("is a file", where=str(folder), expected="a folder for the cache")
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.is_strict = is_strict
        self.counts = Counts()
        self.is_writing = True
        self._write = write
        self._spaces: dict[str, Space] = {}

    def space(self, identity: Mapping[str, Any], about: Mapping[str, Any]) -> Space:
        """The entries of one identity.

        Args:
            identity: Everything but the content that shapes a value, as plain data.
            about: What a person may want to know about it: `component`, `work`, `source`.

        Raises:
            UsageError: If there is no looking into its folder, or it is a file.
        """
        digest = space_digest(identity)
        if digest not in self._spaces:
            folder = self.folder / digest
            content = {"format": FORMAT, **about, "identity": dict(identity)}
            try:
                sweep(folder)
                self._spaces[digest] = Space(folder, digest, content, self.counts, self._write)
            except OSError as error:
                raise UsageError(
                    f"cannot be read ({error.strerror or error})",
                    where=str(folder),
                    expected="a folder of the cache, or --no-cache",
                ) from error
        return self._spaces[digest]

    def keep(self, space: Space, keys: Sequence[bytes], values: Tensor) -> None:
        """Put values [keys, ...] into a space, and write what it holds if that is due."""
        if not self.is_writing:
            self.counts.lost += len(keys)
            return
        space.put(keys, values)
        age_s = time.monotonic() - space.pending_since
        if space.pending_bytes >= SHARD_BYTES or age_s > FLUSH_AFTER_S:
            self._flush(space)

    def flush(self) -> None:
        """Write everything that has been put.

        Raises:
            OmniFlowError: If that fails, in a strict store.
        """
        for space in self._spaces.values():
            if space.pending_bytes:
                self._flush(space)

    def close(self) -> None:
        """Write everything and let go of the files; errors as `flush`."""
        try:
            self.flush()
        finally:
            for space in self._spaces.values():
                space.unmap()
            self._spaces = {}

    def _flush(self, space: Space) -> None:
        try:
            self._check_room(space.pending_bytes)
            written = space.flush()
            merged = merge_small(space.folder, space.digest, SHARD_BYTES)
        except OmniFlowError as error:
            space.drop()
            if self.is_strict:
                raise
            self.is_writing = False
            log.warning("the cache is not added to any more: %s", error)
            return
        if self.limit_bytes is not None:
            evict(self.folder, self.limit_bytes, keep={*written, *([merged] if merged else [])})

    def _check_room(self, needed: int) -> None:
        """Leave room on the disk for what cannot be computed anew.

        Raises:
            OmniFlowError: If there is too little.
        """
        place = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        free = shutil.disk_usage(place).free
        if free - needed < RESERVED_BYTES:
            raise OmniFlowError(
                f"{free / GIGABYTE:.1f} GB are free",
                where=str(self.folder),
                expected=f"{RESERVED_BYTES / GIGABYTE:.0f} GB to be left to others",
                notes=["free some, or choose another disk: OMNIFLOW_CACHE=FOLDER"],
            )
