"""The hooks that a plugin may implement: one registers components, the others follow runs.

Those that follow runs are called in the main process alone, in the order of the plugins' names and
never inside a step. A hook may leave out arguments that it does not need. What it raises is logged
and counted, and the run goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pluggy

if TYPE_CHECKING:
    from omniflow.registry import Origin

PROJECT = "omniflow"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

#: How a run can end. Nobody can tell that a process was killed.
Ending = Literal["finished", "interrupted", "failed"]


class Register(Protocol):
    """What a plugin's hook is handed: one call a component."""

    def __call__(self, *, kind: str, name: str, target: str | type, summary: str) -> None:
        """Register a component; see `Component` for the arguments."""


class Hooks:
    """The hooks that a plugin may implement."""

    @hookspec
    def omniflow_register(self, register: Register) -> None:
        """Register components; called once, with nothing heavy imported yet.

        Args:
            register: Call it with kind, name, target and summary for each component.
        """

    @hookspec
    def omniflow_run_started(
        self, folder: Path, recipe: Mapping[str, Any], step: int, total_steps: int
    ) -> None:
        """A run begins or goes on: the model stands, and nothing has been measured yet.

        Args:
            folder: The run's folder, in which `recipe.yaml` lies.
            recipe: The contents of that file as plain data, secrets hidden.
            step: Steps taken before; above 0 when the run goes on.
            total_steps: Steps of the whole run.
        """

    @hookspec
    def omniflow_step_logged(self, folder: Path, step: int, figures: Mapping[str, Any]) -> None:
        """Training figures were logged, every `training.log_interval` steps.

        Args:
            folder: The run's folder.
            step: Steps taken so far.
            figures: The line of `metrics.jsonl`.
        """

    @hookspec
    def omniflow_evaluated(
        self, folder: Path, step: int, figures: Mapping[str, Any], is_best: bool
    ) -> None:
        """The validation split was measured; the first time before the first step.

        Args:
            folder: The run's folder.
            step: Steps taken so far.
            figures: The line of `metrics.jsonl`.
            is_best: Whether it is the best evaluation so far; the model is in `best/` then.
        """

    @hookspec
    def omniflow_checkpoint_saved(self, folder: Path, checkpoint: Path) -> None:
        """A checkpoint is complete and `latest` points at it.

        Args:
            folder: The run's folder.
            checkpoint: The checkpoint's folder, `checkpoints/step-N`.
        """

    @hookspec
    def omniflow_run_ended(
        self, folder: Path, how: Ending, step: int, error: str, figures: Mapping[str, Any]
    ) -> None:
        """A run that was told to have started is over, also by an error or a signal.

        Args:
            folder: The run's folder.
            how: `finished`, also early; `interrupted` by Ctrl-C or SIGTERM, with the state saved;
                or `failed`.
            step: Steps taken.
            error: What ended the run, in one line with secrets hidden; empty when it finished.
            figures: Those of the last evaluation; empty if there was none.
        """


#: The hooks that follow runs.
LIFECYCLE = tuple(
    name for name in vars(Hooks) if name.startswith("omniflow_") and name != "omniflow_register"
)


@dataclass(frozen=True)
class Subscriber:
    """A plugin that follows runs.

    Args:
        name: Its entry-point name.
        origin: Its distribution.
        hooks: Which of `LIFECYCLE` it implements.
        relay: Calls them.
    """

    name: str
    origin: Origin
    hooks: tuple[str, ...]
    relay: pluggy.HookRelay

    def call(self, hook: str, arguments: Mapping[str, Any]) -> None:
        """Call one of its hooks; whatever that raises comes out."""
        getattr(self.relay, hook)(**arguments)
