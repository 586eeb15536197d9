"""Parts of a download: whole files of the source, or rows out of them, each made by itself."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from omniflow.connection.fetch import fetch_file
from omniflow.connection.listing import HubFile, HubListing
from omniflow.connection.patience import Patience
from omniflow.connection.ranges import RangeFile
from omniflow.downloads.manifest import PartEntry, PartOrigin, Selection
from omniflow.errors import DataError, UsageError
from omniflow.files import replacing
from omniflow.hub_access import one_line

#: Row groups of one file are brought together in a part of about so many bytes.
PART_BYTES = 64 << 20

_PARQUET = ".parquet"

Received = Callable[[int], None]


class Part(Protocol):
    """Something that becomes one file of the folder."""

    @property
    def path(self) -> str:
        """Where it goes, in the folder."""

    @property
    def split(self) -> str | None:
        """The split that it belongs to; None if it belongs to all."""

    @property
    def size(self) -> int:
        """Bytes that have to be fetched for it."""

    @property
    def origin(self) -> PartOrigin:
        """What it will hold."""

    def make(self, folder: Path, patience: Patience, received: Received) -> PartEntry:
        """Write it into a folder; it is whole or not there."""


@dataclass(frozen=True)
class WholeFile:
    """A file as the source has it.

    Args:
        listing: The source.
        file: The file there.
        path: Where it goes, in the folder.
        split: The split that it belongs to.
    """

    listing: HubListing
    file: HubFile
    path: str
    split: str | None

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.file.size or 0

    @property
    def origin(self) -> PartOrigin:
        """The file."""
        return PartOrigin(self.file.path, content_of(self.file))

    def make(self, folder: Path, patience: Patience, received: Received) -> PartEntry:
        """Fetch it, going on with what an earlier attempt has left.

        Raises:
            DataError: If it is no parquet file, though it is called one.
        """
        target = folder / self.path
        digest = fetch_file(
            self.listing.url(self.file), target, self.file, patience=patience, received=received
        )
        return PartEntry(
            self.path, self.split, target.stat().st_size, digest, _records(target), self.origin
        )


@dataclass(frozen=True)
class Rows:
    """Some row groups of a parquet file at the source, or the first records of them.

    Args:
        listing: The source.
        file: The file there.
        metadata: Its `pyarrow.parquet.FileMetaData`.
        groups: Numbers of the row groups.
        records: How many records are taken of them.
        path: Where they go, in the folder.
        split: The split that they belong to.
    """

    listing: HubListing
    file: HubFile
    metadata: Any
    groups: tuple[int, ...]
    records: int
    path: str
    split: str | None

    @property
    def size(self) -> int:
        """Bytes of these row groups."""
        return sum(_group_bytes(self.metadata, group) for group in self.groups)

    @property
    def origin(self) -> PartOrigin:
        """The row groups of the file."""
        return PartOrigin(self.file.path, content_of(self.file), self.groups, self.records)

    def make(self, folder: Path, patience: Patience, received: Received) -> PartEntry:
        """Read them, and write them under the schema of the source.

        Raises:
            DataError: If the file is damaged.
        """
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
        remote = RangeFile(self.listing.url(self.file), self.file.size or 0, patience)
        where = f"{self.listing.hub_id}: {self.file.path}"
        target = folder / self.path
        try:
            source = parquet.ParquetFile(remote, metadata=self.metadata, pre_buffer=True)
            with (
                replacing(target) as temporary,
                parquet.ParquetWriter(temporary, source.schema_arrow) as out,
            ):
                left = self.records
                for group in self.groups:
                    table = source.read_row_group(group).slice(0, left)
                    out.write_table(table)
                    left -= len(table)
                    received(_group_bytes(self.metadata, group))
        except (arrow.ArrowInvalid, arrow.ArrowNotImplementedError) as error:
            raise DataError(f"cannot be read ({one_line(error)})", where=where) from error
        digest = sha256_of(target)
        size = target.stat().st_size
        return PartEntry(self.path, self.split, size, digest, self.records, self.origin)


def whole_files(listing: HubListing, split: str, paths: Sequence[str]) -> list[Part]:
    """A part a file of a split."""
    known = {file.path: file for file in listing.files}
    return [WholeFile(listing, known[path], path, split) for path in paths]


def row_parts(
    listing: HubListing,
    split: str,
    paths: Sequence[str],
    selection: Selection,
    patience: Patience,
) -> list[Part]:
    """Parts with the records of a split that are selected; of its files only the ends are read.

    Args:
        listing: The source.
        split: The split.
        paths: Its files, in order.
        selection: Which records.
        patience: How often is tried again.

    Raises:
        UsageError: If the files are no parquet.
        DataError: If one is damaged.
    """
    other = next((path for path in paths if not path.endswith(_PARQUET)), None)
    if other is not None:
        raise UsageError(
            f"{other} is no parquet file, so that records cannot be read out of it",
            where=listing.hub_id,
            expected="no --streaming, --max-samples or --subset-fraction",
        )
    known = {file.path: file for file in listing.files}
    left = math.inf if selection.max_samples is None else selection.max_samples
    parts: list[Part] = []
    for path in paths:
        if left <= 0:
            break
        metadata = _read_metadata(listing, known[path], patience)
        rows = metadata.num_rows
        if selection.subset_fraction is not None:
            rows = math.ceil(rows * selection.subset_fraction)
        rows = int(min(rows, left))
        left -= rows
        for groups, records in _bundles(metadata, rows):
            name = f"data/{split}-{len(parts):05}{_PARQUET}"
            parts.append(Rows(listing, known[path], metadata, groups, records, name, split))
    return parts


def _bundles(metadata: Any, rows: int) -> Iterator[tuple[tuple[int, ...], int]]:
    """Consecutive row groups that hold the first rows of a file, and how many rows each brings."""
    groups: list[int] = []
    records = size = 0
    for group in range(metadata.num_row_groups):
        if rows <= 0:
            break
        count = min(rows, metadata.row_group(group).num_rows)
        groups.append(group)
        rows -= count
        records += count
        size += _group_bytes(metadata, group)
        if size >= PART_BYTES:
            yield tuple(groups), records
            groups, records, size = [], 0, 0
    if groups:
        yield tuple(groups), records


def _group_bytes(metadata: Any, group: int) -> int:
    """Bytes of a row group in its file."""
    row_group = metadata.row_group(group)
    return sum(
        row_group.column(column).total_compressed_size for column in range(row_group.num_columns)
    )


def _read_metadata(listing: HubListing, file: HubFile, patience: Patience) -> Any:
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    try:
        return parquet.read_metadata(RangeFile(listing.url(file), file.size or 0, patience))
    except arrow.ArrowInvalid as error:
        where = f"{listing.hub_id}: {file.path}"
        raise DataError(f"cannot be read ({one_line(error)})", where=where) from error


def _records(path: Path) -> int | None:
    """Records of a parquet file; None of any other."""
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    if PurePosixPath(path.name).suffix != _PARQUET:
        return None
    try:
        return int(parquet.read_metadata(path).num_rows)
    except arrow.ArrowInvalid as error:
        raise DataError(f"cannot be read ({one_line(error)})", where=str(path)) from error


def content_of(file: HubFile) -> str:
    """What the Hub calls the content of a file."""
    return file.sha256 or file.blob or ""


def sha256_of(path: Path) -> str:
    """The checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
