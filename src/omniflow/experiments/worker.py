"""One run of an experiment in a process of its own: `python -m omniflow.experiments.worker`."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from omniflow.experiments.failures import attempted
from omniflow.experiments.one_run import carry_out
from omniflow.experiments.plan import ExperimentFolder
from omniflow.plugins import installed_plugins
from omniflow.training.interrupts import InterruptedRunError

FAILED = 1

#: Time between two looks at whether the experiment is still there, in seconds.
_LOOK_S = 1.0


def main(arguments: Sequence[str]) -> int:
    """Carry out a run; returns the exit code.

    What the run needs stands in the folder, and what goes wrong is written there.

    Args:
        arguments: The experiment's folder, a recipe's name, a seed, and the process that started
            this one.
    """
    place, name, seed, parent = arguments
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    _end_with(int(parent))
    folder = ExperimentFolder(Path(place))
    run = folder.run(name, int(seed))
    registry = installed_plugins().registry

    def action() -> None:
        recipe = folder.recipe(name, run.seed, registry)
        carry_out(run, recipe, folder.options(), registry)

    try:
        return 0 if attempted(run, action) is None else FAILED
    except InterruptedRunError as error:
        return 128 + error.signal_number
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _end_with(parent: int) -> None:
    """Stop, with the state saved, when the process that started this one has gone."""
    threading.Thread(target=partial(_watch, parent), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
