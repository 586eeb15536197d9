"""The split that a dataset is asked for, and the one that a text belongs to."""

from __future__ import annotations

import hashlib
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


def text_place(text: str, seed: int) -> float:
    """A number in [0, 1) that is the same for texts that differ in their spaces only.

    Args:
        text: The text.
        seed: Another seed, other numbers.
    """
    words = f"{seed}\n{' '.join(text.split())}"
    digest = hashlib.blake2b(words.encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48
