"""Where a run goes: the folder that was asked for, the next free one, or the run to continue."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from omniflow.errors import CheckpointError, UsageError
from omniflow.training.claim import claimed
from omniflow.training.run_folder import RunFolder
from omniflow_cli import render

AUTO = "auto"
RUNS = Path("runs")


@dataclass(frozen=True)
class Place:
    """A run's folder.

    Args:
        folder: The folder.
        is_resumed: Whether the run in it goes on.
        is_unfinished: Whether a run in it stopped before its first checkpoint and is in the way.
    """

    folder: Path
    is_resumed: bool = False
    is_unfinished: bool = False

    def make_room(self) -> None:
        """Rename a run that never got to a checkpoint; nothing of it is lost.

        Raises:
            UsageError: If it is at work.
        """
        if not self.is_unfinished:
            return
        with claimed(self.folder):
            self._move_aside()

    def _move_aside(self) -> None:
        names = (f"{self.folder.name}.unfinished-{number}" for number in count(1))
        aside = next(place for name in names if not (place := self.folder.with_name(name)).exists())
        os.replace(self.folder, aside)
        render.note(f"note: {self.folder} holds no checkpoint to resume from; moved to {aside}")


def choose_place(output_dir: str | None, resume: str | None, stem: Callable[[], str]) -> Place:
    """Settle where the run goes; nothing is written yet.

    Args:
        output_dir: `--output-dir`, if given.
        resume: `--resume`, if given: `auto` or a run.
        stem: Gives the name of the default folder, HEAD-REFINER.

    Raises:
        UsageError: If there is nothing to resume, or two folders are meant.
    """
    if resume not in (None, AUTO):
        return _resumed(Path(str(resume)), output_dir)
    if output_dir is not None:
        folder = Path(output_dir)
        return _continued(folder) if resume == AUTO else Place(folder)
    newest: Path | None = None
    for folder in _series(stem()):
        if _is_free(folder):
            has_run = resume == AUTO and newest is not None and RunFolder(newest).is_resumable
            return Place(newest, is_resumed=True) if has_run and newest else Place(folder)
        newest = folder
    raise AssertionError("the series has no end")


def _resumed(folder: Path, output_dir: str | None) -> Place:
    if output_dir is not None and Path(output_dir).resolve() != folder.resolve():
        raise UsageError(
            f"{output_dir} is not the run to resume",
            where="--output-dir",
            expected=f"{folder}, as --resume says, or no --output-dir",
        )
    if not RunFolder(folder).is_resumable:
        problem = "there is no checkpoint to resume from in" if folder.is_dir() else "there is no"
        raise CheckpointError(
            f"{problem} {folder}", where="--resume", expected=f"{AUTO}, or a run with checkpoints"
        )
    return Place(folder, is_resumed=True)


def _continued(folder: Path) -> Place:
    if RunFolder(folder).is_resumable:
        return Place(folder, is_resumed=True)
    return Place(folder, is_unfinished=(folder / "recipe.yaml").is_file())


def _series(stem: str) -> Iterator[Path]:
    """runs/STEM, runs/STEM-2, runs/STEM-3, ..."""
    name = re.sub(r"[^\w.-]+", "-", stem)
    yield RUNS / name
    yield from (RUNS / f"{name}-{number}" for number in count(2))


def _is_free(folder: Path) -> bool:
    return not folder.exists() or (folder.is_dir() and not RunFolder(folder).is_used)
