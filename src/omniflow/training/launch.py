"""Starting the processes of a run on this machine, and ending as one."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

from omniflow.errors import TrainingError
from omniflow.training.processes import LostProcessError

#: How long the other processes get to end by themselves after one has failed, and again after
#: they have been asked to, in seconds.
GRACE_S = 30.0
ASKED_S = 10.0

_LOOK_S = 0.1

#: Exit codes of a run that saved its state because it was asked to stop.
_STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)


@dataclass
class Worker:
    """One of the processes.

    Args:
        rank: Its number.
        process: The process.
        errors: File of what it writes to stderr; None for the main one, which is heard at once.
        ended_at: When it was seen to have ended.
    """

    rank: int
    process: subprocess.Popen[bytes]
    errors: Path | None
    ended_at: float | None = None

    @property
    def code(self) -> int | None:
        """Its exit code as a shell tells it, or None while it runs."""
        code = self.process.returncode
        return 128 - code if code is not None and code < 0 else code

    def told(self) -> str:
        """The last line that it wrote to stderr, if it was kept."""
        if self.errors is None:
            return ""
        lines = self.errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return next((line for line in reversed(lines) if line.startswith("error:")), "")


#: What to do after a run has ended early.
RESUMING = "checkpoints saved before stand; continue with the same command and --resume auto"


def launch(command: Sequence[str], count: int, *, advice: str = RESUMING) -> int:
    """Run a command in several processes that share a run, and wait for all of them.

    They find one another as under torchrun. A signal is handed on to them. The main process writes
    to stdout and stderr, and its error stands for the run's.

    Args:
        command: The command; the same for all.
        count: How many processes.
        advice: What is left when one fails, and how to go on.

    Returns:
        The exit code of the main process, where no other has failed.

    Raises:
        TrainingError: If another process failed by itself.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    # Port 0 is any free one; the store outlives every process that meets in it.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with TemporaryDirectory(prefix="omniflow-") as folder:
        workers = [
            _started(command, rank, count, store.port, Path(folder)) for rank in range(count)
        ]
        with _handing_on(workers):
            try:
                _wait(workers)
            finally:
                _end(workers)
        return _verdict(workers, advice)


def _started(command: Sequence[str], rank: int, count: int, port: int, folder: Path) -> Worker:
    environment = {**os.environ, **_environment(rank, count, port)}
    if rank == 0:
        return Worker(rank, subprocess.Popen(command, env=environment), None)
    errors = folder / f"{rank}.txt"
    with errors.open("wb") as file:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=file,
        )  # fmt: skip
    return Worker(rank, process, errors)


def _environment(rank: int, count: int, port: int) -> Mapping[str, str]:
    """What torchrun tells its processes."""
    threads = max(1, (os.cpu_count() or 1) // count)
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
        # Else torch wonders in every run that no parameter is left unused in the first step.
        "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
    }


@contextmanager
def _handing_on(workers: Sequence[Worker]) -> Iterator[None]:
    """While entered, Ctrl-C and SIGTERM go to the processes, which save and leave."""

    def hand_on(number: int, frame: FrameType | None) -> None:
        for worker in workers:
            if worker.process.poll() is None:
                worker.process.send_signal(number)

    previous = {
        number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _wait(workers: Sequence[Worker]) -> None:
    """Wait until all have ended, or for a while after one has failed."""
    while any(worker.ended_at is None for worker in workers):
        for worker in workers:
            if worker.ended_at is None and worker.process.poll() is not None:
                worker.ended_at = time.monotonic()
        failed = [w.ended_at for w in workers if w.ended_at and w.code not in (0, *_STOPPED)]
        if failed and time.monotonic() - min(failed) > GRACE_S:
            return
        time.sleep(_LOOK_S)


def _end(workers: Sequence[Worker]) -> None:
    """End those that still run: asked first, then for good."""
    running = [worker.process for worker in workers if worker.process.poll() is None]
    for process in running:
        process.terminate()
    until = time.monotonic() + ASKED_S
    for process in running:
        try:
            process.wait(timeout=max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _verdict(workers: Sequence[Worker], advice: str) -> int:
    main, *others = workers
    code = main.code if main.code is not None else 1
    is_victim = code in (0, *_STOPPED, LostProcessError.exit_code)
    guilty = [
        worker for worker in others
        if worker.code not in (0, *_STOPPED, LostProcessError.exit_code)
    ]  # fmt: skip
    if not guilty or not is_victim:
        return 1 if code == LostProcessError.exit_code else code
    first = min(guilty, key=lambda worker: worker.ended_at or float("inf"))
    told = first.told()
    raise TrainingError(
        f"process {first.rank} of {len(workers)} {_how(first.code or 0)}",
        notes=[
            *([told] if told else []),
            advice,
        ],
    )


def _how(code: int) -> str:
    if code <= 128:
        return f"ended with exit code {code}"
    name = signal.Signals(code - 128).name
    hint = ", perhaps for lack of memory" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"
