"""Trains runs that are killed again and again: `python killing.py CASES.json ENDINGS.json`.

One process imports everything and computes nothing; each attempt at a run is a fork of it, so that
a start costs next to nothing. A fork dies by SIGKILL: by its own hand right before a chosen
operation on a file (open, rename, symbolic link, removal, ...), most of which belong to a
checkpoint that is being written, or by its parent's a moment after such an operation.

A case is `{"recipe": FILE, "folder": RUN, "seed": N, "kills": [KIND, ...]}`, a kind `before` or
`after`. `RUN-whole` becomes the run that nobody disturbs, `RUN` the one that is killed. How every
attempt ended is written to a second file, one list a case.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch

from omniflow.assembly import assemble
from omniflow.draft import Draft
from omniflow.plugins import load_plugins
from omniflow.resolve import resolve
from omniflow.training.trainer import train
from omniflow_cli.run_place import choose_place

#: Python's audit events for what is done to files; opening one to read it counts as well.
OPERATIONS = frozenset(
    {
        "open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.chmod",
        "shutil.rmtree", "tempfile.mkdtemp",
    }
)  # fmt: skip

#: A kill `after` an operation comes within the time that so many take on average: a part of a step.
LATEST = 20


class Operations:
    """Counts this process's operations on files of a run.

    Args:
        run: The run's folder.
        chosen: Number of one of them, from 1; 0 for none.
        before: What is done right before that one.
    """

    def __init__(self, run: Path, chosen: int, before: Callable[[], None]) -> None:
        self.run = str(run)
        self.chosen = chosen
        self.before = before
        self.pid = os.getpid()
        self.count = 0
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[object, ...]) -> None:
        # Workers inherit the hook.
        if event not in OPERATIONS or os.getpid() != self.pid:
            return
        if any(str(argument).startswith(self.run) for argument in arguments):
            self.count += 1
            if self.count == self.chosen:
                self.before()


class Runner:
    """Attempts at one run, each in a fork.

    Args:
        recipe: File of its recipe.
        run: Its folder.
    """

    def __init__(self, recipe: str, run: Path) -> None:
        self.recipe = recipe
        self.run = run

    def attempt(self, chosen: int = 0, delay_s: float | None = None) -> tuple[str, int]:
        """Train with `--resume auto`; returns how that ended, and the number of operations.

        Args:
            chosen: Number of the operation at which it is killed; 0 for none.
            delay_s: Seconds between operation and kill; None for a kill right before it.
        """
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            self._train(writing, chosen, delay_s)
        os.close(writing)
        if delay_s is not None:
            os.read(reading, 1)
            time.sleep(delay_s)
            os.kill(child, signal.SIGKILL)
        # Its workers may hold the pipe for a moment longer: ask for its end, not for the pipe's.
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        operations = int(os.read(reading, 32)) if code == 0 else 0
        os.close(reading)
        endings = {0: "finished", -signal.SIGKILL: "killed"}
        return endings.get(code, f"exit code {code}"), operations

    def _train(self, told: int, chosen: int, delay_s: float | None) -> None:
        """The whole life of a fork."""

        def die() -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        def tell() -> None:
            os.write(told, b"!")

        code = 1
        try:
            operations = Operations(self.run, chosen, die if delay_s is None else tell)
            place = choose_place(str(self.run), "auto", lambda: "unused")
            place.make_room()
            registry = load_plugins().registry
            recipe = resolve(Draft.from_file(self.recipe), registry)
            train(recipe, output_dir=self.run, registry=registry, resume=place.is_resumed)
            os.write(told, str(operations.count).encode())
            code = 0
        finally:
            if code:
                sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
            os._exit(code)


def carry_out(case: dict[str, Any]) -> list[str]:
    """How the undisturbed run ended, each killed attempt at the other one, and its last one."""
    run, kills, random = Path(case["folder"]), case["kills"], Random(case["seed"])
    started = time.monotonic()
    ended, operations = Runner(case["recipe"], run.with_name(f"{run.name}-whole")).attempt()
    mean_s = (time.monotonic() - started) / max(operations, 1)
    endings = [ended]
    runner = Runner(case["recipe"], run)
    for kind in kills:
        # All of them together lie within one run.
        chosen = 1 + int(random.random() * operations / len(kills))
        delay_s = random.random() * LATEST * mean_s if kind == "after" else None
        endings.append(runner.attempt(chosen, delay_s)[0])
    return [*endings, runner.attempt()[0]]


def main() -> None:
    """Carry out the cases of a file."""
    torch.set_num_threads(1)
    # What is killed is a process, not the machine: nothing has to be on the disk.
    os.fsync = lambda fd: None
    cases = json.loads(Path(sys.argv[1]).read_text())
    registry = load_plugins().registry
    for case in cases:
        # Imports, for the forks to share, what is imported late.
        recipe = resolve(Draft.from_file(case["recipe"]), registry)
        assemble(recipe, registry, device=torch.device("cpu"))
    Path(sys.argv[2]).write_text(json.dumps([carry_out(case) for case in cases]))


if __name__ == "__main__":
    main()
