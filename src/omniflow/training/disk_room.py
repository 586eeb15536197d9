"""Whether a run's checkpoints fit on the disk."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omniflow.errors import UsageError
from omniflow.recipe import TrainingOptions


@dataclass(frozen=True)
class DiskRoom:
    """What a run writes, and what there is for it, in bytes.

    Args:
        folder: The run's folder, there or not.
        checkpoint: One step checkpoint.
        needed: The most that the folder holds at any moment, beyond what it holds already.
        free: Room on its disk.
    """

    folder: Path
    checkpoint: int
    needed: int
    free: int

    def check(self) -> None:
        """Refuse a run that would fill the disk.

        Raises:
            UsageError: If it does not fit.
        """
        if self.needed > self.free:
            raise UsageError(
                f"its checkpoints take {in_bytes(self.needed)}, {in_bytes(self.free)} are free",
                where=str(self.folder),
                expected="room for them: another --output-dir, or a smaller --keep",
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "folder": str(self.folder),
            "checkpoint": self.checkpoint,
            "needed": self.needed,
            "free": self.free,
        }


def disk_room(
    folder: Path, options: TrainingOptions, *, model: int, state: int, steps: int
) -> DiskRoom:
    """Room for `best`, `final` and the step checkpoints of a run.

    A new checkpoint is written before the oldest is removed, so one more than is kept counts.

    Args:
        folder: The run's folder.
        options: How often it saves, and how many checkpoints it keeps.
        model: Bytes of the trained parts.
        state: Bytes of the training state beside them.
        steps: Steps of the run.
    """
    saved = -(-steps // options.save_interval)
    checkpoint = model + state
    whole = 2 * model + min(saved, options.keep + 1) * checkpoint
    place = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    used = sum(file.stat().st_size for file in folder.rglob("*") if _counts(file))
    return DiskRoom(folder, checkpoint, max(0, whole - used), shutil.disk_usage(place).free)


def in_bytes(count: float) -> str:
    """Bytes as a person reads them: 512 B, 3.4 MB, 12.3 GB (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("a number of bytes has a unit")


def _counts(file: Path) -> bool:
    return file.is_file() and not file.is_symlink()
