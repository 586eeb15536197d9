"""Time that something beside training may take: a share of what has gone by."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Allowance:
    """Lets something be done as long as it stays within a share of the time.

    The first time is always within it, as nobody knows before how long it takes.

    Args:
        share: Of the time since this was made, in (0, 1].
        clock: Seconds.
    """

    def __init__(self, share: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._share = share
        self._clock = clock
        self._start = clock()
        self._spent = 0.0
        self._last = 0.0

    @property
    def has_room(self) -> bool:
        """Whether once more, taking as long as the last time, would be within the share."""
        return self._spent + self._last <= self._share * (self._clock() - self._start) or (
            self._spent == 0.0
        )

    @contextmanager
    def taken(self) -> Iterator[None]:
        """While entered, time is taken."""
        started = self._clock()
        try:
            yield
        finally:
            self._last = self._clock() - started
            self._spent += self._last
