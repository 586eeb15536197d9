"""The split that a dataset is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from omniflow.errors import DataError, closest


def require_split(split: str, splits: Sequence[str], *, where: str) -> str:
    """`split`, when it is one of `splits`.

    Args:
        split: What was asked for.
        splits: What there is.
        where: The dataset or file, for the message.

    Raises:
        DataError: If there is no such split.
    """
    if split in splits:
        return split
    raise DataError(
        f"there is no split {split!r}",
        where=where,
        expected=f"one of {', '.join(splits)}",
        nearest=closest(str(split), splits),
    )
