"""The first conversations of a JSON list, with the pictures that they are about out of a zip."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from omniflow.connection.listing import HubFile, HubListing
from omniflow.connection.patience import Patience
from omniflow.datasets.byte_files import RemoteFile
from omniflow.datasets.json_list import list_items
from omniflow.datasets.zip_members import ZipMembers, open_archive
from omniflow.downloads.manifest import PartEntry, PartOrigin, Selection
from omniflow.downloads.parts import Part, Received, content_of, sha256_of
from omniflow.errors import DataError, UsageError
from omniflow.files import replacing


@dataclass(frozen=True)
class Conversations:
    """Conversations as they stand in their file.

    Args:
        file: The file at the source.
        items: The bytes of each.
    """

    file: HubFile
    items: tuple[bytes, ...] = field(repr=False)
    split: str | None = None

    @property
    def path(self) -> str:
        """As at the source."""
        return self.file.path

    @property
    def size(self) -> int:
        """None: they were read to know which pictures are wanted."""
        return 0

    @property
    def origin(self) -> PartOrigin:
        """The first so many of the file."""
        return PartOrigin(self.file.path, content_of(self.file), records=len(self.items))

    def make(self, folder: Path, patience: Patience, received: Received) -> PartEntry:
        """Write them as a list."""
        target = folder / self.path
        with replacing(target) as temporary:
            temporary.write_bytes(b"[\n" + b",\n".join(self.items) + b"\n]\n")
        return _entry(self, target, len(self.items))


@dataclass(frozen=True)
class Pictures:
    """Pictures out of an archive.

    Args:
        file: The archive at the source.
        archive: Its members.
        names: Which of them.
        records: How many conversations they belong to.
    """

    file: HubFile
    archive: ZipMembers = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    records: int
    split: str | None = None

    @property
    def path(self) -> str:
        """As at the source."""
        return self.file.path

    @property
    def size(self) -> int:
        """Their bytes, if they are as large as the others."""
        return (self.file.size or 0) * len(self.names) // max(1, len(self.archive))

    @property
    def origin(self) -> PartOrigin:
        """Those of the first so many conversations."""
        return PartOrigin(self.file.path, content_of(self.file), records=self.records)

    def make(self, folder: Path, patience: Patience, received: Received) -> PartEntry:
        """Write them into an archive, each fetched by itself.

        Raises:
            DataError: If one is damaged.
        """
        target = folder / self.path
        with replacing(target) as temporary, zipfile.ZipFile(temporary, "w") as out:
            for name in self.names:
                patience.go_on()
                try:
                    content = self.archive.read(name)
                except ValueError as error:
                    raise DataError(str(error), where=self.file.path) from error
                out.writestr(zipfile.ZipInfo(name), content)
                received(len(content))
        return _entry(self, target, None)


def conversation_parts(
    listing: HubListing, files: Sequence[HubFile], selection: Selection
) -> list[Part]:
    """Parts with the selected conversations, and the pictures of these.

    Args:
        listing: The source.
        files: A file of conversations, and an archive.
        selection: Which conversations; a share of them is known when all are read.

    Raises:
        DataError: If a file is damaged.
        UsageError: If the server sends no ranges.
    """
    chat, images = (
        RemoteFile(listing.url(file), hub_id=listing.hub_id, revision=listing.commit)
        for file in files
    )
    if not images.has_ranges:
        raise UsageError(
            f"its server sends no parts of {files[1].path}", where=listing.hub_id,
            expected="no --streaming, --max-samples or --subset-fraction",
        )  # fmt: skip
    share, most = selection.subset_fraction, selection.max_samples
    found = list(islice(list_items(chat), most if share is None else None))
    if share is not None:
        found = found[: math.ceil(len(found) * share)][:most]
    items = tuple(item.content for item in found)
    archive = open_archive(images)
    names = dict.fromkeys(name for item in items for name in _names(item, archive))
    return [
        Pictures(files[1], archive, tuple(names), len(items)),
        Conversations(files[0], items),
    ]


def _names(item: bytes, archive: ZipMembers) -> list[str]:
    """Members of the archive that a conversation is about, as far as it has them."""
    try:
        value = json.loads(item)
    except (ValueError, RecursionError):
        return []
    name = value.get("image") if isinstance(value, dict) else None
    if not isinstance(name, str):
        return []
    return [each for each in (name, f"images/{name}") if each in archive][:1]


def _entry(part: Part, target: Path, records: int | None) -> PartEntry:
    size = target.stat().st_size
    return PartEntry(part.path, None, size, sha256_of(target), records, part.origin)
