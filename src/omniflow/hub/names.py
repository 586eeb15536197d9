"""What a model on the Hub is called: `OWNER/NAME`, and which revision of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from omniflow.errors import UsageError

_HUB_ID = re.compile(r"(\w[\w.-]*/\w[\w.-]*)(?:@([\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubName(NamedTuple):
    """A repository on the Hub.

    Args:
        hub_id: `owner/name`.
        revision: Branch, tag or commit; None for the main branch.
    """

    hub_id: str
    revision: str | None

    def __str__(self) -> str:
        return self.hub_id if self.revision is None else f"{self.hub_id}@{self.revision}"


def hub_name(said: str) -> HubName | None:
    """`OWNER/NAME` or `OWNER/NAME@REVISION` taken apart; None for what is neither."""
    found = _HUB_ID.fullmatch(said)
    return None if found is None else HubName(found[1], found[2])


def nearest_ids(said: str) -> list[str]:
    """The Hub id that somebody may have meant by an address, a revision beside it or a space."""
    plain = re.sub(
        r"^(?:https?://)?(?:(?:[\w-]+\.)+[a-z]+(?::\d+)?/)?(?:models/)?", "", said.strip()
    )
    plain = re.split(r"/(?:tree|blob|resolve)/|[@?#]", plain)[0].rstrip("/").removesuffix(".git")
    plain = re.sub(r"[^A-Za-z0-9._/-]+", "-", plain)
    found = hub_name(plain)
    return [] if found is None or plain == said else [found.hub_id]


def is_on_hub(said: str) -> bool:
    """Whether what is no file or folder here can be meant as a name on the Hub.

    `runs/frist` beside a folder `runs` is a misspelt folder.
    """
    path = Path(said)
    return hub_name(said) is not None and not path.exists() and not path.parent.is_dir()


def is_commit(revision: str) -> bool:
    """Whether a revision is a whole commit hash, which always stands for the same files."""
    return _COMMIT.fullmatch(revision) is not None


def pinned(said: str, revision: str | None, *, where: str | None = None) -> HubName:
    """A name with the revision that stands in it or beside it.

    Args:
        said: `OWNER/NAME` or `OWNER/NAME@REVISION`.
        revision: What was said beside it.
        where: Where it was said.

    Raises:
        UsageError: If it is no such name, or two revisions are said.
    """
    found = hub_name(said)
    if found is None:
        raise UsageError(
            f"{said!r} is no Hub id",
            where=where,
            expected="OWNER/NAME or OWNER/NAME@REVISION",
            nearest=nearest_ids(said),
        )
    if revision is None:
        return found
    if not revision.strip():
        raise UsageError(
            f"{revision!r} is no revision",
            where=where or said,
            expected="a branch, tag or commit, or none for the main branch",
        )
    if found.revision not in (None, revision):
        raise UsageError(
            f"two revisions are said, {found.revision!r} and {revision!r}",
            where=where or said,
            expected="one of them",
        )
    return HubName(found.hub_id, revision)
