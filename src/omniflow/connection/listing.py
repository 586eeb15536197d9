"""What a repository on the Hub holds at one commit: names, sizes and checksums of files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from omniflow.connection.patience import Patience, persistently
from omniflow.errors import UsageError

Kind = Literal["model", "dataset"]

#: Listings by endpoint, repository and commit.
_KNOWN: dict[tuple[str, str, str, str], HubListing] = {}


@dataclass(frozen=True)
class HubFile:
    """A file of a repository.

    Args:
        path: Its path there.
        size: Its bytes; None where the Hub does not say.
        sha256: Its checksum, of large files (LFS); None for small ones.
        blob: Its git object id, of small ones.
    """

    path: str
    size: int | None
    sha256: str | None
    blob: str | None


@dataclass(frozen=True)
class HubListing:
    """A repository at one commit.

    Args:
        hub_id: `owner/name`.
        kind: model or dataset.
        commit: The commit.
        files: Its files.
    """

    hub_id: str
    kind: Kind
    commit: str
    files: tuple[HubFile, ...]

    def matching(self, patterns: Iterable[str]) -> list[HubFile]:
        """The files that fit one of some patterns, as of a shell."""
        from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined]

        return list(
            filter_repo_objects(self.files, allow_patterns=[*patterns], key=lambda file: file.path)
        )

    def url(self, file: HubFile) -> str:
        """Where a file is at this commit, at the Hub or the mirror that is set."""
        from huggingface_hub import constants, hf_hub_url

        return hf_hub_url(
            self.hub_id, file.path, repo_type=self.kind, revision=self.commit,
            endpoint=constants.ENDPOINT,
        )  # fmt: skip


def list_repository(
    hub_id: str, revision: str | None, *, kind: Kind, patience: Patience
) -> HubListing:
    """What the Hub says of a repository; of a commit, which does not change, it is asked once.

    Args:
        hub_id: `owner/name`.
        revision: Branch, tag or commit; None for the main branch.
        kind: model or dataset.
        patience: How often is tried again.

    Raises:
        HTTPError: That of the Hub's client; see `omniflow.hub_access.reaching_hub`.
        UsageError: If the name of a file leads out of a folder that it would be written to.
    """
    from huggingface_hub import HfApi, constants

    key = (constants.ENDPOINT, hub_id, kind, revision or "")
    if key in _KNOWN:
        return _KNOWN[key]
    api = HfApi(endpoint=constants.ENDPOINT)
    info: Any = persistently(
        lambda: api.repo_info(hub_id, repo_type=kind, revision=revision, files_metadata=True),
        patience,
    )
    files = [
        HubFile(
            _inside(each.rfilename, hub_id),
            each.size,
            None if each.lfs is None else each.lfs.sha256,
            each.blob_id,
        )
        for each in info.siblings or ()
    ]
    listing = HubListing(hub_id, kind, info.sha or "", tuple(files))
    _KNOWN[(constants.ENDPOINT, hub_id, kind, listing.commit)] = listing
    return listing


def _inside(path: str, hub_id: str) -> str:
    """The path of a file, which a mirror may have made up."""
    place = PurePosixPath(path)
    is_odd = not path.isprintable() or "\\" in path
    if place.is_absolute() or not place.parts or ".." in place.parts or is_odd:
        raise UsageError(
            f"a file is called {path!r}", where=hub_id, expected="names that stay inside a folder"
        )
    return path
