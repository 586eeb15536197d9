"""Pictures and sounds that were made, as files in a folder with a manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omniflow.errors import UsageError
from omniflow.files import check_name, replacing, write_json
from omniflow.generation.make import Made
from omniflow.generation.outputs import SUFFIXES
from omniflow.generation.partial import partial_paths
from omniflow.media.audio import write_wav
from omniflow.tasks import Task

FORMAT = "omniflow.media/1"
MANIFEST = "manifest.json"


def makes_media(task: Task) -> bool:
    """Whether a task makes anything but text."""
    return task.made != ("text",)


def check_media_folder(folder: Path, *, where: str | None = None) -> None:
    """Refuse a place that media cannot go to, before they are made.

    Raises:
        UsageError: If it is a file, or a folder that holds anything but work to be continued.
    """
    check_name(folder, where=where)
    if folder.suffix or (folder.exists() and not folder.is_dir()):
        raise UsageError(
            f"{folder} is not the name of a folder",
            where=where,
            expected="a folder for pictures or sounds and their manifest.json: a name without a "
            "suffix",
        )
    if folder.is_dir() and any(folder.iterdir()) and not partial_paths(folder / MANIFEST):
        raise UsageError(
            f"the folder {folder} is not empty", where=where, expected="a new or empty folder"
        )


def write_media(folder: Path, number: int, made: Made, task: Task) -> dict[str, Any]:
    """Write the files of one record, each whole or not at all; gives its entry in the manifest."""
    entry: dict[str, Any] = {"id": made.sample.id, "task": str(task)}
    if made.image is not None:
        entry["image"] = f"{number:06d}{SUFFIXES['image']}"
        with replacing(folder / entry["image"]) as temporary:
            made.image.save(temporary, format="PNG")
    if made.audio is not None:
        entry["audio"] = f"{number:06d}{SUFFIXES['audio']}"
        write_wav(folder / entry["audio"], made.audio)
    if made.text is not None:
        entry["prediction"] = made.text
    text = made.sample.text
    entry["references"] = list(made.sample.references or ([] if text is None else [text]))
    return entry


def has_files(folder: Path, entry: Mapping[str, Any]) -> bool:
    """Whether the files of an entry are there."""
    return all((folder / entry[name]).is_file() for name in ("image", "audio") if name in entry)


def write_manifest(path: Path, about: Mapping[str, Any], records: Sequence[Any]) -> None:
    """Write the manifest, when every file that it names is there.

    Args:
        path: The manifest.
        about: Model, task and the like.
        records: Entries that `write_media` gave.
    """
    write_json(path, {"format": FORMAT, **about, "records": list(records)})
