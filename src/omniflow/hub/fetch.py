"""A saved model from the Hub, to where `omniflow.load` reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omniflow.errors import UsageError
from omniflow.hub.names import pinned
from omniflow.hub_access import fetch_files

#: What is read of a saved model: itself, and the recipe that tells on what it was trained.
FILES = ("config.json", "model.safetensors", "recipe.yaml", "README.md")


def fetch_model(
    said: str,
    revision: str | None = None,
    *,
    patterns: Sequence[str] = FILES,
    where: str | None = None,
) -> Path:
    """A local folder, named after its commit, with the files of a saved model.

    Files that are there already are not asked for again; with `HF_HUB_OFFLINE` nothing is asked
    for.

    Args:
        said: `OWNER/NAME` or `OWNER/NAME@REVISION`.
        revision: Branch, tag or commit, where it does not stand in the name.
        patterns: Which of its files; config.json has to be among them.
        where: Where it was said.

    Raises:
        UsageError: If the Hub cannot be reached, does not have it, or has no model of ours there.
    """
    name = pinned(said, revision, where=where)
    folder = fetch_files(name.hub_id, name.revision, patterns)
    if not (folder / "config.json").is_file():
        raise UsageError(
            f"{name} on the Hub holds no model of ours",
            where=where,
            expected="config.json and model.safetensors, as `omniflow train` writes them",
        )
    return folder
