"""Data sets from the Hub into folders that train without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from omniflow.connection.listing import list_repository
from omniflow.connection.patience import Patience
from omniflow.downloads.at_once import at_once, require_workers
from omniflow.downloads.card import stated_licence, write_card
from omniflow.downloads.folder import DownloadFolder
from omniflow.downloads.manifest import Manifest, Selection
from omniflow.downloads.names import HubData
from omniflow.downloads.parts import Part
from omniflow.downloads.progress import DownloadReporter
from omniflow.downloads.room import free_room, require_room
from omniflow.downloads.sources import open_source
from omniflow.errors import ConfigError, UsageError
from omniflow.hub_access import is_offline


@dataclass(frozen=True)
class DataRequest:
    """What is to be downloaded.

    Args:
        data: The data set.
        folder: Where to.
        splits: Splits, by our names or those of the source; those that the data set reads, if
            empty.
        selection: Which records of them.
        revision: Branch, tag or commit; None for the main branch.
        is_forced: Fetch everything, also what is there.
        workers: Parts that are fetched at once.

    Raises:
        ConfigError: If a number is out of range.
    """

    data: HubData
    folder: Path
    splits: tuple[str, ...] = ()
    selection: Selection = field(default_factory=Selection)
    revision: str | None = None
    is_forced: bool = False
    workers: int = 4

    def __post_init__(self) -> None:
        require_workers(self.workers)
        most, share = self.selection.max_samples, self.selection.subset_fraction
        if most is not None and most < 1:
            raise ConfigError("max_samples", most, expected="a whole number >= 1")
        if share is not None and not 0.0 < share <= 1.0:
            raise ConfigError("subset_fraction", share, expected="a number in (0, 1]")


@dataclass(frozen=True)
class DataReport:
    """What came of it.

    Args:
        request: What was asked for.
        manifest: What the folder says about itself.
        fetched: Paths of the parts that were not there before.
    """

    request: DataRequest
    manifest: Manifest
    fetched: frozenset[str] = frozenset()


def download_data(
    request: DataRequest,
    reporter: DownloadReporter | None = None,
    *,
    patience: Patience | None = None,
) -> DataReport:
    """Download a data set into a folder; what is there already is not fetched again.

    The folder appears when it is complete. Until then parts are gathered in `.NAME.download`
    beside it, where the next attempt goes on. Where the Hub is switched off, a folder that has
    what is asked for is left as it is.

    Args:
        request: What, and where to.
        reporter: Is told how it goes.
        patience: How often is tried again.

    Raises:
        UsageError: If the Hub cannot be reached or does not have it, or the folder holds something
            else.
        UnknownNameError: If there is no such split; says which there are.
        OmniFlowError: If the disk has no room.
    """
    reporter = reporter or DownloadReporter()
    patience = patience or Patience(tell=reporter.told)
    place = DownloadFolder(request.folder)
    if is_offline() and not request.is_forced and _has_it(place.current, request):
        assert place.current is not None
        return DataReport(request, place.current)
    with place.working():
        return _Download(request, place, reporter, patience).run()


class _Download:
    """One download, from looking at the source to renaming the folder."""

    def __init__(
        self,
        request: DataRequest,
        place: DownloadFolder,
        reporter: DownloadReporter,
        patience: Patience,
    ) -> None:
        self.request = request
        self.place = place
        self.reporter = reporter
        self.patience = patience
        self.fetched: set[str] = set()

    def run(self) -> DataReport:
        data, current = self.request.data, self.place.current
        source = open_source(data, self.request.revision)
        is_same = current is not None and _is_same(current, self.request)
        splits = source.splits(self.request.splits, current.splits if current and is_same else ())
        with source.reaching():
            listing = list_repository(
                data.hub_id, source.commit, kind="dataset", patience=self.patience
            )
            parts = source.parts(listing, splits, self.request.selection, self.patience)
            manifest = Manifest(
                dataset=data.dataset,
                source=data.hub_id,
                revision=listing.commit,
                config=source.config,
                licence=stated_licence(source.card),
                splits=tuple(splits),
                selection=self.request.selection,
            )
            manifest = self._fill(manifest, parts)
        write_card(self.place.work, manifest, _by_split(parts))
        self.place.publish(manifest)
        manifest = replace(manifest, is_complete=True)
        return DataReport(self.request, manifest, frozenset(self.fetched))

    def _fill(self, manifest: Manifest, parts: Sequence[Part]) -> Manifest:
        """Make all parts that are not here yet."""
        current = self.place.current
        if current is not None and not self.request.is_forced:
            _require_same(current, self.request)
            if current.revision != manifest.revision:
                self.reporter.told(
                    f"{manifest.source} has changed since, from {current.revision[:12]} to "
                    f"{manifest.revision[:12]}: what is other there is fetched"
                )
        if self.request.is_forced:
            self.place.clear()
        else:
            manifest = self.place.begin(manifest, parts)
        here = {file.path for file in manifest.files}
        missing = [part for part in parts if part.path not in here]
        return self._make(manifest, missing)

    def _make(self, manifest: Manifest, parts: Sequence[Part]) -> Manifest:
        """Make parts, several at once, each written down as soon as it is whole."""
        size = sum(part.size for part in parts)
        source = f"{manifest.source} at {manifest.revision[:12]}"
        room = free_room(self.request.folder)
        self.reporter.planned(self.request.data.name, source, len(parts), size, room)
        require_room(
            self.request.folder, size, advice="less, by --max-samples or --subset-fraction"
        )
        received = self.reporter.received
        jobs = [partial(part.make, self.place.work, self.patience, received) for part in parts]
        for entry in at_once(jobs, self.request.workers, self.patience):
            manifest = self.place.add(manifest, entry)
            self.fetched.add(entry.path)
        return manifest


def _by_split(parts: Sequence[Part]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for part in parts:
        if part.split is not None:
            found.setdefault(part.split, []).append(part.path)
    return found


def _is_same(current: Manifest, request: DataRequest) -> bool:
    """Whether a folder has the same records of the same source, of whatever splits."""
    return (
        current.source == request.data.hub_id
        and current.selection == request.selection
        and (request.data.config is None or current.config == request.data.config)
    )


def _has_it(current: Manifest | None, request: DataRequest) -> bool:
    if current is None or not _is_same(current, request):
        return False
    names = request.data.source_splits
    wanted = {names.get(split, split) for split in request.splits}
    is_revision = request.revision in (None, current.revision)
    return is_revision and wanted <= set(current.splits)


def _require_same(current: Manifest, request: DataRequest) -> None:
    """Refuse to change what another download has left.

    Raises:
        UsageError: If its source or its records are others.
    """
    if not _is_same(current, request):
        raise UsageError(
            f"{request.folder} has {current.source} with {_told(current.selection)}",
            expected=f"{request.data.hub_id} with {_told(request.selection)}",
            notes=["--force replaces it, --output-dir DIR goes elsewhere"],
        )


def _told(selection: Selection) -> str:
    share = selection.subset_fraction
    parts = [] if share is None else [f"the first {share:g} of every file"]
    if selection.max_samples is not None:
        parts.append(f"at most {selection.max_samples} records a split")
    return ", ".join(parts) or "all records"
