"""Runs of an experiment in processes of their own, some at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING

from omniflow.errors import UsageError
from omniflow.experiments.failures import Failure, read_failure
from omniflow.experiments.watcher import Watcher
from omniflow.training.interrupts import InterruptedRunError

if TYPE_CHECKING:
    from omniflow.experiments.plan import PlannedRun

_LOOK_S = 0.1

#: How long runs that outlived their experiment get to save and leave, in seconds.
_OUTLIVED_S = 20.0


class InterruptedExperimentError(InterruptedRunError):
    """The experiment was asked to stop; every run has saved its state."""

    def __init__(self, signal_number: int, place: Path) -> None:
        super().__init__(signal_number, str(place), 0)
        self.problem = f"stopped by {signal.Signals(signal_number).name}; runs are kept in {place}"
        self.notes = ("continue with the same command",)
        self.args = (self.problem,)


@dataclass
class _Signals:
    """What has come in while runs are at work."""

    received: int | None = None
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Hand a signal on to the processes."""
        self.received = self.received or number
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(number)


def in_processes(
    runs: Sequence[PlannedRun],
    place: Path,
    *,
    jobs: int,
    watcher: Watcher,
    claim: IO[str] | None = None,
) -> list[Failure]:
    """Carry out runs, each in a process of its own.

    Args:
        runs: The runs.
        place: The experiment's folder, which says all that they need.
        jobs: How many at a time.
        watcher: Who is told.
        claim: The claim to the folder, which lasts as long as any process.

    Returns:
        What failed, and why.

    Raises:
        InterruptedExperimentError: If Ctrl-C or SIGTERM came; runs have saved their state.
    """
    waiting, working = list(runs), dict[int, tuple["PlannedRun", subprocess.Popen[bytes]]]()
    failures: list[Failure] = []
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with _listening() as signals:
        while working or (waiting and signals.received is None):
            while waiting and len(working) < jobs and signals.received is None:
                run = waiting.pop(0)
                watcher.begun(run)
                process = _started(run, place, threads, claim)
                working[process.pid] = run, process
                signals.processes.append(process)
            time.sleep(_LOOK_S)
            for pid, (run, process) in list(working.items()):
                if process.poll() is None:
                    continue
                del working[pid]
                signals.processes.remove(process)
                if process.returncode == 0:
                    watcher.finished(run)
                elif signals.received is None:
                    failures.append(read_failure(run, process.returncode))
                    watcher.failed(failures[-1])
        if signals.received is not None:
            raise InterruptedExperimentError(signals.received, place)
    return failures


def _started(
    run: PlannedRun, place: Path, threads: int, claim: IO[str] | None
) -> subprocess.Popen[bytes]:
    run.log.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "omniflow.experiments.worker",
        str(place), run.name, str(run.seed), str(os.getpid()),
    ]  # fmt: skip
    with run.log.open("ab") as log:
        return subprocess.Popen(
            command,
            env={"OMP_NUM_THREADS": str(threads), **os.environ},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=() if claim is None else (claim.fileno(),),
        )


@contextmanager
def _listening() -> Iterator[_Signals]:
    """While entered, Ctrl-C and SIGTERM are handed on, and the processes end with the block."""
    signals = _Signals()
    previous = {
        number: signal.signal(number, signals.receive) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield signals
    finally:
        for process in signals.processes:
            process.terminate()
            process.wait()
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def claimed(place: Path) -> Iterator[IO[str] | None]:
    """While entered, no other experiment works in the folder, nor after it while a run of it does.

    Yields:
        The open file that stands for the claim; None on a system without such claims.

    Raises:
        UsageError: If another experiment does.
    """
    place.mkdir(parents=True, exist_ok=True)
    with (place / ".claim").open("a") as file:
        try:
            import fcntl
        except ImportError:
            yield None
            return
        until = time.monotonic() + _OUTLIVED_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > until:
                    raise UsageError(
                        "another experiment is at work in this folder",
                        where=str(place),
                        expected="one at a time, or another --output-dir",
                    ) from error
                time.sleep(_LOOK_S)
            # A file system that knows no claims.
            except OSError:
                break
        yield file
