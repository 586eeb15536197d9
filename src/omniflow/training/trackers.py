"""The trackers by name: how accelerate's are opened for a run, new or continued."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omniflow.errors import ConfigError
from omniflow.redaction import hide

#: What runs are gathered under where the tracker has projects and nobody says another.
PROJECT = "omniflow"

OPTION = "training.trackers"


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told about a run.

    Args:
        folder: The run's folder.
        id: What the tracker knows the run by; the same when the run is continued.
        settings: The recipe's options, one level deep, secrets hidden.
        step: Steps taken before.
        is_known: Whether the tracker has followed the run before.
    """

    folder: Path
    id: str
    settings: Mapping[str, Any]
    step: int
    is_known: bool

    @property
    def title(self) -> str:
        """What people see: the name of the run's folder."""
        return self.folder.absolute().name


@dataclass(frozen=True)
class Tracker:
    """A tracker that follows a run.

    Args:
        log: Takes figures by name and the step they belong to.
        finish: Writes what is not written yet; nothing can be logged after it.
        forgets: Whether it drops by itself what a continued run will log again.
    """

    log: Callable[[Mapping[str, float], int], None]
    finish: Callable[[], None]
    forgets: bool = False


def check_installed(name: str) -> None:
    """Refuse a tracker whose package is missing, without importing it.

    Raises:
        ConfigError: If it is not installed; says what to install.
    """
    # A folder of that name, such as wandb leaves behind, has no origin.
    if getattr(find_spec(name), "origin", None) is None:
        raise ConfigError(
            OPTION,
            name,
            expected="a tracker that is installed",
            notes=[f'install it with: pip install "omniflow-zoo[{name}]"'],
        )


def open_tracker(name: str, run: TrackedRun) -> Tracker:
    """Let a tracker follow a run.

    Raises:
        ConfigError: If it cannot, for lack of a login or a connection for example.
    """
    try:
        # Results go to stdout, and nothing else does.
        with redirect_stdout(sys.stderr):
            return _OPENERS[name](run)
    # It is somebody else's package that may raise anything, and each has errors of its own.
    except Exception as error:
        reason = hide(" ".join(str(error).split())) or type(error).__name__
        raise ConfigError(
            OPTION, name, expected="a tracker that can be started", notes=[reason]
        ) from error


def _open_tensorboard(run: TrackedRun) -> Tracker:
    from accelerate.tracking import TensorBoardTracker

    # Readers of the files drop what is there from this step on.
    options = {"purge_step": run.step + 1} if run.is_known else {}
    tracker = TensorBoardTracker("tensorboard", run.folder, **options)
    tracker.start()
    if not run.is_known:
        from torch.utils.tensorboard.summary import hparams

        # accelerate (1.15) stores them as a further run in a folder of its own.
        for summary in hparams(dict(run.settings), {}):  # type: ignore[no-untyped-call]
            tracker.writer.file_writer.add_summary(summary)
    return Tracker(tracker.log, tracker.finish, forgets=True)


def _open_wandb(run: TrackedRun) -> Tracker:
    from accelerate.tracking import WandBTracker

    # What its variables say wins: options would win over them.
    options = {
        option: value
        for option, variable, value in (
            ("dir", "WANDB_DIR", str(run.folder)),
            ("name", "WANDB_NAME", run.title),
            ("id", "WANDB_RUN_ID", run.id),
        )
        if variable not in os.environ
    }
    if run.is_known:
        options["resume"] = "allow"
    # The command line and the address of a repository may hold secrets, and so may the output.
    private = {"x_disable_meta": True, "disable_git": True, "disable_code": True, "console": "off"}
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    run.folder.mkdir(parents=True, exist_ok=True)
    tracker = WandBTracker(project, settings=private, **options)
    try:
        tracker.start()
    except Exception:
        if not any(run.folder.iterdir()):
            run.folder.rmdir()
        raise
    tracker.store_init_configuration(dict(run.settings))
    return Tracker(tracker.log, tracker.finish)


def _open_trackio(run: TrackedRun) -> Tracker:
    import trackio
    from accelerate.tracking import TrackioTracker

    tracker = TrackioTracker(
        PROJECT,
        name=f"{run.title}-{run.id}",
        resume="allow" if run.is_known else "never",
        config=dict(run.settings),
        embed=False,
    )
    tracker.start()
    # Not the tracker's own: after that one, trackio finishes the run once more at exit.
    return Tracker(tracker.log, trackio.finish)


_OPENERS: Mapping[str, Callable[[TrackedRun], Tracker]] = {
    # The last writes into the run's folder, which stays empty when another is refused.
    "wandb": _open_wandb,
    "trackio": _open_trackio,
    "tensorboard": _open_tensorboard,
}

#: The trackers' names, in the order in which they are to be opened.
NAMES = tuple(_OPENERS)
