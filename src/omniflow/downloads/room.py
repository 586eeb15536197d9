"""Room on the disk, looked at before anything is fetched."""

from __future__ import annotations

import shutil
from pathlib import Path

from omniflow.errors import OmniFlowError

#: Room that is left beside what is fetched.
_SPARE = 64 << 20


def free_room(folder: Path) -> int:
    """Free bytes where a folder is, or is going to be."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def require_room(folder: Path, size: int, *, advice: str) -> None:
    """Refuse to fetch what does not fit.

    Args:
        folder: Where it goes.
        size: Its bytes.
        advice: What would do with less.

    Raises:
        OmniFlowError: If there is less room.
    """
    room = free_room(folder)
    if size + _SPARE > room:
        raise OmniFlowError(
            f"{size / 1e9:.2f} GB are to be fetched, and {room / 1e9:.2f} GB are free",
            where=str(folder),
            expected=f"room on the disk, or {advice}",
        )
