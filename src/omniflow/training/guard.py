"""Somebody else's code that follows a run must not end it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from omniflow.redaction import hide

log = logging.getLogger(__name__)


class Guard:
    """Keeps what one follower of a run raises from the run: the first time is told, all counted.

    Args:
        who: What the follower is called in warnings.
        advice: How to do without it.

    Attributes:
        failures: How often it has failed.
    """

    def __init__(self, who: str, advice: str) -> None:
        self.who = who
        self.advice = advice
        self.failures = 0

    def attempt(self, what: str, action: Callable[[], object]) -> None:
        """Call `action`, whatever comes of it; only Ctrl-C comes out.

        Args:
            what: What it does, for the warning.
            action: The call.
        """
        try:
            action()
        except KeyboardInterrupt:
            raise
        # A stranger's code may raise anything, an exit or a panic of a compiled extension included.
        except BaseException as error:
            self.failures += 1
            if self.failures == 1:
                reason = hide(" ".join(f"{type(error).__name__}: {error}".split()))
                log.warning(
                    "%s failed in %s: %s; the run goes on (%s)",
                    *(self.who, what, reason, self.advice),
                    exc_info=error,
                )

    def sum_up(self) -> None:
        """Say how often it failed, if that was more than once."""
        if self.failures > 1:
            log.warning("%s failed %d times in this run", self.who, self.failures)
