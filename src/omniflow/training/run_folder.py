"""The folder of a run: recipe, metrics, checkpoints, and which of them is best and latest."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniflow.checkpoints import read_json, read_tensors, write_tensors
from omniflow.errors import CheckpointError, OmniFlowError, UsageError
from omniflow.files import remove_leftovers, write_json, write_text, writing_folder
from omniflow.training.claim import CLAIM

if TYPE_CHECKING:
    from torch import Tensor

    from omniflow.model import OmniFlowModel
    from omniflow.recipe import Recipe

STATE_FOLDER = "training_state"

#: What a run replaces as a whole.
_REPLACED = re.compile(r"best|final|step-\d+|recipe\.yaml|metrics\.jsonl|report\.html")


@dataclass(frozen=True)
class Checkpoint:
    """What a run goes on from.

    Args:
        folder: Where it lies.
        trained: Trained tensors by name.
        tensors: Optimizer state and the like.
        state: Plain data, see `read_state`.
    """

    folder: Path
    trained: Mapping[str, Tensor]
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]


#: What every state holds, of which type, and what it says.
_STATE = (
    ("step", int, "its step"),
    ("position", int, "how many samples it has read"),
    ("evaluations", dict, "its evaluations"),
    ("counts", dict, "what its sums are of"),
    ("texts_cut", int, "how many texts were cut"),
)


def read_state(path: Path) -> dict[str, Any]:
    """The plain data of a checkpoint.

    Raises:
        CheckpointError: If it cannot be read, or lacks a part.
    """
    state = read_json(path)
    for name, kind, told in _STATE:
        if not isinstance(state, dict) or not isinstance(state.get(name), kind):
            raise CheckpointError(
                f"it does not say {told}",
                where=str(path),
                expected="a checkpoint of this version",
            )
    return dict(state)


class RunFolder:
    """`recipe.yaml`, `metrics.jsonl`, `checkpoints/step-N/`, `best/`, `latest/`, `final/`.

    Args:
        path: The folder; made by what is first written to it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def latest(self) -> Path:
        """A link to the newest step checkpoint."""
        return self.path / "latest"

    @property
    def newest(self) -> Path | None:
        """The checkpoint to go on from: the one of `latest`, and without it that of the last step.

        A copy may have lost the link, and a damaged checkpoint been removed by hand.
        """
        folders = [self.latest, *reversed(self._step_folders())]
        whole = (folder for folder in folders if (folder / STATE_FOLDER / "state.json").is_file())
        return next((folder.resolve() for folder in whole), None)

    @property
    def is_resumable(self) -> bool:
        """Whether there is a complete checkpoint to go on from."""
        return self.newest is not None

    @property
    def is_used(self) -> bool:
        """Whether anything is in it; what a run that has not begun holds locked is nothing."""
        return self.path.is_dir() and any(file.name != CLAIM for file in self.path.iterdir())

    def check(self, *, resuming: bool) -> None:
        """Refuse a folder that a run could not be written to; writes nothing.

        Raises:
            UsageError: If it is in use already, is a file, or cannot be made or written.
        """
        if not resuming and self.is_used:
            raise UsageError(
                "the folder is not empty",
                where=str(self.path),
                expected="an empty folder, or --resume auto to continue the run in it",
            )
        present = next(
            place for place in (self.path, *self.path.absolute().parents) if place.exists()
        )
        if not present.is_dir() or not os.access(present, os.W_OK):
            reason = "no permission" if present.is_dir() else "not a folder"
            raise UsageError(f"cannot be written ({present}: {reason})", where=str(self.path))

    def kept(self) -> str:
        """What is left of a run that broke off, for its last message."""
        newest = self.newest
        if newest is not None:
            return f"state kept in {newest}"
        return "no checkpoint was due before that"

    def write_recipe(self, recipe: Recipe) -> None:
        """Write the resolved recipe, and make the folder if need be."""
        write_text(self.path / "recipe.yaml", recipe.to_yaml())

    def append_metrics(self, figures: Mapping[str, Any]) -> None:
        """One more line of `metrics.jsonl`.

        Raises:
            OmniFlowError: If it cannot be written (a full disk, a folder that is gone).
        """
        path = self.path / "metrics.jsonl"
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(figures) + "\n")
        except OSError as error:
            raise OmniFlowError(
                f"cannot be written ({error.strerror or error})", where=str(path)
            ) from error

    def forget_metrics_after(self, step: int) -> None:
        """Drop the lines of steps that a resumed run will take again, and a half-written one."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return
        kept = []
        for data in path.read_bytes().splitlines():
            try:
                line = data.decode()
                if json.loads(line)["step"] <= step:
                    kept.append(line)
            # What a lost disk cache or another program has left there is no line of ours.
            except (ValueError, TypeError, KeyError):
                break
        write_text(path, "".join(line + "\n" for line in kept))

    def remove_leftovers(self) -> None:
        """Remove what was being written when the run was killed; it may be as large as a model."""
        for folder in (self.path, self.path / "checkpoints"):
            remove_leftovers(folder, _REPLACED)
        for link in self.path.glob(".latest.*"):
            link.unlink()

    def save_checkpoint(
        self,
        model: OmniFlowModel,
        weights: Mapping[str, Tensor],
        tensors: Mapping[str, Tensor],
        state: Mapping[str, Any],
        *,
        keep: int,
    ) -> Path:
        """Write `checkpoints/step-N`, point `latest` at it, and remove the oldest.

        Args:
            model: What is saved.
            weights: Its trained tensors, whole.
            tensors: Optimizer state and the like, by name.
            state: Plain data: step, best figure so far, ...
            keep: How many step checkpoints stay.
        """
        folder = self.step_folder(state["step"])
        with writing_folder(folder) as temporary:
            model.write_files(temporary, weights)
            write_tensors(temporary / STATE_FOLDER / "tensors.safetensors", tensors)
            write_json(temporary / STATE_FOLDER / "state.json", state)
        self._point_latest_at(folder)
        for old in self._step_folders()[:-keep]:
            if old != folder:
                shutil.rmtree(old)
        return folder

    def step_folder(self, step: int) -> Path:
        """Where the checkpoint of a step lies."""
        return self.path / "checkpoints" / f"step-{step}"

    def read_checkpoint(self) -> Checkpoint:
        """The newest checkpoint.

        Raises:
            CheckpointError: If there is none, or a file of it is damaged.
        """
        folder = self.newest
        if folder is None:
            raise CheckpointError(
                "there is no checkpoint to resume from",
                where=str(self.path),
                expected="a run with latest/training_state",
            )
        try:
            return Checkpoint(
                folder,
                read_tensors(folder / "model.safetensors"),
                read_tensors(folder / STATE_FOLDER / "tensors.safetensors"),
                read_state(folder / STATE_FOLDER / "state.json"),
            )
        except CheckpointError as error:
            error.notes += self._way_back(folder)
            raise

    def _way_back(self, damaged: Path) -> tuple[str, ...]:
        """How to do without a checkpoint that cannot be read."""
        others = [folder for folder in self._step_folders() if folder.resolve() != damaged]
        if not others:
            return ()
        return (f"remove {damaged} to go on from {others[-1].name}",)

    def _step_folders(self) -> list[Path]:
        """Step checkpoints, oldest first."""
        folders = [
            folder
            for folder in (self.path / "checkpoints").glob("step-*")
            if folder.name.removeprefix("step-").isdecimal()
        ]
        return sorted(folders, key=lambda folder: int(folder.name.removeprefix("step-")))

    def _point_latest_at(self, folder: Path) -> None:
        link = self.path / f".latest.{os.getpid()}"
        link.unlink(missing_ok=True)
        link.symlink_to(folder.relative_to(self.path), target_is_directory=True)
        # A copy of the run may hold a folder where the link was.
        if self.latest.is_dir() and not self.latest.is_symlink():
            shutil.rmtree(self.latest)
        os.replace(link, self.latest)
