"""Small shards become one, so that many short runs leave few files."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from omniflow.cache.place import MERGING, SUFFIX
from omniflow.cache.shards import DamagedShardError, Shard, shard_files, write_shard

#: So many small shards are worth writing anew.
SMALL_SHARDS = 8

#: A shard is small below this share of a full one.
_SMALL = 1 / 4


def merge_small(folder: Path, space: str, shard_bytes: int) -> Path | None:
    """Write the small shards of a space as one, then remove them.

    Whoever reads them meanwhile finds each entry in one of the two; a kill in between leaves
    entries twice, which does no harm.

    Args:
        folder: The folder of the space.
        space: Its digest.
        shard_bytes: Size of a full shard; no larger one is made.

    Returns:
        The new shard, if one was worth making.

    Raises:
        OmniFlowError: If it cannot be written.
    """
    with _alone(folder) as is_alone:
        if not is_alone:
            return None
        shards = list(_small_shards(folder, space, shard_bytes))
        if len(shards) < SMALL_SHARDS:
            return None
        return _merged(folder, space, shards)


def _small_shards(folder: Path, space: str, shard_bytes: int) -> Iterator[Shard]:
    """Those that together are no larger than a full one; damaged ones are left to their reader."""
    room = shard_bytes
    kind: str | None = None
    for file in sorted(shard_files(folder), key=lambda file: file.name):
        with suppress(FileNotFoundError, DamagedShardError):
            size = file.stat().st_size
            if size > shard_bytes * _SMALL or size > room:
                continue
            shard = Shard(Path(file.path), space)
            # Values of different shapes cannot lie in one tensor.
            kind = shard.kind if kind is None else kind
            if shard.kind == kind:
                room -= size
                yield shard


def _merged(folder: Path, space: str, shards: list[Shard]) -> Path | None:
    import numpy as np
    import torch

    seen: set[bytes] = set()
    parts, read = [], []
    for shard in shards:
        keys = [key.tobytes() for key in shard.keys]
        rows = [row for row, key in enumerate(keys) if key not in seen]
        with suppress(FileNotFoundError, DamagedShardError):
            parts.append(([keys[row] for row in rows], shard.take(np.array(rows, np.int64))))
            seen.update(keys)
            read.append(shard)
    if len(read) < 2:
        return None
    path = folder / f"{uuid.uuid4().hex}{SUFFIX}"
    write_shard(
        path,
        space,
        [key for keys, _ in parts for key in keys],
        torch.cat([values for _, values in parts]),
    )
    for shard in read:
        with suppress(OSError):
            shard.path.unlink()
    return path


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether no other process merges here; the claim ends with the process, however it ends."""
    try:
        import fcntl
    except ImportError:
        # Without such claims two may merge at once and leave entries twice.
        yield True
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context((folder / MERGING).open("w"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another process has the claim, or the file system knows none.
        except OSError:
            yield False
            return
        yield True
