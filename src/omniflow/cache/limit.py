"""How large the cache is, and what goes first: shards that have not been used for longest.

Needs no torch. A shard's time of modification is that of its last use.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omniflow.cache.place import ABOUT, FORMAT, MERGING
from omniflow.cache.shards import count_entries, shard_files
from omniflow.errors import UsageError

#: Age at which a half-written file must be what a killed process has left.
ABANDONED_AFTER_S = 3600.0

DAY_S = 86400.0


@dataclass(frozen=True)
class SpaceContent:
    """What the entries of one identity amount to.

    Args:
        component: Kind and name of the component that made them.
        work: What they are, such as `text_latents`.
        source: Where the component's weights came from.
        folder: Where they lie.
        entries: How many; one that lies in two shards counts twice.
        shards: Files.
        size: Bytes.
        used: When one was last used, in seconds since 1970.
    """

    component: str
    work: str
    source: str
    folder: Path
    entries: int
    shards: int
    size: int
    used: float


@dataclass(frozen=True)
class Freed:
    """What has been removed.

    Args:
        entries: Entries.
        shards: Files.
        size: Bytes.
    """

    entries: int = 0
    shards: int = 0
    size: int = 0


def contents(folder: Path) -> list[SpaceContent]:
    """What a cache holds, the largest first."""
    found = []
    for space in _spaces(folder):
        states = list(_states(space))
        about = read_about(space)
        found.append(
            SpaceContent(
                component=str(about.get("component", "unknown")),
                work=str(about.get("work", "unknown")),
                source=str(about.get("source", "")),
                folder=space,
                entries=sum(count_entries(path) for path, _ in states),
                shards=len(states),
                size=sum(state.st_size for _, state in states),
                used=max((state.st_mtime for _, state in states), default=0.0),
            )
        )
    return sorted((space for space in found if space.shards), key=lambda space: -space.size)


def clear(folder: Path, *, older_than_days: float = 0.0) -> Freed:
    """Remove what has not been used for so many days; everything for 0.

    Nothing but a cache's own files is touched, whatever else lies in the folder.

    Raises:
        UsageError: If a shard may not be removed.
    """
    before = time.time() - older_than_days * DAY_S
    freed = Freed()
    for space in _spaces(folder):
        for path, state in _states(space):
            if older_than_days == 0 or state.st_mtime < before:
                entries = count_entries(path)
                _remove(path)
                freed = Freed(freed.entries + entries, freed.shards + 1, freed.size + state.st_size)
        sweep(space)
        _remove_if_empty(space)
    return freed


def evict(folder: Path, limit_bytes: int, *, keep: Collection[Path] = ()) -> Freed:
    """Remove shards, the longest unused first, until the cache is no larger than the limit.

    Args:
        folder: The cache.
        limit_bytes: Bytes that may stay.
        keep: Shards that stay whatever the limit says: those just written.
    """
    files = [
        (state.st_mtime, state.st_size, path)
        for space in _spaces(folder)
        for path, state in _states(space)
    ]
    excess = sum(size for _, size, _ in files) - limit_bytes
    shards = freed = 0
    for _, size, path in sorted(files):
        if excess <= 0:
            break
        if path in keep:
            continue
        # Another process may have removed it, or hold it open where that forbids removing.
        with suppress(OSError):
            path.unlink()
            shards, freed = shards + 1, freed + size
            excess -= size
    return Freed(0, shards, freed)


def sweep(space: Path) -> None:
    """Remove half-written files that killed processes have left."""
    before = time.time() - ABANDONED_AFTER_S
    with suppress(FileNotFoundError), os.scandir(space) as entries:
        for entry in entries:
            if entry.name.startswith(".") and entry.name.endswith(".tmp"):
                with suppress(OSError):
                    if entry.stat().st_mtime < before:
                        Path(entry.path).unlink()


def _spaces(folder: Path) -> Iterator[Path]:
    """The folders of a cache that are its own."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if (path / ABOUT).is_file() and read_about(path).get("format") == FORMAT:
                yield path


def _states(space: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for file in shard_files(space):
        with suppress(FileNotFoundError):
            yield Path(file.path), file.stat()


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot be removed ({error.strerror or error})",
            where=str(path),
            expected="a cache that you may write to",
        ) from error


def read_about(space: Path) -> dict[str, Any]:
    """What a folder of entries says about itself; nothing if it cannot be read."""
    try:
        content = json.loads((space / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _remove_if_empty(space: Path) -> None:
    """Remove the folder of a space without shards; one that is being written to stays."""
    if not shard_files(space) and {entry.name for entry in space.iterdir()} <= {ABOUT, MERGING}:
        with suppress(OSError):
            for name in (ABOUT, MERGING):
                (space / name).unlink(missing_ok=True)
            space.rmdir()
