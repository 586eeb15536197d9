"""What a data set consists of at its source: splits of tables, or files of its own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import Protocol

from omniflow.connection.listing import HubListing
from omniflow.connection.patience import Patience
from omniflow.datasets.hub_source import HubSource
from omniflow.downloads.card import CARD
from omniflow.downloads.conversations import conversation_parts
from omniflow.downloads.manifest import Selection
from omniflow.downloads.names import HubData
from omniflow.downloads.parts import Part, WholeFile, row_parts, whole_files
from omniflow.errors import DataError, UnknownNameError, UsageError
from omniflow.hub_access import fetch_files, reaching_hub


class DataSource(Protocol):
    """A data set at one commit."""

    commit: str
    config: str | None

    @property
    def card(self) -> Path:
        """Its card; it need not exist."""

    def reaching(self) -> AbstractContextManager[None]:
        """Tells what goes wrong with the connection."""

    def splits(self, said: Sequence[str], there: Sequence[str]) -> list[str]:
        """Splits that are wanted, by their names at the source.

        Args:
            said: Those that are asked for; those that the data set reads when empty.
            there: Those that the folder has.

        Raises:
            UnknownNameError, UsageError: If there is no such split.
        """

    def parts(
        self, listing: HubListing, splits: Sequence[str], selection: Selection, patience: Patience
    ) -> list[Part]:
        """What the folder is made of.

        Raises:
            DataError: If files are missing or damaged.
            UsageError: If records cannot be read out of them.
        """


def open_source(data: HubData, revision: str | None) -> DataSource:
    """The source of a data set.

    Raises:
        UsageError: If the Hub cannot be reached or does not have it.
    """
    return NamedFiles(data, revision) if data.source_files else SplitTables(data, revision)


class SplitTables:
    """A data set whose card, or whose files' names, say which files belong to which split."""

    def __init__(self, data: HubData, revision: str | None) -> None:
        self.data = data
        self.source = HubSource(data.hub_id, data.config, revision)
        self.commit = self.source.commit or ""
        self.config = self.source.config

    @property
    def card(self) -> Path:
        """Its card."""
        return self.source.folder / CARD

    def reaching(self) -> AbstractContextManager[None]:
        """Tells what goes wrong with the connection."""
        return self.source.reaching()

    def splits(self, said: Sequence[str], there: Sequence[str]) -> list[str]:
        """See `DataSource`."""
        known, names = self.source.splits, self.data.source_splits
        wanted = [names.get(split, split) for split in said]
        for split, as_said in zip(wanted, said, strict=True):
            if split not in known:
                all_names = [*dict.fromkeys([*names, *known])]
                raise UnknownNameError("split", as_said, all_names, where=self.data.hub_id)
        if not wanted:
            wanted = [split for split in names.values() if split in known] or known
        return list(dict.fromkeys(split for split in [*there, *wanted] if split in known))

    def parts(
        self, listing: HubListing, splits: Sequence[str], selection: Selection, patience: Patience
    ) -> list[Part]:
        """See `DataSource`."""
        parts: list[Part] = []
        for split in splits:
            paths = self.source.files_of(split)
            if selection.is_streaming:
                parts += row_parts(listing, split, paths, selection, patience)
            else:
                parts += whole_files(listing, split, paths)
        return parts


class NamedFiles:
    """A data set of files that are known by their names, without splits."""

    def __init__(self, data: HubData, revision: str | None) -> None:
        self.data = data
        self._folder = fetch_files(data.hub_id, revision, [CARD], kind="dataset")
        self.commit = self._folder.name
        self.config: str | None = None

    @property
    def card(self) -> Path:
        """Its card."""
        return self._folder / CARD

    def reaching(self) -> AbstractContextManager[None]:
        """Tells what goes wrong with the connection."""
        return reaching_hub(self.data.hub_id, self.commit, kind="dataset")

    def splits(self, said: Sequence[str], there: Sequence[str]) -> list[str]:
        """None."""
        if said:
            raise UsageError(
                f"{self.data.name} has no splits at its source", where="--split",
                expected="nothing: all three are shares of it",
            )  # fmt: skip
        return []

    def parts(
        self, listing: HubListing, splits: Sequence[str], selection: Selection, patience: Patience
    ) -> list[Part]:
        """See `DataSource`."""
        known = {file.path: file for file in listing.files}
        missing = [name for name in self.data.source_files if name not in known]
        if missing:
            raise DataError(f"there is no file {' or '.join(missing)}", where=self.data.hub_id)
        files = [known[name] for name in self.data.source_files]
        if not selection.is_streaming:
            return [WholeFile(listing, file, file.path, None) for file in files]
        if [PurePosixPath(file.path).suffix for file in files] != [".json", ".zip"]:
            raise UsageError(
                "records cannot be read out of its files", where=self.data.hub_id,
                expected="no --streaming, --max-samples or --subset-fraction",
            )  # fmt: skip
        return conversation_parts(listing, files, selection)
