"""`--num-processes`: the same command line in several processes that share a run."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from omniflow.errors import ConfigError

FLAG = "--num-processes"


def process_count(said: str | None) -> int:
    """How many processes are meant; 1 when nothing is said.

    Raises:
        ConfigError: If it is no whole number above 0.
    """
    if said is None:
        return 1
    if not said.isascii() or not said.isdecimal() or int(said) < 1:
        raise ConfigError("num_processes", said, expected="a whole number >= 1", where=FLAG)
    return int(said)


def launched(arguments: Sequence[str], count: int, *, advice: str | None = None) -> int:
    """Run `omniflow` with these arguments in so many processes; returns the run's exit code.

    Args:
        arguments: Those of the command line.
        count: How many processes.
        advice: What is left when one fails, where that is no run with checkpoints.
    """
    from omniflow.training.launch import RESUMING, launch

    command = [sys.executable, "-m", "omniflow_cli", *arguments]
    return launch(command, count, advice=advice or RESUMING)
