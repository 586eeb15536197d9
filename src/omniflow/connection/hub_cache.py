"""Large files put into the Hub's cache, where its client finds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from omniflow.connection.fetch import fetch_file
from omniflow.connection.listing import HubFile, HubListing, Kind
from omniflow.connection.patience import Patience


def blob_path(listing: HubListing, file: HubFile) -> Path | None:
    """Where the cache keeps the content of a large file; None of a small one.

    The client's cache names contents after their SHA-256, and links snapshots to them.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    if file.sha256 is None:
        return None
    folder = repo_folder_name(repo_id=listing.hub_id, repo_type=listing.kind)
    return Path(constants.HF_HUB_CACHE) / folder / "blobs" / file.sha256


def snapshot_folder(hub_id: str, revision: str | None, kind: Kind) -> Path | None:
    """Where the cache has a repository at a revision; None where it has not. Nothing is asked for.

    Args:
        hub_id: `owner/name`.
        revision: Branch, tag or commit; None for the main branch.
        kind: model or dataset.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=hub_id, repo_type=kind)
    named = folder / "refs" / (revision or "main")
    commit = named.read_text().strip() if named.is_file() else revision or ""
    place = folder / "snapshots" / commit
    return place if commit and place.is_dir() else None


def missing_files(listing: HubListing, files: Iterable[HubFile]) -> list[HubFile]:
    """Large files that the cache has not."""
    places = ((file, blob_path(listing, file)) for file in files)
    return [file for file, place in places if place is not None and not place.exists()]


def fill_cache(
    listing: HubListing,
    files: Iterable[HubFile],
    *,
    patience: Patience,
    received: Callable[[int], None] = lambda count: None,
) -> None:
    """Bring large files into the cache; errors as `fetch_file`.

    The client itself begins a file anew whenever it is interrupted, and does not look whether its
    content is right.
    """
    for file in files:
        place = blob_path(listing, file)
        if place is not None:
            fetch_file(listing.url(file), place, file, patience=patience, received=received)
