"""N-grams as 64-bit numbers, so that those of millions of texts fit into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The two lowest bits of a key say how many words it is of.
_ORDER_BITS = 3
MAX_ORDER = 4


class NgramKeys:
    """Turns words into keys of n-grams, the same for the same words.

    Words are numbered as they come, and numbers mixed to 64 bits by splitmix64: of ten million
    different n-grams, two share a key with a chance of about 1 in 100,000.

    Args:
        max_order: The longest n-gram, at most 4.
    """

    def __init__(self, max_order: int = MAX_ORDER) -> None:
        self._max_order = max_order
        self._numbers: dict[str, int] = {}

    def of(self, words: list[str]) -> NDArray[np.uint64]:
        """A key for every n-gram of 1 to `max_order` words, repeated ones repeatedly."""
        import numpy as np

        numbers = self._numbers
        ids = np.array(
            [numbers.setdefault(word, len(numbers) + 1) for word in words], dtype=np.uint64
        )
        keys = []
        mixed = np.zeros(len(words), dtype=np.uint64)
        for order in range(1, min(self._max_order, len(words)) + 1):
            count = len(words) - order + 1
            mixed = _mixed(mixed[:count] + ids[order - 1 :])
            keys.append(mixed & ~np.uint64(_ORDER_BITS) | np.uint64(order - 1))
        return np.concatenate(keys) if keys else mixed


def orders_of(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """How many words each key is of, less one."""
    import numpy as np

    return (keys & np.uint64(_ORDER_BITS)).astype(np.int64)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele et al. 2014), after one step of its sequence."""
    import numpy as np

    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
