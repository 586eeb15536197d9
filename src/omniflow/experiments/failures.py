"""Runs that failed: why, kept beside the run so that the others go on."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniflow.errors import OmniFlowError
from omniflow.files import write_json
from omniflow.training.interrupts import InterruptedRunError

if TYPE_CHECKING:
    from omniflow.experiments.plan import PlannedRun

#: Lines of a run's log that are told of one that ended without a word.
_LAST_LINES = 5


@dataclass(frozen=True)
class Failure:
    """Why there is no result.

    Args:
        name: Of the recipe.
        seed: Of the run; None where the recipe itself does not fit.
        problem: What went wrong, as an error is told.
        is_mistake: Whether a person can put it right, rather than a fault.
    """

    name: str
    seed: int | None
    problem: str
    is_mistake: bool

    @property
    def title(self) -> str:
        """What failed."""
        return self.name if self.seed is None else f"{self.name}, seed {self.seed}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"recipe": self.name, "seed": self.seed, "problem": self.problem}


def failure_of(name: str, seed: int | None, error: Exception) -> Failure:
    """An error of a run, or of a recipe when there is no seed."""
    if isinstance(error, OmniFlowError):
        return Failure(name, seed, error.render(), error.exit_code == 2)
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f" ({frame.filename}:{frame.lineno})" for frame in last)
    text = " ".join(str(error).split())
    problem = f"internal fault: {type(error).__name__}: {text}{place}"
    return Failure(name, seed, problem, False)


def attempted(run: PlannedRun, action: Callable[[], None]) -> Failure | None:
    """Carry out a run; what goes wrong, signals apart, is kept beside it and returned."""
    run.failure.unlink(missing_ok=True)
    try:
        action()
    except InterruptedRunError:
        raise
    # A component of a plugin may raise anything, and the other runs are to go on.
    except Exception as error:  # noqa: BLE001
        failure = failure_of(run.name, run.seed, error)
        write_json(run.failure, {"problem": failure.problem, "is_mistake": failure.is_mistake})
        return failure
    return None


def read_failure(run: PlannedRun, code: int) -> Failure:
    """Why the process of a run ended with a code other than 0."""
    try:
        content = json.loads(run.failure.read_text(encoding="utf-8"))
        return Failure(run.name, run.seed, content["problem"], content["is_mistake"])
    except (OSError, ValueError, KeyError):
        ended = f"signal {-code}" if code < 0 else f"exit code {code}"
        lines = [f"its process ended with {ended}", *_last_lines(run.log)]
        return Failure(run.name, run.seed, "\n  ".join(lines), False)


def _last_lines(log: Path) -> list[str]:
    try:
        return log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
    except OSError:
        return []
