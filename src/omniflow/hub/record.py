"""`hub.json` of a run or a saved model: where it was pushed, and the commits that came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omniflow.errors import DataError
from omniflow.files import write_json

RECORD = "hub.json"
FORMAT = "omniflow.hub/1"


@dataclass(frozen=True)
class Pushed:
    """What came of a push.

    Args:
        repo: `owner/name`.
        revision: The branch.
        commit: The commit that holds it; `repo@commit` stands for these files for ever.
        url: The page of the repository.
        model: Which model of the run it was: `best`, `checkpoints/step-100`.
        weights_hash: SHA-256 of its model.safetensors.
        files: Paths of what is there, in the repository.
        size: Bytes of them.
        notes: What a person should know of it, a sentence each.
    """

    repo: str
    revision: str
    commit: str
    url: str
    model: str
    weights_hash: str
    files: tuple[str, ...]
    size: int
    notes: tuple[str, ...] = ()

    @property
    def pin(self) -> str:
        """What `omniflow.load` takes to read these very files."""
        return f"{self.repo}@{self.commit}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        return {**asdict(self), "files": list(self.files), "notes": list(self.notes)}


def remember(folder: Path, pushed: Pushed) -> None:
    """Add a push to the `hub.json` of a folder; the same again is there once.

    Raises:
        OmniFlowError: If it cannot be written.
    """
    kept = ("repo", "revision", "commit", "url", "model", "weights_hash")
    entry = {name: value for name, value in asdict(pushed).items() if name in kept}
    others = [other for other in pushes(folder) if other != entry]
    write_json(folder / RECORD, {"format": FORMAT, "pushes": [*others, entry]})


def pushes(folder: Path) -> list[Mapping[str, Any]]:
    """The pushes that a folder tells of, oldest first.

    Raises:
        DataError: If its `hub.json` is none of ours.
    """
    path = folder / RECORD
    if not path.is_file():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(content["format"])
        return list(content["pushes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError("is not a record of pushes", where=str(path), expected=FORMAT) from error
