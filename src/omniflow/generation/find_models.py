"""From what a person calls a model to the folders that hold it."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from omniflow.checkpoints import checkpoint_folder
from omniflow.errors import CheckpointError, closest
from omniflow.hub.fetch import fetch_model
from omniflow.hub.names import is_on_hub


class FoundModel(NamedTuple):
    """A saved model.

    Args:
        name: What to call it: its folder, or the Hub id with the commit.
        folder: Where its files are.
    """

    name: str
    folder: Path


def find_models(said: str, *, where: str | None = None) -> list[FoundModel]:
    """The saved models that are meant.

    Args:
        said: A saved model; a run, which stands for its best checkpoint; a pattern such as
            `RUN/best*` or `RUN/checkpoints/step-*`, for all that fit; or a Hub id, `OWNER/NAME` or
            `OWNER/NAME@REVISION`.
        where: Where it was said.

    Returns:
        At least one, those of a pattern in their natural order (`step-9` before `step-10`).

    Raises:
        CheckpointError: If there is none.
        UsageError: If the Hub cannot be reached or does not have it.
    """
    path = Path(said)
    if path.exists():
        folder = checkpoint_folder(path)
        return [FoundModel(str(folder), folder)]
    if glob.has_magic(said):
        return [FoundModel(str(folder), folder) for folder in _fitting(said, where)]
    if is_on_hub(said):
        fetched = fetch_model(said, where=where)
        # Its folder is named after the commit, which is what results are told to be of.
        return [FoundModel(f"{said.partition('@')[0]}@{fetched.name}", fetched)]
    siblings = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
    raise CheckpointError(
        "there is no such folder",
        where=said if where is None else f"{where} {said}",
        expected="a run, a saved model, a pattern such as RUN/best*, or a Hub id OWNER/NAME",
        nearest=[str(path.parent / name) for name in closest(path.name, siblings)],
    )


def _fitting(pattern: str, where: str | None) -> list[Path]:
    matches = [Path(name) for name in glob.glob(pattern)]
    folders = []
    for match in sorted(matches, key=_natural):
        try:
            folders.append(checkpoint_folder(match))
        except CheckpointError:
            # A pattern may also fit reports and pictures.
            continue
    # `latest` and the step that it points to, and a run beside its own best, are one model.
    distinct = {folder.resolve(): folder for folder in reversed(folders)}
    if not distinct:
        raise CheckpointError(
            f"no model fits the pattern; {len(matches)} other files and folders do",
            where=pattern if where is None else f"{where} {pattern}",
            expected="a pattern such as RUN/best* or RUN/checkpoints/step-*",
        )
    return list(reversed(distinct.values()))


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]


def outputs_of(output: Path, folders: Sequence[Path]) -> list[Path]:
    """One output a model: the output itself, or where there are several, with the model's name.

    `predictions.json` becomes `predictions-step-10.json`; where names are alike, they get what
    is before them as well.
    """
    if len(folders) == 1:
        return [output]
    names = _distinct(folders, lambda depth: ["-".join(f.parts[-depth:]) for f in folders])
    return [output.with_name(f"{output.stem}-{name}{output.suffix}") for name in names]


def _distinct(folders: Sequence[Path], names: Callable[[int], list[str]]) -> list[str]:
    deepest = max(len(folder.parts) for folder in folders)
    for depth in range(1, deepest + 1):
        found = [re.sub(r"[^\w.-]+", "-", name).strip("-") for name in names(depth)]
        if len(set(found)) == len(found):
            return found
    return [f"{name}-{number}" for number, name in enumerate(names(1), 1)]
