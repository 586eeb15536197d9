"""Several fetches at once, ended together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import TypeVar

from omniflow.connection.patience import Patience
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

    Args:
        jobs: What is to be done, each in a thread.
        workers: So many at once.
        patience: Whose waits and reading end with a failure.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="download")
    try:
        left = {pool.submit(job) for job in jobs}
        while left:
            done, left = wait(left, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BaseException:
        patience.stopped.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
