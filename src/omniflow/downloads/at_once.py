"""Several fetches at once, ended together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import TypeVar

from omniflow.connection.patience import Patience, StoppedError
from omniflow.errors import ConfigError

T = TypeVar("T")


def require_workers(workers: object) -> None:
    """Refuse what is no sensible number of fetches at once.

    Raises:
        ConfigError: If it isn't.
    """
    if not isinstance(workers, int) or isinstance(workers, bool) or not 1 <= workers <= 64:
        raise ConfigError("workers", workers, expected="a whole number from 1 to 64")


def at_once(jobs: Iterable[Callable[[], T]], workers: int, patience: Patience) -> Iterator[T]:
    """What jobs return, as they end; when one fails, or nobody listens, the others stop.

    Of several at work when one fails, those that end well nevertheless are told before.

    Args:
        jobs: What is to be done, each in a thread.
        workers: So many at once.
        patience: Whose waits and reading end with a failure.
    """

    def done_unless_stopped(job: Callable[[], T]) -> T:
        if patience.stopped.is_set():
            raise StoppedError
        try:
            return job()
        except BaseException:
            patience.stopped.set()
            raise

    pool = ThreadPoolExecutor(workers, thread_name_prefix="download")
    try:
        left = {pool.submit(done_unless_stopped, job) for job in jobs}
        failures: list[BaseException] = []
        while left:
            done, left = wait(left, return_when=FIRST_COMPLETED)
            for future in done:
                error = future.exception()
                if error is None:
                    yield future.result()
                elif not isinstance(error, StoppedError):
                    failures.append(error)
        if failures:
            raise failures[0]
    except BaseException:
        patience.stopped.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
