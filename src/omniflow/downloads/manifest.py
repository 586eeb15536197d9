"""`manifest.json` of a downloaded data set: where it is from, what is in it, and checksums."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omniflow.datasets.member_names import leads_out
from omniflow.errors import DataError
from omniflow.files import write_json

MANIFEST = "manifest.json"
FORMAT = "omniflow.data/1"


@dataclass(frozen=True)
class Selection:
    """Which records of a split are taken: all, or a part.

    Args:
        is_streaming: Records are read out of files, not files fetched whole.
        max_samples: So many at most, the first ones.
        subset_fraction: The first share of every file, in (0, 1].
    """

    is_streaming: bool = False
    max_samples: int | None = None
    subset_fraction: float | None = None


@dataclass(frozen=True)
class PartOrigin:
    """Content of a part at its source; parts of one origin are alike, whatever the commit.

    Args:
        path: A file there.
        content: Its SHA-256, or git object id.
        row_groups: Row groups of it that were read; None for the file as it is.
        records: How many records of these; None for all.
    """

    path: str
    content: str
    row_groups: tuple[int, ...] | None = None
    records: int | None = None


@dataclass(frozen=True)
class PartEntry:
    """A file of the folder.

    Args:
        path: Its path in the folder.
        split: The split that it belongs to; None for one that belongs to all.
        size: Its bytes.
        sha256: Its checksum.
        records: Records in it; None where they are not counted.
        origin: Where its content is from.
    """

    path: str
    split: str | None
    size: int
    sha256: str
    records: int | None
    origin: PartOrigin


@dataclass(frozen=True)
class Manifest:
    """What a folder says about itself.

    Args:
        dataset: Name of the data set that reads it.
        source: Its id on the Hub.
        revision: The commit.
        config: Its configuration; None where it has none.
        licence: As the source's card states it; None where it does not.
        splits: Splits of the source that are here, or are to be.
        selection: Which records of them.
        files: What is here so far.
        is_complete: Whether that is everything.
    """

    dataset: str
    source: str
    revision: str
    config: str | None
    licence: str | None
    splits: tuple[str, ...]
    selection: Selection
    files: tuple[PartEntry, ...] = ()
    is_complete: bool = False

    def records(self, split: str) -> int | None:
        """Records of a split; None where they are not counted."""
        counts = [file.records for file in self.files if file.split == split]
        return None if None in counts else sum(count or 0 for count in counts)

    def write(self, folder: Path) -> None:
        """Write it into a folder."""
        content = {
            "format": FORMAT,
            "dataset": self.dataset,
            "source": {"id": self.source, "revision": self.revision, "config": self.config},
            "licence": self.licence,
            "splits": {
                split: {
                    "records": self.records(split),
                    "bytes": sum(file.size for file in self.files if file.split == split),
                }
                for split in self.splits
            },
            "selection": asdict(self.selection),
            "files": [asdict(file) for file in sorted(self.files, key=lambda file: file.path)],
            "complete": self.is_complete,
        }
        write_json(folder / MANIFEST, content)


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder; None where there is none.

    Raises:
        DataError: If it is none of ours.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        return _manifest(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            "is not the manifest of a download", where=str(path), expected=f"format {FORMAT}"
        ) from error


def _manifest(content: Mapping[str, Any]) -> Manifest:
    if content["format"] != FORMAT:
        raise ValueError(content["format"])
    source = content["source"]
    return Manifest(
        dataset=content["dataset"],
        source=source["id"],
        revision=source["revision"],
        config=source["config"],
        licence=content["licence"],
        splits=tuple(content["splits"]),
        selection=Selection(**content["selection"]),
        files=_entries(content["files"]),
        is_complete=content["complete"],
    )


def _entries(files: Sequence[Mapping[str, Any]]) -> tuple[PartEntry, ...]:
    found = []
    for file in files:
        origin = dict(file["origin"])
        groups = origin.pop("row_groups")
        origin["row_groups"] = None if groups is None else tuple(groups)
        if leads_out(file["path"]):
            raise ValueError(file["path"])
        found.append(PartEntry(**{**file, "origin": PartOrigin(**origin)}))
    return tuple(found)
