"""When a request is tried again, and how long is waited before."""

from __future__ import annotations

import email.utils
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Answers that may be others a little later: too slow, too many, and a server in trouble.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


class StoppedError(Exception):
    """Whoever waits was told to stop."""


@dataclass(frozen=True)
class Patience:
    """How often and how long is waited when the Hub does not answer as it should.

    Waits grow twofold, with up to a quarter of chance, so that many do not come back at once. What
    the Hub says itself (`Retry-After`) counts for more.

    Args:
        attempts: Failures one after another, with nothing received between them, that end it.
        first_wait_s: The wait after the first of them.
        longest_wait_s: No wait of our own is longer.
        longest_asked_s: A longer one that the Hub asks for ends it.
        tell: Takes a line about every wait.
        stopped: Set from another thread, ends every wait and all reading.
    """

    attempts: int = 7
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    longest_asked_s: float = 600.0
    tell: Callable[[str], None] = log.warning
    stopped: threading.Event = field(default_factory=threading.Event)

    def wait(self, failures: int, reason: str, asked_s: float | None = None) -> None:
        """Wait after some failures in a row.

        Args:
            failures: How many there were, at least 1.
            reason: What went wrong, for the line.
            asked_s: What the Hub asked for.

        Raises:
            StoppedError: If it was told to stop.
        """
        grown = min(self.longest_wait_s, self.first_wait_s * 2.0 ** (failures - 1))
        seconds = asked_s if asked_s is not None else grown * random.uniform(1.0, 1.25)
        self.tell(f"{reason}; again in {seconds:.0f} s ({failures} of {self.attempts - 1})")
        if self.stopped.wait(seconds):
            raise StoppedError

    def go_on(self) -> None:
        """Nothing, unless it was told to stop.

        Raises:
            StoppedError: If it was.
        """
        if self.stopped.is_set():
            raise StoppedError

    def is_over(self, failures: int, asked_s: float | None = None) -> bool:
        """Whether so many failures in a row, or so long a wait, are too many."""
        return failures >= self.attempts or (asked_s or 0.0) > self.longest_asked_s


def persistently(action: Callable[[], T], patience: Patience) -> T:
    """The value of an action that asks the Hub; asked again while what goes wrong may pass.

    Raises:
        Exception: What the action raises, when it does not pass.
    """
    failures = 0
    while True:
        try:
            return action()
        except (OSError, _http_error()) as error:
            found = passing(error)
            if found is None:
                raise
            failures += 1
            if patience.is_over(failures, found.asked_s):
                raise
            patience.wait(failures, found.reason, found.asked_s)


@dataclass(frozen=True)
class Passing:
    """A failure that may not be one a little later.

    Args:
        reason: What it is, in a few words.
        asked_s: For how long the Hub asks to wait; None where it does not say.
    """

    reason: str
    asked_s: float | None = None


def passing(error: BaseException) -> Passing | None:
    """What is passing about an error of the Hub's client; None if it is there to stay."""
    found: BaseException | None = error
    while found is not None:
        response = getattr(found, "response", None)
        if response is not None:
            return passing_answer(response.status_code, response.headers)
        if isinstance(found, _http_error()):
            return Passing(f"the connection failed ({type(found).__name__})")
        # A file that is neither there nor fetched is told with the failure as its cause.
        found = found.__cause__
    return None


def passing_answer(status: int, headers: Mapping[str, str]) -> Passing | None:
    """What is passing about an answer; None about one that would be the same later."""
    if status not in PASSING:
        return None
    said = "the Hub has had too many requests" if status == 429 else f"the Hub answered {status}"
    return Passing(said, _asked_s(headers))


def _asked_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` says, as a number or a date."""
    said = headers.get("retry-after", headers.get("Retry-After", "")).strip()
    if said.isascii() and said.isdigit():
        return float(said)
    try:
        at = email.utils.parsedate_to_datetime(said)
    except (TypeError, ValueError):
        return None
    return max(0.0, at.timestamp() - time.time())


def _http_error() -> type[Exception]:
    """The error of the HTTP library, whichever the Hub's client uses."""
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    found: type[Exception] = HTTPError
    return found
